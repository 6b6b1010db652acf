//! Jobs: made, kept, shown, called off and done again. [`run`] does their steps; [`observed`] lists with them
//! what is done anyway.
//!
//! Owns all jobs of a server: the open ones whole, of those that are over their place in the list; the
//! store has them until `job_ttl` is over. Every change is left to be written, and a call that makes or
//! ends a job waits for that. Its lock is held for one change, or to give out steps; the locks of views and
//! sessions may be taken under it. Must never: change a job otherwise than by its rules (`fusion_core::job`).

mod home;
mod observed;
mod queues;
mod record;
mod run;
mod table;

use std::collections::HashSet;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fusion_core::id::{CorrelationId, ViewName};
use fusion_core::job::{Job, JobOrigin, JobState, NewJob, Outcome};
use fusion_core::session::Principal;
use fusion_core::time::{Clock, ServerTime};
use fusion_proto::convert::job::{CancelJob, CreateJob, ListJobs};
use fusion_proto::limits;
use fusion_proto::status::Refusal;
use fusion_store::{Space, State};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub(crate) use self::home::home_of;
use self::home::{are_several, home};
use self::table::{Listed, Place, Table, chain_of, key, place, read_key};
use super::errands::Errands;
use super::idempotency::CallIdentity;
use super::internal;
use super::paging::PageOf;
use super::sessions::Sessions;
use super::views::{PageOfRows, Views};
use crate::access::Reach;
use crate::access::quotas::used_up;
use crate::config::InForce;
use crate::ids::Ids;
use crate::ops::metrics::{Metrics, gauged};
use crate::spawn::Tasks;
use crate::stores::{LoadError, SavePoint, Saver, scan_all, unwritten_yet};

/// When to try again where there are as many open jobs as may be.
const FULL_RETRY: Duration = Duration::from_secs(10);
/// Bytes of a page of jobs after which it ends, by a rough measure that is never too small.
const PAGE_BYTES: usize = limits::MESSAGE_BYTES / 2;

/// All jobs of a server; a cheap handle.
#[derive(Clone)]
pub(crate) struct Jobs {
    shared: Arc<Shared>,
}

/// What jobs are done with.
pub(crate) struct JobsDeps {
    pub(crate) state: Arc<dyn State>,
    pub(crate) saver: Saver,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn Ids>,
    pub(crate) metrics: Metrics,
    pub(crate) tasks: Tasks,
    pub(crate) draining: CancellationToken,
    pub(crate) views: Views,
    pub(crate) sessions: Sessions,
    pub(crate) errands: Errands,
    /// How long a job that is over is kept.
    pub(crate) ttl: Duration,
    /// Says how many jobs there may be that are not over.
    pub(crate) config: InForce,
}

struct Shared {
    deps: JobsDeps,
    /// Tells lists of jobs of this server from those of another.
    id: Uuid,
    table: Mutex<Table>,
    /// There may be a step to begin.
    news: Notify,
}

/// A job to be followed.
pub(crate) enum Followed {
    /// It is over.
    Over(Job),
    /// It goes on; the value changes until it is over.
    Open(watch::Receiver<Job>),
}

impl Jobs {
    pub(crate) fn new(deps: JobsDeps) -> Self {
        let id = deps.ids.draw();
        let (table, news) = (Mutex::default(), Notify::new());
        Self { shared: Arc::new(Shared { deps, id, table, news }) }
    }

    /// Takes back the jobs of an earlier life of the server. What an agent was at is begun anew: its
    /// lease went with that life.
    pub(crate) fn load(&self) -> Result<(), LoadError> {
        self.load_those(|_| true)
    }

    /// The same of those that belong to a view which is this server's now.
    pub(crate) fn take_over(&self, view: &ViewName) -> Result<(), LoadError> {
        self.give_up(&HashSet::from([view.clone()]));
        self.load_those(|job| home(job) == Some(view))
    }

    /// Forgets those that belong to views which are other servers'.
    pub(crate) fn give_up(&self, views: &HashSet<ViewName>) {
        self.lock().give_up(views, |job| home(job).is_some_and(|view| views.contains(view)));
    }

