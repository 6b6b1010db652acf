//! Directories that agents cannot have seen appear: what sessions have to do with them.
//!
//! Which agent watches directory by directory, from when on directories are news to it, and how far each
//! had reported when the server began anew. What lies between is read from the log again: who has
//! reported some of it is told of it twice.

use std::time::Duration;

use fusion_core::id::{Revision, SessionId};
use fusion_core::session::{SavedSession, Session};
use fusion_core::time::{ServerTime, StorageTime};
use fusion_proto::convert::session::agent::AgentStatus;
use fusion_store::{ChangeLog, ReadFrom, StoreError, ViewId};

use crate::task::view::ViewHandle;

/// Clocks of storage go in steps of up to two seconds.
const TICK: Duration = Duration::from_secs(2);
/// Revisions that are read again at most; who was further back reads the whole tree.
const READ_AGAIN: u64 = 1_000_000;

/// One that the store had when the server began.
pub(super) struct Saved<'a> {
    pub(super) session: &'a SavedSession,
    pub(super) reported: Option<Revision>,
    /// It is over, by its agent's wish or not.
    pub(super) over: Option<bool>,
}

/// A session begins; gives up to where its agent has reported all.
pub(super) fn begin(view: &ViewHandle, session: &Session, now: ServerTime) -> Option<Revision> {
    let since = finds_itself(view, now, now);
    view.commands().joined(session.id, (&session.agent, session.instance), since, None);
    reported(view, session.id)
}

/// An agent says how it watches: whether directory by directory. It is not known while it places its
/// watches, or has none.
pub(super) fn hear(view: &ViewHandle, session: SessionId, status: Option<&AgentStatus>) {
    let Some(status) = status else { return };
    let has_limit = status.watch_limit.is_some();
    if has_limit || status.realtime_ready {
        view.commands().watches(session, has_limit);
    }
}

/// Up to where a session's agent has reported all, as far as that is durable.
pub(super) fn reported(view: &ViewHandle, session: SessionId) -> Option<Revision> {
    let durable = view.durable();
    view.commands().reported(session).map(|reported| reported.min(durable))
}

/// Directories with an older ctime are found by an agent itself that begins at a time: it walks the tree
/// after that, through a mount whose caches are `cache_horizon` old at most.
fn finds_itself(view: &ViewHandle, began: ServerTime, now: ServerTime) -> StorageTime {
    let behind = view.config().settings.cache_horizon + TICK;
    view.status(now).watermark.minus(now.since(began)).minus(behind)
}

/// Has a view's desk go on where the server left off.
pub(super) fn restore(
    view: &ViewHandle,
    log: &dyn ChangeLog,
    saved: &[Saved<'_>],
    now: ServerTime,
) {
    let (desk, end) = (view.commands(), view.durable());
    let from = saved.iter().filter_map(|saved| saved.reported).min().unwrap_or(end).min(end);
    let is_read = end.0 - from.0 <= READ_AGAIN;
    if is_read {
        desk.rewind(from);
    }
    for Saved { session, reported, over } in saved {
        let since = finds_itself(view, session.created_at, now);
        let after = reported.unwrap_or(end);
        desk.joined(session.id, (&session.agent, session.instance), since, Some(after));
        if let Some(ended) = over {
            desk.left(session.id, *ended);
        }
    }
    if is_read && let Err(error) = read_again(view, log, from) {
        tracing::warn!(
            view = %view.name(), %error,
            "the log has not all that agents did not report: they read the whole tree"
        );
        desk.rewind(end);
    }
}

fn read_again(view: &ViewHandle, log: &dyn ChangeLog, after: Revision) -> Result<(), StoreError> {
    for record in log.read(ViewId(view.id()), ReadFrom::Revision(Revision(after.0 + 1)))? {
        view.commands().take(&record?.changes, None);
    }
    Ok(())
}
