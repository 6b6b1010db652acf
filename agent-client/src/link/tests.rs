//! The reaction to each refusal, against a scripted server and on paused time.

pub(crate) mod fake;
mod follow;
mod rig;

use std::time::Duration;

use fusion_core::id::LeaderEpoch;
use fusion_core::path::TreePath;
use fusion_core::session::{ObsoleteCause, Role};
use fusion_core::stat::{Kind, Stat};
use fusion_core::time::{Monotonic, ServerTime, StorageTime};
use fusion_proto::pb;
use fusion_proto::status::Refusal;

use super::{LinkError, LinkView};
use crate::watch::WatchEvidence;
use fake::{Answer, EPOCH, OnBatch};
use rig::Rig;

fn obsolete(cause: ObsoleteCause, retry_after: Duration) -> Refusal {
    Refusal::SessionObsolete { session: None, view: None, cause, retry_after }
}

fn conflict(rest: Duration) -> Refusal {
    let host = "other".into();
    Refusal::AgentIdConflict { host, since: ServerTime::from_nanos(1), retry_after: rest }
}

fn dir_stat() -> Stat {
    let time = StorageTime::from_nanos(1);
    Stat {
        kind: Kind::Directory,
        size: 0,
        mtime: time,
        ctime: time,
        inode: 1,
        mode: 0o755,
        uid: 0,
        gid: 0,
        nlink: 1,
    }
}

/// One upsert of `/NAME`, looked at so long after the start of the runtime.
fn upsert(name: &str, after: Duration) -> WatchEvidence {
    WatchEvidence::Upsert {
        path: TreePath::new(format!("/{name}").into_bytes()).unwrap(),
        stat: Stat { kind: Kind::File, ..dir_stat() },
        parent: Some(dir_stat()),
        atomic: true,
        looked_at: Monotonic::from_nanos(0).plus(Duration::from_secs(1_000) + after),
    }
}

fn sequences(script: &fake::Script, lane: pb::Lane) -> Vec<u64> {
    let of_lane = script.batches.iter().filter(|(of, _)| *of == lane);
    of_lane.map(|(_, batch)| batch.sequence).collect()
}

