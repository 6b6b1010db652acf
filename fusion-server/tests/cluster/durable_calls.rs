//! Calls that an owner had answered when it died: repeats of them, records of them and jobs, at who has the view next.
//!
//! Of the dead server there is only what it wrote to the stores that all share.

use std::collections::BTreeSet;

use fusion_proto::convert::audit::{AuditRecord, audit_record_from_pb};
use fusion_proto::limits::{CORRELATION_ID_KEY, IDEMPOTENCY_KEY, IDEMPOTENCY_REPLAYED_KEY};
use fusion_proto::pb;
use fusion_proto::status::Refusal;
use tonic::{Request, Response, Status};

use crate::agent::Agent;
use crate::evidence::{batch, file, root};
use crate::harness::{VIEW, asks_with_top, refusal, uuid};
use crate::servers::{Engine, One, eventually};
use crate::take_over::takes_over;
use crate::telling::Lane;

/// The owner is cut off from all stores and gone: nothing of its end is written or told. Gives who takes calls for the
/// view then.
async fn dies(engine: &Engine, owner: One, others: &mut Vec<One>, session: &str) -> One {
    let before = owner.address.clone();
    assert_eq!(engine.owner().as_ref(), Some(&before), "it is the owner that dies");
    owner.switch.cut(true);
    drop(owner);
    eventually("another one owns the view", async || {
        engine.owner().is_some_and(|owner| owner != before)
    })
    .await;
    let mut next = engine.take_owner(others);
    takes_over(engine, &mut next, session).await;
    next
}

fn with<T>(message: T, metadata: &'static str, value: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert(metadata, value.parse().unwrap());
    request
}

/// An answer that is, or is not, that of an earlier call.
fn told<T>(answer: Result<Response<T>, Status>, is_replayed: bool) -> T {
    let answer = answer.unwrap();
    assert_eq!(answer.metadata().contains_key(IDEMPOTENCY_REPLAYED_KEY), is_replayed);
    answer.into_inner()
}

fn evicts(session: &str) -> pb::EvictSessionRequest {
    pb::EvictSessionRequest { session_id: session.to_owned(), allow_missing: false }
}

/// A plan of one look at a path, by one of these agents; by the leader if there are none.
fn plan(path: &str, agents: &[&str]) -> pb::CreateJobRequest {
    let step = pb::JobStepSpec {
        step_id: "only".to_owned(),
        kind: pb::StepKind::Scan.into(),
        view: VIEW.to_owned(),
        path: path.to_owned(),
        agent_ids: agents.iter().map(|&agent| agent.to_owned()).collect(),
        ..Default::default()
    };
    pb::CreateJobRequest { steps: vec![step], priority: 0 }
}

async fn reset(one: &mut One) -> Result<Response<pb::ResetViewResponse>, Status> {
    let asked = pb::ResetViewRequest { view: VIEW.to_owned() };
    one.server.admin.reset_view(with(asked, IDEMPOTENCY_KEY, "reset")).await
}

async fn make(one: &mut One, path: &str) -> Result<Response<pb::CreateJobResponse>, Status> {
    one.server.jobs.create_job(with(plan(path, &["nobody"]), IDEMPOTENCY_KEY, "make")).await
}

async fn evict(one: &mut One, session: &str) -> Result<Response<pb::EvictSessionResponse>, Status> {
    one.server.admin.evict_session(with(evicts(session), IDEMPOTENCY_KEY, "evict")).await
}

