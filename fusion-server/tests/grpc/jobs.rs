//! Jobs: made once, done by agents, followed, called off, done again, and there after a restart.

use std::sync::Arc;
use std::time::Duration;

use fusion_proto::limits::{CORRELATION_ID_KEY, IDEMPOTENCY_KEY};
use fusion_proto::pb;
use fusion_proto::pb::command::Action;
use fusion_proto::status::Refusal;
use fusion_server::clock::RuntimeClock;
use fusion_server::stores::Stores;
use tokio::task::JoinSet;
use tonic::{Request, Streaming};

use crate::agent::Agent;
use crate::harness::{TestServer, VIEW, config, refusal, start, start_in, start_with};

pub(crate) fn step(id: &str, path: &str, after: &[&str]) -> pb::JobStepSpec {
    pb::JobStepSpec {
        step_id: id.to_owned(),
        kind: pb::StepKind::Scan.into(),
        view: VIEW.to_owned(),
        path: path.to_owned(),
        depends_on: after.iter().map(|&id| id.to_owned()).collect(),
        ..Default::default()
    }
}

pub(crate) fn plan(steps: &[pb::JobStepSpec]) -> pb::CreateJobRequest {
    pb::CreateJobRequest { steps: steps.to_vec(), priority: 0 }
}

pub(crate) async fn create(server: &mut TestServer, steps: &[pb::JobStepSpec]) -> pb::Job {
    let made = server.jobs.create_job(plan(steps)).await.unwrap();
    made.into_inner().job.unwrap()
}

async fn get(server: &mut TestServer, id: &str) -> pb::Job {
    let asked = pb::GetJobRequest { job_id: id.to_owned() };
    server.jobs.get_job(asked).await.unwrap().into_inner().job.unwrap()
}

pub(crate) async fn watch(server: &mut TestServer, id: &str) -> Streaming<pb::WatchJobResponse> {
    let asked = pb::WatchJobRequest { job_id: id.to_owned() };
    server.jobs.watch_job(asked).await.unwrap().into_inner()
}

/// What is told of a job when it is like this.
async fn until(
    told: &mut Streaming<pb::WatchJobResponse>,
    is: impl Fn(&pb::Job) -> bool,
) -> pb::Job {
    loop {
        let job = told.message().await.unwrap().expect("an end came first").job.unwrap();
        if is(&job) {
            return job;
        }
    }
}

pub(crate) fn is_over(job: &pb::Job) -> bool {
    !matches!(job.state(), pb::JobState::Pending | pb::JobState::Running)
}

