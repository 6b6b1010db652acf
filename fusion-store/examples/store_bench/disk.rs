//! Appending, reading, checkpoints and state on a real disk, beside a bare file.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use fusion_core::change::Change;
use fusion_core::id::{Revision, ViewName};
use fusion_core::time::ServerTime;
use fusion_store::disk::RealDisk;
use fusion_store::embedded::{BlocksSettings, EmbeddedBlocks, EmbeddedLog, EmbeddedState};
use fusion_store::{
    BlockId, Blocks as _, ChangeLog as _, LogPoint, Origin, ReadFrom, RecordHead, Space,
    State as _, Ticket, ViewId, ViewRef,
};
use uuid::Uuid;

use crate::{Make, SEED, processor_time};

fn view() -> ViewRef {
    ViewRef { id: ViewId(Uuid::from_u64_pair(1, 1)), name: ViewName::new("bench").unwrap() }
}

fn open(dir: &Path) -> EmbeddedLog {
    let log = EmbeddedLog::new(Arc::new(RealDisk), dir.join("log"), Default::default()).unwrap();
    log.open(&view()).unwrap();
    log
}

fn head() -> RecordHead {
    RecordHead::new(ServerTime::from_nanos(5), Origin::Realtime)
}

/// Numbers changes that were made for another place.
fn renumber(changes: &mut [Change], after: LogPoint) {
    let mut next = after.revision.0;
    for change in changes {
        change.revision = Revision(next + 1);
        next = change.last_revision().0;
    }
}

fn tell(what: &str, rows: u64, start: Instant, processor: f64) {
    let wall = start.elapsed().as_secs_f64();
    println!(
        "  {what}: {:.2} M/s, {:.0} ns of the appending thread each",
        rows as f64 / wall / 1e6,
        processor * 1e9 / rows as f64
    );
}

/// Appends batches, at most `window` of them not durable; then reads all.
pub(crate) fn log(dir: &Path, what: &str, make: Make, rows: u64) {
    println!("{what}");
    let mut random = SEED;
    let mut batches: Vec<_> =
        (0..100).map(|_| make(&mut random, LogPoint::default(), 1_000)).collect();
    for window in [1, 16, 256] {
        let log = open(dir);
        let mut after = LogPoint::default();
        let mut tickets = std::collections::VecDeque::<Ticket>::new();
        let (start, before) = (Instant::now(), processor_time());
        for number in 0..(rows / 1_000) as usize {
            let changes = &mut batches[number % 100];
            renumber(changes, after);
            let ticket = log.append(view().id, after, &head(), changes).unwrap();
            after = ticket.point();
            tickets.push_back(ticket);
            if tickets.len() >= window {
                tickets.pop_front().unwrap().wait().unwrap();
            }
        }
        for ticket in tickets {
            ticket.wait().unwrap();
        }
        tell(
            &format!("1,000 a batch, {window} on the way"),
            rows,
            start,
            processor_time() - before,
        );
        if window == 256 {
            let bytes = log.status(view().id).unwrap().bytes;
            drop(log);
            read(dir, bytes, rows);
        } else {
            log.remove(view().id).unwrap();
        }
    }
    bare(dir, rows, make);
    open(dir).remove(view().id).unwrap();
}

fn read(dir: &Path, bytes: u64, rows: u64) {
    let start = Instant::now();
    let log = open(dir);
    let opened = start.elapsed();
    let read = log.read(view().id, ReadFrom::Start).unwrap();
    let count: usize = read.map(|record| record.unwrap().changes.len()).sum();
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "  opened in {opened:.1?}, read {count} changes at {:.0} MB/s, {:.2} M rows/s",
        bytes as f64 / seconds / 1e6,
        rows as f64 / seconds / 1e6
    );
}

