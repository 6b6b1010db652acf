//! Use cases. They know no wire and no tonic; what they refuse is a row of the status table.

pub(crate) mod admin;
pub(crate) mod audit;
pub(crate) mod best;
pub(crate) mod breakdown;
pub(crate) mod changes;
pub(crate) mod compare;
pub(crate) mod errands;
pub(crate) mod export;
pub(crate) mod find;
pub(crate) mod idempotency;
pub(crate) mod ingest;
pub(crate) mod jobs;
pub(crate) mod listing;
pub(crate) mod lists;
pub(crate) mod paging;
pub(crate) mod refresh;
pub(crate) mod reloader;
pub(crate) mod running;
pub(crate) mod sessions;
pub(crate) mod views;
pub(crate) mod wait;
pub(crate) mod watch;

use fusion_proto::status::Refusal;

/// A bug: told in the log under an id, and nothing more to the caller.
pub(crate) fn internal(ids: &dyn crate::ids::Ids, error: &dyn std::fmt::Display) -> Refusal {
    let id = ids.draw().to_string();
    tracing::error!(id, %error, "internal error");
    Refusal::Internal { id }
}
