//! The server dies at every step of a job, of a call under a key, of a restore, and of what an operator
//! does to a view. After the restart nothing is done twice, nothing is left half done, and the repeated
//! call gets the first answer.
//!
//! A life of a server has stores that fail from some call on, as they do for others when it is killed:
//! what it wrote before is there, what it would have written is not. The next life begins on what is
//! there. The calls are counted up until a life comes to its end, so every moment between two of them is
//! tried.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::slice;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use fusion_core::change::{ChangeKind, Note};
use fusion_proto::limits::IDEMPOTENCY_KEY;
use fusion_proto::pb;
use fusion_proto::pb::command::Action;
use fusion_server::clock::RuntimeClock;
use fusion_server::stores::Stores;
use fusion_store::flaky::{FlakyBlocks, FlakyLog, FlakyState, Moods};
use fusion_store::memory::{MemoryBlocks, MemoryLog, MemoryState};
use fusion_store::{ChangeLog as _, ReadFrom};
use tonic::Request;

use crate::agent::Agent;
use crate::evidence::{ROOT_INODE, batch, scan_finished, scan_started};
use crate::harness::{TestServer, VIEW, asks_with_top, config, start_in};
use crate::jobs::{create, is_over, plan, step, watch};
use crate::lists::{remove, trash};
use crate::telling::with_a_file;

/// What the lives of a server have in common.
#[derive(Default)]
struct Kept {
    log: Arc<MemoryLog>,
    blocks: Arc<MemoryBlocks>,
    state: Arc<MemoryState>,
}

impl Kept {
    /// A life: a server, and how it can be killed.
    async fn live(&self) -> (TestServer, Moods) {
        let moods = Moods::new(1);
        let stores = Stores::new(
            Arc::new(FlakyLog::new(Arc::clone(&self.log), moods.clone())),
            Arc::new(FlakyBlocks::new(Arc::clone(&self.blocks), moods.clone())),
            Arc::new(FlakyState::new(Arc::clone(&self.state), moods.clone())),
        );
        let mut config = config();
        // Nothing is waited for that a dead disk never does.
        config.shutdown_grace = Duration::from_millis(10);
        (start_in(config, Arc::new(RuntimeClock::new()), stores).await, moods)
    }
}

/// An agent of the tree that [`work`] lists.
async fn join(server: &mut TestServer) -> Agent {
    let asks = asks_with_top("a", "x", 1);
    let session = server.sessions.create_session(asks).await.unwrap().into_inner().session_id;
    Agent::of(server, session, "a").await
}

/// Does something as long as the server lives; `None` if it died over it.
async fn while_alive<T>(moods: &Moods, does: impl Future<Output = T>) -> Option<T> {
    // Looked at before everything else: who is told of a failure by a dead server is not asked.
    let dies = poll_fn(|context| {
        context.waker().wake_by_ref();
        if moods.is_dead() { Poll::Ready(()) } else { Poll::Pending }
    });
    tokio::select! {
        biased;
        () = dies => None,
        done = does => Some(done),
    }
}

fn keyed<T>(key: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert(IDEMPOTENCY_KEY, key.parse().unwrap());
    request
}

async fn create_with_key(server: &mut TestServer) -> pb::Job {
    let asked = plan(&[step("one", "/", &[]), step("two", "/", &["one"])]);
    let made = server.jobs.create_job(keyed("k", asked)).await.unwrap();
    made.into_inner().job.unwrap()
}

/// Does what the job has the agent do, until the job is over.
async fn work(server: &mut TestServer, agent: &mut Agent, job: &str) -> pb::Job {
    let mut told = watch(server, job).await;
    loop {
        let command = tokio::select! {
            command = agent.command() => command,
            job = told.message() => match job.unwrap().expect("an end came first").job.unwrap() {
                job if is_over(&job) => return job,
                _ => continue,
            },
        };
        // The view has its own wishes after a death.
        let ours = matches!(&command.action, Some(Action::Scan(scan)) if scan.source() == pb::ScanSource::OnDemand);
        if ours {
            agent.report(server, &command, pb::CommandState::Running).await;
            assert_eq!(agent.list("/", &["x"]).await, []);
            agent.report(server, &command, pb::CommandState::Done).await;
        }
    }
}

async fn all_jobs(server: &mut TestServer) -> Vec<pb::Job> {
    server.jobs.list_jobs(pb::ListJobsRequest::default()).await.unwrap().into_inner().jobs
}

/// How many calls a life took to its end, by what the next life found when it ended before.
type Found = BTreeMap<String, u64>;

