//! Where a watcher reads: in memory what is new, in the log what is older.

use std::sync::Arc;
use std::time::Duration;

use fusion_core::id::{Revision, ViewName};
use fusion_core::view::ViewState;
use fusion_proto::convert::event::EventView;
use fusion_proto::status::Refusal;
use fusion_store::{ChangeLog, ReadFrom, Records, StoreError, ViewId};
use prometheus::{IntCounter, IntCounterVec};
use tokio::sync::watch;
use tokio::time::Instant;

use super::super::internal;
use super::super::views::Views;
use crate::ids::Ids;
use crate::task::view::{Fed, Feed, FeedRecord, ViewHandle, Watching};

/// Revisions that are read from the log at once, about.
const SLICE: u64 = 4_096;
/// When to try again where a view is begun anew.
const GONE_RETRY: Duration = Duration::from_secs(1);
/// When to try again where a follower is behind.
const BEHIND_RETRY: Duration = Duration::from_millis(200);

/// Reads the records of a view in order.
pub(super) struct Reader {
    view: ViewHandle,
    feed: Arc<Feed>,
    _watching: Watching,
    durable: watch::Receiver<Revision>,
    log: Arc<dyn ChangeLog>,
    ids: Arc<dyn Ids>,
    /// The log, while this reads it, and the revision that comes next out of it.
    open: Option<(Records, Revision)>,
    events: IntCounter,
    reads: IntCounter,
}

impl Reader {
    pub(super) fn begin(views: &Views, view: &ViewHandle) -> Self {
        let (deps, feed) = (views.deps(), Arc::clone(view.feed()));
        let counter = |of: &IntCounterVec| of.with_label_values(&[view.name().as_str()]);
        Self {
            _watching: feed.join(),
            durable: feed.durable(),
            log: Arc::clone(&deps.stores.log),
            ids: Arc::clone(&deps.ids),
            open: None,
            events: counter(&deps.metrics.watch_events),
            reads: counter(&deps.metrics.watch_reads),
            view: view.clone(),
            feed,
        }
    }

    /// The view, as events name it.
    pub(super) fn view(&self) -> &EventView {
        self.feed.view()
    }

    /// How many watch the view.
    pub(super) fn watchers(&self) -> usize {
        self.feed.watchers()
    }

    /// So many events were told.
    pub(super) fn count(&self, events: u64) {
        self.events.inc_by(events);
    }

    /// The revision after which to begin: the one asked for if it is kept, else the last one.
    pub(super) fn check(
        &self,
        views: &Views,
        after: Option<Revision>,
    ) -> Result<Revision, Refusal> {
        let durable = *self.durable.borrow();
        let Some(after) = after else { return Ok(durable) };
        kept(views, &self.view, after, durable)?;
        Ok(after)
    }

    /// Some records from the one with a revision on; none if there are none until then. The log is
    /// not waited for: to give up in between would be to read it again.
    pub(super) async fn read(
        &mut self,
        from: Revision,
        until: Instant,
    ) -> Result<Vec<Arc<FeedRecord>>, Refusal> {
        loop {
            if self.open.as_ref().is_some_and(|(_, next)| *next <= from) {
                let records = self.read_log().await?;
                if !records.is_empty() {
                    return Ok(records);
                }
            }
            self.open = None;
            // Before it is read, so that no news is lost.
            self.durable.mark_unchanged();
            match self.feed.read(from) {
                Fed::Records(records) => return Ok(records),
                Fed::NotYet => tokio::select! {
                    biased;
                    changed = self.durable.changed() => changed.map_err(|_| gone(self.view.name()))?,
                    () = self.view.ended() => return Err(gone(self.view.name())),
                    () = tokio::time::sleep_until(until) => return Ok(Vec::new()),
                },
                Fed::Gone => self.open_log(from).await?,
            }
        }
    }

