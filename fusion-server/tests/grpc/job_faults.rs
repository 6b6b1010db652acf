//! Jobs under load and in odd moments: thousands that wait, a cancel while a step is handed on, clocks that
//! jump.

use std::sync::Arc;
use std::time::Duration;

use fusion_core::time::{Clock, Monotonic, ServerTime};
use fusion_proto::pb;
use fusion_proto::status::Refusal;
use fusion_server::clock::RuntimeClock;
use fusion_server::stores::Stores;
use tokio::task::JoinSet;

use crate::agent::Agent;
use crate::harness::{TestServer, config, refusal, start, start_in, start_with};
use crate::jobs::{create, is_over, plan, step, watch};

/// A step that is done as soon as an agent is there: no suspects are known.
fn small() -> pb::JobStepSpec {
    pb::JobStepSpec { kind: pb::StepKind::ProbeSuspects.into(), ..step("s", "/", &[]) }
}

async fn all(server: &TestServer) -> Vec<pb::Job> {
    let mut asked = pb::ListJobsRequest { page_size: 1_000, ..Default::default() };
    let mut jobs = Vec::new();
    loop {
        let page = server.jobs.clone().list_jobs(asked.clone()).await.unwrap().into_inner();
        assert!(page.jobs.len() <= 1_000);
        jobs.extend(page.jobs);
        if page.next_page_token.is_empty() {
            return jobs;
        }
        asked.page_token = page.next_page_token;
    }
}

#[tokio::test]
async fn ten_thousand_jobs_wait_the_most_urgent_go_first_and_all_end() {
    const JOBS: usize = 10_000;
    const CALLERS: usize = 50;
    let mut config = config();
    config.max_open_jobs = JOBS;
    let mut server = start_with(config).await;
    let session = server.join("a").await.session_id;
    let end = pb::EndSessionRequest { session_id: session, allow_missing: false };
    server.sessions.end_session(end).await.unwrap();
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let mut jobs = server.jobs.clone();
        callers.spawn(async move {
            for number in 0..JOBS / CALLERS {
                let priority = i32::try_from((caller + number * 31) % 7).unwrap();
                let asked = pb::CreateJobRequest { priority, ..plan(&[small()]) };
                jobs.create_job(asked).await.unwrap();
            }
        });
    }
    callers.join_all().await;
    let refused = refusal(server.jobs.create_job(plan(&[small()])).await);
    assert!(matches!(refused, Refusal::QuotaExceeded { limit: 10_000, .. }), "{refused:?}");
    assert!(all(&server).await.iter().all(|job| job.state() == pb::JobState::Pending));

    server.join("a").await;
    let ends = |state: pb::JobState| {
        let name = state.as_str_name().trim_start_matches("JOB_STATE_");
        format!("fusion_jobs{{state=\"{name}\"}} {JOBS}\n")
    };
    while !server.get("/metrics").await.contains(&ends(pb::JobState::Completed)) {
        tokio::task::yield_now().await;
    }
    let mut jobs = all(&server).await;
    assert_eq!(jobs.len(), JOBS);
    let begun = |job: &pb::Job| {
        let at = job.started_at.unwrap();
        (at.seconds, at.nanos)
    };
    jobs.sort_by_key(|job| std::cmp::Reverse(job.priority));
    for urgency in jobs.chunk_by(|one, other| one.priority == other.priority) {
        let last = urgency.iter().map(begun).max();
        let next = jobs.iter().filter(|job| job.priority < urgency[0].priority).map(begun).min();
        assert!(next.is_none() || last <= next, "{} goes first", urgency[0].priority);
    }
    // None is left in the way.
    create(&mut server, &[small()]).await;
}

