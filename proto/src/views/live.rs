//! Watching, asking what changed, and waiting for quiet.

use std::time::Duration;

use fusion_core::id::Revision;
use tonic::codec::Streaming;

use super::ViewsClient;
use crate::client::CallError;
use crate::convert::event::event_from_pb;
use crate::pb;
use crate::status::Refusal;

pub use crate::convert::event::{EVENT_TYPES, EntryChange, Event, EventType};
pub use crate::convert::view::live::{
    Changes, EventFilter, ListChanges, NotQuiet, Quiet, WaitQuiet, WatchView,
};

/// Some changes, in order.
#[derive(Debug, Clone, PartialEq)]
pub struct WatchedPart {
    /// The changes; none in a heartbeat.
    pub events: Vec<Event>,
    /// All up to it that were asked for have been told: go on after it.
    pub revision: Revision,
}

/// Changes as they happen; dropping it ends the watch.
#[derive(Debug)]
pub struct Watched {
    stream: Streaming<pb::WatchViewResponse>,
}

impl Watched {
    /// The next changes; `None` if the server ended the stream without a word.
    ///
    /// # Errors
    /// The watch broke off: [`may_go_on`] says whether to begin it again after the last revision.
    pub async fn next(&mut self) -> Result<Option<WatchedPart>, CallError> {
        let Some(pb::WatchViewResponse { events, encoded: _, revision }) =
            self.stream.message().await?
        else {
            return Ok(None);
        };
        let events = events.into_iter().map(event_from_pb).collect::<Result<_, _>>()?;
        Ok(Some(WatchedPart { events, revision: Revision(revision) }))
    }
}

/// Reports of a wait; dropping it ends the wait.
#[derive(Debug)]
pub struct Waiting {
    stream: Streaming<pb::WaitQuietResponse>,
}

impl Waiting {
    /// The next report; the one that is quiet is the last, and `None` comes after it.
    ///
    /// # Errors
    /// The wait broke off: [`may_go_on`] says whether to begin it again.
    pub async fn next(&mut self) -> Result<Option<Quiet>, CallError> {
        let told = self.stream.message().await?;
        Ok(told.map(Quiet::try_from).transpose()?)
    }
}

/// Whether a watch or a wait that broke off may be begun again, or a call that is done once however often
/// it is made be repeated, and after which time: the server is away, goes down or begins the view anew, its
/// store is away, or the watcher was too slow.
#[must_use]
pub fn may_go_on(error: &CallError) -> Option<Duration> {
    const PAUSE: Duration = Duration::from_secs(1);
    match error {
        CallError::Refused(
            refusal @ (Refusal::ServerDraining { .. }
            | Refusal::NotOwner { .. }
            | Refusal::ViewNotReady { .. }
            | Refusal::StoreUnavailable { .. }
            | Refusal::WatcherTooSlow { .. }),
        ) => Some(refusal.retry_after().unwrap_or(PAUSE)),
        error => error.is_lost().then_some(PAUSE),
    }
}

impl ViewsClient {
    /// Watches a path.
    ///
    /// # Errors
    /// No such view, a revision that is not kept or was never given, too many who watch, or no server.
    pub async fn watch(&mut self, asked: &WatchView) -> Result<Watched, CallError> {
        let request = pb::WatchViewRequest::from(asked);
        Ok(Watched { stream: self.inner.watch_view(request).await?.into_inner() })
    }

    /// A page of what changed.
    ///
    /// # Errors
    /// No such view, a revision that is not kept or was never given, a token of another request, or
    /// no server.
    pub async fn changes(&mut self, asked: &ListChanges) -> Result<Changes, CallError> {
        let request = pb::ListChangesRequest::from(asked);
        Ok(self.inner.list_changes(request).await?.into_inner().try_into()?)
    }

    /// Waits until a path is quiet.
    ///
    /// # Errors
    /// No such view, too many who wait, a span that cannot be told, or no server.
    pub async fn wait_quiet(&mut self, asked: &WaitQuiet) -> Result<Waiting, CallError> {
        let request = pb::WaitQuietRequest::try_from(asked)?;
        Ok(Waiting { stream: self.inner.wait_quiet(request).await?.into_inner() })
    }
}
