//! The same with the log, on a real disk: what a snapshot and random updates write, and a restart beside
//! `cat` of the files that it reads.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use fusion_core::change::Change;
use fusion_core::id::ViewName;
use fusion_core::time::ServerTime;
use fusion_core::view::checkpoint::BACKLOG_MAX;
use fusion_core::view::{View, ViewSettings};
use fusion_store::codec::blocks::{load, write};
use fusion_store::disk::RealDisk;
use fusion_store::embedded::{BlocksSettings, EmbeddedBlocks, EmbeddedLog, LogSettings};
use fusion_store::{
    Blocks as _, ChangeLog as _, LogPoint, Origin, ReadFrom, RecordHead, Ticket, ViewRef,
};

use crate::heap::view_id;
use crate::shape::Feed;

/// Changes of a batch.
const BATCH: u64 = 1_000;
/// Batches that may be on their way.
const WINDOW: usize = 64;

struct Disk {
    log: EmbeddedLog,
    blocks: EmbeddedBlocks,
    stored: ViewRef,
    end: LogPoint,
    waiting: std::collections::VecDeque<Ticket>,
}

impl Disk {
    fn open(dir: &Path) -> Self {
        let (log, blocks) = (dir.join("log"), dir.join("blocks"));
        let log = EmbeddedLog::new(Arc::new(RealDisk), log, LogSettings::default()).unwrap();
        let settings = BlocksSettings::default();
        let blocks = EmbeddedBlocks::new(Arc::new(RealDisk), blocks, settings).unwrap();
        let stored = ViewRef { id: view_id(), name: ViewName::new("bench").unwrap() };
        let end = log.open(&stored).unwrap().end;
        Self { log, blocks, stored, end, waiting: Default::default() }
    }

    fn append(&mut self, changes: &[Change]) {
        let head = RecordHead::new(ServerTime::from_nanos(5), Origin::Snapshot);
        let ticket = self.log.append(self.stored.id, self.end, &head, changes).unwrap();
        self.end = ticket.point();
        self.waiting.push_back(ticket);
        if self.waiting.len() > WINDOW {
            self.waiting.pop_front().unwrap().wait().unwrap();
        }
    }

    fn settle(&mut self) {
        for ticket in self.waiting.drain(..) {
            ticket.wait().unwrap();
        }
    }

    fn checkpoint(&mut self, view: &mut View) {
        self.settle();
        let mut checkpoint = view.begin_checkpoint(BACKLOG_MAX).unwrap();
        let mut writer = self.blocks.begin(&self.stored, self.end).unwrap();
        write(&mut checkpoint, &mut *writer).unwrap();
        writer.commit().unwrap();
        assert!(view.end_checkpoint(checkpoint.stored().unwrap()));
    }
}

/// Bytes that this process has given to be written, and those that the kernel says went to a disk for
/// it: that counts a page again each time it becomes dirty, and a large one as a whole.
#[derive(Clone, Copy)]
struct Written([f64; 2]);

impl Written {
    fn now() -> Self {
        let text = std::fs::read_to_string("/proc/self/io").unwrap();
        Self(["wchar: ", "write_bytes: "].map(|name| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap().parse().unwrap()
        }))
    }

    /// What was written since, in units of so many bytes.
    fn since(before: Self, unit: f64) -> String {
        let [given, counted] = [0, 1].map(|at| (Self::now().0[at] - before.0[at]) / unit);
        format!("{given:.2} given to write, {counted:.2} by write_bytes")
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

pub(crate) fn run(mut feed: Feed, dir: &Path) {
    let dir = tempfile::tempdir_in(dir).unwrap();
    let mut disk = Disk::open(dir.path());
    let (entries, packed) = (feed.entries(), feed.packed() as f64);
    let mut view = View::new(ViewSettings::default());
    let (start, before) = (Instant::now(), Written::now());
    let mut gathered = Vec::new();
    feed.fill(&mut view, &mut |changes| {
        gathered.append(changes);
        if gathered.iter().map(Change::width).sum::<u64>() >= BATCH {
            disk.append(&gathered);
            gathered.clear();
        }
    });
    disk.append(&gathered);
    disk.checkpoint(&mut view);
    println!(
        "  on disk, log and one checkpoint: {:.1} s; times the packed bytes: {}",
        start.elapsed().as_secs_f64(),
        Written::since(before, packed)
    );
    let figures = disk.blocks.figures(disk.stored.id).unwrap();
    println!("    at rest {:.1} bytes an entry", figures.stored_bytes as f64 / entries as f64);
    updates(&mut feed, &mut view, &mut disk, packed / entries as f64);
    drop(disk);
    restart(dir.path(), &view);
}

/// Batches of random updates, then a checkpoint.
fn updates(feed: &mut Feed, view: &mut View, disk: &mut Disk, packed_row: f64) {
    for (rounds, what) in [(10, "10,000"), (100, "100,000"), (1_000, "1,000,000")] {
        let before = Written::now();
        let (mut changes, mut made) = (Vec::new(), 0);
        for _ in 0..rounds {
            feed.upsert_into(view, BATCH, &mut changes);
            made += changes.len() as u64;
            disk.append(&changes);
            changes.clear();
        }
        disk.settle();
        let rows = (rounds * BATCH) as f64;
        let logged = Written::since(before, rows * packed_row);
        disk.checkpoint(view);
        println!("  {what} updates at random ({:.2} changes each)", made as f64 / rows);
        println!("    times what they are packed, the log: {logged}");
        println!("    with a checkpoint: {}", Written::since(before, rows * packed_row));
    }
}

fn restart(dir: &Path, view: &View) {
    let read = files(&dir.join("blocks"));
    for round in 0..3 {
        let start = Instant::now();
        let cat = Command::new("cat").args(&read).stdout(Stdio::null()).status().unwrap();
        let cat = (cat.success(), start.elapsed().as_secs_f64());
        assert!(cat.0);
        let start = Instant::now();
        let disk = Disk::open(dir);
        let opened = start.elapsed().as_secs_f64();
        let settings = view.settings().clone();
        let loaded = load(&disk.blocks, disk.stored.id, settings, 1).unwrap().unwrap();
        let mut rebuilt = loaded.view;
        let tail = disk.log.read(disk.stored.id, ReadFrom::After(loaded.contains)).unwrap();
        tail.for_each(|record| record.unwrap().changes.iter().for_each(|one| rebuilt.replay(one)));
        let seconds = start.elapsed().as_secs_f64();
        assert_eq!(rebuilt.revision(), view.revision());
        println!(
            "  restart {round}: {seconds:.2} s ({opened:.2} s of it to open the log) beside {:.3} s for cat of the files of blocks: {:.1} times",
            cat.1,
            seconds / cat.1
        );
    }
}
