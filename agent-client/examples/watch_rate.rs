//! How soon and how fast a watcher tells: `watch_rate DIR [SECONDS [fanotify]]`, best on tmpfs.
//!
//! Latency: a file is closed, and its evidence arrives; 2,000 times, one after the other. Rate: files
//! are made and closed as fast as one thread can for so many seconds, and counted until all are told.

use std::io::{self, Write as _};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use agent_client::clock::{AgentClock as _, HostClock};
use agent_client::scan::{
    Cancel, Found, Root, RootOptions, Scan, ScanCounters, ScanOptions, Unlimited,
};
use agent_client::watch::{WatchEvidence, WatchMethod, WatchOptions, Watcher};
use fusion_core::path::PathRef;
use fusion_core::time::Monotonic;

const ROUNDS: usize = 2_000;
const DIRECTORIES: usize = 100;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(directory) = arguments.first() else {
        let _ = writeln!(io::stderr(), "usage: watch_rate DIR [SECONDS [fanotify]]");
        return ExitCode::from(2);
    };
    let seconds = arguments.get(1).and_then(|text| text.parse().ok()).unwrap_or(10);
    let method = match arguments.get(2).map(String::as_str) {
        Some("fanotify") => WatchMethod::Fanotify,
        _ => WatchMethod::Inotify,
    };
    let tree = Path::new(directory).join("watch-rate");
    match measure(&tree, method, Duration::from_secs(seconds)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

/// Evidence, and when it came out.
type Told = Receiver<(Monotonic, Vec<WatchEvidence>)>;

fn measure(
    tree: &Path,
    method: WatchMethod,
    span: Duration,
) -> Result<(), Box<dyn std::error::Error>> {
    for number in 0..DIRECTORIES {
        std::fs::create_dir_all(tree.join(format!("{number}")))?;
    }
    let root = Arc::new(Root::open(tree, RootOptions::default())?);
    let (sender, told) = channel();
    let sink = move |batch| match sender.send((HostClock.monotonic(), batch)) {
        Ok(()) => ControlFlow::Continue(()),
        Err(_) => ControlFlow::Break(()),
    };
    let clock = Arc::new(HostClock);
    let options = WatchOptions { method: Some(method), ..WatchOptions::default() };
    let watcher = Watcher::start(Arc::clone(&root), options, clock, Box::new(sink))?;
    let nothing = |_: Found| ControlFlow::Continue(());
    let scan = Scan {
        root: &root,
        options: &ScanOptions::default(),
        clock: &HostClock,
        cancel: &Cancel::new(),
        counters: &ScanCounters::default(),
        pace: &Unlimited,
        placer: Some(watcher.handle()),
        then: None,
    };
    let placed = scan.place_watches(PathRef::ROOT, &nothing);
    let mut out = io::stdout();
    let method = watcher.handle().counts().method;
    writeln!(out, "{} directories placed, by {method:?}", placed.counts.directories)?;
    latency(tree, &told, &mut out)?;
    rate(tree, &watcher, told, span, &mut out)?;
    writeln!(out, "{:?}", watcher.handle().counts())?;
    watcher.stop();
    std::fs::remove_dir_all(tree)?;
    Ok(())
}

fn latency(
    tree: &Path,
    told: &Told,
    out: &mut io::Stdout,
) -> Result<(), Box<dyn std::error::Error>> {
    let mut micros = Vec::new();
    for round in 0..ROUNDS {
        let mut file = std::fs::File::create(tree.join(format!("0/one-{round}")))?;
        file.write_all(b"content")?;
        let closed_at = HostClock.monotonic();
        drop(file);
        'told: loop {
            let (at, batch) = told.recv_timeout(Duration::from_secs(5))?;
            for evidence in batch {
                if let WatchEvidence::Upsert { stat, atomic: true, .. } = evidence
                    && stat.kind == fusion_core::stat::Kind::File
                {
                    micros.push(at.since(closed_at).as_micros());
                    break 'told;
                }
            }
        }
    }
    micros.sort_unstable();
    let (median, late) = (micros[ROUNDS / 2], micros[ROUNDS * 99 / 100]);
    writeln!(out, "close of a file to its evidence: p50 {median} µs, p99 {late} µs")?;
    Ok(())
}

fn rate(
    tree: &Path,
    watcher: &Watcher,
    told: Told,
    span: Duration,
    out: &mut io::Stdout,
) -> Result<(), Box<dyn std::error::Error>> {
    let counter = std::thread::Builder::new().name("count".into()).spawn(move || {
        let is_file = |evidence: &&WatchEvidence| match evidence {
            WatchEvidence::Upsert { stat, atomic, .. } => {
                *atomic && stat.kind == fusion_core::stat::Kind::File
            }
            _ => false,
        };
        told.iter().map(|(_, batch)| batch.iter().filter(is_file).count()).sum::<usize>()
    })?;
    let begin = HostClock.monotonic();
    let mut files = 0_usize;
    let mut most_queued = 0;
    while HostClock.monotonic().since(begin) < span {
        for _ in 0..100 {
            let path = tree.join(format!("{}/f{files}", files / 100 % DIRECTORIES));
            drop(std::fs::File::create(path)?);
            files += 1;
        }
        most_queued = most_queued.max(watcher.handle().counts().queued);
    }
    let end = HostClock.monotonic();
    while watcher.handle().seen_through() < end {
        std::thread::sleep(Duration::from_millis(1));
    }
    let level = HostClock.monotonic().since(end);
    let made = files as f64 / end.since(begin).as_secs_f64();
    let overflows = watcher.handle().counts().overflows;
    writeln!(
        out,
        "{files} files made and closed, {made:.0} a second; level {level:?} later; at most {most_queued} events queued, {overflows} losses"
    )?;
    drop(counter);
    Ok(())
}
