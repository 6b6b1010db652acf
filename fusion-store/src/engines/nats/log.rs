//! The log on JetStream: a stream for each view, a message for as many records as fit.
//!
//! One stream a view and not one for all, so that the numbers of a view's messages have no holes: each
//! one is known when the one before it is acknowledged. What that was weighed against is in
//! docs/decisions.

mod find;
mod follow;
mod message;
mod queue;
mod reader;
mod view;
mod writer;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use fusion_core::change::Change;
use fusion_core::time::ServerTime;

use super::Nats;
use super::stream::Stream;
use crate::error::StoreError;
use crate::ports::{
    ChangeLog, Follow, Guarantee, LogPoint, LogStatus, OpenedLog, ReadFrom, RecordHead, Records,
    Retention, Ticket, ViewId, ViewRef,
};
use view::ViewLog;

const PURPOSE: &str = "log";

/// The logs of all views on JetStream.
#[derive(Debug)]
pub struct NatsLog {
    nats: Arc<Nats>,
    /// Never held while the engine is waited for.
    views: RwLock<BTreeMap<ViewId, Arc<ViewLog>>>,
    /// Held while a log is opened or removed.
    opening: Mutex<()>,
}

impl NatsLog {
    pub(super) fn new(nats: Arc<Nats>) -> Self {
        Self { nats, views: RwLock::default(), opening: Mutex::default() }
    }

    fn get(&self, view: ViewId) -> Result<Arc<ViewLog>, StoreError> {
        let views = self.views.read().unwrap_or_else(PoisonError::into_inner);
        views.get(&view).cloned().ok_or(StoreError::NoView { view })
    }

    fn stream(&self, view: ViewId) -> Stream {
        self.nats.stream(format!("{}{}", self.nats.stream_name(PURPOSE), view.0.simple()))
    }

    /// Waits for work; a call asks the engine several times, each time within its limit.
    fn run<T: Send + 'static>(
        &self,
        what: &'static str,
        work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.nats.bridge.run(what, self.nats.settings.timeout * 2, work)
    }
}

impl ChangeLog for NatsLog {
    fn views(&self) -> Result<Vec<ViewRef>, StoreError> {
        self.nats.views(PURPOSE, "")
    }

    fn open_at(&self, view: &ViewRef, begin: LogPoint) -> Result<OpenedLog, StoreError> {
        let _opening = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(known) = self.get(view.id) {
            let asked = Arc::clone(&known);
            if let Some(opened) = self.run("read from", async move { asked.opened().await })? {
                return Ok(opened);
            }
            known.close(StoreError::Closed);
        }
        let (nats, stream, view) = (Arc::clone(&self.nats), self.stream(view.id), view.clone());
        let (id, subject) = (view.id, format!("{}{}", nats.subject(PURPOSE), view.id.0.simple()));
        let (log, opened) = self.run("read from", async move {
            let log = ViewLog::open(nats, stream, subject, (view, begin)).await?;
            let opened = log.just_opened();
            Ok((log, opened))
        })?;
        self.views.write().unwrap_or_else(PoisonError::into_inner).insert(id, Arc::new(log));
        Ok(opened)
    }

    fn append(
        &self,
        view: ViewId,
        after: LogPoint,
        head: &RecordHead,
        changes: &[Change],
    ) -> Result<Ticket, StoreError> {
        let log = self.get(view)?;
        let point = log.shared.queue.append(view, after, head, changes)?;
        Ok(log.shared.progress.ticket(point))
    }

    fn read(&self, view: ViewId, from: ReadFrom) -> Result<Records, StoreError> {
        let log = self.get(view)?;
        let reader = self.run("read from", async move { log.read(from).await })?;
        Ok(Box::new(reader) as Records)
    }

    fn follow(&self, view: ViewId, after: LogPoint) -> Result<Box<dyn Follow>, StoreError> {
        let log = self.get(view)?;
        let following = self.run("read from", async move { log.follow(after).await })?;
        Ok(Box::new(following))
    }

    fn trim(
        &self,
        view: ViewId,
        through: LogPoint,
        keep: &Retention,
        now: ServerTime,
    ) -> Result<LogPoint, StoreError> {
        let (log, keep) = (self.get(view)?, *keep);
        self.run("write to", async move { log.trim(through, keep, now).await })
    }

    fn status(&self, view: ViewId) -> Result<LogStatus, StoreError> {
        Ok(self.get(view)?.status())
    }

    fn guarantee(&self) -> Guarantee {
        self.nats.guarantee()
    }

    fn remove(&self, view: ViewId) -> Result<(), StoreError> {
        let _opening = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        let log = self.views.write().unwrap_or_else(PoisonError::into_inner).remove(&view);
        if let Some(log) = log {
            log.close(StoreError::NoView { view });
        }
        let stream = self.stream(view);
        self.run("write to", async move { stream.delete().await })
    }
}

impl Drop for NatsLog {
    fn drop(&mut self) {
        let views = std::mem::take(self.views.get_mut().unwrap_or_else(PoisonError::into_inner));
        // All are told first, so that they end beside each other.
        views.values().for_each(|log| log.shared.queue.close(StoreError::Closed));
        views.values().for_each(|log| log.close(StoreError::Closed));
    }
}
