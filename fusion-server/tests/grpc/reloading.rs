//! The configuration, read anew while the server runs: what changes, what does not, and what is refused.

use std::sync::{Arc, Mutex};

use fusion_core::id::ViewName;
use fusion_proto::convert::audit::{AuditRecord, audit_record_from_pb};
use fusion_proto::pb;
use fusion_proto::status::{ObsoleteCause, Refusal, Violation};
use fusion_server::app::Deps;
use fusion_server::clock::RuntimeClock;
use fusion_server::config::{Config, ConfigFaults, Fault, ViewConfig};
use fusion_server::stores::Stores;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::evidence::{batch, file, root};
use crate::harness::{TestServer, VIEW, asks, asks_with_top, config, refusal, start_given};
use crate::telling::{Lane, opening};

/// What is read next.
type Next = Arc<Mutex<Result<Config, ConfigFaults>>>;

fn named(name: &str) -> ViewName {
    ViewName::new(name).unwrap()
}

/// A server with the views `v` and `w`, and its configuration, to be changed.
async fn start_on(stores: Stores) -> (TestServer, Next) {
    let mut config = config();
    config.auto_create_views = false;
    for name in [VIEW, "w"] {
        config.views.insert(named(name), ViewConfig::default());
    }
    let next: Next = Arc::new(Mutex::new(Ok(config.clone())));
    let read = Arc::clone(&next);
    let reread = Arc::new(move || read.lock().unwrap().clone());
    let clock = Arc::new(RuntimeClock::new());
    let deps = Deps { clock, stores, reread, ..Deps::bind(&config).await.unwrap() };
    (start_given(config, deps).await, next)
}

fn change(next: &Next, change: impl FnOnce(&mut Config)) {
    change(next.lock().unwrap().as_mut().unwrap());
}

async fn reload(server: &mut TestServer) -> Vec<(String, String, String)> {
    let answer = server.admin.reload_config(pb::ReloadConfigRequest {}).await.unwrap();
    let changes = answer.into_inner().changes.into_iter();
    changes.map(|it| (it.key, it.previous_value, it.value)).collect()
}

fn said(key: &str, before: &str, after: &str) -> (String, String, String) {
    (key.to_owned(), before.to_owned(), after.to_owned())
}

async fn refused(server: &mut TestServer) -> Vec<Violation> {
    let answer = server.admin.reload_config(pb::ReloadConfigRequest {}).await;
    match refusal(answer) {
        Refusal::InvalidArgument { violations } => violations,
        other => panic!("{other:?}"),
    }
}

async fn join(server: &mut TestServer, view: &str, agent: &str) -> pb::CreateSessionResponse {
    let ask = pb::CreateSessionRequest { view: view.to_owned(), ..asks_with_top(agent, "f", 7) };
    server.sessions.create_session(ask).await.unwrap().into_inner()
}

async fn is_reset(server: &mut TestServer, session: &str) {
    match refusal(server.beat(session).await) {
        Refusal::SessionObsolete { cause, .. } => assert_eq!(cause, ObsoleteCause::ViewReset),
        other => panic!("{other:?}"),
    }
}

async fn entry(server: &mut TestServer, path: &str) -> Result<u64, Refusal> {
    let view = VIEW.to_owned();
    let ask = pb::GetEntryRequest { view, path: path.to_owned(), read_class: 0 };
    match server.views.get_entry(ask).await {
        Ok(found) => Ok(found.into_inner().entry.unwrap().stat.unwrap().size),
        refused => Err(refusal(refused)),
    }
}

/// A session of `v` that has told of `/f`, and its lane.
async fn told(server: &mut TestServer) -> (pb::CreateSessionResponse, Lane) {
    let session = join(server, VIEW, "a").await;
    let ask = opening(pb::Lane::Realtime, &session.session_id, "a");
    let (mut lane, _) = Lane::open(server, ask).await.unwrap();
    lane.send(batch(1, vec![root(), file("/f", 5)])).await;
    lane.acknowledged(1).await.unwrap();
    (session, lane)
}

#[tokio::test]
async fn a_reload_that_changes_nothing_drops_nobody() {
    let (mut server, _next) = start_on(Stores::memory()).await;
    let (session, mut lane) = told(&mut server).await;
    assert_eq!(reload(&mut server).await, []);
    assert_eq!(reload(&mut server).await, []);
    server.beat(&session.session_id).await.unwrap();
    lane.send(batch(2, vec![file("/f", 6)])).await;
    lane.acknowledged(2).await.unwrap();
    assert_eq!(entry(&mut server, "/f").await, Ok(6));
    let metrics = server.get("/metrics").await;
    let counted = "fusion_reloads_total{outcome=\"unchanged\",what=\"configuration\"} 2";
    assert!(metrics.contains(counted), "{metrics}");
}

