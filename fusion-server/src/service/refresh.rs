//! Refreshing a path: an agent scans it now, and all that it found is part of the view, and durable,
//! before anybody is told.
//!
//! Owns the refreshes under way, by what was asked for: who asks for the same meanwhile waits for the
//! same. Each runs as a task of its own, so that a caller that leaves stops nobody. Must never: answer
//! from what is known in place of a scan that was not made; every way in which it can fail is a
//! refusal that says so.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fusion_core::evidence::Source;
use fusion_core::id::CorrelationId;
use fusion_core::path::{PathRef, TreePath};
use fusion_core::session::Session;
use fusion_core::stat::Kind;
use fusion_core::time::Clock;
use fusion_core::view::View;
use fusion_proto::convert::session::command::{Action, Command};
use fusion_proto::convert::session::result::ResultValue;
use fusion_proto::convert::view::{Freshness, ReadClass, RefreshPath, Refreshed};
use fusion_proto::status::Refusal;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::lists::entry;
use super::sessions::{DRAINING_RETRY, Sessions};
use super::views::{Views, Worth, worth};
use crate::ids::Ids;
use crate::spawn::Tasks;
use crate::task::view::{ErrandEnd, Operation, Operator, Outcome, ViewHandle};

/// Refreshes under way at most, over all views.
const RUNNING: usize = 256;
/// Between two looks whether an agent has fallen silent.
const LOOK: Duration = Duration::from_secs(5);
/// When to ask again.
const RETRY: Duration = Duration::from_secs(5);

/// What an agent reports of a scan.
type Reported = BTreeMap<String, ResultValue>;
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
    ids: Arc<dyn Ids>,
    tasks: Tasks,
    draining: CancellationToken,
    /// Locked to look up, insert or remove; nothing is locked under it.
    running: Mutex<Running>,
}

/// What a scan came to.
#[derive(Debug, Clone, Copy, Default)]
struct Figures {
    complete: bool,
    directories: u64,
    entries: u64,
    errors: u64,
}

impl Refreshes {
    pub(crate) fn new(
        views: Views,
        sessions: Sessions,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn Ids>,
        tasks: Tasks,
        draining: CancellationToken,
    ) -> Self {
        let running = Mutex::default();
        let shared = Shared { views, sessions, clock, ids, tasks, draining, running };
        Self { shared: Arc::new(shared) }
    }

    /// Scans a path, or waits for the one that does.
    pub(crate) async fn refresh(&self, asked: &RefreshPath, by: Operator) -> Answer {
        let (mut answer, joined) = self.join_or_begin(asked, by)?;
        let told = tokio::select! {
            told = answer.wait_for(Option::is_some) => told.ok().and_then(|told| told.clone()),
            () = self.shared.draining.cancelled() => None,
        };
        // Without an answer the server is going down, and its tasks with it.
        let draining = || Err(Refusal::ServerDraining { retry_after: DRAINING_RETRY });
        told.unwrap_or_else(draining).map(|refreshed| Refreshed { joined, ..refreshed })
    }

