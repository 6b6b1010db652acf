//! Reading a view beside its writer, in bounded slices.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use crate::id::Revision;
use crate::path::{PathRef, TreePath};
use crate::stat::{Kind, Stat};
use crate::time::{ServerTime, StorageTime};

use super::tree::Tree;

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

/// Where a [`ViewReader::find`] is; carries it over from slice to slice.
#[derive(Debug, Clone)]
pub struct FindCursor {
    /// Directories still to be read, the next one last, each with the last name already seen.
    pending: Vec<(TreePath, Option<Vec<u8>>)>,
}

/// Reads a view; cheap to clone.
#[derive(Debug, Clone)]
pub struct ViewReader {
    tree: Arc<RwLock<Tree>>,
}

impl ViewReader {
    pub(super) fn new(tree: Arc<RwLock<Tree>>) -> Self {
        Self { tree }
    }

    /// The number of the last change when this is called.
    #[must_use]
    pub fn revision(&self) -> Revision {
        locked(&self.tree).revision
    }

    /// The entry at a path.
    #[must_use]
    pub fn entry(&self, path: PathRef<'_>) -> Option<EntryInfo> {
        let tree = locked(&self.tree);
        let stat = *tree.stat(path)?;
        let totals = (stat.kind == Kind::Directory).then(|| tree.totals(path)).flatten();
        Some(EntryInfo { stat, suspect: false, blind: false, totals })
    }

    /// Totals of what lies below a path; zero for what is no directory.
    ///
    /// # Errors
    /// [`ReadError::NotFound`].
    pub fn totals(&self, path: PathRef<'_>) -> Result<Totals, ReadError> {
        let entry = self.entry(path).ok_or(ReadError::NotFound)?;
        Ok(entry.totals.unwrap_or_default())
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
        let tree = locked(&self.tree);
        let stat = tree.stat(path).ok_or(ReadError::NotFound)?;
        if stat.kind != Kind::Directory {
            return Err(ReadError::NotADirectory);
        }
        let mut children = tree.children(path, after);
        let page = children
            .by_ref()
            .take(limit)
            .map(|(name, stat)| ListedEntry {
                name: name.to_vec(),
                stat: *stat,
                suspect: false,
                blind: false,
            })
            .collect();
        Ok((page, children.next().is_some()))
    }

    /// Begins to walk what lies below a path: directories before what is in them, names by bytes.
    ///
    /// # Errors
    /// [`ReadError::NotFound`].
    pub fn find(&self, path: PathRef<'_>) -> Result<FindCursor, ReadError> {
        self.entry(path).ok_or(ReadError::NotFound)?;
        Ok(FindCursor { pending: vec![(path.to_owned(), None)] })
    }

    /// Walks on, looking at no more than `budget` entries, and hands those that `matches` (by name
    /// and stat) to `found` with their path. Whether it is done.
    pub fn find_next(
        &self,
        cursor: &mut FindCursor,
        budget: usize,
        mut matches: impl FnMut(&[u8], &Stat) -> bool,
        mut found: impl FnMut(&[u8], &EntryInfo),
    ) -> bool {
        let tree = locked(&self.tree);
        for _ in 0..budget {
            let Some((dir, after)) = cursor.pending.pop() else { return true };
            let Some((name, stat)) = tree.children(dir.as_ref(), after.as_deref()).next() else {
                continue;
            };
            cursor.pending.push((dir.clone(), Some(name.to_vec())));
            let Ok(path) = dir.join(name) else { continue };
            if matches(name, stat) {
                let info = EntryInfo { stat: *stat, suspect: false, blind: false, totals: None };
                found(path.as_bytes(), &info);
            }
            if stat.kind == Kind::Directory {
                cursor.pending.push((path, None));
            }
        }
        cursor.pending.is_empty()
    }
}

pub(super) fn locked(tree: &RwLock<Tree>) -> RwLockReadGuard<'_, Tree> {
    tree.read().unwrap_or_else(PoisonError::into_inner)
}
