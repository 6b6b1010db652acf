//! A server that does not own a view: what it answers, and what it does not claim.

use std::time::Duration;

use fusion_proto::pb;
use fusion_proto::status::Refusal;

use crate::evidence::{batch, file, listing, root, scan_finished, scan_started};
use crate::harness::{VIEW, asks, refusal};
use crate::servers::{Engine, One, eventually};
use crate::telling::{Lane, opening};

/// Agent `a` joins, watches, and has scanned the tree, which has `/f`; gives its session.
pub(crate) async fn scanned(one: &mut One) -> pb::CreateSessionResponse {
    let session = one.server.join("a").await;
    beat_well(one, &session.session_id).await;
    let ask = opening(pb::Lane::Scan, &session.session_id, "a");
    let (mut lane, _) = Lane::open(&mut one.server, ask).await.unwrap();
    let framed = |sequence, rows| pb::EvidenceBatch {
        leader_epoch: session.leader_epoch,
        ..batch(sequence, rows)
    };
    lane.deliver(framed(1, vec![scan_started()])).await;
    let listings = vec![listing("/", &["f".to_owned()], 0, true)];
    lane.deliver(pb::EvidenceBatch { listings, ..framed(2, vec![]) }).await;
    lane.deliver(framed(3, vec![scan_finished()])).await;
    session
}

/// A heartbeat of an agent that watches and has delivered all.
pub(crate) async fn beat_well(one: &mut One, session: &str) -> pb::HeartbeatResponse {
    let status = pb::AgentStatus {
        realtime_ready: true,
        root_state: pb::RootState::Available.into(),
        ..Default::default()
    };
    let delivered_through = Some(prost_types::Timestamp { seconds: 4_100_000_000, nanos: 0 });
    let beat = pb::HeartbeatRequest {
        session_id: session.to_owned(),
        status: Some(status),
        delivered_through,
        ..Default::default()
    };
    one.server.sessions.heartbeat(beat).await.unwrap().into_inner()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_has_the_tree_and_says_what_the_owner_says() {
    let engine = Engine::new();
    let mut servers = engine.start_many(2).await;
    let (mut owner, follower) = (engine.take_owner(&mut servers), servers.remove(0));
    let before = follower.freshness().await;
    assert_eq!((before.state(), before.horizon), (pb::ViewState::Empty, None));
    let session = scanned(&mut owner).await;
    beat_well(&mut owner, &session.session_id).await;
    eventually("the owner is ready", async || owner.is_trusted().await).await;
    eventually("the follower is", async || follower.is_ready().await).await;
    let (theirs, ours) = (owner.freshness().await, follower.freshness().await);
    assert_eq!(ours.state(), pb::ViewState::Ready);
    assert!(ours.horizon.is_some());
    assert_eq!((ours.horizon, ours.coverage), (theirs.horizon, theirs.coverage));
    assert_eq!(ours.revision, theirs.revision);
    // What changes is there a moment later, under the revision that the owner gave.
    let mut lane = Lane::realtime(&mut owner.server, &session.session_id, "a").await;
    lane.deliver(batch(1, vec![root(), file("/g", 5)])).await;
    eventually("the follower has it", async || follower.has("/g").await).await;
    let (theirs, ours) = (owner.entry("/g").await.unwrap(), follower.entry("/g").await.unwrap());
    assert_eq!(ours.entry, theirs.entry);
    assert_eq!(ours.freshness.unwrap().revision, theirs.freshness.unwrap().revision);
    // An agent that watches no more is known of here, too: nobody can replay that.
    let session_id = session.session_id;
    let beat = pb::HeartbeatRequest {
        session_id,
        status: Some(pb::AgentStatus {
            root_state: pb::RootState::Available.into(),
            ..Default::default()
        }),
        ..Default::default()
    };
    owner.server.sessions.heartbeat(beat).await.unwrap();
    eventually("the follower is not ready", async || {
        let freshness = follower.freshness().await;
        freshness.state() == pb::ViewState::Degraded
            && freshness.reasons.iter().any(|reason| reason == "agent a does not watch")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_is_cut_off_claims_nothing_fresh() {
    let engine = Engine::new();
    let mut servers = engine.start_many(2).await;
    let (mut owner, follower) = (engine.take_owner(&mut servers), servers.remove(0));
    let session = scanned(&mut owner).await;
    beat_well(&mut owner, &session.session_id).await;
    eventually("the follower is ready", async || follower.is_ready().await).await;
    follower.switch.cut(true);
    eventually("it does not claim to be", async || !follower.is_ready().await).await;
    let cut = follower.freshness().await;
    assert_eq!((cut.state(), cut.horizon), (pb::ViewState::Degraded, None));
    assert!(cut.reasons.iter().any(|reason| reason.contains("cut off")), "{:?}", cut.reasons);
    assert!(follower.has("/f").await, "what it has it tells, with its revision");
    beat_well(&mut owner, &session.session_id).await;
    follower.switch.cut(false);
    eventually("it is ready again", async || follower.is_ready().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_of_a_follower_sees_every_change() {
    let engine = Engine::new();
    let mut servers = engine.start_many(2).await;
    let (mut owner, follower) = (engine.take_owner(&mut servers), servers.remove(0));
    let asked = pb::WatchViewRequest {
        view: VIEW.into(),
        path: "/".into(),
        after_revision: Some(0),
        filter: None,
    };
    let mut watch = follower.server.views.clone().watch_view(asked).await.unwrap().into_inner();
    let session = owner.server.sessions.create_session(asks("a")).await.unwrap().into_inner();
    let mut lane = Lane::realtime(&mut owner.server, &session.session_id, "a").await;
    lane.deliver(batch(1, vec![root(), file("/one", 1)])).await;
    for number in 2..=20 {
        lane.deliver(batch(number, vec![file(&format!("/{number}"), number)])).await;
    }
    let last = owner.freshness().await.revision;
    let (mut seen, mut revisions) = (0, Vec::new());
    while seen < last {
        let next = tokio::time::timeout(Duration::from_secs(30), watch.message()).await.unwrap();
        let message = next.unwrap().unwrap();
        revisions.extend(message.events.iter().map(|event| event.version));
        seen = message.revision;
    }
    assert!(revisions.windows(2).all(|pair| pair[0] < pair[1]), "{revisions:?}");
    assert!(revisions.len() >= 20, "{revisions:?}");
    // A watcher that comes from a server that was ahead asks again; the owner knows that it gave no such revision.
    let ahead = |one: &One| {
        let (mut views, after_revision) = (one.server.views.clone(), Some(last + 1_000));
        let (view, path, filter) = (VIEW.into(), "/".into(), None);
        let asked = pb::WatchViewRequest { view, path, after_revision, filter };
        async move { refusal(views.watch_view(asked).await) }
    };
    assert!(matches!(ahead(&follower).await, Refusal::ViewNotReady { .. }));
    assert!(matches!(ahead(&owner).await, Refusal::RevisionUnknown { .. }));
}
