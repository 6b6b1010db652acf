use std::path::Path;
use std::time::Duration;

use super::*;
use crate::conformance::{self, Reopen};
use crate::disk::simulated::{Faults, SimulatedDisk};
use crate::ports::StoredRecord;
use crate::sample;

const SMALL: LogSettings = LogSettings { segment_bytes: 4_000 };
/// Drops what it may as soon as it may.
const NOTHING: Retention = Retention { age: Duration::ZERO, changes: 0, bytes: 0 };

struct Subject {
    disk: SimulatedDisk,
    log: Option<EmbeddedLog>,
}

fn open(disk: &SimulatedDisk) -> EmbeddedLog {
    EmbeddedLog::new(Arc::new(disk.clone()), PathBuf::from("/data/log"), SMALL).unwrap()
}

impl Reopen<dyn ChangeLog> for Subject {
    fn port(&self) -> &(dyn ChangeLog + 'static) {
        self.log.as_ref().unwrap()
    }

    fn reopen(&mut self) {
        self.log = None;
        self.log = Some(open(&self.disk));
    }
}

#[test]
fn it_conforms() {
    conformance::change_log(&mut || {
        let disk = SimulatedDisk::default();
        let log = Some(open(&disk));
        Box::new(Subject { disk, log })
    });
}

/// The batch after a place: the same every time, and of very different sizes.
fn batch(after: LogPoint) -> StoredRecord {
    let changes = sample::batch(after, [3, 0, 40, 1, 12][(after.record % 5) as usize]);
    let width = changes.len() as u64;
    StoredRecord { point: after.after(width), head: sample::full_head(), changes }
}

/// What a run of the script knows when the machine stops.
#[derive(Default)]
struct Known {
    acknowledged: LogPoint,
    appended: LogPoint,
    /// Up to there it was said that the log may be trimmed.
    trimmed: LogPoint,
}

fn append(log: &EmbeddedLog, after: LogPoint) -> Ticket {
    let record = batch(after);
    log.append(sample::view(1).id, after, &record.head, &record.changes).unwrap()
}

/// Appends, waits now and then, trims, closes and opens; ends where the machine stops.
fn script(disk: &SimulatedDisk) -> Known {
    let mut known = Known::default();
    for _ in 0..3 {
        if play(disk, &mut known).is_none() {
            break;
        }
    }
    known
}

fn play(disk: &SimulatedDisk, known: &mut Known) -> Option<()> {
    let log = EmbeddedLog::new(Arc::new(disk.clone()), PathBuf::from("/data/log"), SMALL).ok()?;
    let view = sample::view(1);
    let opened = log.open(&view).ok()?;
    assert!(opened.end >= known.acknowledged && opened.cut.is_none(), "{opened:?}");
    known.appended = opened.end;
    for round in 0..12 {
        let mut ticket = append(&log, known.appended);
        known.appended = ticket.point();
        if round % 3 == 0 {
            ticket = append(&log, known.appended);
            known.appended = ticket.point();
        }
        while !ticket.is_durable() {
            if disk.is_stopped() {
                return None;
            }
            std::thread::yield_now();
        }
        known.acknowledged = ticket.point();
        if round % 4 == 3 {
            known.trimmed = known.acknowledged;
            log.trim(view.id, known.trimmed, &NOTHING, ServerTime::MAX).ok()?;
        }
    }
    Some(())
}

/// Everything that is there follows from the script, and all that was acknowledged is there.
fn check(disk: &SimulatedDisk, known: &Known, what: &str) {
    let (log, view) = (open(disk), sample::view(1));
    let opened = log.open(&view).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(opened.start <= known.trimmed, "{what}: {opened:?}");
    assert!(known.acknowledged <= opened.end && opened.end <= known.appended, "{what}: {opened:?}");
    let more = append(&log, opened.end).wait().unwrap();
    let read = |log: &EmbeddedLog| {
        let records = log.read(view.id, ReadFrom::Start).unwrap();
        records.collect::<Result<Vec<_>, _>>().unwrap_or_else(|error| panic!("{what}: {error}"))
    };
    let records = read(&log);
    let mut point = LogPoint::default();
    while point < opened.start {
        point = batch(point).point;
    }
    for record in &records {
        assert!(*record == batch(point), "{what}: record {}", record.point);
        point = record.point;
    }
    assert_eq!(point, more, "{what}");
    drop(log);
    let log = open(disk);
    assert_eq!(log.open(&view).unwrap().cut, None, "{what}: it is cut once");
    assert!(read(&log) == records, "{what}: opened again");
}

