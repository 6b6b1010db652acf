//! Rows of an export as a Parquet file.
//!
//! Takes rows as the server writes them in NDJSON, keeps those of one row group, and writes them column by
//! column. A file is whole once it was closed, also when the export broke off: then it has what came before.
//! Must never: guess a value that a row lacks.

use std::io::Write;
use std::sync::Arc;

use fusion_proto::views::ExportColumn;
use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::Type;
use serde_json::Value;

use crate::exit::Failure;

/// Rows of a row group: some 10 MiB in memory, with paths of a hundred bytes.
const GROUP_ROWS: usize = 65_536;

/// A file that is being written.
pub(super) struct Table<W: Write + Send> {
    out: SerializedFileWriter<W>,
    columns: Vec<Column>,
    /// Rows in the columns.
    rows: usize,
}

struct Column {
    of: ExportColumn,
    values: Values,
}

/// What a column holds until its row group is written. Parquet has unsigned numbers as the bits of signed
/// ones.
enum Values {
    Texts(Vec<ByteArray>),
    Longs(Vec<i64>),
    /// Times in nanoseconds since 1970.
    Times(Vec<i64>),
    Ints(Vec<i32>),
    Flags(Vec<bool>),
}

impl<W: Write + Send> Table<W> {
    /// Begins a file with these columns.
    pub(super) fn new(out: W, columns: &[ExportColumn]) -> Result<Self, Failure> {
        let fields = columns.iter().map(|column| field(*column).map(Arc::new));
        let fields = fields.collect::<Result<_, _>>().map_err(unwritten)?;
        let schema = Type::group_type_builder("entries").with_fields(fields).build();
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
        let schema = Arc::new(schema.map_err(unwritten)?);
        let out =
            SerializedFileWriter::new(out, schema, Arc::new(properties)).map_err(unwritten)?;
        let columns = columns.iter().map(|of| Column { of: *of, values: values(*of) }).collect();
        Ok(Self { out, columns, rows: 0 })
    }

    /// Takes whole rows, one JSON object a line.
    pub(super) fn add(&mut self, rows: &[u8]) -> Result<(), Failure> {
        for row in rows.split(|&byte| byte == b'\n').filter(|row| !row.is_empty()) {
            let row: Value = serde_json::from_slice(row).map_err(|error| strange(&error))?;
            for Column { of, values } in &mut self.columns {
                let value = row.get(of.name()).unwrap_or(&Value::Null);
                if values.push(value).is_none() {
                    return Err(strange(&format_args!("{} is {value}", of.name())));
                }
            }
            self.rows += 1;
            if self.rows == GROUP_ROWS {
                self.write_group().map_err(unwritten)?;
            }
        }
        Ok(())
    }

    /// Writes what is left, and the end of the file.
    pub(super) fn close(mut self) -> Result<(), Failure> {
        if self.rows > 0 {
            self.write_group().map_err(unwritten)?;
        }
        let mut out = self.out.into_inner().map_err(unwritten)?;
        out.flush().map_err(|error| unwritten(error.into()))
    }

    fn write_group(&mut self) -> Result<(), ParquetError> {
        let mut group = self.out.next_row_group()?;
        for Column { values, .. } in &mut self.columns {
            match values {
                Values::Texts(texts) => write::<ByteArrayType, W>(&mut group, texts)?,
                Values::Longs(longs) | Values::Times(longs) => {
                    write::<Int64Type, W>(&mut group, longs)?;
                }
                Values::Ints(ints) => write::<Int32Type, W>(&mut group, ints)?,
                Values::Flags(flags) => write::<BoolType, W>(&mut group, flags)?,
            }
        }
        self.rows = 0;
        group.close().map(drop)
    }
}

/// Writes the values of the next column, and forgets them.
fn write<T: DataType, W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    values: &mut Vec<T::T>,
) -> Result<(), ParquetError> {
    if let Some(mut column) = group.next_column()? {
        column.typed::<T>().write_batch(values, None, None)?;
        column.close()?;
    }
    values.clear();
    Ok(())
}

impl Values {
    /// Takes a value of a row; `None` if it is not of this kind.
    fn push(&mut self, value: &Value) -> Option<()> {
        match self {
            Self::Texts(texts) => texts.push(value.as_str()?.into()),
            Self::Longs(longs) => longs.push(value.as_u64()?.cast_signed()),
            Self::Times(times) => times.push(nanos(value.as_str()?)?),
            Self::Ints(ints) => ints.push(u32::try_from(value.as_u64()?).ok()?.cast_signed()),
            Self::Flags(flags) => flags.push(value.as_bool()?),
        }
        Some(())
    }
}

