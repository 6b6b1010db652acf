//! Measures what a row of a listing costs between the wire and the core, and what it costs to make.
//!
//! `cargo run --release -p fusion-proto --example decode_bench`. Prints nanoseconds a row, the best of
//! some rounds: *message* is protobuf alone, *check* is `decode_batch` and a walk over all rows,
//! *read* also takes every name and stat out of the columns, *build* fills and encodes a batch.

#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::hint::black_box;
use std::io::Write as _;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fusion_core::evidence::{ChildColumns, Evidence, Listing, ScanId, Source};
use fusion_core::path::TreePath;
use fusion_core::stat::{Kind, Stat};
use fusion_core::time::{ServerTime, StorageTime};
use fusion_proto::convert::evidence::{BatchBudget, BatchBuilder, ListingFeed, Push, WireBatch};

const ROUNDS: u32 = 25;
const BATCHES: usize = 200;

fn main() -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{:<44} {:>8} {:>8} {:>8} {:>8} {:>10}",
        "", "message", "check", "read", "build", "bytes/row"
    )?;
    for (what, children) in [
        ("250 children a directory, names of 14 bytes", 250),
        ("10 children a directory", 10),
        ("1 child a directory", 1),
    ] {
        let directories = directories(children);
        let encoded = build(&directories);
        let rows: usize = encoded.iter().map(|batch| decode(batch).rows()).sum();
        let bytes: usize = encoded.iter().map(Bytes::len).sum();
        let message =
            best(rows, || encoded.iter().for_each(|batch| drop(black_box(decode(batch)))));
        let batches: Vec<WireBatch> = encoded.iter().map(decode).collect();
        let check = best(rows, || batches.iter().for_each(|batch| walk(batch, false)));
        let read = best(rows, || batches.iter().for_each(|batch| walk(batch, true)));
        let built = best(rows, || drop(black_box(build(&directories))));
        let per_row = bytes as f64 / rows as f64;
        writeln!(
            out,
            "{what:<44} {message:>8.1} {check:>8.1} {read:>8.1} {built:>8.1} {per_row:>10.1}"
        )?;
    }
    Ok(())
}

/// Nanoseconds a row in the best round.
fn best(rows: usize, mut work: impl FnMut()) -> f64 {
    let mut best = Duration::MAX;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        work();
        best = best.min(start.elapsed());
    }
    best.as_nanos() as f64 / rows as f64
}

fn decode(bytes: &Bytes) -> WireBatch {
    WireBatch::from_bytes(bytes.clone()).unwrap_or_default()
}

fn walk(batch: &WireBatch, every_child: bool) {
    let Ok(decoded) = batch.decode() else { return };
    for row in decoded.rows() {
        let Ok(row) = row else { continue };
        if let Evidence::Listing(listing) = &row.evidence
            && every_child
        {
            for (name, stat) in listing.children.iter() {
                black_box((name, stat.size, stat.inode));
            }
        }
        black_box(&row.evidence);
    }
}

fn build(directories: &[(TreePath, ChildColumns)]) -> Vec<Bytes> {
    let mut builder = BatchBuilder::new(BatchBudget::default());
    let mut batches = Vec::new();
    for (path, columns) in directories {
        let mut feed = ListingFeed::new(Listing {
            dir: path.as_ref(),
            dir_stat: stat(Kind::Directory, 1),
            scan: ScanId(1),
            source: Source::Snapshot,
            started_at: ServerTime::from_nanos(1_760_000_000_000_000_000),
            finished_at: ServerTime::from_nanos(1_760_000_000_000_000_000),
            part: 0,
            last: true,
            complete: true,
            children: columns.as_children(),
        });
        while builder.push_listing(&mut feed) == Push::Full {
            batches.push(builder.take().to_bytes());
        }
    }
    batches.push(builder.take().to_bytes());
    batches
}

fn directories(children: usize) -> Vec<(TreePath, ChildColumns)> {
    let count = BATCHES * 1_000 / (children + 1);
    let path =
        |number: usize| format!("/project/data/run-{:05}/part-{:03}", number / 100, number % 100);
    let of = |number: usize| {
        let mut columns = ChildColumns::default();
        for child in 0..children {
            let inode = (number * children + child) as u64 + 1_000_000;
            columns.push(format!("file-{child:05}.dat").as_bytes(), &stat(Kind::File, inode));
        }
        columns
    };
    let path =
        |number| TreePath::new(path(number).into_bytes()).unwrap_or_else(|_| TreePath::root());
    (0..count).map(|number| (path(number), of(number))).collect()
}

fn stat(kind: Kind, inode: u64) -> Stat {
    Stat {
        kind,
        size: inode * 37 % 10_000_000,
        mtime: StorageTime::from_nanos(1_760_000_000_000_000_000),
        ctime: StorageTime::from_nanos(1_760_000_000_123_456_789),
        inode,
        mode: 0o644,
        uid: 1_000,
        gid: 1_000,
        nlink: 1,
    }
}
