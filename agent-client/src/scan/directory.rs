//! Reading one directory: the order of looking, and nothing of where to go next.
//!
//! A [`DirectoryReader`] belongs to one thread and keeps its buffers from one directory to the
//! next. Used by the workers of a scan and by `watch` for what appears by event. The order is open,
//! place the watch, stat of the directory, names, their stats: so the listing says *each name was
//! there, or was not, in this version of the directory or a later one*. Every call of the storage is
//! made under the [`Pulse`] of whoever reads, and in a directory in which one hangs by itself.

mod looks;
mod names;
mod opening;

use std::num::NonZeroUsize;
use std::ops::{ControlFlow, Range};
use std::time::Duration;

use fusion_core::evidence::ChildColumns;
use fusion_core::path::TreePath;
use fusion_core::stat::{Kind, Stat};
use fusion_core::time::Monotonic;
use rustix::fd::{AsFd as _, OwnedFd};
use rustix::fs::FileType;
use rustix::io::Errno;

use super::root::{FileId, Reached, Root, stat_of};
use super::{
    Cancel, Found, LeftOut, ListedDir, Pace, Placer, Pulse, ScanCounters, SoftError, WhyLeftOut,
};
use crate::clock::AgentClock;
use looks::Look;
use names::Row;
use opening::{leave_out, open, refuse};

/// What is read, and how.
#[derive(Clone, Copy)]
pub(crate) struct Rules<'a> {
    pub(crate) root: &'a Root,
    pub(crate) clock: &'a dyn AgentClock,
    pub(crate) cancel: &'a Cancel,
    pub(crate) counters: &'a ScanCounters,
    pub(crate) pace: &'a dyn Pace,
    /// Of the thread that reads.
    pub(crate) pulse: &'a Pulse,
    pub(crate) placer: Option<&'a dyn Placer>,
    pub(crate) left_out: &'a [FileId],
    pub(crate) max_rows: NonZeroUsize,
    /// Names only: places watches and finds directories, looks at no entry, lists nothing.
    pub(crate) names_only: bool,
}

impl Rules<'_> {
    /// Waits as long as the pace says, before so many entries are looked at: at first for what is
    /// more urgent, but not for ever.
    pub(crate) fn wait(&self, entries: usize) -> ControlFlow<()> {
        let mut gave_way = Duration::ZERO;
        while gave_way < GIVE_WAY
            && let Some(step) = self.pace.gives_way()
        {
            self.pause(step)?;
            gave_way += step;
        }
        let mut left = entries;
        while left > 0 {
            let next = left.min(self.pace.at_once());
            self.pause(self.pace.delay(next, self.clock.monotonic()))?;
            left -= next;
        }
        self.pause(Duration::ZERO)
    }

    /// Rests as long as the pace says, after these calls.
    pub(crate) fn rest(&self, calls: Calls) -> ControlFlow<()> {
        self.pause(self.pace.rest(calls.number, calls.span))
    }

    fn pause(&self, span: Duration) -> ControlFlow<()> {
        stop_if(if span.is_zero() { self.cancel.is_set() } else { self.cancel.wait(span) })
    }
}

/// Longest that one group of looks waits for what is more urgent: a scan that gives way all the time
/// still comes to its end.
const GIVE_WAY: Duration = Duration::from_millis(50);

/// Calls of the storage, and how long they took in all.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Calls {
    pub(crate) number: usize,
    pub(crate) span: Duration,
}

impl Calls {
    /// To open a directory, look at it and read its names.
    pub(crate) const OPEN: usize = 3;

    fn add(&mut self, number: usize, span: Duration) {
        self.number += number;
        self.span += span;
    }
}

/// What became of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    /// It was read; what is to be entered is in [`DirectoryReader::subdirectories`].
    Read(FileId),
    /// Nothing stands there, or no directory, or it is excluded: nothing is told of it.
    Gone,
    /// It cannot be read; said.
    Unreadable,
    /// It is not to be read; said.
    LeftOut,
    /// Cancelled, or the sink broke off.
    Stopped,
    /// A call hung for too long, and came back: somebody else has gone on.
    Abandoned,
}

/// Buffers for reading one directory after the other.
pub(crate) struct DirectoryReader {
    /// Filled by the kernel.
    raw: Vec<u8>,
    /// Names of the directory, each with a NUL behind it.
    names: Vec<u8>,
    rows: Vec<Row>,
    /// Rows of a part in the order of their inodes.
    order: Vec<u32>,
    looks: Vec<Option<Look>>,
    errors: Vec<SoftError>,
    subdirectories: Vec<TreePath>,
}

