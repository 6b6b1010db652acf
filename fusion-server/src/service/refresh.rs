//! Refreshing a path: an agent scans it now, and all that it found is part of the view, and durable,
//! before anybody is told.
//!
//! Owns the refreshes under way, by what was asked for: who asks for the same meanwhile waits for the
//! same. Each runs as a task of its own, so that a caller that leaves stops nobody. Must never: answer
//! from what is known in place of a scan that was not made; every way in which it can fail is a
//! refusal that says so.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fusion_core::path::PathRef;
use fusion_core::session::Session;
use fusion_core::time::Clock;
use fusion_core::view::View;
use fusion_proto::convert::view::{Freshness, ReadClass, RefreshPath, Refreshed};
use fusion_proto::status::Refusal;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::errands::{Errands, Lookout, NotDone};
use super::jobs::Jobs;
use super::lists::entry;
use super::sessions::{DRAINING_RETRY, Sessions};
use super::views::{Views, Worth, worth};
use crate::spawn::Tasks;
use crate::task::view::{Operator, ViewHandle};

/// Refreshes under way at most, over all views.
const RUNNING: usize = 256;
/// When to ask again.
const RETRY: Duration = Duration::from_secs(5);

type Answer = Result<Refreshed, Refusal>;
type Running = HashMap<RefreshPath, watch::Receiver<Option<Answer>>>;

/// All refreshes of a server; a cheap handle.
#[derive(Clone)]
pub(crate) struct Refreshes {
    shared: Arc<Shared>,
}

struct Shared {
    views: Views,
    sessions: Sessions,
    clock: Arc<dyn Clock>,
    errands: Errands,
    jobs: Jobs,
    tasks: Tasks,
    draining: CancellationToken,
    /// Locked to look up, insert or remove; nothing is locked under it.
    running: Mutex<Running>,
}

impl Refreshes {
    pub(crate) fn new(
        views: Views,
        sessions: Sessions,
        clock: Arc<dyn Clock>,
        errands: Errands,
        jobs: Jobs,
        tasks: Tasks,
        draining: CancellationToken,
    ) -> Self {
        let running = Mutex::default();
        let shared = Shared { views, sessions, clock, errands, jobs, tasks, draining, running };
        Self { shared: Arc::new(shared) }
    }

    /// Scans a path, or waits for the one that does.
    pub(crate) async fn refresh(&self, asked: &RefreshPath, by: Operator) -> Answer {
        let (answer, joined) = self.join_or_begin(asked, by)?;
        self.told(answer).await.map(|refreshed| Refreshed { joined, ..refreshed })
    }

    async fn told(&self, mut answer: watch::Receiver<Option<Answer>>) -> Answer {
        let told = tokio::select! {
            told = answer.wait_for(Option::is_some) => told.ok().and_then(|told| told.clone()),
            () = self.shared.draining.cancelled() => None,
        };
        // Without an answer the server is going down, and its tasks with it.
        told.unwrap_or(Err(Refusal::ServerDraining { retry_after: DRAINING_RETRY }))
    }

    /// For a read of a class: if it demands FRESH, the leader scans the path first, and all of it, in a scan
    /// that begins after this call.
    pub(crate) async fn before_read(
        &self,
        class: ReadClass,
        asked: &RefreshPath,
        by: Operator,
    ) -> Result<(), Refusal> {
        if class != ReadClass::Fresh {
            return Ok(());
        }
        let (mut answer, joined) = self.join_or_begin(asked, by.clone())?;
        if joined {
            // It began before this read, so it may have passed what changed since. Whatever becomes of it,
            // the next one begins after it.
            let _ = self.told(answer).await;
            answer = self.join_or_begin(asked, by)?.0;
        }
        let refreshed = self.told(answer).await?;
        if refreshed.complete && refreshed.errors == 0 {
            return Ok(());
        }
        let problem = format!(
            "{} directories or entries could not be read, so not all of the answer would be fresh",
            refreshed.errors
        );
        Err(Refusal::ScanFailed {
            view: asked.view.clone(),
            agent: refreshed.agent,
            problem,
            retry_after: RETRY,
        })
    }

