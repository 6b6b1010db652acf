//! The table of watched directories together with the kernel's watches: placing, moving, dropping.
//!
//! One lock holds both, so an event of a watch is never looked up before the watch is in the table:
//! adding a watch and noting it is one step. Longest held for the system call that adds it, or for two
//! looks where a directory turns up at a second place: where the storage hangs, these may hang with it
//! (FUSE and NFS ask their server whether a directory may be read). So the lock is for threads that look
//! at the tree themselves, the workers of a scan and the interpreter; counts are had without it.
//!
//! A watch is placed on exactly the directory that is open.

use std::collections::HashSet;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use fusion_core::path::PathRef;
use fusion_core::time::Monotonic;
use rustix::fd::BorrowedFd;
use rustix::io::Errno;

use super::WatchMethod;
use super::budget::Budget;
use super::counters::{Gauges, read};
use super::kernel::Placing;
use super::pool::Watches;
use super::table::{Content, NodeId, Table, WatchNumber};
use crate::scan::{FileId, Pulse, Root, parent_of};

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
pub(super) struct Places {
    held: Mutex<Held>,
    gauges: Gauges,
    /// Of whoever has the lock.
    pulse: Pulse,
    method: WatchMethod,
}

/// The lock, held. What there is to count is counted when it is let go of.
pub(super) struct Locked<'a> {
    held: MutexGuard<'a, Held>,
    of: &'a Places,
}

/// How many directories are watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PlaceCounts {
    pub(super) method: WatchMethod,
    pub(super) watched: u64,
    pub(super) unwatched: u64,
    pub(super) limit: u64,
}

/// Table and kernel, while the lock is held.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) table: Table,
    pub(super) kernel: Placing,
    budget: Budget,
    /// Our part in the watches of the process; absent where no watch per directory is needed.
    part: Option<Watches>,
    /// Watches that made room for others: their events that wait to be read still count. The kernel
    /// says when there are no more.
    leaving: HashSet<WatchNumber>,
    round: u32,
}

impl Places {
    pub(super) fn new(kernel: Placing, limit: usize, part: Option<Watches>) -> Self {
        let (table, budget, leaving) = (Table::new(), Budget::new(limit), HashSet::new());
        let method = kernel.method();
        let held = Held { table, kernel, budget, part, leaving, round: 1 };
        let places = Self {
            held: Mutex::new(held),
            gauges: Gauges::default(),
            pulse: Pulse::default(),
            method,
        };
        drop(places.lock());
        places
    }

    /// Takes the lock. May wait as long as the storage hangs: never to be called on an async thread.
    pub(super) fn lock(&self) -> Locked<'_> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        self.pulse.begin();
        Locked { held, of: self }
    }

    /// Whether somebody has the lock, and for how long.
    pub(super) fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    /// How many directories are watched, as of a moment ago. Waits for nothing.
    pub(super) fn counts(&self) -> PlaceCounts {
        let Gauges { watched, unwatched, limit } = &self.gauges;
        PlaceCounts {
            method: self.method,
            watched: read(watched),
            unwatched: read(unwatched),
            limit: read(limit),
        }
    }
}

impl Deref for Locked<'_> {
    type Target = Held;

    fn deref(&self) -> &Held {
        &self.held
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut Held {
        &mut self.held
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        let show = |gauge: &AtomicU64, now: u64| gauge.store(now, Ordering::Relaxed);
        let Places { gauges, pulse, .. } = self.of;
        show(&gauges.watched, self.held.watched() as u64);
        show(&gauges.unwatched, self.held.budget.refused());
        show(&gauges.limit, self.held.told_limit() as u64);
        if let Some(part) = &self.held.part {
            part.set(self.held.watched());
        }
        pulse.end();
    }
}

impl Held {
    /// Directories watched.
    fn watched(&self) -> usize {
        self.table.watched() - self.leaving.len()
    }

    /// Most that may be watched, as far as the kernel has let us know.
    fn told_limit(&self) -> usize {
        let most = self.part.as_ref().map_or(usize::MAX, Watches::most);
        self.budget.told_limit(self.watched()).min(most)
    }

