//! One column of numbers as bytes: blocks of 256 values, each as its distance from the block's
//! least, in as many bytes as the largest distance needs. A column of one value is that value.
//!
//! | bytes | what |
//! |---|---|
//! | varint | how many values, times 4, plus the mode: 0 all zero, 1 all the same, 2 blocks |
//! | varint | mode 1: the value |
//! | 1, varint, … | mode 2, for each 256 values: width in bytes, least value, the distances |

use super::row::{RowReader, put_varint};
use crate::error::Malformed;

/// Values in one block of a column.
const BLOCK: usize = 256;
/// Most values in a column: far above what any batch makes, far below what hurts.
pub(super) const COLUMN_MAX: u64 = 1 << 26;

const ZERO: u64 = 0;
const SAME: u64 = 1;
const BLOCKS: u64 = 2;

/// Writes a column.
pub(super) fn pack(values: &[u64], out: &mut Vec<u8>) {
    let count = (values.len() as u64) << 2;
    let first = values.first().copied().unwrap_or(0);
    if values.iter().all(|value| *value == first) {
        put_varint(out, count | if first == 0 { ZERO } else { SAME });
        if first != 0 {
            put_varint(out, first);
        }
        return;
    }
    put_varint(out, count | BLOCKS);
    for block in values.chunks(BLOCK) {
        let (mut least, mut most) = (u64::MAX, 0);
        for value in block {
            least = least.min(*value);
            most = most.max(*value);
        }
        let width = (64 - (most - least).leading_zeros()).div_ceil(8) as u8;
        out.push(width);
        put_varint(out, least);
        match width {
            0 => {}
            1 => pack_block::<1>(block, least, out),
            2 => pack_block::<2>(block, least, out),
            3 => pack_block::<3>(block, least, out),
            4 => pack_block::<4>(block, least, out),
            5 => pack_block::<5>(block, least, out),
            6 => pack_block::<6>(block, least, out),
            7 => pack_block::<7>(block, least, out),
            _ => pack_block::<8>(block, least, out),
        }
    }
}

fn pack_block<const W: usize>(block: &[u64], least: u64, out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + block.len() * W, 0);
    for (slot, value) in out[start..].chunks_exact_mut(W).zip(block) {
        slot.copy_from_slice(&(value - least).to_le_bytes()[..W]);
    }
}

/// A column that is read from its first value to its last.
#[derive(Debug, Default)]
pub(super) struct Column {
    values: Vec<u64>,
    next: usize,
    /// The value of all the rest, and how many.
    same: u64,
    left: u64,
}

impl Column {
    /// Reads a column.
    pub(super) fn unpack(reader: &mut RowReader<'_>) -> Result<Self, Malformed> {
        let head = reader.varint()?;
        let count = head >> 2;
        if count > COLUMN_MAX {
            return Err(Malformed::Broken("a column has too many values"));
        }
        match head & 3 {
            ZERO => Ok(Self { left: count, ..Self::default() }),
            SAME => Ok(Self { left: count, same: reader.varint()?, ..Self::default() }),
            BLOCKS => {
                let mut values = Vec::new();
                unpack_blocks(reader, count as usize, &mut values)?;
                Ok(Self { values, ..Self::default() })
            }
            _ => Err(Malformed::Broken("a column has an unknown mode")),
        }
    }

    /// The next value.
    pub(super) fn next(&mut self) -> Result<u64, Malformed> {
        if let Some(value) = self.values.get(self.next) {
            self.next += 1;
            return Ok(*value);
        }
        if self.left == 0 {
            return Err(Malformed::Broken("a column ends too early"));
        }
        self.left -= 1;
        Ok(self.same)
    }

    /// The next values, as many as asked for, each turned into something.
    pub(super) fn take<T>(
        &mut self,
        count: usize,
        turn: impl Fn(u64) -> Option<T>,
    ) -> Result<Vec<T>, Malformed> {
        const OUTSIDE: Malformed = Malformed::Broken("a value is out of its range");
        if let Some(values) = self.values.get(self.next..self.next.saturating_add(count)) {
            self.next += count;
            return values.iter().map(|value| turn(*value).ok_or(OUTSIDE)).collect();
        }
        if self.values.len() > self.next || self.left < count as u64 {
            return Err(Malformed::Broken("a column ends too early"));
        }
        self.left -= count as u64;
        (0..count).map(|_| turn(self.same).ok_or(OUTSIDE)).collect()
    }

