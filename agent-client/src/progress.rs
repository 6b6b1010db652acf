//! What an agent tells whoever embeds it of how it goes: `fusionctl dev` draws its bar from it.
//!
//! Written by `agent` only, through a watch channel: the latest value, never a queue.

use std::time::Duration;

use fusion_core::evidence::Source;
use fusion_core::id::LeaderEpoch;

use crate::role::Role;

/// Where the agent's session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum LinkState {
    /// Asking for a session.
    #[default]
    Joining,
    /// Has a session and leads the view.
    Leading,
    /// Has a session and follows.
    Following,
    /// Has a session, but the server has not answered for longer than its timeout.
    Lost,
    /// Ended, or about to end.
    Stopped,
}

/// How far a scan is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScanProgress {
    /// What kind of scan.
    pub source: Source,
    /// Directories listed.
    pub directories: u64,
    /// Entries seen.
    pub entries: u64,
    /// Directories and entries that could not be read.
    pub errors: u64,
    /// For how long it has run, or ran.
    pub elapsed: Duration,
    /// Where it is.
    pub phase: ScanPhase,
}

/// Where a scan is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ScanPhase {
    /// Directories are being read.
    Reading,
    /// All is read; the server has not acknowledged all of it.
    Delivering,
    /// All of it is acknowledged: part of the view.
    Delivered,
    /// It was cut off (no longer leader, session gone, agent ending).
    CutOff,
}

impl ScanProgress {
    /// Entries per second since it began.
    #[must_use]
    pub fn entries_per_second(&self) -> f64 {
        let seconds = self.elapsed.as_secs_f64();
        if seconds > 0.0 { self.entries as f64 / seconds } else { 0.0 }
    }
}

/// How an agent is doing.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Progress {
    /// Where its session is.
    pub link: LinkState,
    /// Its role, while it has a session.
    pub role: Option<Role>,
    /// The leadership that it holds or follows; 0 if there is none.
    pub leader_epoch: LeaderEpoch,
    /// Its watches are in place: from now on it misses nothing that it can see.
    pub realtime_ready: bool,
    /// Directories watched.
    pub watched_directories: u64,
    /// Directories that it would watch but cannot.
    pub unwatched_directories: u64,
    /// Its first or latest scan of the whole tree; none yet if absent.
    pub scan: Option<ScanProgress>,
    /// The last trouble, in words for people; absent while all is well.
    pub trouble: Option<String>,
}
