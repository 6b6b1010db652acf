//! Rows of listings that become durable in a second: the embedded log beside JetStream on one and on
//! three servers, one after the other in one run, as docs/performance.md has it.
//!
//! `log_bench [SECONDS]`, or `log_bench views COUNT` for what so many views cost the servers; needs a
//! nats-server on the PATH.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a bench, not the store"
)]
#![allow(clippy::disallowed_methods, unreachable_pub, reason = "a bench, not the store")]

#[path = "../../tests/engines/nats/server.rs"]
mod server;

use std::sync::Arc;
use std::time::{Duration, Instant};

use fusion_core::change::ChangeKind;
use fusion_store::disk::RealDisk;
use fusion_store::embedded::{EmbeddedLog, LogSettings};
use fusion_store::engines::nats::{Nats, NatsSettings};
use fusion_store::{ChangeLog, StoreError, sample};
use server::Options;

/// Rows of a batch: what an agent sends at most, and what it sends of small directories.
const BATCHES: [u64; 2] = [1_000, 50];

fn main() {
    if std::env::args().nth(1).is_some_and(|text| text == "views") {
        let count = std::env::args().nth(2).and_then(|text| text.parse().ok());
        return [1, 3].into_iter().for_each(|replicas| views(replicas, count.unwrap_or(1_000)));
    }
    let seconds = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(5);
    let span = Duration::from_secs(seconds);
    for rows in BATCHES {
        println!("batches of {rows} rows, {seconds} s each");
        let dir = tempfile::tempdir().unwrap();
        let settings = LogSettings::default();
        let log = EmbeddedLog::new(Arc::new(RealDisk), dir.path().to_path_buf(), settings);
        let embedded = run(&log.unwrap(), rows, span);
        println!("  embedded                    {embedded:>12.0} rows/s");
        for (replicas, sync_always) in [(1, true), (1, false), (3, true), (3, false)] {
            let options = Options { sync_always, ..Options::default() };
            let servers = match replicas {
                1 => server::Nats::one(&options),
                _ => server::Nats::three(&options),
            };
            let settings = NatsSettings { replicas, ..NatsSettings::new(servers.urls()) };
            let rate = run(&Nats::connect(settings).unwrap().log(), rows, span);
            let sync = if sync_always { "always  " } else { "interval" };
            let part = 100.0 * rate / embedded;
            println!(
                "  JetStream, {replicas} of {replicas}, {sync} {rate:>12.0} rows/s  {part:>4.0} %"
            );
        }
    }
}

/// Appends as fast as the log takes it; rows in a second until the last one is durable.
fn run(log: &dyn ChangeLog, rows: u64, span: Duration) -> f64 {
    let view = sample::view(1);
    let mut after = log.open(&view).unwrap().end;
    let (start, mut appended, mut last) = (Instant::now(), 0, None);
    let listed = Box::new(sample::listed("/projects/batch", rows));
    while start.elapsed() < span {
        let changes = sample::numbered(after, vec![ChangeKind::Listed(listed.clone())]);
        match log.append(view.id, after, &sample::full_head(), &changes) {
            Ok(ticket) => {
                (after, appended) = (ticket.point(), appended + rows);
                last = Some(ticket);
            }
            Err(StoreError::Behind { .. }) => std::thread::sleep(Duration::from_millis(1)),
            Err(error) => panic!("{error}"),
        }
    }
    last.unwrap().wait().unwrap();
    appended as f64 / start.elapsed().as_secs_f64()
}

/// Opens the logs of many views, appends to each, and says what the servers need for them.
fn views(replicas: usize, count: u64) {
    let options = Options::default();
    let servers = match replicas {
        1 => server::Nats::one(&options),
        _ => server::Nats::three(&options),
    };
    let before = memory(&servers);
    let settings = NatsSettings { replicas, ..NatsSettings::new(servers.urls()) };
    let log = Nats::connect(settings).unwrap().log();
    let start = Instant::now();
    for number in 0..count {
        let view = sample::view(number);
        let after = log.open(&view).unwrap().end;
        let changes = sample::batch(after, 10);
        let ticket = log.append(view.id, after, &sample::full_head(), &changes).unwrap();
        ticket.wait().unwrap();
    }
    let each = start.elapsed().as_secs_f64() * 1e3 / count as f64;
    let bytes = (memory(&servers) - before) / count / servers.nodes.len() as u64;
    let (idle, span) = (processor(&servers), Duration::from_secs(10));
    std::thread::sleep(span);
    let share = (processor(&servers) - idle) / span.as_secs_f64() * 100.0;
    println!(
        "{count} views, {replicas} of {replicas}: {each:.1} ms to open and append to each, {bytes} KiB of memory \
         of each server for each, {share:.1} % of a processor for all servers while nothing happens"
    );
}

/// Resident memory of all servers, in KiB.
fn memory(servers: &server::Nats) -> u64 {
    let of = |process: u32| {
        let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    };
    servers.nodes.iter().map(|node| of(node.process())).sum()
}

/// Seconds of processor time of all servers so far.
fn processor(servers: &server::Nats) -> f64 {
    let of = |process: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
        let ticks = |at: usize| fields[at].parse::<f64>().unwrap();
        (ticks(11) + ticks(12)) / 100.0
    };
    servers.nodes.iter().map(|node| of(node.process())).sum()
}