    /// Whether all of it was read.
    pub(super) fn is_done(&self) -> bool {
        self.next == self.values.len() && self.left == 0
    }
}

/// Reads a column that has to have exactly so many values; into memory that is used again.
pub(super) fn unpack_exact(
    reader: &mut RowReader<'_>,
    count: usize,
    values: &mut Vec<u64>,
) -> Result<(), Malformed> {
    values.clear();
    let head = reader.varint()?;
    if head >> 2 != count as u64 {
        return Err(Malformed::Broken("a column has another length"));
    }
    match head & 3 {
        ZERO => values.resize(count, 0),
        SAME => values.resize(count, reader.varint()?),
        BLOCKS => unpack_blocks(reader, count, values)?,
        _ => return Err(Malformed::Broken("a column has an unknown mode")),
    }
    Ok(())
}

fn unpack_blocks(
    reader: &mut RowReader<'_>,
    count: usize,
    values: &mut Vec<u64>,
) -> Result<(), Malformed> {
    // Each block takes bytes, so a count that lies ends before it costs memory.
    values.reserve(count.min(4 * reader.left()));
    while values.len() < count {
        let width = usize::from(reader.u8()?);
        let least = reader.varint()?;
        let rows = (count - values.len()).min(BLOCK);
        let bytes = reader.bytes(rows * width)?;
        match width {
            0 => values.extend(std::iter::repeat_n(least, rows)),
            1 => unpack_block::<1>(bytes, least, values),
            2 => unpack_block::<2>(bytes, least, values),
            3 => unpack_block::<3>(bytes, least, values),
            4 => unpack_block::<4>(bytes, least, values),
            5 => unpack_block::<5>(bytes, least, values),
            6 => unpack_block::<6>(bytes, least, values),
            7 => unpack_block::<7>(bytes, least, values),
            8 => unpack_block::<8>(bytes, least, values),
            _ => return Err(Malformed::Broken("a value has more than 8 bytes")),
        }
    }
    Ok(())
}

fn unpack_block<const W: usize>(bytes: &[u8], least: u64, values: &mut Vec<u64>) {
    values.extend(bytes.chunks_exact(W).map(|slot| {
        let mut value = [0; 8];
        value[..W].copy_from_slice(slot);
        least.wrapping_add(u64::from_le_bytes(value))
    }));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn there_and_back(values: &[u64]) {
        let mut bytes = Vec::new();
        pack(values, &mut bytes);
        let mut reader = RowReader::new(&bytes);
        let mut column = Column::unpack(&mut reader).unwrap();
        let half = values.len() / 2;
        for value in &values[..half] {
            assert_eq!(column.next().unwrap(), *value);
        }
        assert_eq!(column.take(values.len() - half, Some).unwrap(), &values[half..]);
        assert!(column.is_done() && reader.left() == 0);
        assert!(column.next().is_err());
        let mut exact = vec![7];
        unpack_exact(&mut RowReader::new(&bytes), values.len(), &mut exact).unwrap();
        assert_eq!(exact, values);
        let more = unpack_exact(&mut RowReader::new(&bytes), values.len() + 1, &mut exact);
        assert!(more.is_err());
        for cut in 0..bytes.len() {
            assert!(Column::unpack(&mut RowReader::new(&bytes[..cut])).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn widths_and_ends() {
        there_and_back(&[]);
        there_and_back(&[0; 700]);
        there_and_back(&[u64::MAX; 3]);
        there_and_back(&[0, u64::MAX]);
        for bits in 0..64 {
            there_and_back(&[7, 7 + (1 << bits), 7 + ((1_u64 << bits) - 1)]);
        }
        there_and_back(&(0..1000).collect::<Vec<_>>());
    }

    #[test]
    fn a_count_that_lies_costs_nothing() {
        let mut bytes = Vec::new();
        put_varint(&mut bytes, (COLUMN_MAX + 1) << 2 | SAME);
        assert!(Column::unpack(&mut RowReader::new(&bytes)).is_err());
        bytes.clear();
        put_varint(&mut bytes, COLUMN_MAX << 2 | BLOCKS);
        assert!(Column::unpack(&mut RowReader::new(&bytes)).is_err());
    }

    proptest! {
        #[test]
        fn any_column(values in proptest::collection::vec(any::<u64>(), 0..600), shift in 0..64) {
            let values: Vec<u64> = values.iter().map(|value| value >> shift).collect();
            there_and_back(&values);
        }
    }
}
