//! Watching: turns what the kernel tells of this host's changes into evidence.
//!
//! Owns: the kernel's queue of events, the table of watched directories, two threads (one only reads the
//! kernel's queue, one interprets) and a third while watches are placed anew after lost events.
//! Called by the agent, which starts a [`Watcher`], lets a scan place the watches through its
//! [`WatchHandle`] (a [`Placer`](crate::scan::Placer)), and takes the evidence from a [`WatchSink`].
//! Must never: tell of a name without having looked at it, look in another order than parent's
//! stat, name, stat (4-consistency §1), send or encode anything, write into the tree, or lose an
//! event without an [`WatchEvidence::Overflow`], or an [`WatchEvidence::Unreadable`] where only that
//! directory is concerned.
//!
//! What it gives is what it looked at, in the order in which it looked: applying it in that order to
//! a copy of the tree gives the tree (that is how `agent-client/tests/tree/` tests it). An event is
//! only a reason to look: what is told is what stands there now. Three things are merged within
//! [`WatchOptions::merge_window`]: writes to a file that is still open, changes of attributes, and
//! the own stat of directories in which names changed.
//!
//! *What it cannot see*: changes of a file through a hard link that it does not know of, writes
//! through `mmap`, whatever other hosts do. Audits find these.
//! *A look that hangs* in the storage is seen by who owns the watcher, and begins another (`looking`).

mod anew;
mod budget;
mod counters;
mod discover;
mod failed;
mod gate;
mod interpreter;
mod kernel;
mod looking;
mod moves;
mod outlet;
mod pending;
mod places;
mod pool;
mod reader;
mod recent;
mod table;
mod take_in;
mod tell;
mod watcher;
mod whole;

use std::num::{NonZeroU32, NonZeroUsize};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam_channel::Sender;
use fusion_core::path::TreePath;
use fusion_core::stat::Stat;
use fusion_core::time::Monotonic;

use crate::clock::SharedClock;
use crate::scan::{Cancel, FileId, LeftOut, ListedDir, Precedence, Pulse, Root, Unreadable};

pub use failed::FailedLook;
pub use looking::Stalls;
pub use pool::WatchPart;
pub use watcher::{WatchHandle, Watcher};

/// A piece of realtime evidence (4-consistency §1), owned. Times are of the agent's clock.
#[derive(Debug, Clone, PartialEq)]
pub enum WatchEvidence {
    /// This entry exists and looks like this.
    Upsert {
        /// The entry.
        path: TreePath,
        /// Its stat.
        stat: Stat,
        /// The stat of its directory, looked at before the name; `None` only for the root.
        parent: Option<Stat>,
        /// Nobody that we know of is writing it: the writer has closed it, or it is no file.
        atomic: bool,
        /// When it was looked at.
        looked_at: Monotonic,
    },
    /// This entry, and all below it, is gone; looked at again before this was written.
    Remove {
        /// The entry.
        path: TreePath,
        /// The stat of its directory, looked at before the name; `None` if that is gone too.
        parent: Option<Stat>,
        /// When it was looked at.
        looked_at: Monotonic,
    },
    /// The subtree moved: it was found at `to`, and nothing at `from`.
    Rename {
        /// Where it was.
        from: TreePath,
        /// Where it is.
        to: TreePath,
        /// Its stat at `to`.
        stat: Stat,
        /// The stat of the directory of `from`.
        from_parent: Option<Stat>,
        /// The stat of the directory of `to`.
        to_parent: Option<Stat>,
        /// When it was looked at.
        looked_at: Monotonic,
    },
    /// What stands in a directory that appeared, or one part of it: source DISCOVERY. It was watched
    /// before it was read; what is below it follows.
    Listing(Box<ListedDir>),
    /// A directory that appeared and cannot be read, or in which an event could not be looked after.
    Unreadable(Unreadable),
    /// A directory that appeared and is not entered.
    LeftOut(LeftOut),
    /// Events were lost (R10). Comes at once, and again with a later `watching_since` when all watches
    /// were placed anew.
    Overflow {
        /// The last moment of which everything is known.
        since: Monotonic,
        /// When the agent watched again.
        watching_since: Monotonic,
        /// All watches were placed anew: nothing is lost any more, whatever was told before.
        is_over: bool,
    },
    /// The root was moved, removed or unmounted. [`Root::check`](crate::scan::Root::check) tells
    /// more; a watcher on a root that is gone sees nothing and is to be ended.
    RootGone {
        /// When that was seen.
        looked_at: Monotonic,
    },
}

/// Where evidence goes. Called by the interpreting thread only.
pub trait WatchSink: Send {
    /// Takes a batch of at most [`WatchOptions::max_rows`] rows. Blocks while there is no room:
    /// events then wait in the watcher's queue. `Break` ends the watcher.
    fn put(&mut self, batch: Vec<WatchEvidence>) -> ControlFlow<()>;
}

