//! Copies of a store that is being written: on a real disk, for that is what is relied on.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use fusion_core::time::ServerTime;
use tempfile::TempDir;

use super::*;
use crate::embedded::{LogSettings, Store, StoreOptions};
use crate::ports::{
    BlockId, ChangeLog as _, Loaded, LogPoint, ReadFrom, Retention, Space, State as _, StoredRecord,
};
use crate::sample;

const NOW: ServerTime = ServerTime::from_nanos(0);
/// Records from one checkpoint to the next; each is of up to 20 changes.
const EVERY: u64 = 40;
const RETENTION: Retention = Retention { age: Duration::ZERO, changes: 2_000, bytes: u64::MAX };

fn open(dir: &Path) -> Result<Store, StoreError> {
    let options = StoreOptions {
        new_server: Uuid::from_u64_pair(1, 2),
        server: None,
        owner: "a test".to_owned(),
        log: LogSettings { segment_bytes: 20_000 },
        blocks: BlocksSettings { file_bytes: 3_000, slack_bytes: 500, files_max: 9 },
    };
    Store::open(dir, &options)
}

/// The record after a place: the same every time.
fn batch(after: LogPoint) -> StoredRecord {
    let changes = sample::batch(after, 1 + after.record % 20);
    let width = changes.len() as u64;
    StoredRecord { point: after.after(width), head: sample::full_head(), changes }
}

/// The blocks that the checkpoint with this number puts.
fn put_by(number: u64) -> impl Iterator<Item = u64> {
    (0..5).map(move |put| (number * 7 + put) % 40)
}

/// What is known to be durable.
#[derive(Default)]
struct Known {
    record: AtomicU64,
    state: AtomicU64,
    /// What the checkpoints contain, by number.
    checkpoints: Mutex<Vec<LogPoint>>,
    stop: AtomicBool,
}

impl Known {
    fn checkpoints(&self) -> Vec<LogPoint> {
        self.checkpoints.lock().unwrap().clone()
    }

    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::SeqCst)
    }

    fn write_view(&self, store: &Store) {
        let view = sample::view(1);
        let mut end = store.log().open(&view).unwrap().end;
        while self.goes_on() {
            let record = batch(end);
            let ticket = store.log().append(view.id, end, &record.head, &record.changes).unwrap();
            end = ticket.wait().unwrap();
            self.record.store(end.record, Ordering::SeqCst);
            if end.record.is_multiple_of(EVERY) {
                let number = end.record / EVERY;
                let mut writer = store.blocks().begin(&view, end).unwrap();
                for id in put_by(number) {
                    writer.put(BlockId(id), &[number as u8; 300]).unwrap();
                }
                writer.put_named("number", &number.to_le_bytes()).unwrap();
                self.checkpoints.lock().unwrap().push(end);
                writer.commit().unwrap();
                store.log().trim(view.id, end, &RETENTION, ServerTime::MAX).unwrap();
            }
        }
    }

    fn write_state(&self, store: &Store) {
        let mut number = 0_u64;
        while self.goes_on() {
            number += 1;
            let (key, value) = ((number % 5).to_le_bytes(), number.to_le_bytes().repeat(40));
            store.state().put(Space::Session, &key, &value, None).unwrap();
            self.state.store(number, Ordering::SeqCst);
        }
    }
}

/// A store that is written by two threads while `act` runs.
fn under_load(act: impl FnOnce(&Path, &Known)) {
    let (dir, known) = (tempfile::tempdir().unwrap(), Known::default());
    let store = open(dir.path()).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| known.write_view(&store));
        scope.spawn(|| known.write_state(&store));
        while known.checkpoints().len() < 3 {
            std::thread::yield_now();
        }
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            act(dir.path(), &known);
        }));
        known.stop.store(true, Ordering::SeqCst);
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic);
        }
    });
}

/// That a copy holds what was durable then, and nothing that cannot be.
fn check(dir: &Path, known: &Known, (record, state): (u64, u64)) -> Result<(), StoreError> {
    let (store, view) = (open(dir)?, sample::view(1));
    let opened = store.log().open(&view)?;
    let contains = check_blocks(&store, known)?;
    let read: Result<Vec<_>, _> = store.log().read(view.id, ReadFrom::Start)?.collect();
    let read = read?;
    drop(store.log().read(view.id, ReadFrom::After(contains))?);
    assert!(opened.end.record >= record, "{} of {record}", opened.end);
    assert_eq!(opened.end, read.last().unwrap().point);
    let mut point = opened.start;
    for found in &read {
        assert!(*found == batch(point), "{}", found.point);
        point = found.point;
    }
    let mut last = 0;
    for item in store.state().scan(Space::Session, b"", None, 9, NOW)?.items {
        let number = u64::from_le_bytes(*item.value.first_chunk().unwrap());
        assert_eq!(item.value, number.to_le_bytes().repeat(40));
        last = last.max(number);
    }
    assert!(last >= state, "{last} of {state}");
    // It can be gone on from.
    let record = batch(opened.end);
    let ticket = store.log().append(view.id, opened.end, &record.head, &record.changes)?;
    ticket.wait().map(drop)
}

