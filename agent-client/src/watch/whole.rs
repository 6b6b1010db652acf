//! fanotify on a whole file system: no watch for each directory, and what is done through other mounts
//! of it, or by a server that exports it, is seen as well.
//!
//! Needs CAP_SYS_ADMIN, Linux 5.17 (`FAN_RENAME`) and a local file system that numbers its files by
//! handles. An event names a directory by its handle; those that were placed are known here, all
//! others are outside the tree, or have not been listed yet, and their events are dropped as they are
//! read. The kernel merges what one process does to one name before it is read: the order within is
//! not known, so a file that was closed and at once opened again may be told of as closed.
//! Not seen: a write through NFS to a file that the exporting kernel knows by no name.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, PoisonError, RwLock};

use fanotify_fid::consts::{
    FAN_ATTRIB, FAN_CLASS_NOTIF, FAN_CLOEXEC, FAN_CLOSE_WRITE, FAN_CREATE, FAN_DELETE,
    FAN_DELETE_SELF, FAN_MARK_ADD, FAN_MARK_FILESYSTEM, FAN_MODIFY, FAN_MOVE_SELF, FAN_NONBLOCK,
    FAN_ONDIR, FAN_Q_OVERFLOW, FAN_RENAME, FAN_REPORT_DFID_NAME_TARGET,
};
use fanotify_fid::fid::{FidEvent, parse_fid_events};
use fanotify_fid::handle::handle_from_fd;
use inotify::EventMask;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::fstatfs;

use super::reader::Batch;
use super::table::WatchNumber;
use super::{WatchMethod, WatchOptions};
use crate::scan::Root;

/// The one group of a watcher.
pub(super) struct Whole {
    group: fanotify_fid::Fanotify,
    handles: Arc<Handles>,
    /// Of the last rename.
    cookie: u32,
}

/// The directories that were placed, by their handles.
#[derive(Debug, Default)]
pub(super) struct Handles(RwLock<Known>);

#[derive(Debug, Default)]
struct Known {
    by_handle: HashMap<Arc<[u8]>, WatchNumber>,
    by_number: HashMap<WatchNumber, Arc<[u8]>>,
    last: WatchNumber,
}

/// Of every name in the file system.
const OF_NAMES: u64 =
    FAN_CREATE | FAN_DELETE | FAN_RENAME | FAN_MODIFY | FAN_CLOSE_WRITE | FAN_ATTRIB | FAN_ONDIR;

/// One event of the kernel as events of inotify, in an order in which they can have happened.
const ORDER: [(u64, EventMask); 7] = [
    (FAN_CREATE, EventMask::CREATE),
    (FAN_MODIFY, EventMask::MODIFY),
    (FAN_ATTRIB, EventMask::ATTRIB),
    (FAN_CLOSE_WRITE, EventMask::CLOSE_WRITE),
    (FAN_DELETE, EventMask::DELETE),
    (FAN_DELETE_SELF, EventMask::DELETE_SELF),
    (FAN_MOVE_SELF, EventMask::MOVE_SELF),
];

/// File systems of this host alone, whose handles are those that fanotify tells.
const LOCAL: [(i64, &str); 5] = [
    (0xef53, "ext4"),
    (0x5846_5342, "xfs"),
    (0x9123_683e, "btrfs"),
    (0x0102_1994, "tmpfs"),
    (0xf2f5_2010, "f2fs"),
];

