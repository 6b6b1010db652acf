use std::num::NonZeroUsize;

use fusion_core::evidence::ChildColumns;
use fusion_core::id::{LeaderEpoch, SessionId};
use fusion_core::path::TreePath;
use fusion_core::session::Role;
use fusion_core::stat::{Kind, Stat};
use fusion_core::time::StorageTime;
use fusion_proto::convert::evidence::decode_batch;
use proptest::prelude::*;
use prost::Message as _;
use uuid::Uuid;

use super::*;
use crate::link::AgentSettings;
use crate::scan::{ScanCounts, Start};

const SECOND: Duration = Duration::from_secs(1);

fn stat(kind: Kind, inode: u64) -> Stat {
    let time = StorageTime::from_nanos(1_700_000_000_000_000_000);
    Stat { kind, size: 1, mtime: time, ctime: time, inode, mode: 0o644, uid: 0, gid: 0, nlink: 1 }
}

fn listed(path: &str, names: &[String], part: u32, last: bool) -> Found {
    let mut children = ChildColumns::default();
    for name in names {
        children.push(name.as_bytes(), &stat(Kind::File, 7));
    }
    Found::Listed(Box::new(ListedDir {
        path: TreePath::new(path.as_bytes()).unwrap(),
        dir_stat: stat(Kind::Directory, 1),
        started_at: Monotonic::from_nanos(10),
        finished_at: Monotonic::from_nanos(20),
        part,
        last,
        complete: true,
        children,
        errors: Vec::new(),
    }))
}

fn writer(batch_rows: usize) -> (BatchWriter, mpsc::Receiver<ScanBatch>) {
    let (scan, arriving) = ScanSink::new();
    let standing = Standing {
        session: SessionId::new(Uuid::nil()),
        role: Role::Leader,
        epoch: LeaderEpoch(3),
        settings: AgentSettings {
            cache_horizon: SECOND,
            hot_threshold: SECOND,
            audit_interval: SECOND,
            deep_audit_one_in: 4,
            batch_rows,
            batch_bytes: 512 * 1024,
            exclude: Vec::new(),
            withheld: Default::default(),
        },
        scan,
    };
    let order = ScanOrder::whole(Source::Snapshot, LeaderEpoch(3));
    let exchange = Arc::new(TimeExchange::default());
    exchange.add(Monotonic::from_nanos(0), Monotonic::from_nanos(0), ServerTime::from_nanos(500));
    (BatchWriter::new(&standing, exchange, &order, Span::none()), arriving)
}

fn report() -> ScanReport {
    ScanReport {
        start: Start::Directory,
        complete: true,
        counts: ScanCounts::default(),
        started_at: Monotonic::from_nanos(1),
        finished_at: Monotonic::from_nanos(2),
    }
}

/// Writes a whole scan beside somebody who takes its batches, as the lane does.
fn write(found: &[Found], batch_rows: usize) -> Vec<pb::EvidenceBatch> {
    let (mut writer, mut arriving) = writer(batch_rows);
    std::thread::scope(|scope| {
        let taker = std::thread::Builder::new()
            .spawn_scoped(scope, move || {
                let mut batches = Vec::new();
                while let Some(batch) = arriving.blocking_recv() {
                    batches.push(batch.evidence);
                }
                batches
            })
            .unwrap();
        let cancel = Cancel::new();
        writer.started(PathRef::ROOT, Monotonic::from_nanos(1), None, &cancel).unwrap();
        for each in found {
            writer.put(each, &cancel).unwrap();
        }
        let _delivery = writer.finished(&report(), &cancel).unwrap();
        drop(writer);
        taker.join().unwrap()
    })
}

/// (path, part, last, names) of every listing, in the order in which they were sent.
fn listings(batches: &[pb::EvidenceBatch]) -> Vec<(String, u32, bool, Vec<String>)> {
    let mut all = Vec::new();
    for batch in batches {
        let decoded = decode_batch(batch).unwrap();
        for row in decoded.rows() {
            if let Evidence::Listing(listing) = row.unwrap().evidence {
                assert_eq!(listing.started_at, ServerTime::from_nanos(510));
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                let names = listing.children.iter().map(|(name, _)| text(name)).collect();
                all.push((text(listing.dir.as_bytes()), listing.part, listing.last, names));
            }
        }
    }
    all
}