#[tokio::test]
async fn a_job_that_is_called_off_while_it_is_handed_on_is_done_by_nobody() {
    for round in 0..20 {
        let mut server = start().await;
        let mut first = Agent::join(&mut server, "a").await;
        let second = Agent::join(&mut server, "b").await;
        let made = create(&mut server, &[step("one", "/", &[])]).await;
        first.command().await;
        let end = pb::EndSessionRequest { session_id: first.session, allow_missing: false };
        let cancel = pb::CancelJobRequest { job_id: made.job_id.clone(), expected_version: 0 };
        let (mut sessions, mut jobs) = (server.sessions.clone(), server.jobs.clone());
        // As the one goes, at about the moment at which the other would get it.
        let cancelled = async {
            for _ in 0..round {
                tokio::task::yield_now().await;
            }
            jobs.cancel_job(cancel).await
        };
        let (ended, cancelled) = tokio::join!(sessions.end_session(end), cancelled);
        ended.unwrap();
        let over = cancelled.unwrap().into_inner().job.unwrap();
        assert_eq!(over.state(), pb::JobState::Cancelled);
        assert!(over.steps[0].results.iter().all(|result| result.ended_at.is_some()));
        let told = watch(&mut server, &made.job_id).await.message().await.unwrap().unwrap();
        assert_eq!(told.job.unwrap(), over);
        // What the second was told of before that it may report: it counts no more.
        let commands = server.beat(&second.session).await.unwrap().commands;
        for command in &commands {
            second.report(&mut server, command, pb::CommandState::Failed).await;
        }
        let asked = pb::GetJobRequest { job_id: made.job_id };
        let shown = server.jobs.get_job(asked).await.unwrap().into_inner().job.unwrap();
        assert_eq!(shown, over);
    }
}

/// A clock that is wrong by so much.
struct Wrong(RuntimeClock, i64);

impl Clock for Wrong {
    fn now(&self) -> ServerTime {
        ServerTime::from_nanos(self.0.now().as_nanos() + self.1 * 1_000_000_000)
    }

    fn monotonic(&self) -> Monotonic {
        self.0.monotonic()
    }
}

#[tokio::test]
async fn over_restarts_with_clocks_that_jump_a_job_goes_on_and_what_is_over_stays_so() {
    const DAY: i64 = 24 * 3600;
    let stores = Stores::memory();
    let on = async |wrong_by: i64| {
        let clock = Arc::new(Wrong(RuntimeClock::new(), wrong_by));
        start_in(config(), clock, stores.clone()).await
    };
    let mut server = on(0).await;
    let mut agent = Agent::join(&mut server, "a").await;
    let made = create(&mut server, &[step("one", "/", &[])]).await;
    agent.command().await;
    let over = create(&mut server, &[small()]).await;
    let mut told = watch(&mut server, &over.job_id).await;
    while !is_over(told.message().await.unwrap().unwrap().job.as_ref().unwrap()) {}
    drop(agent);
    server.ended().await;
    for wrong_by in [DAY, -DAY, 0] {
        let mut server = on(wrong_by).await;
        let jobs = all(&server).await;
        let state = |id: &str| jobs.iter().find(|job| job.job_id == id).unwrap().state();
        assert_eq!(state(&over.job_id), pb::JobState::Completed, "{wrong_by}");
        assert_eq!(state(&made.job_id), pb::JobState::Running, "{wrong_by}");
        // It is not taken for silent, whatever the clock says of when it came further.
        let mut told = watch(&mut server, &made.job_id).await;
        let waits = async {
            while !is_over(told.message().await.unwrap().unwrap().job.as_ref().unwrap()) {}
        };
        let ended = tokio::time::timeout(Duration::from_millis(200), waits).await;
        assert!(ended.is_err(), "{wrong_by}");
        drop(told);
        server.ended().await;
    }
    let mut server = on(0).await;
    let cancel = pb::CancelJobRequest { job_id: made.job_id, expected_version: 0 };
    let over = server.jobs.cancel_job(cancel).await.unwrap().into_inner().job.unwrap();
    assert_eq!(over.state(), pb::JobState::Cancelled);
}