#[tokio::test]
async fn a_view_that_goes_ends_its_sessions_and_keeps_its_data() {
    let (mut server, next) = start_on(Stores::memory()).await;
    let (session, mut lane) = told(&mut server).await;
    let other = join(&mut server, "w", "b").await;
    change(&next, |config| drop(config.views.remove(&named(VIEW))));
    assert_eq!(reload(&mut server).await, [said("views.v", "configured", "")]);
    assert_eq!(lane.end().await.code(), Code::Aborted);
    is_reset(&mut server, &session.session_id).await;
    server.beat(&other.session_id).await.unwrap();
    let gone = |refused: Refusal| assert!(matches!(refused, Refusal::ViewNotFound { .. }));
    gone(entry(&mut server, "/f").await.unwrap_err());
    gone(refusal(server.sessions.create_session(asks("a")).await));
    let mut health = HealthClient::new(server.channel.clone());
    let ask = || HealthCheckRequest { service: "fusion.v1.view/v".to_owned() };
    while health.check(ask()).await.is_ok() {
        tokio::task::yield_now().await;
    }
    let metrics = server.get("/metrics").await;
    assert!(metrics.contains("fusion_view_state{state=\"empty\",view=\"w\"} 1"), "{metrics}");
    assert!(!metrics.contains("fusion_view_state{state=\"empty\",view=\"v\"}"), "{metrics}");
    assert!(!metrics.contains("fusion_sessions{role=\"leader\",view=\"v\"}"), "{metrics}");

    change(&next, |config| drop(config.views.insert(named(VIEW), ViewConfig::default())));
    assert_eq!(reload(&mut server).await, [said("views.v", "", "configured")]);
    assert_eq!(entry(&mut server, "/f").await, Ok(5));
    let again = join(&mut server, VIEW, "a").await;
    assert!(again.leader_epoch > session.leader_epoch, "{}", again.leader_epoch);
    let ask = opening(pb::Lane::Realtime, &again.session_id, "a");
    let ask = pb::PushOpening { first_held: 2, next: 2, ..ask };
    let (_lane, resume_after) = Lane::open(&mut server, ask).await.unwrap();
    assert_eq!(resume_after, 1);
}

#[tokio::test]
async fn a_view_that_was_not_configured_at_the_start_is_found_again() {
    let stores = Stores::memory();
    let (mut server, next) = start_on(stores.clone()).await;
    let (session, lane) = told(&mut server).await;
    change(&next, |config| drop(config.views.remove(&named(VIEW))));
    let without = next.lock().unwrap().clone().unwrap();
    drop(lane);
    server.ended().await;

    let read = Arc::clone(&next);
    let reread = Arc::new(move || read.lock().unwrap().clone());
    let deps = Deps { stores, reread, ..Deps::bind(&without).await.unwrap() };
    let mut server = start_given(without, deps).await;
    assert!(matches!(entry(&mut server, "/f").await, Err(Refusal::ViewNotFound { .. })));
    change(&next, |config| drop(config.views.insert(named(VIEW), ViewConfig::default())));
    assert_eq!(reload(&mut server).await, [said("views.v", "", "configured")]);
    assert_eq!(entry(&mut server, "/f").await, Ok(5));
    let again = join(&mut server, VIEW, "a").await;
    assert!(again.leader_epoch > session.leader_epoch, "{}", again.leader_epoch);
}

