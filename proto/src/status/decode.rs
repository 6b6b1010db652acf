//! From a status to a refusal.

use std::collections::HashMap;
use std::error::Error as _;
use std::str::FromStr;
use std::time::Duration;

use fusion_core::id::{AgentId, LeaderEpoch, Revision, SessionId, ViewName};
use fusion_core::time::ServerTime;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::{ObsoleteCause, Other, Reason, Refusal, Violation, cause_from_text};
use crate::convert::time::server_time_from_pb;
use crate::convert::view::state_from_text;
use crate::limits;

impl Refusal {
    /// Reads a status.
    ///
    /// ABORTED is an obsolete session whatever comes with it: nothing else in this API maps to it. One that the
    /// client's own transport made of an error is nothing that the server said.
    ///
    /// # Errors
    /// [`Other`] if the status is not from the table: no details of ours, a reason that this version
    /// does not know, a code that is not the reason's, or metadata that does not fit the reason.
    pub fn from_status(status: &Status) -> Result<Self, Other> {
        let details = status.get_error_details();
        let info = details.error_info().filter(|info| info.domain == limits::ERROR_DOMAIN);
        let reason = info.and_then(|info| Reason::parse(&info.reason));
        let refusal = match (reason, info) {
            (Some(reason), Some(info)) if reason.code() == status.code() => {
                refusal(reason, &Told { metadata: &info.metadata, details: &details })
            }
            _ => None,
        };
        match refusal {
            Some(refusal) => Ok(refusal),
            None if status.code() == Code::Aborted && status.source().is_none() => {
                Ok(Self::SessionObsolete {
                    session: None,
                    view: None,
                    cause: ObsoleteCause::Unknown,
                    retry_after: Told::wait(&details),
                })
            }
            None => Err(Other {
                code: status.code(),
                reason: info.map(|info| info.reason.clone()),
                message: message_of(status),
            }),
        }
    }
}

/// The message with what lies below it: `transport error` alone helps nobody.
fn message_of(status: &Status) -> String {
    let mut message = status.message().to_owned();
    let mut source = status.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if !message.contains(&text) {
            message = format!("{message}: {text}");
        }
        source = cause.source();
    }
    message
}

