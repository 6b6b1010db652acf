//! Lost events (R10): what happened on a host of which nothing is known.
//!
//! Owns the losses that are not ended yet. Each makes the view DEGRADED, and an agent that was lost
//! holds the horizon where it was, until a completed audit that began at least `cache_horizon` after
//! the loss was over ends it. Must never: ask for a rescan at once, or there would be storms. Tested
//! by `tests/cases/r9-r10.txt`.

use std::time::Duration;

use crate::id::AgentId;
use crate::time::ServerTime;

/// Why events were lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LossCause {
    /// The kernel's queue or the agent's own overflowed.
    Overflow,
    /// The agent came back as another process.
    NewInstance,
    /// Its sequences have a hole.
    SequenceHole,
    /// Its session ended otherwise than by EndSession.
    SessionLost,
}

impl LossCause {
    /// In words.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Overflow => "its queue overflowed",
            Self::NewInstance => "it was started anew",
            Self::SequenceHole => "its evidence has a hole",
            Self::SessionLost => "its session was lost",
        }
    }
}

/// A loss of events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// Whose events.
    pub agent: AgentId,
    /// Why.
    pub cause: LossCause,
    /// Up to then everything is known.
    pub since: ServerTime,
    /// From then on everything is known again; `None` while the agent does not watch.
    pub over_at: Option<ServerTime>,
}

/// The losses that no audit has ended; at most one per agent and cause.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Losses {
    open: Vec<Loss>,
}

impl Losses {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Loss> {
        self.open.iter()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    pub(super) fn into_all(self) -> Vec<Loss> {
        self.open
    }

    /// What a new loss makes of those known: they become one that is as old as the older and is over
    /// when the newer is. `None` if nothing changes.
    pub(super) fn joined(&self, new: &Loss) -> Option<Loss> {
        let Some(known) = self.find(new) else { return Some(new.clone()) };
        let over_at = match (known.over_at, new.over_at) {
            (Some(known), Some(new)) => Some(known.max(new)),
            (_, over_at) => over_at,
        };
        let joined = Loss { since: known.since.min(new.since), over_at, ..new.clone() };
        (joined != *known).then_some(joined)
    }

    fn find(&self, loss: &Loss) -> Option<&Loss> {
        self.open.iter().find(|known| known.agent == loss.agent && known.cause == loss.cause)
    }

    pub(super) fn put(&mut self, loss: Loss) {
        self.open.retain(|known| known.agent != loss.agent || known.cause != loss.cause);
        self.open.push(loss);
    }

    /// A completed audit began then: which losses it leaves open.
    pub(super) fn audited(&mut self, started_at: ServerTime, horizon: Duration) {
        self.open.retain(|loss| loss.over_at.is_none_or(|over| started_at < over.plus(horizon)));
    }

    /// When an audit that ends all losses that are over may begin.
    pub(super) fn audit_from(&self, horizon: Duration) -> Option<ServerTime> {
        self.open.iter().filter_map(|loss| loss.over_at).max().map(|over| over.plus(horizon))
    }
}
