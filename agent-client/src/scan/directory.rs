//! Reading one directory: the order of looking, and nothing of where to go next.
//!
//! A [`DirectoryReader`] belongs to one thread and keeps its buffers from one directory to the
//! next. Used by the workers of a scan and by `watch` for what appears by event. The order is open,
//! place the watch, stat of the directory, names, their stats: so the listing says *each name was
//! there, or was not, in this version of the directory or a later one*.

use std::ffi::CStr;
use std::num::NonZeroUsize;
use std::ops::{ControlFlow, Range};

use fusion_core::evidence::ChildColumns;
use fusion_core::path::TreePath;
use fusion_core::stat::{Kind, Stat};
use fusion_core::time::Monotonic;
use rustix::fd::{AsFd as _, OwnedFd};
use rustix::fs::{FileType, RawDir, StatxAttributes, statx};
use rustix::io::Errno;

use super::look::is_absence;
use super::root::{FileId, Reached, Root, stat_of};
use super::{
    Cancel, Found, LeftOut, ListedDir, Pace, Placer, ScanCounters, SoftError, Unreadable,
    WhyLeftOut, stat,
};
use crate::clock::AgentClock;

/// What is read, and how.
#[derive(Clone, Copy)]
pub(crate) struct Rules<'a> {
    pub(crate) root: &'a Root,
    pub(crate) clock: &'a dyn AgentClock,
    pub(crate) cancel: &'a Cancel,
    pub(crate) counters: &'a ScanCounters,
    pub(crate) pace: &'a dyn Pace,
    pub(crate) placer: Option<&'a dyn Placer>,
    pub(crate) left_out: &'a [FileId],
    pub(crate) max_rows: NonZeroUsize,
    /// Names only: places watches and finds directories, looks at no entry, lists nothing.
    pub(crate) names_only: bool,
}

