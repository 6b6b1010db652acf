//! Verdicts: what a piece of evidence was worth, and how often each was given.
//!
//! Every rule ends in one of these. Counted by kind of evidence for the metrics; the counts are not
//! part of the view. Must never: be given without a reason that a person can act on.

use std::collections::BTreeMap;

use crate::evidence::Evidence;

/// Why a row was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reject {
    /// Leader-only evidence from a session that does not lead.
    NotLeader,
    /// Leader-only evidence from an earlier leadership of the session.
    LeaderEpochStale,
    /// An on-demand listing from a session that was given no such scan.
    NotAssigned,
    /// It contradicts itself: columns of unequal length, names unsorted or doubled, a directory that
    /// is no directory, no parent where one must be, the root renamed or removed.
    Malformed,
    /// The storage is another than the view's (R11).
    RootMismatch,
    /// The agent's root was away when it looked (R11).
    RootAway,
}

impl Reject {
    /// In words.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotLeader => "not_leader",
            Self::LeaderEpochStale => "leader_epoch_stale",
            Self::NotAssigned => "not_assigned",
            Self::Malformed => "malformed",
            Self::RootMismatch => "root_mismatch",
            Self::RootAway => "root_away",
        }
    }
}

/// What a piece of evidence was worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    /// It changed what is known of an entry.
    Applied,
    /// It said what was known.
    Unchanged,
    /// Something newer is known.
    Stale,
    /// It told of something that is known to be gone (R5); the directory is listed again later.
    Ghost,
    /// Its way is not known yet, and a scan that may find it is running (R1).
    Held,
    /// It contradicts what is known and cannot be ordered: that is kept, and looked at again (R2).
    Kept,
    /// It could not be used as it was; a directory is listed again because of it.
    Relist,
    /// The view has no room for it: it is left out, and where is remembered.
    Full,
    /// It was refused.
    Rejected(Reject),
}

impl Verdict {
    /// In one word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Unchanged => "unchanged",
            Self::Stale => "stale",
            Self::Ghost => "ghost",
            Self::Held => "held",
            Self::Kept => "kept",
            Self::Relist => "relist",
            Self::Full => "full",
            Self::Rejected(_) => "rejected",
        }
    }
}

/// The kinds of evidence, as the metrics name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EvidenceKind {
    /// A realtime upsert.
    Upsert,
    /// A realtime remove.
    Remove,
    /// A realtime rename.
    Rename,
    /// A listing or a part of one.
    Listing,
    /// A silent directory.
    Unchanged,
    /// One name looked at.
    Probe,
    /// A scan began or ended.
    Scan,
    /// A directory that cannot be read.
    Unreadable,
    /// The state of the root.
    Root,
    /// Events were lost.
    Overflow,
}

impl EvidenceKind {
    /// The kind of a piece of evidence.
    #[must_use]
    pub const fn of(evidence: &Evidence<'_>) -> Self {
        match evidence {
            Evidence::Upsert { .. } => Self::Upsert,
            Evidence::Remove { .. } => Self::Remove,
            Evidence::Rename { .. } => Self::Rename,
            Evidence::Listing(_) => Self::Listing,
            Evidence::Unchanged { .. } => Self::Unchanged,
            Evidence::Probe { .. } => Self::Probe,
            Evidence::ScanStarted { .. } | Evidence::ScanFinished { .. } => Self::Scan,
            Evidence::Unreadable { .. } => Self::Unreadable,
            Evidence::Root { .. } => Self::Root,
            Evidence::Overflow { .. } => Self::Overflow,
        }
    }
}

/// How often each verdict was given, since the process started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerdictCounts {
    pieces: BTreeMap<(EvidenceKind, Verdict), u64>,
    /// Rows of listings that told of something known to be gone (R5).
    pub ghost_rows: u64,
    /// Rows of listings that were dropped because their paths would be longer than a path can be.
    pub too_long_rows: u64,
    /// Rows of listings that were left out because the view was full.
    pub full_rows: u64,
    /// Evidence that was clamped because it claimed to be from the future.
    pub clamped: u64,
}

impl VerdictCounts {
    pub(super) fn count(&mut self, kind: EvidenceKind, verdict: Verdict) {
        *self.pieces.entry((kind, verdict)).or_default() += 1;
    }

    /// How often.
    #[must_use]
    pub fn get(&self, kind: EvidenceKind, verdict: Verdict) -> u64 {
        self.pieces.get(&(kind, verdict)).copied().unwrap_or(0)
    }

    /// All that were given at least once.
    pub fn iter(&self) -> impl Iterator<Item = (EvidenceKind, Verdict, u64)> + '_ {
        self.pieces.iter().map(|((kind, verdict), count)| (*kind, *verdict, *count))
    }
}
