//! The store's speed: `cargo run --release -p fusion-store --example store_bench [directory]`.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark for people")]

mod rows;

use fusion_core::change::Change;
use fusion_core::time::ServerTime;
use fusion_store::codec::{Encoder, decode};
use fusion_store::{LogPoint, Origin, RecordHead};

use rows::Random;

fn main() {
    codec("upserts", rows::upserts);
    codec("listing rows", rows::listings);
}

type Make = fn(&mut Random, LogPoint, u64) -> Vec<Change>;

fn codec(what: &str, make: Make) {
    let mut random = Random(88_172_645_463_325_252);
    for count in [1, 10, 100, 1_000, 10_000] {
        let mut point = LogPoint::default();
        let (mut encode, mut bytes_written, mut read, mut total) = (0.0, 0, 0.0, 0);
        let mut encoder = Encoder::default();
        while total < 300_000_u64.min(count * 20_000) {
            let changes = make(&mut random, point, count);
            let width: u64 = changes.iter().map(Change::width).sum();
            let head = RecordHead::new(ServerTime::from_nanos(5), Origin::Realtime);
            let mut bytes = Vec::new();
            let start = processor_time();
            let next = encoder.encode(point, &head, &changes, &mut bytes).unwrap();
            let encoded = processor_time();
            let record = decode(&bytes).unwrap();
            let decoded = processor_time();
            assert_eq!(record.changes.len(), changes.len());
            (encode, read) = (encode + encoded - start, read + decoded - encoded);
            (bytes_written, total, point) = (bytes_written + bytes.len(), total + width, next);
        }
        let nanos = |seconds: f64| seconds * 1e9 / total as f64;
        println!(
            "{what}, {count} a record: encode {:.0} ns, decode {:.0} ns, {:.1} bytes each",
            nanos(encode),
            nanos(read),
            bytes_written as f64 / total as f64
        );
    }
}

/// Seconds of processor time of this thread so far: machines are shared.
pub(crate) fn processor_time() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
}