/// The path that a command has an agent scan.
fn path(command: &pb::Command) -> String {
    match &command.action {
        Some(Action::Scan(scan)) => String::from_utf8_lossy(&scan.path).into_owned(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn steps_are_done_one_after_the_other_and_followed_to_the_end() {
    let mut server = start().await;
    let mut agent = Agent::join(&mut server, "a").await;
    let made = create(&mut server, &[step("one", "/", &[]), step("two", "/", &["one"])]).await;
    assert_eq!((made.state(), made.version, made.progress), (pb::JobState::Pending, 1, 0));
    let mut told = watch(&mut server, &made.job_id).await;
    let first = agent.command().await;
    assert_eq!((path(&first), &first.correlation_id), ("/".to_owned(), &made.correlation_id));
    agent.report(&mut server, &first, pb::CommandState::Running).await;
    let halfway = until(&mut told, |job| job.progress == 20).await;
    assert_eq!(halfway.state(), pb::JobState::Running);
    assert_eq!(halfway.steps[0].results[0].agent_id, "a");
    assert_eq!(halfway.steps[1].state(), pb::StepState::Waiting);
    assert_eq!(agent.list("/", &["x"]).await, []);
    agent.report(&mut server, &first, pb::CommandState::Done).await;
    let second = agent.command().await;
    assert_ne!(second.command_id, first.command_id);
    assert_eq!(agent.list("/", &["x"]).await, []);
    agent.report(&mut server, &second, pb::CommandState::Done).await;
    let done = until(&mut told, is_over).await;
    assert_eq!((done.state(), done.progress), (pb::JobState::Completed, 100));
    assert!(done.steps.iter().all(|step| step.results[0].entries == 3));
    assert!(told.message().await.unwrap().is_none(), "a job that is over is told of no more");
    assert_eq!(get(&mut server, &made.job_id).await, done);
    let again = until(&mut watch(&mut server, &made.job_id).await, |_| true).await;
    assert_eq!(again, done);
    let metrics = server.get("/metrics").await;
    assert!(metrics.contains("fusion_jobs{state=\"PENDING\"} 0"), "{metrics}");
}

#[tokio::test]
async fn a_scan_that_is_not_whole_does_not_complete_its_step() {
    let mut server = start().await;
    let mut agent = Agent::join(&mut server, "a").await;
    let made = create(&mut server, &[step("one", "/", &[]), step("two", "/", &["one"])]).await;
    let mut told = watch(&mut server, &made.job_id).await;
    let command = agent.command().await;
    assert_eq!(agent.list("/", &["x"]).await, []);
    agent.report_of(&mut server, &command, pb::CommandState::Done, false).await;
    let over = until(&mut told, is_over).await;
    assert_eq!(over.state(), pb::JobState::PartialFailure, "{over:?}");
    let states: Vec<_> = over.steps.iter().map(pb::JobStep::state).collect();
    assert_eq!(states, [pb::StepState::Failed, pb::StepState::Skipped]);
    let result = &over.steps[0].results[0];
    assert_eq!((&*result.agent_id, result.state()), ("a", pb::StepState::Failed));
    assert_eq!(result.entries, 3);
    assert!(format!("{result:?}").contains("not all was looked at"), "{result:?}");
}

#[tokio::test]
async fn what_failed_ends_a_job_truthfully_and_can_be_done_again() {
    let mut server = start().await;
    let mut agent = Agent::join(&mut server, "a").await;
    let steps = [step("good", "/", &[]), step("bad", "/", &["good"]), step("next", "/", &["bad"])];
    let made = create(&mut server, &steps).await;
    let retry = pb::RetryJobRequest { job_id: made.job_id.clone() };
    let early = refusal(server.jobs.retry_job(retry.clone()).await);
    assert!(matches!(early, Refusal::IllegalTransition { .. }), "{early:?}");
    let good = agent.command().await;
    assert_eq!(agent.list("/", &["x"]).await, []);
    agent.report(&mut server, &good, pb::CommandState::Done).await;
    let bad = agent.command().await;
    agent.report(&mut server, &bad, pb::CommandState::Failed).await;
    let over = until(&mut watch(&mut server, &made.job_id).await, is_over).await;
    assert_eq!(over.state(), pb::JobState::PartialFailure);
    assert_eq!(over.steps[1].results[0].why, "the disk is gone");
    assert_eq!(over.steps[2].state(), pb::StepState::Skipped);

    let again = server.jobs.retry_job(retry).await.unwrap().into_inner().job.unwrap();
    let left: Vec<_> =
        again.steps.iter().map(|step| step.spec.as_ref().unwrap().step_id.as_str()).collect();
    assert_eq!((left, again.retry_of), (vec!["bad", "next"], made.job_id));
    assert_eq!(again.correlation_id, made.correlation_id);
}

#[tokio::test]
async fn an_agent_that_goes_hands_on_its_step() {
    let mut server = start().await;
    let mut first = Agent::join(&mut server, "a").await;
    let mut second = Agent::join(&mut server, "b").await;
    let made = create(&mut server, &[step("one", "/", &[])]).await;
    first.command().await;
    let end = pb::EndSessionRequest { session_id: first.session.clone(), allow_missing: false };
    server.sessions.end_session(end).await.unwrap();
    let command = second.command().await;
    assert_eq!(second.list("/", &["x"]).await, []);
    second.report(&mut server, &command, pb::CommandState::Done).await;
    let done = until(&mut watch(&mut server, &made.job_id).await, is_over).await;
    assert_eq!(done.state(), pb::JobState::Completed);
    let tries: Vec<_> =
        done.steps[0].results.iter().map(|it| (it.agent_id.as_str(), it.state())).collect();
    assert_eq!(tries, [("a", pb::StepState::Skipped), ("b", pb::StepState::Complete)]);
}

#[tokio::test]
async fn called_off_it_is_over_and_late_results_count_no_more() {
    let mut server = start().await;
    let mut agent = Agent::join(&mut server, "a").await;
    let made = create(&mut server, &[step("one", "/", &[])]).await;
    agent.command().await;
    let running = until(&mut watch(&mut server, &made.job_id).await, |job| job.version > 1).await;
    let cancel =
        |expected_version| pb::CancelJobRequest { job_id: made.job_id.clone(), expected_version };
    let stale = refusal(server.jobs.cancel_job(cancel(1)).await);
    assert_eq!(stale, Refusal::VersionMismatch { current: running.version });
    let (mut one, mut other) = (server.jobs.clone(), server.jobs.clone());
    let both = tokio::join!(one.cancel_job(cancel(0)), other.cancel_job(cancel(0)));
    let (done, refused) = match both {
        (Ok(done), Err(refused)) | (Err(refused), Ok(done)) => (done, refused),
        other => panic!("one of two: {other:?}"),
    };
    let over = done.into_inner().job.unwrap();
    assert_eq!(
        (over.state(), over.steps[0].state()),
        (pb::JobState::Cancelled, pb::StepState::Skipped)
    );
    let refused = Refusal::from_status(&refused).unwrap();
    let expected = Refusal::IllegalTransition { from: "CANCELLED".into(), to: "CANCELLED".into() };
    assert_eq!(refused, expected);
    assert_eq!(get(&mut server, &made.job_id).await, over);
}

#[tokio::test]
async fn one_key_under_many_callers_makes_one_job() {
    let mut server = start().await;
    server.join("a").await;
    let mut calls = JoinSet::new();
    for _ in 0..64 {
        let mut jobs = server.jobs.clone();
        calls.spawn(async move {
            let mut asked = Request::new(plan(&[step("one", "/", &[])]));
            asked.metadata_mut().insert(IDEMPOTENCY_KEY, "k".parse().unwrap());
            jobs.create_job(asked).await.unwrap().into_inner().job.unwrap().job_id
        });
    }
    let made = calls.join_all().await;
    assert!(made.iter().all(|id| *id == made[0]));
    let all = server.jobs.list_jobs(pb::ListJobsRequest::default()).await.unwrap().into_inner();
    assert_eq!(all.jobs.len(), 1);
}

#[tokio::test]
async fn jobs_are_found_by_their_chain() {
    let stores = Stores::memory();
    let on = async || start_in(config(), Arc::new(RuntimeClock::new()), stores.clone()).await;
    let mut server = on().await;
    server.join("a").await;
    let mut made = Vec::new();
    for chain in ["mine", "other", "mine"] {
        let mut asked = Request::new(plan(&[step("one", "/", &[])]));
        asked.metadata_mut().insert(CORRELATION_ID_KEY, chain.parse().unwrap());
        let job = server.jobs.create_job(asked).await.unwrap().into_inner().job.unwrap();
        made.push(job.job_id);
    }
    server.ended().await;
    let server = on().await;
    let list = async |chain: &str| {
        let asked = pb::ListJobsRequest { correlation_id: chain.to_owned(), ..Default::default() };
        let page = server.jobs.clone().list_jobs(asked).await.unwrap().into_inner();
        assert_eq!(page.next_page_token, "");
        page.jobs.into_iter().map(|job| job.job_id).collect::<Vec<_>>()
    };
    assert_eq!(list("mine").await, [made[2].clone(), made[0].clone()]);
    assert_eq!(list("other").await, [made[1].clone()]);
    assert!(list("none").await.is_empty());
    assert_eq!(list("").await.len(), 3);
}

#[tokio::test]
async fn a_restart_keeps_jobs_and_begins_anew_what_was_under_way() {
    let stores = Stores::memory();
    let on = async || start_in(config(), Arc::new(RuntimeClock::new()), stores.clone()).await;
    let mut server = on().await;
    let mut agent = Agent::join(&mut server, "a").await;
    let made = create(&mut server, &[step("one", "/", &[])]).await;
    let first = agent.command().await;
    let session = agent.session.clone();
    drop(agent);
    server.ended().await;

    let mut server = on().await;
    let mut agent = Agent::of(&mut server, session, "a").await;
    let second = agent.command().await;
    assert_ne!(second.lease_id, first.lease_id);
    assert_eq!(agent.list("/", &["x"]).await, []);
    agent.report(&mut server, &second, pb::CommandState::Done).await;
    let done = until(&mut watch(&mut server, &made.job_id).await, is_over).await;
    assert_eq!((done.state(), done.created_at), (pb::JobState::Completed, made.created_at));
    assert_eq!(done.steps[0].results[0].why, "the server was restarted");
    server.ended().await;

    let mut server = on().await;
    assert_eq!(get(&mut server, &made.job_id).await, done);
}

#[tokio::test(start_paused = true)]
async fn jobs_are_listed_newest_first_and_swept_when_their_time_is_over() {
    let mut server = start().await;
    let session = server.join("a").await.session_id;
    let end = pb::EndSessionRequest { session_id: session, allow_missing: false };
    server.sessions.end_session(end).await.unwrap();
    let mut made = Vec::new();
    for _ in 0..5 {
        tokio::time::advance(Duration::from_secs(1)).await;
        made.insert(0, create(&mut server, &[step("one", "/", &[])]).await.job_id);
    }
    let cancel = pb::CancelJobRequest { job_id: made[1].clone(), expected_version: 0 };
    server.jobs.cancel_job(cancel).await.unwrap();
    let mut list = async |state: pb::JobState, token: String| {
        let asked = pb::ListJobsRequest {
            page_size: 2,
            page_token: token,
            state: state.into(),
            ..Default::default()
        };
        let page = server.jobs.list_jobs(asked).await.unwrap().into_inner();
        let ids: Vec<String> = page.jobs.into_iter().map(|job| job.job_id).collect();
        (ids, page.next_page_token)
    };
    let (mut seen, mut token) = list(pb::JobState::Unspecified, String::new()).await;
    while !token.is_empty() {
        let (more, next) = list(pb::JobState::Unspecified, token).await;
        (seen, token) = ([seen, more].concat(), next);
    }
    assert_eq!(seen, made);
    let (cancelled, _) = list(pb::JobState::Cancelled, String::new()).await;
    assert_eq!(cancelled, [made[1].clone()]);
    tokio::time::advance(Duration::from_secs(7 * 24 * 3600 + 1)).await;
    let gone = pb::GetJobRequest { job_id: made[1].clone() };
    let gone = refusal(server.jobs.get_job(gone).await);
    assert_eq!(gone, Refusal::JobNotFound { job: made[1].clone() });
}

#[tokio::test]
async fn what_cannot_be_a_job_is_refused_by_name() {
    let mut config = config();
    config.max_open_jobs = 1;
    let mut server = start_with(config).await;
    server.join("a").await;
    let cycle = [step("a", "/", &["b"]), step("b", "/", &["a"])];
    match refusal(server.jobs.create_job(plan(&cycle)).await) {
        Refusal::InvalidArgument { violations } => {
            assert_eq!(violations[0].field, "steps");
            assert!(violations[0].description.contains("a -> b -> a"), "{violations:?}");
        }
        other => panic!("{other:?}"),
    }
    let other_view = pb::JobStepSpec { view: "other".to_owned(), ..step("a", "/", &[]) };
    let unknown = refusal(server.jobs.create_job(plan(&[other_view])).await);
    assert!(matches!(unknown, Refusal::ViewNotFound { .. }), "{unknown:?}");
    create(&mut server, &[step("a", "/", &[])]).await;
    let full = refusal(server.jobs.create_job(plan(&[step("a", "/", &[])])).await);
    assert!(matches!(full, Refusal::QuotaExceeded { limit: 1, .. }), "{full:?}");
    for id in ["", "7"] {
        let asked = pb::GetJobRequest { job_id: id.to_owned() };
        let refused = refusal(server.jobs.get_job(asked).await);
        assert!(matches!(refused, Refusal::InvalidArgument { .. }), "{refused:?}");
    }
}