#[tokio::test]
async fn a_job_is_made_once_and_ends_whenever_the_server_dies() {
    let mut found = Found::new();
    for calls in 0.. {
        let kept = Kept::default();
        let (mut server, moods) = kept.live().await;
        let mut told = None;
        moods.die_after(calls);
        let ended = while_alive(&moods, async {
            let mut agent = join(&mut server).await;
            let made = create_with_key(&mut server).await;
            told = Some(made.job_id.clone());
            work(&mut server, &mut agent, &made.job_id).await
        })
        .await;
        server.ended().await;

        let (mut server, _moods) = kept.live().await;
        let before = all_jobs(&mut server).await;
        let state = before.first().map_or("NONE", |job| job.state().as_str_name());
        *found.entry(state.to_owned()).or_default() += 1;
        let mut agent = join(&mut server).await;
        let made = create_with_key(&mut server).await;
        assert!(told.as_ref().is_none_or(|told| *told == made.job_id), "after {calls} calls");
        let done = work(&mut server, &mut agent, &made.job_id).await;
        assert_eq!(done.state(), pb::JobState::Completed, "after {calls} calls: {done:?}");
        assert_eq!(done.progress, 100);
        for step in &done.steps {
            let complete = |it: &&pb::JobAgentResult| it.state() == pb::StepState::Complete;
            assert_eq!(
                step.results.iter().filter(complete).count(),
                1,
                "after {calls} calls: {step:?}"
            );
        }
        assert_eq!(all_jobs(&mut server).await, slice::from_ref(&done), "after {calls} calls");
        if let Some(ended) = ended {
            assert_eq!(ended, done, "what was over stays so");
            break;
        }
    }
    println!("what the next life found: {found:?}");
    for state in ["NONE", "JOB_STATE_RUNNING", "JOB_STATE_COMPLETED"] {
        assert!(found.contains_key(state), "{state}: {found:?}");
    }
}

#[tokio::test]
async fn a_job_is_called_off_once_whenever_the_server_dies() {
    for calls in 0.. {
        let kept = Kept::default();
        let (mut server, moods) = kept.live().await;
        let agent = join(&mut server).await;
        let job_id = create(&mut server, &[step("one", "/", &[])]).await.job_id;
        moods.die_after(calls);
        let cancel = pb::CancelJobRequest { job_id, expected_version: 0 };
        let call = async { server.jobs.cancel_job(keyed("c", cancel.clone())).await.unwrap() };
        let told = while_alive(&moods, call).await;
        drop(agent);
        server.ended().await;

        let (mut server, _moods) = kept.live().await;
        let _agent = join(&mut server).await;
        let again = server.jobs.cancel_job(keyed("c", cancel)).await;
        let again = again.unwrap_or_else(|refused| panic!("after {calls} calls: {refused:?}"));
        let again = again.into_inner().job.unwrap();
        assert_eq!(again.state(), pb::JobState::Cancelled, "after {calls} calls");
        assert_eq!(all_jobs(&mut server).await, slice::from_ref(&again));
        if let Some(told) = told {
            assert_eq!(told.into_inner().job.unwrap(), again, "the first answer");
            break;
        }
    }
}

#[tokio::test]
async fn what_is_restored_is_restored_once_whenever_the_server_dies() {
    for calls in 0.. {
        let kept = Kept::default();
        let (mut server, moods) = kept.live().await;
        let (_, mut lane) = with_a_file(&mut server).await;
        lane.send(batch(2, vec![remove("/f", ROOT_INODE)])).await;
        lane.acknowledged(2).await.unwrap();
        let record = trash(&mut server, "/").await.remove(0);
        moods.die_after(calls);
        let trash_id = record.trash_id;
        let asked = pb::RestoreTrashRequest { view: VIEW.to_owned(), trash_id };
        let call = async { server.views.restore_trash(keyed("r", asked.clone())).await.unwrap() };
        let told = while_alive(&moods, call).await;
        drop(lane);
        server.ended().await;

        let (mut server, _moods) = kept.live().await;
        let again = server.views.restore_trash(keyed("r", asked)).await;
        let again = again.unwrap_or_else(|refused| panic!("after {calls} calls: {refused:?}"));
        let again = again.into_inner().record;
        assert!(again.as_ref().is_none_or(|again| *again == record), "after {calls} calls");
        let asked = pb::ListChangesRequest {
            view: VIEW.to_owned(),
            path: "/f".to_owned(),
            ..Default::default()
        };
        let changes = server.views.list_changes(asked).await.unwrap().into_inner().events;
        let restored = |it: &&pb::EventEnvelope| it.event_type() == pb::EventType::NodeRestored;
        assert_eq!(changes.iter().filter(restored).count(), 1, "after {calls} calls");
        assert_eq!(trash(&mut server, "/").await, [], "after {calls} calls");
        if let Some(told) = told {
            assert_eq!(told.into_inner().record, again, "the first answer");
            break;
        }
    }
}

