//! A server that believes that it owns a view, and does not: nothing of it counts.

use std::time::Duration;

use fusion_proto::pb;
use fusion_proto::status::Refusal;

use crate::evidence::{batch, file, root};
use crate::following::{beat_well, scanned};
use crate::harness::{VIEW, refusal};
use crate::servers::{Engine, LEASE, One, eventually};
use crate::telling::{Lane, opening};

fn next_of(session: &str, number: u64) -> pb::PushOpening {
    let ask = opening(pb::Lane::Realtime, session, "a");
    pb::PushOpening { first_held: number, next: number, ..ask }
}

async fn owns(engine: &Engine, one: &One, session: &str) {
    eventually("the other server owns it", async || {
        let beat = pb::HeartbeatRequest { session_id: session.into(), ..Default::default() };
        engine.owner().as_deref() == Some(&one.address)
            && one.server.sessions.clone().heartbeat(beat).await.is_ok()
    })
    .await;
}

/// Stopped past its lease, as by SIGSTOP: by its own clock no time has passed, and nobody has told it.
#[tokio::test(flavor = "multi_thread")]
async fn a_zombie_is_fenced_by_the_log() {
    let engine = Engine::new();
    let mut servers = engine.start_many(2).await;
    let (mut zombie, mut other) = (engine.take_owner(&mut servers), servers.remove(0));
    let session = scanned(&mut zombie).await;
    let mut old = Lane::realtime(&mut zombie.server, &session.session_id, "a").await;
    old.deliver(batch(1, vec![root(), file("/one", 1)])).await;
    zombie.clock.stop();
    zombie.members.cut(true);
    owns(&engine, &other, &session.session_id).await;
    let (mut new, resume_after) =
        Lane::open(&mut other.server, next_of(&session.session_id, 2)).await.unwrap();
    assert_eq!(resume_after, 1);
    new.deliver(batch(2, vec![file("/two", 2)])).await;

    // It takes it for its own still, and its log does not.
    old.send(batch(2, vec![file("/never", 2)])).await;
    let ended = tokio::time::timeout(Duration::from_secs(30), old.end()).await.unwrap();
    match Refusal::from_status(&ended) {
        Ok(Refusal::NotOwner { .. }) => {}
        other => panic!("{other:?}"),
    }
    zombie.clock.go_on();
    zombie.members.cut(false);
    eventually("it follows", async || zombie.has("/two").await).await;
    assert!(!other.has("/never").await && !zombie.has("/never").await);
    beat_well(&mut other, &session.session_id).await;
    assert_eq!(engine.owner().unwrap(), other.address);

    // Given to it again, it goes on with the sessions as they are, now and later.
    other.server.ended().await;
    for _ in 0..20 {
        owns(&engine, &zombie, &session.session_id).await;
        let beat = beat_well(&mut zombie, &session.session_id).await;
        assert_eq!(beat.leader_epoch, session.leader_epoch);
        tokio::time::sleep(LEASE / 20).await;
    }
}

/// Stopped past its lease, and going on: what the next owner has given since it does not call a revision that was never
/// given, also before it has found out that it owns nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_zombie_does_not_say_that_a_revision_was_never_given() {
    let engine = Engine::new();
    let mut servers = engine.start_many(2).await;
    let (mut zombie, mut other) = (engine.take_owner(&mut servers), servers.remove(0));
    let session = scanned(&mut zombie).await;
    zombie.clock.stop();
    zombie.members.cut(true);
    owns(&engine, &other, &session.session_id).await;
    let mut lane = Lane::realtime(&mut other.server, &session.session_id, "a").await;
    lane.deliver(batch(1, vec![root(), file("/since", 1)])).await;
    // The log of this test tells the zombie of what was appended; of what comes next nobody has told it.
    let revision = other.freshness().await.revision + 1;

    zombie.clock.go_on();
    let watch = pb::WatchViewRequest {
        view: VIEW.into(),
        path: "/".into(),
        after_revision: Some(revision),
        filter: None,
    };
    let refused = refusal(zombie.server.views.watch_view(watch).await);
    assert!(matches!(refused, Refusal::ViewNotReady { .. }), "{refused:?}");
}

/// Cut off from everything: it stops by itself, before anybody else begins.
#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_is_cut_off_stops_by_itself_and_follows_later() {
    let engine = Engine::new();
    let mut servers = engine.start_many(2).await;
    let (mut cut, mut other) = (engine.take_owner(&mut servers), servers.remove(0));
    let session = scanned(&mut cut).await;
    beat_well(&mut cut, &session.session_id).await;
    eventually("it is ready", async || cut.is_ready().await).await;
    cut.switch.cut(true);
    // Never are both ready.
    let mut was_ready = 0;
    eventually("the other one is", async || {
        let (one, two) = (cut.is_ready().await, other.freshness().await);
        let is_owner = engine.owner().as_deref() == Some(&other.address);
        was_ready += u32::from(one);
        assert!(!(one && is_owner), "{one} {two:?}");
        is_owner
    })
    .await;
    let create = cut.server.sessions.create_session(crate::harness::asks("b")).await;
    assert!(matches!(refusal(create), Refusal::NotOwner { .. }));
    owns(&engine, &other, &session.session_id).await;
    beat_well(&mut other, &session.session_id).await;
    let (mut lane, _) =
        Lane::open(&mut other.server, next_of(&session.session_id, 1)).await.unwrap();
    lane.deliver(batch(1, vec![root(), file("/new", 1)])).await;
    cut.switch.cut(false);
    eventually("it follows", async || cut.has("/new").await).await;
    tokio::time::sleep(LEASE).await;
    assert_eq!(engine.owner().unwrap(), other.address, "and takes nothing back by itself");
    beat_well(&mut other, &session.session_id).await;
}
