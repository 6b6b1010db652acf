mod grouped;

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

/// What is asked of a log while the disk hangs; it must not wait for the disk.
fn answered<T: Send>(disk: &SimulatedDisk, ask: impl FnOnce() -> T + Send) -> T {
    let (answer, answered) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(move || answer.send(ask()).unwrap());
        answered.recv_timeout(Duration::from_secs(60)).unwrap_or_else(|_| {
            disk.set_faults(Faults::default());
            panic!("it waited for the disk")
        })
    })
}

fn hang(disk: &SimulatedDisk) {
    disk.set_faults(Faults { names_hang: true, ..Faults::default() });
}

fn wait_until_it_hangs(disk: &SimulatedDisk) {
    while !disk.is_waited_for() {
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn nobody_who_appends_or_looks_waits_for_a_new_segment() {
    let (disk, view) = (SimulatedDisk::default(), sample::view(1));
    let log = open(&disk);
    log.open(&view).unwrap();
    let mut ticket = append(&log, LogPoint::default());
    hang(&disk);
    while !disk.is_waited_for() {
        ticket = append(&log, ticket.point());
        std::thread::sleep(Duration::from_millis(1));
    }
    let status = answered(&disk, || log.status(view.id).unwrap());
    assert!(status.durable < ticket.point() && status.health.is_well(), "{status:?}");
    let ticket = answered(&disk, || append(&log, ticket.point()));
    let read = answered(&disk, || log.read(view.id, ReadFrom::Start).unwrap().count());
    assert_eq!(read as u64, status.durable.record);
    disk.set_faults(Faults::default());
    ticket.wait().unwrap();
}

#[test]
fn nobody_who_appends_or_looks_waits_for_trimming() {
    let (disk, _) = closed();
    let (log, view) = (open(&disk), sample::view(1));
    let end = log.open(&view).unwrap().end;
    hang(&disk);
    let (ticket, start) = std::thread::scope(|scope| {
        let trimmed = scope.spawn(|| log.trim(view.id, end, &NOTHING, ServerTime::MAX).unwrap());
        wait_until_it_hangs(&disk);
        assert_eq!(answered(&disk, || log.status(view.id).unwrap()).durable, end);
        let ticket = answered(&disk, || append(&log, end));
        disk.set_faults(Faults::default());
        (ticket, trimmed.join().unwrap())
    });
    assert!(start > LogPoint::default() && log.status(view.id).unwrap().start == start);
    let end = ticket.wait().unwrap();
    drop(log);
    let known = Known { acknowledged: end, appended: end, trimmed: start };
    check(&disk.restart(1), &known, "the disk hung");
}

#[test]
fn nobody_waits_for_another_view_to_be_opened() {
    let (disk, view) = (SimulatedDisk::default(), sample::view(1));
    let log = open(&disk);
    log.open(&view).unwrap();
    hang(&disk);
    let ticket = std::thread::scope(|scope| {
        let opened = scope.spawn(|| log.open(&sample::view(2)).unwrap());
        wait_until_it_hangs(&disk);
        let ticket = answered(&disk, || append(&log, LogPoint::default()));
        assert!(answered(&disk, || log.status(view.id).unwrap()).health.is_well());
        disk.set_faults(Faults::default());
        assert_eq!(opened.join().unwrap().end, LogPoint::default());
        ticket
    });
    ticket.wait().unwrap();
}

/// Trimming fails in the middle: what could not go is there still, and goes the next time.
#[test]
fn a_segment_that_cannot_be_removed_stays_the_front() {
    let (disk, _) = closed();
    let (log, view) = (open(&disk), sample::view(1));
    let end = log.open(&view).unwrap().end;
    let trim = || log.trim(view.id, end, &NOTHING, ServerTime::MAX);
    let before = log.status(view.id).unwrap();
    disk.set_faults(Faults { read_only: true, ..Faults::default() });
    trim().unwrap_err();
    let after = log.status(view.id).unwrap();
    assert_eq!((after.start, after.bytes), (LogPoint::default(), before.bytes));
    assert_eq!(log.read(view.id, ReadFrom::Start).unwrap().count(), 31);
    disk.set_faults(Faults::default());
    assert_eq!(trim().unwrap(), log.status(view.id).unwrap().start);
}

/// A disk on which a new segment finds room, and no batch.
#[test]
fn a_disk_that_takes_only_what_is_small_is_not_filled_with_segments() {
    let (disk, view) = (SimulatedDisk::default(), sample::view(1));
    let log = open(&disk);
    log.open(&view).unwrap();
    let second = append(&log, append(&log, LogPoint::default()).point()).wait().unwrap();
    disk.set_faults(Faults { largest_write: Some(256), ..Faults::default() });
    let ticket = append(&log, second);
    while log.status(view.id).unwrap().health.is_well() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let segments = || {
        let files = disk.files();
        let names = files.iter().filter_map(|(path, _)| path.file_name()?.to_str());
        names.filter_map(Segment::number).collect::<Vec<_>>()
    };
    while segments().iter().max() < Some(&5) {
        assert!(!log.status(view.id).unwrap().health.is_well(), "nothing was written");
        assert!(segments().len() <= 3, "{:?}", segments());
        std::thread::sleep(Duration::from_millis(1));
    }
    disk.set_faults(Faults::default());
    let third = ticket.wait().unwrap();
    while !log.status(view.id).unwrap().health.is_well() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let known = Known { acknowledged: third, appended: third, trimmed: LogPoint::default() };
    check(&disk.restart(1), &known, "there is room again");

    let fourth = append(&log, append(&log, third).wait().unwrap()).wait().unwrap();
    let sixth = append(&log, append(&log, fourth).wait().unwrap()).wait().unwrap();
    disk.set_faults(Faults { largest_write: Some(256), ..Faults::default() });
    let ticket = append(&log, append(&log, sixth).point());
    drop(log);
    assert!(ticket.wait().unwrap_err().is_of_the_disk(), "closing does not wait for room");
}

/// What a file is lengthened by ahead of writes is a convenience: where it finds no room, the writes do.
#[test]
fn a_disk_with_room_for_the_records_alone_takes_them() {
    let disk = SimulatedDisk::default();
    let (settings, view) = (LogSettings::default(), sample::view(1));
    let dir = PathBuf::from("/data/log");
    let log = EmbeddedLog::new(Arc::new(disk.clone()), dir, settings).unwrap();
    log.open(&view).unwrap();
    disk.set_faults(Faults { capacity: Some(40_000), ..Faults::default() });
    let mut end = LogPoint::default();
    while disk.bytes_written() < 80_000 {
        let ticket = append(&log, end);
        while !ticket.is_durable() {
            let health = log.status(view.id).unwrap().health;
            assert!(health.is_well(), "at {end}: {health:?}");
            std::thread::yield_now();
        }
        end = ticket.point();
    }
    drop(log);
    assert_eq!(read_all(&disk).unwrap().last().unwrap().point, end);
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
