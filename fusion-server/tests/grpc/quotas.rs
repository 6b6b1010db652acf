//! Quotas: what one principal and all together may ask for, what who is over them is told, and that it is
//! nothing to others.

use std::path::Path;
use std::time::Duration;

use fusion_proto::pb;
use fusion_proto::status::{ObsoleteCause, Refusal};
use fusion_server::config::Config;
use tonic::Status;

use crate::access::{Clients, Ring, health, of_view};
use crate::harness::{TestServer, VIEW, advance, asks, config, refusal, start_with};
use crate::jobs::{plan, step};

async fn start(tokens: &Path, set: impl FnOnce(&mut Config)) -> TestServer {
    let mut config = config();
    config.token_file = Some(tokens.to_owned());
    set(&mut config);
    start_with(config).await
}

/// The quota that a call was over.
fn quota<T: std::fmt::Debug>(answer: Result<T, Status>) -> (String, u64) {
    match refusal(answer) {
        Refusal::QuotaExceeded { quota, limit, retry_after } if !retry_after.is_zero() => {
            (quota, limit)
        }
        other => panic!("{other:?}"),
    }
}

/// How long to wait, as the refusal of a call that came too early says it.
fn early<T: std::fmt::Debug>(answer: Result<T, Status>, of: u64) -> Duration {
    match refusal(answer) {
        Refusal::RateExceeded { rate, limit, retry_after } => {
            assert_eq!((&*rate, limit), ("quotas.requests_per_second", of));
            retry_after
        }
        other => panic!("{other:?}"),
    }
}

async fn counted(server: &TestServer, quota: &str) -> u64 {
    let series = format!("fusion_quota_refusals_total{{quota=\"{quota}\"}} ");
    let text = server.get("/metrics").await;
    text.lines().find_map(|line| line.strip_prefix(&*series)).map_or(0, |it| it.parse().unwrap())
}

/// Waits until so many reads of entries are under way, one of them this.
async fn under_way<T: std::fmt::Debug>(
    server: &TestServer,
    wanted: u64,
    call: &mut (impl Future<Output = T> + Unpin),
) {
    const SERIES: &str = "fusion_rpc_in_flight{method=\"fusion.v1.ViewService/GetEntry\"} ";
    let mut found = 0;
    while found != wanted {
        let text = tokio::select! {
            biased;
            answer = &mut *call => panic!("{answer:?}"),
            text = server.get("/metrics") => text,
        };
        let line = text.lines().find_map(|line| line.strip_prefix(SERIES));
        found = line.map_or(0, |count| count.parse().unwrap());
    }
}

fn watch() -> pb::WatchViewRequest {
    pb::WatchViewRequest { view: VIEW.to_owned(), path: "/".to_owned(), ..Default::default() }
}

