//! What a log must do.

use std::time::Duration;

use fusion_core::id::Revision;
use fusion_core::time::ServerTime;

use super::Reopen;
use crate::error::StoreError;
use crate::ports::{ChangeLog, Follow, LogPoint, ReadFrom, Retention, StoredRecord, ViewRef};
use crate::sample;

type Log = dyn ChangeLog;

/// Everything that is asked of a log. `make` makes an empty store.
///
/// # Panics
/// It does not conform.
pub fn change_log(make: &mut dyn FnMut() -> Box<dyn Reopen<Log>>) {
    what_is_appended_is_read(&mut *make());
    revisions_are_never_given_twice(&mut *make());
    a_second_writer_is_found_out(&mut *make());
    a_log_goes_on_where_another_one_ends(&mut *make());
    reading_begins_anywhere(&mut *make());
    views_do_not_touch_each_other(&mut *make());
    who_follows_gets_every_record_once(&mut *make());
    trimming_keeps_what_is_to_be_kept(&mut *make());
    every_kept_revision_is_read_after_trims_and_restarts(&mut *make());
}

/// Appends batches of these sizes and waits; the records as they must be read.
fn fill(log: &Log, view: &ViewRef, sizes: &[u64]) -> Vec<StoredRecord> {
    let after = log.open(view).unwrap().end;
    fill_after(log, view, after, sizes)
}

fn fill_after(log: &Log, view: &ViewRef, mut after: LogPoint, sizes: &[u64]) -> Vec<StoredRecord> {
    let mut records = Vec::new();
    let mut last = None;
    for size in sizes {
        let head = sample::heads()[(*size % 11) as usize].clone();
        let changes = sample::batch(after, *size);
        let ticket = log.append(view.id, after, &head, &changes).unwrap();
        after = ticket.point();
        records.push(StoredRecord { point: after, head, changes });
        last = Some(ticket);
    }
    assert_eq!(last.unwrap().wait().unwrap(), after);
    records
}

fn all(log: &Log, view: &ViewRef, from: ReadFrom) -> Vec<StoredRecord> {
    log.read(view.id, from).unwrap().collect::<Result<_, _>>().unwrap()
}

/// As it is moved from one store to another: from wherever the first one begins.
fn a_log_goes_on_where_another_one_ends(store: &mut dyn Reopen<Log>) {
    let view = sample::view(1);
    let begin = LogPoint { record: 70, revision: Revision(4_000) };
    let opened = store.port().open_at(&view, begin).unwrap();
    assert_eq!((opened.start, opened.end, opened.cut), (begin, begin, None));
    assert!(all(store.port(), &view, ReadFrom::Start).is_empty());
    let early = LogPoint { record: 69, revision: Revision(3_999) };
    let trimmed = store.port().read(view.id, ReadFrom::After(early)).err();
    assert!(matches!(trimmed, Some(StoreError::Trimmed { .. })), "{trimmed:?}");
    let records = fill_after(store.port(), &view, begin, &[3, 1, 5]);
    assert_eq!(records[0].point.record, 71);
    for reopened in [false, true] {
        if reopened {
            store.reopen();
        }
        // It is there, so where to begin says nothing any more.
        let opened = store.port().open(&view).unwrap();
        assert_eq!((opened.start, opened.end), (begin, records[2].point));
        assert_eq!(all(store.port(), &view, ReadFrom::Start), records);
        assert_eq!(all(store.port(), &view, ReadFrom::After(begin)), records);
        let from = ReadFrom::Revision(Revision(4_004));
        assert_eq!(all(store.port(), &view, from), records[1..]);
    }
}

fn what_is_appended_is_read(store: &mut dyn Reopen<Log>) {
    let view = sample::view(1);
    let opened = store.port().open(&view).unwrap();
    assert_eq!((opened.start, opened.end, opened.cut), Default::default());
    assert!(all(store.port(), &view, ReadFrom::Start).is_empty());
    let after = LogPoint::default();
    let changes = sample::numbered(after, sample::kinds());
    let ticket = store.port().append(view.id, after, &sample::full_head(), &changes).unwrap();
    assert_eq!(ticket.wait().unwrap(), ticket.point());
    assert!(ticket.is_durable());
    let status = store.port().status(view.id).unwrap();
    assert_eq!((status.end, status.durable), (ticket.point(), ticket.point()));
    assert!(status.health.is_well());
    store.reopen();
    let opened = store.port().open(&view).unwrap();
    assert_eq!((opened.start, opened.end), (after, ticket.point()));
    let records = all(store.port(), &view, ReadFrom::Start);
    let head = sample::full_head();
    assert_eq!(records, [StoredRecord { point: ticket.point(), head, changes }]);
}

