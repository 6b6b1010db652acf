//! Changing calls under a key: done once, whatever is repeated, and however often.

use std::sync::Arc;
use std::time::Duration;

use fusion_proto::limits::{
    IDEMPOTENCY_AUTO_KEY, IDEMPOTENCY_KEY, IDEMPOTENCY_REPLAYED_KEY, MESSAGE_BYTES,
};
use fusion_proto::pb;
use fusion_proto::status::{Reason, Refusal};
use fusion_server::clock::RuntimeClock;
use fusion_server::stores::Stores;
use fusion_store::Space;
use fusion_store::flaky::{FlakyState, Moods};
use fusion_store::memory::{MemoryBlocks, MemoryLog, MemoryState};
use tokio::task::JoinSet;
use tonic::{Request, Response, Status};

use crate::harness::{TestServer, advance, asks, config, refusal, start, start_in};

const METHOD: &str = "fusion.v1.AdminService/EvictSession";

type Evicted = Result<Response<pb::EvictSessionResponse>, Status>;

fn evict(session: &str) -> pb::EvictSessionRequest {
    pb::EvictSessionRequest { session_id: session.to_owned(), allow_missing: false }
}

fn with<T>(message: T, metadata: &'static str, value: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert(metadata, value.parse().unwrap());
    request
}

async fn evict_under(server: &mut TestServer, key: &str, session: &str) -> Evicted {
    server.admin.evict_session(with(evict(session), IDEMPOTENCY_KEY, key)).await
}

fn is_replayed<T>(answer: &Response<T>) -> bool {
    answer.metadata().get(IDEMPOTENCY_REPLAYED_KEY).is_some_and(|value| value == "true")
}

async fn on(stores: &Stores) -> TestServer {
    start_in(config(), Arc::new(RuntimeClock::new()), stores.clone()).await
}

#[tokio::test]
async fn a_repeat_gets_the_first_answer_also_after_a_restart() {
    let stores = Stores::memory();
    let mut server = on(&stores).await;
    let session = server.join("a").await.session_id;
    let first = evict_under(&mut server, "k", &session).await.unwrap();
    assert!(!is_replayed(&first));
    let first = first.into_inner();
    assert!(first.session.is_some());
    let again = evict_under(&mut server, "k", &session).await.unwrap();
    assert!(is_replayed(&again));
    assert_eq!(again.into_inner(), first);
    server.ended().await;

    let mut server = on(&stores).await;
    let again = evict_under(&mut server, "k", &session).await.unwrap();
    assert!(is_replayed(&again));
    assert_eq!(again.into_inner(), first);
    let other = refusal(evict_under(&mut server, "other", &session).await);
    assert!(matches!(other, Refusal::SessionNotFound { .. }), "another key: {other:?}");
    let metrics = server.get("/metrics").await;
    let line = "fusion_idempotency_calls_total{outcome=\"replayed\"} 1";
    assert!(metrics.contains(line), "{metrics}");
}

#[tokio::test]
async fn a_key_stands_for_one_request_of_one_method() {
    let mut server = start().await;
    let session = server.join("a").await.session_id;
    let other = server.join("b").await.session_id;
    evict_under(&mut server, "k", &session).await.unwrap();
    let reused = refusal(evict_under(&mut server, "k", &other).await);
    assert_eq!(reused, Refusal::IdempotencyKeyReused);
    assert!(server.beat(&other).await.is_ok(), "nothing was done");
    // Another method with the same key is another call.
    let delete = pb::DeleteIdempotencyKeyRequest { method: METHOD.into(), key: "none".into() };
    let deleted = server.admin.delete_idempotency_key(with(delete, IDEMPOTENCY_KEY, "k")).await;
    assert!(!deleted.unwrap().into_inner().existed);
}

#[tokio::test]
async fn what_failed_is_tried_again_under_the_same_key() {
    let mut server = start().await;
    let session = server.join("a").await.session_id;
    let ended = pb::EndSessionRequest { session_id: session.clone(), allow_missing: false };
    server.sessions.end_session(ended).await.unwrap();
    for _ in 0..2 {
        let refused = refusal(evict_under(&mut server, "k", &session).await);
        assert!(matches!(refused, Refusal::SessionNotFound { .. }), "{refused:?}");
    }
    // And the key is free for another request.
    let other = server.join("b").await.session_id;
    evict_under(&mut server, "k", &other).await.unwrap();
}