#[test]
fn a_crash_at_any_write_loses_nothing_that_was_acknowledged() {
    let disk = SimulatedDisk::default();
    check(&disk, &script(&disk), "no crash");
    let operations = disk.operations();
    assert!(operations > 100, "{operations}");
    for stop in 1..=operations {
        let disk = SimulatedDisk::default();
        disk.set_faults(Faults { stop_at: Some(stop), ..Faults::default() });
        let known = script(&disk);
        for seed in 0..4 {
            check(&disk.restart(seed * 1000 + stop), &known, &format!("stop {stop}, seed {seed}"));
        }
    }
}

/// A disk that is full, or fails to sync, or went read-only, and is well again later.
#[test]
fn a_disk_that_fails_holds_up_acknowledgements_and_loses_nothing() {
    let full = Faults { capacity: Some(8_000), ..Faults::default() };
    let failing = Faults { syncs_fail: true, ..Faults::default() };
    let read_only = Faults { read_only: true, ..Faults::default() };
    for (number, faults) in [full, failing, read_only].into_iter().enumerate() {
        let (disk, view) = (SimulatedDisk::default(), sample::view(1));
        let log = open(&disk);
        log.open(&view).unwrap();
        let acknowledged = append(&log, LogPoint::default()).wait().unwrap();
        disk.set_faults(faults);
        let mut ticket = append(&log, acknowledged);
        let error = loop {
            ticket = append(&log, ticket.point());
            match log.status(view.id).unwrap().health {
                crate::ports::Health::Failing(error) => break error,
                crate::ports::Health::Well => std::thread::yield_now(),
            }
        };
        let of_full = matches!(error, StoreError::Full { .. });
        let of_read_only = matches!(error, StoreError::ReadOnly { .. });
        assert_eq!((of_full, of_read_only), (number == 0, number == 2), "{error}");
        assert!(error.is_of_the_disk() && !ticket.is_durable());
        let durable = log.status(view.id).unwrap().durable;
        let read = log.read(view.id, ReadFrom::Start).unwrap();
        assert_eq!(read.last().unwrap().unwrap().point, durable, "it goes on being read");
        let lost = disk.restart(1);
        disk.set_faults(Faults::default());
        let end = ticket.wait().unwrap();
        assert!(log.status(view.id).unwrap().health.is_well());
        let known = Known { acknowledged: end, appended: end, trimmed: LogPoint::default() };
        check(&disk.restart(2), &known, "the disk is well again");
        let known = Known { acknowledged: durable, ..known };
        check(&lost, &known, "the machine stopped while the disk failed");
    }
}

#[test]
fn closing_while_the_disk_fails_tells_who_waits() {
    let (disk, view) = (SimulatedDisk::default(), sample::view(1));
    let log = open(&disk);
    log.open(&view).unwrap();
    disk.set_faults(Faults { syncs_fail: true, ..Faults::default() });
    let ticket = append(&log, LogPoint::default());
    drop(log);
    assert!(ticket.wait().unwrap_err().is_of_the_disk());
}

/// A log that was closed: 31 records in several segments.
fn closed() -> (SimulatedDisk, Vec<StoredRecord>) {
    let (disk, view) = (SimulatedDisk::default(), sample::view(1));
    let log = open(&disk);
    log.open(&view).unwrap();
    let mut end = LogPoint::default();
    for _ in 0..31 {
        end = append(&log, end).wait().unwrap();
    }
    let records = log.read(view.id, ReadFrom::Start).unwrap().collect::<Result<_, _>>().unwrap();
    (disk, records)
}

fn read_all(disk: &SimulatedDisk) -> Result<Vec<StoredRecord>, StoreError> {
    let (log, view) = (open(disk), sample::view(1));
    log.open(&view)?;
    log.read(view.id, ReadFrom::Start)?.collect()
}

