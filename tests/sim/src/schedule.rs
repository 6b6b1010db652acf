//! A schedule: everything that will be done and everything that will go wrong, written down.
//!
//! Drawn from a seed by `plan`, run by `world`, and cut down by `shrink`. Paths are explicit, so
//! that an operation means the same when its neighbours are dropped; one that has become
//! impossible does nothing.

use std::fmt;

use crate::name::Path;
use crate::row::seconds;
use crate::settings::Settings;
use crate::storage::Time;

/// One primitive operation on the storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// A file is made and left open for writing.
    Create(Path),
    Mkdir(Path),
    Symlink(Path),
    /// Writes; by 0 more bytes is a rewrite in place.
    Write(Path, u64),
    /// The writer closes the file.
    Close(Path),
    /// A file or an empty directory goes.
    Unlink(Path),
    Rename(Path, Path),
    Exchange(Path, Path),
    Link(Path, Path),
    /// Sets the mtime to this storage time.
    SetMtime(Path, i64),
    Chmod(Path, u32),
}

/// An operation: who does what when.
#[derive(Debug, Clone)]
pub(crate) struct Op {
    /// Its key for chance; stays when others are dropped.
    pub(crate) id: u64,
    pub(crate) at: Time,
    pub(crate) host: usize,
    /// A new inode takes the number that was freed last.
    pub(crate) reuse: bool,
    pub(crate) action: Action,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FaultKind {
    /// The agent's process dies and comes back after this long; its spool stays.
    AgentCrash(usize, Time),
    /// The agent cannot reach the server for this long, and its session expires.
    Cut(usize, Time),
    /// The agent ends its session and makes a new one after this long.
    Resign(usize, Time),
    /// The server dies and comes back after this long with what was durable.
    ServerCrash(Time),
    /// The kernel drops all events of this agent for this long.
    Overflow(usize, Time),
    /// The agent's realtime lane stands still until the view has converged without it.
    Late(usize),
    /// Directories cannot be read, every other time, for this long.
    Unreadable(Time),
    /// Somebody asks this agent for a scan of everything.
    UserScan(usize),
    /// The agent's wall clock jumps by this much.
    Jump(usize, Time),
    /// An operator restores a record of the trash: the one with this number, counted round.
    Restore(usize),
    /// An operator purges one.
    Purge(usize),
}

/// A fault and when it strikes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fault {
    pub(crate) at: Time,
    pub(crate) kind: FaultKind,
}

/// A host of the schedule.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HostPlan {
    /// An agent runs on it.
    pub(crate) agent: bool,
    /// How far its caches lag; 0 on local storage.
    pub(crate) lag: Time,
    /// The agent's wall clock is off by this much.
    pub(crate) wall: Time,
    /// What the time exchange leaves of it.
    pub(crate) error: Time,
}

/// A whole schedule.
#[derive(Debug, Clone)]
pub(crate) struct Schedule {
    pub(crate) seed: u64,
    pub(crate) settings: Settings,
    pub(crate) hosts: Vec<HostPlan>,
    /// One host with an agent on local storage does everything, after its watches are in place:
    /// realtime evidence alone has to do. (With two, one may move what the other watches.)
    pub(crate) seen: bool,
    /// DISCOVERY goes through the spool, so that it does not overtake what told of its directory.
    pub(crate) spools_discovery: bool,
    /// Sorted by time.
    pub(crate) ops: Vec<Op>,
    /// Sorted by time.
    pub(crate) faults: Vec<Fault>,
    /// When the agents start.
    pub(crate) start: Time,
    /// When the last operation is over.
    pub(crate) end: Time,
    /// How long after convergence late spools come.
    pub(crate) late_by: Time,
    /// Deep audit one in (K).
    pub(crate) deep_one_in: u32,
    /// Rows in a batch at most.
    pub(crate) batch_rows: usize,
    /// Rows in a part of a listing.
    pub(crate) part_rows: usize,
    /// The storage's clock is ahead of the server's by this much.
    pub(crate) storage_offset: Time,
    /// A rename changes the ctime of what moved (both kinds of file systems exist).
    pub(crate) rename_touches: bool,
    /// Time between audits.
    pub(crate) audit_every: Time,
    /// Batches are sometimes delivered twice.
    pub(crate) duplicates: bool,
    /// Kernel queues, looks and lanes take time; without it everything is prompt.
    pub(crate) delays: bool,
    /// How slow scans are: time per directory is drawn up to this.
    pub(crate) scan_pace: Time,
    /// How slow the SCAN lane is.
    pub(crate) scan_lag: Time,
    /// How much evidence the view holds back at most.
    pub(crate) held_max: usize,
    /// After how many batches in a hundred everything is counted anew.
    pub(crate) check_percent: u64,
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reuse = if self.reuse { " (number used again)" } else { "" };
        write!(f, "{:>10} host {} ", seconds(self.at), self.host)?;
        match &self.action {
            Action::Create(path) => write!(f, "create {path}{reuse}"),
            Action::Mkdir(path) => write!(f, "mkdir {path}{reuse}"),
            Action::Symlink(path) => write!(f, "symlink {path}{reuse}"),
            Action::Write(path, 0) => write!(f, "rewrite {path}"),
            Action::Write(path, grow) => write!(f, "append {grow} to {path}"),
            Action::Close(path) => write!(f, "close {path}"),
            Action::Unlink(path) => write!(f, "remove {path}"),
            Action::Rename(from, to) => write!(f, "rename {from} to {to}"),
            Action::Exchange(one, two) => write!(f, "exchange {one} and {two}"),
            Action::Link(from, to) => write!(f, "link {from} as {to}"),
            Action::SetMtime(path, mtime) => write!(f, "touch {path} to {}", seconds(*mtime)),
            Action::Chmod(path, mode) => write!(f, "chmod {mode:o} {path}"),
        }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {} setting {}", self.seed, self.settings.name())?;
        writeln!(
            f,
            "storage clock {} s ahead, rename {} ctime, K = {}, parts of {}, audits every {} s",
            self.storage_offset as f64 / 1e9,
            if self.rename_touches { "changes" } else { "keeps" },
            self.deep_one_in,
            self.part_rows,
            self.audit_every / 1_000_000_000,
        )?;
        for (number, host) in self.hosts.iter().enumerate() {
            let agent = if host.agent { "agent" } else { "blind" };
            let lag = host.lag as f64 / 1e9;
            writeln!(f, "host {number}: {agent}, caches lag up to {lag} s")?;
        }
        writeln!(f, "agents start at {}", seconds(self.start))?;
        self.ops.iter().try_for_each(|op| writeln!(f, "{op}"))?;
        self.faults
            .iter()
            .try_for_each(|fault| writeln!(f, "{:>10} {:?}", seconds(fault.at), fault.kind))
    }
}
