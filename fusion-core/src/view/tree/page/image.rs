//! A page as a checkpoint has it: its columns, copied as they are.
//!
//! Owns no rule but what a page must be to be believed. Tags are hashes of names: they are made
//! again. Must never: make a page of columns that disagree. Tested by `checkpoint/tests.rs`.

use crate::path::NAME_MAX;
use crate::stat::Kind;

use super::super::row::Row;
use super::super::sparse::Sparse;
use super::super::{BlockId, Version};
use super::{Extra, NAMES_MAX, NEVER, Page, ROWS_MAX, tag};

/// The columns of a sorted run of entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageImage {
    /// Names, back to back, in order.
    pub names: Vec<u8>,
    /// Where each name ends in `names`.
    pub ends: Vec<u16>,
    /// All else, packed.
    pub rows: Vec<Row>,
    /// The version of the directory in which all rows were last seen, save those of `seen_in`.
    pub seen: Version,
    /// Rows that are directories, and their blocks.
    pub links: Vec<(u16, BlockId)>,
    /// Rows that were seen in another version.
    pub seen_in: Vec<(u16, Version)>,
}

impl Default for PageImage {
    fn default() -> Self {
        Self {
            names: Vec::new(),
            ends: Vec::new(),
            rows: Vec::new(),
            seen: NEVER,
            links: Vec::new(),
            seen_in: Vec::new(),
        }
    }
}

impl PageImage {
    /// Bytes on the heap, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.names.len()
            + self.ends.len() * size_of::<u16>()
            + self.rows.len() * size_of::<Row>()
            + self.links.len() * size_of::<(u16, BlockId)>()
            + self.seen_in.len() * size_of::<(u16, Version)>()
    }

    /// Whether the columns make a page; `owners` are known, and in the anchor alone a name is empty.
    fn check(&self, owners: u32, anchor: bool) -> Result<(), &'static str> {
        let rows = self.rows.len();
        if rows > ROWS_MAX || self.ends.len() != rows || self.names.len() > NAMES_MAX {
            return Err("its columns are of different lengths");
        }
        if self.ends.last().map_or(0, |end| usize::from(*end)) != self.names.len() {
            return Err("its names do not add up");
        }
        // Over all names at once, and without a way out: that is quicker than name by name.
        if self.names.iter().fold(false, |bad, byte| bad | (*byte == 0) | (*byte == b'/')) {
            return Err("it has a name that cannot be");
        }
        let mut start = 0;
        let mut last: Option<&[u8]> = None;
        for end in &self.ends {
            let end = usize::from(*end);
            let Some(name) = self.names.get(start..end) else {
                return Err("its names do not add up");
            };
            let sound = (1..=NAME_MAX).contains(&name.len()) && name != b"." && name != b"..";
            if anchor != name.is_empty() || (!anchor && !sound) {
                return Err("it has a name that cannot be");
            }
            if last.is_some_and(|last| last >= name) {
                return Err("its names are not in order");
            }
            (last, start) = (Some(name), end);
        }
        if self.rows.iter().any(|row| !row.is_sound() || row.owner() > owners) {
            return Err("it has a row of no kind or of nobody");
        }
        self.check_sparse()
    }

    fn check_sparse(&self) -> Result<(), &'static str> {
        let is_directory = |row: &Row| row.kind() == Kind::Directory;
        let directories = self.rows.iter().filter(|row| is_directory(row)).count();
        let linked = |row: &u16| self.rows.get(usize::from(*row)).is_some_and(is_directory);
        if directories != self.links.len() || !self.links.iter().all(|(row, _)| linked(row)) {
            return Err("its directories are not those that it links");
        }
        let inside = |row: u16| usize::from(row) < self.rows.len();
        let ordered = self.links.is_sorted_by(|left, right| left.0 < right.0)
            && self.seen_in.is_sorted_by(|left, right| left.0 < right.0);
        if !ordered || !self.seen_in.iter().all(|(row, _)| inside(*row)) {
            return Err("its rows are not in order");
        }
        Ok(())
    }
}

impl Page {
    /// A copy of all columns.
    pub(in super::super) fn image(&self) -> PageImage {
        let extra = self.extra.as_deref();
        PageImage {
            names: self.names.clone(),
            ends: self.ends.clone(),
            rows: self.rows.clone(),
            seen: self.seen,
            links: extra.map(|extra| extra.links.cells().to_vec()).unwrap_or_default(),
            seen_in: extra.map(|extra| extra.seen.cells().to_vec()).unwrap_or_default(),
        }
    }

    /// A page of columns that nobody vouches for.
    pub(in super::super) fn from_image(
        image: PageImage,
        owners: u32,
        anchor: bool,
    ) -> Result<Self, &'static str> {
        image.check(owners, anchor)?;
        let PageImage { names, ends, rows, seen, links, seen_in } = image;
        let mut start = 0;
        let tags = ends.iter().map(|end| {
            let name = &names[start..usize::from(*end)];
            start = usize::from(*end);
            tag(name)
        });
        let tags = tags.collect();
        let extra = (!links.is_empty() || !seen_in.is_empty()).then(|| {
            let (links, seen) = (Sparse::from_cells(links), Sparse::from_cells(seen_in));
            Box::new(Extra { links, seen })
        });
        let mut page = Self { tags, ends, rows, names, seen, extra };
        page.shrink();
        Ok(page)
    }
}
