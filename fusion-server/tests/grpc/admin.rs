//! What operators do to a running server: what it says of itself, resets, another root.

use std::sync::Arc;

use fusion_proto::pb;
use fusion_proto::status::{ObsoleteCause, Refusal};
use fusion_server::clock::RuntimeClock;
use fusion_server::stores::Stores;
use prost_types::Timestamp;

use crate::evidence::{batch, file, listing, root, scan_finished, scan_started};
use crate::harness::{TestServer, VIEW, asks_with_top, config, refusal, start, start_in};
use crate::telling::{Lane, opening};

fn entry(path: &str) -> pb::GetEntryRequest {
    pb::GetEntryRequest { view: VIEW.to_owned(), path: path.to_owned(), read_class: 0 }
}

fn reset() -> pb::ResetViewRequest {
    pb::ResetViewRequest { view: VIEW.to_owned() }
}

#[tokio::test]
async fn a_server_says_what_it_is() {
    let mut server = start().await;
    server.join("a").await;
    let info = server.admin.get_server_info(pb::GetServerInfoRequest {}).await.unwrap();
    let info = info.into_inner();
    assert_eq!(info.version, env!("CARGO_PKG_VERSION"));
    assert_eq!((info.views, info.sessions, info.server_id.len()), (1, 1, 36));
    assert_eq!(info.limits.unwrap().max_views, 256);
    assert_eq!(info.member_id, "", "there is no other server");
    let log = info.log.clone().unwrap();
    assert_eq!((log.engine.as_str(), log.survives()), ("memory", pb::Survival::Nothing));
    let seconds = |time: Option<Timestamp>| time.unwrap().seconds;
    assert!(seconds(info.server_time) >= seconds(info.started_at));
    let again = server.admin.get_server_info(pb::GetServerInfoRequest {}).await.unwrap();
    assert_eq!(again.into_inner().server_id, info.server_id);
}

#[tokio::test]
async fn a_reset_forgets_what_is_known_and_keeps_what_numbers_it() {
    let stores = Stores::memory();
    let clock = Arc::new(RuntimeClock::new());
    let mut server = start_in(config(), clock.clone(), stores.clone()).await;
    let session = server.join("a").await;
    let ask = opening(pb::Lane::Realtime, &session.session_id, "a");
    let (mut lane, _) = Lane::open(&mut server, ask.clone()).await.unwrap();
    lane.send(batch(1, vec![root(), file("/f", 1)])).await;
    lane.acknowledged(1).await.unwrap();
    let before = server.views.get_entry(entry("/f")).await.unwrap().into_inner();

    let done = server.admin.reset_view(reset()).await.unwrap().into_inner();
    assert!(done.revision > before.freshness.unwrap().revision);
    assert_eq!((done.leader_epoch, done.sessions_ended), (session.leader_epoch, 1));
    let status = lane.end().await;
    match Refusal::from_status(&status).unwrap() {
        Refusal::SessionObsolete { cause, .. } => assert_eq!(cause, ObsoleteCause::ViewReset),
        other => panic!("{other:?}"),
    }
    gone(&mut server).await;
    server.ended().await;

    let mut server = start_in(config(), clock, stores).await;
    match refusal(server.beat(&session.session_id).await) {
        Refusal::SessionObsolete { cause, .. } => assert_eq!(cause, ObsoleteCause::ViewReset),
        other => panic!("{other:?}"),
    }
    gone(&mut server).await;
    let next = server.join("a").await;
    assert!(next.leader_epoch > session.leader_epoch, "{}", next.leader_epoch);
    // The applied sequences go on; what was seen before the reset is dropped.
    let ask = pb::PushOpening { session_id: next.session_id, first_held: 2, next: 2, ..ask };
    let (mut lane, resume_after) = Lane::open(&mut server, ask).await.unwrap();
    assert_eq!(resume_after, 1);
    let old = |mut evidence: pb::Evidence| {
        evidence.observed_at = Some(Timestamp { seconds: 1_000, nanos: 0 });
        evidence
    };
    lane.send(batch(2, vec![old(root()), old(file("/old", 1))])).await;
    lane.send(batch(3, vec![root(), file("/new", 1)])).await;
    lane.acknowledged(3).await.unwrap();
    assert!(server.views.get_entry(entry("/new")).await.is_ok());
    let old = refusal(server.views.get_entry(entry("/old")).await);
    assert!(matches!(old, Refusal::PathNotFound { .. }), "{old:?}");
    let stranger = pb::ResetViewRequest { view: "w".to_owned() };
    let stranger = refusal(server.admin.reset_view(stranger).await);
    assert!(matches!(stranger, Refusal::ViewNotFound { .. }), "{stranger:?}");
}

