//! Things that wait at a path for a time: a path map with an index by time.
//!
//! Used by the agendas (relists, probes) and by suspects. Must never: let an index entry stand
//! without its value. Tested through its users.

use std::collections::{BTreeMap, BTreeSet};

use crate::path::PathRef;
use crate::time::ServerTime;

use super::path_map::{PathMap, moved};
use super::shared::Shared;

/// Values by path, with their times.
pub(super) type Waits<V> = BTreeMap<Box<[u8]>, (ServerTime, V)>;

/// Values by path, each with a time at which something is to be done about it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Schedule<V> {
    values: PathMap<(ServerTime, V)>,
    by_time: BTreeSet<(ServerTime, Box<[u8]>)>,
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
        if let Some((old, _)) = self.values.insert(path, (time, value)) {
            self.by_time.remove(&(old, path.as_bytes().into()));
        }
        self.by_time.insert((time, path.as_bytes().into()));
    }

    pub(super) fn remove(&mut self, path: PathRef<'_>) -> Option<V> {
        let (time, value) = self.values.remove(path)?;
        self.by_time.remove(&(time, path.as_bytes().into()));
        Some(value)
    }

    /// When the first is due.
    pub(super) fn first(&self) -> Option<ServerTime> {
        self.by_time.first().map(|(time, _)| *time)
    }

    /// Those due by `now`, the longest due first.
    pub(super) fn due(&self, now: ServerTime) -> impl Iterator<Item = (ServerTime, &[u8])> {
        self.by_time
            .iter()
            .take_while(move |(time, _)| *time <= now)
            .map(|(time, path)| (*time, &**path))
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