#[tokio::test]
async fn a_view_with_other_settings_is_begun_anew_and_its_agents_learn_them() {
    let (mut server, next) = start_on(Stores::memory()).await;
    let (session, mut lane) = told(&mut server).await;
    let other = join(&mut server, "w", "b").await;
    change(&next, |config| {
        let view = config.views.get_mut(&named(VIEW)).unwrap();
        view.exclude = vec!["*.tmp".to_owned()];
        view.session_timeout = std::time::Duration::from_secs(60);
    });
    let changes = [
        said("views.v.exclude", "[]", "[\"*.tmp\"]"),
        said("views.v.session_timeout", "\"30s\"", "\"1m\""),
    ];
    assert_eq!(reload(&mut server).await, changes);
    assert_eq!(lane.end().await.code(), Code::Aborted);
    is_reset(&mut server, &session.session_id).await;
    server.beat(&other.session_id).await.unwrap();
    assert_eq!(entry(&mut server, "/f").await, Ok(5));
    let again = join(&mut server, VIEW, "a").await;
    assert_eq!(again.settings.unwrap().exclude, ["*.tmp"]);
    assert_eq!(again.session.unwrap().timeout.unwrap().seconds, 60);
    let metrics = server.get("/metrics").await;
    assert!(
        metrics.contains("fusion_view_panics_total{view=\"v\"} 0"),
        "it is no failure: {metrics}"
    );
    let ask = opening(pb::Lane::Realtime, &again.session_id, "a");
    let ask = pb::PushOpening { first_held: 2, next: 2, ..ask };
    let (mut lane, resume_after) = Lane::open(&mut server, ask).await.unwrap();
    assert_eq!(resume_after, 1);
    lane.deliver(batch(2, vec![file("/f", 6)])).await;
}

#[tokio::test]
async fn what_is_wrong_or_fixed_is_named_at_once_and_changes_nothing() {
    let (mut server, next) = start_on(Stores::memory()).await;
    let session = join(&mut server, VIEW, "a").await;
    let good = next.lock().unwrap().clone();
    change(&next, |config| {
        config.shutdown_grace = std::time::Duration::from_secs(7);
        config.http.address.set_port(1);
        drop(config.views.remove(&named(VIEW)));
        config.log.filter = "debug".to_owned();
    });
    let fixed = refused(&mut server).await;
    let keys: Vec<&str> = fixed.iter().map(|it| it.field.as_str()).collect();
    assert_eq!(keys, ["listen.http.address", "shutdown_grace"]);
    assert!(fixed[1].description.starts_with("\"7s\": it is \"30s\", which cannot"), "{fixed:?}");

    let fault =
        |key: &str| Fault { key: key.to_owned(), value: "1".to_owned(), allowed: "2".to_owned() };
    *next.lock().unwrap() = Err(ConfigFaults(vec![fault("one"), fault("other")]));
    let faults = refused(&mut server).await;
    assert_eq!((faults[0].field.as_str(), faults[1].field.as_str()), ("one", "other"));

    *next.lock().unwrap() = good;
    change(&next, |config| config.max_views = 1);
    assert_eq!(refused(&mut server).await[0].field, "max_views");

    server.beat(&session.session_id).await.unwrap();
    let info =
        server.admin.get_server_info(pb::GetServerInfoRequest {}).await.unwrap().into_inner();
    assert_eq!((info.log_filter.as_str(), info.limits.unwrap().max_views), ("info", 256));
}

#[tokio::test]
async fn limits_and_the_log_filter_count_at_once_and_leave_a_record() {
    let (mut server, next) = start_on(Stores::memory()).await;
    let set = pb::SetLogFilterRequest { filter: "warn".to_owned() };
    server.admin.set_log_filter(set).await.unwrap();
    assert_eq!(reload(&mut server).await, []);
    let log_filter = async |server: &mut TestServer| {
        let info = server.admin.get_server_info(pb::GetServerInfoRequest {}).await.unwrap();
        info.into_inner().log_filter
    };
    assert_eq!(log_filter(&mut server).await, "warn", "what an operator set stays");
    join(&mut server, VIEW, "a").await;
    change(&next, |config| {
        config.session.max = 1;
        config.log.filter = "info,fusion_server=debug".to_owned();
    });
    let filter = said("log.filter", "\"info\"", "\"info,fusion_server=debug\"");
    let changes = [filter, said("session.max", "20000", "1")];
    assert_eq!(reload(&mut server).await, changes);
    assert_eq!(log_filter(&mut server).await, "info,fusion_server=debug");
    match refusal(server.sessions.create_session(asks("b")).await) {
        Refusal::QuotaExceeded { quota, limit, .. } => {
            assert_eq!((quota.as_str(), limit), ("session.max", 1))
        }
        other => panic!("{other:?}"),
    }
    let asked = pb::ListAuditRecordsRequest {
        method: "fusion.v1.AdminService/ReloadConfig".to_owned(),
        ..Default::default()
    };
    let records = server.admin.list_audit_records(asked).await.unwrap().into_inner().records;
    let records: Vec<AuditRecord> =
        records.into_iter().map(|record| audit_record_from_pb(record).unwrap()).collect();
    assert_eq!(records.len(), 2);
    let changed: Vec<&str> = records[0].changes.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(changed, ["log.filter", "session.max"]);
    assert_eq!(records[0].target.id, "configuration");
}
