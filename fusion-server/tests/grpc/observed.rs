//! What is done anyway is in the list of jobs: scans of the whole tree by the leader, and refreshes. It is
//! watched, never given out, and ends as the work does.

use std::sync::Arc;
use std::time::Duration;

use fusion_proto::pb;
use fusion_proto::pb::command::Action;
use fusion_proto::pb::evidence::Evidence as Said;
use fusion_proto::status::Refusal;
use fusion_server::clock::RuntimeClock;
use fusion_server::stores::Stores;

use crate::agent::Agent;
use crate::evidence::{ROOT_INODE, row};
use crate::harness::{TestServer, VIEW, advance, config, refusal, start, start_in};
use crate::jobs::{create, is_over, watch};

fn began(scan_id: u64, source: pb::ScanSource) -> pb::Evidence {
    row(Said::ScanStarted(pb::ScanStarted {
        scan_id,
        source: source.into(),
        path: "/".into(),
        root: Some(pb::RootIdentity { inode: ROOT_INODE, ..Default::default() }),
    }))
}

fn ended(scan_id: u64, complete: bool) -> pb::Evidence {
    let (directories, entries, errors) = (1, 7, 2);
    row(Said::ScanFinished(pb::ScanFinished { scan_id, complete, directories, entries, errors }))
}

async fn on(stores: &Stores) -> TestServer {
    start_in(config(), Arc::new(RuntimeClock::new()), stores.clone()).await
}

async fn list(server: &TestServer, asked: pb::ListJobsRequest) -> Vec<pb::Job> {
    server.jobs.clone().list_jobs(asked).await.unwrap().into_inner().jobs
}

/// All jobs, once they are like this: they are listed after the batch was acknowledged.
async fn until(server: &TestServer, are: impl Fn(&[pb::Job]) -> bool) -> Vec<pb::Job> {
    loop {
        let jobs = list(server, pb::ListJobsRequest::default()).await;
        if are(&jobs) {
            return jobs;
        }
        tokio::task::yield_now().await;
    }
}

fn kind(job: &pb::Job) -> pb::StepKind {
    job.steps[0].spec.as_ref().unwrap().kind()
}

fn over(jobs: &[pb::Job]) -> bool {
    !jobs.is_empty() && jobs.iter().all(is_over)
}

#[tokio::test]
async fn what_the_leader_scans_of_itself_is_listed_with_its_agent_and_its_progress() {
    let mut server = start().await;
    let mut agent = Agent::join(&mut server, "a").await;
    agent.push(vec![began(1, pb::ScanSource::Snapshot)]).await;
    let running = until(&server, |jobs| !jobs.is_empty()).await.remove(0);
    assert_eq!((running.state(), running.origin()), (pb::JobState::Running, pb::JobOrigin::Agent));
    assert_eq!((&*running.principal, kind(&running)), ("", pb::StepKind::Snapshot));
    assert_eq!(running.steps[0].results[0].agent_id, "a");
    let scan = pb::ScanProgress {
        source: pb::ScanSource::Snapshot.into(),
        started_at: Some(prost_types::Timestamp::default()),
        entries: 5,
        errors: 1,
        ..Default::default()
    };
    let beat = pb::HeartbeatRequest {
        session_id: agent.session.clone(),
        status: Some(pb::AgentStatus {
            scan: Some(scan),
            root_state: pb::RootState::Available.into(),
            ..Default::default()
        }),
        ..Default::default()
    };
    server.sessions.heartbeat(beat).await.unwrap();
    let mut told = watch(&mut server, &running.job_id).await;
    while told.message().await.unwrap().unwrap().job.unwrap().steps[0].results[0].entries != 5 {}
    let asked = pb::CancelJobRequest { job_id: running.job_id.clone(), expected_version: 0 };
    let refused = refusal(server.jobs.cancel_job(asked).await);
    let expected = Refusal::IllegalTransition { from: "RUNNING".into(), to: "CANCELLED".into() };
    assert_eq!(refused, expected);

    agent.push(vec![ended(1, true)]).await;
    let done = until(&server, over).await.remove(0);
    assert_eq!((done.state(), done.progress), (pb::JobState::Completed, 100));
    let result = &done.steps[0].results[0];
    assert_eq!((result.entries, result.errors), (7, 2));
    // One that is over before anybody could look, and one that is not whole.
    agent.push(vec![began(2, pb::ScanSource::Audit), ended(2, true)]).await;
    agent.push(vec![began(3, pb::ScanSource::Audit), ended(3, false)]).await;
    let jobs = until(&server, |jobs| jobs.len() == 3 && over(jobs)).await;
    let states: Vec<_> = jobs.iter().map(|job| (kind(job), job.state())).collect();
    assert_eq!(jobs.iter().filter(|job| kind(job) == pb::StepKind::Audit).count(), 2, "{states:?}");
    let shown = |asked| list(&server, asked);
    let left = shown(pb::ListJobsRequest { hide_routine: true, ..Default::default() }).await;
    assert_eq!((left.len(), left[0].state()), (1, pb::JobState::Failed), "{left:?}");
    assert!(left[0].steps[0].results[0].why.contains("before it was whole"));
    let of_agents = pb::JobOrigin::Agent.into();
    let of_agents = shown(pb::ListJobsRequest { origin: of_agents, ..Default::default() }).await;
    assert_eq!(of_agents, jobs);
    let made = pb::JobOrigin::Request.into();
    assert!(shown(pb::ListJobsRequest { origin: made, ..Default::default() }).await.is_empty());
    assert!(server.beat(&agent.session).await.unwrap().commands.is_empty(), "nothing is given out");
}

