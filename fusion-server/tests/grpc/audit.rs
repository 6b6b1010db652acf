//! Who did what: every changing call leaves one record, whatever came of it.

use std::sync::Arc;
use std::time::Duration;

use fusion_core::time::{Clock as _, ServerTime};
use fusion_proto::convert::audit::{AuditRecord, audit_record_from_pb};
use fusion_proto::limits::{CORRELATION_ID_KEY, IDEMPOTENCY_AUTO_KEY, IDEMPOTENCY_KEY};
use fusion_proto::pb;
use fusion_server::clock::RuntimeClock;
use fusion_server::stores::Stores;
use fusion_store::{Item, Space};
use tokio::task::JoinSet;
use tonic::Request;

use crate::harness::{TestServer, VIEW, advance, config, refusal, start, start_in};

fn evict(session: &str) -> pb::EvictSessionRequest {
    pb::EvictSessionRequest { session_id: session.to_owned(), allow_missing: false }
}

fn with<T>(message: T, metadata: &[(&'static str, &str)]) -> Request<T> {
    let mut request = Request::new(message);
    for (name, value) in metadata {
        request.metadata_mut().insert(*name, value.parse().unwrap());
    }
    request
}

fn all() -> pb::ListAuditRecordsRequest {
    pb::ListAuditRecordsRequest::default()
}

async fn page(
    server: &TestServer,
    asked: pb::ListAuditRecordsRequest,
) -> (Vec<AuditRecord>, String) {
    let answer = server.admin.clone().list_audit_records(asked).await.unwrap().into_inner();
    let records = answer.records.into_iter().map(|it| audit_record_from_pb(it).unwrap());
    (records.collect(), answer.next_page_token)
}

async fn records(server: &TestServer, asked: pb::ListAuditRecordsRequest) -> Vec<AuditRecord> {
    let (records, next) = page(server, asked).await;
    assert_eq!(next, "");
    records
}

/// The records, once there are so many: those of failed calls are written after their answers.
async fn records_when(server: &TestServer, many: usize) -> Vec<AuditRecord> {
    loop {
        let found = records(server, all()).await;
        if found.len() >= many {
            return found;
        }
        tokio::task::yield_now().await;
    }
}

fn stored(stores: &Stores) -> Vec<Item> {
    let early = ServerTime::from_nanos(0);
    stores.state.scan(Space::Audit, b"", None, 1_000, early).unwrap().items
}

async fn on(stores: &Stores) -> TestServer {
    start_in(config(), Arc::new(RuntimeClock::new()), stores.clone()).await
}

fn changed(record: &AuditRecord, name: &str) -> (String, String) {
    let found = record.changes.iter().find(|change| change.name == name);
    let found = found.unwrap_or_else(|| panic!("no {name}: {record:?}"));
    (found.before.clone(), found.after.clone())
}

#[tokio::test]
async fn what_was_done_is_recorded_before_it_is_answered_and_stays() {
    let stores = Stores::memory();
    let mut server = on(&stores).await;
    let session = server.join("a").await.session_id;
    let by = [(CORRELATION_ID_KEY, "case:7")];
    server.admin.evict_session(with(evict(&session), &by)).await.unwrap();
    assert_eq!(stored(&stores).len(), 1, "before the answer");
    let reset = pb::ResetViewRequest { view: VIEW.to_owned() };
    let reset = server.admin.reset_view(reset).await.unwrap().into_inner();
    // What reads is not recorded, nor is what repeats safely by its own rules.
    server.views.list_views(pb::ListViewsRequest::default()).await.unwrap();
    let before = records(&server, all()).await;
    server.ended().await;

    let server = on(&stores).await;
    let found = records(&server, all()).await;
    assert_eq!(found, before);
    let [second, first] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!(first.method, "fusion.v1.AdminService/EvictSession");
    assert_eq!((first.code.as_str(), first.reason.as_str()), ("OK", ""));
    assert_eq!(first.principal.as_str(), "anonymous");
    assert_eq!((first.target.view.as_str(), &first.target.id), (VIEW, &session));
    assert_eq!(first.correlation.as_ref().unwrap().as_str(), "case:7");
    assert_eq!(changed(first, "session.state"), ("ACTIVE".into(), "EVICTED".into()));
    assert_eq!(second.method, "fusion.v1.AdminService/ResetView");
    assert_eq!((second.target.view.as_str(), second.version), (VIEW, reset.revision));
    assert_eq!(changed(second, "view.leader_epoch").0, reset.leader_epoch.to_string());
    assert_eq!(first.id.get_version_num(), 7);
    assert_ne!(first.id, second.id);
}

#[tokio::test]
async fn a_change_of_what_is_logged_says_before_and_after() {
    let mut server = start().await;
    let asked = pb::SetLogFilterRequest { filter: "no=such=filter".to_owned() };
    server.admin.set_log_filter(asked).await.unwrap_err();
    let found = records_when(&server, 1).await;
    assert_eq!((found[0].is_done(), found[0].target.id.as_str()), (false, "log.filter"));
}

#[tokio::test]
async fn what_failed_is_recorded_with_its_reason() {
    let mut server = start().await;
    let session = server.join("a").await.session_id;
    let gone = crate::harness::uuid("gone");
    refusal(server.admin.evict_session(evict(&gone)).await);
    refusal(server.admin.evict_session(evict("no id")).await);
    let bad = with(evict(&session), &[(IDEMPOTENCY_KEY, "a key")]);
    refusal(server.admin.evict_session(bad).await);
    let stranger = pb::ResetViewRequest { view: "w".to_owned() };
    refusal(server.admin.reset_view(stranger).await);
    let under = |session: &str| with(evict(session), &[(IDEMPOTENCY_KEY, "k")]);
    refusal(server.admin.evict_session(under(&gone)).await);
    server.admin.evict_session(under(&session)).await.unwrap();
    refusal(server.admin.evict_session(under(&gone)).await);

    let mut found = records_when(&server, 7).await;
    found.reverse();
    let told: Vec<_> = found
        .iter()
        .map(|it| (it.code.as_str(), it.reason.as_str(), it.target.id.as_str()))
        .collect();
    let expected = [
        ("NOT_FOUND", "SESSION_NOT_FOUND", gone.as_str()),
        ("INVALID_ARGUMENT", "INVALID_ARGUMENT", "no id"),
        ("INVALID_ARGUMENT", "INVALID_ARGUMENT", ""),
        ("NOT_FOUND", "VIEW_NOT_FOUND", ""),
        ("NOT_FOUND", "SESSION_NOT_FOUND", gone.as_str()),
        ("OK", "", session.as_str()),
        ("INVALID_ARGUMENT", "IDEMPOTENCY_KEY_REUSED", gone.as_str()),
    ];
    assert_eq!(told, expected);
    assert_eq!(found[3].target.view, "w");
    assert!(found.iter().filter(|it| !it.is_done()).all(|it| it.changes.is_empty()));
    let metrics = server.get("/metrics").await;
    let line = "fusion_audit_records_total{\
                action=\"fusion.v1.AdminService/EvictSession\",outcome=\"NOT_FOUND\"} 2";
    assert!(metrics.contains(line), "{metrics}");
}

#[tokio::test]
async fn a_replay_makes_no_record_and_a_key_is_never_kept() {
    let stores = Stores::memory();
    let mut server = on(&stores).await;
    let session = server.join("a").await.session_id;
    let mut calls = JoinSet::new();
    for _ in 0..64 {
        let mut admin = server.admin.clone();
        let request = with(evict(&session), &[(IDEMPOTENCY_KEY, "very-secret")]);
        calls.spawn(async move { admin.evict_session(request).await });
    }
    assert!(calls.join_all().await.iter().all(Result::is_ok));
    assert_eq!(stored(&stores).len(), 1);
    let other = server.join("b").await.session_id;
    let derived = || with(evict(&other), &[(IDEMPOTENCY_AUTO_KEY, "true")]);
    server.admin.evict_session(derived()).await.unwrap();
    server.admin.evict_session(derived()).await.unwrap();
    let delete = pb::DeleteIdempotencyKeyRequest {
        method: "fusion.v1.AdminService/EvictSession".to_owned(),
        key: "very-secret".to_owned(),
    };
    server.admin.delete_idempotency_key(delete).await.unwrap();

    let found = records(&server, all()).await;
    let [deleted, auto, first] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!(first.key_digest.len(), 16);
    assert_eq!(auto.key_digest, "auto");
    assert_eq!((&deleted.target.id, deleted.key_digest.as_str()), (&first.key_digest, ""));
    assert_eq!(changed(deleted, "answer"), ("kept".into(), String::new()));
    for item in stored(&stores) {
        let text = String::from_utf8(item.value).unwrap();
        assert!(!text.contains("very-secret"), "{text}");
    }
}

#[tokio::test]
async fn a_call_whose_caller_left_is_recorded() {
    let mut server = start().await;
    server.join("a").await;
    // Nobody looks: this agent takes no commands.
    let refresh = pb::RefreshPathRequest {
        view: VIEW.to_owned(),
        path: "/d".to_owned(),
        ..Default::default()
    };
    let mut request = Request::new(refresh);
    request.set_timeout(Duration::from_millis(20));
    server.views.refresh_path(request).await.unwrap_err();
    let found = records_when(&server, 1).await;
    assert_eq!((found[0].code.as_str(), found[0].target.path.as_str()), ("CANCELLED", "/d"));
}

/// So many calls that are refused; the paths are `/0`, `/1`, …
async fn refuse(server: &mut TestServer, from: usize, many: usize) {
    for number in from..from + many {
        let refresh = pb::RefreshPathRequest {
            view: VIEW.to_owned(),
            path: format!("/{number}"),
            agent_id: "nobody".to_owned(),
            ..Default::default()
        };
        refusal(server.views.refresh_path(refresh).await);
    }
    records_when(server, from + many).await;
}

#[tokio::test(start_paused = true)]
async fn pages_neither_skip_nor_repeat_while_records_are_made() {
    let stores = Stores::memory();
    let clock = Arc::new(RuntimeClock::new());
    let mut server = start_in(config(), clock.clone(), stores.clone()).await;
    server.join("a").await;
    // The clock stands still: all have the same time.
    refuse(&mut server, 0, 25).await;
    let asked =
        |token: String| pb::ListAuditRecordsRequest { page_size: 4, page_token: token, ..all() };
    let (mut seen, mut token) = (Vec::new(), String::new());
    for number in 0.. {
        let (records, next) = page(&server, asked(token)).await;
        assert!(records.len() <= 4);
        seen.extend(records.into_iter().map(|record| record.target.path));
        token = next;
        if token.is_empty() {
            break;
        }
        if number == 2 {
            refuse(&mut server, 25, 3).await;
        }
        if number == 3 {
            // A token is of one question.
            let other =
                pb::ListAuditRecordsRequest { view: VIEW.to_owned(), ..asked(token.clone()) };
            let bad = refusal(server.admin.list_audit_records(other).await);
            assert_eq!(bad.reason().as_str(), "INVALID_ARGUMENT");
        }
    }
    let expected: Vec<String> = (0..25).rev().map(|number| format!("/{number}")).collect();
    assert_eq!(seen, expected);
}

#[tokio::test(start_paused = true)]
async fn records_are_found_by_what_they_are_about() {
    let clock = Arc::new(RuntimeClock::new());
    let mut server = start_in(config(), clock.clone(), Stores::memory()).await;
    let session = server.join("a").await.session_id;
    refuse(&mut server, 0, 12).await;
    advance(Duration::from_secs(10)).await;
    let middle = fusion_proto::convert::time::server_time_to_pb(clock.now());
    let by = with(evict(&session), &[(CORRELATION_ID_KEY, "mine")]);
    server.admin.evict_session(by).await.unwrap();

    let many = async |asked| records(&server, asked).await.len();
    let asked = all();
    assert_eq!(many(pb::ListAuditRecordsRequest { view: VIEW.into(), ..asked.clone() }).await, 13);
    assert_eq!(many(pb::ListAuditRecordsRequest { view: "w".into(), ..asked.clone() }).await, 0);
    assert_eq!(many(pb::ListAuditRecordsRequest { path: "/1".into(), ..asked.clone() }).await, 1);
    assert_eq!(many(pb::ListAuditRecordsRequest { path: "/".into(), ..asked.clone() }).await, 12);
    let principal = |name: &str| pb::ListAuditRecordsRequest { principal: name.into(), ..all() };
    assert_eq!(many(principal("anonymous")).await, 13);
    assert_eq!(many(principal("root")).await, 0);
    let method = |name: &str| pb::ListAuditRecordsRequest { method: name.into(), ..all() };
    assert_eq!(many(method("EvictSession")).await, 1);
    assert_eq!(many(method("fusion.v1.ViewService/RefreshPath")).await, 12);
    let outcome = |outcome: pb::AuditOutcome| pb::ListAuditRecordsRequest {
        outcome: outcome.into(),
        ..all()
    };
    assert_eq!(many(outcome(pb::AuditOutcome::Done)).await, 1);
    assert_eq!(many(outcome(pb::AuditOutcome::Failed)).await, 12);
    let chain = pb::ListAuditRecordsRequest { correlation_id: "mine".into(), ..asked.clone() };
    assert_eq!(many(chain).await, 1);
    let since = pb::ListAuditRecordsRequest { since: Some(middle), ..asked.clone() };
    assert_eq!(many(since).await, 1);
    let until = pb::ListAuditRecordsRequest { until: Some(middle), ..asked };
    assert_eq!(many(until).await, 12);
}

#[tokio::test(start_paused = true)]
async fn records_are_swept_when_their_time_is_over() {
    let stores = Stores::memory();
    let mut config = config();
    config.audit_ttl = Duration::from_secs(3_600);
    let mut server = start_in(config, Arc::new(RuntimeClock::new()), stores.clone()).await;
    server.join("a").await;
    refuse(&mut server, 0, 3).await;
    advance(Duration::from_secs(3_000)).await;
    assert_eq!(records(&server, all()).await.len(), 3);
    advance(Duration::from_secs(601)).await;
    assert_eq!(records(&server, all()).await.len(), 0);
    // And they do not stay on the disk.
    while !stored(&stores).is_empty() {
        advance(Duration::from_secs(60)).await;
        tokio::task::yield_now().await;
    }
}