fn check_blocks(store: &Store, known: &Known) -> Result<LogPoint, StoreError> {
    let (mut blocks, mut number) = (BTreeMap::new(), 0);
    let contains = store.blocks().load(sample::view(1).id, &mut |part| {
        match part {
            Loaded::Block(id, bytes) => drop(blocks.insert(id.0, bytes.to_vec())),
            Loaded::Named(_, bytes) => number = u64::from_le_bytes(*bytes.first_chunk().unwrap()),
        }
        Ok(())
    })?;
    let mut expected = BTreeMap::new();
    for number in 1..=number {
        expected.extend(put_by(number).map(|id| (id, vec![number as u8; 300])));
    }
    assert!(blocks == expected, "checkpoint {number}");
    let contains = contains.unwrap();
    assert_eq!(known.checkpoints()[number as usize - 1], contains);
    Ok(contains)
}

fn durable(known: &Known) -> (u64, u64) {
    (known.record.load(Ordering::SeqCst), known.state.load(Ordering::SeqCst))
}

fn place(dir: &TempDir) -> PathBuf {
    dir.path().join("copy")
}

#[test]
fn a_back_up_of_a_running_store_holds_all_that_was_durable_when_it_began() {
    under_load(|from, known| {
        for round in 0..40 {
            let dir = tempfile::tempdir().unwrap();
            let before = durable(known);
            let done = back_up(from, &place(&dir)).unwrap();
            assert_eq!((done.server, done.views), (Uuid::from_u64_pair(1, 2), 1));
            check(&place(&dir), known, before).unwrap_or_else(|error| panic!("{round}: {error}"));
        }
    });
}

/// A plain copy takes files one after the other while they change: it need not be whole. What is
/// opened at all is, though, and what is not says so.
#[test]
fn a_plain_copy_of_a_running_store_is_whole_or_refused() {
    under_load(|from, known| {
        let (mut whole, mut refused) = (0, 0);
        for round in 0..60 {
            let dir = tempfile::tempdir().unwrap();
            let before = durable(known);
            // Files that went meanwhile make it complain, and go on.
            Command::new("cp").arg("-a").arg(from).arg(place(&dir)).output().unwrap();
            match check(&place(&dir), known, before) {
                Ok(()) => whole += 1,
                Err(
                    StoreError::Corrupt { .. }
                    | StoreError::Trimmed { .. }
                    | StoreError::Unknown { .. },
                ) => refused += 1,
                Err(other) => panic!("{round}: {other}"),
            }
        }
        println!("{whole} whole, {refused} refused");
    });
}

#[test]
fn a_back_up_of_a_closed_store_is_the_same_and_one_that_was_not_finished_is_none() {
    let (dir, known) = (tempfile::tempdir().unwrap(), Known::default());
    let store = open(dir.path()).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| known.write_view(&store));
        scope.spawn(|| known.write_state(&store));
        while known.checkpoints().len() < 3 || known.state.load(Ordering::SeqCst) < 9 {
            std::thread::yield_now();
        }
        known.stop.store(true, Ordering::SeqCst);
    });
    drop(store);
    let to = tempfile::tempdir().unwrap();
    back_up(dir.path(), &place(&to)).unwrap();
    check(&place(&to), &known, durable(&known)).unwrap();
    let again = back_up(dir.path(), &place(&to)).unwrap_err();
    assert!(matches!(again, StoreError::Refused { .. }), "{again}");
    assert!(again.to_string().contains("name an empty directory"), "{again}");

    std::fs::remove_file(place(&to).join("fusion-store")).unwrap();
    let unfinished = open(&place(&to)).unwrap_err();
    assert!(matches!(unfinished, StoreError::NotAStore { .. }), "{unfinished}");
    let none = back_up(&to.path().join("none"), &to.path().join("other")).unwrap_err();
    assert!(matches!(none, StoreError::NoStore { .. }), "{none}");
}

#[test]
fn damage_is_not_copied_in_silence() {
    let (dir, known) = (tempfile::tempdir().unwrap(), Known::default());
    let store = open(dir.path()).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| known.write_view(&store));
        while known.checkpoints().len() < 3 {
            std::thread::yield_now();
        }
        known.stop.store(true, Ordering::SeqCst);
    });
    drop(store);
    let log = dir.path().join("log").join(sample::view(1).id.to_string());
    let mut names = RealDisk.list(&log).unwrap();
    names.retain(|name| name.ends_with(".log"));
    let first = log.join(&names[0]);
    let mut bytes = std::fs::read(&first).unwrap();
    bytes[5_000] ^= 1;
    std::fs::write(&first, bytes).unwrap();
    let to = tempfile::tempdir().unwrap();
    let refused = back_up(dir.path(), &place(&to)).unwrap_err();
    assert!(matches!(refused, StoreError::Corrupt { .. }), "{refused}");
    assert!(refused.to_string().contains(&names[0]), "{refused}");
}
