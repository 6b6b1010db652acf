//! The change that a listing makes: one record in columns.
//!
//! Owns what a replay needs of a listing: the rows that came or changed, and to which names the
//! directory's new version does not apply. Rows that said what was known are not in it.

use crate::evidence::ChildColumns;
use crate::path::{PathRef, TreePath};
use crate::stat::Stat;
use crate::time::ServerTime;

use super::{ChangeKind, Facts, Version};
use crate::view::NameRange;

/// A directory was listed, whole or one part of it (R4).
#[derive(Debug, Clone, PartialEq)]
pub struct Listed {
    /// The directory.
    pub dir: TreePath,
    /// The version of it that was listed.
    pub version: Version,
    /// When the listing began.
    pub started_at: ServerTime,
    /// The names that it tells of are those after this one; absent: from the first.
    pub after: Option<Box<[u8]>>,
    /// And those up to this one, included; absent: to the last.
    pub through: Option<Box<[u8]>>,
    /// The rows that came or changed, by name bytes.
    pub rows: ChildColumns,
    /// Flags of each row: 1 it is suspect, 2 it is blind.
    pub flags: Vec<u8>,
    /// The stats that rows had before, by row number; a row without one came.
    pub before: Vec<(u32, Stat)>,
    /// Known names in the interval that are not among the rows were seen in this version, save those
    /// in `unseen`; if not, none of them was.
    pub sees: bool,
    /// Known names in the interval that were not seen in this version, or in a newer one, by name
    /// bytes: what is remembered of where they were seen stays.
    pub unseen: Vec<Box<[u8]>>,
    /// Names among `unseen` against which the listing could not be ordered (§3).
    pub open: Vec<Box<[u8]>>,
    /// The end of the quiet period of the rows that are suspect.
    pub suspect_until: ServerTime,
    /// What is remembered of the listing, once its last part came; absent before.
    pub outcome: Option<ListedOutcome>,
}

/// What is remembered of a listing that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListedOutcome {
    /// All names were read, in all parts.
    pub complete: bool,
    /// Nothing was kept against it, and the directory had been still for long enough (R4.4).
    pub settled: bool,
    /// Realtime evidence knew a newer version of the directory (R4.2).
    pub behind: bool,
}

/// The row is suspect (R7).
pub const ROW_SUSPECT: u8 = 1;
/// The row is blind (R8).
pub const ROW_BLIND: u8 = 2;

impl Listed {
    /// A listing of which nothing is known yet.
    pub(crate) fn of(
        dir: PathRef<'_>,
        version: Version,
        started_at: ServerTime,
        suspect_until: ServerTime,
        range: &NameRange<'_>,
        sees: bool,
    ) -> Self {
        Self {
            dir: dir.to_owned(),
            version,
            started_at,
            after: range.after.map(Box::from),
            through: range.through.map(Box::from),
            rows: ChildColumns::default(),
            flags: Vec::new(),
            before: Vec::new(),
            sees,
            unseen: Vec::new(),
            open: Vec::new(),
            suspect_until,
            outcome: None,
        }
    }

    /// How many rows came or changed.
    #[must_use]
    pub fn row_count(&self) -> usize {
        self.rows.len()
    }

    /// The name of a row.
    #[must_use]
    pub fn name(&self, row: usize) -> Option<&[u8]> {
        let start: usize = self.rows.name_lengths.get(..row)?.iter().map(|l| *l as usize).sum();
        let length = *self.rows.name_lengths.get(row)? as usize;
        self.rows.names.get(start..start + length)
    }

    /// The change of one row as a change of its own.
    #[must_use]
    pub fn entry(&self, row: usize) -> Option<ChangeKind> {
        let path = self.dir.join(self.name(row)?).ok()?;
        let stat = self.rows.as_children().stat(row);
        let flags = self.flags.get(row).copied().unwrap_or(0);
        let facts = Facts {
            seen_in: Some(self.version),
            confirmed_at: None,
            suspect_until: (flags & ROW_SUSPECT != 0).then_some(self.suspect_until),
            blind: flags & ROW_BLIND != 0,
            sample: None,
        };
        let before = self.before.binary_search_by_key(&(row as u32), |(number, _)| *number);
        Some(match before {
            Ok(at) => {
                let before = self.before[at].1;
                ChangeKind::Modified { path, before, after: stat, facts }
            }
            Err(_) => ChangeKind::Created { path, stat, facts },
        })
    }
}