#[test]
fn damage_to_what_was_durable_is_told_and_never_skipped() {
    let (disk, records) = closed();
    let mut found = 0;
    for (path, length) in disk.files() {
        for at in (0..length).step_by(11) {
            let damaged = disk.restart(0);
            damaged.damage(&path, at, 0x10);
            match read_all(&damaged) {
                Ok(read) => assert!(read == records, "{} at {at}", path.display()),
                Err(StoreError::Corrupt { .. } | StoreError::FutureFormat { .. }) => found += 1,
                Err(other) => panic!("{other}"),
            }
        }
    }
    assert!(found > 300, "{found}");
}

#[test]
fn files_that_are_cut_off_or_missing_are_told() {
    let (disk, records) = closed();
    let files = disk.files();
    let segments = files.iter().filter(|(path, _)| path.extension().is_some_and(|e| e == "log"));
    assert!(segments.clone().count() > 2);
    for (path, length) in segments {
        for cut in [0, 100, 256, 300, 2000, 7000] {
            let damaged = disk.restart(0);
            let file = damaged.open(path, crate::disk::Access::Write).unwrap();
            file.set_length(cut.min(*length as u64)).unwrap();
            match read_all(&damaged) {
                Ok(read) => assert!(read == records, "{} cut at {cut}", path.display()),
                Err(StoreError::Corrupt { .. }) => {}
                Err(other) => panic!("{other}"),
            }
        }
        let damaged = disk.restart(0);
        damaged.remove(path).unwrap();
        let read = read_all(&damaged);
        let front =
            records.iter().any(|record| read.as_ref().is_ok_and(|r| r.first() == Some(record)));
        assert!(read.is_err() || front, "{} is missing", path.display());
    }
}

#[test]
fn readers_are_not_disturbed_by_trimming() {
    let (disk, records) = closed();
    let (log, view) = (open(&disk), sample::view(1));
    log.open(&view).unwrap();
    let mut reader = log.read(view.id, ReadFrom::Start).unwrap();
    let first = reader.next().unwrap().unwrap();
    let end = records.last().unwrap().point;
    let start = log.trim(view.id, end, &NOTHING, ServerTime::MAX).unwrap();
    assert!(start > first.point);
    let mut after = end;
    for _ in 0..40 {
        after = append(&log, after).wait().unwrap();
    }
    // The segment that it has is there still; that the next one went is told, and nothing else is read.
    let mut rest = Vec::new();
    let gone = reader.find_map(|record| record.map(|record| rest.push(record)).err());
    assert!(rest == records[1..=rest.len()]);
    match gone {
        Some(StoreError::Trimmed { asked, first: kept, .. }) => {
            assert_eq!(asked.0, rest.last().unwrap_or(&first).point.revision.0 + 1);
            assert!(kept > asked && kept.0 == start.revision.0 + 1, "{kept:?}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn segments_are_used_again() {
    let (disk, view) = (SimulatedDisk::default(), sample::view(1));
    let log = open(&disk);
    log.open(&view).unwrap();
    let mut after = LogPoint::default();
    let mut names = 0;
    for round in 0..200 {
        after = append(&log, after).wait().unwrap();
        log.trim(view.id, after, &NOTHING, ServerTime::MAX).unwrap();
        names = names.max(disk.files().len());
        let read = log.read(view.id, ReadFrom::Start).unwrap();
        assert!(read.map(Result::unwrap).all(|record| record.point <= after), "{round}");
    }
    assert!(names <= 5, "{names} files");
    drop(log);
    let spare = |(path, _): &(PathBuf, usize)| path.to_string_lossy().contains("spare-");
    assert!(disk.files().iter().any(spare));
    assert!(!read_all(&disk).unwrap().is_empty());
}

#[test]
fn a_segment_of_another_view_is_refused() {
    let (disk, _) = closed();
    let log = open(&disk);
    let other = sample::view(2);
    log.open(&other).unwrap();
    drop(log);
    let dir = |view: &ViewRef| Path::new("/data/log").join(view.id.to_string());
    let name = "0000000000000001.log";
    disk.copy(&dir(&sample::view(1)).join(name), &dir(&other).join(name));
    let refused = open(&disk).open(&other);
    assert!(matches!(refused, Err(StoreError::Corrupt { .. })), "{refused:?}");
}