#[tokio::test]
async fn of_many_at_once_one_does_it_and_all_get_its_answer() {
    let mut server = start().await;
    let session = server.join("a").await.session_id;
    let mut calls = JoinSet::new();
    for _ in 0..64 {
        let (mut admin, asked) = (server.admin.clone(), evict(&session));
        calls.spawn(async move { admin.evict_session(with(asked, IDEMPOTENCY_KEY, "k")).await });
    }
    let answers: Vec<_> = calls.join_all().await.into_iter().map(Result::unwrap).collect();
    assert_eq!(answers.iter().filter(|answer| !is_replayed(answer)).count(), 1);
    let first = answers[0].get_ref().clone();
    assert!(first.session.is_some());
    assert!(answers.iter().all(|answer| *answer.get_ref() == first));
}

#[tokio::test(start_paused = true)]
async fn keys_are_forgotten_when_their_time_is_over() {
    let mut server = start().await;
    let session = server.join("a").await.session_id;
    let derived = || with(evict(&session), IDEMPOTENCY_AUTO_KEY, "true");
    server.admin.evict_session(derived()).await.unwrap();
    advance(Duration::from_secs(59)).await;
    assert!(is_replayed(&server.admin.evict_session(derived()).await.unwrap()));
    advance(Duration::from_secs(2)).await;
    let anew = refusal(server.admin.evict_session(derived()).await);
    assert!(matches!(anew, Refusal::SessionNotFound { .. }), "{anew:?}");

    let session = server.join("b").await.session_id;
    evict_under(&mut server, "k", &session).await.unwrap();
    advance(Duration::from_secs(24 * 3600 - 10)).await;
    assert!(is_replayed(&evict_under(&mut server, "k", &session).await.unwrap()));
    advance(Duration::from_secs(11)).await;
    let anew = refusal(evict_under(&mut server, "k", &session).await);
    assert!(matches!(anew, Refusal::SessionNotFound { .. }), "{anew:?}");
}

#[tokio::test]
async fn a_call_that_was_cut_off_is_finished_and_not_done_twice() {
    let stores = Stores::memory();
    let mut server = on(&stores).await;
    let session = server.join("a").await.session_id;
    // The first try: begun under the key, the session is gone, and then the server died.
    let begun = begun(&evict(&session));
    let key = format!("anonymous\0{METHOD}\0k\0k");
    stores.state.put(Space::Idempotency, key.as_bytes(), begun.as_bytes(), None).unwrap();
    server.admin.evict_session(evict(&session)).await.unwrap();
    server.ended().await;

    let mut server = on(&stores).await;
    let finished = evict_under(&mut server, "k", &session).await.unwrap();
    assert!(!is_replayed(&finished));
    assert!(is_replayed(&evict_under(&mut server, "k", &session).await.unwrap()));
    let metrics = server.get("/metrics").await;
    let line = "fusion_idempotency_calls_total{outcome=\"resumed\"} 1";
    assert!(metrics.contains(line), "{metrics}");
}

/// What the store has of a call that was begun.
fn begun(request: &pb::EvictSessionRequest) -> String {
    use base64::Engine as _;
    use prost::Message as _;
    use sha2::Digest as _;
    let message = request.encode_to_vec();
    let mut framed = vec![0];
    framed.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
    framed.extend_from_slice(&message);
    let digest = base64::engine::general_purpose::STANDARD.encode(sha2::Sha256::digest(&framed));
    format!("{{\"v\":1,\"request_sha256\":\"{digest}\",\"id\":\"{}\"}}", uuid::Uuid::nil())
}

