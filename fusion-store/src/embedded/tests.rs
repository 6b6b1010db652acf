//! A whole data directory as the first version wrote it, the engine's file included: it is opened,
//! read and gone on with. `tests/golden/directory-1` stays; what is written otherwise one day is added
//! beside it.

use std::path::Path;

use fusion_core::time::ServerTime;
use uuid::Uuid;

use super::*;
use crate::ports::{
    BlockId, Blocks as _, ChangeLog as _, Loaded, LogPoint, ReadFrom, Space, State as _,
    StoredRecord,
};
use crate::sample;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/directory-1");
const SERVER: Uuid = Uuid::from_u64_pair(1, 2);
const NOW: ServerTime = ServerTime::from_nanos(0);

fn open(dir: &Path) -> Store {
    let options = StoreOptions {
        new_server: Uuid::from_u64_pair(9, 9),
        server: Some(SERVER),
        owner: "a test".to_owned(),
        log: LogSettings { segment_bytes: 3_000 },
        blocks: BlocksSettings::default(),
    };
    Store::open(dir, &options).unwrap()
}

/// Kinds of records that the first version knew; later ones come after them.
const KINDS: usize = 11;

/// The records, one after the other.
fn records() -> Vec<StoredRecord> {
    let (mut records, mut after) = (Vec::new(), LogPoint::default());
    for (number, head) in sample::heads().into_iter().take(KINDS).enumerate() {
        let changes = match number {
            0 => sample::numbered(after, sample::kinds_of(1)),
            number => sample::batch(after, number as u64 % 4),
        };
        let width = changes.iter().map(fusion_core::change::Change::width).sum();
        after = after.after(width);
        records.push(StoredRecord { point: after, head, changes });
    }
    records
}

/// Writes the first half of the records, a checkpoint, and the second half.
fn write(dir: &Path) {
    std::fs::write(dir.join("fusion-store"), format!("fusion-store 1\nserver {SERVER}\n")).unwrap();
    let (store, view, mut after) = (open(dir), sample::view(1), LogPoint::default());
    store.log().open(&view).unwrap();
    let records = records();
    for (number, record) in records.iter().enumerate() {
        if number == records.len() / 2 {
            for round in 1..=2_u8 {
                let mut writer = store.blocks().begin(&view, after).unwrap();
                writer.put(BlockId(u64::from(round)), &[round; 50]).unwrap();
                writer.put(BlockId(9), &[round; 70]).unwrap();
                writer.put_named("table", &[round]).unwrap();
                writer.commit().unwrap();
            }
        }
        let log = store.log();
        let ticket = log.append(view.id, after, &record.head, &record.changes).unwrap();
        after = ticket.wait().unwrap();
    }
    for space in Space::ALL {
        let (key, value) = (space.as_str().as_bytes(), [space as u8; 30]);
        store.state().put(space, key, &value, None).unwrap();
        let expires = Some(ServerTime::from_nanos(5));
        store.state().put(space, b"short", &value, expires).unwrap();
    }
    store.state().compact().unwrap();
}

/// Reads everything; where the log ends.
fn check(store: &Store) -> LogPoint {
    let (view, records) = (sample::view(1), records());
    assert_eq!(store.log().views().unwrap(), std::slice::from_ref(&view));
    let opened = store.log().open(&view).unwrap();
    assert_eq!((opened.start, opened.cut), (LogPoint::default(), None));
    let read = store.log().read(view.id, ReadFrom::Start).unwrap();
    let read: Vec<_> = read.map(Result::unwrap).collect();
    assert!(read[..records.len()] == records, "the records");
    let mut values = Vec::new();
    let contains = store.blocks().load(view.id, &mut |part| {
        values.push(match part {
            Loaded::Block(id, bytes) => (id.0.to_string(), bytes.to_vec()),
            Loaded::Named(name, bytes) => (name.to_owned(), bytes.to_vec()),
        });
        Ok(())
    });
    assert_eq!(contains.unwrap(), Some(records[records.len() / 2 - 1].point));
    values.sort();
    let named = |name: &str, value: u8, count| (name.to_owned(), vec![value; count]);
    let expected = [named("1", 1, 50), named("2", 2, 50), named("9", 2, 70), named("table", 2, 1)];
    assert_eq!(values, expected);
    for space in Space::ALL {
        let item = store.state().get(space, space.as_str().as_bytes(), NOW).unwrap().unwrap();
        assert_eq!((item.value, item.expires_at), (vec![space as u8; 30], None));
        let short = store.state().get(space, b"short", NOW).unwrap().unwrap();
        assert_eq!(short.expires_at, Some(ServerTime::from_nanos(5)));
        assert_eq!(store.state().get(space, b"short", ServerTime::from_nanos(5)).unwrap(), None);
    }
    opened.end
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(std::fs::copy(entry.path(), to).unwrap()),
        }
    }
}

#[test]
fn a_directory_of_version_1_is_read_and_gone_on_with() {
    let dir = tempfile::tempdir().unwrap();
    copy(Path::new(GOLDEN), dir.path());
    for number in 0..3 {
        let (store, view) = (open(dir.path()), sample::view(1));
        let end = check(&store);
        assert_eq!(end.record, records().len() as u64 + number, "what was appended since");
        let head = sample::full_head();
        store.log().append(view.id, end, &head, &[]).unwrap().wait().unwrap();
        assert_eq!(store.state().expire(ServerTime::from_nanos(4), 9).unwrap(), 0);
        store.state().put(Space::Job, &number.to_le_bytes(), b"new", None).unwrap();
    }
}

#[test]
fn a_directory_of_today_is_the_same() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path());
    check(&open(dir.path()));
}
