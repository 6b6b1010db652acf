//! Jobs: long work as a plan of steps, and what came of it.
//!
//! Owns the rules of a job: which states follow which, when a step can be begun, what a late or lost
//! agent means, when it is over and how. Called by the server's job service, which keeps, runs and
//! tells jobs. Must never: read a clock, or change without a new version. Tested by properties in
//! `job/tests.rs`.

mod origin;
mod plan;
mod state;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::time::Duration;

use uuid::Uuid;

use crate::id::{AgentId, CorrelationId};
use crate::session::Principal;
use crate::time::ServerTime;

pub use origin::JobOrigin;
pub use plan::{Plan, PlanError, STEP_AGENTS_MAX, STEP_ID_MAX, STEPS_MAX, StepKind, StepSpec};
pub use state::{IllegalTransition, JobState, StepState};

/// A running job that did not come further for so long is over.
pub const STALLED_AFTER: Duration = Duration::from_secs(30 * 60);
/// Results that a step keeps: one for each agent that tried it, the last ones if there are more.
pub const RESULTS_MAX: usize = 16;
/// Longest reason in bytes that is kept; longer ones are cut short.
pub const WHY_MAX: usize = 512;

/// A job.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Its id.
    pub id: Uuid,
    /// Whose wish it is, and so who has it done.
    pub origin: JobOrigin,
    /// Who asked for it; empty if it is nobody's wish.
    pub principal: Principal,
    /// The chain that it belongs to.
    pub correlation: CorrelationId,
    /// The job of which it does again what did not complete.
    pub retry_of: Option<Uuid>,
    /// Of jobs that wait, those with the larger number go first.
    pub priority: i32,
    /// Where it is.
    pub state: JobState,
    /// Counts its changes, from 1.
    pub version: u64,
    /// When it was asked for.
    pub created_at: ServerTime,
    /// When its first step was begun.
    pub started_at: Option<ServerTime>,
    /// When it changed last.
    pub updated_at: ServerTime,
    /// When it last came further: a step was begun for the first time, or advanced, or ended.
    pub progressed_at: ServerTime,
    /// When it was over.
    pub ended_at: Option<ServerTime>,
    /// Why it is over, if it is not complete.
    pub why: String,
    /// 0 to 100; never goes back.
    pub progress: u8,
    /// Its steps, as in the plan.
    pub steps: Vec<Step>,
}

/// A step, and how far it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// What it is.
    pub spec: StepSpec,
    /// Where it is.
    pub state: StepState,
    /// 0 to 100; never goes back.
    pub progress: u8,
    /// What came of it, for each agent that tried.
    pub results: Vec<AgentResult>,
}

/// What an agent made of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentResult {
    /// Who.
    pub agent: AgentId,
    /// Running, complete, failed, or skipped if it was taken from it.
    pub state: StepState,
    /// Entries that it looked at, if it said so.
    pub entries: u64,
    /// What it could not look at.
    pub errors: u64,
    /// When it was given the step.
    pub started_at: ServerTime,
    /// When it was over.
    pub ended_at: Option<ServerTime>,
    /// Why it failed.
    pub why: String,
}

/// How a try ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Done {
        /// Entries that were looked at.
        entries: u64,
        /// What could not be looked at.
        errors: u64,
    },
    /// It was done in part: not all of it was looked at.
    Partial {
        /// Entries that were looked at.
        entries: u64,
        /// What could not be looked at.
        errors: u64,
        /// What is missing.
        why: String,
    },
    /// It cannot be done.
    Failed {
        /// Why.
        why: String,
    },
    /// The agent was lost: another one may do it.
    Lost {
        /// How.
        why: String,
    },
}

/// What a job is made of.
#[derive(Debug, Clone)]
pub struct NewJob {
    /// Its id.
    pub id: Uuid,
    /// Who asks for it.
    pub principal: Principal,
    /// The chain that it belongs to.
    pub correlation: CorrelationId,
    /// Of jobs that wait, those with the larger number go first.
    pub priority: i32,
    /// What to do.
    pub plan: Plan,
}

