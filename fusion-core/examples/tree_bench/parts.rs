//! The tree itself.

use fusion_core::path::{PathRef, TreePath};
use fusion_core::stat::Kind;
use fusion_core::view::ViewReader;
use fusion_core::view::tree::{BlockId, Entry, Flags, Needle, TreeWriter};

use super::tools::{Begin, Dice, Shape, Watch, entry, line, name, now, rate, resident, stat};

fn memory(what: &str, tree: &TreeWriter, before: usize, target: &str) {
    let after = resident();
    let memory = tree.memory();
    let counted = memory.total() as f64 / memory.entries as f64;
    let system = (after - before) as f64 / memory.entries as f64;
    line(what, &format!("{counted:.1} / {system:.1} B"), target);
}

/// 250 entries per directory.
pub(crate) fn wide(entries: usize) {
    let label = format!("{} M entries", entries / 1_000_000);
    let shape = Shape { entries, per_dir: 250 };
    let before = resident();
    let mut tree = TreeWriter::new();
    let mut blocks = shape.frame(&mut tree);
    let time = shape.list(&mut tree, &blocks, 0);
    line(&format!("{label}: listing rows, all new"), &rate(entries, time), ">= 12 M/s");
    let held = blocks.capacity() * size_of::<BlockId>();
    memory(
        &format!("{label}: memory per entry, 250 per directory (counted / rss)"),
        &tree,
        before + held,
        "<= 72 B",
    );
    let time = shape.list(&mut tree, &blocks, 0);
    line(&format!("{label}: listing rows, nothing changed"), &rate(entries, time), ">= 12 M/s");
    let time = shape.list(&mut tree, &blocks, 1);
    line(&format!("{label}: listing rows, every stat changed"), &rate(entries, time), ">= 12 M/s");
    blocks = Vec::new();
    drop(blocks);
    finds(&label, &tree, entries);
    totals(&label, &tree);
    if entries >= 2_000_000 {
        moves(&label, &shape, &mut tree);
    }
}

fn finds(label: &str, tree: &TreeWriter, entries: usize) {
    let reader = ViewReader::new(tree.share());
    let one_in = [("*7777*", &b"7777"[..]), ("*.dat (none)", b".dat"), ("file-* (all)", b"file-")];
    for (glob, literal) in one_in {
        let needle = Needle::new(literal).unwrap();
        let mut cursor = reader.find(PathRef::ROOT).unwrap();
        let (mut found, mut first) = (0, None);
        let begin = Begin::now();
        while !reader.find_next_with(
            &mut cursor,
            100_000,
            Some(&needle),
            |_, _| true,
            |_, _| {
                first.get_or_insert_with(|| begin.elapsed());
                found += 1;
            },
        ) {}
        let rate = rate(entries, begin.elapsed());
        line(&format!("{label}: find {glob}: {found} found"), &rate, ">= 60 M/s scanned");
    }
    let mut cursor = reader.find(PathRef::ROOT).unwrap();
    let mut large = 0;
    let begin = Begin::now();
    while !reader.find_next(&mut cursor, 100_000, |_, stat| stat.size > 1 << 40, |_, _| large += 1)
    {
    }
    line(
        &format!("{label}: find by a predicate over all: {large}"),
        &rate(entries, begin.elapsed()),
        "",
    );
}

fn totals(label: &str, tree: &TreeWriter) {
    let reader = ViewReader::new(tree.share());
    let begin = Begin::now();
    for _ in 0..100_000 {
        std::hint::black_box(reader.totals(PathRef::ROOT).unwrap());
    }
    let each = begin.elapsed().as_nanos() / 100_000;
    line(&format!("{label}: totals of the root"), &format!("{each} ns"), "O(1)");
}

fn moves(label: &str, shape: &Shape, tree: &mut TreeWriter) {
    let root = tree.root().unwrap().block.unwrap();
    let directory = |number| Entry {
        stat: stat(Kind::Directory, number, 0),
        flags: Flags::NONE,
        seen_in: None,
    };
    tree.put(root, b"big", &directory(1), now(2)).unwrap();
    let big = tree.child(root, b"big").unwrap().block.unwrap();
    for group in 0..20 {
        let name = format!("group-{group:07}");
        let name = name.as_bytes();
        tree.rename((root, name), (big, name), &directory(2), now(2)).unwrap();
    }
    let totals = tree.totals(big).unwrap();
    let mut worst = 0;
    for turn in 0..100 {
        let names = [&b"big"[..], b"moved"];
        let (from, to) = (names[turn % 2], names[(turn + 1) % 2]);
        let begin = std::time::Instant::now();
        tree.rename((root, from), (root, to), &directory(3), now(3)).unwrap();
        worst = worst.max(begin.elapsed().as_nanos());
    }
    let files = totals.files;
    line(
        &format!("{label}: move of {files} files, worst of 100"),
        &format!("{} us", worst / 1000),
        "<= 1 ms",
    );
    let mut purge = tree.detach(root, b"big", now(4)).unwrap().into_purge();
    let begin = std::time::Instant::now();
    while !tree.purge(&mut purge, 10_000) {}
    let purged = rate(files as usize, begin.elapsed());
    line(&format!("{label}: purge of them"), &purged, "");
    std::hint::black_box(shape.entries);
}