impl Rules<'_> {
    /// Waits as long as the pace says, before so many entries are looked at.
    pub(crate) fn wait(&self, entries: usize) -> ControlFlow<()> {
        let delay = self.pace.delay(entries, self.clock.monotonic());
        stop_if(if delay.is_zero() { self.cancel.is_set() } else { self.cancel.wait(delay) })
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

/// One name: where it is in the buffer, and what the directory says of it.
#[derive(Clone, Copy)]
struct Row {
    /// Eight bytes of it, behind what all names have in common: so most comparisons need no look
    /// into the buffer.
    prefix: u64,
    inode: u64,
    start: usize,
    length: u16,
    kind: FileType,
}

/// What a look at a name gave.
#[derive(Clone, Copy)]
struct Look {
    stat: Stat,
    is_mount: bool,
}

/// Asked of the kernel at once. Larger gains nothing on local file systems and spoils the cache.
const RAW_BYTES: usize = 128 * 1024;
/// Buffers above this are given back after a large directory.
const KEEP_BYTES: usize = 1 << 20;
/// From so many rows on, looking in the order of inodes is worth its sort.
const INODE_ORDER_FROM: usize = 32;

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
        let open = match parent {
            Some((parent, name)) => rules.root.open_child(parent, name),
            None => rules.root.open_to_read(path.as_ref()),
        };
        let open = open.and_then(|fd| Ok((stat_of(&fd)?, fd)));
        let ((id, mut dir_stat), fd) = match open {
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
            placer.place(path.as_ref(), fd.as_fd(), id, &dir_stat);
            if !rules.names_only {
                match stat_of(&fd) {
                    Ok((_, after)) => dir_stat = after,
                    Err(errno) => return refuse(rules, path, errno, started_at, emit),
                }
            }
        }
        let complete = match self.read_names(rules, &fd, path) {
            Ok(()) => true,
            Err(_) if rules.cancel.is_set() => return Reading::Stopped,
            Err(errno) if self.rows.is_empty() => {
                return refuse(rules, path, errno, started_at, emit);
            }
            Err(errno) => {
                self.soft_error(rules, path.clone(), errno);
                false
            }
        };
        ScanCounters::add(&rules.counters.directories, 1);
        let listing = Listing { path, dir_stat, started_at, complete };
        let flow = if rules.names_only {
            self.enter_directories(rules, &fd, path)
        } else {
            self.list(rules, &fd, &listing, emit)
        };
        if flow.is_break() { Reading::Stopped } else { Reading::Read(id) }
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

    /// All names, sorted by bytes, none twice.
    fn read_names(
        &mut self,
        rules: &Rules<'_>,
        fd: &OwnedFd,
        path: &TreePath,
    ) -> Result<(), Errno> {
        let exclusion = rules.root.exclusion();
        let mut entries = RawDir::new(fd, self.raw.spare_capacity_mut());
        let mut result = Ok(());
        while let Some(entry) = entries.next() {
            let entry = match entry {
                _ if rules.cancel.is_set() => return Err(Errno::CANCELED),
                Ok(entry) => entry,
                Err(errno) => {
                    result = Err(errno);
                    break;
                }
            };
            let name = entry.file_name().to_bytes_with_nul();
            if matches!(name, b".\0" | b"..\0") {
                continue;
            }
            let (start, length) = (self.names.len(), name.len() - 1);
            if exclusion.takes_in(path.as_ref(), &name[..length]) {
                continue;
            }
            self.names.extend_from_slice(name);
            self.rows.push(Row {
                prefix: 0,
                inode: entry.ino(),
                start,
                length: u16::try_from(length).unwrap_or(u16::MAX),
                kind: entry.file_type(),
            });
        }
        self.sort();
        result
    }

    /// Sorts the rows by the bytes of their names.
    fn sort(&mut self) {
        let names = &self.names;
        let Some(first) = self.rows.first().map(|row| row.name(names)) else { return };
        let mut common = first.len();
        for row in &self.rows {
            common =
                first.iter().zip(row.name(names)).take(common).take_while(|(a, b)| a == b).count();
        }
        for row in &mut self.rows {
            row.prefix = prefix(&row.name(names)[common..]);
        }
        self.rows.sort_unstable_by(|a, b| {
            a.prefix.cmp(&b.prefix).then_with(|| a.name(names).cmp(b.name(names)))
        });
        // A directory that changes while it is read may give a name twice.
        self.rows.dedup_by(|a, b| a.prefix == b.prefix && a.name(names) == b.name(names));
    }

    /// Names only: the directories to enter. Looks only where the directory does not say the kind.
    fn enter_directories(
        &mut self,
        rules: &Rules<'_>,
        fd: &OwnedFd,
        path: &TreePath,
    ) -> ControlFlow<()> {
        ScanCounters::add(&rules.counters.entries, self.rows.len());
        rules.wait(1)?;
        for at in 0..self.rows.len() {
            stop_if(rules.cancel.is_set())?;
            let row = self.rows[at];
            let is_directory = match row.kind {
                FileType::Directory => true,
                FileType::Unknown => {
                    let looked = look(fd, row.c_name(&self.names)).ok();
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
        ControlFlow::Continue(())
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
        loop {
            let to = self.rows.len().min(from + rules.max_rows.get());
            let last = to == self.rows.len();
            rules.wait(to - from)?;
            let failed_from = self.errors.len();
            let all_told = self.look_at(rules, fd, listing.path, from..to)?;
            let names = self.rows[from..to].iter().map(|row| usize::from(row.length)).sum();
            let mut children = columns(to - from, names);
            self.tell(rules, listing.path, from..to, &mut children, emit)?;
            ScanCounters::add(&rules.counters.entries, children.len());
            debug_assert!(all_told || self.errors.len() > failed_from);
            emit(Found::Listed(Box::new(ListedDir {
                path: listing.path.clone(),
                dir_stat: listing.dir_stat,
                started_at: listing.started_at,
                finished_at: rules.clock.monotonic(),
                part,
                last,
                complete: listing.complete && all_told,
                children,
                errors: std::mem::take(&mut self.errors),
            })))?;
            if last {
                return ControlFlow::Continue(());
            }
            part += 1;
            from = to;
        }
    }

    /// Fills `looks` for these rows; gives whether every name was looked at.
    fn look_at(
        &mut self,
        rules: &Rules<'_>,
        fd: &OwnedFd,
        path: &TreePath,
        rows: Range<usize>,
    ) -> ControlFlow<(), bool> {
        let count = rows.len();
        let from = rows.start;
        self.looks.clear();
        self.looks.resize(count, None);
        self.order.clear();
        self.order.extend((0..count).filter_map(|at| u32::try_from(at).ok()));
        if count >= INODE_ORDER_FROM {
            let rows = &self.rows;
            self.order.sort_unstable_by_key(|&at| rows[from + at as usize].inode);
        }
        let mut all_told = true;
        let mut saturated = 0;
        for index in 0..self.order.len() {
            stop_if(rules.cancel.is_set())?;
            let at = self.order[index] as usize;
            let row = self.rows[from + at];
            match look(fd, row.c_name(&self.names)) {
                Ok((found, times)) => {
                    self.looks[at] = Some(found);
                    saturated += times;
                }
                // Gone since the names were read: it is not in this version or a later one.
                Err(errno) if is_absence(errno) => {}
                Err(errno) => {
                    all_told = false;
                    let child = path.join(row.name(&self.names)).unwrap_or_else(|_| path.clone());
                    self.soft_error(rules, child, errno);
                }
            }
        }
        ScanCounters::add(&rules.counters.file_stats, count);
        if saturated > 0 {
            ScanCounters::add(&rules.counters.saturated_times, saturated);
        }
        ControlFlow::Continue(all_told)
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
}

impl Row {
    fn name<'n>(&self, names: &'n [u8]) -> &'n [u8] {
        &names[self.start..self.start + usize::from(self.length)]
    }

    fn c_name<'n>(&self, names: &'n [u8]) -> &'n CStr {
        let with_nul = &names[self.start..=self.start + usize::from(self.length)];
        CStr::from_bytes_with_nul(with_nul).unwrap_or(c"")
    }
}