#[tokio::test(start_paused = true)]
async fn who_asks_too_fast_is_told_when_to_come_again_and_others_are_not_held_up() {
    let mut ring = Ring::new();
    let [hasty, calm] = ["hasty", "calm"].map(|id| ring.add(id, "reader", &["*"], &[]));
    let server = start(&ring.path, |config| config.quotas.requests_per_second = 5).await;
    let [mut hasty, mut calm] = [hasty, calm].map(|token| Clients::of(&server, &token));
    for _ in 0..5 {
        hasty.list_views().await.unwrap();
    }
    let wait = early(hasty.list_views().await, 5);
    assert!(wait <= Duration::from_millis(200) && !wait.is_zero(), "{wait:?}");
    calm.list_views().await.unwrap();
    advance(wait).await;
    hasty.list_views().await.unwrap();
    early(hasty.list_views().await, 5);
    assert_eq!(counted(&server, "quotas.requests_per_second").await, 2);
    // A probe is let in whoever asks, and however fast.
    for clients in [&mut hasty, &mut Clients::new(&server, None)] {
        for _ in 0..20 {
            clients.health.check(tonic_health::pb::HealthCheckRequest::default()).await.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_changing_call_that_came_too_early_is_recorded_and_a_flood_of_them_bounded() {
    let mut ring = Ring::new();
    let [hasty, admin] = ["operator", "admin"].map(|role| ring.add(role, role, &["*"], &[]));
    let server = start(&ring.path, |config| config.quotas.requests_per_second = 1).await;
    let [mut hasty, mut admin] = [hasty, admin].map(|token| Clients::of(&server, &token));
    hasty.list_views().await.unwrap();
    for _ in 0..30 {
        early(hasty.jobs.cancel_job(pb::CancelJobRequest::default()).await, 1);
    }
    let records = loop {
        let asked = pb::ListAuditRecordsRequest::default();
        let found = admin.admin.list_audit_records(asked).await.unwrap().into_inner().records;
        if found.len() >= 10 {
            break found;
        }
        advance(Duration::from_secs(1)).await;
    };
    assert_eq!(records.len(), 10);
    for record in &records {
        let Some(pb::event_envelope::Payload::Call(call)) = &record.payload else {
            panic!("{record:?}")
        };
        assert_eq!((&*call.code, &*call.reason), ("RESOURCE_EXHAUSTED", "RATE_EXCEEDED"));
        assert_eq!(record.actor.as_ref().unwrap().principal, "operator");
    }
}

#[tokio::test(start_paused = true)]
async fn heartbeats_of_a_live_session_are_let_in_three_for_each_interval() {
    let mut ring = Ring::new();
    let agent = ring.add("agent", "agent", &["*"], &["*"]);
    let server = start(&ring.path, |config| config.quotas.requests_per_second = 1).await;
    let mut agent = Clients::of(&server, &agent);
    let session = agent.sessions.create_session(asks("a")).await.unwrap().into_inner();
    let interval = Duration::try_from(session.heartbeat_interval.unwrap()).unwrap();
    let beat = |session: &str| pb::HeartbeatRequest {
        session_id: session.to_owned(),
        ..Default::default()
    };
    // The session took the one request that there was.
    early(agent.sessions.get_session(pb::GetSessionRequest::default()).await, 1);
    for _ in 0..3 {
        agent.sessions.heartbeat(beat(&session.session_id)).await.unwrap();
    }
    early(agent.sessions.heartbeat(beat(&session.session_id)).await, 1);
    // Of a session that is not there, none is let in so; the agent learns that it is not when it has a request.
    let gone = crate::harness::uuid("gone");
    early(agent.sessions.heartbeat(beat(&gone)).await, 1);
    advance(interval).await;
    let told = refusal(agent.sessions.heartbeat(beat(&gone)).await);
    let unknown = ObsoleteCause::Unknown;
    assert!(
        matches!(&told, Refusal::SessionObsolete { cause, .. } if *cause == unknown),
        "{told:?}"
    );
    for _ in 0..3 {
        agent.sessions.heartbeat(beat(&session.session_id)).await.unwrap();
    }
    early(agent.sessions.heartbeat(beat(&session.session_id)).await, 1);
}

#[tokio::test]
async fn queries_are_shed_before_what_keeps_agents_and_probes_alive() {
    let mut ring = Ring::new();
    let agent = ring.add("agent", "agent", &["*"], &["*"]);
    let [one, two] = ["one", "two"].map(|id| ring.add(id, "reader", &["*"], &[]));
    let three = ring.add("three", "operator", &["*"], &[]);
    let server = start(&ring.path, |config| {
        config.max_queries = 2;
        config.quotas.max_queries = 1;
    })
    .await;
    let [mut agent, mut one, mut two, mut three] =
        [agent, one, two, three].map(|token| Clients::of(&server, &token));
    let session = agent.sessions.create_session(asks("a")).await.unwrap().into_inner();
    // It waits for an agent that says nothing.
    let read_class = pb::ReadClass::Fresh.into();
    let fresh = || pb::GetEntryRequest { view: VIEW.into(), path: "/".into(), read_class };
    let [mut first, mut second] = [one.views.clone(), two.views.clone()];
    let mut first = Box::pin(first.get_entry(fresh()));
    let mut second = Box::pin(second.get_entry(fresh()));
    under_way(&server, 1, &mut first).await;
    assert_eq!(quota(one.list_views().await), ("quotas.max_queries".to_owned(), 1));
    two.list_views().await.unwrap();
    under_way(&server, 2, &mut second).await;
    assert_eq!(quota(three.list_views().await), ("max_queries".to_owned(), 2));
    assert_eq!(counted(&server, "max_queries").await, 1);
    let beat = pb::HeartbeatRequest { session_id: session.session_id, ..Default::default() };
    agent.sessions.heartbeat(beat).await.unwrap();
    agent.sessions.create_session(asks("b")).await.unwrap();
    three.sessions.list_sessions(pb::ListSessionsRequest::default()).await.unwrap();
    health(&mut three.health, VIEW).await.unwrap();
    drop(first);
    while three.list_views().await.is_err() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn watchers_and_calls_under_way_are_bounded_for_each_and_come_back() {
    let mut ring = Ring::new();
    let agent = ring.add("agent", "agent", &["*"], &["*"]);
    let [one, two] = ["one", "two"].map(|id| ring.add(id, "reader", &["*"], &[]));
    let server = start(&ring.path, |config| config.quotas.max_watchers = 1).await;
    let tokens = [agent, one, two];
    let [mut agent, mut one, mut two] = tokens.each_ref().map(|it| Clients::of(&server, it));
    agent.sessions.create_session(asks("a")).await.unwrap();
    let first = one.views.watch_view(watch()).await.unwrap();
    let full = quota(one.views.watch_view(watch()).await);
    assert_eq!(full, ("quotas.max_watchers".to_owned(), 1));
    one.list_views().await.unwrap();
    let _other = two.views.watch_view(watch()).await.unwrap();
    drop(first);
    while let Err(status) = one.views.watch_view(watch()).await {
        assert_eq!(quota(Err::<(), _>(status)).0, "quotas.max_watchers");
        tokio::task::yield_now().await;
    }

    let server = start(&ring.path, |config| config.quotas.max_calls = 1).await;
    let [mut agent, mut one, mut two] = tokens.map(|token| Clients::of(&server, &token));
    agent.sessions.create_session(asks("a")).await.unwrap();
    let first = one.views.watch_view(watch()).await.unwrap();
    assert_eq!(quota(one.list_views().await), ("quotas.max_calls".to_owned(), 1));
    two.list_views().await.unwrap();
    drop(first);
    while one.list_views().await.is_err() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn open_jobs_are_bounded_for_each_and_sessions_in_each_view() {
    let mut ring = Ring::new();
    let agent = ring.add("agent", "agent", &["*"], &["*"]);
    let [one, two] = ["one", "two"].map(|id| ring.add(id, "operator", &["*"], &[]));
    let server = start(&ring.path, |config| {
        config.quotas.max_open_jobs = 1;
        config.view_defaults.max_sessions = 1;
    })
    .await;
    let [mut agent, mut one, mut two] = [agent, one, two].map(|it| Clients::of(&server, &it));
    agent.sessions.create_session(asks("a")).await.unwrap();
    let full = quota(agent.sessions.create_session(asks("b")).await);
    assert_eq!(full, ("view.max_sessions".to_owned(), 1));
    agent.sessions.create_session(asks("a")).await.expect("it takes the place of its older one");
    agent.sessions.create_session(of_view("w", "b")).await.unwrap();

    let job = one.jobs.create_job(plan(&[step("s", "/", &[])])).await.unwrap().into_inner();
    let full = quota(one.jobs.create_job(plan(&[step("s", "/", &[])])).await);
    assert_eq!(full, ("quotas.max_open_jobs".to_owned(), 1));
    two.jobs.create_job(plan(&[step("s", "/", &[])])).await.unwrap();
    let job_id = job.job.unwrap().job_id;
    one.jobs.cancel_job(pb::CancelJobRequest { job_id, ..Default::default() }).await.unwrap();
    one.jobs.create_job(plan(&[step("s", "/", &[])])).await.unwrap();
    for quota in ["view.max_sessions", "quotas.max_open_jobs"] {
        assert_eq!(counted(&server, quota).await, 1, "{quota}");
    }
}

#[tokio::test]
async fn where_nobody_is_told_apart_nobody_has_a_share() {
    let mut config = config();
    config.quotas.requests_per_second = 1;
    config.quotas.max_watchers = 1;
    let mut server = start_with(config).await;
    server.join("a").await;
    let _first = server.views.watch_view(watch()).await.unwrap();
    let _second = server.views.watch_view(watch()).await.unwrap();
    for _ in 0..5 {
        server.views.list_views(pb::ListViewsRequest::default()).await.unwrap();
    }
}
