//! The limits of scans on a real tree: they are kept, and nothing is starved by them.

use std::fs;
use std::num::{NonZeroU32, NonZeroUsize};
use std::ops::ControlFlow;
use std::time::Duration;

use agent_client::clock::HostClock;
use agent_client::scan::{
    Cancel, Found, Limits, Paced, Rank, Root, RootOptions, Scan, ScanCounters, ScanOptions,
    ScanReport,
};
use fusion_core::path::PathRef;

use crate::harness::folder;

fn tree(directories: usize, files: usize) -> (tempfile::TempDir, Root) {
    let folder = folder();
    for directory in 0..directories {
        let directory = folder.path().join(format!("d{directory}"));
        fs::create_dir(&directory).unwrap();
        for file in 0..files {
            fs::write(directory.join(format!("f{file}")), "").unwrap();
        }
    }
    let root = Root::open(folder.path(), RootOptions::default()).unwrap();
    (folder, root)
}

fn scan(root: &Root, pace: &Paced<'_>) -> (ScanReport, Duration) {
    let options = ScanOptions { workers: NonZeroUsize::MIN, ..ScanOptions::default() };
    let counters = ScanCounters::default();
    let scan = Scan {
        root,
        options: &options,
        clock: &HostClock,
        cancel: &Cancel::new(),
        counters: &counters,
        pace,
        placer: None,
    };
    let report = scan.subtree(PathRef::ROOT, &|_: Found| ControlFlow::Continue(()));
    assert!(report.complete);
    (report, report.finished_at.since(report.started_at))
}

#[test]
fn a_rate_is_kept() {
    let (_folder, root) = tree(10, 40);
    let limits = Limits::new(NonZeroU32::new(1_000), None);
    let (report, took) = scan(&root, &limits.begin(Rank::Snapshot));
    assert_eq!(report.counts.entries, 410);
    // A tenth of a second's worth may come at once.
    assert!(took >= Duration::from_millis(309), "{took:?}");
    assert!(limits.paused().by_rate >= Duration::from_millis(300), "{:?}", limits.paused());
}

#[test]
fn on_storage_that_is_slower_than_the_limit_a_scan_works_part_of_the_time() {
    let (_folder, root) = tree(20, 20);
    // Every storage is slower than this.
    let limits = Limits::new(None, Some(Duration::from_nanos(1)));
    let (_, took) = scan(&root, &limits.begin(Rank::Snapshot));
    let paused = limits.paused().by_latency;
    assert!(!limits.call_latency().is_zero());
    assert!(took >= paused && paused >= took.mul_f64(0.8), "{paused:?} of {took:?}");
    let limits = Limits::new(None, Some(Duration::from_secs(10)));
    scan(&root, &limits.begin(Rank::Snapshot));
    assert!(limits.paused().total().is_zero(), "{:?}", limits.paused());
}

#[test]
fn who_gives_way_all_the_time_comes_to_its_end() {
    let (_folder, root) = tree(4, 1);
    let limits = Limits::new(None, None);
    let urgent = limits.precedence().begin(Rank::Discovery);
    let (_, took) = scan(&root, &limits.begin(Rank::Audit));
    assert!(took >= Duration::from_millis(5 * 50), "{took:?}: five directories give way");
    let waited = limits.paused().by_precedence;
    drop(urgent);
    scan(&root, &limits.begin(Rank::Audit));
    assert_eq!(limits.paused().by_precedence, waited, "nothing more urgent");
}
