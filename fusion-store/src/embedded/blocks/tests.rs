use std::collections::BTreeMap;

use fusion_core::id::Revision;

use super::*;
use crate::conformance::{self, Reopen};
use crate::disk::Access;
use crate::disk::simulated::{Faults, Seeded, SimulatedDisk};
use crate::ports::BlockId;
use crate::sample;

const SMALL: BlocksSettings = BlocksSettings { file_bytes: 3_000, slack_bytes: 500, files_max: 9 };

struct Subject {
    disk: SimulatedDisk,
    blocks: Option<EmbeddedBlocks>,
}

fn open(disk: &SimulatedDisk) -> EmbeddedBlocks {
    EmbeddedBlocks::new(Arc::new(disk.clone()), PathBuf::from("/data/blocks"), SMALL).unwrap()
}

impl Reopen<dyn Blocks> for Subject {
    fn port(&self) -> &(dyn Blocks + 'static) {
        self.blocks.as_ref().unwrap()
    }

    fn reopen(&mut self) {
        self.blocks = None;
        self.blocks = Some(open(&self.disk));
    }
}

#[test]
fn it_conforms() {
    conformance::blocks(&mut || {
        let disk = SimulatedDisk::default();
        let blocks = Some(open(&disk));
        Box::new(Subject { disk, blocks })
    });
}

/// What is in a checkpoint: blocks, and one named value.
type Kept = BTreeMap<u64, Vec<u8>>;

/// What the checkpoint with this number leaves, from what was there before.
fn next(number: u64, kept: &Kept) -> Kept {
    let mut random = Seeded::new(number);
    let mut kept = kept.clone();
    if number == 9 {
        kept.clear();
    }
    for _ in 0..6 {
        kept.insert(random.below(12), vec![number as u8; random.below(900) as usize]);
    }
    for _ in 0..2 {
        kept.remove(&random.below(12));
    }
    kept
}

fn point(record: u64) -> LogPoint {
    LogPoint { record, revision: Revision(2 * record) }
}

/// Writes the checkpoint with this number.
fn write(blocks: &EmbeddedBlocks, number: u64, old: &Kept) -> Result<Kept, StoreError> {
    let new = next(number, old);
    let mut writer = blocks.begin(&sample::view(1), point(number))?;
    if number == 9 {
        writer.clear()?;
    }
    for (id, bytes) in &new {
        if number == 9 || old.get(id) != Some(bytes) {
            writer.put(BlockId(*id), bytes)?;
        }
    }
    for id in old.keys().filter(|id| !new.contains_key(id)) {
        writer.delete(BlockId(*id))?;
    }
    writer.put_named("number", &[number as u8])?;
    writer.commit()?;
    Ok(new)
}

/// The number of the checkpoint that is there, if what is there is what it left.
fn check(blocks: &EmbeddedBlocks, what: &str) -> (u64, Kept) {
    let mut loaded = Kept::new();
    let mut named = 0;
    let contains = blocks.load(sample::view(1).id, &mut |part| {
        match part {
            Loaded::Block(id, bytes) => drop(loaded.insert(id.0, bytes.to_vec())),
            Loaded::Named(_, bytes) => named = u64::from(bytes[0]),
        }
        Ok(())
    });
    let number = contains.unwrap_or_else(|error| panic!("{what}: {error}"));
    let number = number.map_or(0, |contains| contains.record);
    assert_eq!(number, named, "{what}");
    let expected = (1..=number).fold(Kept::new(), |kept, number| next(number, &kept));
    assert!(loaded == expected, "{what}: checkpoint {number}");
    (number, loaded)
}

/// Writes checkpoints until the machine stops; the number of the last one that was committed.
fn script(disk: &SimulatedDisk) -> u64 {
    let mut number = 0;
    let mut play = || -> Result<(), StoreError> {
        let mut kept = Kept::new();
        for _ in 0..2 {
            let settings = SMALL;
            let dir = PathBuf::from("/data/blocks");
            let blocks = EmbeddedBlocks::new(Arc::new(disk.clone()), dir, settings)?;
            for _ in 0..9 {
                kept = write(&blocks, number + 1, &kept)?;
                number += 1;
            }
        }
        Ok(())
    };
    drop(play());
    number
}

