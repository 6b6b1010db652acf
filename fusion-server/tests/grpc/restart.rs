//! The next life of a server: what it knows, and what its agents notice.

use std::sync::Arc;
use std::time::Duration;

use fusion_core::time::ServerTime;
use fusion_proto::convert::session::Withheld;
use fusion_proto::pb;
use fusion_proto::status::{ObsoleteCause, Refusal};
use fusion_server::clock::RuntimeClock;
use fusion_server::stores::Stores;
use fusion_store::Retention;

use crate::evidence::{batch, file, listing, root, scan_finished, scan_started};
use crate::harness::{TestServer, VIEW, advance, asks_with_top, config, refusal, start_in, uuid};
use crate::telling::{Lane, opening, with_a_file};

async fn on(stores: &Stores) -> TestServer {
    start_in(config(), Arc::new(RuntimeClock::new()), stores.clone()).await
}

fn entry(path: &str) -> pb::GetEntryRequest {
    pb::GetEntryRequest { view: VIEW.to_owned(), path: path.to_owned(), read_class: 0 }
}

#[tokio::test]
async fn everything_acknowledged_is_there_and_sequences_go_on() {
    let stores = Stores::memory();
    let mut server = on(&stores).await;
    let session = server.join("a").await;
    let ask = opening(pb::Lane::Realtime, &session.session_id, "a");
    let (mut lane, _) = Lane::open(&mut server, ask.clone()).await.unwrap();
    lane.send(batch(1, vec![root(), file("/f", 1)])).await;
    lane.send(batch(2, vec![file("/g", 2)])).await;
    lane.acknowledged(2).await.unwrap();
    let before = server.views.get_entry(entry("/g")).await.unwrap().into_inner();
    drop(lane);
    server.ended().await;

    let mut server = on(&stores).await;
    let after = server.views.get_entry(entry("/g")).await.unwrap().into_inner();
    assert_eq!(after.entry, before.entry);
    let revision = |answer: &pb::GetEntryResponse| answer.freshness.as_ref().unwrap().revision;
    assert!(revision(&after) >= revision(&before));
    // The session lives on, and its lane goes on where it was.
    let beat = server.beat(&session.session_id).await.unwrap();
    assert_eq!(beat.role(), pb::SessionRole::Leader);
    assert_eq!(beat.leader_epoch, session.leader_epoch);
    let again = pb::PushOpening { first_held: 2, next: 3, ..ask };
    let (mut lane, resume_after) = Lane::open(&mut server, again).await.unwrap();
    assert_eq!(resume_after, 2);
    lane.send(batch(2, vec![file("/g", 99)])).await;
    lane.send(batch(3, vec![file("/h", 3)])).await;
    lane.acknowledged(3).await.unwrap();
    let repeated = server.views.get_entry(entry("/g")).await.unwrap().into_inner();
    assert_eq!(repeated.entry, before.entry, "a repeated batch changes nothing");
}

#[tokio::test]
async fn a_ready_view_is_ready_at_once_and_needs_no_scan() {
    let stores = Stores::memory();
    let mut server = on(&stores).await;
    let session = server.join("a").await;
    let status = pb::AgentStatus {
        realtime_ready: true,
        root_state: pb::RootState::Available.into(),
        ..Default::default()
    };
    let beat = pb::HeartbeatRequest {
        session_id: session.session_id.clone(),
        status: Some(status),
        ..Default::default()
    };
    server.sessions.heartbeat(beat).await.unwrap();
    let ask = opening(pb::Lane::Scan, &session.session_id, "a");
    let (mut lane, _) = Lane::open(&mut server, ask.clone()).await.unwrap();
    let scanned = pb::EvidenceBatch {
        listings: vec![listing("/", &["f".to_owned()], 0, true)],
        leader_epoch: session.leader_epoch,
        ..batch(2, vec![])
    };
    let framed = |sequence, frame| pb::EvidenceBatch {
        leader_epoch: session.leader_epoch,
        ..batch(sequence, vec![frame])
    };
    lane.send(framed(1, scan_started())).await;
    lane.send(scanned).await;
    lane.deliver(framed(3, scan_finished())).await;
    let trusted = pb::GetEntryRequest { read_class: pb::ReadClass::Trusted.into(), ..entry("/f") };
    server.views.get_entry(trusted.clone()).await.unwrap();
    drop(lane);
    server.ended().await;

    let mut server = on(&stores).await;
    server.views.get_entry(trusted).await.unwrap();
    // A scan's lane goes on as well: the session is the same.
    let again = pb::PushOpening { first_held: 4, next: 4, ..ask };
    let (_lane, resume_after) = Lane::open(&mut server, again).await.unwrap();
    assert_eq!(resume_after, 3);
}

