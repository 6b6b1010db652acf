//! The two ways in which the kernel tells of changes, as one: inotify, a watch for each directory, and
//! fanotify, one mark for a whole file system (`whole`).
//!
//! Both give a directory a number when it is placed, and tell of a name in a numbered directory in the
//! words of inotify. What differs is said by [`Placing::has_limit`] and [`Placing::tells_by_parent`].

use std::io;

use inotify::{Inotify, WatchMask, Watches};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use super::reader::Batch;
use super::table::WatchNumber;
use super::whole::{Handles, Whole};
use super::{WatchError, WatchMethod, WatchOptions};
use crate::scan::Root;

/// What inotify is asked for, of each directory.
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

/// Where events are read.
pub(super) enum Queue {
    Inotify(Inotify),
    Whole(Whole),
}

/// Where directories are placed.
#[derive(Debug)]
pub(super) enum Placing {
    Inotify {
        watches: Watches,
        /// A second descriptor of the instance, to remove watches by their numbers.
        instance: OwnedFd,
    },
    Whole(std::sync::Arc<Handles>),
}

/// Opens the kernel's side of a watcher, and says which it is.
pub(super) fn open(root: &Root, options: &WatchOptions) -> Result<(Queue, Placing), WatchError> {
    match Whole::open(root, options) {
        Ok(whole) => {
            tracing::info!("watching the whole file system by fanotify");
            let placing = Placing::Whole(whole.handles());
            Ok((Queue::Whole(whole), placing))
        }
        Err(why) => {
            tracing::info!("watching each directory by inotify: {why}");
            let inotify = Inotify::init().map_err(WatchError::Instance)?;
            let instance = duplicate(&inotify).map_err(WatchError::Instance)?;
            let placing = Placing::Inotify { watches: inotify.watches(), instance };
            Ok((Queue::Inotify(inotify), placing))
        }
    }
}

impl Queue {
    /// Reads once; adds what comes to the batch.
    pub(super) fn read(&mut self, buffer: &mut [u8], batch: &mut Batch) -> io::Result<()> {
        match self {
            Self::Inotify(inotify) => {
                inotify.read_events(buffer)?.for_each(|event| batch.push_inotify(&event));
                Ok(())
            }
            Self::Whole(whole) => whole.read(buffer, batch),
        }
    }

    /// Another descriptor of it.
    pub(super) fn duplicate(&self) -> io::Result<OwnedFd> {
        duplicate(self)
    }
}

impl AsFd for Queue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Inotify(inotify) => inotify.as_fd(),
            Self::Whole(whole) => whole.as_fd(),
        }
    }
}

impl AsRawFd for Queue {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl Placing {
    pub(super) fn method(&self) -> WatchMethod {
        match self {
            Self::Inotify { .. } => WatchMethod::Inotify,
            Self::Whole(_) => WatchMethod::Fanotify,
        }
    }

    /// Whether each directory costs the kernel something, and there is a most.
    pub(super) fn has_limit(&self) -> bool {
        matches!(self, Self::Inotify { .. })
    }

    /// Whether what happens to a directory itself is told by the watch of its parent as well.
    pub(super) fn tells_by_parent(&self) -> bool {
        matches!(self, Self::Inotify { .. })
    }

    /// Gives an open directory a number, or the number that it has.
    pub(super) fn add(&mut self, directory: BorrowedFd<'_>) -> io::Result<WatchNumber> {
        match self {
            // By its path a watch could land on something else, or behind a symbolic link.
            Self::Inotify { watches, .. } => {
                let link = format!("/proc/self/fd/{}", directory.as_raw_fd());
                Ok(watches.add(link, EVENTS)?.get_watch_descriptor_id())
            }
            Self::Whole(handles) => handles.add(directory),
        }
    }

    /// No more events of this directory. It may be gone already.
    pub(super) fn end(&self, watch: WatchNumber) {
        match self {
            Self::Inotify { instance, .. } => {
                let _ = rustix::fs::inotify::remove_watch(instance, watch);
            }
            Self::Whole(handles) => handles.remove(watch),
        }
    }
}

fn duplicate(queue: &impl AsFd) -> io::Result<OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(queue.as_fd(), 0)?)
}
