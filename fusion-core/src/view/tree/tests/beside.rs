//! Readers beside the writer.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::view::read::{Needle, ViewReader};

const DIRS: u64 = 40;
const STAY: u64 = 60;

fn grown() -> TreeWriter {
    let mut tree = tree_of(&[("/", D)]);
    for dir in 0..DIRS {
        put(&mut tree, &format!("/d{dir:02}"), D, dir);
        for file in 0..STAY {
            put(&mut tree, &format!("/d{dir:02}/stay{file:02}"), F, file);
        }
    }
    tree
}

/// Creates, removes, renames and rewrites around the entries that stay.
fn disturb(tree: &mut TreeWriter, round: u64) {
    let dir = path(&format!("/d{:02}", round % DIRS));
    let dir = tree.dir(dir.as_ref()).unwrap();
    let root = tree.root().unwrap().block.unwrap();
    let name = format!("s{:03}", round * 7 % 500).into_bytes();
    if tree.detach(dir, &name, at(2)).is_none() {
        let _ = tree.put(dir, &name, &entry(F, round), at(2));
    }
    let _ = tree.put(dir, b"stay30", &entry(F, round), at(2));
    if let Some(gone) = tree.detach(root, b"come-and-go", at(2)) {
        let mut purge = gone.into_purge();
        assert!(tree.purge(&mut purge, 100));
    } else if let Ok(Put::Inserted(Some(new))) =
        tree.put(root, b"come-and-go", &entry(D, round), at(2))
    {
        let _ = tree.put(new, b"stay-not", &entry(F, 1), at(2));
    }
}

#[test]
fn what_stays_is_found_exactly_once() {
    let mut tree = grown();
    let reader = ViewReader::new(tree.share());
    let done = AtomicBool::new(false);
    let needle = Needle::new(b"stay").unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for budget in [1, 7, 100, 5000].into_iter().cycle().take(200) {
                let mut cursor = reader.find(crate::path::PathRef::ROOT).unwrap();
                let mut found = Vec::new();
                while !reader.find_next_with(
                    &mut cursor,
                    budget,
                    Some(&needle),
                    |name, stat| name.starts_with(b"stay") && name != b"stay-not" && stat.kind == F,
                    |path, _| found.push(path.to_vec()),
                ) {}
                assert_eq!(found.len() as u64, DIRS * STAY);
                assert!(found.is_sorted());
            }
            done.store(true, Ordering::Relaxed);
        });
        scope.spawn(|| {
            let dir = path("/d07");
            while !done.load(Ordering::Relaxed) {
                let (page, more) = reader.list(dir.as_ref(), None, 10_000).unwrap();
                assert!(!more && page.is_sorted_by(|a, b| a.name < b.name));
                let stay = page.iter().filter(|entry| entry.name.starts_with(b"stay"));
                assert_eq!(stay.count() as u64, STAY);
                let totals = reader.totals(crate::path::PathRef::ROOT).unwrap();
                assert!((DIRS..=DIRS + 1).contains(&totals.directories));
            }
        });
        let mut round = 0;
        while !done.load(Ordering::Relaxed) {
            disturb(&mut tree, round);
            round += 1;
        }
    });
    let root = tree.root().unwrap().block.unwrap();
    assert_eq!(tree.totals(root), tree.recount(root));
}

#[test]
fn a_find_goes_on_by_path_when_directories_change() {
    let mut tree =
        tree_of(&[("/", D), ("/a", D), ("/a/1", F), ("/a/2", F), ("/b", D), ("/b/3", F)]);
    let reader = ViewReader::new(tree.share());
    let root = tree.root().unwrap().block.unwrap();
    let mut cursor = reader.find(crate::path::PathRef::ROOT).unwrap();
    let mut seen = Vec::new();
    let mut step = |cursor: &mut _, budget| {
        reader.find_next(
            cursor,
            budget,
            |_, _| true,
            |path, info| {
                assert_eq!(info.totals.is_some(), info.stat.kind == D);
                seen.push(String::from_utf8_lossy(path).into_owned());
            },
        )
    };
    assert!(!step(&mut cursor, 2));
    // Another directory takes the path: the find goes on in it, after the same name.
    let old = tree.detach(root, b"a", at(2)).unwrap();
    put(&mut tree, "/a", D, 9);
    put(&mut tree, "/a/0", F, 9);
    put(&mut tree, "/a/5", F, 9);
    let mut purge = old.into_purge();
    tree.purge(&mut purge, 10);
    assert!(!step(&mut cursor, 1));
    // It goes altogether: the find goes on above.
    let _ = tree.detach(root, b"a", at(3)).unwrap();
    assert!(step(&mut cursor, 100));
    assert_eq!(seen, ["/a", "/a/1", "/a/5", "/b", "/b/3"]);
}

#[test]
fn reading_what_is_not_there() {
    use crate::view::read::ReadError;
    let tree = tree_of(&[("/", D), ("/f", F)]);
    let reader = ViewReader::new(tree.share());
    let (file, none) = (path("/f"), path("/g"));
    assert_eq!(reader.list(file.as_ref(), None, 9).unwrap_err(), ReadError::NotADirectory);
    assert_eq!(reader.list(none.as_ref(), None, 9).unwrap_err(), ReadError::NotFound);
    assert_eq!(reader.totals(file.as_ref()), Ok(Default::default()));
    assert_eq!(reader.totals(none.as_ref()), Err(ReadError::NotFound));
    assert!(reader.find(none.as_ref()).is_err());
    let mut cursor = reader.find(file.as_ref()).unwrap();
    assert!(reader.find_next(&mut cursor, 1, |_, _| true, |_, _| panic!("nothing is below")));
    let (page, more) = reader.list(crate::path::PathRef::ROOT, None, 0).unwrap();
    assert!(page.is_empty() && more);
}
