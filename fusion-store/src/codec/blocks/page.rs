//! One page of a block as bytes: its columns, and names without what they share.
//!
//! | bytes | what |
//! |---|---|
//! | varint | rows |
//! | … | columns (see `pack`): bytes shared with the name before, other bytes of the name, size, mtime, ctime from the mtime, inode, owner, links, kind and flags |
//! | … | the other bytes of all names |
//! | 1, … | 0: seen in the version that was listed; else the version |
//! | … | columns: slots and generations of the directories |
//! | varint, … | rows that were seen in another version: how many, then columns of row, inode and ctime |

use fusion_core::stat::Kind;
use fusion_core::time::StorageTime;
use fusion_core::view::Version;
use fusion_core::view::checkpoint::{BlockId as TreeBlock, PageImage, Row};

use super::super::pack::{pack, unpack_exact};
use super::super::row::{RowReader, put_varint, unzigzag, zigzag};
use crate::error::Malformed;

/// Rows of a page at most; the core refuses more.
const ROWS_MAX: u64 = 512;
/// The bits of a row that count links; above them are kind and flags.
const LINK_BITS: u32 = 24;

/// Writes pages; kept from one to the next for its memory.
#[derive(Debug, Default)]
pub(super) struct PageEncoder {
    column: Vec<u64>,
    suffixes: Vec<u8>,
}

/// Reads pages; kept from one to the next for its memory.
#[derive(Debug, Default)]
pub(super) struct PageDecoder {
    column: Vec<u64>,
    shared: Vec<u64>,
    lengths: Vec<u64>,
}

/// A signed number as one in the same order.
fn biased(value: i64) -> u64 {
    value as u64 ^ 1 << 63
}

fn unbiased(value: u64) -> i64 {
    (value ^ 1 << 63) as i64
}

impl PageEncoder {
    pub(super) fn put(&mut self, page: &PageImage, listed_in: Option<Version>, out: &mut Vec<u8>) {
        put_varint(out, page.rows.len() as u64);
        self.names(page, out);
        self.rows(page, out, |row| row.size);
        self.rows(page, out, |row| biased(row.mtime));
        self.rows(page, out, |row| zigzag(row.ctime.wrapping_sub(row.mtime)));
        self.rows(page, out, |row| row.inode);
        self.rows(page, out, |row| u64::from(row.owner));
        self.rows(page, out, |row| u64::from(row.bits & ((1 << LINK_BITS) - 1)));
        self.rows(page, out, |row| u64::from(row.bits >> LINK_BITS));
        out.extend_from_slice(&self.suffixes);
        match listed_in {
            Some(version) if version == page.seen => out.push(0),
            _ => {
                out.push(1);
                put_varint(out, page.seen.inode);
                put_varint(out, zigzag(page.seen.ctime.as_nanos()));
            }
        }
        self.put_column(out, page.links.iter().map(|(_, block)| u64::from(block.slot())));
        self.put_column(out, page.links.iter().map(|(_, block)| block.as_u64() >> 32));
        put_varint(out, page.seen_in.len() as u64);
        if !page.seen_in.is_empty() {
            let seen = &page.seen_in;
            self.put_column(out, seen.iter().map(|(row, _)| u64::from(*row)));
            self.put_column(out, seen.iter().map(|(_, version)| version.inode));
            self.put_column(out, seen.iter().map(|(_, version)| biased(version.ctime.as_nanos())));
        }
    }

    fn rows(&mut self, page: &PageImage, out: &mut Vec<u8>, value: impl Fn(&Row) -> u64) {
        self.put_column(out, page.rows.iter().map(value));
    }

    fn put_column(&mut self, out: &mut Vec<u8>, values: impl Iterator<Item = u64>) {
        self.column.clear();
        self.column.extend(values);
        pack(&self.column, out);
    }

    /// How much each name shares with the one before, and how much it does not.
    fn names(&mut self, page: &PageImage, out: &mut Vec<u8>) {
        let mut lengths = Vec::with_capacity(page.ends.len());
        self.column.clear();
        self.suffixes.clear();
        let (mut start, mut before): (usize, &[u8]) = (0, b"");
        for end in &page.ends {
            let name = &page.names[start..usize::from(*end)];
            let shared = before.iter().zip(name).take_while(|(left, right)| left == right).count();
            self.column.push(shared as u64);
            lengths.push((name.len() - shared) as u64);
            self.suffixes.extend_from_slice(&name[shared..]);
            (start, before) = (usize::from(*end), name);
        }
        pack(&self.column, out);
        pack(&lengths, out);
    }
}