#[tokio::test(start_paused = true)]
async fn what_the_view_orders_is_the_servers_and_what_a_job_orders_is_that_job() {
    let mut server = start().await;
    let mut agent = Agent::join(&mut server, "a").await;
    agent.push(vec![began(1, pb::ScanSource::Snapshot), ended(1, true)]).await;
    let step =
        pb::JobStepSpec { kind: pb::StepKind::Audit.into(), ..crate::jobs::step("s", "/", &[]) };
    let made = create(&mut server, &[step]).await;
    let command = agent.command().await;
    agent.push_for(&command, vec![began(2, pb::ScanSource::Audit), ended(2, true)]).await;
    agent.report(&mut server, &command, pb::CommandState::Done).await;
    let jobs = until(&server, |jobs| jobs.len() == 2 && over(jobs)).await;
    assert!(jobs.iter().any(|job| job.job_id == made.job_id), "{jobs:?}");
    assert_eq!(jobs.iter().filter(|job| kind(job) == pb::StepKind::Audit).count(), 1);

    // Events were lost: after a while the view wants an audit.
    let lost = pb::Overflow { since: Some(prost_types::Timestamp { seconds: 1, nanos: 0 }) };
    agent.push(vec![row(Said::Overflow(lost))]).await;
    let order = loop {
        let commands = server.beat(&agent.session).await.unwrap().commands;
        let mut audits = commands.into_iter().filter(|command| match &command.action {
            Some(Action::Scan(scan)) => scan.recursive,
            _ => false,
        });
        if let Some(order) = audits.next() {
            break order;
        }
        advance(Duration::from_secs(5)).await;
    };
    agent.push_for(&order, vec![began(3, pb::ScanSource::Audit), ended(3, true)]).await;
    let jobs = until(&server, |jobs| jobs.len() == 3 && over(jobs)).await;
    let ordered: Vec<_> = jobs.iter().filter(|job| job.origin() == pb::JobOrigin::Server).collect();
    assert_eq!((ordered.len(), ordered[0].state()), (1, pb::JobState::Completed));
    assert_eq!(ordered[0].correlation_id, order.correlation_id);
}

