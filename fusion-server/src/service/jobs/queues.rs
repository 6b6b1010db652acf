//! The jobs that are to be given out and not over, and those that wait for an agent in their order.
//!
//! Each agent of a view, and the leader of a view, has a queue of the jobs of which it could do a step now.
//! So a look for what can be begun costs as much as there are queues and as it gives out, however many
//! thousands wait. Kept up to date with every change of a job; knows nothing of who is there.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::Hash;
use std::ops::Bound;

use fusion_core::id::{AgentId, ViewName};
use fusion_core::job::{Job, StepSpec};
use fusion_core::session::Principal;
use fusion_core::time::ServerTime;
use uuid::Uuid;

/// An agent of a view; `None` is its leader.
pub(super) type Who = (ViewName, Option<AgentId>);

/// A job's place in a queue: the most urgent first, of those the oldest.
pub(super) type Turn = (Reverse<i32>, ServerTime, Uuid);

#[derive(Default)]
pub(super) struct Queues {
    queues: HashMap<Who, BTreeSet<Turn>>,
    /// Steps at work in each view.
    at_work: HashMap<ViewName, usize>,
    /// Jobs of each principal.
    of_principal: HashMap<Principal, usize>,
    /// What is above for each job.
    jobs: HashMap<Uuid, Share>,
}

/// What a job has in the queues.
struct Share {
    turn: Turn,
    queues: HashSet<Who>,
    at_work: Vec<ViewName>,
    principal: Principal,
}

impl Queues {
    /// A job is new or has changed. One that is over or given to nobody is not kept.
    pub(super) fn note(&mut self, job: &Job) {
        self.forget(job.id);
        if job.state.is_end() || !job.origin.is_given_out() {
            return;
        }
        let spec = |step: usize| &job.steps[step].spec;
        let turn = (Reverse(job.priority), job.created_at, job.id);
        let queues: HashSet<Who> = job.ready().flat_map(|step| able(spec(step))).collect();
        let at_work: Vec<_> = job.at_work().map(|(step, _)| spec(step).view.clone()).collect();
        for who in &queues {
            self.queues.entry(who.clone()).or_default().insert(turn);
        }
        for view in &at_work {
            *self.at_work.entry(view.clone()).or_default() += 1;
        }
        let principal = job.principal.clone();
        *self.of_principal.entry(principal.clone()).or_default() += 1;
        self.jobs.insert(job.id, Share { turn, queues, at_work, principal });
    }

    /// A job is over, or another server's.
    pub(super) fn forget(&mut self, job: Uuid) {
        let Some(share) = self.jobs.remove(&job) else { return };
        let Share { turn, queues, at_work, principal } = share;
        count_off(&mut self.of_principal, &principal);
        for who in queues {
            if let Some(queue) = self.queues.get_mut(&who) {
                queue.remove(&turn);
                if queue.is_empty() {
                    self.queues.remove(&who);
                }
            }
        }
        at_work.iter().for_each(|view| count_off(&mut self.at_work, view));
    }

    /// Jobs that are not over, also those of which all that can be done is under way.
    pub(super) fn jobs(&self) -> usize {
        self.jobs.len()
    }

    /// Those that one principal has made.
    pub(super) fn jobs_of(&self, principal: &Principal) -> usize {
        self.of_principal.get(principal).copied().unwrap_or_default()
    }

    /// Steps at work in each view where there are some.
    pub(super) fn at_work(&self) -> &HashMap<ViewName, usize> {
        &self.at_work
    }

    /// Whom jobs wait for.
    pub(super) fn awaited(&self) -> impl Iterator<Item = &Who> {
        self.queues.keys()
    }

    /// The first job in the queue of an agent behind a turn, or of all.
    pub(super) fn next(&self, who: &Who, behind: Option<Turn>) -> Option<Turn> {
        let behind = behind.map_or(Bound::Unbounded, Bound::Excluded);
        self.queues.get(who)?.range((behind, Bound::Unbounded)).next().copied()
    }
}

/// One less of a kind.
fn count_off<K: Eq + Hash>(counts: &mut HashMap<K, usize>, of: &K) {
    if let Some(count) = counts.get_mut(of) {
        *count -= 1;
        if *count == 0 {
            counts.remove(of);
        }
    }
}

/// Who can do a step: one of those that it names, else the leader of its view; the preferred ones first.
pub(super) fn able(spec: &StepSpec) -> impl Iterator<Item = Who> + '_ {
    let named = spec.agents.iter().cloned().map(Some);
    let leader = spec.agents.is_empty().then_some(None);
    named.chain(leader).map(|agent| (spec.view.clone(), agent))
}

#[cfg(test)]
mod tests;
