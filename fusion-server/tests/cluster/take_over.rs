//! The owner is gone: another server has the view, with all that was acknowledged, and its agents' sessions.

use std::collections::BTreeSet;
use std::time::Duration;

use fusion_proto::pb;
use fusion_proto::status::Refusal;
use fusion_store::{Claim, Claimed, Stamped};

use crate::evidence::{batch, file, root};
use crate::following::{beat_well, scanned};
use crate::harness::VIEW;
use crate::servers::{Engine, LEASE, One, eventually};
use crate::telling::{Lane, opening};

/// What a watcher was told, with the revision to go on after.
struct Watched {
    paths: Vec<(u64, String)>,
    through: u64,
}

/// Watches a server from a revision on until it has come to another.
async fn watch(one: &One, watched: &mut Watched, until: u64) {
    let asked = pb::WatchViewRequest {
        view: VIEW.into(),
        path: "/".into(),
        after_revision: Some(watched.through),
        filter: None,
    };
    let mut told = one.server.views.clone().watch_view(asked).await.unwrap().into_inner();
    while watched.through < until {
        let next = tokio::time::timeout(Duration::from_secs(30), told.message()).await.unwrap();
        let message = next.unwrap().unwrap();
        let path = |event: &pb::EventEnvelope| event.target.clone().unwrap_or_default().path;
        watched.paths.extend(message.events.iter().map(|event| (event.version, path(event))));
        watched.through = message.revision;
    }
}

