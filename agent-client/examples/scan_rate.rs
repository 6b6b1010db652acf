//! How fast a scan goes: `scan_rate DIR [WORKERS] [names]`, beside `find DIR -printf '%p %s %T@\n'`.
//!
//! Prints one line: entries, seconds, entries per second. With `names` it is a follower's walk.

use std::io::Write as _;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

use agent_client::clock::HostClock;
use agent_client::scan::{
    Cancel, Found, Root, RootOptions, Scan, ScanCounters, ScanOptions, Unlimited,
};
use fusion_core::path::PathRef;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(directory) = arguments.first() else {
        let _ = writeln!(std::io::stderr(), "usage: scan_rate DIR [WORKERS] [names]");
        return ExitCode::from(2);
    };
    let mut options = ScanOptions::default();
    if let Some(workers) = arguments.get(1).and_then(|text| text.parse::<NonZeroUsize>().ok()) {
        options.workers = workers;
    }
    let root = match Root::open(Path::new(directory), RootOptions::default()) {
        Ok(root) => root,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{error}");
            return ExitCode::FAILURE;
        }
    };
    let counters = ScanCounters::default();
    let scan = Scan {
        root: &root,
        options: &options,
        clock: &HostClock,
        cancel: &Cancel::new(),
        counters: &counters,
        pace: &Unlimited,
        placer: None,
        then: None,
    };
    let bytes = AtomicU64::new(0);
    let sink = |found: Found| {
        if let Found::Listed(listed) = found {
            bytes.fetch_add(listed.children.sizes.iter().sum(), Ordering::Relaxed);
        }
        ControlFlow::Continue(())
    };
    let names_only = arguments.iter().any(|argument| argument == "names");
    let report = match names_only {
        true => scan.place_watches(PathRef::ROOT, &sink),
        false => scan.subtree(PathRef::ROOT, &sink),
    };
    let seconds = report.finished_at.since(report.started_at).as_secs_f64();
    let counts = report.counts;
    let _ = writeln!(
        std::io::stdout(),
        "{} entries in {} directories, {} errors, {} bytes, {seconds:.3} s, {:.3} M entries/s",
        counts.entries,
        counts.directories,
        counts.errors,
        bytes.load(Ordering::Relaxed),
        counts.entries as f64 / seconds / 1e6,
    );
    if report.complete { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