    fn join_or_begin(
        &self,
        asked: &RefreshPath,
        by: Operator,
    ) -> Result<(watch::Receiver<Option<Answer>>, bool), Refusal> {
        let mut running = self.lock();
        if let Some(answer) = running.get(asked) {
            return Ok((answer.clone(), true));
        }
        if running.len() >= RUNNING {
            return Err(Refusal::QueueFull { queue: "refreshes".to_owned(), retry_after: RETRY });
        }
        let (told, answer) = watch::channel(None);
        running.insert(asked.clone(), answer.clone());
        drop(running);
        let (this, asked) = (self.clone(), asked.clone());
        self.shared.tasks.spawn("refresh", async move {
            let _entry = Entry { refreshes: this.clone(), asked: asked.clone() };
            let answer = this.run(&asked, &by).await;
            drop(_entry);
            told.send_replace(Some(answer));
        });
        Ok((answer, false))
    }

    async fn run(&self, asked: &RefreshPath, by: &Operator) -> Answer {
        let shared = &*self.shared;
        let view = shared.views.get(&asked.view)?;
        let session = shared.sessions.to_scan(&view, asked.agent.as_ref())?;
        let (begun, started_at) = (shared.clock.monotonic(), shared.clock.now());
        tracing::info!(
            view = %asked.view, path = %asked.path, agent = %session.agent,
            recursive = asked.recursive, "refresh"
        );
        let at = Lookout { view: &view, session: &session, by };
        let work = shared.jobs.refresh(asked, by, &session.agent);
        let on_progress = |progress| work.came_to(progress);
        let looked = shared.errands.look(&at, &asked.path, asked.recursive, &on_progress).await;
        work.ended(&looked);
        let figures = looked.map_err(|not_done| not_refreshed(not_done, &view, &session))?;
        let path = asked.path.clone();
        let settled = view.ask(move |view| is_settled(view, path.as_ref())).await;
        let settled = settled.map_err(|gone| shared.views.gone(view.name(), &gone))?;
        // Asked before the entry is read: the answer holds all up to the revision that it names.
        let status = shared.views.status(&view);
        let info = view.reader().entry(asked.path.as_ref());
        let totals = info.as_ref().and_then(|info| info.totals);
        let worth = worth(status, totals.and_then(|totals| totals.last_change));
        Ok(Refreshed {
            entry: info.map(|info| entry(asked.path.as_ref(), &info)),
            totals,
            directories: figures.directories,
            entries: figures.entries,
            errors: figures.errors,
            complete: figures.complete,
            settled,
            agent: session.agent,
            started_at,
            took: shared.clock.monotonic().since(begun),
            joined: false,
            freshness: freshness(worth),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Running> {
        self.shared.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A refresh among those under way; it leaves them however it ends.
struct Entry {
    refreshes: Refreshes,
    asked: RefreshPath,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.refreshes.lock().remove(&self.asked);
    }
}

fn not_refreshed(not_done: NotDone, view: &ViewHandle, session: &Session) -> Refusal {
    let problem = match not_done {
        NotDone::Refused(refusal) => return refusal,
        NotDone::Failed(why) => why,
        NotDone::Lost(why) => why.to_owned(),
    };
    let (view, agent) = (view.name().clone(), session.agent.clone());
    Refusal::ScanFailed { view, agent, problem, retry_after: RETRY }
}

/// Whether nothing is left open at a path: neither at itself, nor, if it is not there, at the nearest
/// directory above it.
fn is_settled(view: &View, path: PathRef<'_>) -> bool {
    let (reader, mut at) = (view.reader(), path);
    while reader.entry(at).is_none() {
        match at.split_last() {
            Some((above, _)) if !view.is_waiting(at) => at = above,
            _ => return false,
        }
    }
    !view.is_waiting(at)
}

fn freshness(worth: Worth) -> Freshness {
    let Worth { status, quiet_for } = worth;
    Freshness {
        state: status.state,
        reasons: status.reasons,
        revision: status.revision.0,
        watermark: Some(status.watermark),
        calibrated: status.calibrated,
        coverage: status.coverage,
        last_snapshot: status.last_snapshot,
        last_audit: status.last_audit,
        horizon: status.horizon,
        quiet_for,
    }
}