/// Waits until a server owns the view and takes calls for it.
pub(crate) async fn takes_over(engine: &Engine, one: &mut One, session: &str) {
    eventually("the other server claims the view", async || {
        engine.owner().as_deref() == Some(&one.address)
    })
    .await;
    eventually("it takes heartbeats", async || {
        let beat = pb::HeartbeatRequest { session_id: session.into(), ..Default::default() };
        one.server.sessions.clone().heartbeat(beat).await.is_ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owner_dies_and_nothing_acknowledged_is_lost() {
    let engine = Engine::new();
    let mut servers = engine.start_many(2).await;
    let (mut owner, mut other) = (engine.take_owner(&mut servers), servers.remove(0));
    let session = scanned(&mut owner).await;
    let mut lane = Lane::realtime(&mut owner.server, &session.session_id, "a").await;
    for number in 1..=30 {
        let path = format!("/before-{number}");
        lane.deliver(batch(number, vec![root(), file(&path, number)])).await;
    }
    let last = owner.freshness().await.revision;
    let mut watched = Watched { paths: Vec::new(), through: 0 };
    watch(&owner, &mut watched, last).await;
    let epoch = engine.epoch();
    drop(lane);
    drop(owner);

    // From the follower queries are answered all the while.
    assert!(other.has("/before-30").await);
    takes_over(&engine, &mut other, &session.session_id).await;
    assert_eq!(engine.epoch(), epoch + 1);
    for number in 1..=30 {
        assert!(other.has(&format!("/before-{number}")).await, "{number}");
    }
    // The same session, the same leader, and no scan: the view is ready as it is.
    let beat = beat_well(&mut other, &session.session_id).await;
    assert_eq!(beat.role(), pb::SessionRole::Leader);
    assert_eq!(beat.leader_epoch, session.leader_epoch);
    assert_eq!(beat.commands, []);
    eventually("it is ready", async || other.is_ready().await).await;
    // Its lane goes on where it was.
    let ask = opening(pb::Lane::Realtime, &session.session_id, "a");
    let ask = pb::PushOpening { first_held: 30, next: 32, ..ask };
    let (mut lane, resume_after) = Lane::open(&mut other.server, ask).await.unwrap();
    assert_eq!(resume_after, 30);
    lane.deliver(batch(31, vec![file("/after", 1)])).await;
    // A watcher goes on with its revision and sees every change once.
    let last = other.freshness().await.revision;
    watch(&other, &mut watched, last).await;
    let revisions: BTreeSet<u64> = watched.paths.iter().map(|(revision, _)| *revision).collect();
    assert_eq!(revisions.len(), watched.paths.len(), "none twice");
    for path in (1..=30).map(|number| format!("/before-{number}")).chain(["/after".to_owned()]) {
        let told = watched.paths.iter().filter(|(_, of)| *of == path).count();
        assert!(told >= 1, "{path} in {:?}", watched.paths);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_one_takes_over_from_who_took_over() {
    let engine = Engine::new();
    let mut servers = engine.start_many(3).await;
    let mut owner = engine.take_owner(&mut servers);
    let session = scanned(&mut owner).await;
    let mut number = 0;
    loop {
        let ask = opening(pb::Lane::Realtime, &session.session_id, "a");
        let ask = pb::PushOpening { first_held: number + 1, next: number + 1, ..ask };
        let (mut lane, resume_after) = Lane::open(&mut owner.server, ask).await.unwrap();
        assert_eq!(resume_after, number);
        number += 1;
        lane.deliver(batch(number, vec![root(), file(&format!("/{number}"), 1)])).await;
        if servers.is_empty() {
            break;
        }
        let before = owner.address.clone();
        drop(lane);
        drop(owner);
        eventually("another one owns it", async || {
            engine.owner().is_some_and(|owner| owner != before)
        })
        .await;
        owner = engine.take_owner(&mut servers);
        takes_over(&engine, &mut owner, &session.session_id).await;
    }
    assert_eq!(engine.epoch(), 3);
    for number in 1..=3 {
        assert!(owner.has(&format!("/{number}")).await);
    }
    let beat = beat_well(&mut owner, &session.session_id).await;
    assert_eq!((beat.role(), beat.leader_epoch), (pb::SessionRole::Leader, session.leader_epoch));
}

/// Who came after the death gives the dead one the whole lease yet, so nobody waits for it.
#[tokio::test(flavor = "multi_thread")]
async fn who_came_while_the_owner_was_dead_is_not_waited_for() {
    let engine = Engine::new();
    let mut servers = engine.start_many(2).await;
    let (mut owner, mut other) = (engine.take_owner(&mut servers), servers.remove(0));
    let session = scanned(&mut owner).await;
    // That the other one was there before is known to it.
    tokio::time::sleep(LEASE).await;
    let dead = owner.address.clone();
    drop(owner);
    tokio::time::sleep(LEASE / 2).await;
    let mut came = Vec::new();
    while engine.placed(&dead) == other.address {
        came.push(engine.start_one().await);
        let count = came.len() + 2;
        eventually("it is a member", async || engine.roll().members.len() == count).await;
    }
    takes_over(&engine, &mut other, &session.session_id).await;
}

/// A server that ends as it is told gives its views away at once.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_the_lease_of_a_server_that_ends_well() {
    let engine = Engine::new();
    let mut servers = engine.start_many(2).await;
    let (mut owner, mut other) = (engine.take_owner(&mut servers), servers.remove(0));
    let session = scanned(&mut owner).await;
    owner.server.ended().await;
    assert_eq!(engine.roll().members.len(), 1, "it was struck off");
    takes_over(&engine, &mut other, &session.session_id).await;
    assert!(other.has("/f").await);
}

/// As an operator moves it: the claim says who is next.
#[tokio::test(flavor = "multi_thread")]
async fn a_view_is_handed_over_without_waiting_for_a_lease() {
    let engine = Engine::new();
    let mut servers = engine.start_many(2).await;
    let (mut owner, mut other) = (engine.take_owner(&mut servers), servers.remove(0));
    let session = scanned(&mut owner).await;
    let mut lane = Lane::realtime(&mut owner.server, &session.session_id, "a").await;
    lane.deliver(batch(1, vec![root(), file("/one", 1)])).await;
    let roll = engine.roll();
    let next = roll.members.iter().find(|member| member.it.address == other.address).unwrap();
    let Stamped { it: claim, stamp } = roll.claims[0].clone();
    let epoch = claim.epoch.0;
    let claim = Claim { next: Some(next.it.id), ..claim };
    assert!(matches!(engine.ownership.claim(&claim, Some(stamp)), Ok(Claimed::Done(_))));
    // The stream ends as one that goes on elsewhere.
    let ended = tokio::time::timeout(Duration::from_secs(30), lane.end()).await.unwrap();
    assert!(matches!(Refusal::from_status(&ended), Ok(Refusal::NotOwner { .. })), "{ended:?}");
    takes_over(&engine, &mut other, &session.session_id).await;
    assert_eq!(engine.epoch(), epoch + 1);
    // Through the one that had it the agent goes on, too.
    let beat = beat_well(&mut owner, &session.session_id).await;
    assert_eq!((beat.role(), beat.leader_epoch), (pb::SessionRole::Leader, session.leader_epoch));
    let ask = opening(pb::Lane::Realtime, &session.session_id, "a");
    let ask = pb::PushOpening { first_held: 2, next: 2, ..ask };
    let (mut lane, resume_after) = Lane::open(&mut owner.server, ask).await.unwrap();
    assert_eq!(resume_after, 1);
    lane.deliver(batch(2, vec![file("/two", 1)])).await;
    assert!(other.has("/two").await);
    eventually("who had it follows", async || owner.has("/two").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_is_given_the_views_that_are_to_be_its_own() {
    let engine = Engine::new();
    let mut owner = engine.start_many(1).await.remove(0);
    let session = scanned(&mut owner).await;
    let placed = || engine.placed("");
    let mut others = Vec::new();
    while placed() == owner.address {
        others.push(engine.start_one().await);
        let count = others.len() + 1;
        eventually("it is a member", async || engine.roll().members.len() == count).await;
    }
    let epoch = engine.epoch();
    let came = others.iter().position(|one| one.address == placed()).unwrap();
    takes_over(&engine, &mut others[came], &session.session_id).await;
    assert_eq!(engine.epoch(), epoch + 1, "handed over once");
    assert!(others[came].has("/f").await);
    let beat = beat_well(&mut owner, &session.session_id).await;
    assert_eq!((beat.role(), beat.leader_epoch), (pb::SessionRole::Leader, session.leader_epoch));
}
