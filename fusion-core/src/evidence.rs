//! What agents report (4-consistency §1), borrowed from wherever it arrived.
//!
//! Owns the shape of evidence, not its worth: that is `view`. Rows are borrowed and listings are
//! columns, so that a batch goes from the wire into the tree without an allocation per row.
//! Paths and names in here are already checked; a row that breaks a rule never becomes evidence.

use crate::id::{AgentId, LeaderEpoch, SessionId};
use crate::path::PathRef;
use crate::stat::{Kind, Stat};
use crate::time::{ServerTime, StorageTime};

/// Who looked: the session that a batch came from, and the leadership that it claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witness {
    /// The agent.
    pub agent: AgentId,
    /// Its session.
    pub session: SessionId,
    /// The leader epoch under which it looked; 0 if it did not lead.
    pub epoch: LeaderEpoch,
}

/// Which scan a listing belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// The leader's first scan (tier 2).
    Snapshot,
    /// The leader's periodic scan, and its answers to relists (tier 3).
    Audit,
    /// A scan that somebody asked for (tier 3).
    OnDemand,
    /// A directory that appeared by event (tier 2).
    Discovery,
}

impl Source {
    /// Whether only the view's leader may report it.
    #[must_use]
    pub const fn is_leader_only(self) -> bool {
        matches!(self, Self::Snapshot | Self::Audit)
    }
}

/// The number of a scan; drawn by whoever scans, unique among the scans of its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ScanId(pub u64);

/// What is known of the storage behind a root (R11).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RootIdentity {
    /// File-system type as the kernel names it; empty if not known.
    pub fs_type: String,
    /// Inode number of the root.
    pub inode: u64,
    /// Birth time of the root, where the storage tells it.
    pub born: Option<StorageTime>,
    /// Name and inode of up to 64 top-level entries, oldest ctime first.
    pub top: Vec<(Vec<u8>, u64)>,
}

/// How an agent finds its root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RootState {
    /// There, and the tree that it was.
    Available,
    /// Unmounted, hung or not to be read.
    Unavailable,
    /// There, but it may be another tree.
    Doubtful,
}

/// One piece of evidence. `observed_at` and `started_at` are the time of looking in server time.
#[derive(Debug, Clone, PartialEq)]
pub enum Evidence<'a> {
    /// A kernel event: this entry exists and looks like this (tier 1).
    Upsert {
        /// The entry.
        path: PathRef<'a>,
        /// Its stat.
        stat: Stat,
        /// The stat of its directory, looked at before the entry; `None` only for the root.
        parent: Option<Stat>,
        /// The writer has closed it.
        atomic: bool,
        /// When it was looked at.
        observed_at: ServerTime,
    },
    /// A kernel event: this entry, and all below it, is gone (tier 1).
    Remove {
        /// The entry.
        path: PathRef<'a>,
        /// The stat of its directory, looked at before the name; `None` if that is gone too.
        parent: Option<Stat>,
        /// When it was looked at.
        observed_at: ServerTime,
    },
    /// A paired kernel event: the subtree moved (tier 1).
    Rename {
        /// Where it was.
        from: PathRef<'a>,
        /// Where it is.
        to: PathRef<'a>,
        /// Its stat at `to`.
        stat: Stat,
        /// The stat of the directory of `from`; `None` if that is gone too.
        from_parent: Option<Stat>,
        /// The stat of the directory of `to`.
        to_parent: Option<Stat>,
        /// When it was looked at.
        observed_at: ServerTime,
    },
    /// All children, or one part of them, of a directory (tier 2 or 3).
    Listing(Listing<'a>),
    /// An audit skipped this directory: it is in the version last listed (tier 3).
    Unchanged {
        /// The directory.
        dir: PathRef<'a>,
        /// Its stat.
        dir_stat: Stat,
        /// When it was looked at.
        observed_at: ServerTime,
    },
    /// One name, looked at now (tier 3).
    Probe {
        /// The entry.
        path: PathRef<'a>,
        /// Its stat; `None` if nothing stands there.
        found: Option<Stat>,
        /// The stat of its directory; `None` if that is gone, or for the root.
        parent: Option<Stat>,
        /// When it was looked at.
        observed_at: ServerTime,
    },
    /// A scan begins; frames what follows in the SCAN lane.
    ScanStarted {
        /// The scan.
        scan: ScanId,
        /// What kind of scan.
        source: Source,
        /// The directory below which it scans.
        path: PathRef<'a>,
        /// When it began.
        started_at: ServerTime,
        /// The storage that it scans; absent in a scan of one directory.
        root: Option<RootIdentity>,
    },
    /// A scan ended.
    ScanFinished {
        /// The scan.
        scan: ScanId,
        /// Whether it saw everything below its path save what was `Unreadable`.
        complete: bool,
        /// Directories listed or found unchanged.
        directories: u64,
        /// Entries seen.
        entries: u64,
        /// Directories and entries that could not be read.
        errors: u64,
        /// When it ended.
        finished_at: ServerTime,
    },
    /// A directory that could not be read; its known children stay (R11).
    Unreadable {
        /// The directory.
        dir: PathRef<'a>,
        /// The error number of the operating system.
        errno: i32,
        /// When it was tried.
        observed_at: ServerTime,
    },
    /// The storage is there, is not, or is another (R11).
    Root {
        /// How the agent finds it.
        state: RootState,
        /// What it looks like; absent if it cannot be looked at.
        identity: Option<RootIdentity>,
        /// When it was looked at.
        observed_at: ServerTime,
    },
    /// Events were lost since then (R10).
    Overflow {
        /// The last moment of which everything is known.
        since: ServerTime,
        /// When the agent watched again.
        observed_at: ServerTime,
    },
}

