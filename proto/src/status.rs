//! The status table: every way in which a call is refused, and what is written on the wire for it.
//!
//! Owns [`Refusal`], the closed set of refusals, and its one mapping each way
//! ([`Refusal::into_status`], [`Refusal::from_status`]). Called by the server's handlers, which make
//! no status of their own, and by the client library, which gives callers a [`Refusal`] back.
//! Must never: give ABORTED for anything but an obsolete session, so that a client that sees only
//! the code can act on it; or let a status grow so large that a client drops it (see `limits`).
//! Tested by one case per row of the table, there and back.

mod decode;
mod encode;
mod reason;
#[cfg(test)]
mod tests;

use std::time::Duration;

use fusion_core::id::{AgentId, LeaderEpoch, Revision, SessionId, ViewName};
use fusion_core::time::ServerTime;
use fusion_core::view::ViewState;

pub use fusion_core::session::ObsoleteCause;
pub use reason::{Reason, cause_from_text, cause_to_text};
pub use tonic::Code;

use crate::convert::time::server_time_to_pb;
use crate::convert::view::state_to_text;

/// One argument that breaks a rule of the contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The field, as a path from the request: `root.identity.inode`.
    pub field: String,
    /// What is wrong with it, for people.
    pub description: String,
}

/// Every way in which a call is refused; one variant per row of the status table (3-protocol).
///
/// Texts are cut to [`crate::limits::STATUS_TEXT_MAX`] on the wire. `retry_after` is told in a
/// `RetryInfo`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The session is no longer honoured: begin a new one after `retry_after`; on SUPERSEDED stop.
    #[error("the session is obsolete ({}): {}", cause_to_text(*.cause), obsolete_advice(*.cause))]
    SessionObsolete {
        /// The session; `None` if a peer that gave only the code said so.
        session: Option<SessionId>,
        /// Its view; `None` if the server does not know the session.
        view: Option<ViewName>,
        /// Why.
        cause: ObsoleteCause,
        /// How long to wait before the new session.
        retry_after: Duration,
    },
    /// Another live agent holds the agent id: try again until that session has ended.
    #[error("another live agent has this agent_id: on host `{host}`, since {}", when(*.since))]
    AgentIdConflict {
        /// The host of the other agent.
        host: String,
        /// When its session began.
        since: ServerTime,
        /// The rest of its timeout.
        retry_after: Duration,
    },
    /// The root is another tree than the view's: stop, an operator decides.
    #[error("the root is another tree than the view's: known is {known}, found is {found}")]
    RootMismatch {
        /// What the view knows.
        known: String,
        /// What the agent named.
        found: String,
    },
    /// The spool was rolled back: take a new spool id, number anew, report lost events.
    #[error("the spool was rolled back: batch {applied} is applied, its next would be {next}")]
    SpoolRolledBack {
        /// The last sequence that is part of the view.
        applied: u64,
        /// The sequence that the agent would give next.
        next: u64,
    },
    /// Leader-only evidence from a follower: keep the session, stop scanning.
    #[error("only the leader may report this; the leader epoch is {}", .current.0)]
    NotLeader {
        /// The epoch of the leadership now; 0 if there is none.
        current: LeaderEpoch,
    },
    /// Leader-only evidence under an old leadership: keep the session, stop scanning.
    #[error("leader epoch {} is over; it is {} now", .claimed.0, .current.0)]
    LeaderEpochStale {
        /// The epoch under which the agent looked.
        claimed: LeaderEpoch,
        /// The epoch of the leadership now.
        current: LeaderEpoch,
    },
    /// An exclusive view is taken: try again with back-off.
    #[error("the view takes one session at a time; agent `{holder}` on host `{host}` has it")]
    ViewOccupied {
        /// The agent that has the view.
        holder: AgentId,
        /// Its host.
        host: String,
    },
    /// No such session: who is leaving is done.
    #[error("session {session} does not exist or has ended")]
    SessionNotFound {
        /// The session.
        session: SessionId,
    },
    /// No such view, or it is another tenant's.
    #[error("view `{view}` does not exist")]
    ViewNotFound {
        /// The view.
        view: ViewName,
    },
    /// No such path in the view.
    #[error("view `{view}` has nothing at {path}")]
    PathNotFound {
        /// The view.
        view: ViewName,
        /// The path, in the notation of answers.
        path: String,
    },
    /// No such job.
    #[error("job `{job}` does not exist")]
    JobNotFound {
        /// The job's id.
        job: String,
    },
    /// No such trash record.
    #[error("trash record `{trash}` does not exist")]
    TrashNotFound {
        /// The record's id.
        trash: String,
    },
    /// No live agent of that id in the view.
    #[error("view `{view}` has no live session of agent `{agent}`")]
    AgentNotFound {
        /// The view.
        view: ViewName,
        /// The agent.
        agent: AgentId,
    },
    /// Something stands at the path that is to be restored: nothing was changed.
    #[error("{path} in view `{view}` is taken: a {kind} with inode {inode} stands there")]
    PathTaken {
        /// The view.
        view: ViewName,
        /// The path, in the notation of answers.
        path: String,
        /// What stands there: `file`, `directory`, `symlink`, `other`.
        kind: String,
        /// Its inode.
        inode: u64,
    },
    /// The path is known and is no directory.
    #[error("{path} in view `{view}` is not a directory")]
    NotADirectory {
        /// The view.
        view: ViewName,
        /// The path, in the notation of answers.
        path: String,
    },
    /// Arguments that break a rule: report, do not repeat.
    #[error("{}", encode::violations_text(.violations))]
    InvalidArgument {
        /// What is wrong; at least one.
        violations: Vec<Violation>,
    },
    /// The idempotency key was used for another request.
    #[error("this idempotency key was used for another request")]
    IdempotencyKeyReused,
    /// The stored version is not the one expected.
    #[error("the version is {current}, not the one expected")]
    VersionMismatch {
        /// The version now.
        current: u64,
    },
    /// The state does not go over into the one asked for.
    #[error("there is no way from state {from} to {to}")]
    IllegalTransition {
        /// The state now.
        from: String,
        /// The state asked for.
        to: String,
    },
    /// A batch was left out: resend from `expected`.
    #[error("a batch is missing: go on from sequence {expected}")]
    SequenceGap {
        /// The sequence to go on from.
        expected: u64,
    },
    /// The revision is no longer kept: go on from `oldest`.
    #[error("the revision is no longer kept; the oldest is {}", .oldest.0)]
    RevisionCompacted {
        /// The oldest revision that is kept.
        oldest: Revision,
    },
    /// The revision is of the future.
    #[error("the revision is not there yet; the latest is {}", .latest.0)]
    RevisionUnknown {
        /// The latest revision.
        latest: Revision,
    },
    /// The view cannot give the class of read asked for.
    #[error("view `{view}` is {}, not READY{}", state_to_text(*.state), listed(.reasons))]
    ViewNotReady {
        /// The view.
        view: ViewName,
        /// Its state.
        state: ViewState,
        /// Why it is not READY.
        reasons: Vec<String>,
        /// When to ask again; told as at least [`crate::limits::NOT_READY_RETRY_MIN`].
        retry_after: Duration,
    },
    /// An agent was to look, and could not, or went: nothing is told in its place.
    #[error("agent `{agent}` did not scan view `{view}`: {problem}")]
    ScanFailed {
        /// The view.
        view: ViewName,
        /// The agent.
        agent: AgentId,
        /// What it said, or what became of it.
        problem: String,
        /// When to ask again.
        retry_after: Duration,
    },
    /// The server is going down: connect again, same session.
    #[error("the server is going down")]
    ServerDraining {
        /// When to connect again.
        retry_after: Duration,
    },
    /// Another server owns the view, or nobody does for a moment: ask that one, or try again. Sessions live on.
    #[error("view `{view}` is {}", owned_by(.owner.as_deref()))]
    NotOwner {
        /// The view.
        view: ViewName,
        /// Where its owner is reached; `None` while there is none.
        owner: Option<String>,
        /// When to try again.
        retry_after: Duration,
    },
    /// The server's disk cannot be written: nothing that must be kept is taken until it can.
    #[error("the server's store cannot be written; what it keeps can be read")]
    StoreUnavailable {
        /// When to try again.
        retry_after: Duration,
    },
    /// A newer stream of the same lane took over: same session.
    #[error("a newer stream of the same lane took over")]
    StreamReplaced {
        /// When to open it again, if it was not meant.
        retry_after: Duration,
    },
    /// A quota is used up.
    #[error("the quota `{quota}` of {limit} is used up")]
    QuotaExceeded {
        /// Which quota.
        quota: String,
        /// How much it allows.
        limit: u64,
        /// When to try again.
        retry_after: Duration,
    },
    /// Calls come too fast: slow down.
    #[error("the rate `{rate}` of {limit} a second is exceeded")]
    RateExceeded {
        /// Which rate.
        rate: String,
        /// How much it allows in a second.
        limit: u64,
        /// When to try again.
        retry_after: Duration,
    },
    /// A queue of the server is full: slow down.
    #[error("the queue `{queue}` is full")]
    QueueFull {
        /// Which queue.
        queue: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// A watcher does not take changes as fast as they come.
    #[error("changes come faster than they are taken; go on after revision {}", .resume_after.0)]
    WatcherTooSlow {
        /// The last revision that was sent.
        resume_after: Revision,
        /// When to watch again.
        retry_after: Duration,
    },
    /// No or wrong credentials.
    #[error("not authenticated: {problem}")]
    Unauthenticated {
        /// What is wrong with them; never the credentials.
        problem: String,
    },
    /// The principal may not do this.
    #[error("not allowed: `{permission}` is needed")]
    PermissionDenied {
        /// What is needed.
        permission: String,
    },
    /// The caller's deadline passed.
    #[error("the deadline passed")]
    DeadlineExceeded,
    /// A bug of the server.
    #[error("internal error {id}; the server's log has it")]
    Internal {
        /// Under which the log has more.
        id: String,
    },
}

