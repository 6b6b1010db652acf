//! Work that is done anyway, listed as jobs: refreshes, and scans of the whole tree that the server or an agent
//! wants.
//!
//! Such a job is watched and never given out: it begins when the work is under way, its end is that of the
//! work, and whatever becomes of it here, nothing is done again. It is written with what is written next; a
//! scan that goes on over a restart has the same id, so its job does. Of each view those of the last
//! [`KEPT`] works are kept, so that neither a script that refreshes nor an agent that scans without end
//! fills the store.

use std::collections::HashMap;

use fusion_core::evidence::Source;
use fusion_core::id::{AgentId, CorrelationId, ViewName};
use fusion_core::job::{Job, JobOrigin, NewJob, Outcome, Plan, StepKind, StepSpec};
use fusion_core::path::PathRef;
use fusion_core::session::Principal;
use fusion_core::time::ServerTime;
use fusion_proto::convert::view::RefreshPath;
use fusion_store::Space;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::run::LOOK;
use super::{Jobs, Table, place};
use crate::service::errands::{Figures, NotDone};
use crate::task::view::{Operator, ScanEnd, ScanNews, WholeScan};

/// Jobs of a view that were only watched and are over, at most.
const KEPT: usize = 1_000;
/// The name of the one step.
const STEP: &str = "only";

/// A refresh under way, to be told of. Dropped before it ended it was cut off.
pub(crate) struct Work<'a> {
    jobs: &'a Jobs,
    id: Uuid,
    agent: AgentId,
}

impl Work<'_> {
    /// How far it is, 0 to 100.
    pub(crate) fn came_to(&self, progress: u8) {
        self.jobs.change(self.id, |job, now| job.advance(0, &self.agent, progress, now));
    }

    /// What came of it.
    pub(crate) fn ended(self, looked: &Result<Figures, NotDone>) {
        self.end(match looked {
            Ok(figures) => figures.outcome(),
            Err(NotDone::Failed(why)) => Outcome::Failed { why: why.clone() },
            Err(NotDone::Lost(why)) => Outcome::Lost { why: (*why).to_owned() },
            Err(NotDone::Refused(refusal)) => Outcome::Failed { why: refusal.to_string() },
        });
    }

    fn end(&self, outcome: Outcome) {
        self.jobs.change(self.id, |job, now| job.end_try(0, &self.agent, outcome, now));
    }
}

impl Drop for Work<'_> {
    fn drop(&mut self) {
        // What has ended does not end again.
        self.end(Outcome::Lost { why: "it was cut off".to_owned() });
    }
}