#[tokio::test]
async fn epochs_causes_and_standing_outlive_the_server() {
    let stores = Stores::memory();
    let mut server = on(&stores).await;
    let first = server.join("a").await;
    let second = server.join("b").await;
    let replaced = server.join("a").await;
    assert_eq!(server.beat(&second.session_id).await.unwrap().role(), pb::SessionRole::Leader);
    server.ended().await;

    let mut server = on(&stores).await;
    match refusal(server.beat(&first.session_id).await) {
        Refusal::SessionObsolete { cause, .. } => assert_eq!(cause, ObsoleteCause::Superseded),
        other => panic!("{other:?}"),
    }
    let leads = server.beat(&second.session_id).await.unwrap();
    assert_eq!((leads.role(), leads.leader_epoch), (pb::SessionRole::Leader, 2));
    let end = pb::EndSessionRequest { session_id: second.session_id, allow_missing: false };
    server.sessions.end_session(end).await.unwrap();
    let leads = server.beat(&replaced.session_id).await.unwrap();
    assert_eq!((leads.role(), leads.leader_epoch), (pb::SessionRole::Leader, 3));
}

#[tokio::test(start_paused = true)]
async fn a_session_that_does_not_come_back_expires() {
    let stores = Stores::memory();
    let mut server = on(&stores).await;
    let session = server.join("a").await;
    server.ended().await;
    let mut server = on(&stores).await;
    // Its timer began anew; spread over at most an interval.
    advance(Duration::from_secs(29)).await;
    server.join("b").await;
    advance(Duration::from_secs(12)).await;
    match refusal(server.beat(&session.session_id).await) {
        Refusal::SessionObsolete { cause, .. } => assert_eq!(cause, ObsoleteCause::Expired),
        other => panic!("{other:?}"),
    }
}

/// An agent that goes on in a session from before would go on telling what must not be told by now.
#[tokio::test]
async fn a_session_that_was_told_otherwise_what_to_exclude_is_not_taken_back() {
    let stores = Stores::memory();
    let begin = async |exclude: &[&str], withheld| {
        let mut config = config();
        config.view_defaults.exclude = exclude.iter().map(|&it| it.to_owned()).collect();
        config.view_defaults.withheld = withheld;
        start_in(config, Arc::new(RuntimeClock::new()), stores.clone()).await
    };
    let mode = Withheld { owner: false, mode: true };
    let lives: [(&[&str], Withheld, bool); 5] = [
        (&[], Withheld::default(), true),
        (&["*.key"], Withheld::default(), false),
        (&["*.key"], Withheld::default(), true),
        (&["*.key"], mode, false),
        (&["*.key"], mode, true),
    ];
    let mut session: Option<String> = None;
    for (exclude, withheld, goes_on) in lives {
        let mut server = begin(exclude, withheld).await;
        if let Some(before) = &session {
            match server.beat(before).await {
                Ok(_) => assert!(goes_on),
                refused => {
                    assert!(!goes_on);
                    assert!(matches!(refusal(refused), Refusal::SessionObsolete { .. }));
                    session = None;
                }
            }
        }
        if session.is_none() {
            let joined = server.join("a").await;
            let settings = joined.settings.unwrap();
            assert_eq!(settings.exclude, exclude);
            assert_eq!(settings.withhold.len(), usize::from(withheld.mode));
            session = Some(joined.session_id);
        }
        server.ended().await;
    }
}

#[tokio::test]
async fn another_tree_is_still_refused() {
    let stores = Stores::memory();
    let mut server = on(&stores).await;
    let (_, lane) = with_a_file(&mut server).await;
    drop(lane);
    server.ended().await;
    let mut server = on(&stores).await;
    let other = server.sessions.create_session(asks_with_top("b", "x", 1)).await;
    assert!(matches!(refusal(other), Refusal::RootMismatch { .. }));
    server.sessions.create_session(asks_with_top("b", "f", 7)).await.unwrap();
}