#[tokio::test]
async fn a_scan_whose_agent_is_lost_or_replaced_or_whose_view_is_reset_ends_truthfully() {
    let mut server = start().await;
    for (case, name) in ["evicted", "replaced", "reset"].into_iter().zip(["a", "b", "b"]) {
        let mut agent = Agent::join(&mut server, name).await;
        agent.push(vec![began(1, pb::ScanSource::Snapshot)]).await;
        let running = until(&server, |jobs| jobs.iter().any(|job| !is_over(job))).await;
        let running = running.into_iter().find(|job| !is_over(job)).unwrap();
        match case {
            "evicted" => {
                let session_id = agent.session.clone();
                let evict = pb::EvictSessionRequest { session_id, allow_missing: false };
                drop(server.admin.evict_session(evict).await.unwrap());
            }
            "replaced" => drop(server.join(name).await),
            _ => {
                let reset = pb::ResetViewRequest { view: VIEW.to_owned() };
                drop(server.admin.reset_view(reset).await.unwrap());
            }
        }
        let jobs = until(&server, over).await;
        let lost = jobs.iter().find(|job| job.job_id == running.job_id).unwrap();
        assert_eq!(lost.state(), pb::JobState::Failed, "{case}");
        let result = &lost.steps[0].results[0];
        assert_eq!(result.why, "its agent is gone, or does not lead any more", "{case}");
        assert!(result.ended_at.is_some());
    }
}

#[tokio::test]
async fn over_a_restart_a_scan_goes_on_as_the_same_job_and_a_refresh_does_not() {
    let stores = Stores::memory();
    let mut server = on(&stores).await;
    let mut agent = Agent::join(&mut server, "a").await;
    agent.push(vec![began(1, pb::ScanSource::Snapshot)]).await;
    let scan = until(&server, |jobs| !jobs.is_empty()).await.remove(0);
    let mut views = server.views.clone();
    let asked =
        pb::RefreshPathRequest { view: VIEW.into(), path: "/".into(), ..Default::default() };
    #[expect(clippy::disallowed_methods, reason = "a caller of its own, for as long as the test")]
    let refresh = tokio::spawn(async move { views.refresh_path(asked).await });
    agent.command().await;
    let session = agent.session.clone();
    drop(agent);
    server.ended().await;
    refresh.await.unwrap().unwrap_err();

    let mut server = on(&stores).await;
    let jobs = until(&server, |jobs| jobs.iter().any(is_over)).await;
    assert_eq!(jobs.len(), 2, "{jobs:?}");
    let refresh = jobs.iter().find(|job| job.origin() == pb::JobOrigin::Refresh).unwrap();
    assert_eq!((refresh.state(), &*refresh.principal), (pb::JobState::Failed, "anonymous"));
    let same = jobs.iter().find(|job| job.job_id == scan.job_id).unwrap();
    assert_eq!((same.state(), same.created_at), (pb::JobState::Running, scan.created_at));
    let mut agent = Agent::after(&mut server, session, "a", 1).await;
    agent.push(vec![ended(1, true)]).await;
    let jobs = until(&server, over).await;
    let states: Vec<_> = jobs.iter().map(pb::Job::state).collect();
    assert_eq!(jobs.len(), 2, "{states:?}");
    assert!(states.contains(&pb::JobState::Completed) && states.contains(&pb::JobState::Failed));
    // What was complete before is that after another restart, and is not begun anew by a late word.
    server.ended().await;
    let server = on(&stores).await;
    assert_eq!(list(&server, pb::ListJobsRequest::default()).await, jobs);
}

#[tokio::test]
async fn a_scan_that_is_gone_when_the_server_comes_back_is_over() {
    let stores = Stores::memory();
    let mut server = on(&stores).await;
    let mut agent = Agent::join(&mut server, "a").await;
    agent.push(vec![began(1, pb::ScanSource::Snapshot)]).await;
    let scan = until(&server, |jobs| !jobs.is_empty()).await.remove(0);
    let session_id = agent.session.clone();
    drop(agent);
    // It dies after the view has the end of the scan, and before the job has it.
    let state = Arc::clone(&stores.state);
    let id = uuid::Uuid::parse_str(&scan.job_id).unwrap();
    let early = fusion_core::time::ServerTime::default();
    // What is observed is written a little later.
    let stored = async |is: &dyn Fn(&[u8]) -> bool| loop {
        let found = state.get(fusion_store::Space::Job, id.as_bytes(), early).unwrap();
        if let Some(record) = found.filter(|record| is(&record.value)) {
            return record.value;
        }
        tokio::task::yield_now().await;
    };
    let record = stored(&|_| true).await;
    let evict = pb::EvictSessionRequest { session_id, allow_missing: false };
    server.admin.evict_session(evict).await.unwrap();
    until(&server, over).await;
    stored(&|value| value != record.as_slice()).await;
    server.ended().await;
    state.put(fusion_store::Space::Job, id.as_bytes(), &record, None).unwrap();

    let server = on(&stores).await;
    let jobs = until(&server, over).await;
    assert_eq!((jobs.len(), jobs[0].state()), (1, pb::JobState::Failed));
    assert!(jobs[0].steps[0].results[0].why.contains("restarted"), "{jobs:?}");
}

