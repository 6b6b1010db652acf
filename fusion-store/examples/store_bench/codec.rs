//! Encoding and decoding, by processor time.

use fusion_core::change::Change;
use fusion_core::time::ServerTime;
use fusion_store::codec::{Encoder, decode};
use fusion_store::{LogPoint, Origin, RecordHead};

use crate::{Make, SEED, processor_time};

const ROWS: u64 = 200_000;

pub(crate) fn run(what: &str, make: Make) {
    for count in [1, 10, 100, 1_000, 10_000] {
        let mut random = SEED;
        let mut point = LogPoint::default();
        let batches: Vec<(LogPoint, Vec<Change>)> = (0..ROWS.min(count * 20_000) / count)
            .map(|_| {
                let (after, changes) = (point, make(&mut random, point, count));
                point = after.after(changes.iter().map(Change::width).sum());
                (after, changes)
            })
            .collect();
        let head = RecordHead::new(ServerTime::from_nanos(5), Origin::Realtime);
        let (mut encoder, mut bytes, mut ends) = (Encoder::default(), Vec::new(), Vec::new());
        bytes.reserve(64 << 20);
        let start = processor_time();
        for (after, changes) in &batches {
            encoder.encode(*after, &head, changes, &mut bytes).unwrap();
            ends.push(bytes.len());
        }
        let encoded = processor_time();
        let mut from = 0;
        for end in &ends {
            assert!(!decode(&bytes[from..*end]).unwrap().changes.is_empty());
            from = *end;
        }
        let decoded = processor_time();
        let rows = point.revision.0 as f64;
        println!(
            "{what}, {count} a record: encode {:.0} ns, decode {:.0} ns, {:.1} bytes each",
            (encoded - start) * 1e9 / rows,
            (decoded - encoded) * 1e9 / rows,
            bytes.len() as f64 / rows
        );
    }
}