impl Jobs {
    /// A refresh begins.
    pub(crate) fn refresh(&self, asked: &RefreshPath, by: &Operator, agent: &AgentId) -> Work<'_> {
        let deps = &self.shared.deps;
        let id = deps.ids.draw();
        let spec = StepSpec {
            id: STEP.to_owned(),
            kind: StepKind::Scan,
            view: asked.view.clone(),
            path: asked.path.clone(),
            recursive: asked.recursive,
            agents: asked.agent.iter().cloned().collect(),
            depends_on: Vec::new(),
        };
        let principal = Principal::new(&by.principal);
        let new = new_job(id, spec, principal, by.correlation.clone());
        if let Some(new) = new {
            let job = Job::observed(new, JobOrigin::Refresh, agent, deps.clock.now());
            self.watch(&mut self.lock(), job);
        }
        Work { jobs: self, id, agent: agent.clone() }
    }

    /// Lists scans of whole trees for as long as the server lives.
    pub(crate) async fn observe(self, mut news: mpsc::UnboundedReceiver<ScanNews>) {
        let mut running: HashMap<Uuid, WholeScan> = HashMap::new();
        loop {
            tokio::select! {
                told = news.recv() => match told {
                    Some(told) => self.take(told, &mut running),
                    None => return,
                },
                () = tokio::time::sleep(LOOK), if !running.is_empty() => {
                    running.values().for_each(|scan| self.look_at(scan));
                }
            }
        }
    }

    fn take(&self, told: ScanNews, running: &mut HashMap<Uuid, WholeScan>) {
        let table = &mut *self.lock();
        match told {
            ScanNews::Running(view, scans) => {
                running.retain(|_, scan| scan.view != view);
                self.end_all_but(table, &view, &scans);
                let known = scans.into_iter().filter(|scan| table.open.contains_key(&scan.id));
                running.extend(known.map(|scan| (scan.id, scan)));
            }
            ScanNews::Began(scan) => {
                self.begun(table, &scan);
                running.insert(scan.id, scan);
            }
            ScanNews::Ended(scan, end) => {
                running.remove(&scan.id);
                self.begun(table, &scan);
                let outcome = outcome_of(end);
                let agent = &scan.scan.agent;
                self.change_in(table, scan.id, |job, now| job.end_try(0, agent, outcome, now));
            }
        }
    }

    /// Lists a scan, unless it was listed before.
    fn begun(&self, table: &mut Table, scan: &WholeScan) {
        let is_audit = scan.scan.source == Source::Audit;
        let spec = StepSpec {
            id: STEP.to_owned(),
            kind: if is_audit { StepKind::Audit } else { StepKind::Snapshot },
            view: scan.view.clone(),
            path: scan.scan.path.clone(),
            recursive: true,
            agents: Vec::new(),
            depends_on: Vec::new(),
        };
        let origin = if scan.is_ordered { JobOrigin::Server } else { JobOrigin::Agent };
        let new = new_job(scan.id, spec, Principal::new(""), scan.correlation.clone());
        let Some(new) = new else { return };
        let job = Job::observed(new, origin, &scan.scan.agent, scan.scan.started_at);
        if !table.list.contains_key(&place(&job)) {
            self.watch(table, job);
        }
    }

    fn watch(&self, table: &mut Table, job: Job) {
        self.save(&job);
        table.add(job);
    }

    /// How far a scan is, as its agent last said.
    fn look_at(&self, scan: &WholeScan) {
        let WholeScan { id, view, scan, .. } = scan;
        let deps = &self.shared.deps;
        let said = deps.sessions.scan_of(scan.session);
        let Some(said) = said.filter(|said| said.source == scan.source) else { return };
        let view = deps.views.get(view).ok();
        let totals = view.and_then(|view| view.reader().totals(PathRef::ROOT).ok());
        // The first scan is what makes directories known: of how many it is not known before.
        let known = totals.filter(|_| scan.source == Source::Audit);
        let known = known.map_or(0, |totals| totals.directories);
        let share = said.directories.saturating_mul(100).checked_div(known).unwrap_or(0);
        // Whole is what was told to be.
        let progress = share.min(99) as u8;
        let so_far = (said.entries, said.errors);
        self.change(*id, |job, now| job.observe(&scan.agent, progress, so_far, now));
    }

    /// Ends what was watched of scans that do not run any more.
    fn end_all_but(&self, table: &mut Table, view: &ViewName, scans: &[WholeScan]) {
        let open = table.open.values().map(|told| told.borrow()).filter(|job| {
            is_of_scan(job)
                && job.steps[0].spec.view == *view
                && scans.iter().all(|scan| scan.id != job.id)
        });
        for id in open.map(|job| job.id).collect::<Vec<_>>() {
            self.change_in(table, id, end_with_server);
        }
    }

    /// Whether a job of an earlier life of the server may still be under way: its view says so.
    pub(super) fn goes_on(&self, job: &Job) -> bool {
        is_of_scan(job) && self.shared.deps.views.get(&job.steps[0].spec.view).is_ok()
    }

    /// One that was only watched is over: the oldest of its view gives way.
    pub(super) fn keep_watched(&self, table: &mut Table, job: &Job) {
        let places = table.watched.entry(job.steps[0].spec.view.clone()).or_default();
        // Most come in order.
        let at = places.partition_point(|before| *before > place(job));
        places.insert(at, place(job));
        if places.len() <= KEPT {
            return;
        }
        let Some(oldest) = places.pop_front() else { return };
        table.list.remove(&oldest);
        let (_, id) = oldest;
        // Gone by any clock, also by that of a server that begins anew with an earlier one.
        let gone = Some(ServerTime::default());
        self.shared.deps.saver.put(Space::Job, id.as_bytes().to_vec(), Vec::new(), gone);
    }
}

/// Whether a job is a scan that was only watched. Those have one step.
fn is_of_scan(job: &Job) -> bool {
    matches!(job.origin, JobOrigin::Server | JobOrigin::Agent)
}

fn end_with_server(job: &mut Job, now: ServerTime) {
    let agents: Vec<_> = job.at_work().map(|(step, agent)| (step, agent.clone())).collect();
    for (step, agent) in agents {
        let why = "it did not go on when the server was restarted".to_owned();
        job.end_try(step, &agent, Outcome::Lost { why }, now);
    }
}

fn outcome_of(end: ScanEnd) -> Outcome {
    match end {
        ScanEnd::Whole(said) => Outcome::Done { entries: said.entries, errors: said.errors },
        ScanEnd::CutOff => {
            Outcome::Failed { why: "its agent ended it before it was whole".to_owned() }
        }
        ScanEnd::Lost => {
            Outcome::Lost { why: "its agent is gone, or does not lead any more".to_owned() }
        }
    }
}

/// What a job of one step is made of; without a chain of somebody's it is its own.
fn new_job(
    id: Uuid,
    spec: StepSpec,
    principal: Principal,
    correlation: Option<CorrelationId>,
) -> Option<NewJob> {
    let correlation = correlation.or_else(|| CorrelationId::new(&id.to_string()).ok())?;
    let plan = Plan::new(vec![spec]).ok()?;
    Some(NewJob { id, principal, correlation, priority: 0, plan })
}