#[test]
fn a_crash_at_any_write_leaves_one_checkpoint_or_the_next() {
    let whole = SimulatedDisk::default();
    assert_eq!(script(&whole), 18);
    assert_eq!(check(&open(&whole), "no crash").0, 18);
    assert!(whole.operations() > 150, "{}", whole.operations());
    for stop in 1..=whole.operations() {
        let disk = SimulatedDisk::default();
        disk.set_faults(Faults { stop_at: Some(stop), ..Faults::default() });
        let committed = script(&disk);
        for seed in 0..4 {
            let what = format!("stop {stop}, seed {seed}");
            let restarted = disk.restart(seed * 1000 + stop);
            let blocks = open(&restarted);
            let (number, kept) = check(&blocks, &what);
            assert!(number == committed || number == committed + 1, "{what}: {number}");
            write(&blocks, number + 1, &kept).unwrap();
            assert_eq!(check(&open(&restarted), &what).0, number + 1);
        }
    }
}

#[test]
fn a_checkpoint_that_failed_leaves_the_one_before_and_can_be_written_again() {
    let full = Faults { capacity: Some(2_000), ..Faults::default() };
    let failing = Faults { syncs_fail: true, ..Faults::default() };
    let read_only = Faults { read_only: true, ..Faults::default() };
    for faults in [full, failing, read_only] {
        let disk = SimulatedDisk::default();
        let blocks = open(&disk);
        let mut kept = write(&blocks, 1, &Kept::new()).unwrap();
        for number in 2..8 {
            disk.set_faults(faults);
            for _ in 0..2 {
                let refused = write(&blocks, number, &kept).unwrap_err();
                assert!(refused.is_of_the_disk(), "{refused}");
            }
            disk.set_faults(Faults::default());
            assert_eq!(check(&blocks, "failed").0, number - 1);
            assert_eq!(check(&open(&disk.restart(number)), "failed, then stopped").0, number - 1);
            kept = write(&blocks, number, &kept).unwrap();
            assert_eq!(check(&blocks, "written again").0, number);
            assert_eq!(check(&open(&disk.restart(number)), "restarted").0, number);
        }
    }
}

/// Writes three checkpoints; of the last one the names cannot be made durable from an operation on, and
/// the machine stops a few operations after. How many files that left, and whether it stopped.
fn half_done(disk: &SimulatedDisk, fails_after: u64, stops_after: u64) -> (usize, bool) {
    let (dir, settings) =
        (PathBuf::from("/data/blocks"), BlocksSettings { file_bytes: 500, ..SMALL });
    let blocks = EmbeddedBlocks::new(Arc::new(disk.clone()), dir, settings).unwrap();
    let kept = write(&blocks, 1, &Kept::new()).unwrap();
    let kept = write(&blocks, 2, &kept).unwrap();
    let (before, from) = (disk.files().len(), disk.operations() + fails_after);
    disk.set_faults(Faults { dir_syncs_fail_from: Some(from), ..Faults::default() });
    let failed = write(&blocks, 3, &kept).is_err();
    let left = disk.files().len() - before.min(disk.files().len());
    let stop_at = Some(disk.operations() + stops_after);
    disk.set_faults(Faults { stop_at, ..Faults::default() });
    drop(write(&blocks, 3, &kept));
    (if failed { left } else { 0 }, disk.is_stopped())
}

#[test]
fn a_crash_while_a_checkpoint_that_failed_is_removed_leaves_one_that_is_whole() {
    let mut most = 0;
    for (fails_after, stops_after) in (1..30).flat_map(|fails| (1..6).map(move |it| (fails, it))) {
        let disk = SimulatedDisk::default();
        let (left, stopped) = half_done(&disk, fails_after, stops_after);
        if left == 0 || !stopped {
            continue;
        }
        most = most.max(left);
        for seed in 0..8 {
            let what = format!("fails {fails_after}, stops {stops_after}, seed {seed}");
            let (number, _) = check(&open(&disk.restart(seed)), &what);
            assert!(number == 2 || number == 3, "{what}: {number}");
        }
    }
    assert!(most > 1, "a checkpoint of {most} files");
}

#[test]
fn one_checkpoint_at_a_time() {
    let disk = SimulatedDisk::default();
    let blocks = open(&disk);
    let first = blocks.begin(&sample::view(1), point(1)).unwrap();
    let second = blocks.begin(&sample::view(1), point(1)).err();
    assert!(matches!(second, Some(StoreError::Refused { .. })), "{second:?}");
    drop(blocks.begin(&sample::view(2), point(1)).unwrap());
    drop(first);
    drop(blocks.begin(&sample::view(1), point(1)).unwrap());
}