    /// For a read of a class: if it demands FRESH, the leader scans the path first, and all of it.
    pub(crate) async fn before_read(
        &self,
        class: ReadClass,
        asked: &RefreshPath,
        by: Operator,
    ) -> Result<(), Refusal> {
        if class != ReadClass::Fresh {
            return Ok(());
        }
        let refreshed = self.refresh(asked, by).await?;
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
        let mut figures = Figures { complete: true, ..Figures::default() };
        if self.find_the_way(&view, &session, asked.path.as_ref(), by, &mut figures).await? {
            figures.add(self.scan(&view, &session, &asked.path, asked.recursive, by).await?);
        }
        let path = asked.path.clone();
        let settled = view.ask(move |view| is_settled(view, path.as_ref())).await;
        let settled = settled.map_err(|gone| shared.views.gone(&gone))?;
        let info = view.reader().entry(asked.path.as_ref());
        let totals = info.as_ref().and_then(|info| info.totals);
        let status = shared.views.status(&view);
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

    /// Lists the directories above a path that the view does not know, from above. Whether all are
    /// there by now.
    async fn find_the_way(
        &self,
        view: &ViewHandle,
        session: &Session,
        path: PathRef<'_>,
        by: &Operator,
        figures: &mut Figures,
    ) -> Result<bool, Refusal> {
        let is_dir = |dir: &TreePath| {
            let info = view.reader().entry(dir.as_ref());
            info.is_some_and(|info| info.stat.kind == Kind::Directory)
        };
        let mut dir = TreePath::root();
        for name in path.split_last().into_iter().flat_map(|(above, _)| above.names()) {
            let Ok(next) = dir.join(name) else { return Ok(false) };
            dir = next;
            if !is_dir(&dir) {
                figures.add(self.scan(view, session, &dir, false, by).await?);
                if !is_dir(&dir) {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// One scan by a session, from its command to the last of its evidence.
    async fn scan(
        &self,
        view: &ViewHandle,
        session: &Session,
        path: &TreePath,
        recursive: bool,
        by: &Operator,
    ) -> Result<Figures, Refusal> {
        let views = &self.shared.views;
        let assign = Operation::AssignScan(session.id, path.clone());
        views.operate(view, assign, by.clone()).await?;
        let end = self.errand(view, session, path, recursive, by).await;
        // Whatever became of it: what is not given cannot be told any more.
        let withdraw = Operation::WithdrawScan(session.id, path.clone());
        let withdrawn = views.operate(view, withdraw, by.clone()).await?;
        let problem = match end? {
            ErrandEnd::Done(result) if withdrawn.outcome == (Outcome::Scan { taken: true }) => {
                match start_of(&result) {
                    "left_out" => "it leaves this directory out".into(),
                    start => return Ok(Figures::of(&result, start)),
                }
            }
            ErrandEnd::Done(_) => "what it told was not taken: its root is away or in doubt".into(),
            ErrandEnd::Failed(why) => why,
            ErrandEnd::Lapsed => "it was not heard of for too long".into(),
            ErrandEnd::SessionOver => "its session is over".into(),
        };
        Err(Refusal::ScanFailed {
            view: view.name().clone(),
            agent: session.agent.clone(),
            problem,
            retry_after: RETRY,
        })
    }

    async fn errand(
        &self,
        view: &ViewHandle,
        session: &Session,
        path: &TreePath,
        recursive: bool,
        by: &Operator,
    ) -> Result<ErrandEnd, Refusal> {
        let shared = &*self.shared;
        let (path, source, audit_number) = (path.clone(), Source::OnDemand, None);
        let id = shared.ids.draw();
        let own = || CorrelationId::new(&id.to_string()).ok();
        let command = Command {
            id,
            lease: shared.ids.draw().to_string(),
            correlation: by.correlation.clone().or_else(own),
            traceparent: String::new(),
            action: Action::Scan { path, source, recursive, audit_number },
        };
        let desk = view.commands();
        let full = || Refusal::QueueFull { queue: "errands".to_owned(), retry_after: RETRY };
        let sent = desk.send(session.id, command, shared.clock.monotonic());
        let mut end = sent.ok_or_else(full)?;
        // It may have ended before it could be told of the errand.
        if shared.sessions.check(session.id).is_err() {
            desk.session_over(session.id);
        }
        loop {
            tokio::select! {
                // The sender goes only with the desk, and that with its view.
                end = &mut end => return Ok(end.unwrap_or(ErrandEnd::SessionOver)),
                () = tokio::time::sleep(LOOK) => desk.lapse_errands(shared.clock.monotonic()),
            }
        }
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

impl Figures {
    fn of(result: &Reported, start: &str) -> Self {
        let number = |name: &str| match result.get(name) {
            Some(ResultValue::Number(number)) if *number >= 0.0 => *number as u64,
            _ => 0,
        };
        let errors = number("errors");
        // What is no directory was looked at by its name: then there is nothing to list.
        let looked = start == "no_directory" && errors == 0;
        Self {
            complete: looked || result.get("complete") == Some(&ResultValue::Bool(true)),
            directories: number("directories"),
            entries: number("entries"),
            errors,
        }
    }

    fn add(&mut self, other: Self) {
        self.complete &= other.complete;
        self.directories += other.directories;
        self.entries += other.entries;
        self.errors += other.errors;
    }
}

/// What the agent found where it began; empty if it does not say.
fn start_of(result: &Reported) -> &str {
    match result.get("start") {
        Some(ResultValue::Text(start)) => start,
        _ => "",
    }
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