impl PageDecoder {
    /// Reads a page of a directory that was listed in this version.
    pub(super) fn take(
        &mut self,
        reader: &mut RowReader<'_>,
        listed_in: Option<Version>,
    ) -> Result<PageImage, Malformed> {
        let rows = reader.varint()?;
        if rows > ROWS_MAX {
            return Err(Malformed::Broken("a page has too many rows"));
        }
        let rows = rows as usize;
        unpack_exact(reader, rows, &mut self.shared)?;
        unpack_exact(reader, rows, &mut self.lengths)?;
        let mut image = PageImage { rows: vec![Row::default(); rows], ..PageImage::default() };
        self.fill(reader, &mut image, |row, value| row.size = value)?;
        self.fill(reader, &mut image, |row, value| row.mtime = unbiased(value))?;
        self.fill(reader, &mut image, |row, value| {
            row.ctime = row.mtime.wrapping_add(unzigzag(value));
        })?;
        self.fill(reader, &mut image, |row, value| row.inode = value)?;
        // What is too large for its column becomes an owner or a kind that cannot be: the core
        // refuses it.
        self.fill(reader, &mut image, |row, value| {
            row.owner = u32::try_from(value).unwrap_or(u32::MAX);
        })?;
        self.fill(reader, &mut image, |row, value| {
            row.bits = value.min((1 << LINK_BITS) - 1) as u32;
        })?;
        self.fill(reader, &mut image, |row, value| {
            row.bits |= (value.min(255) as u32) << LINK_BITS;
        })?;
        self.names(reader, &mut image)?;
        image.seen = match (reader.u8()?, listed_in) {
            (0, Some(version)) => version,
            (1, _) => {
                let inode = reader.varint()?;
                Version { inode, ctime: StorageTime::from_nanos(reader.signed()?) }
            }
            _ => return Err(Malformed::Broken("a page was seen in no version")),
        };
        self.links(reader, &mut image)?;
        self.seen(reader, &mut image)?;
        Ok(image)
    }

    fn fill(
        &mut self,
        reader: &mut RowReader<'_>,
        image: &mut PageImage,
        set: impl Fn(&mut Row, u64),
    ) -> Result<(), Malformed> {
        unpack_exact(reader, image.rows.len(), &mut self.column)?;
        image.rows.iter_mut().zip(&self.column).for_each(|(row, value)| set(row, *value));
        Ok(())
    }

    fn names(&self, reader: &mut RowReader<'_>, image: &mut PageImage) -> Result<(), Malformed> {
        const LONG: Malformed = Malformed::Broken("the names of a page are too long");
        let mut bytes = self.shared.iter().chain(&self.lengths);
        let total = bytes.try_fold(0_u64, |sum, value| sum.checked_add(*value));
        let total = total.filter(|total| *total <= u64::from(u16::MAX)).ok_or(LONG)? as usize;
        let mut names = Vec::with_capacity(total);
        image.ends.reserve_exact(image.rows.len());
        let mut before = 0..0;
        for (shared, length) in self.shared.iter().zip(&self.lengths) {
            let (shared, start) = (*shared as usize, names.len());
            if shared > before.len() {
                return Err(Malformed::Broken("a name shares more than there is"));
            }
            names.extend_from_within(before.start..before.start + shared);
            names.extend_from_slice(reader.bytes(*length as usize)?);
            before = start..names.len();
            image.ends.push(names.len() as u16);
        }
        image.names = names;
        Ok(())
    }

    fn links(
        &mut self,
        reader: &mut RowReader<'_>,
        image: &mut PageImage,
    ) -> Result<(), Malformed> {
        let is_directory = |row: &Row| row.bits >> LINK_BITS & 7 == Kind::Directory as u32;
        let count = image.rows.iter().filter(|row| is_directory(row)).count();
        unpack_exact(reader, count, &mut self.column)?;
        unpack_exact(reader, count, &mut self.lengths)?;
        image.links.reserve_exact(count);
        let rows = (0_u16..).zip(&image.rows).filter(|(_, row)| is_directory(row));
        for ((row, _), (slot, generation)) in rows.zip(self.column.iter().zip(&self.lengths)) {
            if *slot > u64::from(u32::MAX) || *generation > u64::from(u32::MAX) {
                return Err(Malformed::Broken("a directory has no such block"));
            }
            image.links.push((row, TreeBlock::from_u64(generation << 32 | slot)));
        }
        Ok(())
    }

    fn seen(&mut self, reader: &mut RowReader<'_>, image: &mut PageImage) -> Result<(), Malformed> {
        let count = reader.varint()?;
        if count > image.rows.len() as u64 {
            return Err(Malformed::Broken("more rows were seen than there are"));
        }
        if count == 0 {
            return Ok(());
        }
        let count = count as usize;
        unpack_exact(reader, count, &mut self.shared)?;
        unpack_exact(reader, count, &mut self.lengths)?;
        unpack_exact(reader, count, &mut self.column)?;
        image.seen_in.reserve_exact(count);
        let versions = self.lengths.iter().zip(&self.column);
        for (row, (inode, ctime)) in self.shared.iter().zip(versions) {
            let row = u16::try_from(*row).map_err(|_| Malformed::Broken("no such row"))?;
            let ctime = StorageTime::from_nanos(unbiased(*ctime));
            image.seen_in.push((row, Version { inode: *inode, ctime }));
        }
        Ok(())
    }
}
