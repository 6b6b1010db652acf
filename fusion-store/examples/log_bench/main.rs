//! Rows of listings that become durable in a second: the embedded log beside JetStream on one and on
//! three servers, one after the other in one run, as docs/performance.md has it.
//!
//! `log_bench [SECONDS]`; needs a nats-server on the PATH.
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
