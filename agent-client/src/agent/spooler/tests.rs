use std::sync::atomic::Ordering;
use std::time::Duration;

use fusion_core::evidence::{Evidence, RootState};
use fusion_core::path::TreePath;
use fusion_core::time::{AgentTime, ServerTime};
use fusion_proto::convert::evidence::decode_batch;

use super::*;
use crate::clock::RuntimeClock;
use crate::ids::RandomIds;
use crate::link::TimeExchange;
use crate::link::frame::restamp;
use crate::watch::WatchEvidence;

fn removals(number: usize, at: i64) -> Vec<WatchEvidence> {
    let name = "n".repeat(200);
    let removal = |each| WatchEvidence::Remove {
        path: TreePath::new(format!("/{name}{each}").into_bytes()).unwrap(),
        parent: None,
        looked_at: Monotonic::from_nanos(at),
    };
    (0..number).map(removal).collect()
}

/// The overflows in a frame, as (since, watching again).
fn overflows(frame: &Frame) -> Vec<(i64, i64)> {
    let exchange = TimeExchange::default();
    let zero = Monotonic::from_nanos(0);
    exchange.add(zero, zero, ServerTime::from_nanos(0));
    let payload = frame.payload.clone();
    let batch = restamp(payload, &exchange, &mut Default::default()).unwrap().unwrap();
    let decoded = decode_batch(&batch).unwrap();
    let rows = decoded.rows().map(|row| row.unwrap().evidence);
    rows.filter_map(|row| match row {
        Evidence::Overflow { since, observed_at } => {
            Some((since.as_nanos(), observed_at.as_nanos()))
        }
        _ => None,
    })
    .collect()
}

#[tokio::test(start_paused = true)]
async fn a_full_spool_drops_evidence_and_says_so_once_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(RuntimeClock::starting_at(AgentTime::from_nanos(0)));
    let spool = SharedSpool::alone(folder.path(), clock, Arc::new(RandomIds)).unwrap();
    // The spool takes 1 MiB; each of these is some 200 KiB.
    for at in 1..=20 {
        spool.put_for_test(&removals(900, at));
    }
    let full = spool.figures();
    assert!(spool.is_losing());
    assert_eq!(full.times_full, 1);
    assert_eq!(full.batches + 1, full.next);
    assert!((2..10).contains(&full.batches), "{full:?}");
    assert_eq!(full.oldest, Some(Monotonic::from_nanos(1)));
    let dropped_since = full.next as i64;

    spool.acknowledge(full.next - 1).await.unwrap();
    assert_eq!(spool.figures().batches, 0, "not at once");
    tokio::time::sleep(RECOVER_AFTER).await;
    spool.mend().await;
    let after = spool.figures();
    assert!(spool.is_losing(), "until the server knows");
    assert_eq!((after.first_held, after.next), (full.next, full.next + 1));
    let frames = spool.read(full.next).await.unwrap();
    let told = overflows(&frames[0]);
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].0, dropped_since);
    spool.acknowledge(full.next).await.unwrap();
    assert!(!spool.is_losing());
    // And it goes on as before.
    spool.put_for_test(&removals(1, 30));
    assert_eq!(spool.figures().next, after.next + 1);
    assert_eq!(spool.figures().times_full, 1);
}

/// What the frames from a number on say of the root: its state, and whether with what it is.
async fn roots(spool: &SharedSpool, from: u64) -> Vec<(RootState, bool)> {
    let rows = |frame: &Frame| {
        let exchange = TimeExchange::default();
        let zero = Monotonic::from_nanos(0);
        exchange.add(zero, zero, ServerTime::from_nanos(0));
        let payload = frame.payload.clone();
        let batch = restamp(payload, &exchange, &mut Default::default()).unwrap().unwrap();
        let decoded = decode_batch(&batch).unwrap();
        let rows = decoded.rows().map(|row| row.unwrap().evidence);
        let said = rows.filter_map(|row| match row {
            Evidence::Root { state, identity, .. } => Some((state, identity.is_some())),
            _ => None,
        });
        said.collect::<Vec<_>>()
    };
    spool.read(from).await.unwrap().iter().flat_map(rows).collect()
}

/// Nothing else says it again: the root is found as it was found before.
#[tokio::test(start_paused = true)]
async fn how_the_root_is_found_while_nothing_fits_is_said_when_there_is_room() {
    let (available, unavailable) = ((RootState::Available, true), (RootState::Unavailable, false));
    let gone = || WatchEvidence::RootGone { looked_at: Monotonic::from_nanos(25) };
    for (away_before, found, seen_gone, said) in [
        (true, Some(RootState::Available), false, available),
        (false, Some(RootState::Unavailable), false, unavailable),
        (false, None, true, unavailable),
        (false, None, false, available),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(RuntimeClock::starting_at(AgentTime::from_nanos(0)));
        let spool = SharedSpool::alone(folder.path(), clock, Arc::new(RandomIds)).unwrap();
        let mut sink = spool.sink();
        spool.root();
        if away_before {
            assert!(spool.0.state.root_found(RootState::Unavailable));
            spool.root();
        }
        for at in 1..=20 {
            spool.put_for_test(&removals(900, at));
        }
        assert!(spool.is_losing());
        if let Some(found) = found {
            assert!(spool.0.state.root_found(found));
            spool.root();
        }
        if seen_gone {
            let _ = sink.put(vec![gone()]);
        }
        let full = spool.figures();
        spool.acknowledge(full.next - 1).await.unwrap();
        tokio::time::sleep(RECOVER_AFTER).await;
        spool.mend().await;
        assert_eq!(overflows(&spool.read(full.next).await.unwrap()[0]).len(), 1);
        assert_eq!(roots(&spool, full.next).await, [said]);
        spool.mend().await;
        assert_eq!(spool.figures().next, full.next + 2, "once");
    }
}

