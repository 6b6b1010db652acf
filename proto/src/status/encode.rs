//! From a refusal to a status.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::Duration;

use tonic::Status;
use tonic_types::{ErrorDetails, StatusExt as _};

use super::{Refusal, Violation, cause_to_text, when};
use crate::convert::view::state_to_text;
use crate::limits;
use crate::text::shorten;

/// Longest name of a field in a violation, in bytes.
const FIELD_MAX: usize = 128;
/// Longest description in a violation, in bytes.
const DESCRIPTION_MAX: usize = 256;

/// The metadata of a refusal: key and value.
type Facts = Vec<(&'static str, String)>;

impl Refusal {
    /// The status that tells this: code, message, `ErrorInfo` and, by the row of the table,
    /// `RetryInfo` and `BadRequest`.
    #[must_use]
    pub fn into_status(self) -> Status {
        let metadata: HashMap<String, String> =
            facts(&self).into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let mut details =
            ErrorDetails::with_error_info(self.reason().as_str(), limits::ERROR_DOMAIN, metadata);
        if let Some(wait) = retry_after(&self) {
            details.set_retry_info(Some(wait));
        }
        if let Self::InvalidArgument { violations } = &self {
            for Violation { field, description } in bounded(violations) {
                details.add_bad_request_violation(field, description);
            }
        }
        Status::with_error_details(self.code(), cut(&self.to_string()), details)
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        refusal.into_status()
    }
}

/// How long to wait, as it is told.
pub(super) fn retry_after(refusal: &Refusal) -> Option<Duration> {
    match refusal {
        Refusal::SessionObsolete { retry_after, .. }
        | Refusal::AgentIdConflict { retry_after, .. }
        | Refusal::ScanFailed { retry_after, .. }
        | Refusal::ServerDraining { retry_after }
        | Refusal::NotOwner { retry_after, .. }
        | Refusal::StoreUnavailable { retry_after }
        | Refusal::StreamReplaced { retry_after }
        | Refusal::QuotaExceeded { retry_after, .. }
        | Refusal::RateExceeded { retry_after, .. }
        | Refusal::QueueFull { retry_after, .. }
        | Refusal::WatcherTooSlow { retry_after, .. } => Some(*retry_after),
        Refusal::ViewNotReady { retry_after, .. } => {
            Some((*retry_after).max(limits::NOT_READY_RETRY_MIN))
        }
        Refusal::RootMismatch { .. }
        | Refusal::SpoolRolledBack { .. }
        | Refusal::NotLeader { .. }
        | Refusal::LeaderEpochStale { .. }
        | Refusal::ViewOccupied { .. }
        | Refusal::SessionNotFound { .. }
        | Refusal::ViewNotFound { .. }
        | Refusal::PathNotFound { .. }
        | Refusal::JobNotFound { .. }
        | Refusal::TrashNotFound { .. }
        | Refusal::AgentNotFound { .. }
        | Refusal::PathTaken { .. }
        | Refusal::NotADirectory { .. }
        | Refusal::InvalidArgument { .. }
        | Refusal::IdempotencyKeyReused
        | Refusal::VersionMismatch { .. }
        | Refusal::IllegalTransition { .. }
        | Refusal::SequenceGap { .. }
        | Refusal::RevisionCompacted { .. }
        | Refusal::RevisionUnknown { .. }
        | Refusal::Unauthenticated { .. }
        | Refusal::PermissionDenied { .. }
        | Refusal::DeadlineExceeded
        | Refusal::Internal { .. } => None,
    }
}

/// What the metadata of `ErrorInfo` says; [`super::decode`] reads the same keys.
#[expect(clippy::too_many_lines, reason = "one table; split up it could not be read as one")]
fn facts(refusal: &Refusal) -> Facts {
    match refusal {
        Refusal::SessionObsolete { session, view, cause, retry_after: _ } => {
            let mut facts = vec![("cause", cause_to_text(*cause).to_owned())];
            facts.extend(session.map(|session| ("session_id", session.to_string())));
            facts.extend(view.as_ref().map(|view| ("view", view.to_string())));
            facts
        }
        Refusal::AgentIdConflict { host, since, retry_after: _ } => {
            vec![("host", text(host)), ("since", when(*since))]
        }
        Refusal::RootMismatch { known, found } => {
            vec![("known", text(known)), ("found", text(found))]
        }
        Refusal::SpoolRolledBack { applied, next } => {
            vec![("applied", applied.to_string()), ("next", next.to_string())]
        }
        Refusal::NotLeader { current } => vec![("leader_epoch", current.0.to_string())],
        Refusal::LeaderEpochStale { claimed, current } => {
            vec![("claimed_epoch", claimed.0.to_string()), ("leader_epoch", current.0.to_string())]
        }
        Refusal::ViewOccupied { holder, host } => {
            vec![("holder", holder.to_string()), ("host", text(host))]
        }
        Refusal::SessionNotFound { session } => vec![("session_id", session.to_string())],
        Refusal::ViewNotFound { view } => vec![("view", view.to_string())],
        Refusal::PathNotFound { view, path } | Refusal::NotADirectory { view, path } => {
            vec![("view", view.to_string()), ("path", text(path))]
        }
        Refusal::AgentNotFound { view, agent } => {
            vec![("view", view.to_string()), ("agent_id", agent.to_string())]
        }
        Refusal::PathTaken { view, path, kind, inode } => vec![
            ("view", view.to_string()),
            ("path", text(path)),
            ("kind", text(kind)),
            ("inode", inode.to_string()),
        ],
        Refusal::ScanFailed { view, agent, problem, retry_after: _ } => vec![
            ("view", view.to_string()),
            ("agent_id", agent.to_string()),
            ("problem", text(problem)),
        ],
        Refusal::NotOwner { view, owner, retry_after: _ } => {
            let mut facts = vec![("view", view.to_string())];
            facts.extend(owner.as_deref().map(|owner| ("owner", text(owner))));
            facts
        }
        Refusal::JobNotFound { job } => vec![("job", text(job))],
        Refusal::TrashNotFound { trash } => vec![("trash", text(trash))],
        Refusal::VersionMismatch { current } => vec![("current", current.to_string())],
        Refusal::IllegalTransition { from, to } => vec![("from", text(from)), ("to", text(to))],
        Refusal::SequenceGap { expected } => vec![("expected", expected.to_string())],
        Refusal::RevisionCompacted { oldest } => vec![("oldest", oldest.0.to_string())],
        Refusal::RevisionUnknown { latest } => vec![("latest", latest.0.to_string())],
        Refusal::ViewNotReady { view, state, reasons, retry_after: _ } => vec![
            ("view", view.to_string()),
            ("state", state_to_text(*state).to_owned()),
            ("reasons", list(reasons)),
        ],
        Refusal::QuotaExceeded { quota, limit, retry_after: _ } => {
            vec![("quota", text(quota)), ("limit", limit.to_string())]
        }
        Refusal::RateExceeded { rate, limit, retry_after: _ } => {
            vec![("rate", text(rate)), ("limit", limit.to_string())]
        }
        Refusal::QueueFull { queue, retry_after: _ } => vec![("queue", text(queue))],
        Refusal::WatcherTooSlow { resume_after, retry_after: _ } => {
            vec![("resume_after", resume_after.0.to_string())]
        }
        Refusal::Unauthenticated { problem } => vec![("problem", text(problem))],
        Refusal::PermissionDenied { permission } => vec![("permission", text(permission))],
        Refusal::Internal { id } => vec![("id", text(id))],
        Refusal::InvalidArgument { violations: _ }
        | Refusal::IdempotencyKeyReused
        | Refusal::ServerDraining { retry_after: _ }
        | Refusal::StoreUnavailable { retry_after: _ }
        | Refusal::StreamReplaced { retry_after: _ }
        | Refusal::DeadlineExceeded => Vec::new(),
    }
}

/// The violations that fit; the last one says how many did not.
fn bounded(violations: &[Violation]) -> Vec<Violation> {
    let fits = if violations.len() > limits::VIOLATIONS_MAX {
        limits::VIOLATIONS_MAX - 1
    } else {
        violations.len()
    };
    let (told, left_out) = violations.split_at(fits);
    let mut told: Vec<Violation> = told
        .iter()
        .map(|Violation { field, description }| Violation {
            field: shorten(field, FIELD_MAX),
            description: shorten(description, DESCRIPTION_MAX),
        })
        .collect();
    if let [first, ..] = left_out {
        let description = format!("{} more violations are left out", left_out.len());
        told.push(Violation { field: shorten(&first.field, FIELD_MAX), description });
    }
    told
}

/// The message of INVALID_ARGUMENT: the first violation and how many there are.
pub(super) fn violations_text(violations: &[Violation]) -> String {
    match violations {
        [] => "an argument is invalid".to_owned(),
        [Violation { field, description }] => format!("{field}: {description}"),
        [Violation { field, description }, more @ ..] => {
            format!("{field}: {description} (and {} more)", more.len())
        }
    }
}

/// A text as a metadata value.
fn text(text: &str) -> String {
    ascii(&cut(text), "%")
}

/// Texts as one metadata value, as many as fit, with commas between.
fn list(texts: &[String]) -> String {
    let mut value = String::new();
    for text in texts.iter().filter(|text| !text.is_empty()) {
        let item = ascii(&cut(text), "%,");
        // As long as one text may become by its encoding.
        if value.len() + item.len() > 3 * limits::STATUS_TEXT_MAX {
            break;
        }
        if !value.is_empty() {
            value.push(',');
        }
        value.push_str(&item);
    }
    value
}

/// Percent-encodes all but visible ASCII and blanks: some clients show metadata as headers and
/// drop or garble what is not ASCII.
fn ascii(text: &str, special: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for &byte in text.as_bytes() {
        let character = char::from(byte);
        if matches!(byte, 0x20..=0x7e) && !special.contains(character) {
            encoded.push(character);
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

fn cut(text: &str) -> String {
    shorten(text, limits::STATUS_TEXT_MAX)
}
