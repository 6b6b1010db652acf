//! The limits of scans on a real tree: they are kept, and nothing is starved by them.

use std::fs;
use std::num::{NonZeroU32, NonZeroUsize};
use std::ops::ControlFlow;
use std::sync::Mutex;
use std::time::Duration;

use agent_client::clock::HostClock;
use agent_client::scan::{
    Budgets, Cancel, Found, Limits, Pace, Paced, Rank, Root, RootOptions, Scan, ScanCounters,
    ScanOptions, ScanReport,
};
use fusion_core::path::PathRef;
use fusion_core::time::Monotonic;

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

fn budgets(rate: Option<NonZeroU32>) -> Budgets {
    Budgets::new(rate, NonZeroUsize::MIN)
}

/// A pace, and the calls that it is told of, with nineteen times what they took.
struct Measured<'a>(Paced<'a>, Mutex<(usize, Duration)>);

impl Pace for Measured<'_> {
    fn delay(&self, entries: usize, now: Monotonic) -> Duration {
        self.0.delay(entries, now)
    }

    fn rest(&self, calls: usize, span: Duration) -> Duration {
        let mut told = self.1.lock().unwrap();
        told.0 += calls;
        // Nineteen times, roughly; a rest is at most a second.
        told.1 += span.mul_f64(18.9).min(Duration::from_millis(999));
        self.0.rest(calls, span)
    }
}

fn scan(root: &Root, pace: &dyn Pace) -> (ScanReport, Duration) {
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
        then: None,
    };
    let report = scan.subtree(PathRef::ROOT, &|_: Found| ControlFlow::Continue(()));
    assert!(report.complete);
    (report, report.finished_at.since(report.started_at))
}

#[test]
fn a_rate_is_kept() {
    let (_folder, root) = tree(10, 40);
    let limits = Limits::new(budgets(NonZeroU32::new(1_000)), None);
    let (report, took) = scan(&root, &limits.begin(Rank::Snapshot));
    assert_eq!(report.counts.entries, 410);
    // A tenth of a second's worth may come at once.
    assert!(took >= Duration::from_millis(309), "{took:?}");
}

#[test]
fn on_storage_that_is_slower_than_the_limit_a_scan_works_part_of_the_time() {
    let (_folder, root) = tree(20, 20);
    // Every storage is slower than this.
    let limits = Limits::new(budgets(None), Some(Duration::from_nanos(1)));
    let measured = Measured(limits.begin(Rank::Snapshot), Mutex::default());
    let (_, took) = scan(&root, &measured);
    let paused = limits.paused().by_latency;
    let (calls, due) = measured.1.into_inner().unwrap();
    assert_eq!(calls, 21 * 3 + 20 + 20 * 20, "to open, look at and read each; and each entry");
    assert!(took >= paused && paused >= due, "{paused:?} of {took:?}, {due:?}");
    assert!(!limits.call_latency().is_zero());
    let limits = Limits::new(budgets(None), Some(Duration::from_secs(10)));
    scan(&root, &limits.begin(Rank::Snapshot));
    assert!(limits.paused().total().is_zero(), "{:?}", limits.paused());
}

#[test]
fn who_gives_way_all_the_time_comes_to_its_end() {
    let (_folder, root) = tree(4, 1);
    let limits = Limits::new(budgets(None), None);
    let urgent = limits.precedence().begin(Rank::Discovery);
    let (_, took) = scan(&root, &limits.begin(Rank::Audit));
    assert!(took >= Duration::from_millis(5 * 50), "{took:?}: five directories give way");
    let waited = limits.paused().by_precedence;
    drop(urgent);
    scan(&root, &limits.begin(Rank::Audit));
    assert_eq!(limits.paused().by_precedence, waited, "nothing more urgent");
}
