//! Directories of many pages.

use super::*;
use crate::evidence::ChildColumns;

const MILLION: u64 = 1_000_000;

fn name(number: u64) -> Vec<u8> {
    format!("file-{number:07}").into_bytes()
}

/// Numbers in an order that jumps about and visits each of `count` (a power of two) once.
fn shuffled(count: u64) -> impl Iterator<Item = u64> {
    (0..count).map(move |number| number.wrapping_mul(0x9E37_79B1) % count)
}

fn root_of(tree: &TreeWriter) -> BlockId {
    tree.root().unwrap().block.unwrap()
}

fn names(tree: &Tree, dir: BlockId) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    tree.children(dir, None, usize::MAX, |name, _| all.push(name.to_vec())).unwrap();
    all
}

/// Lays the numbers over the root in parts of 1,000, the way that listings come.
fn list(tree: &mut TreeWriter, numbers: &[u64], seen: i64) -> (usize, usize, usize) {
    let root = root_of(tree);
    let mut sums = (0, 0, 0);
    let mut after: Option<Vec<u8>> = None;
    let parts = numbers.chunks(1000);
    let count = parts.len();
    for (part, rows) in parts.enumerate() {
        let mut listing = ChildColumns::default();
        rows.iter().for_each(|&number| listing.push(&name(number), &stat(F, number)));
        let through = name(rows[rows.len() - 1]);
        let last = part + 1 == count;
        let range = NameRange { after: after.as_deref(), through: (!last).then_some(&*through) };
        let decide = |case: MergeCase<'_>| match case {
            MergeCase::Missing { .. } => MergeAction::Remove,
            MergeCase::New { .. } | MergeCase::Known { .. } => MergeAction::Take(Flags::NONE),
        };
        let rows = listing.as_children();
        let merged = tree.merge(root, &rows, range, version(seen), at(seen), decide).unwrap();
        assert_eq!(merged.refused, 0);
        sums.0 += merged.inserted;
        sums.1 += merged.updated;
        sums.2 += merged.taken_out.len();
        after = Some(through);
    }
    sums
}

#[test]
fn a_million_children_by_listings_and_one_by_one() {
    let mut tree = tree_of(&[("/", D)]);
    let root = root_of(&tree);
    let all: Vec<u64> = (0..MILLION).collect();
    assert_eq!(list(&mut tree, &all, 1), (1_000_000, 0, 0));
    assert_eq!(list(&mut tree, &all, 2), (0, 0, 0));
    assert_eq!(tree.child(root, &name(777_777)).unwrap().seen_in, Some(version(2)));
    let odd: Vec<u64> = (0..MILLION).filter(|number| number % 3 != 0).collect();
    assert_eq!(list(&mut tree, &odd, 3), (0, 0, 333_334));
    assert_eq!(tree.totals(root), tree.recount(root));
    for number in shuffled(1 << 20).filter(|number| number % 3 == 0 && *number < MILLION) {
        let put = tree.put(root, &name(number), &entry(F, number), at(4)).unwrap();
        assert!(matches!(put, Put::Inserted(None)));
    }
    assert_eq!(tree.totals(root), tree.recount(root));
    assert!(names(&tree, root).iter().enumerate().all(|(n, found)| *found == name(n as u64)));
    for number in shuffled(1 << 20).filter(|number| *number < MILLION) {
        assert!(tree.detach(root, &name(number), at(5)).is_some());
    }
    assert_eq!(tree.totals(root).unwrap().files, 0);
    assert!(names(&tree, root).is_empty());
}

#[test]
fn long_names_fill_a_page_before_rows_do() {
    let mut tree = tree_of(&[("/", D)]);
    let root = root_of(&tree);
    let long = |number: u64| {
        let mut name = name(number);
        name.resize(if number % 7 < 5 { 255 } else { 12 }, b'x');
        name
    };
    for number in shuffled(1 << 12) {
        tree.put(root, &long(number), &entry(F, number), at(1)).unwrap();
    }
    let wanted: Vec<_> = (0..1 << 12).map(long).collect();
    assert_eq!(names(&tree, root), wanted);
    let mut listing = ChildColumns::default();
    wanted.iter().for_each(|name| listing.push(name, &stat(F, 1)));
    let take = |_: MergeCase<'_>| MergeAction::Replace(Flags::NONE);
    let rows = listing.as_children();
    let merged = tree.merge(root, &rows, NameRange::ALL, version(1), at(2), take).unwrap();
    assert_eq!((merged.inserted, merged.taken_out.len()), (1 << 12, 1 << 12));
    assert_eq!(names(&tree, root), wanted);
    assert_eq!(tree.totals(root), tree.recount(root));
    for name in &wanted {
        assert!(tree.detach(root, name, at(3)).is_some());
    }
    assert_eq!(names(&tree, root).len(), 0);
}

#[test]
fn directories_of_many_pages_keep_their_links() {
    let mut tree = tree_of(&[("/", D)]);
    let root = root_of(&tree);
    for number in shuffled(1 << 13) {
        tree.put(root, &name(number), &entry(D, number), at(1)).unwrap();
        let dir = tree.child(root, &name(number)).unwrap().block.unwrap();
        tree.put(dir, b"x", &entry(F, number), at(1)).unwrap();
    }
    for number in shuffled(1 << 13).filter(|number| number % 2 == 0) {
        let purge = tree.detach(root, &name(number), at(2)).unwrap().into_purge();
        let mut purge = purge;
        assert!(tree.purge(&mut purge, 10));
    }
    for number in (1..1 << 13).step_by(2) {
        let dir = tree.child(root, &name(number)).unwrap().block.unwrap();
        assert_eq!(tree.slot_of(dir), Some((root, name(number).into())));
        assert_eq!(tree.totals(dir).unwrap().bytes, number);
    }
    assert_eq!(tree.totals(root), tree.recount(root));
    let memory = tree.memory();
    assert_eq!((memory.entries, memory.directories), ((1 << 13) + 1, (1 << 12) + 1));
}

#[test]
fn rows_that_break_the_order_are_passed_over() {
    let mut tree = tree_of(&[("/", D)]);
    let root = root_of(&tree);
    let mut listing = ChildColumns::default();
    for name in ["b", "a", "c", "c", "d", "z"] {
        listing.push(name.as_bytes(), &stat(F, 1));
    }
    let range = NameRange { after: Some(b"a"), through: Some(b"x") };
    let take = |_: MergeCase<'_>| MergeAction::Take(Flags::NONE);
    let rows = listing.as_children();
    let merged = tree.merge(root, &rows, range, version(1), at(2), take).unwrap();
    assert_eq!((merged.inserted, merged.refused), (3, 3));
    assert_eq!(names(&tree, root), [b"b", b"c", b"d"]);
}