#[tokio::test]
async fn without_a_disk_nothing_is_done_and_the_key_is_not_used_up() {
    let moods = Moods::new(1);
    let state = Arc::new(FlakyState::new(Arc::new(MemoryState::default()), moods.clone()));
    let (log, blocks) = (Arc::new(MemoryLog::default()), Arc::new(MemoryBlocks::default()));
    let mut server = on(&Stores::new(log, blocks, state)).await;
    let session = server.join("a").await.session_id;
    moods.fail(1000);
    let refused = refusal(evict_under(&mut server, "k", &session).await);
    assert_eq!(refused.reason(), Reason::StoreUnavailable);
    assert!(server.beat(&session).await.is_ok(), "nothing was done");
    moods.fail(0);
    let done = evict_under(&mut server, "k", &session).await.unwrap();
    assert!(done.into_inner().session.is_some());
}

#[tokio::test]
async fn a_key_can_be_forgotten() {
    let mut server = start().await;
    let session = server.join("a").await.session_id;
    evict_under(&mut server, "k", &session).await.unwrap();
    let delete = pb::DeleteIdempotencyKeyRequest { method: METHOD.into(), key: "k".into() };
    let deleted = server.admin.delete_idempotency_key(delete.clone()).await.unwrap();
    assert!(deleted.into_inner().existed);
    let anew = refusal(evict_under(&mut server, "k", &session).await);
    assert!(matches!(anew, Refusal::SessionNotFound { .. }), "{anew:?}");
    let gone = server.admin.delete_idempotency_key(delete.clone()).await.unwrap();
    assert!(!gone.into_inner().existed);

    let unknown = pb::DeleteIdempotencyKeyRequest { method: "Evict".into(), ..delete.clone() };
    let empty = pb::DeleteIdempotencyKeyRequest { key: String::new(), ..delete };
    for (bad, field) in [(unknown, "method"), (empty, "key")] {
        let refused = refusal(server.admin.delete_idempotency_key(bad).await);
        assert_eq!(violated(&refused), [field]);
    }
    // Its own key it would wait for.
    let method = "fusion.v1.AdminService/DeleteIdempotencyKey".to_owned();
    let itself = pb::DeleteIdempotencyKeyRequest { method, key: "k".into() };
    let refused = server.admin.delete_idempotency_key(with(itself, IDEMPOTENCY_KEY, "k")).await;
    assert_eq!(violated(&refusal(refused)), ["method"]);
}

#[tokio::test]
async fn keys_that_cannot_be_are_refused_by_name() {
    let mut server = start().await;
    let session = server.join("a").await.session_id;
    let long = "k".repeat(256);
    for bad in ["", "with space", long.as_str()] {
        let refused = refusal(evict_under(&mut server, bad, &session).await);
        assert_eq!(violated(&refused), [IDEMPOTENCY_KEY], "`{bad}`");
    }
    let auto = server.admin.evict_session(with(evict(&session), IDEMPOTENCY_AUTO_KEY, "1")).await;
    assert_eq!(violated(&refusal(auto)), [IDEMPOTENCY_AUTO_KEY]);
    let mut both = with(evict(&session), IDEMPOTENCY_AUTO_KEY, "true");
    both.metadata_mut().insert(IDEMPOTENCY_KEY, "k".parse().unwrap());
    assert_eq!(violated(&refusal(server.admin.evict_session(both).await)), [IDEMPOTENCY_AUTO_KEY]);
    let huge = evict(&"x".repeat(MESSAGE_BYTES + 1));
    let refused = server.admin.evict_session(with(huge, IDEMPOTENCY_KEY, "k")).await;
    assert_eq!(violated(&refusal(refused)), ["request"]);
    assert!(server.beat(&session).await.is_ok(), "nothing was done");
    evict_under(&mut server, &"k".repeat(255), &session).await.unwrap();
}

fn violated(refusal: &Refusal) -> Vec<&str> {
    match refusal {
        Refusal::InvalidArgument { violations } => {
            violations.iter().map(|violation| violation.field.as_str()).collect()
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_repeats_safely_by_its_own_rules_has_no_use_for_a_key() {
    let mut server = start().await;
    let join = || with(asks("a"), IDEMPOTENCY_KEY, "k");
    let first = server.sessions.create_session(join()).await.unwrap();
    let second = server.sessions.create_session(join()).await.unwrap();
    assert!(!is_replayed(&second));
    assert_ne!(first.into_inner().session_id, second.into_inner().session_id);
}
