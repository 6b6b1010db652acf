//! Exports: a search whose entries become rows of text, and where it can be gone on with.

use std::io::Write as _;
use std::sync::Arc;

use fusion_core::id::Revision;
use fusion_core::path::{PathRef, notation};
use fusion_core::time::StorageTime;
use fusion_proto::convert::view::{
    ExportColumn, ExportEntries, ExportFormat, FindEntries, ReadClass,
};
use fusion_proto::status::Refusal;
use serde_json::Value;

use super::find::{Found, Search, Wanted};
use super::paging::PageOf;
use super::views::{Views, Worth};
use crate::ids::Ids;

/// An export that is under way.
pub(crate) struct Export {
    search: Search,
    rows: Rows,
    pages: PageOf,
    /// The names of the columns are still to be told.
    begins: bool,
}

/// Some rows, and where to go on after them.
pub(crate) struct Part {
    pub(crate) rows: Vec<u8>,
    pub(crate) count: usize,
    pub(crate) token: String,
}

impl Export {
    /// Begins, or goes on after a token.
    pub(crate) fn begin(
        views: &Views,
        ids: Arc<dyn Ids>,
        request: ExportEntries,
    ) -> Result<Self, Refusal> {
        let (view, _) = views.demand(&request.view, request.class)?;
        let pages = pages_of(view.id(), &request);
        let after = pages.key(&request.resume_token).map_err(|_| stranger())?;
        let after = after.as_deref().map(place).transpose()?;
        let ExportEntries { view, path, class, format, columns, filter, resume_token: _ } = request;
        let all = FindEntries::all(view.clone(), path);
        let wanted = Wanted::new(FindEntries { filter, class, ..all })?;
        let path = after.map(|(_, path)| path);
        let mut search = Search::begin_after(views, ids, wanted, &view, ("export", path))?;
        if let Some((since, _)) = after {
            search.goes_on_since(since);
        }
        Ok(Self { search, rows: Rows { format, columns }, pages, begins: after.is_none() })
    }

    /// The next rows; `None` when all were told.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<Part>>, Refusal> {
        let Some(chunks) = self.search.next().await? else { return Ok(None) };
        let mut parts = Vec::with_capacity(chunks.len());
        if std::mem::take(&mut self.begins) && self.rows.format == ExportFormat::Csv {
            // Without a token: who was told no row begins again.
            parts.push(Part { rows: self.rows.head(), count: 0, token: String::new() });
        }
        for chunk in chunks {
            let Some(last) = chunk.last() else { continue };
            let since = self.search.since().0.to_be_bytes();
            let token = self.pages.token(&[&since[..], &last.path].concat());
            let mut rows = Vec::with_capacity(chunk.len() * 200);
            chunk.iter().for_each(|found| self.rows.row(found, &mut rows));
            parts.push(Part { rows, count: chunk.len(), token });
        }
        Ok(Some(parts))
    }

    /// What the whole is worth, at its end.
    pub(crate) fn worth(&self) -> Worth {
        self.search.worth()
    }
}

/// What a token says: the revision at which the export began, and the last path that was told.
fn place(key: &[u8]) -> Result<(Revision, PathRef<'_>), Refusal> {
    let (since, path) = key.split_first_chunk().ok_or_else(stranger)?;
    let path = PathRef::new(path).map_err(|_| stranger())?;
    Ok((Revision(u64::from_be_bytes(*since)), path))
}

fn stranger() -> Refusal {
    Refusal::invalid("resume_token", "is not of an export like this one; begin again without one")
}

/// What a token must be of: all of the request but the token.
fn pages_of(owner: uuid::Uuid, request: &ExportEntries) -> PageOf {
    let ExportEntries { view, path, class, format, columns, filter, resume_token: _ } = request;
    let columns: Vec<u8> = columns.iter().map(|column| *column as u8).collect();
    let flags = [u8::from(*class == ReadClass::Trusted), u8::from(*format == ExportFormat::Csv)];
    // Filters that are the same are written the same.
    let filter = format!("{filter:?}");
    let view = view.as_str().as_bytes();
    PageOf::new(owner, &[b"export", view, path.as_bytes(), &flags, &columns, filter.as_bytes()])
}

/// How rows are written.
struct Rows {
    format: ExportFormat,
    columns: Vec<ExportColumn>,
}

impl Rows {
    fn head(&self) -> Vec<u8> {
        let names: Vec<&str> = self.columns.iter().map(|column| column.name()).collect();
        format!("{}\n", names.join(",")).into_bytes()
    }

