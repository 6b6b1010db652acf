//! Any server takes any call: what belongs to the owner is sent on to it.

use fusion_proto::pb;
use fusion_proto::status::Refusal;
use tokio::task::JoinSet;
use tonic::Request;
use tonic::metadata::MetadataValue;

use crate::evidence::{batch, file, root};
use crate::following::{beat_well, scanned};
use crate::harness::{VIEW, asks, refusal};
use crate::servers::{Engine, entry, eventually};
use crate::telling::{Lane, opening};

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_lives_on_a_server_that_does_not_own_its_view() {
    let engine = Engine::new();
    let mut servers = engine.start_many(2).await;
    let (owner, mut other) = (engine.take_owner(&mut servers), servers.remove(0));
    // Its session, its scan and its heartbeats: all through the other one.
    let session = scanned(&mut other).await;
    let beat =
        pb::HeartbeatRequest { session_id: session.session_id.clone(), ..Default::default() };
    let answer = other.server.sessions.heartbeat(beat).await.unwrap();
    let named = answer.metadata().get("fusion-owner").unwrap().to_str().unwrap();
    assert_eq!(named, owner.address);
    assert_eq!(answer.get_ref().role(), pb::SessionRole::Leader);
    let mut lane = Lane::realtime(&mut other.server, &session.session_id, "a").await;
    for number in 1..=20 {
        let rows = vec![root(), file(&format!("/{number}"), number)];
        lane.deliver(batch(number, rows)).await;
    }
    assert!(owner.has("/20").await);
    let one = pb::PushEventBatchRequest {
        session_id: session.session_id.clone(),
        lane: pb::Lane::Realtime.into(),
        spool_id: crate::harness::uuid("a"),
        batch: Some(batch(21, vec![file("/21", 1)])),
    };
    other.server.events.push_event_batch(one).await.unwrap();
    assert!(owner.has("/21").await);
    let end = pb::EndSessionRequest { session_id: session.session_id, allow_missing: false };
    other.server.sessions.end_session(end).await.unwrap();
    let of = pb::ListSessionsRequest { view: VIEW.into(), ..Default::default() };
    let left = owner.server.sessions.clone().list_sessions(of).await.unwrap().into_inner();
    assert_eq!(left.sessions, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_follower_cannot_say_the_owner_says() {
    let engine = Engine::new();
    let mut servers = engine.start_many(2).await;
    let (mut owner, mut other) = (engine.take_owner(&mut servers), servers.remove(0));
    let session = scanned(&mut owner).await;
    beat_well(&mut owner, &session.session_id).await;
    eventually("the other is ready", async || other.is_ready().await).await;
    // Cut off from the engine and not from the owner: it claims nothing, and asks.
    other.switch.cut(true);
    eventually("it does not claim to be ready", async || {
        other.freshness().await.state() == pb::ViewState::Degraded
    })
    .await;
    let trusted = other.server.views.get_entry(entry("/f", pb::ReadClass::Trusted)).await.unwrap();
    assert_eq!(trusted.metadata().get("fusion-owner").unwrap(), owner.address.as_str());
    assert_eq!(trusted.into_inner().freshness.unwrap().state(), pb::ViewState::Ready);
    other.switch.cut(false);
    // Nobody here can be sent to scan; the agent of the owner is.
    let (mut fresh, mut views) = (JoinSet::new(), other.server.views.clone());
    fresh.spawn(async move { views.get_entry(entry("/f", pb::ReadClass::Fresh)).await });
    eventually("the agent is told to scan", async || {
        let beat =
            pb::HeartbeatRequest { session_id: session.session_id.clone(), ..Default::default() };
        let mut sessions = other.server.sessions.clone();
        !sessions.heartbeat(beat).await.unwrap().into_inner().commands.is_empty()
    })
    .await;
    let end = pb::EndSessionRequest { session_id: session.session_id, allow_missing: false };
    other.server.sessions.end_session(end).await.unwrap();
    let fresh = fresh.join_next().await.unwrap().unwrap();
    assert!(matches!(refusal(fresh), Refusal::ScanFailed { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_ends_does_not_wait_for_a_read_that_was_sent_on() {
    let engine = Engine::new();
    let mut servers = engine.start_many(2).await;
    let (mut owner, mut other) = (engine.take_owner(&mut servers), servers.remove(0));
    let session = scanned(&mut owner).await;
    let (mut fresh, mut views) = (JoinSet::new(), other.server.views.clone());
    fresh.spawn(async move { views.get_entry(entry("/f", pb::ReadClass::Fresh)).await });
    eventually("the agent is told to scan", async || {
        !owner.server.beat(&session.session_id).await.unwrap().commands.is_empty()
    })
    .await;
    // It never does.
    other.server.stop();
    let refused = refusal(fresh.join_next().await.unwrap().unwrap());
    assert!(matches!(refused, Refusal::ServerDraining { .. }), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_sent_on_once() {
    let engine = Engine::new();
    let mut servers = engine.start_many(2).await;
    let (mut owner, mut other) = (engine.take_owner(&mut servers), servers.remove(0));
    let mut marked = Request::new(asks("a"));
    marked.metadata_mut().insert("fusion-forwarded", MetadataValue::from_static("x"));
    match refusal(other.server.sessions.create_session(marked).await) {
        Refusal::NotOwner { view, owner: named, retry_after } => {
            assert_eq!((view.as_str(), named), (VIEW, Some(owner.address.clone())));
            assert!(!retry_after.is_zero());
        }
        other => panic!("{other:?}"),
    }
    let mut marked = Request::new(asks("a"));
    marked.metadata_mut().insert("fusion-forwarded", MetadataValue::from_static("x"));
    let session = owner.server.sessions.create_session(marked).await.unwrap().into_inner();
    let ask = opening(pb::Lane::Realtime, &session.session_id, "a");
    // Numbers of two bytes: no text, where the message that they are in was read as one.
    let ask = pb::PushOpening { first_held: 200, next: 300, ..ask };
    Lane::open(&mut other.server, ask).await.unwrap();
    // Of a session that nobody knows any server says so.
    let beat =
        pb::HeartbeatRequest { session_id: crate::harness::uuid("nobody"), ..Default::default() };
    for one in [&mut owner, &mut other] {
        let refused = refusal(one.server.sessions.heartbeat(beat.clone()).await);
        assert!(matches!(refused, Refusal::SessionObsolete { .. }), "{refused:?}");
    }
}
