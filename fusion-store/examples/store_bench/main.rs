//! The store's speed: `cargo run --release -p fusion-store --example store_bench [directory]`.
//!
//! Encoding and decoding by processor time; appending, reading, checkpoints and state on a real disk
//! by the clock, each beside a bare file that is written and synced the same way.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark for people")]
#![allow(clippy::disallowed_methods, reason = "it measures time")]

mod codec;
mod disk;
mod rows;

use std::path::PathBuf;

use fusion_core::change::Change;
use fusion_store::LogPoint;

use rows::Random;

/// Makes changes, so many revisions of them, after a place.
type Make = fn(&mut Random, LogPoint, u64) -> Vec<Change>;

const SEED: Random = Random(88_172_645_463_325_252);

fn main() {
    codec::run("upserts", rows::upserts);
    codec::run("listing rows", rows::listings);
    let dir = std::env::args().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = tempfile::tempdir_in(dir).unwrap();
    disk::log(dir.path(), "upserts", rows::upserts, 1_000_000);
    disk::log(dir.path(), "listing rows", rows::listings, 5_000_000);
    disk::latency(dir.path());
    disk::blocks(dir.path());
    disk::state(dir.path());
}

/// Seconds of processor time of this thread so far: machines are shared.
fn processor_time() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
}