    fn row(&self, found: &Found, out: &mut Vec<u8>) {
        for (number, column) in self.columns.iter().enumerate() {
            match (self.format, number) {
                (ExportFormat::Ndjson, 0) => out.push(b'{'),
                (_, 0) => {}
                _ => out.push(b','),
            }
            if self.format == ExportFormat::Ndjson {
                // Names of columns need no escape.
                out.push(b'"');
                out.extend_from_slice(column.name().as_bytes());
                out.extend_from_slice(b"\":");
            }
            self.value(&value(*column, found), out);
        }
        if self.format == ExportFormat::Ndjson {
            out.push(b'}');
        }
        out.push(b'\n');
    }

    fn value(&self, value: &Value, out: &mut Vec<u8>) {
        match (self.format, value) {
            (ExportFormat::Csv, Value::String(text)) if text.contains([',', '"', '\n', '\r']) => {
                out.push(b'"');
                out.extend_from_slice(text.replace('"', "\"\"").as_bytes());
                out.push(b'"');
            }
            (ExportFormat::Csv, Value::String(text)) => out.extend_from_slice(text.as_bytes()),
            // Memory takes all that is written.
            _ => drop(write!(out, "{value}")),
        }
    }
}

fn value(column: ExportColumn, found: &Found) -> Value {
    let stat = &found.stat;
    match column {
        ExportColumn::Path => notation::to_text(&found.path).into(),
        ExportColumn::Name => {
            let name = found.path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
            notation::to_text(name).into()
        }
        ExportColumn::Kind => stat.kind.as_str().into(),
        ExportColumn::Size => stat.size.into(),
        ExportColumn::Mtime => time(stat.mtime).into(),
        ExportColumn::Ctime => time(stat.ctime).into(),
        ExportColumn::Inode => stat.inode.into(),
        ExportColumn::Mode => stat.mode.into(),
        ExportColumn::Uid => stat.uid.into(),
        ExportColumn::Gid => stat.gid.into(),
        ExportColumn::Nlink => stat.nlink.into(),
        ExportColumn::Suspect => found.suspect.into(),
        ExportColumn::Blind => found.blind.into(),
    }
}

fn time(time: StorageTime) -> String {
    match jiff::Timestamp::from_nanosecond(i128::from(time.as_nanos())) {
        Ok(time) => format!("{time:.9}"),
        Err(_) => time.as_nanos().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fusion_core::stat::{Kind, Stat};
    use fusion_core::view::Totals;

    fn found(path: &[u8]) -> Found {
        let stat = Stat {
            kind: Kind::File,
            size: 7,
            mtime: StorageTime::from_nanos(1),
            ctime: StorageTime::from_nanos(-1),
            inode: 3,
            mode: 0o644,
            uid: 1,
            gid: 2,
            nlink: 1,
        };
        let totals = Totals::default();
        Found { path: path.to_vec(), stat, suspect: true, blind: false, totals }
    }

    fn written(format: ExportFormat, columns: &[ExportColumn], path: &[u8]) -> String {
        let mut out = Vec::new();
        Rows { format, columns: columns.to_vec() }.row(&found(path), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn rows_are_one_line_each_and_can_be_read_back() {
        let odd = b"/a,\"b\"\n\xff/c;d";
        let line = written(ExportFormat::Ndjson, &ExportColumn::ALL, odd);
        let row: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(row["path"], r#"/a,"b"\x0A\xFF/c;d"#);
        assert_eq!((&row["name"], &row["size"]), (&"c;d".into(), &7.into()));
        assert_eq!(row["ctime"], "1969-12-31T23:59:59.999999999Z");
        assert_eq!((&row["suspect"], &row["blind"]), (&true.into(), &false.into()));
        assert_eq!((line.matches('\n').count(), row.as_object().unwrap().len()), (1, 13));

        let columns = [ExportColumn::Size, ExportColumn::Path, ExportColumn::Kind];
        let line = written(ExportFormat::Csv, &columns, odd);
        assert_eq!(line, "7,\"/a,\"\"b\"\"\\x0A\\xFF/c;d\",file\n");
        assert_eq!(written(ExportFormat::Csv, &columns, b"/a b"), "7,/a b,file\n");
        let rows = Rows { format: ExportFormat::Csv, columns: columns.to_vec() };
        assert_eq!(rows.head(), b"size,path,kind\n");
    }
}
