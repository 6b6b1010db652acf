//! Evidence: sequences, acknowledgements, replacement, fencing, bad rows, shutdown.

use fusion_proto::pb;
use fusion_proto::pb::push_events_request::Message as Ask;
use fusion_proto::status::{ObsoleteCause, Refusal};
use tonic::Code;

use crate::evidence::{batch, file, listing, root, row, scan_finished, scan_started};
use crate::harness::{TestServer, refusal, start, uuid};
use crate::telling::{Lane, opening};

async fn realtime(server: &mut TestServer) -> (String, Lane) {
    let session = server.join("a").await.session_id;
    let opening = opening(pb::Lane::Realtime, &session, "a");
    let (lane, after) = Lane::open(server, opening).await.unwrap();
    assert_eq!(after, 0);
    (session, lane)
}

async fn size(server: &mut TestServer, path: &str) -> u64 {
    let ask = pb::GetEntryRequest { view: "v".into(), path: path.into(), read_class: 0 };
    server.views.get_entry(ask).await.unwrap().into_inner().entry.unwrap().stat.unwrap().size
}

#[tokio::test]
async fn acknowledged_is_visible_and_a_repeat_changes_nothing() {
    let mut server = start().await;
    let (_, mut lane) = realtime(&mut server).await;
    lane.send(batch(1, vec![root(), file("/f", 1)])).await;
    lane.deliver(batch(2, vec![file("/f", 2)])).await;
    assert_eq!(size(&mut server, "/f").await, 2);
    lane.deliver(batch(1, vec![file("/f", 1)])).await;
    assert_eq!(size(&mut server, "/f").await, 2);
    lane.close();
    assert_eq!(lane.end().await.code(), Code::Ok);
}

#[tokio::test]
async fn all_that_was_sent_before_the_close_is_acknowledged() {
    let mut server = start().await;
    let (_, mut lane) = realtime(&mut server).await;
    lane.send(batch(1, vec![root()])).await;
    for sequence in 2..=1_000 {
        lane.send(batch(sequence, vec![file("/f", sequence)])).await;
    }
    lane.close();
    lane.acknowledged(1_000).await.unwrap();
    assert_eq!(lane.end().await.code(), Code::Ok);
}

#[tokio::test]
async fn a_gap_is_refused_after_what_was_before_it() {
    let mut server = start().await;
    let (session, mut lane) = realtime(&mut server).await;
    lane.send(batch(1, vec![root()])).await;
    lane.send(batch(3, vec![file("/f", 3)])).await;
    lane.acknowledged(1).await.unwrap();
    let refused = refusal(Err::<(), _>(lane.end().await));
    assert_eq!(refused, Refusal::SequenceGap { expected: 2 });

    // The lane opens again where it was, also for a new session of the same spool.
    let mut again = opening(pb::Lane::Realtime, &session, "a");
    (again.first_held, again.next) = (2, 4);
    assert_eq!(Lane::open(&mut server, again.clone()).await.unwrap().1, 1);
    again.session_id = server.join("a").await.session_id;
    assert_eq!(Lane::open(&mut server, again).await.unwrap().1, 1);
}

#[tokio::test]
async fn the_sides_losses_of_memory() {
    let mut server = start().await;
    let session = server.join("a").await.session_id;
    let mut opening = opening(pb::Lane::Realtime, &session, "a");
    (opening.first_held, opening.next) = (57, 60);
    assert_eq!(Lane::open(&mut server, opening.clone()).await.unwrap().1, 56);
    (opening.first_held, opening.next) = (1, 50);
    let refused = refusal(Lane::open(&mut server, opening.clone()).await.map(|_| ()));
    assert_eq!(refused, Refusal::SpoolRolledBack { applied: 56, next: 50 });
    opening.spool_id = uuid("new spool");
    assert_eq!(Lane::open(&mut server, opening).await.unwrap().1, 0);
    assert!(server.get("/metrics").await.contains("fusion_lost_batches_total{view=\"v\"} 56"));
}

#[tokio::test]
async fn a_second_stream_of_a_lane_replaces_the_first() {
    let mut server = start().await;
    let (session, mut first) = realtime(&mut server).await;
    let scan = opening(pb::Lane::Scan, &session, "");
    let (mut scan, _) = Lane::open(&mut server, scan).await.unwrap();
    let mut second = Lane::realtime(&mut server, &session, "a").await;
    let refused = refusal(Err::<(), _>(first.end().await));
    assert!(matches!(refused, Refusal::StreamReplaced { .. }), "{refused:?}");
    second.send(batch(1, vec![root()])).await;
    second.acknowledged(1).await.unwrap();
    scan.send(batch(1, vec![scan_started()])).await;
    scan.acknowledged(1).await.unwrap();
}

#[tokio::test]
async fn bad_rows_do_not_stand_in_the_way() {
    let mut server = start().await;
    let (_, mut lane) = realtime(&mut server).await;
    let bad_path = file("no/slash", 1);
    let nothing = pb::Evidence::default();
    lane.send(batch(1, vec![root(), bad_path, file("/f", 5), nothing])).await;
    let rejected = lane.acknowledged(1).await.unwrap();
    let rows: Vec<_> = rejected.iter().map(|row| (row.sequence, row.row)).collect();
    assert_eq!(rows, [(1, Some(1)), (1, Some(3))]);
    assert!(rejected.iter().all(|row| row.reason == "INVALID_ARGUMENT"), "{rejected:?}");
    assert_eq!(size(&mut server, "/f").await, 5);

    let too_many = (0..1_001).map(|size| file("/f", size)).collect();
    lane.send(batch(2, too_many)).await;
    lane.send(batch(3, vec![file("/f", 6)])).await;
    let rejected = lane.acknowledged(3).await.unwrap();
    assert_eq!((rejected[0].sequence, rejected[0].row), (2, None));
    assert_eq!(size(&mut server, "/f").await, 6);
}

