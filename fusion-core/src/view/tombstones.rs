//! Tombstones: deletions that the view remembers, so that late news cannot bring a name back (R5).
//!
//! Owned by the ledger. A tombstone covers its path and all below it. Life and death are judged by
//! server time and by versions of the directory, never by the entry's own times: the inode lives,
//! the name need not. Must never: be dropped because a record of the trash was. Tested by
//! `tests/cases/r5-r6.txt`.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::path::PathRef;
use crate::time::ServerTime;

use super::path_map::{Key, PathMap};
use super::shared::Shared;
use super::tree::Version;
use super::version::{DirOrder, dir_order};

/// A deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tombstone {
    /// When the name was found gone: `observed_at`, or `started_at` of a listing.
    pub deleted_at: ServerTime,
    /// The version of its directory in which it was gone, if that was seen.
    pub seen_in: Option<Version>,
    /// When the view learned of it; it expires `tombstone_ttl` after that.
    pub since: ServerTime,
}

/// Tombstones by name.
type ByName = BTreeMap<Box<[u8]>, Tombstone>;
/// Tombstones by directory and name.
pub(super) type TombstonesByDir = BTreeMap<Key, ByName>;

/// All tombstones, by directory and name.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Tombstones {
    by_dir: PathMap<ByName>,
    count: usize,
    sweep_at: Option<ServerTime>,
}

/// R5: whether evidence of existence passes a tombstone on its own path.
fn passes_own(
    tomb: &Tombstone,
    seen_in: Option<Version>,
    at: ServerTime,
    horizon: Duration,
) -> bool {
    dir_order(seen_in, tomb.seen_in) == DirOrder::Newer || passes_any(tomb, at, horizon)
}

/// R5: whether evidence of existence passes any tombstone, on its path or on an ancestor.
fn passes_any(tomb: &Tombstone, at: ServerTime, horizon: Duration) -> bool {
    at > tomb.deleted_at.plus(horizon)
}

impl Tombstones {
    /// All tombstones, to be held while they change.
    pub(super) fn shared(&self) -> &Shared<TombstonesByDir> {
        self.by_dir.shared()
    }

    /// Sets when [`Tombstones::sweep`] is due, as an image has it.
    pub(super) fn set_sweep(&mut self, sweep_at: Option<ServerTime>) {
        self.sweep_at = sweep_at;
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// The tombstone on a path itself.
    pub(super) fn get(&self, path: PathRef<'_>) -> Option<&Tombstone> {
        if self.count == 0 {
            return None;
        }
        let (dir, name) = path.split_last()?;
        self.by_dir.get(dir)?.get(name)
    }

    /// All, by directory and name.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8], &Tombstone)> {
        self.by_dir
            .iter()
            .flat_map(|(dir, names)| names.iter().map(move |(name, tomb)| (dir, &**name, tomb)))
    }

    /// The tombstones in a directory, if there are any.
    pub(super) fn in_dir(&self, dir: PathRef<'_>) -> Option<&ByName> {
        self.by_dir.get(dir)
    }

    /// R5: when evidence of existence at `path`, looked at `at` in `seen_in`, would pass all
    /// tombstones that cover it; `None` if it passes now.
    pub(super) fn refuse(
        &self,
        path: PathRef<'_>,
        seen_in: Option<Version>,
        at: ServerTime,
        horizon: Duration,
    ) -> Option<ServerTime> {
        if self.count == 0 {
            return None;
        }
        let own = self.get(path).filter(|tomb| !passes_own(tomb, seen_in, at, horizon));
        let above = path.split_last().and_then(|(dir, _)| self.refuse_below(dir, at, horizon));
        own.map(|tomb| tomb.deleted_at.plus(horizon)).max(above)
    }

    /// R5 for what lies below a directory: the tombstones on it and above it.
    pub(super) fn refuse_below(
        &self,
        dir: PathRef<'_>,
        at: ServerTime,
        horizon: Duration,
    ) -> Option<ServerTime> {
        let mut worst = None;
        let mut next = Some(dir);
        while let Some(path) = next.filter(|_| self.count > 0) {
            if let Some(tomb) = self.get(path).filter(|tomb| !passes_any(tomb, at, horizon)) {
                worst = worst.max(Some(tomb.deleted_at.plus(horizon)));
            }
            next = path.split_last().map(|(dir, _)| dir);
        }
        worst
    }

    /// R5 for a child of a directory whose own cover was judged by [`Tombstones::refuse_below`].
    pub(super) fn refuse_child(
        tomb: &Tombstone,
        seen_in: Option<Version>,
        at: ServerTime,
        horizon: Duration,
    ) -> Option<ServerTime> {
        (!passes_own(tomb, seen_in, at, horizon)).then(|| tomb.deleted_at.plus(horizon))
    }

