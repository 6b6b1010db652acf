//! What blocks must do.

use std::collections::BTreeMap;

use fusion_core::id::Revision;

use super::Reopen;
use crate::error::StoreError;
use crate::ports::{BlockId, Blocks, CheckpointWriter, Loaded, LogPoint, ViewRef};
use crate::sample;

type Port = dyn Blocks;

/// What was loaded: blocks and named values.
type Contents = (BTreeMap<BlockId, Vec<u8>>, BTreeMap<String, Vec<u8>>);

/// Everything that is asked of blocks. `make` makes an empty store.
///
/// # Panics
/// They do not conform.
pub fn blocks(make: &mut dyn FnMut() -> Box<dyn Reopen<Port>>) {
    checkpoints_add_up(&mut *make());
    a_checkpoint_counts_whole_or_not_at_all(&mut *make());
    a_checkpoint_follows_the_last_one(&mut *make());
    compacting_changes_nothing(&mut *make());
    views_are_apart(&mut *make());
}

fn point(record: u64) -> LogPoint {
    LogPoint { record, revision: Revision(3 * record) }
}

fn load(blocks: &Port, view: &ViewRef) -> (Option<LogPoint>, Contents) {
    let mut contents = Contents::default();
    let contains = blocks.load(view.id, &mut |part| {
        let again = match part {
            Loaded::Block(id, bytes) => contents.0.insert(id, bytes.to_vec()),
            Loaded::Named(name, bytes) => contents.1.insert(name.to_owned(), bytes.to_vec()),
        };
        assert_eq!(again, None, "each is handed out once");
        Ok(())
    });
    let contains = contains.unwrap();
    assert_eq!(blocks.contains(view.id).unwrap(), contains);
    let figures = blocks.figures(view.id).unwrap();
    assert_eq!(figures.values as usize, contents.0.len() + contents.1.len());
    (contains, contents)
}

fn put(writer: &mut dyn CheckpointWriter, kept: &mut Contents, id: u64, text: &str) {
    writer.put(BlockId(id), text.as_bytes()).unwrap();
    kept.0.insert(BlockId(id), text.as_bytes().to_vec());
}

fn checkpoints_add_up(store: &mut dyn Reopen<Port>) {
    let view = sample::view(1);
    let mut kept = Contents::default();
    assert_eq!(load(store.port(), &view), (None, Contents::default()));
    for round in 0..6_u64 {
        let mut writer = store.port().begin(&view, point(round)).unwrap();
        for id in 0..20 {
            put(&mut *writer, &mut kept, id * (round + 1), &format!("{round}:{id}"));
        }
        put(&mut *writer, &mut kept, u64::MAX, "");
        writer.delete(BlockId(round)).unwrap();
        writer.delete(BlockId(1_000_000)).unwrap();
        kept.0.remove(&BlockId(round));
        writer.put_named("ledger", &[round as u8; 3000]).unwrap();
        writer.put_named(&format!("n{}", round % 3), b"x").unwrap();
        kept.1.insert("ledger".to_owned(), vec![round as u8; 3000]);
        kept.1.insert(format!("n{}", round % 3), b"x".to_vec());
        assert!(matches!(writer.put_named("", b""), Err(StoreError::Refused { .. })));
        writer.commit().unwrap();
        assert_eq!(load(store.port(), &view), (Some(point(round)), kept.clone()));
        store.reopen();
        assert_eq!(load(store.port(), &view), (Some(point(round)), kept.clone()));
    }
    let mut writer = store.port().begin(&view, point(9)).unwrap();
    writer.put(BlockId(1), b"before").unwrap();
    writer.clear().unwrap();
    writer.put(BlockId(2), b"after").unwrap();
    writer.commit().unwrap();
    store.reopen();
    let only = (BTreeMap::from([(BlockId(2), b"after".to_vec())]), BTreeMap::new());
    assert_eq!(load(store.port(), &view), (Some(point(9)), only));
}

