//! What checkpoints cost: `cargo run --release -p fusion-store --example checkpoint_bench
//! [entries] [directory of which to take real entries] [directory to write to]`.
//!
//! A view of that many entries, 250 and then 10 in a directory, and one of a real tree: the pause to
//! begin, encoding and loading by processor time of the thread, bytes, and the writer's rate alone and
//! while a checkpoint is taken. The store is a vector; with a directory to write to it is the embedded
//! one, and only that is measured.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark for people")]
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

mod disk;
mod heap;
mod shape;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use fusion_core::view::View;
use fusion_core::view::checkpoint::BACKLOG_MAX;
use fusion_store::codec::blocks::{Written, load, write};

use heap::{Heap, view_id};
use shape::{Feed, processor_time};

fn main() {
    if let Some(dir) = std::env::args().nth(3) {
        return on_disk(dir.as_ref());
    }
    let entries: u64 = std::env::args().nth(1).map_or(1_000_000, |text| text.parse().unwrap());
    for rows in [250, 10] {
        println!("{entries} entries, {rows} in a directory");
        run(Feed::made(entries, rows));
    }
    let tree = std::env::args().nth(2).unwrap_or_else(|| "/usr".to_owned());
    let feed = Feed::real(&tree);
    println!("{} entries of {tree}", feed.entries());
    run(feed);
}

/// With a directory to write to, that alone is measured.
fn on_disk(dir: &std::path::Path) {
    let entries: u64 = std::env::args().nth(1).map_or(1_000_000, |text| text.parse().unwrap());
    println!("{entries} entries, 250 in a directory");
    disk::run(Feed::made(entries, 250), dir);
}

fn run(mut feed: Feed) {
    let mut view = feed.view();
    let heap = Heap::default();
    let all = take(&mut view, &heap, "everything");
    let packed = feed.packed();
    let named = all.named_bytes as f64;
    println!(
        "  at rest: {:.1} bytes an entry; {:.2} of the {:.0} bytes that they are packed",
        (all.block_bytes as f64 + named) / all.entries as f64,
        (all.block_bytes as f64 + named) / packed as f64,
        packed as f64 / all.entries as f64
    );
    restart(&view, &heap);
    take(&mut view, &heap, "nothing");
    for updates in [1_000, 100_000] {
        feed.upsert(&mut view, updates);
        let some = take(&mut view, &heap, &format!("{updates} updates at random"));
        let bytes = some.block_bytes + some.named_bytes;
        println!("    {:.0} bytes for each update", bytes as f64 / updates as f64);
    }
    beside(&mut feed, &mut view, &heap);
    restart(&view, &heap);
}

/// Takes and stores a checkpoint on this thread.
fn take(view: &mut View, heap: &Heap, what: &str) -> Written {
    let pause = Instant::now();
    let mut checkpoint = view.begin_checkpoint(BACKLOG_MAX).unwrap();
    let pause = pause.elapsed();
    let start = processor_time();
    let written = write(&mut checkpoint, &mut *heap.writer()).unwrap();
    let time = processor_time() - start;
    assert!(view.end_checkpoint(checkpoint.stored().unwrap()));
    println!(
        "  {what}: begin {:.1} us, {} blocks, {} heads, {:.2} M bytes in {:.0} ms ({:.1} M entries/s)",
        pause.as_secs_f64() * 1e6,
        written.blocks,
        written.heads,
        (written.block_bytes + written.named_bytes) as f64 / 1e6,
        time * 1e3,
        written.entries as f64 / time / 1e6
    );
    written
}

fn restart(view: &View, heap: &Heap) {
    for threads in [0, 1] {
        let (start, wall) = (processor_time(), Instant::now());
        let loaded = load(heap, view_id(), view.settings().clone(), threads).unwrap().unwrap().view;
        println!(
            "  load, {} threads: {:.0} ms by the wall, {:.0} ms of the caller's processor",
            threads + 1,
            wall.elapsed().as_secs_f64() * 1e3,
            (processor_time() - start) * 1e3
        );
        assert_eq!(loaded.revision(), view.revision());
    }
}

/// The writer at random paths, alone and beside a flusher that always has something to take.
fn beside(feed: &mut Feed, view: &mut View, heap: &Heap) {
    const ROUND: u64 = 20_000;
    let (mut alone, mut with, mut longest) = (0.0_f64, 0.0_f64, 0.0_f64);
    let (mut rounds, mut taken, mut given_up) = (0, 0, 0);
    while rounds < 10 {
        alone += feed.upsert(view, ROUND);
        let mut checkpoint = view.begin_checkpoint(BACKLOG_MAX).unwrap();
        let done = AtomicBool::new(false);
        let written = std::thread::scope(|scope| {
            let flusher = scope.spawn(|| {
                let written = write(&mut checkpoint, &mut *heap.writer());
                done.store(true, Ordering::Release);
                written
            });
            let mut count = 0;
            while !done.load(Ordering::Acquire) || count == 0 {
                let wall = Instant::now();
                with += feed.upsert(view, ROUND / 20);
                longest = longest.max(wall.elapsed().as_secs_f64());
                (count, taken) = (count + 1, taken + ROUND / 20);
            }
            flusher.join().unwrap()
        });
        match written {
            Ok(_) => assert!(view.end_checkpoint(checkpoint.stored().unwrap())),
            Err(_) => given_up += 1,
        }
        rounds += 1;
    }
    println!(
        "  upserts at random: {:.2} M/s alone, {:.2} M/s while a checkpoint is taken; {} given up; the longest 1,000 {:.1} ms",
        (rounds * ROUND) as f64 / alone / 1e6,
        taken as f64 / with / 1e6,
        given_up,
        longest * 1e3
    );
    take(view, heap, "the rest");
}