/// Process `instance` of agent `b` has a session, does something, and ends it. Whether the view holds
/// that events were lost when an earlier process of it had ended.
async fn lives(server: &mut TestServer, instance: &str, next: u64) -> bool {
    let asks =
        pb::CreateSessionRequest { instance_id: uuid(instance), ..asks_with_top("b", "f", 7) };
    let session_id = server.sessions.create_session(asks).await.unwrap().into_inner().session_id;
    let ask = opening(pb::Lane::Realtime, &session_id, "b");
    let ask = pb::PushOpening { first_held: next, next, ..ask };
    let (mut lane, _) = Lane::open(server, ask).await.unwrap();
    lane.send(batch(next, vec![root(), file("/f", next)])).await;
    lane.acknowledged(next).await.unwrap();
    let answer = server.views.get_entry(entry("/f")).await.unwrap().into_inner();
    let end = pb::EndSessionRequest { session_id, allow_missing: false };
    server.sessions.end_session(end).await.unwrap();
    let reasons = answer.freshness.unwrap().reasons;
    reasons.contains(&"events of agent b were lost: it was started anew".to_owned())
}

/// R10: what happened on a host while its agent was not there nobody saw, however it had ended.
#[tokio::test]
async fn another_process_of_an_agent_means_lost_events_and_the_same_does_not() {
    let mut server = on(&Stores::memory()).await;
    assert!(!lives(&mut server, "one", 1).await, "the first");
    assert!(!lives(&mut server, "one", 2).await, "the same");
    assert!(lives(&mut server, "two", 3).await, "another");
}

#[tokio::test]
async fn another_process_of_an_agent_is_told_from_the_same_by_the_next_life_of_the_server() {
    for (instance, lost) in [("one", false), ("two", true)] {
        let stores = Stores::memory();
        let mut server = on(&stores).await;
        assert!(!lives(&mut server, "one", 1).await);
        server.ended().await;
        let mut server = on(&stores).await;
        assert_eq!(lives(&mut server, instance, 2).await, lost);
        server.ended().await;
        // It stays so, and is not found out once more.
        let mut server = on(&stores).await;
        assert_eq!(lives(&mut server, instance, 3).await, lost);
    }
}

/// Lets real time pass: for what other threads do while the tests' clock stands.
async fn a_while() {
    let sleep = || std::thread::sleep(Duration::from_millis(1));
    tokio::task::spawn_blocking(sleep).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_a_checkpoint_has_is_not_replayed() {
    let stores = Stores::memory();
    let mut server = on(&stores).await;
    let session = server.join("a").await;
    let ask = opening(pb::Lane::Realtime, &session.session_id, "a");
    let (mut lane, _) = Lane::open(&mut server, ask.clone()).await.unwrap();
    lane.send(batch(1, vec![root(), file("/f", 1)])).await;
    lane.acknowledged(1).await.unwrap();
    let view = stores.log.views().unwrap()[0].id;
    assert_eq!(stores.blocks.contains(view).unwrap(), None, "nothing is due yet");
    advance(Duration::from_secs(61)).await;
    while stores.blocks.contains(view).unwrap().is_none() {
        a_while().await;
    }
    let metrics = server.get("/metrics").await;
    assert!(metrics.contains("fusion_store_checkpoint_failures_total{view=\"v\"} 0"), "{metrics}");
    let asks = asks_with_top("a", "f", 7);
    let session = server.sessions.create_session(asks).await.unwrap().into_inner();
    let ask = opening(pb::Lane::Realtime, &session.session_id, "a");
    let again = pb::PushOpening { first_held: 2, next: 2, ..ask };
    let (mut lane, resume_after) = Lane::open(&mut server, again.clone()).await.unwrap();
    assert_eq!(resume_after, 1);
    lane.send(batch(2, vec![file("/g", 2)])).await;
    lane.acknowledged(2).await.unwrap();
    drop(lane);
    server.ended().await;

    // Without the records that the checkpoint has, it alone can tell of them.
    let contains = stores.blocks.contains(view).unwrap().unwrap();
    let nothing = Retention { age: Duration::ZERO, changes: 0, bytes: 0 };
    let now = ServerTime::from_nanos(i64::MAX);
    assert_eq!(stores.log.trim(view, contains, &nothing, now).unwrap(), contains);
    let mut server = on(&stores).await;
    for path in ["/f", "/g"] {
        server.views.get_entry(entry(path)).await.unwrap();
    }
    assert_eq!(server.beat(&session.session_id).await.unwrap().leader_epoch, session.leader_epoch);
    let again = pb::PushOpening { session_id: session.session_id, first_held: 3, next: 3, ..again };
    let (_lane, resume_after) = Lane::open(&mut server, again).await.unwrap();
    assert_eq!(resume_after, 2);
}