    fn load_those(&self, which: impl Fn(&Job) -> bool) -> Result<(), LoadError> {
        let JobsDeps { state, clock, ttl, .. } = &self.shared.deps;
        let now = clock.now();
        for item in scan_all(&**state, Space::Job, now)? {
            let job =
                record::from_bytes(&item.value).map_err(LoadError::record(Space::Job, &item))?;
            if !which(&job) {
                continue;
            }
            let mut table = self.lock();
            if job.state.is_end() {
                table.list.insert(place(&job), Listed::of(&job, *ttl));
                if !job.origin.is_given_out() {
                    self.keep_watched(&mut table, &job);
                }
                continue;
            }
            let (id, is_given_out) = (job.id, job.origin.is_given_out());
            let at_work: Vec<_> =
                job.at_work().map(|(step, agent)| (step, agent.clone())).collect();
            let goes_on = self.goes_on(&job);
            table.add(job);
            drop(table);
            if goes_on {
                continue;
            }
            for (step, agent) in at_work {
                let why = "the server was restarted".to_owned();
                self.change(id, |job, now| {
                    job.end_try(step, &agent, Outcome::Lost { why }, now);
                });
            }
            if is_given_out {
                self.change(id, Job::taken_back);
            }
        }
        Ok(())
    }

    /// Makes a job. An earlier try of the same call may have made it. Durable when this returns.
    pub(crate) async fn create(
        &self,
        asked: CreateJob,
        call: CallIdentity,
        principal: Principal,
        correlation: CorrelationId,
    ) -> Result<Job, Refusal> {
        if let Some(job) = self.made_before(call).await {
            return Ok(job);
        }
        let id = call.id;
        let CreateJob { plan, priority } = asked;
        for step in plan.steps() {
            self.shared.deps.views.get(&step.view)?;
        }
        self.may_have(plan.steps().iter().map(|step| &step.view))?;
        let now = self.shared.deps.clock.now();
        self.add(Job::new(NewJob { id, principal, correlation, priority, plan }, now)).await
    }

    /// Makes a new job of what did not complete. Durable when this returns.
    pub(crate) async fn retry(
        &self,
        of: Uuid,
        call: CallIdentity,
        principal: Principal,
    ) -> Result<Job, Refusal> {
        if let Some(job) = self.made_before(call).await {
            return Ok(job);
        }
        let old = self.get(of).await?;
        self.may_have(old.steps.iter().map(|step| &step.spec.view))?;
        let job = old.retry(call.id, principal, self.shared.deps.clock.now());
        self.add(job.ok_or_else(|| illegal_transition(old.state, JobState::Pending))?).await
    }