    /// What a tombstone on a path is after one more deletion: times never go back.
    pub(super) fn merged(&self, path: PathRef<'_>, new: Tombstone) -> Tombstone {
        let Some(old) = self.get(path) else { return new };
        let newer = match dir_order(new.seen_in, old.seen_in) {
            DirOrder::Newer => true,
            DirOrder::Older | DirOrder::Same => false,
            DirOrder::Unknown => new.seen_in.is_some() && new.deleted_at >= old.deleted_at,
        };
        let seen_in = if newer { new.seen_in } else { old.seen_in };
        let deleted_at = old.deleted_at.max(new.deleted_at);
        if seen_in == old.seen_in && deleted_at == old.deleted_at {
            return *old;
        }
        Tombstone { deleted_at, seen_in, since: new.since }
    }

    pub(super) fn put(&mut self, path: PathRef<'_>, tomb: Tombstone, ttl: Duration) {
        let Some((dir, name)) = path.split_last() else { return };
        if self.by_dir.get(dir).is_none() {
            self.by_dir.insert(dir, BTreeMap::new());
        }
        let Some(names) = self.by_dir.get_mut(dir) else { return };
        if names.insert(name.into(), tomb).is_none() {
            self.count += 1;
        }
        self.sweep_at.get_or_insert(tomb.since.plus(ttl));
    }

    pub(super) fn remove(&mut self, path: PathRef<'_>) {
        if self.count == 0 {
            return;
        }
        let Some((dir, name)) = path.split_last() else { return };
        let Some(names) = self.by_dir.get_mut(dir) else { return };
        if names.remove(name).is_some() {
            self.count -= 1;
        }
        if names.is_empty() {
            self.by_dir.remove(dir);
        }
    }

    /// R12: a directory was listed, not behind, by a listing that began then; tombstones in it that
    /// are more than `cache_horizon` older have done their work.
    pub(super) fn listed(&mut self, dir: PathRef<'_>, started_at: ServerTime, horizon: Duration) {
        let Some(names) = self.by_dir.get_mut(dir) else { return };
        let before = names.len();
        names.retain(|_, tomb| !passes_any(tomb, started_at, horizon));
        self.count -= before - names.len();
        if names.is_empty() {
            self.by_dir.remove(dir);
        }
    }

    /// Another directory than before stands at a path: names that were missed in the one before were
    /// never missed in this one. (Evidence of the one before is known by its inode.)
    pub(super) fn keep_those_of(&mut self, dir: PathRef<'_>, inode: u64) {
        let other = |tomb: &Tombstone| tomb.seen_in.is_some_and(|seen| seen.inode != inode);
        if !self.by_dir.get(dir).is_some_and(|names| names.values().any(other)) {
            return;
        }
        let Some(names) = self.by_dir.get_mut(dir) else { return };
        let before = names.len();
        names.retain(|_, tomb| !other(tomb));
        self.count -= before - names.len();
        if names.is_empty() {
            self.by_dir.remove(dir);
        }
    }

    /// R3: tombstones below a subtree move with it.
    pub(super) fn move_within(&mut self, from: PathRef<'_>, to: PathRef<'_>) {
        if self.count == 0 {
            return;
        }
        // What stood at `to` is gone, and with it the names that were missed in it.
        for (_, names) in self.by_dir.take_within(to) {
            self.count -= names.len();
        }
        self.by_dir.move_within(from, to);
    }

    /// When [`Tombstones::sweep`] is due.
    pub(super) fn next_sweep(&self) -> Option<ServerTime> {
        self.sweep_at
    }

    /// Drops those that are older than `ttl`. Runs at most sixteen times in a `ttl`.
    pub(super) fn sweep(&mut self, now: ServerTime, ttl: Duration) {
        let mut oldest: Option<ServerTime> = None;
        let mut empty = Vec::new();
        let dirs: Vec<Box<[u8]>> = self.by_dir.iter().map(|(dir, _)| dir.into()).collect();
        for dir in dirs {
            let Ok(path) = PathRef::new(&dir) else { continue };
            let Some(names) = self.by_dir.get_mut(path) else { continue };
            let before = names.len();
            names.retain(|_, tomb| tomb.since.plus(ttl) > now);
            self.count -= before - names.len();
            let first = names.values().map(|tomb| tomb.since).min();
            oldest = oldest.map_or(first, |known| Some(first.map_or(known, |f| f.min(known))));
            if names.is_empty() {
                empty.push(dir);
            }
        }
        for dir in empty {
            if let Ok(path) = PathRef::new(&dir) {
                self.by_dir.remove(path);
            }
        }
        self.sweep_at = oldest.map(|since| since.plus(ttl).max(now.plus(ttl / 16)));
    }
}
