//! Checkpoints: what they cost, what they bear, and what is refused when one is loaded.

#[path = "tests/corrupt.rs"]
mod corrupt;
#[path = "tests/rig.rs"]
mod rig;

use std::sync::atomic::{AtomicBool, Ordering};

use super::kept::{Kept, Taking};
use super::{ImageContent, Overrun, Table};
use crate::view::ViewSettings;
use rig::Rig;

/// How many whole blocks and how many heads.
fn counts(taking: &Taking) -> (usize, usize) {
    let whole = |content: &ImageContent| matches!(content, ImageContent::Whole(..));
    let wholes = taking.images.iter().filter(|image| whole(&image.content)).count();
    (wholes, taking.images.len() - wholes)
}

#[test]
fn it_has_what_changed_and_nothing_else() {
    let mut rig = Rig::with(20, 10);
    let mut kept = Kept::default();
    rig.keep(&mut kept);
    let mut taking = rig.begin();
    while taking.step().unwrap() {}
    assert_eq!(counts(&taking), (0, 0));
    assert_eq!(taking.ledger.as_ref().unwrap().changed(), []);
    taking.keep(&mut kept, &mut rig.view).unwrap();

    rig.upsert("/d3/f5", 9);
    let mut taking = rig.begin();
    while taking.step().unwrap() {}
    // The directory, and the totals of the root and of the anchor above it.
    assert_eq!(counts(&taking), (1, 2));
    assert_eq!(taking.ledger.as_ref().unwrap().changed(), [Table::Clock, Table::Confirmed]);
    taking.keep(&mut kept, &mut rig.view).unwrap();
    rig.check(&kept);
}

#[test]
fn what_was_given_up_is_in_the_next() {
    let mut rig = Rig::with(5, 4);
    let mut kept = Kept::default();
    let mut taking = rig.begin();
    assert!(taking.step().unwrap());
    assert!(Taking::begin(&mut rig.view, usize::MAX).is_none(), "one runs");
    drop(taking);
    rig.upsert("/d1/f1", 9);
    drop(rig.begin());
    rig.keep(&mut kept);
    rig.check(&kept);
}

/// What a server writes that takes a view over: it was loaded, and kept up by replay.
#[test]
fn a_whole_one_has_all_whatever_was_stored() {
    let mut rig = Rig::with(20, 10);
    let mut kept = Kept::default();
    rig.keep(&mut kept);
    let mut other = kept.load(ViewSettings::default()).unwrap();
    rig.upsert("/d3/f5", 9);
    rig.remove("/d7");
    rig.changes_after(kept.revision()).for_each(|change| other.replay(change));
    let mut anew = Kept::default();
    let mut taking = Taking::begin_whole(&mut other, usize::MAX).unwrap();
    assert!(taking.step().unwrap());
    // What changes meanwhile belongs in the next.
    let (before, through) = (rig.view.dump(), rig.view.revision());
    rig.upsert("/d19/f5", 11);
    rig.changes_after(through).for_each(|change| other.replay(change));
    taking.keep(&mut anew, &mut other).unwrap();
    assert_eq!(anew.load(ViewSettings::default()).unwrap().dump(), before);
    let mut next = Taking::begin(&mut other, usize::MAX).unwrap();
    while next.step().unwrap() {}
    assert_eq!(counts(&next), (1, 2), "it is one like any other to those after it");
    next.keep(&mut anew, &mut other).unwrap();
    assert_eq!(anew.load(ViewSettings::default()).unwrap().dump(), rig.view.dump());
}

#[test]
fn a_receipt_of_another_view_is_refused() {
    let (mut rig, mut other) = (Rig::with(2, 2), Rig::with(2, 2));
    let mut checkpoint = other.view.begin_checkpoint(usize::MAX).unwrap();
    while checkpoint.next_block().unwrap().is_some() {}
    let taking = rig.begin();
    assert!(!rig.view.end_checkpoint(checkpoint.stored().unwrap()));
    taking.keep(&mut Kept::default(), &mut rig.view).unwrap();
}

