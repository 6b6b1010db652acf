//! What a server knows of its jobs without the store: those that are open, and the place of each in the list.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use fusion_core::id::{CorrelationId, ViewName};
use fusion_core::job::{Job, JobOrigin, JobState};
use fusion_core::path::{PathRef, TreePath};
use fusion_core::time::ServerTime;
use fusion_proto::status::Refusal;
use tokio::sync::watch;
use uuid::Uuid;

use super::queues::Queues;
use crate::access::Reach;

#[derive(Default)]
pub(super) struct Table {
    /// Jobs that are not over, each to be watched.
    pub(super) open: HashMap<Uuid, watch::Sender<Job>>,
    /// Those of them that are to be given out.
    pub(super) queues: Queues,
    /// Jobs that are over and not yet written so: the store still has them as they were.
    pub(super) ended: HashMap<Uuid, Job>,
    /// All jobs, the newest first.
    pub(super) list: BTreeMap<Place, Listed>,
    /// Of each view the places of those that were only watched and are over, the oldest first.
    pub(super) watched: HashMap<ViewName, VecDeque<Place>>,
}

/// A job's place in the list.
pub(super) type Place = (Reverse<ServerTime>, Uuid);

/// What the list knows of a job.
#[derive(Debug, Clone)]
pub(super) struct Listed {
    /// Which views it is about: who may not see all of it is not shown it.
    views: Box<[ViewName]>,
    /// The nearest path that all of it lies at or below.
    top: TreePath,
    pub(super) origin: JobOrigin,
    pub(super) state: JobState,
    /// A hash of the chain that it belongs to.
    pub(super) chain: u64,
    /// When it is swept; not while it is open.
    pub(super) expires_at: Option<ServerTime>,
}

impl Table {
    pub(super) fn add(&mut self, job: Job) {
        self.list.insert(place(&job), Listed::of(&job, Duration::ZERO));
        self.queues.note(&job);
        self.open.insert(job.id, watch::Sender::new(job));
    }

    /// Takes the open jobs that belong to these views out. Those that are over stay listed: the store has them.
    pub(super) fn give_up(&mut self, views: &HashSet<ViewName>, which: impl Fn(&Job) -> bool) {
        self.watched.retain(|view, _| !views.contains(view));
        for (id, told) in self.open.extract_if(|_, told| which(&told.borrow())) {
            self.queues.forget(id);
            self.list.remove(&place(&told.borrow()));
        }
        self.ended.retain(|_, job| !which(job));
    }

    /// A job that the store does not have, or not as it is.
    pub(super) fn in_memory(&self, id: Uuid) -> Option<Job> {
        let open = self.open.get(&id).map(|told| told.borrow().clone());
        open.or_else(|| self.ended.get(&id).cloned())
    }
}

impl Listed {
    pub(super) fn of(job: &Job, ttl: Duration) -> Self {
        let views: BTreeSet<&ViewName> = job.steps.iter().map(|step| &step.spec.view).collect();
        Self {
            views: views.into_iter().cloned().collect(),
            top: top_of(job),
            origin: job.origin,
            state: job.state,
            chain: chain_of(&job.correlation),
            expires_at: job.ended_at.map(|ended| ended.plus(ttl)),
        }
    }

    /// Whether who has such a reach may see it.
    pub(super) fn is_within(&self, reach: &Reach) -> bool {
        self.views.iter().all(|view| reach.has(view, self.top.as_ref()))
    }

    /// Nobody made it as a job, and it is complete.
    pub(super) fn is_routine(&self) -> bool {
        !self.origin.is_given_out() && self.state == JobState::Completed
    }
}

fn top_of(job: &Job) -> TreePath {
    let mut paths = job.steps.iter().map(|step| step.spec.path.as_ref());
    let mut top = paths.next().unwrap_or(PathRef::ROOT);
    for path in paths {
        while !path.is_within(top) {
            top = top.split_last().map_or(PathRef::ROOT, |(above, _)| above);
        }
    }
    top.to_owned()
}

pub(super) fn chain_of(correlation: &CorrelationId) -> u64 {
    let mut hasher = DefaultHasher::new();
    correlation.hash(&mut hasher);
    hasher.finish()
}

pub(super) fn place(job: &Job) -> Place {
    (Reverse(job.created_at), job.id)
}

/// A place as a page token has it.
pub(super) fn key((Reverse(created_at), id): Place) -> Vec<u8> {
    [&created_at.as_nanos().to_be_bytes()[..], id.as_bytes()].concat()
}

pub(super) fn read_key(key: &[u8]) -> Result<Place, Refusal> {
    let malformed = || Refusal::invalid("page_token", "is not a token of this list");
    let (created_at, id) = key.split_first_chunk::<8>().ok_or_else(malformed)?;
    let id = Uuid::from_slice(id).map_err(|_| malformed())?;
    Ok((Reverse(ServerTime::from_nanos(i64::from_be_bytes(*created_at))), id))
}
