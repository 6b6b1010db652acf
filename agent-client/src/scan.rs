//! Scanning: reads directories of one tree and hands over what stands in them.
//!
//! Owns: the only descriptors that the agent has into the tree ([`Root`]), the order of looking
//! (parent's stat, then names, then their stats; 4-consistency §1), and the worker threads of a
//! scan. Called by the agent (snapshot, audit, relist, on-demand scan, a follower's placing of
//! watches) and by `watch`, which lists and looks through the same functions.
//! Must never: write into the tree, follow a symbolic link, leave the root, or let a fault in one
//! entry end a scan.
//!
//! A call that hangs in the storage (NFS, FUSE) has a time limit: what it was about is told of with
//! ETIMEDOUT and the rest goes on (`hung`, `crew`).
//!
//! *Start here*: [`Root::open`], then [`Scan`] with its walks, or [`Root::look`] for one name.
//! Times are [`Monotonic`] of the agent's clock; whoever sends evidence adds the server's offset.
//! Tested in `agent-client/tests/scan.rs` against a naive walk by `std::fs`, and measured by
//! `examples/scan_rate.rs`.

pub mod cancel;
pub mod counters;
mod crew;
mod directory;
mod exclusion;
mod hung;
pub mod identity;
pub mod limits;
pub mod look;
mod memory;
pub mod pace;
mod queue;
pub mod root;
mod silent;
mod stat;
mod walk;

use std::num::NonZeroUsize;
use std::ops::ControlFlow;

use fusion_core::evidence::ChildColumns;
use fusion_core::path::{PathRef, TreePath};
use fusion_core::stat::Stat;
use fusion_core::time::Monotonic;
use rustix::fd::BorrowedFd;

pub use cancel::Cancel;
pub use counters::{ScanCounters, ScanCounts};
pub use exclusion::Exclusion;
pub use identity::{RootCheck, RootIdentity};
pub use limits::{Budgets, Limits, Paced, Paused, Precedence, Rank};
pub use look::{Look, LookError};
pub use memory::Memory;
pub use pace::{Latency, Pace, RateLimit, Unlimited};
pub use root::{FileId, Root, RootError, RootOptions};
pub use silent::{DeepTurn, Recall, Silent};
pub use walk::Scan;

pub(crate) use directory::{Calls, DirectoryReader, Reading, Rules};
pub(crate) use hung::{At, Pulse, Stuck};
pub(crate) use look::{is_absence, stat_in};
pub(crate) use root::{Reached, parent_of, stat_of};

/// What a scan found. Parts of one directory come in order, from one worker; directories come in no
/// order, save that a directory comes before what is below it.
#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    /// A directory, or one part of it.
    Listed(Box<ListedDir>),
    /// A directory that cannot be read; its known children stay (R11).
    Unreadable(Unreadable),
    /// A directory that is listed in its parent but not entered.
    LeftOut(LeftOut),
}

/// The children of a directory, or one part of them (4-consistency §1, Large directories).
#[derive(Debug, Clone, PartialEq)]
pub struct ListedDir {
    /// The directory.
    pub path: TreePath,
    /// Its stat, looked at before the names.
    pub dir_stat: Stat,
    /// When it was looked at, before its stat; the same in all parts of one listing.
    pub started_at: Monotonic,
    /// When the last child of this part was looked at.
    pub finished_at: Monotonic,
    /// Number of this part, from 0.
    pub part: u32,
    /// Whether this is the last part.
    pub last: bool,
    /// Whether every name of this part was read and looked at; if not, nothing can be missing.
    pub complete: bool,
    /// The children, sorted by name bytes, no name twice.
    pub children: ChildColumns,
    /// What could not be looked at or named. These ride along and end nothing.
    pub errors: Vec<SoftError>,
}

/// A fault of one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SoftError {
    /// The entry; the directory if the entry's name or path cannot be told (`ENAMETOOLONG`).
    pub path: TreePath,
    /// The error number of the operating system.
    pub errno: i32,
}

/// A directory that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// The directory.
    pub dir: TreePath,
    /// The error number of the operating system.
    pub errno: i32,
    /// When it was tried.
    pub looked_at: Monotonic,
}

/// A directory that is not entered, for coverage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// The directory.
    pub dir: TreePath,
    /// Why.
    pub why: WhyLeftOut,
}

/// Why a directory is not entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WhyLeftOut {
    /// It is one of [`ScanOptions::left_out`]: a spool or data directory of ours.
    Own,
    /// Another file system is mounted there, and mount points are not to be crossed.
    MountPoint,
    /// It is one of its own ancestors (a bind mount of a parent).
    Loop,
}

/// Where a scan puts what it finds. Called by all workers at once.
pub trait Sink: Sync {
    /// Takes one find. Blocks while there is no room, which stops the workers. `Break` ends the
    /// scan; a sink that blocks must give it when the scan is cancelled, or its receiver is gone.
    fn put(&self, found: Found) -> ControlFlow<()>;
}

impl<F: Fn(Found) -> ControlFlow<()> + Sync> Sink for F {
    fn put(&self, found: Found) -> ControlFlow<()> {
        self(found)
    }
}

/// Who places a watch on each directory before it is read. Called by all workers at once.
pub trait Placer: Sync {
    /// `directory` is open, and is what stands at `path`; `stat` is its stat.
    fn place(&self, path: PathRef<'_>, directory: BorrowedFd<'_>, id: FileId, stat: &Stat);
}

/// How to scan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanOptions {
    /// Threads that read directories. On NFS latency rules, so more than there are cores.
    pub workers: NonZeroUsize,
    /// Most children in one [`ListedDir`]. With the rows of a wire batch less one (the directory's
    /// own) no listing has to be cut again.
    pub max_rows: NonZeroUsize,
    /// Directories that are listed in their parent and not entered: our own.
    pub left_out: Vec<FileId>,
}

impl Default for ScanOptions {
    fn default() -> Self {
        const ROWS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(998);
        let workers = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Self { workers, max_rows: ROWS, left_out: Vec::new() }
    }
}

/// How a walk ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScanReport {
    /// What was found at the path where it began.
    pub start: Start,
    /// Whether everything below was handed over, save what was `Unreadable` or left out; not if it
    /// was cancelled or the sink broke off.
    pub complete: bool,
    /// What it counted.
    pub counts: ScanCounts,
    /// When it began.
    pub started_at: Monotonic,
    /// When it ended.
    pub finished_at: Monotonic,
}

/// What a walk found where it was to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Start {
    /// A directory, and it was read.
    Directory,
    /// A directory that cannot be read; said as [`Found::Unreadable`].
    Unreadable,
    /// A directory that is left out; said as [`Found::LeftOut`].
    LeftOut,
    /// Nothing, or no directory: [`Root::look`] tells, and the answer is a `Probe` (R4.5).
    NoDirectory,
}
