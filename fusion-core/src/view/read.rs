//! Reading a view beside its writer, in bounded slices.
//!
//! Owns what readers are told. Called by the server's queries, on any thread; one answer takes the
//! lock of one directory at a time (see `tree/blocks.rs`). A listing is consistent for its directory.
//! Must never: keep a lock between two calls. Tested beside a writer in `tree/tests.rs`.

use std::sync::Arc;

use crate::id::Revision;
use crate::path::PathRef;
use crate::stat::{Kind, Stat};
use crate::time::{ServerTime, StorageTime};

use super::tree::{BlockId, Child, Flags, Tree, Walk};

pub use super::tree::{Needle, Scope};

/// What lies below a directory, the directory itself not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Regular files; each hard link counts.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Symbolic links and all else.
    pub others: u64,
    /// Sum of the sizes of the files.
    pub bytes: u64,
    /// Entries that are suspect.
    pub suspects: u64,
    /// Entries that are blind.
    pub blind: u64,
    /// Newest mtime of any entry below.
    pub newest_mtime: Option<StorageTime>,
    /// When the view last learned of a change below.
    pub last_change: Option<ServerTime>,
}

/// An entry and what is known of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryInfo {
    /// Its stat.
    pub stat: Stat,
    /// Maybe unfinished (R7).
    pub suspect: bool,
    /// Known only by scanning (R8).
    pub blind: bool,
    /// What lies below it, if it is a directory.
    pub totals: Option<Totals>,
}

impl EntryInfo {
    /// The same without what lies below it.
    pub(super) fn of_child(child: &Child) -> Self {
        Self::of(&child.stat, child.flags, None)
    }

    #[inline]
    fn of(stat: &Stat, flags: Flags, totals: Option<Totals>) -> Self {
        Self {
            stat: *stat,
            suspect: flags.has(Flags::SUSPECT),
            blind: flags.has(Flags::BLIND),
            totals,
        }
    }
}

/// A child in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedEntry {
    /// Its name.
    pub name: Vec<u8>,
    /// Its stat.
    pub stat: Stat,
    /// Maybe unfinished (R7).
    pub suspect: bool,
    /// Known only by scanning (R8).
    pub blind: bool,
}

/// Why a read has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Nothing is known at the path.
    #[error("no such path in the view")]
    NotFound,
    /// The path is no directory.
    #[error("not a directory")]
    NotADirectory,
}

/// Where a [`ViewReader::find`] is; carries it over from slice to slice. Entries that stay are seen
/// exactly once, whatever changes beside them.
#[derive(Debug, Clone)]
pub struct FindCursor {
    walk: Walk,
}

/// Reads a view; cheap to clone.
#[derive(Debug, Clone)]
pub struct ViewReader {
    tree: Arc<Tree>,
}

impl ViewReader {
    /// Reads this tree.
    #[must_use]
    pub fn new(tree: Arc<Tree>) -> Self {
        Self { tree }
    }

