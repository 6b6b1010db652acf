//! Doing the steps of jobs: who gets which, when, and what came of it.
//!
//! One task looks for steps that can be begun, the most urgent job first; each step is a task of its
//! own, so that one that hangs holds up no other. An agent that is lost hands its step on.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::time::Duration;

use fusion_core::evidence::Source;
use fusion_core::id::ViewName;
use fusion_core::job::{Job, JobState, Outcome, StepKind, StepSpec};
use fusion_core::path::TreePath;
use fusion_core::session::Session;
use fusion_proto::convert::session::command::Action;
use fusion_proto::status::Refusal;
use tokio::sync::watch;
use uuid::Uuid;

use super::queues::{Who, able};
use super::{Jobs, Table};
use crate::service::errands::{Figures, Lookout, NotDone, OnProgress};
use crate::task::view::{Operator, ViewHandle};

/// Steps under way at most, of all jobs, and of those in one view.
const RUNNING: usize = 64;
const RUNNING_IN_VIEW: usize = 4;
/// How long a step waits before it is looked at again if an agent has come.
pub(super) const LOOK: Duration = Duration::from_secs(1);
/// Between two looks for jobs that do not come further, or whose time is over.
const SWEEP: Duration = Duration::from_secs(60);
/// Suspects that one step looks at, at most, and how many one command names.
const SUSPECTS: usize = 10_000;
const NAMES: usize = 200;

/// A step that was given to an agent.
struct Given {
    job: Uuid,
    step: usize,
    spec: StepSpec,
    view: ViewHandle,
    session: Session,
    by: Operator,
    /// How the job is.
    told: watch::Receiver<Job>,
}

/// A look at the queues for what can be begun.
struct Round {
    /// Steps under way, of all jobs and of those in one view; those that this round gives out among them.
    at_work: usize,
    in_view: HashMap<ViewName, usize>,
    /// Who was looked for and is not there: not looked for again.
    absent: HashSet<Who>,
    given: Vec<Given>,
}

impl Round {
    fn is_full(&self) -> bool {
        self.at_work >= RUNNING
    }

    fn has_room(&self, view: &ViewName) -> bool {
        !self.is_full() && self.in_view.get(view).is_none_or(|taken| *taken < RUNNING_IN_VIEW)
    }

    fn took(&mut self, view: &ViewName) {
        self.at_work += 1;
        *self.in_view.entry(view.clone()).or_default() += 1;
    }
}

impl Jobs {
    /// Does jobs for as long as the server lives.
    pub(crate) async fn run(self) {
        let draining = self.shared.deps.draining.clone();
        let mut sweep_at = self.shared.deps.clock.monotonic();
        loop {
            for given in self.begin_ready() {
                let this = self.clone();
                self.shared.deps.tasks.spawn("job step", async move { this.give(given).await });
            }
            let now = self.shared.deps.clock.monotonic();
            if now >= sweep_at {
                self.end_stalled();
                self.sweep();
                sweep_at = now.plus(SWEEP);
            }
            tokio::select! {
                () = self.shared.news.notified() => {}
                () = tokio::time::sleep(LOOK) => {}
                () = draining.cancelled() => return,
            }
        }
    }

    /// Gives out what can be begun now, of the most urgent jobs first.
    fn begin_ready(&self) -> Vec<Given> {
        let mut table = self.lock();
        let in_view = table.queues.at_work().clone();
        let at_work = in_view.values().sum();
        let mut round = Round { at_work, in_view, absent: HashSet::new(), given: Vec::new() };
        let awaited = table.queues.awaited().filter(|(view, _)| round.has_room(view));
        let heads =
            awaited.filter_map(|who| Some(Reverse((table.queues.next(who, None)?, who.clone()))));
        let mut heads: BinaryHeap<_> = heads.collect();
        while let Some(Reverse((turn, who))) = heads.pop().filter(|_| !round.is_full()) {
            self.begin_job(&mut table, turn.2, &mut round);
            // Who is not there, or has enough to do, has no use for the rest of its queue.
            if round.has_room(&who.0) && !round.absent.contains(&who) {
                let next = table.queues.next(&who, Some(turn));
                heads.extend(next.map(|turn| Reverse((turn, who))));
            }
        }
        round.given
    }

    /// Gives out the steps of a job that can be begun now, as far as the round has room.
    fn begin_job(&self, table: &mut Table, job: Uuid, round: &mut Round) {
        let Some(told) = table.open.get(&job).map(watch::Sender::subscribe) else { return };
        let steps: Vec<usize> = told.borrow().ready().collect();
        for step in steps {
            let spec = told.borrow().steps[step].spec.clone();
            if !round.has_room(&spec.view) {
                continue;
            }
            let found = self.find_agent(&spec, &mut round.absent);
            let (view, session) = match found {
                Ok(Some(found)) => found,
                Ok(None) => continue,
                Err(why) => {
                    self.change_in(table, job, |job, now| job.give_up(step, &why, now));
                    continue;
                }
            };
            let agent = session.agent.clone();
            let begun = self.change_in(table, job, |job, now| {
                let begun = job.begin(step, &agent, now).is_ok();
                let (principal, correlation) = (&job.principal, Some(job.correlation.clone()));
                let principal = principal.as_str().to_owned();
                begun.then_some(Operator { principal, correlation, call: None })
            });
            if let Some((Some(by), _)) = begun {
                round.took(&spec.view);
                let told = told.clone();
                round.given.push(Given { job, step, spec, view, session, by, told });
            }
        }
    }