fn revisions_are_never_given_twice(store: &mut dyn Reopen<Log>) {
    let view = sample::view(1);
    let mut records = Vec::new();
    for sizes in [[3, 0, 1].as_slice(), &[0], &[5, 5, 0, 40]] {
        records.extend(fill(store.port(), &view, sizes));
        store.reopen();
        let opened = store.port().open(&view).unwrap();
        assert_eq!(opened.end, records.last().unwrap().point);
        assert_eq!(opened.cut, None, "a store that was closed was not torn");
    }
    assert_eq!(all(store.port(), &view, ReadFrom::Start), records);
    let mut next = 1;
    for record in &records {
        assert_eq!(record.first(), Revision(next));
        next += record.width();
    }
}

fn a_second_writer_is_found_out(store: &mut dyn Reopen<Log>) {
    let (view, log) = (sample::view(1), store.port());
    let start = LogPoint::default();
    fill(log, &view, &[0]);
    let head = sample::full_head();
    let refused = log.append(view.id, start, &head, &sample::batch(start, 1));
    assert!(matches!(refused, Err(StoreError::NotNext { .. })), "{refused:?}");
    let end = log.status(view.id).unwrap().end;
    let refused = log.append(view.id, end, &head, &sample::batch(end, 3)[1..]);
    assert!(matches!(refused, Err(StoreError::Refused { .. })), "{refused:?}");
    assert_eq!(log.status(view.id).unwrap().end, end, "what is refused leaves nothing");
    fill(log, &view, &[2]);
    let nobody = sample::view(9).id;
    assert!(matches!(log.status(nobody), Err(StoreError::NoView { .. })));
}

fn reading_begins_anywhere(store: &mut dyn Reopen<Log>) {
    let view = sample::view(1);
    let records = fill(store.port(), &view, &[4, 0, 1, 30, 0, 7]);
    for _ in 0..2 {
        let log = store.port();
        log.open(&view).unwrap();
        for (number, record) in records.iter().enumerate() {
            assert_eq!(all(log, &view, ReadFrom::After(record.point)), records[number + 1..]);
        }
        for revision in 1..=43 {
            let read = all(log, &view, ReadFrom::Revision(Revision(revision)));
            let ends = |record: &&StoredRecord| record.point.revision.0 >= revision;
            let first = records.iter().find(ends).map(|record| record.point);
            assert_eq!(read.first().map(|record| record.point), first, "revision {revision}");
        }
        let beyond = log.read(view.id, ReadFrom::Revision(Revision(44))).err();
        assert!(matches!(beyond, Some(StoreError::Unknown { .. })), "{beyond:?}");
        let beyond = LogPoint { record: 7, revision: Revision(42) };
        let beyond = log.read(view.id, ReadFrom::After(beyond)).err();
        assert!(matches!(beyond, Some(StoreError::Unknown { .. })), "{beyond:?}");
        store.reopen();
    }
}

fn views_do_not_touch_each_other(store: &mut dyn Reopen<Log>) {
    let views = [sample::view(1), sample::view(2), sample::view(3)];
    let mut records = [Vec::new(), Vec::new(), Vec::new()];
    for round in 0..4 {
        for (view, records) in views.iter().zip(&mut records) {
            records.extend(fill(store.port(), view, &[round, 2]));
        }
    }
    store.port().remove(views[1].id).unwrap();
    store.port().remove(views[1].id).unwrap();
    store.reopen();
    let mut known = store.port().views().unwrap();
    known.sort_by_key(|view| view.id);
    for number in [0, 2] {
        store.port().open(&views[number]).unwrap();
        assert_eq!(all(store.port(), &views[number], ReadFrom::Start), records[number]);
    }
    assert_eq!(known, [views[0].clone(), views[2].clone()]);
    assert_eq!(store.port().open(&views[1]).unwrap().end, LogPoint::default());
}

fn who_follows_gets_every_record_once(store: &mut dyn Reopen<Log>) {
    let (view, log) = (sample::view(1), store.port());
    let short = Duration::from_millis(10);
    let long = Duration::from_secs(600);
    log.open(&view).unwrap();
    let mut idle = log.follow(view.id, LogPoint::default()).unwrap();
    assert_eq!(idle.next(short).unwrap(), None, "nothing has come yet");
    let before = fill(log, &view, &[3, 0, 2]);
    let mut from_start = log.follow(view.id, LogPoint::default()).unwrap();
    let mut from_second = log.follow(view.id, before[1].point).unwrap();
    let after = std::thread::scope(|scope| {
        let filling = scope.spawn(|| fill(log, &view, &[1, 0, 30, 5]));
        let next = |follow: &mut dyn Follow| follow.next(long).unwrap().unwrap();
        let last: Vec<_> = (0..5).map(|_| next(&mut *from_second)).collect();
        let after = filling.join().unwrap();
        assert_eq!(last, [&before[2..], &after[..]].concat());
        after
    });
    for follow in [&mut idle, &mut from_start] {
        let mut read = Vec::new();
        while let Some(record) = follow.next(short).unwrap() {
            read.push(record);
        }
        assert_eq!(read, [&before[..], &after[..]].concat());
    }
    let beyond = LogPoint { record: 99, revision: Revision(99) };
    let beyond = log.follow(view.id, beyond).err();
    assert!(matches!(beyond, Some(StoreError::Unknown { .. })), "{beyond:?}");
    log.remove(view.id).unwrap();
    assert!(idle.next(long).is_err(), "there is no such log any more");
}