impl<F: FnMut(Vec<WatchEvidence>) -> ControlFlow<()> + Send> WatchSink for F {
    fn put(&mut self, batch: Vec<WatchEvidence>) -> ControlFlow<()> {
        self(batch)
    }
}

/// By what the kernel tells of changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum WatchMethod {
    /// inotify: a watch for each directory, within a budget. Sees what is done on this host through
    /// this mount, and needs no right.
    #[default]
    Inotify,
    /// fanotify: one mark for the whole file system. Needs CAP_SYS_ADMIN and a local file system.
    Fanotify,
}

/// How to watch.
#[derive(Debug, Clone)]
pub struct WatchOptions {
    /// By what; absent: by fanotify where the root is the top of a mount and it is possible, and
    /// `max_watches` is not set. Where fanotify is asked for and not possible it is inotify.
    pub method: Option<WatchMethod>,
    /// Most directories to watch, in all trees of `part` together; absent: what the kernel allows.
    pub max_watches: Option<u64>,
    /// The tree's part in the watches of its process.
    pub part: WatchPart,
    /// Most events in the watcher's own queue, about 32 bytes each; more are lost, and that is said.
    pub queue_events: NonZeroUsize,
    /// For how long writes to an open file are merged.
    pub merge_window: Duration,
    /// How long the second half of a rename is waited for after the first was read.
    pub pair_timeout: Duration,
    /// Most rows in a batch of evidence; a listing counts one row and one for each child.
    pub max_rows: NonZeroUsize,
    /// Directories that are neither watched nor entered: our own.
    pub left_out: Vec<FileId>,
    /// Directories read per second when watches are placed anew after lost events.
    pub placement_rate: NonZeroU32,
    /// Events were lost since then, before this watcher: it says so, and places watches on the whole
    /// tree by itself, as after a loss of its own. Absent: none were.
    pub lost_since: Option<Monotonic>,
    /// Told while directories that appeared are listed, so that scans give way.
    pub precedence: Precedence,
}

impl Default for WatchOptions {
    fn default() -> Self {
        Self {
            method: None,
            max_watches: None,
            part: WatchPart::default(),
            queue_events: NonZeroUsize::MIN.saturating_add((1 << 20) - 1),
            merge_window: Duration::from_millis(20),
            pair_timeout: Duration::from_millis(3),
            max_rows: NonZeroUsize::MIN.saturating_add(999),
            left_out: Vec::new(),
            placement_rate: NonZeroU32::MIN.saturating_add(1_999),
            lost_since: None,
            precedence: Precedence::default(),
        }
    }
}

/// What a watcher counts. Gauges say so; all else only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WatchCounts {
    /// By what it watches.
    pub method: WatchMethod,
    /// Kernel events read.
    pub events: u64,
    /// Entries whose stat was taken because of an own event, those of directories that appeared
    /// included.
    pub file_stats: u64,
    /// Directories listed because they appeared.
    pub discovered: u64,
    /// Gauge: directories watched.
    pub watched: u64,
    /// Gauge: directories that were refused a watch, or gave theirs to a hotter one, since the last
    /// placing walk began; while that goes on, not fewer than before it. Audits see to them.
    pub unwatched: u64,
    /// Gauge: most directories that may be watched, as set or as learned from the kernel; `u64::MAX`
    /// if there is no most.
    pub limit: u64,
    /// Times that events were lost.
    pub overflows: u64,
    /// Gauge: events in the watcher's own queue.
    pub queued: u64,
    /// Watches dropped because their path no longer led to the watched directory.
    pub dropped_watches: u64,
    /// Names that an event gave reason to look at, and whose first look gave no answer; each of
    /// [`FailedLook::ALL`] by itself.
    pub failed_looks: [u64; FailedLook::ALL.len()],
}

/// Why there is no watcher.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The kernel gives no inotify instance.
    #[error("make an inotify instance: {0}")]
    Instance(#[source] std::io::Error),
    /// The system gives no thread, or none that can wait for events.
    #[error("start a watching thread: {0}")]
    Thread(#[source] std::io::Error),
}

/// What the threads of a watcher share.
struct Shared {
    root: Arc<Root>,
    options: WatchOptions,
    clock: SharedClock,
    /// By how many nanoseconds the wall clock was ahead of the other when this began.
    wall_ahead: i64,
    places: places::Places,
    gate: gate::Gate,
    counters: counters::Counters,
    cancel: Cancel,
    /// Of the interpreting thread.
    pulse: Pulse,
    place: Mutex<looking::Place>,
    turn: discover::DiscoveryTurn,
    /// To the interpreting thread.
    messages: Sender<reader::Message>,
    stop_reader: Arc<tokio::sync::Notify>,
}

impl Shared {
    /// Most children in one listing: a batch has room for them and their directory.
    fn max_children(&self) -> NonZeroUsize {
        NonZeroUsize::new(self.options.max_rows.get() - 1).unwrap_or(NonZeroUsize::MIN)
    }
}
