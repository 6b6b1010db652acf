//! A sorted run of entries: names packed in one buffer, tags and rows beside it.
//!
//! Owns up to [`ROWS_MAX`] entries of one directory. Used by `body` only. A name is found by its
//! 16-bit tag (one pass over 2 bytes per row, which measures better than halving over names), a
//! place to insert by halving. Must never: hold more than `u16` can count, or keep much room that it
//! does not need. Tested below and with the tree.

mod image;

use std::cmp::Ordering;

use crate::time::StorageTime;

use super::row::Row;
use super::sparse::Sparse;
use super::{BlockId, Version};

pub use image::PageImage;

/// Rows of a page at most.
pub(super) const ROWS_MAX: usize = 512;
/// Bytes of names of a page at most: an end of a name is a `u16`.
pub(super) const NAMES_MAX: usize = u16::MAX as usize;

/// The version of a row or page that was never seen in one.
pub(super) const NEVER: Version = Version { inode: 0, ctime: StorageTime::from_nanos(i64::MIN) };

/// What most pages do not have.
#[derive(Debug, Clone, Default)]
struct Extra {
    /// Blocks of the directories among the rows.
    links: Sparse<BlockId>,
    /// Versions in which rows were seen, where it is not the page's.
    seen: Sparse<Version>,
}

/// A sorted run of entries.
#[derive(Debug, Clone)]
pub(super) struct Page {
    /// Tags of the names: apart from all else, so that a look reads as little as can be.
    tags: Vec<u16>,
    /// Where each name ends in `names`.
    ends: Vec<u16>,
    rows: Vec<Row>,
    names: Vec<u8>,
    /// The version of the directory in which all rows were last seen, save those that differ.
    seen: Version,
    extra: Option<Box<Extra>>,
}

impl Default for Page {
    fn default() -> Self {
        Self::with_capacity(0, 0, NEVER)
    }
}

/// The tag of a name; the same in every process, for it decides nothing.
#[inline]
pub(super) fn tag(name: &[u8]) -> u16 {
    const MIX: u64 = 0x9E37_79B9_7F4A_7C15;
    let mut hash = name.len() as u64;
    let mut chunks = name.chunks_exact(8);
    for chunk in &mut chunks {
        let word = chunk.try_into().map_or(0, u64::from_le_bytes);
        hash = (hash ^ word).wrapping_mul(MIX).rotate_left(29);
    }
    let rest = chunks.remainder().iter().fold(0, |word, &byte| word << 8 | u64::from(byte));
    ((hash ^ rest).wrapping_mul(MIX) >> 48) as u16
}