#[test]
fn what_is_stored_stays_in_proportion_to_what_is_live() {
    let disk = SimulatedDisk::default();
    let settings = BlocksSettings { file_bytes: 30_000, ..SMALL };
    let dir = PathBuf::from("/data/blocks");
    let blocks = EmbeddedBlocks::new(Arc::new(disk.clone()), dir, settings).unwrap();
    let mut random = Seeded::new(5);
    let mut written = 0;
    for number in 0..300 {
        let mut writer = blocks.begin(&sample::view(1), point(number)).unwrap();
        for _ in 0..5 {
            writer.put(BlockId(random.below(100)), &[0; 200]).unwrap();
            written += 200;
        }
        writer.commit().unwrap();
        let figures = blocks.figures(sample::view(1).id).unwrap();
        let allowed = figures.live_bytes * 3 / 2 + 500 + 2_000;
        assert!(figures.stored_bytes <= allowed, "{number}: {figures:?}");
    }
    assert!(disk.files().len() <= SMALL.files_max + 1);
    let bytes = disk.bytes_written();
    assert!(bytes < written * 4, "{bytes} bytes for {written}");
}

/// Files of format 1 do not tell which is the oldest that is needed; else they are the same.
#[test]
fn files_of_format_1_are_read_and_written_anew_as_they_are_compacted() {
    let disk = SimulatedDisk::default();
    assert_eq!(script(&disk), 18);
    for (path, _) in disk.files() {
        let file = disk.open(&path, Access::Write).unwrap();
        let mut head = [0; file::HEAD];
        file.read_at(&mut head, 0).unwrap();
        head[8] = 1;
        head[104..112].fill(0);
        let crc = crc32fast::hash(&head[..file::HEAD - 4]);
        head[file::HEAD - 4..].copy_from_slice(&crc.to_le_bytes());
        file.write_at(&head, 0).unwrap();
        file.sync().unwrap();
    }
    let blocks = open(&disk);
    let (number, mut kept) = check(&blocks, "format 1");
    assert_eq!(number, 18);
    for number in 19..60 {
        kept = write(&blocks, number, &kept).unwrap();
    }
    let versions = disk.files().into_iter().map(|(path, _)| {
        let mut head = [0; file::HEAD];
        disk.open(&path, Access::Read).unwrap().read_at(&mut head, 0).unwrap();
        head[8]
    });
    assert!(versions.eq(disk.files().iter().map(|_| 2)));
    assert_eq!(check(&open(&disk), "format 2").0, 59);
}

#[test]
fn damage_is_told_and_never_skipped() {
    let disk = SimulatedDisk::default();
    assert_eq!(script(&disk), 18);
    let load = |disk: &SimulatedDisk| {
        let mut loaded = Kept::new();
        let contains = open(disk).load(sample::view(1).id, &mut |part| {
            if let Loaded::Block(id, bytes) = part {
                loaded.insert(id.0, bytes.to_vec());
            }
            Ok(())
        })?;
        Ok::<_, StoreError>((contains, loaded))
    };
    let whole = load(&disk).unwrap();
    let mut found = 0;
    for (path, length) in disk.files() {
        for at in (0..length).step_by(5) {
            let damaged = disk.restart(0);
            damaged.damage(&path, at, 0x20);
            match load(&damaged) {
                Ok(loaded) => assert!(loaded == whole, "{} at {at}", path.display()),
                Err(StoreError::Corrupt { .. } | StoreError::FutureFormat { .. }) => found += 1,
                Err(other) => panic!("{other}"),
            }
        }
        let damaged = disk.restart(0);
        let file = damaged.open(&path, Access::Write).unwrap();
        file.set_length(length as u64 / 2).unwrap();
        assert!(matches!(load(&damaged), Err(StoreError::Corrupt { .. })));
    }
    assert!(found > 100, "{found}");
    let files = disk.files();
    assert!(files.len() > 2);
    for number in [0, 1] {
        let damaged = disk.restart(0);
        damaged.remove(&files[number].0).unwrap();
        let refused = load(&damaged);
        assert!(matches!(refused, Err(StoreError::Corrupt { .. })), "{number} is missing");
    }
}