    /// As [`Reader::read`], but gives only what is in memory now.
    pub(super) fn read_now(&self, from: Revision) -> Vec<Arc<FeedRecord>> {
        match self.feed.read(from) {
            Fed::Records(records) if self.open.is_none() => records,
            Fed::Records(_) | Fed::NotYet | Fed::Gone => Vec::new(),
        }
    }

    async fn open_log(&mut self, from: Revision) -> Result<(), Refusal> {
        self.reads.inc();
        let (log, id) = (Arc::clone(&self.log), ViewId(self.view.id()));
        let open = tokio::task::spawn_blocking(move || log.read(id, ReadFrom::Revision(from)));
        let open = open.await.map_err(|error| internal(&*self.ids, &error))?;
        self.open = Some((open.map_err(|error| self.unread(error, from))?, from));
        Ok(())
    }

    /// Reads on in the log; nothing at its end as it was when it was opened.
    async fn read_log(&mut self) -> Result<Vec<Arc<FeedRecord>>, Refusal> {
        let Some((mut open, from)) = self.open.take() else { return Ok(Vec::new()) };
        let feed = Arc::clone(&self.feed);
        let slice = tokio::task::spawn_blocking(move || {
            let (mut records, mut next) = (Vec::new(), from);
            while next.0 - from.0 < SLICE
                && let Some(record) = open.next()
            {
                let Some(record) = FeedRecord::stored(record?) else { continue };
                record.told(feed.view());
                next = Revision(record.last.0 + 1);
                records.push(Arc::new(record));
            }
            Ok((open, next, records))
        });
        let slice = slice.await.map_err(|error| internal(&*self.ids, &error))?;
        let (open, next, records) = slice.map_err(|error| self.unread(error, from))?;
        self.open = Some((open, next));
        Ok(records)
    }

    /// What it means to a watcher under way that the log cannot be read.
    fn unread(&self, error: StoreError, from: Revision) -> Refusal {
        match error {
            StoreError::Trimmed { .. } => Refusal::WatcherTooSlow {
                resume_after: Revision(from.0.saturating_sub(1)),
                retry_after: Duration::ZERO,
            },
            StoreError::NoView { .. } | StoreError::Closed => gone(self.view.name()),
            error => internal(&*self.ids, &error),
        }
    }
}

/// Whether what comes after a revision is kept and was given. Who does not own a view, or not any more, cannot say of a
/// revision that it was not: a watcher comes from a server that was ahead.
pub(in crate::service) fn kept(
    views: &Views,
    view: &ViewHandle,
    after: Revision,
    durable: Revision,
) -> Result<(), Refusal> {
    let deps = views.deps();
    let status = match deps.stores.log.status(ViewId(view.id())) {
        Ok(status) => status,
        Err(StoreError::NoView { .. } | StoreError::Closed) => return Err(gone(view.name())),
        Err(error) => return Err(internal(&*deps.ids, &error)),
    };
    let (oldest, latest) = (status.start.revision, status.durable.revision.max(durable));
    if after > latest && views.owned(view).is_err() {
        // Its owner may have given it: another server, or this one in a moment, knows.
        let behind = format!("another server owns it; this one has it as of revision {}", latest.0);
        Err(not_ready(view.name(), ViewState::Degraded, behind, BEHIND_RETRY))
    } else if after > latest {
        Err(Refusal::RevisionUnknown { latest })
    } else if after < oldest {
        Err(Refusal::RevisionCompacted { oldest: Revision(oldest.0 + 1) })
    } else {
        Ok(())
    }
}

/// The view ends, or begins anew: the same call finds it again in a moment.
pub(in crate::service) fn gone(view: &ViewName) -> Refusal {
    not_ready(view, ViewState::Empty, "the view is begun anew".to_owned(), GONE_RETRY)
}

fn not_ready(view: &ViewName, state: ViewState, why: String, retry_after: Duration) -> Refusal {
    Refusal::ViewNotReady { view: view.clone(), state, reasons: vec![why], retry_after }
}
