//! What operators ask of several servers: which there are, a view moved, a server drained.

use std::time::Duration;

use fusion_proto::pb;
use fusion_proto::status::Refusal;

use crate::following::{beat_well, scanned};
use crate::harness::{VIEW, refusal, uuid};
use crate::servers::{Engine, LEASE, One, eventually};

async fn listed(one: &One) -> Vec<pb::Server> {
    let asked = pb::ListServersRequest {};
    one.server.admin.clone().list_servers(asked).await.unwrap().into_inner().servers
}

fn at<'a>(servers: &'a [pb::Server], one: &One) -> &'a pb::Server {
    servers.iter().find(|server| server.address == one.address).unwrap()
}

/// Waits until each of these servers has read of all of them.
async fn know_each_other(servers: &[&One]) {
    for one in servers {
        let all = async || listed(one).await.len() == servers.len();
        eventually("it has read of all", all).await;
    }
}

async fn id_of(one: &One) -> String {
    at(&listed(one).await, one).server_id.clone()
}

/// Waits until a server owns the view, and all say so.
async fn owns(engine: &Engine, one: &One, asked: &[&One]) {
    eventually("it owns the view", async || engine.owner().as_ref() == Some(&one.address)).await;
    eventually("all say so", async || {
        for other in asked {
            let servers = listed(other).await;
            if !at(&servers, one).views.iter().any(|view| view.owned && view.lag == 0) {
                return false;
            }
        }
        true
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_is_moved_by_hand_through_any_server_and_stays() {
    let engine = Engine::new();
    let mut servers = engine.start_many(2).await;
    let (mut owner, other) = (engine.take_owner(&mut servers), servers.remove(0));
    let session = scanned(&mut owner).await;
    owns(&engine, &owner, &[&owner, &other]).await;
    let seen = listed(&owner).await;
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert!(at(&seen, &owner).answers && !at(&seen, &other).answers);
    assert!(at(&seen, &other).views.iter().all(|view| !view.owned && view.view == VIEW));

    let (epoch, to) = (engine.epoch(), id_of(&other).await);
    let asked =
        |server_id: &str| pb::MoveViewRequest { view: VIEW.into(), server_id: server_id.into() };
    // On a busy machine it may be silent just now: then it is refused, and nothing moves.
    let mut moved = None;
    eventually("it lives, and the view may move there", async || {
        let admin = &mut owner.server.admin.clone();
        match admin.move_view(asked(&to)).await {
            Ok(answer) => moved = Some(answer.into_inner()),
            Err(status) => {
                let refused = refusal::<()>(Err(status));
                assert!(matches!(refused, Refusal::InvalidArgument { .. }), "{refused:?}");
            }
        }
        moved.is_some()
    })
    .await;
    assert_eq!(moved.unwrap().owner_id, id_of(&owner).await);
    owns(&engine, &other, &[&owner, &other]).await;
    assert_eq!(engine.epoch(), epoch + 1, "handed over once");
    let seen = listed(&owner).await;
    assert_eq!(at(&seen, &other).views[0].next_server_id, to, "it is to stay there");
    let beat = beat_well(&mut owner, &session.session_id).await;
    assert_eq!((beat.role(), beat.leader_epoch), (pb::SessionRole::Leader, session.leader_epoch));
    // And that can be taken back.
    owner.server.admin.move_view(asked("")).await.unwrap();
    eventually("it may move", async || {
        at(&listed(&owner).await, &other).views[0].next_server_id.is_empty()
    })
    .await;
    for bad in ["x".to_owned(), uuid("nobody")] {
        let refused = refusal(owner.server.admin.move_view(asked(&bad)).await);
        assert!(matches!(refused, Refusal::InvalidArgument { .. }), "{refused:?}");
    }
    let none = pb::MoveViewRequest { view: "none".into(), server_id: to };
    let refused = refusal(owner.server.admin.move_view(none).await);
    assert!(matches!(refused, Refusal::ViewNotFound { .. }), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_drains_gives_its_views_away_and_takes_none_until_that_is_lifted() {
    let engine = Engine::new();
    let mut servers = engine.start_many(2).await;
    let (mut owner, mut other) = (engine.take_owner(&mut servers), servers.remove(0));
    let session = scanned(&mut owner).await;
    let (mine, theirs) = (id_of(&owner).await, id_of(&other).await);
    let asked =
        |server_id: &str, lift| pb::DrainServerRequest { server_id: server_id.into(), lift };
    // Through the other one, which sends it on.
    let drained = other.server.admin.drain_server(asked(&mine, false)).await.unwrap().into_inner();
    assert!(!drained.was_draining);
    owns(&engine, &other, &[&owner, &other]).await;
    assert!(at(&listed(&other).await, &owner).draining);
    let beat = beat_well(&mut owner, &session.session_id).await;
    assert_eq!((beat.role(), beat.leader_epoch), (pb::SessionRole::Leader, session.leader_epoch));
    let to = pb::MoveViewRequest { view: VIEW.into(), server_id: mine.clone() };
    let refused = refusal(other.server.admin.move_view(to).await);
    assert!(matches!(refused, Refusal::InvalidArgument { .. }), "it takes none: {refused:?}");
    // When all drain somebody has to have it.
    other.server.admin.drain_server(asked(&theirs, false)).await.unwrap();
    assert_eq!(engine.owner().as_ref(), Some(&other.address));
    let lifted = owner.server.admin.drain_server(asked(&mine, true)).await.unwrap().into_inner();
    assert!(lifted.was_draining);
    owns(&engine, &owner, &[&owner, &other]).await;
    let refused = refusal(owner.server.admin.drain_server(asked(&uuid("nobody"), false)).await);
    assert!(matches!(refused, Refusal::InvalidArgument { .. }), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_says_nothing_is_listed_as_silent_and_gets_nothing() {
    let engine = Engine::new();
    let mut servers = engine.start_many(2).await;
    let (mut owner, other) = (engine.take_owner(&mut servers), servers.remove(0));
    know_each_other(&[&owner, &other]).await;
    let to = id_of(&other).await;
    other.members.cut(true);
    // Both hear nothing of it: the one that is cut off not even of itself.
    for asked in [&owner, &other] {
        eventually("it is listed as silent", async || at(&listed(asked).await, &other).silent)
            .await;
        let seen = listed(asked).await;
        assert_eq!(seen.len(), 2);
        let silent = at(&seen, &other);
        let silent_for = Duration::try_from(silent.silent_for.unwrap()).unwrap();
        assert!(silent_for >= LEASE, "{silent_for:?}");
        assert!(silent.views.iter().all(|view| view.view == VIEW && !view.owned));
    }
    let asked = pb::MoveViewRequest { view: VIEW.into(), server_id: to };
    let refused = refusal(owner.server.admin.move_view(asked).await);
    assert!(matches!(refused, Refusal::InvalidArgument { .. }), "{refused:?}");
    other.members.cut(false);
    eventually("it is heard again", async || {
        let seen = listed(&owner).await;
        let heard = at(&seen, &other);
        !heard.silent && Duration::try_from(heard.silent_for.unwrap()).unwrap() < LEASE
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_server_says_whose_a_view_is_and_how_far_it_is_with_it() {
    let engine = Engine::new();
    let mut servers = engine.start_many(2).await;
    let (mut owner, other) = (engine.take_owner(&mut servers), servers.remove(0));
    know_each_other(&[&owner, &other]).await;
    scanned(&mut owner).await;
    let id = id_of(&owner).await;
    // It is to stay there, however long this takes.
    let stays = pb::MoveViewRequest { view: VIEW.into(), server_id: id.clone() };
    owner.server.admin.move_view(stays).await.unwrap();
    let is = async |one: &One, owned, lag| {
        let seen = one.ownership().await;
        let names = (seen.owner_id == id, seen.owner_address == owner.address);
        names == (true, true) && (seen.epoch, seen.owned, seen.lag) == (engine.epoch(), owned, lag)
    };
    for (one, owned) in [(&owner, true), (&other, false)] {
        eventually("both name the owner", async || is(one, owned, Some(0)).await).await;
        let asked = pb::ListViewsRequest::default();
        let listed = one.server.views.clone().list_views(asked).await.unwrap().into_inner();
        let listed = listed.views[0].ownership.clone().unwrap();
        assert_eq!((listed.owner_id, listed.owned), (id.clone(), owned));
    }
    let asked = pb::GetServerInfoRequest {};
    let info = owner.server.admin.clone().get_server_info(asked).await.unwrap().into_inner();
    assert_eq!(info.member_id, id);
    // One that hears nothing of the others does not know whose it is; and the owner, whose lease has lapsed, is none.
    other.members.cut(true);
    owner.members.cut(true);
    for one in [&other, &owner] {
        eventually("nobody is known to own it", async || {
            let seen = one.ownership().await;
            !seen.owned && seen.owner_id.is_empty() && seen.owner_address.is_empty()
        })
        .await;
        let seen = one.ownership().await;
        assert_eq!((seen.epoch, seen.lag), (engine.epoch(), None), "the last one's");
    }
}
