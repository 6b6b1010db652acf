//! What the view yields: numbered physical changes.
//!
//! A change says what changed, from what, to what, by whom and why; replaying the changes alone
//! gives the same view (`View::replay`), tombstones, trash, agendas and held evidence included. Made
//! by `view` only; told to watchers and written to the log by the server. Must never: say what a rule
//! would have to decide again. A listing is one change in columns ([`Listed`]), so that a million
//! rows cost no allocation each; [`Change::entries`] tells it row by row.

mod listed;

pub use listed::{Listed, ListedOutcome, ROW_BLIND, ROW_SUSPECT};

use uuid::Uuid;

use crate::evidence::{ScanId, Source, Witness};
use crate::id::{AgentId, Revision, SessionId};
use crate::path::TreePath;
use crate::stat::Stat;
use crate::time::{ServerTime, StorageTime};
pub use crate::view::{
    HeldUpsert, Loss, LossCause, PartsSoFar, RootAway, RootDoubt, RunningScan, Tombstone, Version,
    Waiting,
};

/// Why the view changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// A kernel event (tier 1).
    Realtime,
    /// The first scan, or discovery (tier 2).
    Baseline,
    /// An audit, an on-demand scan or a relist (tier 3).
    Audit,
    /// A probe (tier 3).
    Probe,
    /// Something else was renamed over it.
    RenamedOver,
    /// Time passed: a suspect became quiet, a trash record expired.
    Expiry,
    /// An operator asked for it.
    Operator,
}

impl Cause {
    /// Its name, as people and programs read it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Realtime => "REALTIME",
            Self::Baseline => "BASELINE",
            Self::Audit => "AUDIT",
            Self::Probe => "PROBE",
            Self::RenamedOver => "RENAMED_OVER",
            Self::Expiry => "EXPIRY",
            Self::Operator => "OPERATOR",
        }
    }
}

/// The number of a record of the trash: the revision of the change that made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrashId(pub u64);

/// One physical change of a view.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Its number; the first of as many as [`Change::width`] tells.
    pub revision: Revision,
    /// When the view learned of it.
    pub at: ServerTime,
    /// Why.
    pub cause: Cause,
    /// Whose evidence it was; nobody's if time passed or an operator asked.
    pub by: Option<Witness>,
    /// What.
    pub kind: ChangeKind,
}

/// What changed.
#[derive(Debug, Clone, PartialEq)]
pub enum ChangeKind {
    /// An entry is new.
    Created {
        /// Where.
        path: TreePath,
        /// Its stat.
        stat: Stat,
        /// What is remembered of it beside.
        facts: Facts,
    },
    /// The stat of an entry changed.
    Modified {
        /// Where.
        path: TreePath,
        /// Its stat before.
        before: Stat,
        /// Its stat now.
        after: Stat,
        /// What is remembered of it beside.
        facts: Facts,
    },
    /// What is remembered of an entry changed, but not its stat: it was confirmed, is suspect no
    /// longer, is blind no longer.
    Touched {
        /// Where.
        path: TreePath,
        /// What is remembered of it now.
        facts: Facts,
    },
    /// An entry, and all below it, went to the trash, under the number of this change.
    Removed {
        /// Where.
        path: TreePath,
        /// Its last stat.
        stat: Stat,
        /// The tombstone on the path; absent if something else took the path.
        tombstone: Option<Tombstone>,
        /// A scan found it gone, and nobody told (R8).
        blind: bool,
    },
    /// A subtree moved.
    Moved {
        /// From where.
        from: TreePath,
        /// To where.
        to: TreePath,
        /// Its stat before.
        before: Stat,
        /// Its stat now.
        stat: Stat,
        /// What is remembered of it beside.
        facts: Facts,
        /// The tombstone on `from`.
        tombstone: Tombstone,
    },
    /// A directory was listed, whole or one part of it.
    Listed(Box<Listed>),
    /// A tombstone stands where nothing is known.
    Buried {
        /// Where.
        path: TreePath,
        /// The tombstone.
        tombstone: Tombstone,
    },
    /// A record of the trash was put back (R12).
    Restored {
        /// Where.
        path: TreePath,
        /// Its stat.
        stat: Stat,
        /// The record.
        trash: TrashId,
        /// The end of its quiet period: it is suspect until then.
        suspect_until: ServerTime,
    },
    /// A record of the trash is gone for good (R12).
    Purged {
        /// Where it stood.
        path: TreePath,
        /// Its last stat.
        stat: Stat,
        /// The record.
        trash: TrashId,
    },
    /// The view notes something for itself that no reader sees.
    Noted(Note),
    /// All entries, tombstones, trash and lists went.
    Reset,
}