/// The same bytes into a file that grows, synced per batch and per sixteen.
fn bare(dir: &Path, rows: u64, make: Make) {
    let mut bytes = Vec::new();
    let changes = make(&mut { SEED }, LogPoint::default(), 1_000);
    let mut encoder = fusion_store::codec::Encoder::default();
    encoder.encode(LogPoint::default(), &head(), &changes, &mut bytes).unwrap();
    for every in [1, 16] {
        let path = dir.join("bare");
        let mut file = File::create(&path).unwrap();
        let start = Instant::now();
        for number in 0..rows / 1_000 {
            file.write_all(&bytes).unwrap();
            if number % every == every - 1 {
                file.sync_data().unwrap();
            }
        }
        let seconds = start.elapsed().as_secs_f64();
        let rate = rows as f64 / seconds / 1e6;
        println!("  a bare file, synced every {every} batches: {rate:.2} M/s");
        std::fs::remove_file(path).unwrap();
    }
}

fn quantiles(mut seconds: Vec<f64>) -> String {
    seconds.sort_by(f64::total_cmp);
    let at = |part: f64| seconds[(seconds.len() as f64 * part) as usize] * 1e3;
    format!("p50 {:.2} ms, p90 {:.2} ms, p99 {:.2} ms", at(0.5), at(0.9), at(0.99))
}

/// One row after the other, each waited for.
pub(crate) fn latency(dir: &Path) {
    let changes = crate::rows::upserts(&mut { SEED }, LogPoint::default(), 1);
    let log = open(dir);
    let mut after = LogPoint::default();
    let mut one = |_| {
        let mut changes = changes.clone();
        renumber(&mut changes, after);
        let start = Instant::now();
        let ticket = log.append(view().id, after, &head(), &changes).unwrap();
        after = ticket.wait().unwrap();
        start.elapsed().as_secs_f64()
    };
    let appended: Vec<f64> = (0..2_000).map(&mut one).collect();
    println!("one row durable: {}", quantiles(appended));
    log.remove(view().id).unwrap();
    let mut file = File::create(dir.join("bare")).unwrap();
    let bare = |_| {
        let start = Instant::now();
        file.write_all(&[7; 240]).unwrap();
        file.sync_data().unwrap();
        start.elapsed().as_secs_f64()
    };
    println!("  a bare file: {}", quantiles((0..2_000).map(bare).collect()));
}

pub(crate) fn blocks(dir: &Path) {
    const COUNT: u64 = 20_000;
    let settings = BlocksSettings::default();
    let open = || EmbeddedBlocks::new(Arc::new(RealDisk), dir.join("blocks"), settings).unwrap();
    let (blocks, bytes) = (open(), vec![7; 10_000]);
    let write = |ids: &mut dyn Iterator<Item = u64>| {
        let start = Instant::now();
        let mut writer = blocks.begin(&view(), LogPoint::default()).unwrap();
        ids.for_each(|id| writer.put(BlockId(id), &bytes).unwrap());
        writer.commit().unwrap();
        start.elapsed()
    };
    let whole = write(&mut (0..COUNT)).as_secs_f64();
    let megabytes = (COUNT * 10_000) as f64 / 1e6;
    println!("blocks: {megabytes:.0} MB at {:.0} MB/s", megabytes / whole);
    println!("  200 of them again: {:.1?}", write(&mut (0..COUNT).step_by(100)));
    drop(blocks);
    let start = Instant::now();
    let mut read = 0;
    let reopened = open();
    let take = &mut |part: fusion_store::Loaded<'_>| {
        if let fusion_store::Loaded::Block(_, bytes) = part {
            read += bytes.len();
        }
        Ok(())
    };
    reopened.load(view().id, take).unwrap();
    let seconds = start.elapsed().as_secs_f64();
    println!("  loaded at {:.0} MB/s", read as f64 / seconds / 1e6);
}

pub(crate) fn state(dir: &Path) {
    let state = EmbeddedState::open(Arc::new(RealDisk), dir.join("state")).unwrap();
    let put = |number: u64| {
        let start = Instant::now();
        state.put(Space::Session, &number.to_be_bytes(), &[7; 300], None).unwrap();
        start.elapsed().as_secs_f64()
    };
    println!("state, one after the other: {}", quantiles((0..500).map(put).collect()));
    let start = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..32 {
            let put = &put;
            scope.spawn(move || {
                for number in 0..50 {
                    put(thread * 1_000 + number);
                }
            });
        }
    });
    println!("  by 32 threads: {:.0} a second", 1_600.0 / start.elapsed().as_secs_f64());
}