    /// An agent that can do a step now; `None` if there is none. `absent` are those that were looked for.
    ///
    /// # Errors
    /// There never will be one, and why.
    fn find_agent(
        &self,
        spec: &StepSpec,
        absent: &mut HashSet<Who>,
    ) -> Result<Option<(ViewHandle, Session)>, String> {
        let deps = &self.shared.deps;
        let view = deps.views.get(&spec.view).map_err(|refusal| refusal.to_string())?;
        for who in able(spec) {
            if absent.contains(&who) {
                continue;
            }
            if let Ok(session) = deps.sessions.to_scan(&view, who.1.as_ref()) {
                return Ok(Some((view, session)));
            }
            absent.insert(who);
        }
        Ok(None)
    }

    /// Has an agent do a step, and takes what came of it.
    async fn give(&self, given: Given) {
        let Given { job, step, session, .. } = &given;
        let (job, step, agent) = (*job, *step, &session.agent);
        let on_progress = |progress| {
            self.change(job, |job, now| job.advance(step, agent, progress, now));
        };
        let mut over = given.told.clone();
        let done = tokio::select! {
            biased;
            _ = over.wait_for(|job| job.state.is_end()) => return,
            done = self.perform(&given, &on_progress) => done,
        };
        let outcome = match done {
            Ok(figures) => figures.outcome(),
            Err(NotDone::Failed(why)) => Outcome::Failed { why },
            Err(NotDone::Lost(why)) => Outcome::Lost { why: why.to_owned() },
            // Left as it is under way: the next life begins it anew.
            Err(NotDone::Refused(_)) if self.shared.deps.draining.is_cancelled() => return,
            Err(NotDone::Refused(refusal)) if may_pass(&refusal) => {
                // What is in the way may be gone in a while.
                tokio::time::sleep(LOOK).await;
                Outcome::Lost { why: refusal.to_string() }
            }
            Err(NotDone::Refused(refusal)) => Outcome::Failed { why: refusal.to_string() },
        };
        self.change(job, |job, now| job.end_try(step, agent, outcome, now));
        self.shared.news.notify_one();
    }

    async fn perform(
        &self,
        given: &Given,
        on_progress: OnProgress<'_>,
    ) -> Result<Figures, NotDone> {
        let Given { spec, view, session, by, .. } = given;
        let (errands, at) = (&self.shared.deps.errands, Lookout { view, session, by });
        let whole = |source, audit_number| Action::Scan {
            path: TreePath::root(),
            source,
            recursive: true,
            audit_number,
        };
        match spec.kind {
            StepKind::Scan => errands.look(&at, &spec.path, spec.recursive, on_progress).await,
            StepKind::Snapshot => {
                errands.command(&at, whole(Source::Snapshot, None), on_progress).await
            }
            StepKind::Audit => {
                let number = Some(view.audit_number());
                errands.command(&at, whole(Source::Audit, number), on_progress).await
            }
            StepKind::ProbeSuspects => self.probe(&at, spec, on_progress).await,
        }
    }

    /// Looks at the suspects of a path, some at a time.
    async fn probe(
        &self,
        at: &Lookout<'_>,
        spec: &StepSpec,
        on_progress: OnProgress<'_>,
    ) -> Result<Figures, NotDone> {
        let path = spec.path.clone();
        let suspects = at.view.ask(move |view| {
            let suspects = view.suspects_within(path.as_ref(), None).take(SUSPECTS);
            suspects.map(|suspect| suspect.path.to_owned()).collect::<Vec<_>>()
        });
        let deps = &self.shared.deps;
        let names = suspects.await.map_err(|gone| deps.views.gone(at.view.name(), &gone))?;
        let mut figures = Figures { complete: true, ..Figures::default() };
        for (number, paths) in names.chunks(NAMES).enumerate() {
            // Of at most 100.
            on_progress((number * NAMES * 100 / names.len()) as u8);
            let action = Action::Probe { paths: paths.to_vec() };
            figures.add(deps.errands.command(at, action, &|_| ()).await?);
        }
        // Each was asked for by its name: what could not be looked at is among the errors.
        Ok(Figures { complete: true, ..figures })
    }

    fn end_stalled(&self) {
        let mut table = self.lock();
        let running = table.open.values().map(|told| told.borrow());
        let running = running.filter(|job| job.state == JobState::Running).map(|job| job.id);
        for job in running.collect::<Vec<_>>() {
            self.change_in(&mut table, job, |job, now| job.end_if_stalled(now));
        }
    }
}

/// Whether a refusal may be gone when the step is tried again.
fn may_pass(refusal: &Refusal) -> bool {
    matches!(
        refusal,
        Refusal::QueueFull { .. }
            | Refusal::QuotaExceeded { .. }
            | Refusal::StoreUnavailable { .. }
            | Refusal::ServerDraining { .. }
            | Refusal::ViewNotReady { .. }
    )
}