/// What is remembered of an entry beside its stat, after the change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Facts {
    /// The version of its directory in which it was last seen.
    pub seen_in: Option<Version>,
    /// Realtime evidence looked at it then, by the agent of the change; absent if it was not such
    /// evidence: what was known stays.
    pub confirmed_at: Option<ServerTime>,
    /// The end of its quiet period if it is suspect (R7).
    pub suspect_until: Option<ServerTime>,
    /// Known by scanning alone (R8).
    pub blind: bool,
    /// The evidence is a sample of the storage's clock: the ctime that it showed.
    pub sample: Option<StorageTime>,
}

/// Which agenda something waits on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AgendaKind {
    /// Directories to be listed again.
    Relist,
    /// Names to be looked at.
    Probe,
}

/// Stands for an error number where names of a directory were left out because the view was full. No
/// system has such an error, and no agent may tell of it.
pub const NO_ROOM: i32 = i32::MIN;

/// What the view notes for itself.
#[derive(Debug, Clone, PartialEq)]
pub enum Note {
    /// Something waits for the leader to look, or waits otherwise than before.
    Waits {
        /// Where it waits.
        agenda: AgendaKind,
        /// What.
        path: TreePath,
        /// Since when and why not sooner.
        waiting: Waiting,
    },
    /// It waits no longer.
    Done {
        /// Where it waited.
        agenda: AgendaKind,
        /// What.
        path: TreePath,
    },
    /// Evidence is held back (R1).
    Held {
        /// Its number.
        number: u64,
        /// The evidence.
        row: Box<HeldUpsert>,
        /// It is a sample of the storage's clock.
        sample: bool,
    },
    /// It is not held any longer; what it was worth follows.
    Released {
        /// Its number.
        number: u64,
    },
    /// A scan began.
    ScanBegan(Box<RunningScan>),
    /// A scan ended, or will never end.
    ScanEnded {
        /// Whose it was.
        session: SessionId,
        /// Its number.
        scan: ScanId,
        /// It read the whole tree to its end.
        whole: Option<WholeScan>,
    },
    /// How far the parts of a listing came; absent if none is under way any longer.
    Parts {
        /// The directory.
        dir: TreePath,
        /// So far.
        parts: Option<Box<PartsSoFar>>,
    },
    /// Events were lost, or a known loss is seen otherwise (R10).
    Lost(Loss),
    /// An agent's root is away, or back (R11).
    RootAway {
        /// The agent.
        agent: AgentId,
        /// Since when, and until when if it is back; absent: it was never away.
        away: Option<RootAway>,
    },
    /// The storage of an agent may be another; absent: that of no agent is in doubt any longer (R11).
    RootDoubt(Option<RootDoubt>),
    /// The storage of an agent is not in doubt any longer: it is the view's (R11).
    RootAgreed {
        /// The agent.
        agent: AgentId,
    },
    /// An operator accepts the root that comes next (R11), or it came.
    RootAccepted(bool),
    /// A directory cannot be read (R11), or can again; or the view had no room for what is in it.
    Unreadable {
        /// The directory.
        dir: TreePath,
        /// The error number, or [`NO_ROOM`].
        errno: Option<i32>,
    },
    /// A call of an operator was done: the same call is not done again.
    Operated {
        /// Its id.
        call: Uuid,
    },
    /// Tombstones older than `tombstone_ttl` went.
    TombstonesExpired,
    /// What was confirmed more than `confirm_keep` ago was forgotten.
    ConfirmationsForgotten,
}

/// A scan that read the whole tree to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WholeScan {
    /// Snapshot or audit.
    pub source: Source,
    /// When it began.
    pub started_at: ServerTime,
    /// When it ended.
    pub finished_at: ServerTime,
}

impl Change {
    /// How many revisions it takes: a listing one for each of its rows, so that each row told on
    /// its own has a number.
    #[must_use]
    pub fn width(&self) -> u64 {
        self.kind.width()
    }

    /// The number of its last revision.
    #[must_use]
    pub fn last_revision(&self) -> Revision {
        Revision(self.revision.0 + self.width() - 1)
    }

    /// What a reader of the view sees of it, entry by entry, each with its own number. What the
    /// view notes for itself yields nothing.
    pub fn entries(&self) -> impl Iterator<Item = Self> + '_ {
        let rows = match &self.kind {
            ChangeKind::Listed(listed) => listed.row_count(),
            ChangeKind::Noted(_) | ChangeKind::Touched { .. } | ChangeKind::Buried { .. } => 0,
            _ => 1,
        };
        (0..rows).filter_map(move |row| {
            let kind = match &self.kind {
                ChangeKind::Listed(listed) => listed.entry(row)?,
                kind => kind.clone(),
            };
            let revision = Revision(self.revision.0 + row as u64);
            Some(Self { revision, at: self.at, cause: self.cause, by: self.by.clone(), kind })
        })
    }
}

impl ChangeKind {
    /// How many revisions it takes.
    #[must_use]
    pub fn width(&self) -> u64 {
        match self {
            Self::Listed(listed) => (listed.row_count() as u64).max(1),
            _ => 1,
        }
    }
}
