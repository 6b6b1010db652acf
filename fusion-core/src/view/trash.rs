//! The trash (R12): what went, for as long as it can be restored.
//!
//! Owns the records and the subtrees that were taken out of the tree. A record says what stood
//! there, who saw it go, when and why. That a name must not come back is not known here but by its
//! tombstone, which lives on by itself. Must never: forget a subtree without freeing it. Tested by
//! `tests/cases/r11-r12.txt`.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::change::{Cause, TrashId};
use crate::evidence::Witness;
use crate::path::{PathRef, TreePath};
use crate::stat::Stat;
use crate::time::ServerTime;

use super::path_map::PathMap;
use super::read::Totals;
use super::shared::Shared;
use super::tree::Detached;

/// What the trash tells of a record.
#[derive(Debug, Clone, PartialEq)]
pub struct TrashRecord {
    /// Its number.
    pub id: TrashId,
    /// Where it stood.
    pub path: TreePath,
    /// Its last stat.
    pub stat: Stat,
    /// When it was found gone.
    pub deleted_at: ServerTime,
    /// When the view learned of it; it is purged `trash_ttl` after that.
    pub at: ServerTime,
    /// Why.
    pub cause: Cause,
    /// Who saw it go.
    pub by: Option<Witness>,
    /// A scan found it gone, and no realtime evidence has touched the path since (R8).
    pub blind: bool,
    /// What it counts for, itself included.
    pub weight: Totals,
}

/// Records with what stood there, the oldest first.
pub(super) type TrashRecords = BTreeMap<TrashId, (TrashRecord, Detached)>;

/// All records, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Trash {
    records: Shared<TrashRecords>,
    /// Blind deletions by path: the last one of each.
    blind: PathMap<TrashId>,
    /// When the oldest record expires.
    expires: Option<ServerTime>,
}

impl Trash {
    /// All records, to be held while they change.
    pub(super) fn shared(&self) -> &Shared<TrashRecords> {
        &self.records
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    pub(super) fn blind_len(&self) -> usize {
        self.blind.len()
    }

    pub(super) fn get(&self, id: TrashId) -> Option<&TrashRecord> {
        self.records.get(&id).map(|(record, _)| record)
    }

    pub(super) fn subtree(&self, id: TrashId) -> Option<&Detached> {
        self.records.get(&id).map(|(_, subtree)| subtree)
    }

    /// Records after one, the oldest first.
    pub(super) fn after(&self, after: Option<TrashId>) -> impl Iterator<Item = &TrashRecord> {
        let from = after.map_or(TrashId(0), |id| TrashId(id.0.saturating_add(1)));
        self.records.range(from..).map(|(_, (record, _))| record)
    }

    /// Blind deletions, by path bytes.
    pub(super) fn blind_after<'a>(
        &'a self,
        after: Option<&[u8]>,
    ) -> impl Iterator<Item = &'a TrashRecord> + use<'a> {
        self.blind.after(after).filter_map(|(_, id)| self.get(*id))
    }

    /// Whether the deletion of this path is blind.
    pub(super) fn is_blind(&self, path: PathRef<'_>) -> bool {
        self.blind.get(path).is_some()
    }

    /// Blind deletions at a path and below it, by path bytes, those after a path.
    pub(super) fn blind_within<'a>(
        &'a self,
        path: PathRef<'_>,
        after: Option<&[u8]>,
    ) -> impl Iterator<Item = &'a TrashRecord> + use<'a> {
        self.blind.within(path, after).filter_map(|(_, id)| self.get(*id))
    }

    /// Paths of blind deletions strictly below a path.
    pub(super) fn blind_below(&self, path: PathRef<'_>) -> Vec<Box<[u8]>> {
        self.blind.below(path).map(|(path, _)| path.into()).collect()
    }

    pub(super) fn put(&mut self, record: TrashRecord, subtree: Detached, ttl: Duration) {
        if record.blind {
            self.seen(record.path.as_ref());
            self.blind.insert(record.path.as_ref(), record.id);
        }
        self.expires.get_or_insert(record.at.plus(ttl));
        self.records.edit().insert(record.id, (record, subtree));
    }

    pub(super) fn take(&mut self, id: TrashId, ttl: Duration) -> Option<Detached> {
        self.records.get(&id)?;
        let (record, subtree) = self.records.edit().remove(&id)?;
        if self.blind.get(record.path.as_ref()) == Some(&id) {
            self.blind.remove(record.path.as_ref());
        }
        self.expires = self.records.first_key_value().map(|(_, (record, _))| record.at.plus(ttl));
        Some(subtree)
    }

    /// R8: realtime evidence touched a path, or something stands there again: its deletion is not
    /// blind any longer.
    pub(super) fn seen(&mut self, path: PathRef<'_>) {
        let Some(id) = self.blind.remove(path) else { return };
        if let Some((record, _)) = self.records.edit().get_mut(&id) {
            record.blind = false;
        }
    }

    /// When the oldest record expires.
    pub(super) fn first_expiry(&self) -> Option<ServerTime> {
        self.expires
    }

    /// At most `limit` records that have expired.
    pub(super) fn expired(&self, now: ServerTime, ttl: Duration, limit: usize) -> Vec<TrashId> {
        self.records
            .values()
            .map(|(record, _)| record)
            .take_while(|record| record.at.plus(ttl) <= now)
            .take(limit)
            .map(|record| record.id)
            .collect()
    }

    /// All, to be freed.
    pub(super) fn take_all(&mut self) -> Vec<Detached> {
        self.blind = PathMap::default();
        self.expires = None;
        std::mem::take(self.records.edit()).into_values().map(|(_, subtree)| subtree).collect()
    }
}