#[tokio::test(start_paused = true)]
async fn an_obsolete_session_is_followed_by_a_new_one_when_the_server_says() {
    for cause in [
        ObsoleteCause::Expired,
        ObsoleteCause::Evicted,
        ObsoleteCause::ViewReset,
        ObsoleteCause::Unknown,
    ] {
        let refusal = obsolete(cause, Duration::from_secs(3));
        let rig = Rig::start(|script| script.on_heartbeat.push_back(Answer::Refuse(refusal)));
        rig.until("a second session", |script| script.creates.len() == 2).await;
        let waited = {
            let script = rig.fake.script();
            script.creates[1].0 - script.creates[0].0
        };
        assert!((3_000..3_200).contains(&waited.as_millis()), "{cause:?}: {waited:?}");
        let text = rig.shown.text().unwrap();
        assert!(text.contains("fusion_agent_session_recoveries_total{cause="), "{text}");
        rig.stop().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn sessions_that_are_obsolete_at_once_do_not_make_a_tight_loop() {
    let rig = Rig::start(|script| {
        for _ in 0..1_000 {
            let refusal = obsolete(ObsoleteCause::Unknown, Duration::ZERO);
            script.on_heartbeat.push_back(Answer::Refuse(refusal));
        }
    });
    tokio::time::sleep(Duration::from_secs(60)).await;
    let creates = rig.fake.script().creates.len();
    assert!((10..40).contains(&creates), "{creates} sessions in a minute");
    rig.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_superseded_agent_stops() {
    let refusal = obsolete(ObsoleteCause::Superseded, Duration::ZERO);
    let rig = Rig::start(|script| script.on_heartbeat.push_back(Answer::Refuse(refusal)));
    assert_eq!(rig.ended().await, Err(LinkError::Superseded));
}

#[tokio::test(start_paused = true)]
async fn an_obsolete_session_is_heard_of_on_a_stream_as_well() {
    let refusal = obsolete(ObsoleteCause::Evicted, Duration::ZERO);
    let opening = (pb::Lane::Scan, refusal.clone());
    let rig = Rig::start(|script| script.on_opening.push_back(opening));
    rig.until("a second session", |script| script.creates.len() == 2).await;
    rig.fake.script().on_batch.push_back(OnBatch::End(refusal));
    rig.spool.put_for_test(&[upsert("a", Duration::ZERO)]);
    rig.until("a third session", |script| script.creates.len() == 3).await;
    rig.until("the batch", |script| script.applied == 1).await;
    rig.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn another_agent_of_the_name_is_waited_for() {
    let refusal = Answer::Refuse(conflict(Duration::from_secs(20)));
    let mut rig = Rig::start(|script| script.on_create.push_back(refusal));
    rig.session().await;
    let waited = {
        let script = rig.fake.script();
        assert_eq!(script.creates.len(), 2);
        script.creates[1].0 - script.creates[0].0
    };
    assert!((20_000..21_000).contains(&waited.as_millis()), "{waited:?}");
    rig.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn another_agent_of_the_name_that_lives_on_stops_this_one() {
    let rig = Rig::start(|script| {
        for rest in [20, 29] {
            script.on_create.push_back(Answer::Refuse(conflict(Duration::from_secs(rest))));
        }
    });
    let error = rig.ended().await.unwrap_err();
    assert!(error.to_string().contains("host `other` has the name `agent-1`"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn another_tree_stops_the_agent() {
    let refusal = Refusal::RootMismatch { known: "ext4/2".into(), found: "ext4/7".into() };
    let rig = Rig::start(|script| script.on_create.push_back(Answer::Refuse(refusal)));
    let error = rig.ended().await.unwrap_err();
    assert!(error.to_string().contains("ext4/7"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_spool_that_was_rolled_back_gets_a_new_id_and_says_that_events_were_lost() {
    let refusal = Refusal::SpoolRolledBack { applied: 9, next: 1 };
    let opening = (pb::Lane::Realtime, refusal);
    let rig = Rig::start(|script| script.on_opening.push_back(opening));
    rig.until("a batch", |script| !script.batches.is_empty()).await;
    {
        let script = rig.fake.script();
        assert_eq!(script.creates.len(), 2);
        assert_ne!(script.creates[0].1.spool_id, script.creates[1].1.spool_id);
        // The old session is ended: it has our name under the old spool id.
        assert_eq!(script.ended.len(), 1);
        let (lane, batch) = &script.batches[0];
        assert_eq!((*lane, batch.sequence), (pb::Lane::Realtime, 1));
        let overflow = matches!(
            batch.rows[0].evidence,
            Some(pb::evidence::Evidence::Overflow(pb::Overflow { since: Some(_) }))
        );
        assert!(overflow, "{batch:?}");
    }
    rig.stop().await.unwrap();
}

/// A crash of the machine cut off frames that the server has, and more were written before the first
/// opening than had been cut off.
#[tokio::test(start_paused = true)]
async fn a_spool_that_was_rolled_back_is_found_out_whatever_was_written_since_it_was_opened() {
    let rig = Rig::start(|script| script.applied = 3);
    let written: Vec<String> = (1..=5).map(|number| format!("f{number}")).collect();
    for name in &written {
        rig.spool.put_for_test(&[upsert(name, Duration::ZERO)]);
    }
    rig.until("all batches", |script| script.applied == 6).await;
    {
        let script = rig.fake.script();
        assert_eq!(script.creates.len(), 2);
        assert_ne!(script.creates[0].1.spool_id, script.creates[1].1.spool_id);
        let rows: Vec<_> =
            script.batches.iter().map(|(_, batch)| &batch.rows[0].evidence).collect();
        for (row, name) in rows.iter().zip(&written) {
            let is_told = matches!(row, Some(pb::evidence::Evidence::Upsert(upsert))
                if upsert.path.ends_with(name.as_bytes()));
            assert!(is_told, "{name}: {row:?}");
        }
        assert!(matches!(rows[5], Some(pb::evidence::Evidence::Overflow(_))), "{rows:?}");
    }
    rig.stop().await.unwrap();
}

/// A frame that cannot be read stands in nobody's way.
#[tokio::test(start_paused = true)]
async fn a_damaged_frame_of_the_spool_counts_as_lost_and_what_comes_later_is_told() {
    let rig = Rig::start(|_| {});
    rig.spool.put_for_test(&[upsert("a", Duration::ZERO)]);
    for entry in std::fs::read_dir(rig.folder.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "seg") {
            let mut bytes = std::fs::read(&path).unwrap();
            *bytes.last_mut().unwrap() ^= 0xff;
            std::fs::write(&path, bytes).unwrap();
        }
    }
    rig.until("another opening", |script| of_realtime(script).len() == 2).await;
    rig.spool.put_for_test(&[upsert("b", Duration::ZERO)]);
    rig.until("what comes later", |script| script.applied == 3).await;
    {
        let script = rig.fake.script();
        assert_eq!(script.creates.len(), 1);
        let (before, after) = (of_realtime(&script)[0], of_realtime(&script)[1]);
        assert_eq!((before.first_held, after.first_held), (1, 2), "the hole is seen");
        let rows: Vec<_> = script.batches.iter().map(|(_, it)| &it.rows[0].evidence).collect();
        assert!(matches!(rows[0], Some(pb::evidence::Evidence::Overflow(_))), "{rows:?}");
        assert!(matches!(rows[1], Some(pb::evidence::Evidence::Upsert(_))), "{rows:?}");
    }
    assert!(!rig.spool.is_losing(), "the server knows");
    rig.stop().await.unwrap();
}

fn of_realtime(script: &fake::Script) -> Vec<&pb::PushOpening> {
    let openings = script.openings.iter().map(|(_, opening)| opening);
    openings.filter(|opening| opening.lane() == pb::Lane::Realtime).collect()
}

#[tokio::test(start_paused = true)]
async fn a_refused_leadership_keeps_the_session_and_stops_scanning() {
    for reason in ["NOT_LEADER", "LEADER_EPOCH_STALE"] {
        let mut rig = Rig::start(|_| {});
        let session = rig.session().await;
        rig.fake.script().on_batch.push_back(OnBatch::Reject(reason));
        let mut view = rig.handle.view.clone();
        // What was sent under another leadership than the present one says nothing of this one.
        rig.spool.put_for_test(&[upsert("a", Duration::ZERO)]);
        rig.until("the batch", |script| script.applied == 1).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(standing(&view.borrow_and_update()), Some((session, Role::Leader)));
        scan_a_little(&rig, &view).await;
        let follows = |view: &LinkView| standing(view) == Some((session, Role::Follower));
        view.wait_for(follows).await.unwrap();
        // Heartbeats that still call it the leader under this number change nothing.
        tokio::time::sleep(Duration::from_secs(25)).await;
        assert_eq!(standing(&view.borrow()), Some((session, Role::Follower)));
        assert_eq!(rig.fake.script().creates.len(), 1);
        rig.stop().await.unwrap();
    }
}

/// Sends one scan batch under the present leadership, which is refused.
async fn scan_a_little(rig: &Rig, view: &tokio::sync::watch::Receiver<LinkView>) {
    let standing = view.borrow().standing.clone().unwrap();
    rig.fake.script().on_batch.push_back(OnBatch::Reject("NOT_LEADER"));
    let order = crate::agent::scans::ScanOrder::whole(
        fusion_core::evidence::Source::Snapshot,
        standing.epoch,
    );
    let exchange = std::sync::Arc::clone(&rig.handle.exchange);
    let span = tracing::Span::none();
    let mut writer = super::BatchWriter::new(&standing, exchange, &order, span);
    let root = fusion_core::path::PathRef::ROOT;
    let cancel = crate::scan::Cancel::new();
    writer.started(root, Monotonic::from_nanos(1), None, &cancel).unwrap();
}

fn standing(view: &LinkView) -> Option<(fusion_core::id::SessionId, Role)> {
    view.standing.as_ref().map(|standing| (standing.session, standing.role))
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_ends_is_opened_again_and_nothing_acknowledged_is_resent() {
    let wait = Duration::from_secs(2);
    for refusal in [
        Refusal::ServerDraining { retry_after: wait },
        Refusal::StreamReplaced { retry_after: wait },
        Refusal::QueueFull { queue: "ingest".into(), retry_after: wait },
        Refusal::QuotaExceeded { quota: "bytes".into(), limit: 1, retry_after: wait },
        Refusal::RateExceeded { rate: "batches".into(), limit: 1, retry_after: wait },
    ] {
        let mut rig = Rig::start(|_| {});
        let session = rig.session().await;
        rig.spool.put_for_test(&[upsert("a", Duration::ZERO)]);
        rig.until("the first", |script| script.applied == 1).await;
        let ended_at = tokio::time::Instant::now();
        rig.fake.script().on_batch.extend([OnBatch::Silent, OnBatch::End(refusal.clone())]);
        rig.spool.put_for_test(&[upsert("b", Duration::ZERO)]);
        rig.spool.put_for_test(&[upsert("c", Duration::ZERO)]);
        rig.until("all", |script| script.applied == 3).await;
        {
            let script = rig.fake.script();
            assert_eq!(script.creates.len(), 1, "{refusal:?}");
            assert_eq!(sequences(&script, pb::Lane::Realtime), [1, 2, 3, 2, 3], "{refusal:?}");
            let (again, opening) = script.openings.last().unwrap();
            assert_eq!((opening.first_held, opening.next), (2, 4), "{refusal:?}");
            assert!(*again - ended_at >= wait, "{refusal:?}: {:?}", *again - ended_at);
        }
        assert_eq!(rig.session().await, session);
        rig.stop().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_gap_is_filled_from_the_spool() {
    let rig = Rig::start(|_| {});
    rig.spool.put_for_test(&[upsert("a", Duration::ZERO)]);
    rig.until("the first", |script| script.applied == 1).await;
    rig.fake.script().on_batch.push_back(OnBatch::End(Refusal::SequenceGap { expected: 2 }));
    rig.spool.put_for_test(&[upsert("b", Duration::ZERO)]);
    rig.until("the second", |script| script.applied == 2).await;
    assert_eq!(sequences(&rig.fake.script(), pb::Lane::Realtime), [1, 2, 2]);
    rig.stop().await.unwrap();
}

/// A server that was put back to a back-up wants scan batches that it has acknowledged.
#[tokio::test(start_paused = true)]
async fn a_gap_that_nobody_can_fill_takes_a_new_session() {
    let gap = |expected| (pb::Lane::Scan, Refusal::SequenceGap { expected });
    let rig = Rig::start(|script| script.on_opening.extend([gap(1), gap(0)]));
    rig.until("a new session", |script| script.creates.len() == 2).await;
    rig.until("its lanes", |script| script.openings.len() >= 4).await;
    {
        let script = rig.fake.script();
        let of_first = script.openings.iter().filter(|(_, opening)| {
            opening.lane() == pb::Lane::Scan
                && opening.session_id == script.openings[0].1.session_id
        });
        assert_eq!(of_first.count(), 2, "one that can be filled is asked for again");
        assert_eq!(script.creates[0].1.spool_id, script.creates[1].1.spool_id);
    }
    rig.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_was_seen_before_the_session_is_stamped_in_server_time_and_in_order() {
    let rig = Rig::start(|script| {
        script.on_create.push_back(Answer::Refuse(conflict(Duration::from_secs(5))));
    });
    let after = Duration::from_secs;
    rig.spool.put_for_test(&[upsert("a", after(1)), upsert("b", after(2))]);
    rig.until("the batch", |script| script.applied == 1).await;
    {
        let script = rig.fake.script();
        let (_, batch) = &script.batches[0];
        let seconds: Vec<_> =
            batch.rows.iter().map(|row| row.observed_at.as_ref().unwrap().seconds).collect();
        // The session began some 5 s after the start, when the server's clock showed EPOCH.
        assert_eq!(seconds[1] - seconds[0], 1);
        assert!((EPOCH - 5..EPOCH).contains(&seconds[0]), "{seconds:?}");
    }
    rig.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_not_there_is_tried_again_and_again() {
    let mut rig = Rig::start(|script| {
        let internal = || Answer::Refuse(Refusal::Internal { id: "x".into() });
        script.on_create.extend((0..20).map(|_| internal()));
        script.on_create.push_back(Answer::Hang);
    });
    rig.session().await;
    assert_eq!(rig.fake.script().creates.len(), 22);
    rig.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_is_lost_and_the_heartbeat_goes_on() {
    let mut rig = Rig::start(|script| {
        script.on_heartbeat.extend((0..30).map(|_| Answer::Hang));
    });
    let session = rig.session().await;
    rig.handle.view.wait_for(|view| view.lost).await.unwrap();
    rig.handle.view.wait_for(|view| !view.lost).await.unwrap();
    assert_eq!(rig.session().await, session);
    rig.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_notice_changes_the_role_and_brings_commands_once() {
    let mut rig = Rig::start(|_| {});
    rig.session().await;
    rig.until("both lanes", |script| script.openings.len() == 2).await;
    let command = pb::Command {
        command_id: uuid::Uuid::new_v4().to_string(),
        lease_id: "lease".into(),
        action: Some(pb::command::Action::Stop(pb::StopCommand { why: "test".into() })),
        ..Default::default()
    };
    let role = pb::SessionRole::Follower.into();
    rig.fake.notice(pb::PushNotice { role, leader_epoch: 7, commands: vec![command] }).await;
    let is_new = |view: &LinkView| {
        view.standing
            .as_ref()
            .is_some_and(|s| (s.role, s.epoch) == (Role::Follower, LeaderEpoch(7)))
    };
    rig.handle.view.wait_for(is_new).await.unwrap();
    assert!(rig.handle.commands.recv().await.is_some());
    // The next heartbeat says the older epoch 1: it was on its way before.
    tokio::time::sleep(Duration::from_secs(25)).await;
    assert!(is_new(&rig.handle.view.borrow()));
    rig.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_goodbye_is_said_and_waited_for_only_so_long() {
    for hang in [false, true] {
        let mut rig = Rig::start(|script| script.hang_on_end = hang);
        let session = rig.session().await;
        let fake = rig.fake.clone();
        let before = tokio::time::Instant::now();
        rig.stop().await.unwrap();
        assert!(before.elapsed() < Duration::from_secs(1), "{:?}", before.elapsed());
        let script = fake.script();
        assert_eq!(script.ended.len(), 1);
        assert!(script.ended[0].allow_missing);
        assert_eq!(script.ended[0].session_id, session.to_string());
    }
}