impl Job {
    /// A job that waits.
    #[must_use]
    pub fn new(new: NewJob, now: ServerTime) -> Self {
        let NewJob { id, principal, correlation, priority, plan } = new;
        let step =
            |spec| Step { spec, state: StepState::Waiting, progress: 0, results: Vec::new() };
        Self {
            id,
            origin: JobOrigin::Request,
            principal,
            correlation,
            retry_of: None,
            priority,
            state: JobState::Pending,
            version: 1,
            created_at: now,
            started_at: None,
            updated_at: now,
            progressed_at: now,
            ended_at: None,
            why: String::new(),
            progress: 0,
            steps: plan.into_steps().into_iter().map(step).collect(),
        }
    }

    /// Work of one step that an agent is at by now, for somebody else than the jobs' own dispatch: it is
    /// only watched, and never given out.
    #[must_use]
    pub fn observed(new: NewJob, origin: JobOrigin, agent: &AgentId, now: ServerTime) -> Self {
        let mut job = Self::new(new, now);
        // A new job is not over, and its first step waits for nothing.
        let _ = job.begin(0, agent, now);
        job.origin = origin;
        job
    }

    /// How far observed work is, and what it has looked at so far. Whether it changed anything.
    pub fn observe(
        &mut self,
        agent: &AgentId,
        progress: u8,
        (entries, errors): (u64, u64),
        now: ServerTime,
    ) -> bool {
        let Some(step) = self.running(0, agent) else { return false };
        let progress = progress.min(100).max(step.progress);
        let Some(result) = step.results.last_mut() else { return false };
        if (progress, entries, errors) == (step.progress, result.entries, result.errors) {
            return false;
        }
        (result.entries, result.errors, step.progress) = (entries, errors, progress);
        self.progressed_at = now;
        self.changed(now);
        true
    }

    /// The server was away, and has the job again: its silence begins now.
    pub fn taken_back(&mut self, now: ServerTime) {
        if self.state == JobState::Running {
            // Also where the clock went back meanwhile.
            self.progressed_at = now;
            self.changed(now);
        }
    }