async fn jobs(one: &One) -> Vec<pb::Job> {
    let asked = pb::ListJobsRequest::default();
    one.server.jobs.clone().list_jobs(asked).await.unwrap().into_inner().jobs
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_done_under_a_key_is_not_done_again() {
    let engine = Engine::new();
    let mut servers = engine.start_many(3).await;
    let mut owner = engine.take_owner(&mut servers);
    let done = told(reset(&mut owner).await, false);
    let session = owner.server.join("a").await.session_id;
    let gone = owner.server.join("b").await.session_id;
    let mut lane = Lane::realtime(&mut owner.server, &session, "a").await;
    lane.deliver(batch(1, vec![root(), file("/after-the-reset", 1)])).await;
    let made = told(make(&mut owner, "/").await, false);
    let evicted = told(evict(&mut owner, &gone).await, false);
    let first = (done, made, evicted);
    drop(lane);

    let mut next = dies(&engine, owner, &mut servers, &session).await;
    let mut follower = servers.remove(0);
    let job = first.1.job.as_ref().unwrap().job_id.clone();
    for one in [&mut next, &mut follower] {
        let done = told(reset(one).await, true);
        let again = (done, told(make(one, "/").await, true), told(evict(one, &gone).await, true));
        assert_eq!(again, first);
        // A key stands for one request, here as there.
        let others = [refusal(make(one, "/other").await), refusal(evict(one, &session).await)];
        assert_eq!(others, [Refusal::IdempotencyKeyReused, Refusal::IdempotencyKeyReused]);
        // What was done is so, and under another key it is another call.
        let anew = with(evicts(&gone), IDEMPOTENCY_KEY, "another");
        let anew = refusal(one.server.admin.evict_session(anew).await);
        assert!(matches!(anew, Refusal::SessionNotFound { .. }), "{anew:?}");
        assert!(one.has("/after-the-reset").await, "the view was reset once");
        assert!(one.server.beat(&session).await.is_ok(), "nothing was done to this session");
    }
    let ids: Vec<_> = jobs(&next).await.into_iter().map(|job| job.job_id).collect();
    assert_eq!(ids, [job], "one job was made");
}

async fn records(one: &One) -> Vec<AuditRecord> {
    let asked = pb::ListAuditRecordsRequest::default();
    let page = one.server.admin.clone().list_audit_records(asked).await.unwrap().into_inner();
    assert_eq!(page.next_page_token, "");
    page.records.into_iter().map(|record| audit_record_from_pb(record).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_did_what_is_told_by_who_has_the_view_next() {
    let engine = Engine::new();
    let mut servers = engine.start_many(3).await;
    let mut owner = engine.take_owner(&mut servers);
    let session = owner.server.join("a").await.session_id;
    let mut others = Vec::new();
    for agent in ["b", "c", "d"] {
        others.push(owner.server.join(agent).await.session_id);
    }
    let nobody = uuid("nobody");
    refusal(owner.server.admin.evict_session(evicts(&nobody)).await);
    // That of a failed call is written after its answer.
    eventually("the record is written", async || records(&owner).await.len() == 1).await;
    let by = with(evicts(&others[0]), CORRELATION_ID_KEY, "case:7");
    owner.server.admin.evict_session(by).await.unwrap();

    // The last record is there when its call is answered, whatever happens then.
    let mut next = dies(&engine, owner, &mut servers, &session).await;
    let mut follower = servers.remove(0);
    let before = records(&next).await;
    let [evicted, refused] = before.as_slice() else { panic!("{before:?}") };
    let is_of = |record: &AuditRecord, id: &str, reason: &str| {
        assert_eq!(record.method, "fusion.v1.AdminService/EvictSession");
        assert_eq!(record.principal.as_str(), "anonymous");
        assert_eq!((record.target.id.as_str(), record.reason.as_str()), (id, reason));
    };
    is_of(evicted, &others[0], "");
    assert_eq!(evicted.correlation.as_ref().unwrap().as_str(), "case:7");
    is_of(refused, &nobody, "SESSION_NOT_FOUND");
    assert_eq!(records(&follower).await, before);

    // New ones come after them, once each, through whichever server the call came.
    next.server.admin.evict_session(evicts(&others[1])).await.unwrap();
    follower.server.admin.evict_session(evicts(&others[2])).await.unwrap();
    let after = records(&next).await;
    let [last, one_before, rest @ ..] = after.as_slice() else { panic!("{after:?}") };
    is_of(last, &others[2], "");
    is_of(one_before, &others[1], "");
    assert_eq!(rest, before);
    assert_eq!(after.iter().map(|it| it.id).collect::<BTreeSet<_>>().len(), 4);
    assert_eq!(records(&follower).await, after);
}

async fn create(one: &mut One, agents: &[&str]) -> pb::Job {
    one.server.jobs.create_job(plan("/", agents)).await.unwrap().into_inner().job.unwrap()
}

async fn get(one: &mut One, job: &pb::Job) -> pb::Job {
    let asked = pb::GetJobRequest { job_id: job.job_id.clone() };
    one.server.jobs.get_job(asked).await.unwrap().into_inner().job.unwrap()
}

/// A job as it is told when it is over.
async fn ended(one: &mut One, job: &pb::Job) -> pb::Job {
    let asked = pb::WatchJobRequest { job_id: job.job_id.clone() };
    let mut told = one.server.jobs.watch_job(asked).await.unwrap().into_inner();
    let mut last = None;
    while let Some(next) = told.message().await.unwrap() {
        last = next.job;
    }
    last.unwrap()
}

/// An agent does what it is told next.
async fn does(agent: &mut Agent, one: &mut One) -> pb::Command {
    let command = agent.command().await;
    assert_eq!(agent.list("/", &["x"]).await, []);
    agent.report(&mut one.server, &command, pb::CommandState::Done).await;
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_go_on_where_the_view_is_next() {
    let engine = Engine::new();
    let mut servers = engine.start_many(3).await;
    let mut owner = engine.take_owner(&mut servers);
    let mut agent = Agent::join(&mut owner.server, "a").await;
    let done = create(&mut owner, &["a"]).await;
    does(&mut agent, &mut owner).await;
    let done = ended(&mut owner, &done).await;
    assert_eq!(done.state(), pb::JobState::Completed);
    let pending = create(&mut owner, &["b"]).await;
    let cancelled = create(&mut owner, &["b"]).await;
    let running = create(&mut owner, &["a"]).await;
    let first = agent.command().await;
    agent.report(&mut owner.server, &first, pb::CommandState::Running).await;
    assert_eq!(get(&mut owner, &running).await.state(), pb::JobState::Running);
    // All that came before it is written when this is answered.
    let cancel = pb::CancelJobRequest { job_id: cancelled.job_id, expected_version: 0 };
    let cancelled = owner.server.jobs.cancel_job(cancel).await.unwrap().into_inner().job.unwrap();
    assert_eq!(get(&mut owner, &pending).await, pending);
    let session = agent.session.clone();
    drop(agent);

    let mut next = dies(&engine, owner, &mut servers, &session).await;
    let mut follower = servers.remove(0);
    for one in [&mut next, &mut follower] {
        assert_eq!(get(one, &done).await, done);
        assert_eq!(get(one, &cancelled).await, cancelled);
        assert_eq!(get(one, &pending).await, pending);
        let again = get(one, &running).await;
        assert_eq!((&again.job_id, again.created_at), (&running.job_id, running.created_at));
        assert!(again.ended_at.is_none(), "{again:?}");
    }
    let listed: Vec<_> = jobs(&next).await.into_iter().map(|job| job.job_id).collect();
    let made = [&running, &cancelled, &pending, &done].map(|job| job.job_id.clone());
    assert_eq!(listed, made, "each once, the newest first");

    // Its agent is told anew: the lease went with who gave it.
    let mut agent = Agent::after(&mut next.server, session, "a", 3).await;
    let second = does(&mut agent, &mut next).await;
    assert_ne!(second.lease_id, first.lease_id);
    let over = ended(&mut next, &running).await;
    assert_eq!((&over.job_id, over.created_at), (&running.job_id, running.created_at));
    assert_eq!((over.state(), over.progress), (pb::JobState::Completed, 100));
    let [lost, whole] = over.steps[0].results.as_slice() else { panic!("{over:?}") };
    assert_eq!((lost.state(), &*lost.why), (pb::StepState::Skipped, "the server was restarted"));
    assert_eq!((whole.state(), whole.entries), (pb::StepState::Complete, 3));
    // The one that waited is done by the agent that it waited for, which comes through another server.
    let asks = asks_with_top("b", "x", 1);
    let session = follower.server.sessions.create_session(asks).await.unwrap().into_inner();
    let mut agent = Agent::of(&mut follower.server, session.session_id, "b").await;
    does(&mut agent, &mut follower).await;
    let over = ended(&mut follower, &pending).await;
    assert_eq!((&over.job_id, over.created_at), (&pending.job_id, pending.created_at));
    assert_eq!(over.state(), pb::JobState::Completed);
    assert_eq!(get(&mut next, &over).await, over);
}
