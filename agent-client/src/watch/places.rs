//! The table of watched directories together with the kernel's watches: placing, moving, dropping.
//!
//! One lock holds both, so an event of a watch is never looked up before the watch is in the table:
//! adding a watch and noting it is one step. Longest held for one system call that does not wait for
//! the storage (the directory is open already), or for two looks where a directory turns up at a
//! second place. Taken by the workers of a scan, by the interpreter, and for counts.
//!
//! A watch is placed through `/proc/self/fd`, on exactly the directory that is open: by its path it
//! could land on something else, or behind a symbolic link.

use std::sync::{Mutex, MutexGuard, PoisonError};

use fusion_core::path::PathRef;
use inotify::{WatchMask, Watches};
use rustix::fd::{AsRawFd as _, BorrowedFd, OwnedFd};
use rustix::io::Errno;

use super::table::{Content, NodeId, Table, WatchNumber};
use crate::scan::{FileId, Root, parent_of};

/// What the kernel is asked for, of each directory.
const EVENTS: WatchMask = WatchMask::CREATE
    .union(WatchMask::DELETE)
    .union(WatchMask::MODIFY)
    .union(WatchMask::CLOSE_WRITE)
    .union(WatchMask::ATTRIB)
    .union(WatchMask::MOVED_FROM)
    .union(WatchMask::MOVED_TO)
    .union(WatchMask::DELETE_SELF)
    .union(WatchMask::MOVE_SELF)
    .union(WatchMask::ONLYDIR)
    .union(WatchMask::EXCL_UNLINK);

/// What became of an attempt to watch a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Placed {
    /// It is watched, at this place.
    Here(NodeId),
    /// It is watched at another place, which leads to it as well (a bind mount).
    Elsewhere,
    /// There is no room, by our limit or the kernel's.
    Full,
    /// It cannot be watched.
    Failed(Errno),
    /// The directory above it is not in the table: it has just come, and what is below it is found
    /// when the event of that is read.
    Early,
}

/// The lock around it all.
#[derive(Debug)]
pub(super) struct Places(Mutex<Held>);

/// Table and kernel, while the lock is held.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) table: Table,
    watches: Watches,
    /// A second descriptor of the instance, to remove watches by their numbers.
    kernel: OwnedFd,
    limit: usize,
    refused: u64,
    round: u32,
}

impl Places {
    pub(super) fn new(watches: Watches, kernel: OwnedFd, limit: usize) -> Self {
        let held = Held { table: Table::new(), watches, kernel, limit, refused: 0, round: 1 };
        Self(Mutex::new(held))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// Most directories that may be watched.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Directories refused since the last placing walk began.
    pub(super) fn refused(&self) -> u64 {
        self.refused
    }

    /// A walk over all directories begins; gives its number.
    pub(super) fn begin_round(&mut self) -> u32 {
        self.round = self.round.wrapping_add(1);
        self.refused = 0;
        self.round
    }

    /// Watches an open directory that stands at `path`.
    pub(super) fn place(
        &mut self,
        root: &Root,
        path: PathRef<'_>,
        directory: BorrowedFd<'_>,
        file: FileId,
    ) -> Placed {
        let Some(place) = self.place_of(path, directory) else { return Placed::Early };
        let known = place.known(&self.table);
        let is_watched = known.is_some_and(|node| self.table.watch_of(node).is_some());
        if !is_watched && self.table.watched() >= self.limit {
            self.refused += 1;
            return Placed::Full;
        }
        let link = format!("/proc/self/fd/{}", directory.as_raw_fd());
        let watch = match self.watches.add(link, EVENTS) {
            Ok(watch) => watch.get_watch_descriptor_id(),
            Err(error) => return self.refuse(&error),
        };
        match self.table.by_watch(watch) {
            Some(same) if known == Some(same) => {}
            Some(other) if self.leads_to(root, other, file) => return Placed::Elsewhere,
            // Moved by another host, or by events that have not been read yet: when it turns up,
            // what is below it is to be listed anew.
            Some(other) => {
                self.table.set_content(other, Content::Due);
                self.table.forget_watch(watch);
            }
            None => {}
        }
        let node = place.make(&mut self.table);
        if self.table.file_of(node).is_some_and(|before| before != file) {
            // What was below the directory that had this name is somewhere else now.
            self.table.pass_on_due(node, |_| false);
        }
        if let Some(old) = self.table.set_watch(node, watch, file, self.round) {
            self.end(old);
        }
        Placed::Here(node)
    }

    /// Where a directory belongs in the table: at its path, save where the table is behind the disk
    /// and has what is above it elsewhere. Then it belongs below that, and the events that have not
    /// been read yet take it along. `None` if the table has another directory above it, and the right
    /// one not at all: that has just come, and what is below is found when the event of it is read.
    fn place_of<'a>(
        &self,
        path: PathRef<'a>,
        directory: BorrowedFd<'_>,
    ) -> Option<PlaceInTable<'a>> {
        let Some((above, name)) = path.split_last() else { return Some(PlaceInTable::At(path)) };
        let in_table = self.table.find(above).and_then(|node| self.table.file_of(node));
        match parent_of(directory) {
            Ok(found) if in_table != Some(found) => match self.table.by_file(found) {
                Some(node) => Some(PlaceInTable::Below(node, name)),
                None => in_table.is_none().then_some(PlaceInTable::At(path)),
            },
            _ => Some(PlaceInTable::At(path)),
        }
    }

    /// Removes a node, all below it, and their watches.
    pub(super) fn remove(&mut self, node: NodeId) {
        for watch in self.table.remove(node) {
            self.end(watch);
        }
    }

    /// Ends the watch of one node and keeps what is below it.
    pub(super) fn drop_watch(&mut self, node: NodeId) {
        if let Some(watch) = self.table.watch_of(node) {
            self.table.forget_watch(watch);
            self.end(watch);
        }
    }

    fn end(&self, watch: WatchNumber) {
        // It may be gone already, with the directory.
        let _ = rustix::fs::inotify::remove_watch(&self.kernel, watch);
    }

    fn refuse(&mut self, error: &std::io::Error) -> Placed {
        self.refused += 1;
        let errno = Errno::from_io_error(error).unwrap_or(Errno::IO);
        if matches!(errno, Errno::NOSPC | Errno::NOMEM) {
            // The kernel's limit is for all processes of the user: what we have is what we get.
            self.limit = self.limit.min(self.table.watched());
            return Placed::Full;
        }
        Placed::Failed(errno)
    }

    fn leads_to(&self, root: &Root, node: NodeId, file: FileId) -> bool {
        let path = self.table.path(node);
        path.is_some_and(|path| root.reach(path.as_ref()).is_ok_and(|reached| reached.id == file))
    }
}

/// Where a directory belongs in the table.
enum PlaceInTable<'a> {
    At(PathRef<'a>),
    Below(NodeId, &'a [u8]),
}

impl PlaceInTable<'_> {
    fn known(&self, table: &Table) -> Option<NodeId> {
        match *self {
            Self::At(path) => table.find(path),
            Self::Below(above, name) => table.child(above, name),
        }
    }

    fn make(&self, table: &mut Table) -> NodeId {
        match *self {
            Self::At(path) => table.find_or_make(path),
            Self::Below(above, name) => table.child_or_make(above, name),
        }
    }
}