#[tokio::test]
async fn only_the_leader_lists_and_only_under_its_epoch() {
    let mut server = start().await;
    server.join("a").await;
    let follower = server.join("b").await.session_id;
    let scan = opening(pb::Lane::Scan, &follower, "");
    let (mut lane, _) = Lane::open(&mut server, scan).await.unwrap();
    lane.send(batch(1, vec![scan_started()])).await;
    assert_eq!(lane.acknowledged(1).await.unwrap()[0].reason, "NOT_LEADER");

    let mut unary = pb::PushEventBatchRequest {
        session_id: follower,
        lane: pb::Lane::Scan.into(),
        spool_id: String::new(),
        batch: Some(batch(2, vec![scan_started()])),
    };
    let refused = refusal(server.events.push_event_batch(unary.clone()).await);
    assert!(matches!(refused, Refusal::NotLeader { .. }), "{refused:?}");
    // Its sequence is consumed all the same, and a batch of which only a part was refused is taken.
    let probe =
        row(pb::evidence::Evidence::Probe(pb::Probe { path: "/f".into(), ..Default::default() }));
    unary.batch = Some(batch(3, vec![scan_started(), probe]));
    let told = server.events.push_event_batch(unary).await.unwrap().into_inner();
    assert_eq!(told.acknowledgement.unwrap().rejected.len(), 1);

    let leader = server.join("a").await; // superseded: "b" leads now
    assert_eq!(leader.role(), pb::SessionRole::Follower);
}

#[tokio::test]
async fn a_listing_in_parts_makes_the_view_ready() {
    let mut server = start().await;
    let leader = server.join("a").await;
    let scan = opening(pb::Lane::Scan, &leader.session_id, "");
    let (mut lane, _) = Lane::open(&mut server, scan).await.unwrap();
    let names: Vec<String> = (0..18_000).map(|i| format!("name-{i:06}")).collect();
    let parts: Vec<_> = names.chunks(999).collect();
    let mut sequence = 1;
    let led = |mut batch: pb::EvidenceBatch| {
        batch.leader_epoch = leader.leader_epoch;
        batch
    };
    lane.send(led(batch(sequence, vec![scan_started()]))).await;
    for (part, names) in parts.iter().enumerate() {
        sequence += 1;
        let last = part + 1 == parts.len();
        let mut next = batch(sequence, Vec::new());
        next.listings = vec![listing("/", names, part as u32, last)];
        lane.send(led(next)).await;
    }
    sequence += 1;
    lane.deliver(led(batch(sequence, vec![scan_finished()]))).await;

    let ask = pb::GetStatsRequest {
        view: "v".into(),
        path: "/".into(),
        read_class: pb::ReadClass::Trusted.into(),
    };
    let stats = server.views.get_stats(ask).await.unwrap().into_inner();
    let totals = stats.totals.unwrap();
    assert_eq!((totals.files, totals.bytes), (18_000, 18_000));
    assert_eq!(stats.freshness.unwrap().state(), pb::ViewState::Ready);
}

#[tokio::test]
async fn a_session_that_ends_ends_its_streams() {
    let mut server = start().await;
    let (session, mut lane) = realtime(&mut server).await;
    let end = pb::EndSessionRequest { session_id: session, allow_missing: false };
    server.sessions.end_session(end).await.unwrap();
    match refusal(Err::<(), _>(lane.end().await)) {
        Refusal::SessionObsolete { cause, .. } => assert_eq!(cause, ObsoleteCause::Unknown),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn malformed_openings_are_refused_with_their_field() {
    let mut server = start().await;
    let session = server.join("a").await.session_id;
    let good = opening(pb::Lane::Realtime, &session, "a");
    let cases: [(&str, pb::PushOpening); 6] = [
        ("opening.session_id", pb::PushOpening { session_id: "x".into(), ..good.clone() }),
        ("opening.lane", pb::PushOpening { lane: 0, ..good.clone() }),
        ("opening.spool_id", pb::PushOpening { spool_id: String::new(), ..good.clone() }),
        ("opening.spool_id", pb::PushOpening { lane: pb::Lane::Scan.into(), ..good.clone() }),
        ("opening.first_held", pb::PushOpening { first_held: 0, ..good.clone() }),
        ("opening.next", pb::PushOpening { first_held: 5, next: 4, ..good.clone() }),
    ];
    for (field, opening) in cases {
        match refusal(Lane::open(&mut server, opening).await.map(|_| ())) {
            Refusal::InvalidArgument { violations } => assert_eq!(violations[0].field, field),
            other => panic!("{field}: {other:?}"),
        }
    }
    let mut lane = Lane::begin(&mut server, Ask::Batch(batch(1, Vec::new()))).await;
    assert_eq!(lane.end().await.code(), Code::InvalidArgument);
    let (mut lane, _) = Lane::open(&mut server, good.clone()).await.unwrap();
    lane.send(batch(0, Vec::new())).await;
    assert_eq!(lane.end().await.code(), Code::InvalidArgument);
    let (mut lane, _) = Lane::open(&mut server, good.clone()).await.unwrap();
    lane.ask(Ask::Opening(good)).await;
    assert_eq!(lane.end().await.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn going_down_ends_streams_with_a_reason_and_refuses_new_sessions() {
    let mut server = start().await;
    let (_, mut lane) = realtime(&mut server).await;
    server.stop();
    let refused = refusal(Err::<(), _>(lane.end().await));
    assert!(matches!(refused, Refusal::ServerDraining { .. }), "{refused:?}");
    server.ended().await;
}