    /// Takes room for one more, by our limit and the process's.
    fn has_room(&self) -> bool {
        let more = self.watched() + 1;
        more <= self.budget.limit() && self.part.as_ref().is_none_or(|part| part.take(more))
    }

    /// A walk over all directories begins; gives its number.
    pub(super) fn begin_round(&mut self) -> u32 {
        self.round = self.round.wrapping_add(1);
        self.budget.begin_walk();
        self.round
    }

    /// The walk came by all of them.
    pub(super) fn end_round(&mut self) {
        self.budget.end_walk();
    }

    /// Watches an open directory that stands at `path`, if there is room or a colder one makes some.
    /// `used_at`: when it last changed, as far as is known.
    pub(super) fn place(
        &mut self,
        root: &Root,
        path: PathRef<'_>,
        directory: BorrowedFd<'_>,
        file: FileId,
        used_at: Monotonic,
    ) -> Placed {
        let Some(place) = self.place_of(path, directory) else { return Placed::Early };
        let known = place.known(&self.table);
        let was_watched = known.filter(|node| self.is_watched(*node));
        let watch = match self.add(directory, used_at, was_watched.is_some()) {
            Ok(watch) => watch,
            Err(errno) => {
                self.budget.refuse();
                let is_full = matches!(errno, Errno::NOSPC | Errno::NOMEM);
                return if is_full { Placed::Full } else { Placed::Failed(errno) };
            }
        };
        match self.table.by_watch(watch) {
            Some(same) if known == Some(same) => {}
            Some(other) if self.leads_to(root, other, file) => return Placed::Elsewhere,
            // Moved by another host, or by events that have not been read yet: when it turns up,
            // what is below it is to be listed anew.
            Some(other) => {
                self.table.set_content(other, Content::Due);
                self.ended(watch);
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
        self.table.use_at(node, used_at);
        if was_watched != Some(node) {
            self.budget.watched(node, used_at);
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
            self.end(watch);
            self.table.forget_watch(watch);
        }
    }

    /// The kernel has ended a watch, and all its events were taken in.
    pub(super) fn ended(&mut self, watch: WatchNumber) {
        self.leaving.remove(&watch);
        self.table.forget_watch(watch);
    }

    fn is_watched(&self, node: NodeId) -> bool {
        self.table.watch_of(node).is_some_and(|watch| !self.leaving.contains(&watch))
    }

    /// A watch on a directory: its own, or a new one.
    fn add(
        &mut self,
        directory: BorrowedFd<'_>,
        used_at: Monotonic,
        is_watched: bool,
    ) -> Result<WatchNumber, Errno> {
        let has_room = is_watched || self.has_room();
        if has_room && let Some(watch) = self.try_add(directory)? {
            return Ok(watch);
        }
        // One goes for one that comes: where the kernel still refuses, its limit was lowered below what
        // is watched, and to give up more at once would leave more unwatched than it asks for.
        let watch = if self.make_room(used_at) { self.try_add(directory)? } else { None };
        watch.ok_or(Errno::NOSPC)
    }

    /// A watch on a directory; `None` if the kernel gives no more.
    fn try_add(&mut self, directory: BorrowedFd<'_>) -> Result<Option<WatchNumber>, Errno> {
        match self.kernel.add(directory) {
            Ok(watch) => Ok(Some(watch)),
            Err(error) => match Errno::from_io_error(&error).unwrap_or(Errno::IO) {
                // It counts all processes of the user: what we have is what we get.
                Errno::NOSPC | Errno::NOMEM => {
                    self.budget.learn(self.watched());
                    Ok(None)
                }
                errno => Err(errno),
            },
        }
    }

    /// Ends the watch of the coldest directory, if it is colder than this.
    fn make_room(&mut self, used_at: Monotonic) -> bool {
        while let Some(node) = self.budget.coldest(&self.table, used_at) {
            let watch = self.table.watch_of(node).filter(|watch| !self.leaving.contains(watch));
            if let Some(watch) = watch {
                self.end(watch);
                self.leaving.insert(watch);
                self.budget.refuse();
                return true;
            }
        }
        false
    }

    fn end(&mut self, watch: WatchNumber) {
        if !self.leaving.remove(&watch) {
            self.kernel.end(watch);
        }
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