fn a_checkpoint_counts_whole_or_not_at_all(store: &mut dyn Reopen<Port>) {
    let view = sample::view(1);
    for first in [true, false] {
        let mut writer = store.port().begin(&view, point(7)).unwrap();
        writer.put(BlockId(1), b"never").unwrap();
        writer.put_named("name", b"never").unwrap();
        writer.delete(BlockId(2)).unwrap();
        drop(writer);
        for _ in 0..2 {
            let (contains, contents) = load(store.port(), &view);
            assert_eq!(contains, (!first).then(|| point(1)));
            assert_eq!(contents.0.len(), usize::from(!first));
            store.reopen();
        }
        let mut writer = store.port().begin(&view, point(1)).unwrap();
        writer.put(BlockId(2), b"kept").unwrap();
        writer.commit().unwrap();
    }
    let failed = store.port().load(view.id, &mut |_| Err(StoreError::Closed));
    assert!(matches!(failed, Err(StoreError::Closed)), "who loads can stop it");
}

fn a_checkpoint_follows_the_last_one(store: &mut dyn Reopen<Port>) {
    let view = sample::view(1);
    let write = |blocks: &Port, number: u64, last: Option<u64>| {
        let mut writer = blocks.begin(&view, point(number))?;
        writer.follows(last.map(point))?;
        writer.put(BlockId(number), b"put")?;
        writer.commit()
    };
    let refused = |written: Result<(), StoreError>, found: Option<u64>| match written {
        Err(StoreError::Overtaken { found: last, .. }) => assert_eq!(last, found.map(point)),
        other => unreachable!("{other:?}"),
    };
    refused(write(store.port(), 2, Some(1)), None);
    write(store.port(), 2, None).unwrap();
    store.reopen();
    refused(write(store.port(), 3, None), Some(2));
    refused(write(store.port(), 3, Some(1)), Some(2));
    write(store.port(), 3, Some(2)).unwrap();
    // Two at once: the second one is not begun, or the first one to be committed counts.
    let mut slow = store.port().begin(&view, point(4)).unwrap();
    slow.follows(Some(point(3))).unwrap();
    slow.put(BlockId(4), b"put").unwrap();
    match write(store.port(), 5, Some(3)) {
        Ok(()) => refused(slow.commit(), Some(5)),
        Err(_) => slow.commit().unwrap(),
    }
    let (contains, contents) = load(store.port(), &view);
    let last = contains.unwrap().record;
    let expected: Vec<_> = [2, 3, last].map(BlockId).into();
    assert_eq!(contents.0.into_keys().collect::<Vec<_>>(), expected);
}

fn compacting_changes_nothing(store: &mut dyn Reopen<Port>) {
    let view = sample::view(1);
    let mut kept = Contents::default();
    for round in 0..30_u64 {
        let mut writer = store.port().begin(&view, point(round)).unwrap();
        for id in 0..10 {
            let id = if id < 8 { id } else { round * 10 + id };
            put(&mut *writer, &mut kept, id, &format!("{round} {}", "y".repeat(2000)));
        }
        writer.delete(BlockId(round * 5 + 8)).unwrap();
        kept.0.remove(&BlockId(round * 5 + 8));
        writer.commit().unwrap();
    }
    let before = store.port().figures(view.id).unwrap();
    store.port().compact(view.id).unwrap();
    let after = store.port().figures(view.id).unwrap();
    assert_eq!((after.values, after.live_bytes), (before.values, before.live_bytes));
    assert!(after.stored_bytes <= before.stored_bytes, "{before:?} {after:?}");
    assert!(after.stored_bytes < after.live_bytes * 2, "{after:?}");
    for _ in 0..2 {
        assert_eq!(load(store.port(), &view), (Some(point(29)), kept.clone()));
        store.reopen();
    }
}

fn views_are_apart(store: &mut dyn Reopen<Port>) {
    let views = [sample::view(1), sample::view(2)];
    for view in &views {
        let mut writer = store.port().begin(view, point(1)).unwrap();
        writer.put(BlockId(1), view.name.as_str().as_bytes()).unwrap();
        writer.commit().unwrap();
    }
    store.reopen();
    let mut known = store.port().views().unwrap();
    known.sort_by_key(|view| view.id);
    assert_eq!(known, views);
    store.port().remove(views[0].id).unwrap();
    store.port().remove(views[0].id).unwrap();
    store.reopen();
    assert_eq!(load(store.port(), &views[0]).0, None);
    assert_eq!(load(store.port(), &views[1]).1.0[&BlockId(1)], b"view-2");
}