/// The first eight bytes of a name, so that comparing numbers compares bytes.
fn prefix(name: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    let length = name.len().min(8);
    bytes[..length].copy_from_slice(&name[..length]);
    u64::from_be_bytes(bytes)
}

fn look(fd: &OwnedFd, name: &CStr) -> Result<(Look, usize), Errno> {
    let looked = statx(fd, name, stat::NAME, stat::MASK)?;
    let (found, saturated) = stat::convert(&looked);
    let is_mount = looked.stx_attributes.contains(StatxAttributes::MOUNT_ROOT);
    Ok((Look { stat: found, is_mount }, saturated))
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

fn refuse(
    rules: &Rules<'_>,
    path: &TreePath,
    errno: Errno,
    looked_at: Monotonic,
    emit: &mut dyn FnMut(Found) -> ControlFlow<()>,
) -> Reading {
    if is_absence(errno) {
        return Reading::Gone;
    }
    if errno == Errno::XDEV {
        return leave_out(path.clone(), WhyLeftOut::MountPoint, emit);
    }
    ScanCounters::add(&rules.counters.errors, 1);
    let errno = errno.raw_os_error();
    match emit(Found::Unreadable(Unreadable { dir: path.clone(), errno, looked_at })) {
        ControlFlow::Continue(()) => Reading::Unreadable,
        ControlFlow::Break(()) => Reading::Stopped,
    }
}

fn leave_out(
    dir: TreePath,
    why: WhyLeftOut,
    emit: &mut dyn FnMut(Found) -> ControlFlow<()>,
) -> Reading {
    match emit(Found::LeftOut(LeftOut { dir, why })) {
        ControlFlow::Continue(()) => Reading::LeftOut,
        ControlFlow::Break(()) => Reading::Stopped,
    }
}

fn stop_if(stop: bool) -> ControlFlow<()> {
    if stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}