#[tokio::test]
async fn a_refresh_is_listed_with_who_asked_and_what_came_of_it() {
    let mut server = start().await;
    let mut agent = Agent::join(&mut server, "a").await;
    let views = server.views.clone();
    let refresh = |path: &str| {
        let (mut views, path) = (views.clone(), path.to_owned());
        let asked = pb::RefreshPathRequest { view: VIEW.into(), path, ..Default::default() };
        #[expect(
            clippy::disallowed_methods,
            reason = "a caller of its own, until it has its answer"
        )]
        tokio::spawn(async move { views.refresh_path(asked).await })
    };
    let good = refresh("/");
    let command = agent.command().await;
    agent.report(&mut server, &command, pb::CommandState::Running).await;
    let running = until(&server, |jobs| jobs.iter().any(|job| job.progress == 40)).await;
    assert_eq!(running[0].origin(), pb::JobOrigin::Refresh);
    assert_eq!(agent.list("/", &["x"]).await, []);
    agent.report(&mut server, &command, pb::CommandState::Done).await;
    good.await.unwrap().unwrap();
    let bad = refresh("/");
    let command = agent.command().await;
    agent.report(&mut server, &command, pb::CommandState::Failed).await;
    bad.await.unwrap().unwrap_err();
    let jobs = until(&server, |jobs| jobs.len() == 2 && over(jobs)).await;
    let [failed, done] = jobs.as_slice() else { panic!("{jobs:?}") };
    assert_eq!((done.state(), done.steps[0].results[0].entries), (pb::JobState::Completed, 3));
    assert_eq!((failed.state(), &*failed.principal), (pb::JobState::Failed, "anonymous"));
    assert_eq!(failed.steps[0].results[0].why, "the disk is gone");
    assert_eq!(failed.correlation_id, command.correlation_id);
    let retry = pb::RetryJobRequest { job_id: failed.job_id.clone() };
    let again = server.jobs.retry_job(retry).await.unwrap().into_inner().job.unwrap();
    assert_eq!((again.origin(), again.state()), (pb::JobOrigin::Request, pb::JobState::Pending));
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_scans_without_end_does_not_fill_the_store() {
    const A_MINUTE: usize = 60;
    const KEPT: usize = 1_000;
    let stores = Stores::memory();
    let mut server = on(&stores).await;
    let mut agent = Agent::join(&mut server, "a").await;
    let mut scan = 0;
    let mut many = |count: u64| {
        let numbers = scan + 1..=scan + count;
        scan += count;
        let pair = |scan| [began(scan, pb::ScanSource::Audit), ended(scan, true)];
        numbers.flat_map(pair).collect::<Vec<_>>()
    };
    agent.push(many(100)).await;
    let first = until(&server, |jobs| jobs.len() == A_MINUTE && over(jobs)).await;
    for _ in 0..KEPT / A_MINUTE + 2 {
        for _ in 0..6 {
            advance(Duration::from_secs(10)).await;
            server.beat(&agent.session).await.unwrap();
        }
        agent.push(many(A_MINUTE as u64)).await;
    }
    let is_first = |job: &pb::Job| first.iter().any(|first| first.job_id == job.job_id);
    let are = |jobs: &[pb::Job]| jobs.len() == KEPT && over(jobs) && !jobs.iter().any(is_first);
    let jobs = until(&server, are).await;
    drop(agent);
    server.ended().await;
    let server = on(&stores).await;
    assert_eq!(list(&server, pb::ListJobsRequest::default()).await.len(), jobs.len());
}