/// Upserts at random paths: one at a time, and with a batch brought near.
pub(crate) fn random(entries: usize) {
    let label = format!("{} M entries", entries / 1_000_000);
    let shape = Shape { entries, per_dir: 250 };
    let mut tree = TreeWriter::new();
    let blocks = shape.frame(&mut tree);
    shape.list(&mut tree, &blocks, 0);
    let mut dice = Dice(88_172_645_463_325_252);
    for (what, warm) in [("one by one", false), ("in batches of 256, warmed", true)] {
        let (mut watch, rounds) = (Watch::default(), 40);
        for round in 1..=rounds {
            let rows: Vec<(TreePath, Entry)> = (0..50_000)
                .map(|_| dice.below(entries))
                .map(|number| (shape.path(number), entry(number, round)))
                .collect();
            watch.time(|| rows.chunks(256).for_each(|rows| upsert(&mut tree, rows, warm, round)));
        }
        let rate = rate(rounds * 50_000, watch.0);
        line(&format!("{label}: upserts at random paths, {what}"), &rate, ">= 1.5 M/s");
    }
    let (mut watch, rounds) = (Watch::default(), 10);
    for round in 1..=rounds {
        let rows: Vec<(TreePath, Entry)> = (0..50_000)
            .map(|_| dice.below(entries))
            .map(|number| {
                let path = shape.path(number);
                let name = format!("{}-{round}", name(number));
                let parent = path.as_ref().split_last().unwrap().0.to_owned();
                (parent.join(name.as_bytes()).unwrap(), entry(number, round))
            })
            .collect();
        watch.time(|| rows.chunks(256).for_each(|rows| upsert(&mut tree, rows, true, round)));
    }
    line(&format!("{label}: inserts at random paths, warmed"), &rate(rounds * 50_000, watch.0), "");
    let root = tree.root().unwrap().block.unwrap();
    assert_eq!(tree.totals(root), tree.recount(root));
}

/// What realtime evidence does: find the directory, look, decide, put.
fn upsert(tree: &mut TreeWriter, batch: &[(TreePath, Entry)], warm: bool, round: usize) {
    if warm {
        tree.warm(batch.iter().map(|(path, _)| path.as_ref()), |_, _| {});
    }
    for (path, entry) in batch {
        let Some((dir, name)) = tree.slot(path.as_ref()) else { continue };
        let known = tree.child(dir, name);
        if known.is_none_or(|known| known.stat != entry.stat) {
            let _ = std::hint::black_box(tree.put(dir, name, entry, now(round)));
        }
    }
}

/// 10 entries per directory.
pub(crate) fn narrow(entries: usize) {
    let label = format!("{} M entries", entries / 1_000_000);
    let shape = Shape { entries, per_dir: 10 };
    let before = resident();
    let mut tree = TreeWriter::new();
    let blocks = shape.frame(&mut tree);
    let time = shape.list(&mut tree, &blocks, 0);
    line(&format!("{label}: listing rows, all new, 10 per directory"), &rate(entries, time), "");
    let held = blocks.capacity() * size_of::<BlockId>();
    memory(
        &format!("{label}: memory per entry, 10 per directory (counted / rss)"),
        &tree,
        before + held,
        "<= 110 B",
    );
    let reader = ViewReader::new(tree.share());
    let needle = Needle::new(b"7777").unwrap();
    let mut cursor = reader.find(PathRef::ROOT).unwrap();
    let begin = Begin::now();
    while !reader.find_next_with(&mut cursor, 100_000, Some(&needle), |_, _| true, |_, _| {}) {}
    line(&format!("{label}: find *7777*, 10 per directory"), &rate(entries, begin.elapsed()), "");
}

/// One directory with very many entries.
pub(crate) fn large() {
    let mut cost = Vec::new();
    for count in [100_000_usize, 1_000_000] {
        let shape = Shape { entries: count, per_dir: count };
        let mut tree = TreeWriter::new();
        let dir = shape.frame(&mut tree)[0];
        let begin = Begin::now();
        for number in 0..count {
            let number = number * 7919 % count;
            tree.put(dir, name(number).as_bytes(), &entry(number, 0), now(0)).unwrap();
        }
        let time = begin.elapsed();
        line(&format!("one directory: {count} inserts in random order"), &rate(count, time), "");
        let begin = Begin::now();
        for number in 0..count {
            let gone = tree.detach(dir, name(number).as_bytes(), now(1)).unwrap();
            std::hint::black_box(gone.into_purge());
        }
        let time = begin.elapsed();
        cost.push(time.as_nanos() / count as u128);
        let each = format!("{} ns each", time.as_nanos() / count as u128);
        line(&format!("one directory: rm -rf of {count}, one by one"), &each, "linear");
    }
}