impl Whole {
    /// Marks the file system of a root, or says why not.
    pub(super) fn open(root: &Root, options: &WatchOptions) -> Result<Self, String> {
        suits(root, options)?;
        let failed = |doing: &'static str| {
            move |error: fanotify_fid::FanotifyError| format!("{doing}: {error}")
        };
        let flags = FAN_CLOEXEC | FAN_NONBLOCK | FAN_CLASS_NOTIF | FAN_REPORT_DFID_NAME_TARGET;
        let group = fanotify_fid::Fanotify::new(flags).map_err(failed("fanotify_init"))?;
        let mark = |flags, mask| group.mark_fd(root.as_fd(), FAN_MARK_ADD | flags, mask);
        mark(FAN_MARK_FILESYSTEM, OF_NAMES).map_err(failed("mark the file system"))?;
        // What happens to the root itself is told under its name in a directory that is not ours.
        let of_root = FAN_DELETE_SELF | FAN_MOVE_SELF | FAN_ONDIR;
        mark(0, of_root).map_err(failed("mark the root"))?;
        handle_from_fd(root.as_fd()).map_err(|error| format!("the root has no handle: {error}"))?;
        Ok(Self { group, handles: Arc::default(), cookie: 0 })
    }

    pub(super) fn handles(&self) -> Arc<Handles> {
        Arc::clone(&self.handles)
    }

    /// Reads once; adds what concerns us to the batch.
    pub(super) fn read(&mut self, buffer: &mut [u8], batch: &mut Batch) -> io::Result<()> {
        let length = rustix::io::read(&self.group, &mut *buffer)?;
        let events = parse_fid_events(&buffer[..length]).map_err(io::Error::other)?;
        let handles = Arc::clone(&self.handles);
        let known = handles.0.read().unwrap_or_else(PoisonError::into_inner);
        for event in &events {
            self.take(event, &known, batch);
        }
        Ok(())
    }

    fn take(&mut self, event: &FidEvent<'_>, known: &Known, batch: &mut Batch) {
        if event.mask() & FAN_Q_OVERFLOW != 0 {
            return batch.push(0, EventMask::Q_OVERFLOW, 0, b"");
        }
        let number = |handle: &[u8]| known.by_handle.get(handle).copied();
        let kind = match event.mask() & FAN_ONDIR {
            0 => EventMask::empty(),
            _ => EventMask::ISDIR,
        };
        if event.mask() & FAN_RENAME != 0 {
            self.cookie = self.cookie.wrapping_add(1).max(1);
            let ends = [
                (event.rename_source(), EventMask::MOVED_FROM),
                (event.rename_target(), EventMask::MOVED_TO),
            ];
            for (side, half) in ends {
                if let Some((number, side)) = side.and_then(|it| Some((number(it.handle())?, it))) {
                    batch.push(number, half | kind, self.cookie, side.name().as_encoded_bytes());
                }
            }
        }
        let Some(number) = event.dfid_name_handle().and_then(number) else { return };
        // The directory itself.
        let name = if event.dfid_name_raw() == b"." { b"" } else { event.dfid_name_raw() };
        for (bit, mask) in ORDER {
            if event.mask() & bit != 0 {
                batch.push(number, mask | kind, 0, name);
            }
        }
    }
}

impl AsFd for Whole {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.group.as_fd()
    }
}

impl Handles {
    /// The number of an open directory; a new one if it has none.
    pub(super) fn add(&self, directory: BorrowedFd<'_>) -> io::Result<WatchNumber> {
        let handle = handle_from_fd(directory)?;
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = known.by_handle.get(&*handle) {
            return Ok(*number);
        }
        let mut number = known.last;
        loop {
            number = if number == WatchNumber::MAX { 1 } else { number + 1 };
            if !known.by_number.contains_key(&number) {
                break;
            }
        }
        let handle: Arc<[u8]> = handle.into();
        known.last = number;
        known.by_number.insert(number, Arc::clone(&handle));
        known.by_handle.insert(handle, number);
        Ok(number)
    }

    /// Forgets a directory.
    pub(super) fn remove(&self, number: WatchNumber) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(handle) = known.by_number.remove(&number) {
            known.by_handle.remove(&handle);
        }
    }
}

/// Whether this root is to be watched in this way, as far as that can be told without trying.
fn suits(root: &Root, options: &WatchOptions) -> Result<(), String> {
    if options.method == Some(WatchMethod::Inotify) {
        return Err("as set".to_owned());
    }
    if options.max_watches.is_some() {
        return Err("max_watches is set, and fanotify has no watches to count".to_owned());
    }
    if root.crosses_mounts() {
        return Err("the tree goes over other mounts".to_owned());
    }
    let about = fstatfs(root.as_fd()).map_err(|errno| format!("statfs: {errno}"))?;
    if !LOCAL.iter().any(|(magic, _)| *magic == about.f_type as i64) {
        let names: Vec<&str> = LOCAL.iter().map(|(_, name)| *name).collect();
        return Err(format!("the storage is none of {}", names.join(", ")));
    }
    // Of a part of a file system the kernel would tell, and every writer would pay for, what happens in
    // the rest as well.
    let is_part = !root.is_mount().map_err(|errno| format!("statx: {errno}"))?;
    if options.method.is_none() && is_part {
        return Err("the root is a part of its file system".to_owned());
    }
    Ok(())
}