impl Kept {
    /// A life with a session, that ends after so many calls of its stores; what came of this if it was told.
    async fn dies_after<T>(
        &self,
        calls: u64,
        does: impl AsyncFnOnce(&mut TestServer) -> T,
    ) -> Option<T> {
        let (mut server, moods) = self.live().await;
        server.join("a").await;
        moods.die_after(calls);
        let told = while_alive(&moods, does(&mut server)).await;
        server.ended().await;
        told
    }

    /// How many of the changes of the view are like this.
    fn count(&self, is_one: impl Fn(&ChangeKind) -> bool) -> usize {
        let view = self.log.views().unwrap().remove(0).id;
        let records = self.log.read(view, ReadFrom::Start).unwrap().map(Result::unwrap);
        records.flat_map(|record| record.changes).filter(|change| is_one(&change.kind)).count()
    }
}

#[tokio::test]
async fn a_view_is_reset_once_whenever_the_server_dies() {
    let mut done_before = [0, 0];
    for calls in 0.. {
        let kept = Kept::default();
        let reset = pb::ResetViewRequest { view: VIEW.to_owned() };
        let does = async |server: &mut TestServer| {
            server.admin.reset_view(keyed("r", reset.clone())).await.unwrap()
        };
        let told = kept.dies_after(calls, does).await;
        let (mut server, _moods) = kept.live().await;
        let is_reset = |kind: &ChangeKind| *kind == ChangeKind::Reset;
        let was_done = kept.count(is_reset);
        done_before[was_done] += 1;
        let next = server.join("a").await.session_id;
        let again = server.admin.reset_view(keyed("r", reset)).await;
        let again = again.unwrap_or_else(|refused| panic!("after {calls} calls: {refused:?}"));
        assert_eq!(kept.count(is_reset), 1, "after {calls} calls");
        let lives = server.beat(&next).await.is_ok();
        assert_eq!(lives, was_done == 1, "after {calls} calls: what began since goes on");
        if let Some(told) = told {
            assert_eq!(told.into_inner(), again.into_inner(), "the first answer");
            break;
        }
    }
    assert!(done_before.iter().all(|count| *count > 0), "{done_before:?}");
}

/// Between the death and the repeat a whole scan has taken the root that was accepted.
#[tokio::test]
async fn a_root_is_accepted_once_whenever_the_server_dies() {
    let mut done_before = [0, 0];
    for calls in 0.. {
        let kept = Kept::default();
        let accept = pb::AcceptRootRequest { view: VIEW.to_owned() };
        let does = async |server: &mut TestServer| {
            server.admin.accept_root(keyed("r", accept.clone())).await.unwrap()
        };
        let told = kept.dies_after(calls, does).await;
        let (mut server, _moods) = kept.live().await;
        let accepts = |kind: &ChangeKind| *kind == ChangeKind::Noted(Note::RootAccepted(true));
        done_before[kept.count(accepts)] += 1;
        let mut agent = Agent::join(&mut server, "a").await;
        agent.push(vec![scan_started()]).await;
        agent.push(vec![scan_finished()]).await;
        let again = server.admin.accept_root(keyed("r", accept)).await;
        again.unwrap_or_else(|refused| panic!("after {calls} calls: {refused:?}"));
        assert_eq!(kept.count(accepts), 1, "after {calls} calls");
        if told.is_some() {
            break;
        }
    }
    assert!(done_before.iter().all(|count| *count > 0), "{done_before:?}");
}

/// Who is told that its session is over does not come back to it: it must not be told before a server
/// that begins anew knows as much.
#[tokio::test]
async fn the_end_of_a_session_is_told_when_it_is_durable() {
    let kept = Kept::default();
    let (mut server, moods) = kept.live().await;
    let session_id = server.join("a").await.session_id;
    moods.hang(true);
    let end = pb::EndSessionRequest { session_id: session_id.clone(), allow_missing: false };
    let mut sessions = server.sessions.clone();
    let mut told = Box::pin(sessions.end_session(end));
    let early = tokio::time::timeout(Duration::from_secs(1), &mut told).await;
    assert!(early.is_err(), "told before it was written");
    moods.hang(false);
    told.await.unwrap();
    assert!(server.beat(&session_id).await.is_err());
}