/// Asked of the kernel at once. Larger gains nothing on local file systems and spoils the cache.
const RAW_BYTES: usize = 128 * 1024;
/// Buffers above this are given back after a large directory.
const KEEP_BYTES: usize = 1 << 20;
impl DirectoryReader {
    pub(crate) fn new() -> Self {
        Self {
            raw: Vec::with_capacity(RAW_BYTES),
            names: Vec::new(),
            rows: Vec::new(),
            order: Vec::new(),
            looks: Vec::new(),
            errors: Vec::new(),
            subdirectories: Vec::new(),
        }
    }

    /// The directories found by the last reading that are to be entered.
    pub(crate) fn subdirectories(&mut self) -> std::vec::Drain<'_, TreePath> {
        self.subdirectories.drain(..)
    }

    /// Reads one directory and gives what it finds to `emit`. It is opened by its path, or as a
    /// child of `parent`. `is_loop` tells whether a directory is one of those above `path`.
    pub(crate) fn read(
        &mut self,
        rules: &Rules<'_>,
        path: &TreePath,
        parent: Option<(&Reached, &[u8])>,
        is_loop: impl Fn(FileId) -> bool,
        emit: &mut dyn FnMut(Found) -> ControlFlow<()>,
    ) -> Reading {
        self.clear();
        if rules.root.excludes(path.as_ref()) {
            return Reading::Gone;
        }
        let started_at = rules.clock.monotonic();
        let by_itself = rules.root.hung().touches(path.as_ref());
        let ((id, mut dir_stat), fd) = match open(rules, path, parent, by_itself) {
            Ok(open) => open,
            Err(errno) => return refuse(rules, path, errno, started_at, emit),
        };
        let why = if rules.left_out.contains(&id) {
            Some(WhyLeftOut::Own)
        } else {
            is_loop(id).then_some(WhyLeftOut::Loop)
        };
        if let Some(why) = why {
            return leave_out(path.clone(), why, emit);
        }
        if let Some(placer) = rules.placer {
            let placed = rules.pulse.call(|| {
                placer.place(path.as_ref(), fd.as_fd(), id, &dir_stat);
                if rules.names_only { Ok(dir_stat) } else { Ok(stat_of(&fd)?.1) }
            });
            match placed {
                Ok(after) => dir_stat = after,
                Err(errno) => return refuse(rules, path, errno, started_at, emit),
            }
        }
        let complete = match rules.pulse.call(|| self.read_names(rules, &fd, path)) {
            Ok(()) => true,
            Err(_) if rules.pulse.is_abandoned() => return Reading::Abandoned,
            Err(_) if rules.cancel.is_set() => return Reading::Stopped,
            Err(errno) if self.rows.is_empty() => {
                return refuse(rules, path, errno, started_at, emit);
            }
            Err(errno) => {
                self.soft_error(rules, path.clone(), errno);
                false
            }
        };
        let span = rules.clock.monotonic().since(started_at);
        let opened = Calls { number: Calls::OPEN, span };
        let listing = Listing { path, dir_stat, started_at, complete, opened, by_itself };
        let flow = if rules.names_only {
            self.enter_directories(rules, &fd, &listing)
        } else {
            self.list(rules, &fd, &listing, emit)
        };
        match flow {
            ControlFlow::Continue(()) => {
                ScanCounters::add(&rules.counters.directories, 1);
                Reading::Read(id)
            }
            ControlFlow::Break(()) if rules.pulse.is_abandoned() => Reading::Abandoned,
            ControlFlow::Break(()) => Reading::Stopped,
        }
    }

    fn clear(&mut self) {
        self.names.clear();
        self.rows.clear();
        self.errors.clear();
        self.subdirectories.clear();
        if self.names.capacity() > KEEP_BYTES {
            self.names = Vec::new();
        }
        if self.rows.capacity() * size_of::<Row>() > KEEP_BYTES {
            self.rows = Vec::new();
        }
    }

    /// Names only: the directories to enter. Looks only where the directory does not say the kind.
    fn enter_directories(
        &mut self,
        rules: &Rules<'_>,
        fd: &OwnedFd,
        listing: &Listing<'_>,
    ) -> ControlFlow<()> {
        let path = listing.path;
        ScanCounters::add(&rules.counters.entries, self.rows.len());
        rules.wait(1)?;
        for at in 0..self.rows.len() {
            stop_if(rules.cancel.is_set())?;
            let row = self.rows[at];
            let is_directory = match row.kind {
                FileType::Directory => true,
                FileType::Unknown => {
                    let looked = self.look(rules, fd, listing, row).ok();
                    stop_if(rules.pulse.is_abandoned())?;
                    looked.is_some_and(|(look, _)| look.stat.kind == Kind::Directory)
                }
                _ => false,
            };
            if is_directory {
                match path.join(row.name(&self.names)) {
                    Ok(child) => self.subdirectories.push(child),
                    Err(_) => self.soft_error(rules, path.clone(), Errno::NAMETOOLONG),
                }
            }
        }
        rules.rest(listing.opened)
    }

    /// Looks at all names, part by part, and hands the parts over.
    fn list(
        &mut self,
        rules: &Rules<'_>,
        fd: &OwnedFd,
        listing: &Listing<'_>,
        emit: &mut dyn FnMut(Found) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let mut part = 0;
        let mut from = 0;
        let mut calls = listing.opened;
        loop {
            let to = self.rows.len().min(from + rules.max_rows.get());
            let last = to == self.rows.len();
            rules.wait(to - from)?;
            let failed_from = self.errors.len();
            let looked_from = rules.clock.monotonic();
            let all_told = self.look_at(rules, fd, listing, from..to)?;
            let finished_at = rules.clock.monotonic();
            calls.add(to - from, finished_at.since(looked_from));
            let names = self.rows[from..to].iter().map(|row| usize::from(row.length)).sum();
            let mut children = columns(to - from, names);
            self.tell(rules, listing.path, from..to, &mut children, emit)?;
            ScanCounters::add(&rules.counters.entries, children.len());
            debug_assert!(all_told || self.errors.len() > failed_from);
            emit(Found::Listed(Box::new(ListedDir {
                path: listing.path.clone(),
                dir_stat: listing.dir_stat,
                started_at: listing.started_at,
                finished_at,
                part,
                last,
                complete: listing.complete && all_told,
                children,
                errors: std::mem::take(&mut self.errors),
            })))?;
            let rested = rules.rest(std::mem::take(&mut calls));
            if last {
                // It was told of to its end, though the scan is to end now: so it is remembered.
                return ControlFlow::Continue(());
            }
            rested?;
            part += 1;
            from = to;
        }
    }

    /// Puts what was seen into columns, and notes the directories to enter.
    fn tell(
        &mut self,
        rules: &Rules<'_>,
        path: &TreePath,
        rows: Range<usize>,
        children: &mut ChildColumns,
        emit: &mut dyn FnMut(Found) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        // The child's path is made only for directories; for all others its length is enough.
        let room = fusion_core::path::PATH_MAX - path.as_bytes().len().max(2) - 1;
        for at in 0..rows.len() {
            let Some(found) = self.looks[at] else { continue };
            let row = self.rows[rows.start + at];
            let name = row.name(&self.names);
            let length = name.len();
            // Nobody can name it, so nobody misses it: the listing stays complete.
            if length > room.min(fusion_core::path::NAME_MAX) {
                self.soft_error(rules, path.clone(), Errno::NAMETOOLONG);
                continue;
            }
            children.push(name, &found.stat);
            if found.stat.kind == Kind::Directory
                && let Ok(child) = path.join(name)
            {
                if found.is_mount && !rules.root.crosses_mounts() {
                    emit(Found::LeftOut(LeftOut { dir: child, why: WhyLeftOut::MountPoint }))?;
                } else {
                    self.subdirectories.push(child);
                }
            }
        }
        ControlFlow::Continue(())
    }

    fn soft_error(&mut self, rules: &Rules<'_>, path: TreePath, errno: Errno) {
        ScanCounters::add(&rules.counters.errors, 1);
        self.errors.push(SoftError { path, errno: errno.raw_os_error() });
    }
}

/// What all parts of a listing share.
struct Listing<'a> {
    path: &'a TreePath,
    dir_stat: Stat,
    started_at: Monotonic,
    complete: bool,
    /// What it took to open it and to read its names.
    opened: Calls,
    /// Each name is looked at by itself, because something hangs here.
    by_itself: bool,
}

fn columns(rows: usize, name_bytes: usize) -> ChildColumns {
    ChildColumns {
        names: Vec::with_capacity(name_bytes),
        name_lengths: Vec::with_capacity(rows),
        kinds: Vec::with_capacity(rows),
        sizes: Vec::with_capacity(rows),
        mtimes: Vec::with_capacity(rows),
        ctimes: Vec::with_capacity(rows),
        inodes: Vec::with_capacity(rows),
        modes: Vec::with_capacity(rows),
        uids: Vec::with_capacity(rows),
        gids: Vec::with_capacity(rows),
        nlinks: Vec::with_capacity(rows),
    }
}

fn stop_if(stop: bool) -> ControlFlow<()> {
    if stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}