    /// Steps that can be begun: nothing that they wait for is open.
    pub fn ready(&self) -> impl Iterator<Item = usize> + '_ {
        let complete = self.steps.iter().filter(|step| step.state == StepState::Complete);
        let complete: HashSet<&str> = complete.map(|step| step.spec.id.as_str()).collect();
        let is_ready = move |step: &Step| {
            let mut before = step.spec.depends_on.iter();
            step.state == StepState::Waiting && before.all(|id| complete.contains(id.as_str()))
        };
        let is_ours = !self.state.is_end() && self.origin.is_given_out();
        let steps = self.steps.iter().enumerate().filter(move |_| is_ours);
        steps.filter(move |(_, step)| is_ready(step)).map(|(at, _)| at)
    }

    /// An agent is given a step.
    ///
    /// # Errors
    /// The job is over. Nothing happens if the step is not one of [`Job::ready`].
    pub fn begin(
        &mut self,
        step: usize,
        agent: &AgentId,
        now: ServerTime,
    ) -> Result<(), IllegalTransition> {
        if self.state.is_end() {
            self.state.go(JobState::Running)?;
        }
        if !self.ready().any(|ready| ready == step) {
            return Ok(());
        }
        if self.state == JobState::Pending {
            self.state = self.state.go(JobState::Running)?;
            self.started_at = Some(now);
        }
        let step = &mut self.steps[step];
        if step.results.is_empty() {
            self.progressed_at = now;
        }
        step.state = StepState::Running;
        if step.results.len() == RESULTS_MAX {
            step.results.remove(0);
        }
        step.results.push(AgentResult {
            agent: agent.clone(),
            state: StepState::Running,
            entries: 0,
            errors: 0,
            started_at: now,
            ended_at: None,
            why: String::new(),
        });
        self.changed(now);
        Ok(())
    }

    /// The agent that has a step says how far it is; from any other, or with less than was said before,
    /// it changes nothing. Whether it changed anything.
    pub fn advance(&mut self, step: usize, agent: &AgentId, progress: u8, now: ServerTime) -> bool {
        let Some(step) = self.running(step, agent) else { return false };
        let progress = progress.min(100);
        if progress <= step.progress {
            return false;
        }
        step.progress = progress;
        self.progressed_at = now;
        self.changed(now);
        true
    }

    /// The try of an agent is over; from who does not have the step, it changes nothing: the late
    /// result of an agent whose lease had lapsed. Whether it was taken.
    pub fn end_try(
        &mut self,
        step: usize,
        agent: &AgentId,
        outcome: Outcome,
        now: ServerTime,
    ) -> bool {
        let outcome = match outcome {
            // Who watches does not hand on.
            Outcome::Lost { why } if !self.origin.is_given_out() => Outcome::Failed { why },
            outcome => outcome,
        };
        let came_further = !matches!(outcome, Outcome::Lost { .. });
        let Some(step) = self.running(step, agent) else { return false };
        let (state, of_try, entries, errors, why) = match outcome {
            Outcome::Done { entries, errors } => {
                step.progress = 100;
                (StepState::Complete, StepState::Complete, entries, errors, String::new())
            }
            Outcome::Partial { entries, errors, why } => {
                (StepState::Failed, StepState::Failed, entries, errors, why)
            }
            Outcome::Failed { why } => (StepState::Failed, StepState::Failed, 0, 0, why),
            Outcome::Lost { why } => (StepState::Waiting, StepState::Skipped, 0, 0, why),
        };
        step.state = state;
        if let Some(result) = step.results.last_mut() {
            (result.state, result.entries, result.errors) = (of_try, entries, errors);
            (result.ended_at, result.why) = (Some(now), cut(why));
        }
        if came_further {
            self.progressed_at = now;
        }
        self.changed(now);
        self.settle(now);
        true
    }

    /// A step that waits cannot be done by anybody: there is no such view, or no agent that may have it.
    pub fn give_up(&mut self, step: usize, why: &str, now: ServerTime) {
        let waiting = |step: &&mut Step| step.state == StepState::Waiting;
        let Some(given_up) = self.steps.get_mut(step).filter(waiting) else { return };
        given_up.state = StepState::Failed;
        if self.why.is_empty() {
            self.why = cut(format!("step {}: {why}", given_up.spec.id));
        }
        self.changed(now);
        self.settle(now);
    }

    /// Somebody calls the job off.
    ///
    /// # Errors
    /// It is over already; or nobody made it as a job, so that it cannot be called off here.
    pub fn cancel(&mut self, now: ServerTime) -> Result<(), IllegalTransition> {
        if !self.origin.is_given_out() {
            return Err(IllegalTransition { from: self.state, to: JobState::Cancelled });
        }
        let state = self.state.go(JobState::Cancelled)?;
        self.end(state, "it was cancelled", now);
        Ok(())
    }

    /// Ends a running job that did not come further for [`STALLED_AFTER`]. Whether it did. What is only
    /// watched ends when it does.
    pub fn end_if_stalled(&mut self, now: ServerTime) -> bool {
        let stalled = self.state == JobState::Running
            && self.origin.is_given_out()
            && now.since(self.progressed_at) >= STALLED_AFTER;
        if stalled {
            self.end(self.failure(), "it did not come further for 30 minutes", now);
        }
        stalled
    }

    /// A new job of the steps that did not complete, for the same reason; `None` if all did, or if this
    /// one is not over.
    #[must_use]
    pub fn retry(&self, id: Uuid, principal: Principal, now: ServerTime) -> Option<Self> {
        if !self.state.is_end() {
            return None;
        }
        let left: Vec<&Step> =
            self.steps.iter().filter(|step| step.state != StepState::Complete).collect();
        let is_left = |id: &String| left.iter().any(|step| step.spec.id == *id);
        let specs = left.iter().map(|step| {
            let depends_on = step.spec.depends_on.iter().filter(|id| is_left(id)).cloned();
            StepSpec { depends_on: depends_on.collect(), ..step.spec.clone() }
        });
        let plan = Plan::new(specs.collect()).ok()?;
        let (correlation, priority) = (self.correlation.clone(), self.priority);
        let job = Self::new(NewJob { id, principal, correlation, priority, plan }, now);
        Some(Self { retry_of: Some(self.id), ..job })
    }

    /// The agents that do a step now.
    pub fn at_work(&self) -> impl Iterator<Item = (usize, &AgentId)> {
        let running = self.steps.iter().enumerate();
        running
            .filter(|(_, step)| step.state == StepState::Running)
            .filter_map(|(at, step)| step.results.last().map(|result| (at, &result.agent)))
    }

    fn running(&mut self, step: usize, agent: &AgentId) -> Option<&mut Step> {
        if self.state != JobState::Running {
            return None;
        }
        let step = self.steps.get_mut(step)?;
        let has_it = step.results.last().is_some_and(|result| result.agent == *agent);
        (step.state == StepState::Running && has_it).then_some(step)
    }

    fn changed(&mut self, now: ServerTime) {
        self.version += 1;
        self.updated_at = self.updated_at.max(now);
        let sum: usize = self.steps.iter().map(|step| usize::from(step.progress)).sum();
        // Of at most 1,000 steps, each at most 100: the quotient fits.
        self.progress = self.progress.max((sum / self.steps.len().max(1)) as u8);
    }

    /// Skips what can never be begun, and ends a job of which nothing is left to do.
    fn settle(&mut self, now: ServerTime) {
        let is_lost = |step: &Step| matches!(step.state, StepState::Failed | StepState::Skipped);
        let lost = self.steps.iter().filter(|step| is_lost(step));
        let mut lost: HashSet<String> = lost.map(|step| step.spec.id.clone()).collect();
        loop {
            let before = lost.len();
            for step in self.steps.iter_mut().filter(|step| step.state == StepState::Waiting) {
                if step.spec.depends_on.iter().any(|id| lost.contains(id)) {
                    step.state = StepState::Skipped;
                    lost.insert(step.spec.id.clone());
                }
            }
            if lost.len() == before {
                break;
            }
        }
        if self.steps.iter().all(|step| step.state.is_end()) {
            if self.steps.iter().all(|step| step.state == StepState::Complete) {
                self.end(JobState::Completed, "", now);
            } else {
                self.end(self.failure(), "a step failed", now);
            }
        }
    }

    /// How a job ends that is not complete: in part, if something was done of any of its steps.
    fn failure(&self) -> JobState {
        let in_part = |step: &Step| step.results.iter().any(|result| result.entries > 0);
        let is_done = |step: &Step| step.state == StepState::Complete || in_part(step);
        let any = self.steps.iter().any(is_done);
        if any { JobState::PartialFailure } else { JobState::Failed }
    }

    /// The only end. The caller looked at the table of ways.
    fn end(&mut self, state: JobState, why: &str, now: ServerTime) {
        debug_assert!(self.state.go(state).is_ok(), "{:?} to {state:?}", self.state);
        self.state = state;
        for step in self.steps.iter_mut().filter(|step| !step.state.is_end()) {
            if let Some(result) = step.results.last_mut().filter(|it| it.ended_at.is_none()) {
                (result.state, result.ended_at) = (StepState::Skipped, Some(now));
                why.clone_into(&mut result.why);
            }
            step.state = StepState::Skipped;
        }
        if self.why.is_empty() {
            why.clone_into(&mut self.why);
        }
        self.changed(now);
        self.ended_at = Some(self.updated_at);
        if state == JobState::Completed {
            self.progress = 100;
        }
    }
}

fn cut(mut why: String) -> String {
    if why.len() > WHY_MAX {
        let end = (0..=WHY_MAX).rev().find(|&at| why.is_char_boundary(at)).unwrap_or(0);
        why.truncate(end);
    }
    why
}
