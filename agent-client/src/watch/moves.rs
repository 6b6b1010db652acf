//! Renames: two halves with one cookie become one.
//!
//! The kernel queues both halves one behind the other, but a reading may end between them, and a
//! move out of the tree, or into it, has only one. A first half therefore waits a little. Paths are
//! kept as they were when the event was taken in: told one after the other they lead the reader
//! through the same steps. Does no I/O; used by the interpreter only.

use std::time::Duration;

use fusion_core::path::TreePath;
use fusion_core::time::Monotonic;

use super::pending::Marks;
use super::table::NodeId;

/// A name in a directory, and its path when the event was taken in.
#[derive(Debug, Clone)]
pub(super) struct End {
    pub(super) node: NodeId,
    pub(super) name: Box<[u8]>,
    /// `None` if the directory had no path then.
    pub(super) path: Option<TreePath>,
}

/// The first half of a rename.
#[derive(Debug)]
pub(super) struct Half {
    pub(super) cookie: u32,
    pub(super) from: End,
    /// The node of the directory that moved; detached. `None` for what is not watched.
    pub(super) child: Option<NodeId>,
    /// Why the name was to be looked at already.
    pub(super) carried: Option<Marks>,
    pub(super) since: Monotonic,
    /// When it was taken in.
    pub(super) taken_at: Monotonic,
}

/// A rename, both halves known.
#[derive(Debug)]
pub(super) struct Rename {
    pub(super) from: End,
    pub(super) to: End,
    pub(super) child: Option<NodeId>,
    pub(super) is_directory: bool,
    pub(super) carried: Option<Marks>,
    pub(super) since: Monotonic,
}

/// First halves that wait, and renames that are to be told, in the order of their events.
#[derive(Debug, Default)]
pub(super) struct Moves {
    halves: Vec<Half>,
    renames: Vec<Rename>,
}

impl Moves {
    /// A first half.
    pub(super) fn push_half(&mut self, half: Half) {
        self.halves.push(half);
    }

    /// The first half with this cookie.
    pub(super) fn take_half(&mut self, cookie: u32) -> Option<Half> {
        let at = self.halves.iter().position(|half| half.cookie == cookie)?;
        Some(self.halves.remove(at))
    }

    /// Directories that left this one and have not arrived yet.
    pub(super) fn left(&self, node: NodeId) -> impl Iterator<Item = NodeId> {
        let left = self.halves.iter().filter(move |half| half.from.node == node);
        left.filter_map(|half| half.child)
    }

    /// A whole rename. One that goes on where the last one ended makes one of both; gives the name
    /// in between then, where something may have stood before, or may stand now.
    pub(super) fn push_rename(&mut self, rename: Rename) -> Option<End> {
        if let Some(last) = self.renames.last_mut()
            && (last.to.node, &last.to.name) == (rename.from.node, &rename.from.name)
            && (last.child, last.is_directory) == (rename.child, rename.is_directory)
        {
            last.carried = rename.carried.or(last.carried);
            return Some(std::mem::replace(&mut last.to, rename.to));
        }
        self.renames.push(rename);
        None
    }

    /// The renames to be told now.
    pub(super) fn take_renames(&mut self) -> Vec<Rename> {
        std::mem::take(&mut self.renames)
    }

    /// First halves whose second should have come by now.
    pub(super) fn take_overdue(&mut self, now: Monotonic, timeout: Duration) -> Vec<Half> {
        self.halves.extract_if(.., |half| half.taken_at.plus(timeout) <= now).collect()
    }

    /// When the next first half is overdue.
    pub(super) fn next_due(&self, timeout: Duration) -> Option<Monotonic> {
        self.halves.iter().map(|half| half.taken_at.plus(timeout)).min()
    }

    /// Not later than the oldest event that waits here.
    pub(super) fn oldest(&self) -> Option<Monotonic> {
        let halves = self.halves.iter().map(|half| half.since);
        halves.chain(self.renames.iter().map(|rename| rename.since)).min()
    }
}