/// The refusal of a row of the table; `None` if something that belongs to it is missing or
/// malformed.
#[expect(clippy::too_many_lines, reason = "one table; split up it could not be read as one")]
fn refusal(reason: Reason, told: &Told<'_>) -> Option<Refusal> {
    let retry_after = told.retry_after();
    Some(match reason {
        Reason::SessionObsolete => Refusal::SessionObsolete {
            session: told.session(),
            view: told.view(),
            cause: cause_from_text(told.raw("cause")?),
            retry_after,
        },
        Reason::AgentIdConflict => Refusal::AgentIdConflict {
            host: told.text("host")?,
            since: told.time("since")?,
            retry_after,
        },
        Reason::RootMismatch => {
            Refusal::RootMismatch { known: told.text("known")?, found: told.text("found")? }
        }
        Reason::SpoolRolledBack => Refusal::SpoolRolledBack {
            applied: told.number("applied")?,
            next: told.number("next")?,
        },
        Reason::NotLeader => {
            Refusal::NotLeader { current: LeaderEpoch(told.number("leader_epoch")?) }
        }
        Reason::LeaderEpochStale => Refusal::LeaderEpochStale {
            claimed: LeaderEpoch(told.number("claimed_epoch")?),
            current: LeaderEpoch(told.number("leader_epoch")?),
        },
        Reason::ViewOccupied => Refusal::ViewOccupied {
            holder: AgentId::new(told.raw("holder")?).ok()?,
            host: told.text("host")?,
        },
        Reason::SessionNotFound => Refusal::SessionNotFound { session: told.session()? },
        Reason::ViewNotFound => Refusal::ViewNotFound { view: told.view()? },
        Reason::PathNotFound => {
            Refusal::PathNotFound { view: told.view()?, path: told.text("path")? }
        }
        Reason::JobNotFound => Refusal::JobNotFound { job: told.text("job")? },
        Reason::TrashNotFound => Refusal::TrashNotFound { trash: told.text("trash")? },
        Reason::AgentNotFound => {
            Refusal::AgentNotFound { view: told.view()?, agent: told.agent()? }
        }
        Reason::PathTaken => Refusal::PathTaken {
            view: told.view()?,
            path: told.text("path")?,
            kind: told.text("kind")?,
            inode: told.number("inode")?,
        },
        Reason::NotADirectory => {
            Refusal::NotADirectory { view: told.view()?, path: told.text("path")? }
        }
        Reason::InvalidArgument => Refusal::InvalidArgument { violations: told.violations() },
        Reason::IdempotencyKeyReused => Refusal::IdempotencyKeyReused,
        Reason::VersionMismatch => Refusal::VersionMismatch { current: told.number("current")? },
        Reason::IllegalTransition => {
            Refusal::IllegalTransition { from: told.text("from")?, to: told.text("to")? }
        }
        Reason::SequenceGap => Refusal::SequenceGap { expected: told.number("expected")? },
        Reason::RevisionCompacted => {
            Refusal::RevisionCompacted { oldest: Revision(told.number("oldest")?) }
        }
        Reason::RevisionUnknown => {
            Refusal::RevisionUnknown { latest: Revision(told.number("latest")?) }
        }
        Reason::ViewNotReady => Refusal::ViewNotReady {
            view: told.view()?,
            state: state_from_text(told.raw("state")?)?,
            reasons: told.list("reasons")?,
            retry_after,
        },
        Reason::ScanFailed => Refusal::ScanFailed {
            view: told.view()?,
            agent: told.agent()?,
            problem: told.text("problem")?,
            retry_after,
        },
        Reason::ServerDraining => Refusal::ServerDraining { retry_after },
        Reason::NotOwner => {
            Refusal::NotOwner { view: told.view()?, owner: told.text("owner"), retry_after }
        }
        Reason::StoreUnavailable => Refusal::StoreUnavailable { retry_after },
        Reason::StreamReplaced => Refusal::StreamReplaced { retry_after },
        Reason::QuotaExceeded => Refusal::QuotaExceeded {
            quota: told.text("quota")?,
            limit: told.number("limit")?,
            retry_after,
        },
        Reason::RateExceeded => Refusal::RateExceeded {
            rate: told.text("rate")?,
            limit: told.number("limit")?,
            retry_after,
        },
        Reason::QueueFull => Refusal::QueueFull { queue: told.text("queue")?, retry_after },
        Reason::WatcherTooSlow => Refusal::WatcherTooSlow {
            resume_after: Revision(told.number("resume_after")?),
            retry_after,
        },
        Reason::Unauthenticated => Refusal::Unauthenticated { problem: told.text("problem")? },
        Reason::PermissionDenied => {
            Refusal::PermissionDenied { permission: told.text("permission")? }
        }
        Reason::DeadlineExceeded => Refusal::DeadlineExceeded,
        Reason::Internal => Refusal::Internal { id: told.text("id")? },
    })
}

/// The details of a status, by key.
struct Told<'a> {
    metadata: &'a HashMap<String, String>,
    details: &'a ErrorDetails,
}

impl Told<'_> {
    fn raw(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).map(String::as_str)
    }

    fn number<N: FromStr>(&self, key: &str) -> Option<N> {
        self.raw(key)?.parse().ok()
    }

    fn time(&self, key: &str) -> Option<ServerTime> {
        server_time_from_pb(&self.raw(key)?.parse().ok()?).ok()
    }

    fn text(&self, key: &str) -> Option<String> {
        unescape(self.raw(key)?)
    }

    fn list(&self, key: &str) -> Option<Vec<String>> {
        match self.raw(key)? {
            "" => Some(Vec::new()),
            items => items.split(',').map(unescape).collect(),
        }
    }

    fn session(&self) -> Option<SessionId> {
        SessionId::parse(self.raw("session_id")?).ok()
    }

    fn agent(&self) -> Option<AgentId> {
        AgentId::new(self.raw("agent_id")?).ok()
    }

    fn view(&self) -> Option<ViewName> {
        ViewName::new(self.raw("view")?).ok()
    }

    fn retry_after(&self) -> Duration {
        Self::wait(self.details)
    }

    /// How long to wait; not at all if nothing is said.
    fn wait(details: &ErrorDetails) -> Duration {
        details.retry_info().and_then(|retry| retry.retry_delay).unwrap_or_default()
    }

    fn violations(&self) -> Vec<Violation> {
        let Some(bad_request) = self.details.bad_request() else { return Vec::new() };
        bad_request
            .field_violations
            .iter()
            .map(|violation| Violation {
                field: violation.field.clone(),
                description: violation.description.clone(),
            })
            .collect()
    }
}

/// Undoes the percent-encoding of metadata values; `None` if it is malformed.
fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let [high, low, tail @ ..] = rest else { return None };
        let high = char::from(*high).to_digit(16)?;
        let low = char::from(*low).to_digit(16)?;
        bytes.push(u8::try_from(high << 4 | low).ok()?);
        rest = tail;
    }
    String::from_utf8(bytes).ok()
}