/// A status that this table does not have: made by a library, a proxy or a newer server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code:?}: {message}")]
pub struct Other {
    /// Its code.
    pub code: Code,
    /// The reason that a newer server of ours gave; `None` if it is not from us.
    pub reason: Option<String>,
    /// Its message.
    pub message: String,
}

impl Refusal {
    /// One violation of one field.
    #[must_use]
    pub fn invalid(field: impl Into<String>, description: impl Into<String>) -> Self {
        let violation = Violation { field: field.into(), description: description.into() };
        Self::InvalidArgument { violations: vec![violation] }
    }

    /// The row of the status table.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::SessionObsolete { .. } => Reason::SessionObsolete,
            Self::AgentIdConflict { .. } => Reason::AgentIdConflict,
            Self::RootMismatch { .. } => Reason::RootMismatch,
            Self::SpoolRolledBack { .. } => Reason::SpoolRolledBack,
            Self::NotLeader { .. } => Reason::NotLeader,
            Self::LeaderEpochStale { .. } => Reason::LeaderEpochStale,
            Self::ViewOccupied { .. } => Reason::ViewOccupied,
            Self::SessionNotFound { .. } => Reason::SessionNotFound,
            Self::ViewNotFound { .. } => Reason::ViewNotFound,
            Self::PathNotFound { .. } => Reason::PathNotFound,
            Self::JobNotFound { .. } => Reason::JobNotFound,
            Self::TrashNotFound { .. } => Reason::TrashNotFound,
            Self::AgentNotFound { .. } => Reason::AgentNotFound,
            Self::PathTaken { .. } => Reason::PathTaken,
            Self::NotADirectory { .. } => Reason::NotADirectory,
            Self::InvalidArgument { .. } => Reason::InvalidArgument,
            Self::IdempotencyKeyReused => Reason::IdempotencyKeyReused,
            Self::VersionMismatch { .. } => Reason::VersionMismatch,
            Self::IllegalTransition { .. } => Reason::IllegalTransition,
            Self::SequenceGap { .. } => Reason::SequenceGap,
            Self::RevisionCompacted { .. } => Reason::RevisionCompacted,
            Self::RevisionUnknown { .. } => Reason::RevisionUnknown,
            Self::ViewNotReady { .. } => Reason::ViewNotReady,
            Self::ScanFailed { .. } => Reason::ScanFailed,
            Self::ServerDraining { .. } => Reason::ServerDraining,
            Self::NotOwner { .. } => Reason::NotOwner,
            Self::StoreUnavailable { .. } => Reason::StoreUnavailable,
            Self::StreamReplaced { .. } => Reason::StreamReplaced,
            Self::QuotaExceeded { .. } => Reason::QuotaExceeded,
            Self::RateExceeded { .. } => Reason::RateExceeded,
            Self::QueueFull { .. } => Reason::QueueFull,
            Self::WatcherTooSlow { .. } => Reason::WatcherTooSlow,
            Self::Unauthenticated { .. } => Reason::Unauthenticated,
            Self::PermissionDenied { .. } => Reason::PermissionDenied,
            Self::DeadlineExceeded => Reason::DeadlineExceeded,
            Self::Internal { .. } => Reason::Internal,
        }
    }

    /// The code of the status.
    #[must_use]
    pub const fn code(&self) -> Code {
        self.reason().code()
    }

    /// How long to wait before trying again, where the table says that trying again is of use.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        encode::retry_after(self)
    }
}

const fn obsolete_advice(cause: ObsoleteCause) -> &'static str {
    match cause {
        ObsoleteCause::Superseded => "a newer session of the same agent took its place",
        ObsoleteCause::Expired
        | ObsoleteCause::Evicted
        | ObsoleteCause::ViewReset
        | ObsoleteCause::Unknown => "begin a new one",
    }
}

fn owned_by(owner: Option<&str>) -> String {
    match owner {
        Some(owner) => format!("another server's, {owner}"),
        None => "no server's for the moment; one takes it over".to_owned(),
    }
}

fn listed(reasons: &[String]) -> String {
    if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join(", ")) }
}

/// A time as RFC 3339 has it, in UTC to the nanosecond: for people and for programs.
fn when(time: ServerTime) -> String {
    server_time_to_pb(time).to_string()
}