#[test]
fn it_is_not_stored_before_it_was_taken() {
    let mut rig = Rig::with(2, 2);
    let checkpoint = rig.view.begin_checkpoint(usize::MAX).unwrap();
    assert_eq!(checkpoint.stored().err(), Some(Overrun));
}

#[test]
fn a_writer_that_has_to_copy_too_much_gives_it_up() {
    let mut rig = Rig::with(5, 4);
    let mut taking = Taking::begin(&mut rig.view, 0).unwrap();
    rig.upsert("/d1/f1", 9);
    assert_eq!(taking.step(), Err(Overrun));
    assert_eq!(rig.view.checkpoint_backlog(), 0);
    let mut kept = Kept::default();
    rig.keep(&mut kept);
    rig.check(&kept);
}

/// The acts that touch many blocks at once, between begin and end.
#[test]
fn it_stands_still_while_subtrees_move_go_and_come_back() {
    for act in 0..6 {
        for steps in 0..12 {
            let mut rig = Rig::with(3, 3);
            let mut kept = Kept::default();
            rig.keep(&mut kept);
            rig.remove("/d2");
            rig.upsert("/d0/f1", 5);
            let before = rig.view.dump();
            let mut taking = rig.begin();
            for _ in 0..steps {
                taking.step().unwrap();
            }
            match act {
                0 => rig.rename("/d0", "/d1/moved"),
                1 => rig.remove("/d0"),
                2 => rig.restore_first(),
                3 => rig.purge_first(),
                4 => rig.reset(),
                _ => rig.list("/d1", 600, 7),
            }
            rig.tick();
            taking.keep(&mut kept, &mut rig.view).unwrap();
            let loaded = kept.load(ViewSettings::default()).unwrap();
            assert_eq!(loaded.dump(), before, "act {act} after {steps} steps");
            rig.check(&kept);
            rig.keep(&mut kept);
            rig.check(&kept);
        }
    }
}

#[test]
fn slots_of_what_was_purged_are_used_again_under_other_ids() {
    let mut rig = Rig::with(3, 3);
    let mut kept = Kept::default();
    let old = rig.block("/d1");
    rig.remove("/d1");
    rig.purge_first();
    rig.tick();
    rig.keep(&mut kept);
    let mut again = rig.restarted(&kept);
    again.list("/d2/new", 1, 3);
    let new = again.block("/d2/new");
    assert_eq!(new.slot(), old.slot(), "a slot that is free is used again");
    assert_ne!(new, old);
    again.keep(&mut kept);
    again.check(&kept);
}

/// A writer that never rests, a flusher on another thread, and readers that look for newest mtimes.
#[test]
fn it_is_taken_beside_writer_and_readers() {
    let mut rig = Rig::with(60, 30);
    let mut kept = Kept::default();
    for round in 0..12 {
        let before = rig.view.dump();
        let mut taking = rig.begin();
        let (done, reader) = (AtomicBool::new(false), rig.view.reader());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while taking.step().unwrap() {}
                done.store(true, Ordering::Release);
            });
            scope.spawn(|| {
                while !done.load(Ordering::Acquire) {
                    let _ = reader.totals(crate::path::PathRef::ROOT);
                }
            });
            let mut number = round;
            let mut time = i64::from(round) * 1_000_000;
            while !done.load(Ordering::Acquire) {
                number = (number * 7 + 3) % 60;
                time += 1;
                rig.upsert(&format!("/d{number}/f{}", number % 30), 10 + time);
                if number % 9 == 0 {
                    rig.list(&format!("/d{number}"), 30, 10 + time);
                }
            }
        });
        taking.keep(&mut kept, &mut rig.view).unwrap();
        assert_eq!(kept.load(ViewSettings::default()).unwrap().dump(), before);
    }
    rig.check(&kept);
}