fn trimming_keeps_what_is_to_be_kept(store: &mut dyn Reopen<Log>) {
    let view = sample::view(1);
    let records = fill(store.port(), &view, &[50; 40]);
    let (now, end) = (ServerTime::MAX, records[39].point);
    let trim = |log: &Log, through, age, changes, bytes| {
        let keep = Retention { age: Duration::from_secs(age), changes, bytes };
        log.trim(view.id, through, &keep, now).unwrap()
    };
    let (all_changes, much) = (u64::MAX, u64::MAX);
    let log = store.port();
    for (through, age, changes) in
        [(LogPoint::default(), 0, 0), (end, u64::MAX, 0), (end, 0, all_changes)]
    {
        assert_eq!(trim(log, through, age, changes, much), LogPoint::default());
    }
    let start = trim(log, records[19].point, 0, 100, much);
    assert!(start <= records[19].point, "{start}");
    let start = trim(log, end, 0, 100, much);
    assert!(start <= records[37].point, "{start}");
    store.reopen();
    let log = store.port();
    assert_eq!(log.open(&view).unwrap().start, start);
    let kept: Vec<_> = records.iter().filter(|record| record.point > start).cloned().collect();
    assert_eq!(all(log, &view, ReadFrom::Start), kept);
    assert_eq!(all(log, &view, ReadFrom::After(start)), kept);
    if start > LogPoint::default() {
        let gone = log.read(view.id, ReadFrom::Revision(start.revision)).err();
        assert!(matches!(gone, Some(StoreError::Trimmed { .. })), "{gone:?}");
        let gone = log.read(view.id, ReadFrom::After(LogPoint::default())).err();
        assert!(matches!(gone, Some(StoreError::Trimmed { .. })), "{gone:?}");
    }
    let more = fill(log, &view, &[1]);
    assert_eq!(more[0].point.record, 41);
}

/// What watchers and `explain` do: begin with any revision that is kept, whenever the log was trimmed,
/// closed and appended to.
fn every_kept_revision_is_read_after_trims_and_restarts(store: &mut dyn Reopen<Log>) {
    let view = sample::view(1);
    let (mut records, mut starts) = (Vec::new(), Vec::new());
    for round in 0..4_u64 {
        records.extend(fill(store.port(), &view, &[20, 0, 1, 33, 5, 0, 12, 28, round, 30]));
        let through = records[records.len() - 4].point;
        let keep = Retention { age: Duration::ZERO, changes: 40, bytes: u64::MAX };
        let start = store.port().trim(view.id, through, &keep, ServerTime::MAX).unwrap();
        starts.push(start);
        store.reopen();
        let log = store.port();
        assert_eq!(log.open(&view).unwrap().start, start, "round {round}");
        check_every_revision(log, &view, &records, start);
    }
    assert!(starts[0] < starts[3], "something was trimmed: {starts:?}");
}

fn check_every_revision(log: &Log, view: &ViewRef, records: &[StoredRecord], start: LogPoint) {
    let end = records.last().unwrap().point;
    let kept: Vec<_> = records.iter().filter(|record| record.point > start).collect();
    for revision in 1..=end.revision.0 + 2 {
        let read = log.read(view.id, ReadFrom::Revision(Revision(revision)));
        match revision {
            gone if gone <= start.revision.0 => match read.err() {
                Some(StoreError::Trimmed { asked, first, .. }) => {
                    assert_eq!((asked.0, first.0), (revision, start.revision.0 + 1));
                }
                other => unreachable!("{other:?}"),
            },
            known if known <= end.revision.0 + 1 => {
                let read: Vec<_> = read.unwrap().collect::<Result<_, _>>().unwrap();
                let from = kept.iter().position(|record| record.point.revision.0 >= revision);
                let expected = from.map_or(&[][..], |from| &kept[from..]);
                assert!(read.iter().eq(expected.iter().copied()), "revision {revision}");
                let first = read.first().map_or(revision, |record| record.first().0);
                assert!(first <= revision, "{first} for {revision}");
            }
            _ => assert!(matches!(read.err(), Some(StoreError::Unknown { .. }))),
        }
    }
}