impl Page {
    pub(super) fn with_capacity(rows: usize, names: usize, seen: Version) -> Self {
        Self {
            tags: Vec::with_capacity(rows),
            ends: Vec::with_capacity(rows),
            rows: Vec::with_capacity(rows),
            names: Vec::with_capacity(names),
            seen,
            extra: None,
        }
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    #[inline]
    pub(super) fn name(&self, row: usize) -> &[u8] {
        &self.names[self.start(row)..usize::from(self.ends[row])]
    }

    /// Where the name of a row starts in [`Page::names`].
    #[inline]
    pub(super) fn start(&self, row: usize) -> usize {
        if row == 0 { 0 } else { usize::from(self.ends[row - 1]) }
    }

    /// All names, back to back.
    #[inline]
    pub(super) fn names(&self) -> &[u8] {
        &self.names
    }

    #[inline]
    pub(super) fn end(&self, row: usize) -> usize {
        usize::from(self.ends[row])
    }

    #[inline]
    pub(super) fn tag_of(&self, row: usize) -> u16 {
        self.tags[row]
    }

    #[inline]
    pub(super) fn row(&self, row: usize) -> &Row {
        &self.rows[row]
    }

    pub(super) fn rows(&self) -> &[Row] {
        &self.rows
    }

    pub(super) fn row_mut(&mut self, row: usize) -> &mut Row {
        &mut self.rows[row]
    }

    /// The row with this name.
    #[inline]
    pub(super) fn find(&self, name: &[u8]) -> Option<usize> {
        self.find_tag(tag(name), |row| self.name(row) == name)
    }

    /// The first row with this tag that `is` the one.
    #[inline]
    fn find_tag(&self, tag: u16, is: impl Fn(usize) -> bool) -> Option<usize> {
        const LANES: usize = 32;
        for (number, chunk) in self.tags.chunks(LANES).enumerate() {
            let hits = chunk.iter().fold(0, |hits, &other| hits | u16::from(other == tag));
            if hits == 0 {
                continue;
            }
            for (lane, &other) in chunk.iter().enumerate() {
                let row = number * LANES + lane;
                if other == tag && is(row) {
                    return Some(row);
                }
            }
        }
        None
    }

    /// The first row with the tag of this name.
    pub(super) fn guess(&self, name: &[u8]) -> Option<usize> {
        self.find_tag(tag(name), |_| true)
    }

    /// Loads a row, and where its name stands.
    #[inline]
    pub(super) fn touch_row(&self, row: usize) -> u64 {
        self.rows[row].touch() ^ self.end(row) as u64
    }

    /// Loads the name of a row.
    #[inline]
    pub(super) fn touch_name(&self, row: usize) -> u8 {
        let name = self.name(row);
        name.first().copied().unwrap_or(0) ^ name.last().copied().unwrap_or(0)
    }

    /// The first row from `from` on whose name is not less (`true`: not less or equal) than `name`.
    pub(super) fn lower_bound(&self, name: &[u8], after: bool) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            let before = match self.name(middle).cmp(name) {
                Ordering::Less => true,
                Ordering::Equal => after,
                Ordering::Greater => false,
            };
            if before { low = middle + 1 } else { high = middle }
        }
        low
    }

    /// Whether a name of this length still fits.
    pub(super) fn fits(&self, name_len: usize) -> bool {
        self.len() < ROWS_MAX && self.names.len() + name_len <= NAMES_MAX
    }

    /// Adds a row behind all others; the caller knows that it fits.
    #[inline]
    pub(super) fn push(&mut self, name: &[u8], tag: u16, row: Row) {
        self.names.extend_from_slice(name);
        debug_assert!(self.names.len() <= NAMES_MAX);
        self.tags.push(tag);
        self.ends.push(self.names.len() as u16);
        self.rows.push(row);
    }

    /// Adds rows of another page behind all others, with the blocks of their directories.
    pub(super) fn push_run(&mut self, from: &Self, rows: std::ops::Range<usize>) {
        let (base, begin) = (self.names.len(), from.start(rows.start));
        let first = self.len();
        self.names.extend_from_slice(&from.names[begin..from.start(rows.end)]);
        debug_assert!(self.names.len() <= NAMES_MAX);
        self.tags.extend_from_slice(&from.tags[rows.clone()]);
        let ends = from.ends[rows.clone()].iter();
        self.ends.extend(ends.map(|&end| (usize::from(end) - begin + base) as u16));
        self.rows.extend_from_slice(&from.rows[rows.clone()]);
        let mut next = from.next_link(rows.start);
        while let Some((row, link)) = next.filter(|(row, _)| *row < rows.end) {
            self.push_link(row - rows.start + first, link);
            next = from.next_link(row + 1);
        }
    }

    pub(super) fn insert(&mut self, row: usize, name: &[u8], packed: Row) {
        let more = if self.len() == self.rows.capacity() { self.len() / 8 + 1 } else { 0 };
        self.rows.reserve_exact(more);
        self.tags.reserve_exact(more);
        self.ends.reserve_exact(more);
        if self.names.len() + name.len() > self.names.capacity() {
            self.names.reserve_exact(self.names.len() / 8 + name.len());
        }
        let start = self.start(row);
        let old = self.names.len();
        self.names.resize(old + name.len(), 0);
        self.names.copy_within(start..old, start + name.len());
        self.names[start..start + name.len()].copy_from_slice(name);
        let end = (start + name.len()) as u16;
        self.tags.insert(row, tag(name));
        self.ends.insert(row, end);
        for end in &mut self.ends[row + 1..] {
            *end += name.len() as u16;
        }
        self.rows.insert(row, packed);
        if let Some(extra) = &mut self.extra {
            extra.links.row_came(row);
            extra.seen.row_came(row);
        }
    }

    pub(super) fn remove(&mut self, row: usize) {
        let (start, end) = (self.start(row), self.end(row));
        self.names.drain(start..end);
        self.tags.remove(row);
        self.ends.remove(row);
        for other in &mut self.ends[row..] {
            *other -= (end - start) as u16;
        }
        self.rows.remove(row);
        if let Some(extra) = &mut self.extra {
            extra.links.row_went(row);
            extra.seen.row_went(row);
        }
        if self.rows.capacity() > 16 && self.len() < self.rows.capacity() / 2 {
            self.shrink();
        }
    }

    /// Gives back all room that is not needed.
    pub(super) fn shrink(&mut self) {
        self.rows.shrink_to_fit();
        self.tags.shrink_to_fit();
        self.ends.shrink_to_fit();
        self.names.shrink_to_fit();
        if let Some(extra) = &mut self.extra {
            extra.links.shrink();
            extra.seen.shrink();
        }
        self.drop_empty_extra();
    }

    fn drop_empty_extra(&mut self) {
        if self.extra.as_ref().is_some_and(|e| e.links.is_empty() && e.seen.is_empty()) {
            self.extra = None;
        }
    }

    /// Rows from `row` on, as a page of their own.
    pub(super) fn split_off(&mut self, row: usize) -> Self {
        let mut tail =
            Self::with_capacity(self.len() - row, self.names.len() - self.start(row), self.seen);
        let start = self.start(row);
        tail.names.extend_from_slice(&self.names[start..]);
        tail.tags.extend_from_slice(&self.tags[row..]);
        let ends = self.ends[row..].iter();
        tail.ends.extend(ends.map(|&end| (usize::from(end) - start) as u16));
        tail.rows.extend_from_slice(&self.rows[row..]);
        tail.extra = self.extra.as_mut().map(|extra| {
            Box::new(Extra { links: extra.links.split_off(row), seen: extra.seen.split_off(row) })
        });
        tail.drop_empty_extra();
        self.names.truncate(start);
        self.tags.truncate(row);
        self.ends.truncate(row);
        self.rows.truncate(row);
        self.shrink();
        tail
    }

    /// Takes all rows of a page that comes after this one.
    pub(super) fn append(&mut self, tail: &Self) {
        let first = self.len();
        self.rows.reserve_exact(tail.len());
        self.tags.reserve_exact(tail.len());
        self.ends.reserve_exact(tail.len());
        self.names.reserve_exact(tail.names.len());
        self.push_run(tail, 0..tail.len());
        for row in 0..tail.len() {
            self.set_seen(first + row, tail.seen_in(row));
        }
    }

    /// The version in which rows were seen, save those that differ.
    pub(super) fn seen(&self) -> Version {
        self.seen
    }

    /// The version in which a row was seen.
    #[inline]
    pub(super) fn seen_in(&self, row: usize) -> Version {
        match &self.extra {
            Some(extra) => extra.seen.get(row).unwrap_or(self.seen),
            None => self.seen,
        }
    }

    pub(super) fn set_seen(&mut self, row: usize, version: Version) {
        let value = (version != self.seen).then_some(version);
        if value.is_some() || self.extra.is_some() {
            self.extra.get_or_insert_default().seen.set(row, value);
        }
    }

    /// Sets the version of all rows at once, save for those that `differ`, in order of rows.
    pub(super) fn set_all_seen(&mut self, version: Version, differ: &[(usize, Version)]) {
        self.seen = version;
        if let Some(extra) = &mut self.extra {
            extra.seen = Sparse::default();
        }
        for &(row, version) in differ {
            self.extra.get_or_insert_default().seen.push(row, version);
        }
        self.drop_empty_extra();
    }

    /// The block of a row, if it is a directory.
    #[inline]
    pub(super) fn link(&self, row: usize) -> Option<BlockId> {
        self.extra.as_ref()?.links.get(row)
    }

    /// The first directory among the rows from `row` on, and its block.
    #[inline]
    pub(super) fn next_link(&self, row: usize) -> Option<(usize, BlockId)> {
        self.extra.as_ref()?.links.next_from(row)
    }

    /// Blocks of all directories among the rows.
    pub(super) fn links(&self) -> impl Iterator<Item = (usize, BlockId)> + '_ {
        self.extra.iter().flat_map(|extra| extra.links.iter())
    }

    pub(super) fn set_link(&mut self, row: usize, link: Option<BlockId>) {
        if link.is_some() || self.extra.is_some() {
            self.extra.get_or_insert_default().links.set(row, link);
        }
    }

    pub(super) fn push_link(&mut self, row: usize, link: BlockId) {
        self.extra.get_or_insert_default().links.push(row, link);
    }

    /// Loads one tag of every cache line.
    pub(super) fn touch(&self) -> u64 {
        self.tags.iter().step_by(32).fold(0, |all, &tag| all ^ u64::from(tag))
    }

    /// Bytes on the heap.
    pub(super) fn bytes(&self) -> usize {
        let extra = self
            .extra
            .as_ref()
            .map_or(0, |e| size_of::<Extra>() + e.links.bytes() + e.seen.bytes());
        (self.tags.capacity() + self.ends.capacity()) * size_of::<u16>()
            + self.rows.capacity() * size_of::<Row>()
            + self.names.capacity()
            + extra
    }
}
