//! Evidence held back while a scan runs (R1): its way is not known yet.
//!
//! Owns the held rows, in the order in which they came, and by the directory that they wait for.
//! Part of the durable record. Must never: hold more than the bound, or change the order of what
//! one agent said of one directory. Tested by `tests/cases/r1-held.txt`.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::evidence::Witness;
use crate::path::{PathRef, TreePath};
use crate::stat::Stat;
use crate::time::ServerTime;

use super::path_map::PathMap;
use super::shared::Shared;

/// A realtime upsert that waits for its directory.
#[derive(Debug, Clone, PartialEq)]
pub struct HeldUpsert {
    /// The entry.
    pub path: TreePath,
    /// Its stat.
    pub stat: Stat,
    /// The stat of its directory.
    pub parent: Stat,
    /// The writer has closed it.
    pub atomic: bool,
    /// It came by a rename: if it is a directory, what is in it has to be listed (R3).
    pub moved_in: bool,
    /// When it was looked at.
    pub observed_at: ServerTime,
    /// Who looked.
    pub by: Witness,
}

/// What makes two rows one row that came twice. The stat as well: two writes may be clamped to one
/// time, and then the second one counts.
type Look = (TreePath, ServerTime, bool, Stat);

/// Held evidence by number.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Held {
    rows: Shared<BTreeMap<u64, HeldUpsert>>,
    by_dir: PathMap<BTreeSet<u64>>,
    /// What is held, to know a row that is delivered twice. Only asked, never walked.
    looks: HashSet<Look>,
    next: u64,
}

impl Held {
    /// All rows, to be held while they change.
    pub(super) fn shared(&self) -> &Shared<BTreeMap<u64, HeldUpsert>> {
        &self.rows
    }

    /// No number below this one is given again.
    pub(super) fn set_next(&mut self, next: u64) {
        self.next = self.next.max(next);
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The number that the next held row gets.
    pub(super) fn next_number(&self) -> u64 {
        self.next
    }

    pub(super) fn put(&mut self, number: u64, row: HeldUpsert) {
        let dir = dir_of(&row);
        match self.by_dir.get_mut(dir) {
            Some(numbers) => drop(numbers.insert(number)),
            None => drop(self.by_dir.insert(dir, BTreeSet::from([number]))),
        }
        self.looks.insert(look_of(&row));
        self.next = self.next.max(number.saturating_add(1));
        self.rows.edit().insert(number, row);
    }

    pub(super) fn take(&mut self, number: u64) -> Option<HeldUpsert> {
        self.rows.get(&number)?;
        let row = self.rows.edit().remove(&number)?;
        self.looks.remove(&look_of(&row));
        let dir = dir_of(&row);
        if let Some(numbers) = self.by_dir.get_mut(dir) {
            numbers.remove(&number);
            if numbers.is_empty() {
                self.by_dir.remove(dir);
            }
        }
        Some(row)
    }

    pub(super) fn get(&self, number: u64) -> Option<&HeldUpsert> {
        self.rows.get(&number)
    }

    /// Whether the very same look is held already: it was delivered twice.
    pub(super) fn has(&self, row: &HeldUpsert) -> bool {
        self.looks.contains(&look_of(row))
    }

    /// Whether something waits for a directory.
    pub(super) fn waits_for(&self, dir: PathRef<'_>) -> bool {
        self.by_dir.get(dir).is_some()
    }

    /// What waits for a directory, in the order in which it came.
    pub(super) fn waiting_for(&self, dir: PathRef<'_>) -> Vec<u64> {
        self.by_dir.get(dir).map(|numbers| numbers.iter().copied().collect()).unwrap_or_default()
    }

    /// What waits at or below a path, in the order in which it came.
    pub(super) fn within(&self, path: PathRef<'_>) -> Vec<u64> {
        let within = |row: &HeldUpsert| row.path.as_ref().is_within(path);
        self.rows.iter().filter(|(_, row)| within(row)).map(|(number, _)| *number).collect()
    }

    /// Whether the indexes are true.
    pub(super) fn is_sound(&self) -> bool {
        let indexed = |(number, row): (&u64, &HeldUpsert)| {
            let waits = self.by_dir.get(dir_of(row)).is_some_and(|them| them.contains(number));
            waits && self.has(row)
        };
        let waiting: usize = self.by_dir.iter().map(|(_, numbers)| numbers.len()).sum();
        self.rows.iter().all(indexed) && waiting == self.rows.len() && self.looks.len() == waiting
    }

    /// All, in the order in which they came.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &HeldUpsert)> {
        self.rows.iter().map(|(number, row)| (*number, row))
    }
}

fn dir_of(row: &HeldUpsert) -> PathRef<'_> {
    row.path.as_ref().split_last().map_or(PathRef::ROOT, |(dir, _)| dir)
}

fn look_of(row: &HeldUpsert) -> Look {
    (row.path.clone(), row.observed_at, row.atomic, row.stat)
}
