//! Sessions and election: who has standing with a view, and who leads it (3-protocol, Session).
//!
//! Owns every session of a server, live and remembered, and the leadership of every view. Called
//! by the server's session service, which passes the time, draws the ids and carries out the
//! [`SessionEffect`]s. Must never: give two sessions one leadership, give an epoch twice, or let a
//! session leave an end state. Tested by `session/tests.rs`: cases and random interleavings.

mod ended;
mod restore;
mod table;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use crate::id::{AgentId, InstanceId, LeaderEpoch, SessionId, SpoolId, ViewName};
use crate::time::{Monotonic, ServerTime};

pub use restore::SavedSession;
pub use table::SessionTable;

/// Who calls: a session belongs to the principal that made it and is unknown to any other.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Principal(Arc<str>);

impl Principal {
    /// A principal by name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// Whoever calls where no credentials are asked for.
    #[must_use]
    pub fn anonymous() -> Self {
        Self::new("anonymous")
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Where a session is in its life. ACTIVE leads to exactly one of the others, for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SessionState {
    /// Honoured.
    Active,
    /// Ended by its agent.
    Ended,
    /// Not heard for longer than its timeout.
    Expired,
    /// Replaced by a newer session of the same agent.
    Superseded,
    /// Ended by an administrator.
    Evicted,
    /// Its view was reset or removed.
    Reset,
}

/// Why a session is no longer honoured, as a caller is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ObsoleteCause {
    /// See [`SessionState::Expired`].
    Expired,
    /// See [`SessionState::Superseded`].
    Superseded,
    /// See [`SessionState::Evicted`].
    Evicted,
    /// See [`SessionState::Reset`].
    ViewReset,
    /// The server does not know it, or its agent ended it.
    Unknown,
}

/// What a session does in its view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Scans; one session of a view at a time.
    Leader,
    /// Watches only.
    Follower,
}

/// The bounds within which a timeout is negotiated, and how long ended ids are remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionSettings {
    /// Shortest timeout.
    pub timeout_min: Duration,
    /// Longest timeout.
    pub timeout_max: Duration,
    /// How long the cause of an ended session is remembered.
    pub remember_for: Duration,
    /// How many ended sessions are remembered at most.
    pub remember_most: usize,
}

impl Default for SessionSettings {
    fn default() -> Self {
        Self {
            timeout_min: Duration::from_secs(1),
            timeout_max: Duration::from_secs(600),
            remember_for: Duration::from_secs(24 * 3600),
            remember_most: 100_000,
        }
    }
}

/// What the table needs to know of a view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewRules {
    /// Timeout of its sessions, unless a longer one is proposed.
    pub timeout: Duration,
    /// Whether it takes one session at a time.
    pub exclusive: bool,
    /// The largest epoch that it ever had; the next leadership gets one more.
    pub last_epoch: LeaderEpoch,
}

impl Default for ViewRules {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(30),
            exclusive: false,
            last_epoch: LeaderEpoch::default(),
        }
    }
}

/// A request for a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Join {
    /// The id that the new session gets; a fresh UUID v4.
    pub id: SessionId,
    /// Its view; must have been added to the table.
    pub view: ViewName,
    /// Who asks.
    pub principal: Principal,
    /// The agent.
    pub agent: AgentId,
    /// This life of the agent.
    pub instance: InstanceId,
    /// The spool whose lock the agent holds.
    pub spool: SpoolId,
    /// The agent's host, for people.
    pub host: String,
    /// The timeout that the agent would like.
    pub proposed_timeout: Option<Duration>,
}

/// A live session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// Its view.
    pub view: ViewName,
    /// Who made it.
    pub principal: Principal,
    /// Its agent.
    pub agent: AgentId,
    /// The life of the agent that made it.
    pub instance: InstanceId,
    /// The agent's spool.
    pub spool: SpoolId,
    /// The agent's host.
    pub host: String,
    /// What it does.
    pub role: Role,
    /// The number of its leadership; 0 if it does not lead.
    pub epoch: LeaderEpoch,
    /// Its timeout: a lower bound of the silence after which it expires.
    pub timeout: Duration,
    /// When it began.
    pub created_at: ServerTime,
    /// When it was last heard, for people.
    pub heard_at: ServerTime,
    /// When it was last heard, for the timeout.
    heard: Monotonic,
    /// Its place in the order of standing; counts over the life of the table.
    standing: u64,
}

impl Session {
    /// How often it is to be heard: a third of the timeout.
    #[must_use]
    pub fn heartbeat_interval(&self) -> Duration {
        self.timeout / 3
    }

    /// Its place among the sessions of its view, oldest first; a key to page by.
    #[must_use]
    pub fn standing(&self) -> u64 {
        self.standing
    }

    fn deadline(&self) -> Monotonic {
        self.heard.plus(self.timeout)
    }

    /// Whether it was heard within its last two intervals, and so can be promoted.
    fn is_lively(&self, now: Monotonic) -> bool {
        now <= self.heard.plus(self.heartbeat_interval() * 2)
    }
}

/// A session that is over and still remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedSession {
    /// What it was when it ended; role and epoch are those of that moment.
    pub session: Session,
    /// How it ended.
    pub state: SessionState,
    /// When it ended.
    pub ended_at: ServerTime,
}

/// What a session service must do after a call: in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionEffect {
    /// A session is over: end its streams, tell the view.
    Over {
        /// What it was.
        session: Session,
        /// How it ended.
        state: SessionState,
    },
    /// A session leads from now on: tell the view, notify its streams.
    Leads {
        /// The view.
        view: ViewName,
        /// The new leader.
        session: SessionId,
        /// The number of the leadership.
        epoch: LeaderEpoch,
    },
    /// Nobody leads the view now.
    Leaderless {
        /// The view.
        view: ViewName,
    },
}

/// Why there is no new session.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JoinRefused {
    /// The view was not added to the table.
    #[error("view {0} does not exist")]
    ViewNotFound(ViewName),
    /// A live session with another spool has the agent id.
    #[error("agent id {agent} is in use by a live agent on host {host}")]
    AgentIdConflict {
        /// The agent id.
        agent: AgentId,
        /// Host of the live agent.
        host: String,
        /// Since when its session lives.
        since: ServerTime,
        /// The rest of its timeout.
        retry_after: Duration,
    },
    /// The view is exclusive and has a session.
    #[error("view {view} takes one session at a time and has that of {agent} on host {host}")]
    ViewOccupied {
        /// The view.
        view: ViewName,
        /// The agent that holds it.
        agent: AgentId,
        /// Its host.
        host: String,
    },
}

/// A session that means to go on but is not honoured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("session {session} is obsolete: {cause:?}")]
pub struct Obsolete {
    /// The id that was given.
    pub session: SessionId,
    /// Its view, if the session is remembered.
    pub view: Option<ViewName>,
    /// Why.
    pub cause: ObsoleteCause,
}

/// There is no such live session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is no session {0}")]
pub struct SessionNotFound(pub SessionId);
