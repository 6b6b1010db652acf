//! Things that wait at a path for a time: a path map with an index by time.
//!
//! Used by the agendas (relists, probes) and by suspects. Must never: let an index entry stand
//! without its value. Tested through its users.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use crate::path::PathRef;
use crate::time::ServerTime;

use super::path_map::{Key, PathMap, moved};
use super::shared::Shared;

/// Values by path, with their times.
pub(super) type Waits<V> = BTreeMap<Key, (ServerTime, V)>;

/// Values by path, each with a time at which something is to be done about it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Schedule<V> {
    values: PathMap<(ServerTime, V)>,
    by_time: BTreeSet<(ServerTime, Key)>,
}

impl<V> Default for Schedule<V> {
    fn default() -> Self {
        Self { values: PathMap::default(), by_time: BTreeSet::new() }
    }
}

impl<V: Clone> Schedule<V> {
    /// The values by path, to be held while they change.
    pub(super) fn shared(&self) -> &Shared<Waits<V>> {
        self.values.shared()
    }

    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    pub(super) fn get(&self, path: PathRef<'_>) -> Option<&(ServerTime, V)> {
        self.values.get(path)
    }

    pub(super) fn set(&mut self, path: PathRef<'_>, time: ServerTime, value: V) {
        let key = Key::from(path.as_bytes());
        if let Some((old, _)) = self.values.insert_key(Key::clone(&key), (time, value)) {
            self.by_time.remove(&(old, Key::clone(&key)));
        }
        self.by_time.insert((time, key));
    }

    pub(super) fn remove(&mut self, path: PathRef<'_>) -> Option<(ServerTime, V)> {
        let (key, (time, value)) = self.values.take(path)?;
        self.by_time.remove(&(time, key));
        Some((time, value))
    }

    /// When the first is due.
    pub(super) fn first(&self) -> Option<ServerTime> {
        self.by_time.first().map(|(time, _)| *time)
    }

    /// Those due by `now`, the longest due first: of them those after a place in that order.
    pub(super) fn due_after<'a>(
        &'a self,
        after: Option<&(ServerTime, Key)>,
        now: ServerTime,
    ) -> impl Iterator<Item = &'a (ServerTime, Key)> + use<'a, V> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.by_time.range((from, Bound::Unbounded)).take_while(move |(time, _)| *time <= now)
    }

    /// All, by path bytes.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], ServerTime, &V)> {
        self.values.iter().map(|(path, (time, value))| (path, *time, value))
    }

    /// Those at a path and below it, by path bytes, after a path in order of bytes.
    pub(super) fn within<'a>(
        &'a self,
        path: PathRef<'_>,
        after: Option<&[u8]>,
    ) -> impl Iterator<Item = (&'a [u8], ServerTime)> + use<'a, V> {
        self.values.within(path, after).map(|(path, (time, _))| (path, *time))
    }

    /// The values of those at a path and below it.
    pub(super) fn values_within(&self, path: PathRef<'_>) -> impl Iterator<Item = &V> {
        self.values.within(path, None).map(|(_, (_, value))| value)
    }

    /// Drops what waits at a path and below it.
    pub(super) fn drop_within(&mut self, path: PathRef<'_>) {
        for (key, (time, _)) in self.values.take_within(path) {
            self.by_time.remove(&(time, key));
        }
    }

    /// Moves what waits at a path and below it.
    pub(super) fn move_within(&mut self, from: PathRef<'_>, to: PathRef<'_>) {
        for (key, (time, value)) in self.values.take_within(from) {
            let new = moved(&key, from, to);
            self.by_time.remove(&(time, key));
            if let Ok(path) = PathRef::new(&new) {
                self.set(path, time, value);
            }
        }
    }

    /// Whether values and index say the same: an invariant.
    pub(super) fn is_sound(&self) -> bool {
        self.values.len() == self.by_time.len()
            && self.by_time.iter().all(|(time, path)| {
                PathRef::new(path)
                    .is_ok_and(|path| self.values.get(path).is_some_and(|(at, _)| at == time))
            })
    }
}