/// A time as the server writes it: a timestamp, or the bare number where it is too far away for one.
fn nanos(text: &str) -> Option<i64> {
    match text.parse::<jiff::Timestamp>() {
        Ok(time) => i64::try_from(time.as_nanosecond()).ok(),
        Err(_) => text.parse().ok(),
    }
}

fn values(column: ExportColumn) -> Values {
    match column {
        ExportColumn::Path | ExportColumn::Name | ExportColumn::Kind => Values::Texts(Vec::new()),
        ExportColumn::Size | ExportColumn::Inode => Values::Longs(Vec::new()),
        ExportColumn::Mtime | ExportColumn::Ctime => Values::Times(Vec::new()),
        ExportColumn::Mode | ExportColumn::Uid | ExportColumn::Gid | ExportColumn::Nlink => {
            Values::Ints(Vec::new())
        }
        ExportColumn::Suspect | ExportColumn::Blind => Values::Flags(Vec::new()),
    }
}

/// How a column is told of in the file.
fn field(column: ExportColumn) -> Result<Type, ParquetError> {
    let unsigned = |bit_width| Some(LogicalType::integer(bit_width, false));
    let (physical, logical) = match values(column) {
        Values::Texts(_) => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        Values::Longs(_) => (Physical::INT64, unsigned(64)),
        Values::Times(_) => (Physical::INT64, Some(LogicalType::timestamp(true, TimeUnit::NANOS))),
        Values::Ints(_) => (Physical::INT32, unsigned(32)),
        Values::Flags(_) => (Physical::BOOLEAN, None),
    };
    Type::primitive_type_builder(column.name(), physical)
        .with_logical_type(logical)
        .with_repetition(Repetition::REQUIRED)
        .build()
}

fn unwritten(error: ParquetError) -> Failure {
    Failure::refused(format!("the file cannot be written: {error}"))
}

fn strange(why: &dyn std::fmt::Display) -> Failure {
    Failure::refused(format!("the server told a row that is not as it was asked for: {why}"))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::Field;

    use super::*;

    /// Keeps what was written when the writer is gone.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn read(columns: &[ExportColumn], parts: &[&str]) -> Vec<Vec<Field>> {
        let kept = Kept::default();
        let mut table = Table::new(kept.clone(), columns).unwrap();
        parts.iter().for_each(|rows| table.add(rows.as_bytes()).unwrap());
        table.close().unwrap();
        let bytes = bytes::Bytes::from(std::mem::take(&mut *kept.0.lock().unwrap()));
        let file = SerializedFileReader::new(bytes).unwrap();
        let rows = file.get_row_iter(None).unwrap();
        rows.map(|row| row.unwrap().get_column_iter().map(|(_, field)| field.clone()).collect())
            .collect()
    }

    #[test]
    fn values_are_read_back_as_they_were() {
        use ExportColumn as Of;
        let columns = [Of::Blind, Of::Path, Of::Inode, Of::Mtime, Of::Ctime, Of::Uid];
        let row = r#"{"blind":true,"path":"/a,\"b\"\\x0A","inode":18446744073709551615,"#
            .to_owned()
            + r#""mtime":"1969-12-31T23:59:59.999999999Z","ctime":"2026-11-22T00:00:00.000000001Z","#
            + r#""uid":4294967295}"#;
        let rows = read(&columns, &["", &format!("{row}\n{row}\n"), &row]);
        let expected =
            [Field::Bool(true), Field::Str(r#"/a,"b"\x0A"#.to_owned()), Field::ULong(u64::MAX)];
        assert_eq!(rows.len(), 3);
        for row in rows {
            assert_eq!(row[..3], expected);
            assert_eq!(row[3].to_string(), "-1");
            assert_eq!(row[5], Field::UInt(u32::MAX));
        }
        assert_eq!(read(&columns, &[]).len(), 0);
    }

    #[test]
    fn rows_are_in_groups_and_none_is_lost_between() {
        let part: String = (0..1_000).map(|size| format!("{{\"size\":{size}}}\n")).collect();
        let rows = read(&[ExportColumn::Size], &vec![&*part; 140]);
        let sizes = rows.iter().map(|row| row[0].clone());
        assert!(sizes.eq((0..140_000).map(|number| Field::ULong(number % 1_000))));
    }

    #[test]
    fn a_row_that_lacks_a_value_is_refused() {
        for row in ["{}", r#"{"size":"1"}"#, r#"{"size":-1}"#, "[", "7"] {
            let mut table = Table::new(Vec::new(), &[ExportColumn::Size]).unwrap();
            table.add(row.as_bytes()).unwrap_err();
        }
    }
}