#[test]
fn frames_stand_before_and_after_what_they_frame() {
    let batches = write(&[listed("/", &["a".into()], 0, true)], 1_000);
    assert_eq!(batches.len(), 3);
    assert!(batches.iter().all(|batch| batch.leader_epoch == 3));
    let kinds: Vec<_> = batches.iter().map(|b| (b.rows.len(), b.listings.len())).collect();
    assert_eq!(kinds, [(1, 0), (0, 1), (1, 0)]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the directories: nothing is lost, nothing changes its order, no batch is over its
    /// limits, and listings share batches.
    #[test]
    fn listings_are_grouped_within_the_limits(
        sizes in prop::collection::vec(0_usize..400, 1..60),
        batch_rows in 500_usize..1_000,
        name_bytes in 4_usize..250,
    ) {
        let names = |size: usize| -> Vec<String> {
            (0..size).map(|n| format!("{n:0width$}", width = name_bytes)).collect()
        };
        let dirs: Vec<_> =
            sizes.iter().enumerate().map(|(at, &size)| (format!("/d{at}"), names(size))).collect();
        let found: Vec<_> = dirs.iter().map(|(path, names)| listed(path, names, 0, true)).collect();
        let batches = write(&found, batch_rows);
        for batch in &batches {
            prop_assert!(decode_batch(batch).unwrap().len() as usize <= batch_rows);
            prop_assert!(batch.encoded_len() <= 512 * 1024);
        }
        let sent: Vec<_> = listings(&batches).into_iter().map(|(p, _, _, n)| (p, n)).collect();
        prop_assert_eq!(sent, dirs);
        // Two batches in a row could never have been one: more than a half full on the average.
        let rows: usize = sizes.iter().map(|size| size + 1).sum();
        let enough = 4 + 2 * (rows / batch_rows + rows * (name_bytes + 70) / (512 * 1024));
        prop_assert!(batches.len() <= enough, "{} batches of at most {enough}", batches.len());
    }
}

#[test]
fn a_directory_larger_than_a_batch_travels_in_its_parts() {
    let names: Vec<String> = (0..2_500).map(|n| format!("{n:05}")).collect();
    let parts: Vec<_> = names.chunks(999).collect();
    let last = parts.len() - 1;
    let found: Vec<_> = parts
        .iter()
        .enumerate()
        .map(|(at, names)| listed("/big", names, at as u32, at == last))
        .collect();
    let sent = listings(&write(&found, 1_000));
    let shape: Vec<_> =
        sent.iter().map(|(_, part, last, names)| (*part, *last, names.len())).collect();
    assert_eq!(shape, [(0, false, 999), (1, false, 999), (2, true, 502)]);
    let all: Vec<_> = sent.into_iter().flat_map(|(_, _, _, names)| names).collect();
    assert_eq!(all, names);
}

#[test]
fn a_part_of_the_scan_always_fits_a_batch() {
    let part = |rows, bytes| crate::agent::scans::rows_of_a_part(rows, bytes);
    assert_eq!(part(1_000, 512 * 1024), NonZeroUsize::new(999).unwrap());
    let long: Vec<String> = (0..40).map(|n| format!("{n:0255}")).collect();
    let rows = part(1_000, 16 * 1024).get();
    assert!((1..40).contains(&rows), "{rows}");
    let sent = listings(&write(&[listed("/d", &long[..rows], 5, false)], 1_000));
    assert_eq!(sent.len(), 1);
}

#[test]
fn who_is_held_up_by_a_full_lane_is_let_go_when_cancelled_or_when_the_session_ends() {
    let fill = |writer: &mut BatchWriter, cancel: &Cancel| {
        let mut last = Ok(());
        for _ in 0..WAITING + 1 {
            last = writer.started(PathRef::ROOT, Monotonic::from_nanos(1), None, cancel);
        }
        last
    };
    let (mut cancelled, _arriving) = writer(1_000);
    let cancel = Cancel::new();
    std::thread::scope(|scope| {
        let filler = std::thread::Builder::new()
            .spawn_scoped(scope, || fill(&mut cancelled, &cancel))
            .unwrap();
        cancel.set();
        assert_eq!(filler.join().unwrap(), Err(SinkClosed));
    });
    let (mut ended, arriving) = writer(1_000);
    drop(arriving);
    assert_eq!(fill(&mut ended, &Cancel::new()), Err(SinkClosed));
}

#[tokio::test]
async fn a_scan_is_delivered_when_its_last_batch_is() {
    let (mut scan, mut arriving) = writer(1_000);
    let mut delivery = scan.finished(&report(), &Cancel::new()).unwrap();
    arriving.recv().await.unwrap().delivered();
    assert!(delivery.wait().await);
    let mut lost = scan.finished(&report(), &Cancel::new()).unwrap();
    drop(arriving);
    assert!(!lost.wait().await && !lost.wait().await);
}