    /// The number of the last change when this is called.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.tree.revision()
    }

    /// The entry at a path.
    #[must_use]
    pub fn entry(&self, path: PathRef<'_>) -> Option<EntryInfo> {
        self.tree.entry(path).map(|child| self.told(&child))
    }

    /// Totals of what lies below a path; zero for what is no directory.
    ///
    /// # Errors
    /// [`ReadError::NotFound`].
    pub fn totals(&self, path: PathRef<'_>) -> Result<Totals, ReadError> {
        match self.tree.dir(path).and_then(|dir| self.tree.totals(dir)) {
            Some(totals) => Ok(totals),
            None => self.entry(path).map(|_| Totals::default()).ok_or(ReadError::NotFound),
        }
    }

    /// At most `limit` children by name bytes, those after `after`; and whether there are more.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn list(
        &self,
        path: PathRef<'_>,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<(Vec<ListedEntry>, bool), ReadError> {
        let mut page = Vec::new();
        let more = self.list_with(path, after, limit, |name, info| {
            page.push(ListedEntry {
                name: name.to_vec(),
                stat: info.stat,
                suspect: info.suspect,
                blind: info.blind,
            });
        })?;
        Ok((page, more))
    }

    /// As [`ViewReader::list`], but hands out the children one by one and allocates nothing. `each`
    /// is called under the lock of the directory: it must be short, and must not read the view.
    /// `totals` of what it gets is `None`.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn list_with(
        &self,
        path: PathRef<'_>,
        after: Option<&[u8]>,
        limit: usize,
        mut each: impl FnMut(&[u8], &EntryInfo),
    ) -> Result<bool, ReadError> {
        let dir = self.directory(path)?;
        let each = |name: &[u8], stat: &Stat, flags| each(name, &EntryInfo::of(stat, flags, None));
        self.tree.rows(dir, after, limit, each).ok_or(ReadError::NotFound)
    }

    /// Begins to walk what lies below a path: directories before what is in them, names by bytes.
    ///
    /// # Errors
    /// [`ReadError::NotFound`].
    pub fn find(&self, path: PathRef<'_>) -> Result<FindCursor, ReadError> {
        self.find_within(path, Scope::default(), None)
    }

    /// As [`ViewReader::find`], but goes only into directories that are in the scope, and on after a
    /// path that an earlier walk below the same path told (whatever it is by now; one that is not below
    /// the path begins at the beginning). An entry that is wanted by what the scope asks for, and stays
    /// so, is seen.
    ///
    /// # Errors
    /// [`ReadError::NotFound`].
    pub fn find_within(
        &self,
        path: PathRef<'_>,
        scope: Scope,
        after: Option<PathRef<'_>>,
    ) -> Result<FindCursor, ReadError> {
        match self.directory(path) {
            Ok(dir) => {
                let walk = Walk::new(dir, path.as_bytes()).within(scope);
                let walk = match after {
                    Some(after) => walk.after(&self.tree, after.as_bytes()),
                    None => walk,
                };
                Ok(FindCursor { walk })
            }
            Err(ReadError::NotADirectory) => Ok(FindCursor { walk: Walk::default() }),
            Err(error @ ReadError::NotFound) => Err(error),
        }
    }

    /// Walks on, looking at no more than `budget` entries, and hands those that `matches` (by name
    /// and stat) to `found` with their path. Whether it is done. Both are called under the lock of a
    /// directory: they must be short, and must not read the view.
    pub fn find_next(
        &self,
        cursor: &mut FindCursor,
        budget: usize,
        matches: impl FnMut(&[u8], &Stat) -> bool,
        found: impl FnMut(&[u8], &EntryInfo),
    ) -> bool {
        self.find_next_with(cursor, budget, None, matches, found)
    }

    /// As [`ViewReader::find_next`]; names without the needle are passed over many at a time, and
    /// `matches` is asked only for the others. A glob such as `run42*.dat` has `run42` in all names
    /// that it matches.
    pub fn find_next_with(
        &self,
        cursor: &mut FindCursor,
        budget: usize,
        needle: Option<&Needle>,
        matches: impl FnMut(&[u8], &Stat) -> bool,
        mut found: impl FnMut(&[u8], &EntryInfo),
    ) -> bool {
        cursor.walk.mend(&self.tree);
        self.tree.walk_next(&mut cursor.walk, budget, needle, matches, |path, child| {
            let totals = child.block.and_then(|dir| self.tree.totals(dir));
            found(path, &EntryInfo::of(&child.stat, child.flags, totals));
        })
    }

    pub(super) fn tree(&self) -> &Tree {
        &self.tree
    }

    /// An entry with what lies below it.
    pub(super) fn told(&self, child: &Child) -> EntryInfo {
        let totals = child.block.and_then(|dir| self.tree.totals(dir));
        EntryInfo { totals, ..EntryInfo::of_child(child) }
    }

    fn directory(&self, path: PathRef<'_>) -> Result<BlockId, ReadError> {
        if let Some(dir) = self.tree.dir(path) {
            return Ok(dir);
        }
        match self.tree.entry(path) {
            // It became a directory between the two looks.
            Some(child) if child.stat.kind == Kind::Directory => {
                child.block.ok_or(ReadError::NotFound)
            }
            Some(_) => Err(ReadError::NotADirectory),
            None => Err(ReadError::NotFound),
        }
    }
}