/// The children of a directory, whole or one part of them (R4).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Listing<'a> {
    /// The directory.
    pub dir: PathRef<'a>,
    /// Its stat, looked at before the names.
    pub dir_stat: Stat,
    /// The scan that it belongs to.
    pub scan: ScanId,
    /// What kind of scan.
    pub source: Source,
    /// When the directory was looked at; all parts of one listing carry the same.
    pub started_at: ServerTime,
    /// When the last child of this part was looked at.
    pub finished_at: ServerTime,
    /// Number of this part, from 0. Parts are sorted by name bytes; part i covers the names after
    /// the last one of part i − 1 up to its own last one.
    pub part: u32,
    /// Whether this is the last part, which covers all names after the one of the part before.
    pub last: bool,
    /// Whether every name was read and looked at; if not, nothing can be missing from it.
    pub complete: bool,
    /// The children, sorted by name bytes, no name twice.
    pub children: Children<'a>,
}

/// Children of a directory as columns: one value per row in each slice, names back to back.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Children<'a> {
    /// Names, back to back.
    pub names: &'a [u8],
    /// Length of each name in bytes; their sum is the length of `names`.
    pub name_lengths: &'a [u32],
    /// [`Kind`] as a number; checked to be one.
    pub kinds: &'a [u8],
    /// Sizes in bytes.
    pub sizes: &'a [u64],
    /// mtime in nanoseconds of storage time.
    pub mtimes: &'a [i64],
    /// ctime in nanoseconds of storage time.
    pub ctimes: &'a [i64],
    /// Inode numbers.
    pub inodes: &'a [u64],
    /// Permission bits.
    pub modes: &'a [u32],
    /// Owners.
    pub uids: &'a [u32],
    /// Groups.
    pub gids: &'a [u32],
    /// Numbers of hard links.
    pub nlinks: &'a [u32],
}

impl<'a> Children<'a> {
    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.name_lengths.len()
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.name_lengths.is_empty()
    }

    /// The stat of a row. A kind that is no kind counts as [`Kind::Other`]; the edge refuses it.
    ///
    /// # Panics
    /// If `row` is not below [`Children::len`], or a column is shorter than that.
    #[must_use]
    pub fn stat(&self, row: usize) -> Stat {
        Stat {
            kind: Kind::from_u8(self.kinds[row]).unwrap_or(Kind::Other),
            size: self.sizes[row],
            mtime: StorageTime::from_nanos(self.mtimes[row]),
            ctime: StorageTime::from_nanos(self.ctimes[row]),
            inode: self.inodes[row],
            mode: self.modes[row],
            uid: self.uids[row],
            gid: self.gids[row],
            nlink: self.nlinks[row],
        }
    }

    /// Names and stats, row by row.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], Stat)> + '_ {
        let mut rest = self.names;
        self.name_lengths.iter().enumerate().map(move |(row, &length)| {
            let (name, tail) = rest.split_at(length as usize);
            rest = tail;
            (name, self.stat(row))
        })
    }
}

/// Children as owned columns: how a scan gathers them, and how a test writes them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ChildColumns {
    /// See [`Children::names`].
    pub names: Vec<u8>,
    /// See [`Children::name_lengths`].
    pub name_lengths: Vec<u32>,
    /// See [`Children::kinds`].
    pub kinds: Vec<u8>,
    /// See [`Children::sizes`].
    pub sizes: Vec<u64>,
    /// See [`Children::mtimes`].
    pub mtimes: Vec<i64>,
    /// See [`Children::ctimes`].
    pub ctimes: Vec<i64>,
    /// See [`Children::inodes`].
    pub inodes: Vec<u64>,
    /// See [`Children::modes`].
    pub modes: Vec<u32>,
    /// See [`Children::uids`].
    pub uids: Vec<u32>,
    /// See [`Children::gids`].
    pub gids: Vec<u32>,
    /// See [`Children::nlinks`].
    pub nlinks: Vec<u32>,
}

impl ChildColumns {
    /// Adds a row. The caller keeps names sorted and unique.
    pub fn push(&mut self, name: &[u8], stat: &Stat) {
        self.names.extend_from_slice(name);
        self.name_lengths.push(u32::try_from(name.len()).unwrap_or(u32::MAX));
        self.kinds.push(stat.kind as u8);
        self.sizes.push(stat.size);
        self.mtimes.push(stat.mtime.as_nanos());
        self.ctimes.push(stat.ctime.as_nanos());
        self.inodes.push(stat.inode);
        self.modes.push(stat.mode);
        self.uids.push(stat.uid);
        self.gids.push(stat.gid);
        self.nlinks.push(stat.nlink);
    }

    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.name_lengths.len()
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.name_lengths.is_empty()
    }

    /// The rows, borrowed.
    #[must_use]
    pub fn as_children(&self) -> Children<'_> {
        Children {
            names: &self.names,
            name_lengths: &self.name_lengths,
            kinds: &self.kinds,
            sizes: &self.sizes,
            mtimes: &self.mtimes,
            ctimes: &self.ctimes,
            inodes: &self.inodes,
            modes: &self.modes,
            uids: &self.uids,
            gids: &self.gids,
            nlinks: &self.nlinks,
        }
    }
}