#[tokio::test(start_paused = true)]
async fn readers_wait_for_what_is_not_there_yet_and_numbers_outlive_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let clock = || Arc::new(RuntimeClock::starting_at(AgentTime::from_nanos(0)));
    let spool = SharedSpool::alone(folder.path(), clock(), Arc::new(RandomIds)).unwrap();
    let waited = tokio::time::timeout(Duration::from_secs(1), spool.holds(1)).await;
    assert!(waited.is_err());
    spool.put_for_test(&removals(1, 5));
    spool.holds(1).await;
    spool.put_for_test(&removals(1, 6));
    spool.acknowledge(1).await.unwrap();
    spool.release();
    // Nothing is written any more, and nothing breaks.
    spool.put_for_test(&removals(1, 7));
    let id = spool.id();
    drop(spool);
    let again = SharedSpool::alone(folder.path(), clock(), Arc::new(RandomIds)).unwrap();
    assert_eq!(again.id(), id);
    let figures = again.figures();
    assert_eq!((figures.first_held, figures.next, figures.batches), (2, 3, 1));
    assert_eq!(figures.oldest, Some(Monotonic::from_nanos(6)));
}

#[tokio::test(start_paused = true)]
async fn only_the_latest_watcher_writes_and_says_when_all_is_watched() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(RuntimeClock::starting_at(AgentTime::from_nanos(0)));
    let spool = SharedSpool::alone(folder.path(), clock, Arc::new(RandomIds)).unwrap();
    let overflow = |is_over| {
        let (since, watching_since) = (Monotonic::from_nanos(3), Monotonic::from_nanos(9));
        vec![WatchEvidence::Overflow { since, watching_since, is_over }]
    };
    let state = &spool.0.state;
    let flags = || (state.healing.load(Ordering::Relaxed), state.placed.load(Ordering::Relaxed));
    let mut before = spool.sink();
    assert!(before.put(overflow(false)).is_continue());
    let mut latest = spool.sink();
    assert!(before.put(overflow(true)).is_break());
    assert_eq!((flags(), spool.figures().next), ((true, false), 2), "nothing was written");
    // Two losses, and one end.
    for _ in 0..2 {
        assert!(latest.put(overflow(false)).is_continue());
        assert_eq!(flags(), (true, false));
    }
    assert!(latest.put(overflow(true)).is_continue());
    assert_eq!((flags(), spool.figures().next), ((false, true), 5));
}

#[tokio::test(start_paused = true)]
async fn a_loss_that_does_not_fit_either_counts_from_its_beginning() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(RuntimeClock::starting_at(AgentTime::from_nanos(0)));
    let spool = SharedSpool::alone(folder.path(), clock, Arc::new(RandomIds)).unwrap();
    let mut sink = spool.sink();
    for at in 11..=30 {
        let _ = sink.put(removals(900, at));
    }
    let (since, watching_since) = (Monotonic::from_nanos(5), Monotonic::from_nanos(40));
    let _ = sink.put(vec![WatchEvidence::Overflow { since, watching_since, is_over: false }]);
    let full = spool.figures();
    spool.acknowledge(full.next - 1).await.unwrap();
    tokio::time::sleep(RECOVER_AFTER).await;
    spool.mend().await;
    let told = overflows(&spool.read(full.next).await.unwrap()[0]);
    assert_eq!(told[0].0, 5);
}

/// A bad sector under a frame: the disk says so each time, and what comes later waits behind it.
#[tokio::test]
async fn a_frame_that_the_disk_cannot_read_counts_as_damaged_after_a_few_tries() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(RuntimeClock::starting_at(AgentTime::from_nanos(0)));
    let spool = SharedSpool::alone(folder.path(), clock, Arc::new(RandomIds)).unwrap();
    spool.put_for_test(&removals(1, 1));
    spool.0.spool().as_mut().unwrap().fail_reads();
    for _ in 1..mend::READS {
        let error = spool.read(1).await.unwrap_err();
        assert!(matches!(error, SpoolError::Io { .. }), "{error}");
        assert!(!spool.is_losing(), "it may pass");
        assert_eq!(spool.figures().first_held, 1);
    }
    spool.read(1).await.unwrap_err();
    assert!(spool.is_losing(), "until the server knows");
    spool.put_for_test(&removals(1, 2));
    let figures = spool.figures();
    assert_eq!((figures.first_held, figures.next), (2, 4));
    let frames = spool.read(2).await.unwrap();
    assert_eq!(overflows(&frames[0]).len(), 1, "the server is told");
    assert_eq!(frames.len(), 2, "and of what came later");
    spool.acknowledge(3).await.unwrap();
    assert!(!spool.is_losing());
}
