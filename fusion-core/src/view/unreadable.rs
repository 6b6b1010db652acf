//! Directories of which not all names are known: they cannot be read (R11), or the view had no room.
//!
//! Owns why, by path, and how many are *short*: had names for which there was no room. Must never: take a
//! directory for whole that was not listed since. Tested by `tests/cases/r11-r12.txt` and `full.txt`.

use std::collections::BTreeMap;

use crate::change::NO_ROOM;
use crate::path::PathRef;

use super::path_map::{Key, PathMap};
use super::shared::Shared;

/// Error numbers by directory; [`NO_ROOM`] where it is short.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Unreadable {
    by_path: PathMap<i32>,
    num_short: usize,
}

impl Unreadable {
    /// All, to be held while they change.
    pub(super) fn shared(&self) -> &Shared<BTreeMap<Key, i32>> {
        self.by_path.shared()
    }

    pub(super) fn len(&self) -> usize {
        self.by_path.len()
    }

    /// How many are short.
    pub(super) fn num_short(&self) -> usize {
        self.num_short
    }

    pub(super) fn get(&self, dir: PathRef<'_>) -> Option<i32> {
        self.by_path.get(dir).copied()
    }

    pub(super) fn is_short(&self, dir: PathRef<'_>) -> bool {
        self.get(dir) == Some(NO_ROOM)
    }

    pub(super) fn insert(&mut self, dir: PathRef<'_>, errno: i32) {
        let before = self.by_path.insert(dir, errno);
        self.num_short += usize::from(errno == NO_ROOM);
        self.num_short -= usize::from(before == Some(NO_ROOM));
    }

    pub(super) fn remove(&mut self, dir: PathRef<'_>) {
        let before = self.by_path.remove(dir);
        self.num_short -= usize::from(before == Some(NO_ROOM));
    }

    pub(super) fn drop_within(&mut self, path: PathRef<'_>) {
        let gone = self.by_path.take_within(path);
        self.num_short -= gone.iter().filter(|(_, errno)| *errno == NO_ROOM).count();
    }

    pub(super) fn move_within(&mut self, from: PathRef<'_>, to: PathRef<'_>) {
        self.by_path.move_within(from, to);
    }

    /// All, by path bytes.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], i32)> {
        self.by_path.iter().map(|(path, errno)| (path, *errno))
    }
}