async fn gone(server: &mut TestServer) {
    let missing = refusal(server.views.get_entry(entry("/f")).await);
    assert!(matches!(missing, Refusal::PathNotFound { .. }), "{missing:?}");
    let view = pb::GetViewRequest { view: VIEW.to_owned() };
    let view = server.views.get_view(view).await.unwrap().into_inner().view.unwrap();
    assert_eq!(view.freshness.unwrap().state(), pb::ViewState::Empty);
    assert_eq!(view.totals.unwrap().files, 0);
}

#[tokio::test]
async fn another_root_is_taken_when_an_operator_accepts_it() {
    let stores = Stores::memory();
    let clock = Arc::new(RuntimeClock::new());
    let mut server = start_in(config(), clock.clone(), stores.clone()).await;
    let session = server.join("a").await;
    let ask = opening(pb::Lane::Scan, &session.session_id, "a");
    let (mut lane, _) = Lane::open(&mut server, ask).await.unwrap();
    let epoch = session.leader_epoch;
    let framed =
        |sequence, frame| pb::EvidenceBatch { leader_epoch: epoch, ..batch(sequence, vec![frame]) };
    let listed = pb::EvidenceBatch {
        listings: vec![listing("/", &["f".to_owned()], 0, true)],
        leader_epoch: epoch,
        ..batch(2, vec![])
    };
    lane.send(framed(1, scan_started())).await;
    lane.send(listed).await;
    lane.deliver(framed(3, scan_finished())).await;
    let other = asks_with_top("b", "x", 77);
    let refused = refusal(server.sessions.create_session(other.clone()).await);
    assert!(matches!(refused, Refusal::RootMismatch { .. }), "{refused:?}");
    let accept = pb::AcceptRootRequest { view: VIEW.to_owned() };
    server.admin.accept_root(accept).await.unwrap();
    drop(lane);
    server.ended().await;

    let mut server = start_in(config(), clock, stores).await;
    server.sessions.create_session(other).await.unwrap();
}

#[tokio::test]
async fn what_is_logged_is_changed_and_told_and_goes_back() {
    let mut server = start().await;
    let info = pb::GetServerInfoRequest {};
    let before = server.admin.get_server_info(info).await.unwrap().into_inner().log_filter;
    let mut set = async |filter: &str| {
        let asked = pb::SetLogFilterRequest { filter: filter.to_owned() };
        server.admin.set_log_filter(asked).await.map(tonic::Response::into_inner)
    };
    let louder = set("warn,fusion_server=debug").await.unwrap();
    assert_eq!(
        (louder.filter.as_str(), &louder.previous_filter),
        ("warn,fusion_server=debug", &before)
    );
    match refusal(set("fusion_server=loud").await) {
        Refusal::InvalidArgument { violations } => assert_eq!(violations[0].field, "filter"),
        other => panic!("{other:?}"),
    }
    assert_eq!(set("").await.unwrap().filter, before);
    let after = server.admin.get_server_info(info).await.unwrap().into_inner().log_filter;
    assert_eq!(after, before);
}
