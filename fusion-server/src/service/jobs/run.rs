//! Doing the steps of jobs: who gets which, when, and what came of it.
//!
//! One task looks for steps that can be begun, the most urgent job first; each step is a task of its
//! own, so that one that hangs holds up no other. An agent that is lost hands its step on.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use fusion_core::evidence::Source;
use fusion_core::id::ViewName;
use fusion_core::job::{Outcome, StepKind, StepSpec};
use fusion_core::path::TreePath;
use fusion_core::session::Session;
use fusion_proto::convert::session::command::Action;
use fusion_proto::status::Refusal;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Jobs;
use crate::service::errands::{Figures, Lookout, NotDone, OnProgress};
use crate::task::view::{Operator, ViewHandle};

/// Steps under way at most, of all jobs, and of those in one view.
const RUNNING: usize = 64;
const RUNNING_IN_VIEW: usize = 4;
/// How long a step waits before it is looked at again if an agent has come.
const LOOK: Duration = Duration::from_secs(1);
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
    over: CancellationToken,
}

impl Jobs {
    /// Does jobs for as long as the server lives.
    pub(crate) async fn run(self) {
        let draining = self.shared.deps.draining.clone();
        loop {
            for given in self.begin_ready() {
                let this = self.clone();
                self.shared.deps.tasks.spawn("job step", async move { this.give(given).await });
            }
            self.end_stalled();
            self.sweep();
            self.measure();
            tokio::select! {
                () = self.shared.news.notified() => {}
                () = tokio::time::sleep(LOOK) => {}
                () = draining.cancelled() => return,
            }
        }
    }

    /// Gives out what can be begun now.
    fn begin_ready(&self) -> Vec<Given> {
        let (mut at_work, mut in_view) = (0, HashMap::<ViewName, usize>::new());
        let mut waiting = Vec::new();
        {
            let table = self.lock();
            for open in table.open.values() {
                for (step, _) in open.job.at_work() {
                    at_work += 1;
                    *in_view.entry(open.job.steps[step].spec.view.clone()).or_default() += 1;
                }
                if open.job.ready().next().is_some() {
                    let urgency = (-i64::from(open.job.priority), open.job.created_at);
                    waiting.push((urgency, open.job.id));
                }
            }
        }
        waiting.sort_unstable();
        let (mut given, mut leaderless) = (Vec::new(), HashSet::new());
        for (_, job) in waiting {
            for step in self.ready(job) {
                if at_work >= RUNNING {
                    return given;
                }
                let view = step.1.view.clone();
                let taken = in_view.entry(view.clone()).or_default();
                if *taken >= RUNNING_IN_VIEW || leaderless.contains(&view) {
                    continue;
                }
                if let Some(step) = self.begin(job, step, &mut leaderless) {
                    given.push(step);
                    (at_work, *taken) = (at_work + 1, *taken + 1);
                }
            }
        }
        given
    }

    fn ready(&self, job: Uuid) -> Vec<(usize, StepSpec)> {
        let table = self.lock();
        let Some(open) = table.open.get(&job) else { return Vec::new() };
        open.job.ready().map(|step| (step, open.job.steps[step].spec.clone())).collect()
    }

    /// Gives a step to an agent that can do it; `None` if there is none now, or never will be.
    fn begin(
        &self,
        job: Uuid,
        (step, spec): (usize, StepSpec),
        leaderless: &mut HashSet<ViewName>,
    ) -> Option<Given> {
        let deps = &self.shared.deps;
        let view = match deps.views.get(&spec.view) {
            Ok(view) => view,
            Err(refusal) => {
                self.change(job, |job, now| job.give_up(step, &refusal.to_string(), now));
                return None;
            }
        };
        let named = |agent| deps.sessions.to_scan(&view, Some(agent)).ok();
        let session = if spec.agents.is_empty() {
            deps.sessions.to_scan(&view, None).ok()
        } else {
            spec.agents.iter().find_map(named)
        };
        let Some(session) = session else {
            if spec.agents.is_empty() {
                leaderless.insert(spec.view);
            }
            return None;
        };
        let over = self.lock().open.get(&job).map(|open| open.over.clone())?;
        let begun = self.change(job, |job, now| {
            let begun = job.begin(step, &session.agent, now).is_ok();
            let by = Operator {
                principal: job.principal.as_str().to_owned(),
                correlation: Some(job.correlation.clone()),
            };
            begun.then_some(by)
        });
        let (by, _) = begun?;
        Some(Given { job, step, spec, view, session, by: by?, over })
    }

    /// Has an agent do a step, and takes what came of it.
    async fn give(&self, given: Given) {
        let Given { job, step, session, over, .. } = &given;
        let (job, step, agent) = (*job, *step, &session.agent);
        let on_progress = |progress| {
            self.change(job, |job, now| job.advance(step, agent, progress, now));
        };
        let done = tokio::select! {
            biased;
            () = over.cancelled() => return,
            done = self.perform(&given, &on_progress) => done,
        };
        let outcome = match done {
            Ok(Figures { entries, errors, .. }) => Outcome::Done { entries, errors },
            Err(NotDone::Failed(why)) => Outcome::Failed { why },
            Err(NotDone::Lost(why)) => Outcome::Lost { why: why.to_owned() },
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
        let names = suspects.await.map_err(|gone| deps.views.gone(&gone))?;
        let mut figures = Figures { complete: true, ..Figures::default() };
        for (number, paths) in names.chunks(NAMES).enumerate() {
            // Of at most 100.
            on_progress((number * NAMES * 100 / names.len()) as u8);
            let action = Action::Probe { paths: paths.to_vec() };
            figures.add(deps.errands.command(at, action, &|_| ()).await?);
        }
        Ok(figures)
    }

    fn end_stalled(&self) {
        let open: Vec<Uuid> = self.lock().open.keys().copied().collect();
        for job in open {
            self.change(job, |job, now| job.end_if_stalled(now));
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
