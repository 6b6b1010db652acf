//! A view that is full: it says so, also in its next life, takes no more, and with room again finds what was left
//! out.

use std::sync::Arc;
use std::time::Duration;

use fusion_proto::pb;
use fusion_proto::pb::command::Action;
use fusion_proto::status::Refusal;
use fusion_server::clock::RuntimeClock;
use fusion_server::stores::Stores;

use crate::evidence::{batch, file, listing, root, scan_finished, scan_started};
use crate::harness::{TestServer, VIEW, asks_with_top, config, refusal, start_in};
use crate::lists::{remove, trash};
use crate::telling::{Lane, opening};

/// A server on these stores whose views have so many entries at most.
async fn on(stores: &Stores, max_entries: u64) -> TestServer {
    let mut config = config();
    config.view_defaults.settings.max_entries = max_entries;
    config.view_defaults.settings.cache_horizon = Duration::from_millis(1);
    start_in(config, Arc::new(RuntimeClock::new()), stores.clone()).await
}

/// The leader of the view, which watches.
async fn lead(server: &mut TestServer) -> pb::CreateSessionResponse {
    let made = server.sessions.create_session(asks_with_top("a", "f", 7)).await.unwrap();
    let made = made.into_inner();
    watches(server, &made.session_id).await;
    made
}

async fn watches(server: &mut TestServer, session: &str) {
    let status = pb::AgentStatus {
        realtime_ready: true,
        root_state: pb::RootState::Available.into(),
        ..Default::default()
    };
    let (session_id, status) = (session.to_owned(), Some(status));
    let beat = pb::HeartbeatRequest { session_id, status, ..Default::default() };
    server.sessions.heartbeat(beat).await.unwrap();
}

/// How the view stands: its state, and why.
async fn standing(server: &mut TestServer) -> (pb::ViewState, String) {
    let asked = pb::GetViewRequest { view: VIEW.to_owned() };
    let view = server.views.get_view(asked).await.unwrap().into_inner().view.unwrap();
    let freshness = view.freshness.unwrap();
    (freshness.state(), freshness.reasons.join("; "))
}

fn names() -> Vec<String> {
    ["f", "g", "h"].map(str::to_owned).to_vec()
}

async fn trusted(server: &mut TestServer, path: &str) -> Result<pb::GetEntryResponse, Refusal> {
    let read_class = pb::ReadClass::Trusted.into();
    let asked = pb::GetEntryRequest { view: VIEW.to_owned(), path: path.to_owned(), read_class };
    match server.views.get_entry(asked).await {
        Ok(answer) => Ok(answer.into_inner()),
        refused => Err(refusal(refused)),
    }
}

#[tokio::test]
async fn a_full_view_says_so_in_its_next_life_too_and_finds_the_rest_when_there_is_room() {
    let stores = Stores::memory();
    let mut server = on(&stores, 3).await;
    let leader = lead(&mut server).await;
    let leader_epoch = leader.leader_epoch;
    let (mut lane, _) =
        Lane::open(&mut server, opening(pb::Lane::Scan, &leader.session_id, "a")).await.unwrap();
    let listed = vec![listing("/", &names(), 0, true)];
    lane.deliver(pb::EvidenceBatch { leader_epoch, ..batch(1, vec![scan_started()]) }).await;
    lane.deliver(pb::EvidenceBatch { listings: listed, leader_epoch, ..batch(2, vec![]) }).await;
    lane.deliver(pb::EvidenceBatch { leader_epoch, ..batch(3, vec![scan_finished()]) }).await;
    let full = "it is full, with 3 entries of at most 3: names of 1 directories are left out";
    assert_eq!(standing(&mut server).await, (pb::ViewState::Degraded, full.to_owned()));
    match trusted(&mut server, "/f").await {
        Err(Refusal::ViewNotReady { reasons, .. }) => assert_eq!(reasons, [full]),
        other => panic!("{other:?}"),
    }
    assert_eq!(server.metric("fusion_view_remembered{view=\"v\",what=\"short\"}").await, 1);
    assert_eq!(server.metric("fusion_view_entries_limit{view=\"v\"}").await, 3);
    drop(lane);
    server.ended().await;

    let mut server = on(&stores, 4).await;
    watches(&mut server, &leader.session_id).await;
    let was = "it was full: names of 1 directories are left out until they are listed again";
    assert_eq!(standing(&mut server).await, (pb::ViewState::Degraded, was.to_owned()));
    let again = opening(pb::Lane::Scan, &leader.session_id, "a");
    let again = pb::PushOpening { first_held: 4, next: 4, ..again };
    let (mut lane, _) = Lane::open(&mut server, again).await.unwrap();
    let asked = loop {
        if let Some(command) = lane.notice().await.unwrap().commands.pop() {
            break command.action.unwrap();
        }
    };
    let Action::Scan(relist) = asked else { panic!("{asked:?}") };
    assert_eq!((&relist.path[..], relist.recursive), (&b"/"[..], false));
    let source = pb::ScanSource::Audit.into();
    let listed = vec![pb::Listings { source, ..listing("/", &names(), 0, true) }];
    lane.deliver(pb::EvidenceBatch { listings: listed, leader_epoch, ..batch(4, vec![]) }).await;
    assert_eq!(standing(&mut server).await, (pb::ViewState::Ready, String::new()));
    trusted(&mut server, "/h").await.unwrap();
    assert_eq!(server.metric("fusion_view_remembered{view=\"v\",what=\"short\"}").await, 0);
}

#[tokio::test]
async fn what_is_new_is_left_out_acknowledged_and_counted_and_what_goes_makes_room() {
    let stores = Stores::memory();
    let mut server = on(&stores, 2).await;
    let session = server.join("a").await;
    let (mut lane, _) =
        Lane::open(&mut server, opening(pb::Lane::Realtime, &session.session_id, "a"))
            .await
            .unwrap();
    lane.deliver(batch(1, vec![root(), file("/f", 1), file("/g", 1)])).await;
    let left_out = "fusion_evidence_rows_total{outcome=\"full\",tier=\"realtime\",view=\"v\"}";
    assert_eq!(server.metric(left_out).await, 1);
    lane.deliver(batch(2, vec![remove("/f", 1), file("/h", 1)])).await;
    assert_eq!(server.metric(left_out).await, 1, "there was room again");

    let gone = trash(&mut server, "/").await.remove(0);
    let restore = pb::RestoreTrashRequest { view: VIEW.to_owned(), trash_id: gone.trash_id };
    match refusal(server.views.restore_trash(restore).await) {
        Refusal::QuotaExceeded { quota, limit, .. } => {
            assert_eq!((quota.as_str(), limit), ("view.max_entries", 2));
        }
        other => panic!("{other:?}"),
    }
}
