//! How long calls of `State` take on the engines that this machine has: each started here, on loopback and this
//! disk, and durable when it acknowledges.
//!
//! `cargo run --release -p fusion-store --example state_bench`

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark reads the clock and prints"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use fusion_core::time::ServerTime;
use fusion_store::disk::RealDisk;
use fusion_store::embedded::EmbeddedState;
use fusion_store::engines::Whose;
use fusion_store::engines::postgres::PostgresState;
use fusion_store::engines::redis::RedisState;
use fusion_store::engines::started::{StartedPostgres, StartedRedis};
use fusion_store::{Expect, Put, Space, State, Swap};
use uuid::Uuid;

const NOW: ServerTime = ServerTime::from_nanos(1);
/// As long as a record of a session.
const VALUE: [u8; 700] = [b'7'; 700];
const CALLS: u32 = 2_000;
const WRITERS: u32 = 8;

fn main() {
    println!(
        "| engine | get p50/p99 | put p50/p99 | swap p50/p99 | puts/s of {WRITERS} | put_all of 1,000 | scan of 1,000 |"
    );
    println!("|---|---|---|---|---|---|---|");
    let dir = tempfile::tempdir().unwrap();
    let embedded = EmbeddedState::open(Arc::new(RealDisk), dir.path().join("state")).unwrap();
    measure(&embedded);
    let whose = Whose { server: Uuid::nil(), state: None, new_state: Uuid::max() };
    if let Some(engine) = StartedPostgres::start() {
        measure(&PostgresState::open(&engine.settings("fusion"), whose).unwrap());
    }
    if let Some(engine) = StartedRedis::start() {
        measure(&RedisState::open(&engine.settings("fusion:"), whose).unwrap());
    }
    if let Some(engine) = StartedRedis::start_with(&["appendonly yes", "appendfsync everysec"]) {
        measure(&RedisState::open(&engine.settings("fusion:"), whose).unwrap());
    }
}

fn measure(state: &dyn State) {
    let put = |number: u32| {
        state.put(Space::Job, &number.to_be_bytes(), &VALUE, None).unwrap();
    };
    let puts = timed(put);
    let gets = timed(|number| {
        assert!(state.get(Space::Job, &number.to_be_bytes(), NOW).unwrap().is_some());
    });
    let mut expect = Expect::Absent;
    let swaps = timed(|_| {
        match state.compare_and_swap(Space::Job, b"one", expect, &VALUE, None, NOW).unwrap() {
            Swap::Done(version) => expect = Expect::Version(version),
            conflict @ Swap::Conflict(_) => unreachable!("nobody else is here: {conflict:?}"),
        }
    });
    let began = Instant::now();
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            scope.spawn(move || (0..CALLS / 4).for_each(|at| put(writer * CALLS + at)));
        }
    });
    let rate = f64::from(WRITERS * (CALLS / 4)) / began.elapsed().as_secs_f64();
    let all: Vec<Put> = (0..1_000_u32)
        .map(|number| Put {
            space: Space::Session,
            key: number.to_be_bytes().to_vec(),
            value: VALUE.to_vec(),
            expires_at: None,
        })
        .collect();
    let together = median(|| state.put_all(&all).unwrap());
    let scans = median(|| {
        let page = state.scan(Space::Session, b"", None, 1_000, NOW).unwrap();
        assert_eq!(page.items.len(), 1_000);
    });
    println!(
        "| {} | {gets} | {puts} | {swaps} | {rate:.0} | {} | {} |",
        state.guarantee(),
        shown(together),
        shown(scans)
    );
}

/// What calls one after another take: the median and the worst of a hundred.
fn timed(mut call: impl FnMut(u32)) -> String {
    let mut took: Vec<Duration> = (0..CALLS)
        .map(|number| {
            let began = Instant::now();
            call(number);
            began.elapsed()
        })
        .collect();
    took.sort();
    let at = |share: usize| shown(took[took.len() * share / 100]);
    format!("{} / {}", at(50), at(99))
}

fn median(mut call: impl FnMut()) -> Duration {
    let mut took: Vec<Duration> = (0..21)
        .map(|_| {
            let began = Instant::now();
            call();
            began.elapsed()
        })
        .collect();
    took.sort();
    took[10]
}

fn shown(span: Duration) -> String {
    format!("{:.2} ms", span.as_secs_f64() * 1e3)
}
