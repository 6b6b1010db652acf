//! Storage that is not there, or another (R11).
//!
//! Owns which agents' roots are away, and which agents' storage may be another than the view's. What
//! was looked at while a root was away is no evidence. Must never: let an empty mount point delete a
//! view, or take one agent's word for another's mount. Tested by `tests/cases/r11-r12.txt`.

use std::collections::BTreeMap;

use crate::evidence::RootIdentity;
use crate::id::AgentId;
use crate::time::ServerTime;

/// When an agent's root was away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RootAway {
    /// Since then.
    pub since: ServerTime,
    /// Until then; absent while it is away.
    pub until: Option<ServerTime>,
}

/// That the storage of an agent may be another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootDoubt {
    /// Who saw it.
    pub agent: AgentId,
    /// When it was seen first.
    pub since: ServerTime,
    /// A second look, `cache_horizon` later, said the same: an operator decides.
    pub confirmed: bool,
}

/// What is known of the root.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct RootStanding {
    /// The last absence of each agent's root.
    pub(super) away: BTreeMap<AgentId, RootAway>,
    /// What each agent saw of another tree, until it sees the view's, or an operator accepts. It
    /// outlasts the session: the next one of the same agent may stand on the same mount.
    pub(super) doubts: BTreeMap<AgentId, RootDoubt>,
    /// An operator accepts the root that comes next.
    pub(super) accepted: bool,
}

impl RootStanding {
    /// Whether an agent's root was away at a time: what it looked at then is no evidence.
    pub(super) fn was_away(&self, agent: &AgentId, at: ServerTime) -> bool {
        self.away
            .get(agent)
            .is_some_and(|away| at >= away.since && away.until.is_none_or(|until| at < until))
    }

    /// The agents whose roots are away now.
    pub(super) fn away_now(&self) -> impl Iterator<Item = &AgentId> {
        self.away.iter().filter(|(_, away)| away.until.is_none()).map(|(agent, _)| agent)
    }
}

/// R11: whether an identity can be the view's: the view has no top-level entries, or one of them
/// agrees by name and inode. `inode_of` tells the inode that the view knows under a name.
pub(super) fn agrees(
    identity: &RootIdentity,
    is_empty: bool,
    inode_of: impl Fn(&[u8]) -> Option<u64>,
) -> bool {
    is_empty || identity.top.iter().any(|(name, inode)| inode_of(name) == Some(*inode))
}
