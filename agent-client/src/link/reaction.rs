//! What the agent does about each refusal: the last column of the status table (3-protocol).
//!
//! Owns that column, for calls that go on with a session (heartbeat, streams) and for the call that
//! begins one. Must never: read a message; a refusal is a type here. Tested row by row.

use std::time::Duration;

use fusion_core::session::ObsoleteCause;
use fusion_proto::client::CallError;
use fusion_proto::status::{Code, Other, Refusal};

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reaction {
    /// The session is obsolete: a new one after this time.
    NewSession { cause: ObsoleteCause, after: Duration },
    /// A newer process took over: stop.
    Superseded,
    /// Another agent has our name: wait for the rest of its timeout, then stop if it lives on.
    WaitForOther { host: String, rest: Duration },
    /// Stop: the root is another tree.
    OtherTree { known: String, found: String },
    /// A new spool id, numbers from 1, lost events.
    RenewSpool,
    /// Keep the session, stop scanning.
    StopScanning,
    /// The same session, another connection or stream, after this time.
    Reconnect { after: Duration },
    /// The same session, with the owner of the view: directly if it can be reached.
    GoToOwner { owner: String, after: Duration },
    /// Go on from this sequence.
    ResumeFrom { expected: u64 },
    /// Go on, more slowly: at the earliest after this time.
    SlowDown { after: Duration },
    /// Try again with back-off: it may be set right on the other side.
    BackOff,
    /// Repeating is no use: say so.
    Report,
}

/// What went wrong with a call, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) reaction: Reaction,
    /// For the log and the heartbeat.
    pub(crate) text: String,
    /// Whether the server said it, and not the way there.
    pub(crate) from_server: bool,
}

impl Trouble {
    /// Reads what became of a call.
    pub(crate) fn of(error: CallError) -> Self {
        let text = error.to_string();
        let (reaction, from_server) = match error {
            CallError::Refused(refusal) => (react(&refusal), true),
            CallError::Other(Other { code, reason, message: _ }) => {
                (react_to_code(code), reason.is_some())
            }
            // A server that is newer or broken: it may be set right on the other side.
            CallError::Answer(_) => (Reaction::BackOff, false),
            // Repeating does not change what we have to say.
            CallError::Request(_) => (Reaction::Report, false),
        };
        Self { reaction, text, from_server }
    }

    /// Another way is taken: what was under way is sent again on it.
    pub(crate) fn moved() -> Self {
        let (reaction, text) = (Reaction::Reconnect { after: Duration::ZERO }, "another server");
        Self { reaction, text: text.to_owned(), from_server: true }
    }

    /// The root did not answer, so what it was before was told: that this is not the view's tree says
    /// nothing of what the root is now, and is no reason to stop.
    pub(crate) fn of_root_unread(self) -> Self {
        match self.reaction {
            Reaction::OtherTree { .. } => Self { reaction: Reaction::BackOff, ..self },
            _ => self,
        }
    }

    /// The server wants a batch that it acknowledged and we no longer have: it was put back to an
    /// earlier state, and what scans told it since is lost with it. A new session lists anew.
    pub(crate) fn of_opening(self, first_held: u64) -> Self {
        match self.reaction {
            Reaction::ResumeFrom { expected } if expected < first_held => {
                let (cause, after) = (ObsoleteCause::Unknown, Duration::ZERO);
                Self { reaction: Reaction::NewSession { cause, after }, ..self }
            }
            _ => self,
        }
    }

    /// Something other than a status went wrong.
    pub(crate) fn unexpected(text: impl Into<String>) -> Self {
        Self { reaction: Reaction::BackOff, text: text.into(), from_server: false }
    }
}

/// The reaction to a status that is none of ours.
const fn react_to_code(code: Code) -> Reaction {
    match code {
        Code::ResourceExhausted => Reaction::SlowDown { after: Duration::from_millis(500) },
        Code::InvalidArgument => Reaction::Report,
        _ => Reaction::BackOff,
    }
}

/// The reaction to a refusal. No `_` arm: a new row does not compile until it has one.
fn react(refusal: &Refusal) -> Reaction {
    match refusal {
        Refusal::SessionObsolete { cause: ObsoleteCause::Superseded, .. } => Reaction::Superseded,
        Refusal::SessionObsolete { cause, retry_after, .. } => {
            Reaction::NewSession { cause: *cause, after: *retry_after }
        }
        Refusal::AgentIdConflict { host, retry_after, .. } => {
            Reaction::WaitForOther { host: host.clone(), rest: *retry_after }
        }
        Refusal::RootMismatch { known, found } => {
            Reaction::OtherTree { known: known.clone(), found: found.clone() }
        }
        Refusal::SpoolRolledBack { .. } => Reaction::RenewSpool,
        Refusal::NotLeader { .. } | Refusal::LeaderEpochStale { .. } => Reaction::StopScanning,
        Refusal::SequenceGap { expected } => Reaction::ResumeFrom { expected: *expected },
        Refusal::NotOwner { owner: Some(owner), retry_after, .. } => {
            Reaction::GoToOwner { owner: owner.clone(), after: *retry_after }
        }
        Refusal::ServerDraining { retry_after }
        | Refusal::NotOwner { owner: None, retry_after, .. }
        | Refusal::StreamReplaced { retry_after } => {
            Reaction::Reconnect { after: *retry_after }
        }
        Refusal::QuotaExceeded { retry_after, .. }
        | Refusal::RateExceeded { retry_after, .. }
        | Refusal::QueueFull { retry_after, .. }
        | Refusal::WatcherTooSlow { retry_after, .. }
        | Refusal::StoreUnavailable { retry_after }
        | Refusal::ViewNotReady { retry_after, .. } => {
            Reaction::SlowDown { after: *retry_after }
        }
        Refusal::InvalidArgument { .. } => Reaction::Report,
        // An operator can set these right while the agent waits.
        Refusal::ViewOccupied { .. }
        | Refusal::ViewNotFound { .. }
        | Refusal::Unauthenticated { .. }
        | Refusal::PermissionDenied { .. }
        | Refusal::DeadlineExceeded
        | Refusal::Internal { .. }
        // The rest is never said to an agent's calls; should it be, waiting does no harm.
        | Refusal::SessionNotFound { .. }
        | Refusal::PathNotFound { .. }
        | Refusal::JobNotFound { .. }
        | Refusal::TrashNotFound { .. }
        | Refusal::AgentNotFound { .. }
        | Refusal::PathTaken { .. }
        | Refusal::ScanFailed { .. }
        | Refusal::NotADirectory { .. }
        | Refusal::IdempotencyKeyReused
        | Refusal::VersionMismatch { .. }
        | Refusal::IllegalTransition { .. }
        | Refusal::RevisionCompacted { .. }
        | Refusal::RevisionUnknown { .. } => Reaction::BackOff,
    }
}

#[cfg(test)]
mod tests;