    /// Whether one job may have steps of these views: where there are several servers each view may be another's.
    fn may_have<'a>(&self, views: impl IntoIterator<Item = &'a ViewName>) -> Result<(), Refusal> {
        let has_others = self.shared.deps.views.deps().cluster.is_some();
        if has_others && are_several(views) {
            let why =
                "are of several views, which may be of several servers: make a job for each view";
            return Err(Refusal::invalid("steps", why));
        }
        Ok(())
    }

    /// The job that a call made which was cut off and is done again.
    async fn made_before(&self, call: CallIdentity) -> Option<Job> {
        if call.is_resumed { self.get(call.id).await.ok() } else { None }
    }

    async fn add(&self, job: Job) -> Result<Job, Refusal> {
        let deps = &self.shared.deps;
        let point = {
            let mut table = self.lock();
            let config = deps.config.now();
            let max = config.max_open_jobs;
            if table.queues.jobs() >= max {
                return Err(used_up(&deps.metrics, "max_open_jobs", max, FULL_RETRY));
            }
            let (of_one, max) = (&job.principal, config.quotas.max_open_jobs);
            if *of_one != Principal::anonymous() && table.queues.jobs_of(of_one) >= max {
                return Err(used_up(&deps.metrics, "quotas.max_open_jobs", max, FULL_RETRY));
            }
            table.add(job.clone());
            self.save(&job)
        };
        tracing::info!(job = %job.id, steps = job.steps.len(), "job created");
        deps.saver.written(point).await?;
        self.shared.news.notify_one();
        Ok(job)
    }

    /// One job.
    pub(crate) async fn get(&self, id: Uuid) -> Result<Job, Refusal> {
        let (jobs, _) = self.read(vec![id]).await?;
        let job = jobs.into_iter().next();
        let job = job.ok_or_else(|| Refusal::JobNotFound { job: id.to_string() })?;
        self.is_kept(&job).await?;
        Ok(job)
    }

    /// Waits until a job that is over is written so: nobody is told of an end that a death of the server
    /// takes back.
    pub(crate) async fn is_kept(&self, job: &Job) -> Result<(), Refusal> {
        let saver = &self.shared.deps.saver;
        if job.state.is_end() && self.lock().ended.contains_key(&job.id) {
            saver.written(saver.point()).await?;
        }
        Ok(())
    }

    /// These jobs, as far as they are kept, until there are enough for a page; and how many were looked
    /// for.
    async fn read(&self, ids: Vec<Uuid>) -> Result<(Vec<Job>, usize), Refusal> {
        let deps = &self.shared.deps;
        let (this, now) = (self.clone(), deps.clock.now());
        let wanted: Vec<(Uuid, Option<Job>)> = {
            let table = self.lock();
            ids.into_iter().map(|id| (id, table.in_memory(id))).collect()
        };
        if let [(_, Some(job))] = wanted.as_slice() {
            return Ok((vec![job.clone()], 1));
        }
        let read = tokio::task::spawn_blocking(move || this.read_stored(wanted, now)).await;
        read.map_err(|error| internal(&*deps.ids, &error))?
    }

    /// Takes what is not in memory from the store. Blocks.
    fn read_stored(
        &self,
        wanted: Vec<(Uuid, Option<Job>)>,
        now: ServerTime,
    ) -> Result<(Vec<Job>, usize), Refusal> {
        let JobsDeps { state, ids, .. } = &self.shared.deps;
        let (mut jobs, mut bytes, mut looked) = (Vec::with_capacity(wanted.len()), 0, 0);
        for (id, known) in wanted {
            looked += 1;
            let job = match known {
                Some(job) => Some(job),
                None => {
                    let item = state.get(Space::Job, id.as_bytes(), now).map_err(|error| {
                        tracing::error!(%error, "a job cannot be read from the store");
                        unwritten_yet()
                    })?;
                    let job = item.map(|item| record::from_bytes(&item.value)).transpose();
                    job.map_err(|error| internal(&**ids, &error))?
                }
            };
            bytes += job.as_ref().map_or(0, weight);
            jobs.extend(job);
            if bytes > PAGE_BYTES {
                break;
            }
        }
        Ok((jobs, looked))
    }

    /// A page of jobs that are about what is within a reach alone, the newest first.
    pub(crate) async fn list(
        &self,
        asked: &ListJobs,
        reach: &Reach,
    ) -> Result<PageOfRows<Job>, Refusal> {
        let of = asked.state.map(JobState::as_str).unwrap_or_default();
        let whose = asked.origin.map(JobOrigin::as_str).unwrap_or_default();
        let correlation = asked.correlation.as_ref();
        let name = correlation.map(CorrelationId::as_str).unwrap_or_default();
        let hides = [u8::from(asked.hide_routine)];
        let request = [b"jobs", of.as_bytes(), name.as_bytes(), whose.as_bytes(), &hides];
        let pages = PageOf::new(self.shared.id, &request);
        let chain = correlation.map(chain_of);
        let after = pages.key(&asked.page.token)?.map(|key| read_key(&key)).transpose()?;
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let places: Vec<Place> = {
            let table = self.lock();
            let rest = table.list.range((after, Bound::Unbounded));
            let wanted = rest.filter(|(_, it)| {
                asked.state.is_none_or(|state| it.state == state)
                    && asked.origin.is_none_or(|origin| it.origin == origin)
                    && !(asked.hide_routine && it.is_routine())
                    && chain.is_none_or(|chain| it.chain == chain)
                    && it.is_within(reach)
            });
            wanted.map(|(place, _)| *place).take(asked.page.size + 1).collect()
        };
        let page = &places[..places.len().min(asked.page.size)];
        let (mut rows, looked) = self.read(page.iter().map(|(_, id)| *id).collect()).await?;
        // Two chains may have one hash.
        rows.retain(|job| correlation.is_none_or(|correlation| job.correlation == *correlation));
        let last = looked.checked_sub(1).filter(|_| looked < places.len());
        let token = last.map(|last| pages.token(&key(page[last]))).unwrap_or_default();
        Ok((rows, token))
    }

    /// A job to be followed until it is over.
    pub(crate) async fn follow(&self, id: Uuid) -> Result<Followed, Refusal> {
        let open = self.lock().open.get(&id).map(watch::Sender::subscribe);
        match open {
            Some(told) => Ok(Followed::Open(told)),
            None => self.get(id).await.map(Followed::Over),
        }
    }

    /// Calls a job off. Durable when this returns. A call that was cut off and is done again has what it
    /// wanted if the job is called off by now.
    pub(crate) async fn cancel(
        &self,
        asked: &CancelJob,
        call: CallIdentity,
    ) -> Result<Job, Refusal> {
        let cancelled = self.change(asked.job, |job, now| {
            if asked.expected_version.is_some_and(|expected| expected != job.version) {
                return Err(Refusal::VersionMismatch { current: job.version });
            }
            job.cancel(now).map_err(|illegal| illegal_transition(illegal.from, illegal.to))?;
            Ok(job.clone())
        });
        let Some((cancelled, point)) = cancelled else {
            let over = self.get(asked.job).await?;
            if call.is_resumed && over.state == JobState::Cancelled {
                return Ok(over);
            }
            return Err(illegal_transition(over.state, JobState::Cancelled));
        };
        let job = cancelled?;
        self.shared.deps.saver.written(point).await?;
        tracing::info!(job = %job.id, "job cancelled");
        Ok(job)
    }

    /// Changes an open job; `None` if there is none. What changed is left to be written and told.
    fn change<T>(
        &self,
        id: Uuid,
        change: impl FnOnce(&mut Job, ServerTime) -> T,
    ) -> Option<(T, SavePoint)> {
        self.change_in(&mut self.lock(), id, change)
    }

    fn change_in<T>(
        &self,
        table: &mut Table,
        id: Uuid,
        change: impl FnOnce(&mut Job, ServerTime) -> T,
    ) -> Option<(T, SavePoint)> {
        let deps = &self.shared.deps;
        let (told, mut done) = (table.open.get(&id)?, None);
        let is_changed = told.send_if_modified(|job| {
            let before = job.version;
            done = Some(change(job, deps.clock.now()));
            job.version != before
        });
        let point = if is_changed { self.changed(table, id)? } else { deps.saver.point() };
        Some((done?, point))
    }

    /// Leaves a job that changed to be written. One that is over leaves the open ones.
    fn changed(&self, table: &mut Table, id: Uuid) -> Option<SavePoint> {
        let deps = &self.shared.deps;
        let job = table.open.get(&id)?.borrow();
        table.queues.note(&job);
        let point = self.save(&job);
        let state = job.state;
        let (place, listed) = (place(&job), Listed::of(&job, deps.ttl));
        drop(job);
        table.list.insert(place, listed);
        if state.is_end()
            && let Some(told) = table.open.remove(&id)
        {
            let job = told.borrow().clone();
            tracing::info!(job = %id, state = state.as_str(), why = job.why, "job over");
            if !job.origin.is_given_out() {
                self.keep_watched(table, &job);
            }
            table.ended.insert(id, job);
            let shared = Arc::clone(&self.shared);
            deps.saver.then(move || drop(shared.lock().ended.remove(&id)));
        }
        Some(point)
    }

    /// Leaves a job to be written.
    fn save(&self, job: &Job) -> SavePoint {
        let deps = &self.shared.deps;
        let expires_at = job.ended_at.map(|ended| ended.plus(deps.ttl));
        let key = job.id.as_bytes().to_vec();
        deps.saver.put(Space::Job, key, record::to_bytes(job), expires_at)
    }

    /// Forgets the places of jobs that the store has swept.
    fn sweep(&self) {
        let now = self.shared.deps.clock.now();
        let mut table = self.lock();
        let Table { list, watched, .. } = &mut *table;
        list.retain(|_, listed| listed.expires_at.is_none_or(|at| now < at));
        watched.values_mut().for_each(|places| places.retain(|place| list.contains_key(place)));
        watched.retain(|_, places| !places.is_empty());
    }

    /// Sets the gauge of jobs.
    pub(crate) fn measure(&self) {
        let mut counts = JobState::ALL.map(|state| (state, 0));
        for listed in self.lock().list.values() {
            for (_, count) in counts.iter_mut().filter(|(state, _)| *state == listed.state) {
                *count += 1;
            }
        }
        for (state, count) in counts {
            let gauge = &self.shared.deps.metrics.jobs;
            gauge.with_label_values(&[state.as_str()]).set(gauged(count));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.shared.lock()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many bytes of a message a job takes, roughly and never less: the notation takes four bytes for
/// one at most.
fn weight(job: &Job) -> usize {
    let of_step = |step: &fusion_core::job::Step| {
        let spec = &step.spec;
        let texts: usize = spec.depends_on.iter().map(|id| id.len() + 4).sum::<usize>()
            + spec.agents.iter().map(|agent| agent.as_str().len() + 4).sum::<usize>();
        let results: usize = step.results.iter().map(|result| result.why.len() + 256).sum();
        256 + 4 * spec.path.as_bytes().len() + texts + results
    };
    1_024 + job.steps.iter().map(of_step).sum::<usize>()
}

fn illegal_transition(from: JobState, to: JobState) -> Refusal {
    Refusal::IllegalTransition { from: from.as_str().to_owned(), to: to.as_str().to_owned() }
}
