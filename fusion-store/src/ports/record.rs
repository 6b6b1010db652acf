//! A record of the log: what one batch changed, and on whose account.
//!
//! Made by the server's view thread, one for each batch, each tick that changed something and each
//! election. A record holds all that the batch did, its sequence included, so nothing can be half
//! known after a restart. `explain` and `trace` print its head.

use fusion_core::change::Change;
use fusion_core::id::{AgentId, CorrelationId, LeaderEpoch, Revision, SessionId, SpoolId};
use fusion_core::time::ServerTime;

use super::{LogPoint, OwnerEpoch};

/// What gave rise to a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// Kernel events.
    Realtime,
    /// Listings of the first scan.
    Snapshot,
    /// Listings of what appeared by event.
    Discovery,
    /// Listings of an audit, answers to relists included.
    Audit,
    /// Listings that somebody asked for.
    OnDemand,
    /// Looks at single names.
    Probe,
    /// Frames of scans, unreadable directories, the root's state, lost events.
    Report,
    /// Time passed.
    Time,
    /// An operator asked.
    Operator,
    /// A leader was elected.
    Election,
    /// A server took the view over, under this number; nothing of an earlier owner comes after it.
    Owner(OwnerEpoch),
}

/// In which lane a batch came; sequences count in each on their own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Lane {
    /// The spool of an agent.
    Realtime(AgentId, SpoolId),
    /// A session.
    Scan(SessionId),
}

/// The batch that a record applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Its lane.
    pub lane: Lane,
    /// Its sequence: all up to it in this lane are applied.
    pub sequence: u64,
}

/// On whose account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Actor {
    /// An agent by its session.
    Agent(AgentId, SessionId),
    /// A person or program, by the name under which it was let in; at most 1,024 bytes.
    Principal(Box<str>),
}

/// What is known of a batch beside its changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordHead {
    /// When it was applied.
    pub at: ServerTime,
    /// What gave rise to it.
    pub origin: Origin,
    /// The batch, if one was applied.
    pub applied: Option<Applied>,
    /// The highest leader epoch of the view so far, if it is told: that of a batch is in its
    /// changes, this one is about what was *given*, and is never given again.
    pub leader_epoch: Option<LeaderEpoch>,
    /// On whose account; nobody's if time passed.
    pub actor: Option<Actor>,
    /// The chain that it belongs to.
    pub correlation: Option<CorrelationId>,
    /// What in that chain caused it.
    pub causation: Option<CorrelationId>,
}

impl RecordHead {
    /// A head with nothing but a time and an origin.
    #[must_use]
    pub fn new(at: ServerTime, origin: Origin) -> Self {
        Self {
            at,
            origin,
            applied: None,
            leader_epoch: None,
            actor: None,
            correlation: None,
            causation: None,
        }
    }
}

/// A record as it was appended.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredRecord {
    /// The place after it.
    pub point: LogPoint,
    /// Its head.
    pub head: RecordHead,
    /// Its changes, numbered without a hole from the revision of the place before.
    pub changes: Vec<Change>,
}

impl StoredRecord {
    /// How many revisions it has.
    #[must_use]
    pub fn width(&self) -> u64 {
        self.changes.iter().map(Change::width).sum()
    }

    /// Its first revision; if it has no change, the one that the next record begins with.
    #[must_use]
    pub fn first(&self) -> Revision {
        Revision((self.point.revision.0 + 1).saturating_sub(self.width()))
    }
}
