//! The tree against a map of paths: the same edits, then the same entries and the same totals.

mod beside;
mod large;
mod model;
mod random;

use super::*;
use crate::evidence::ChildColumns;
use crate::path::TreePath;
use crate::stat::Kind;

fn path(text: &str) -> TreePath {
    TreePath::new(text.as_bytes()).unwrap()
}

fn stat(kind: Kind, number: u64) -> Stat {
    Stat {
        kind,
        size: number,
        mtime: StorageTime::from_nanos((number as i64).wrapping_mul(7919) % 1000),
        ctime: StorageTime::from_nanos(number as i64),
        inode: number,
        mode: 0o644,
        uid: (number % 3) as u32,
        gid: 0,
        nlink: 1,
    }
}

fn entry(kind: Kind, number: u64) -> Entry {
    Entry { stat: stat(kind, number), flags: Flags::NONE, seen_in: None }
}

fn at(nanos: i64) -> ServerTime {
    ServerTime::from_nanos(nanos)
}

fn version(number: i64) -> Version {
    Version { inode: 1, ctime: StorageTime::from_nanos(number) }
}

/// Puts at a path whose directory is known.
fn put(tree: &mut TreeWriter, at_path: &str, kind: Kind, number: u64) -> Put {
    let path = path(at_path);
    let (dir, name) = tree.slot(path.as_ref()).unwrap();
    tree.put(dir, name, &entry(kind, number), at(1)).unwrap()
}

fn tree_of(paths: &[(&str, Kind)]) -> TreeWriter {
    let mut tree = TreeWriter::new();
    for (number, (path, kind)) in paths.iter().enumerate() {
        put(&mut tree, path, *kind, number as u64 + 1);
    }
    tree
}

/// Every path below a directory.
fn paths(tree: &Tree, dir: BlockId) -> Vec<String> {
    let (mut walk, mut all) = (Walk::new(dir, b""), Vec::new());
    let add = |path: &[u8], _: &Child| all.push(String::from_utf8_lossy(path).into_owned());
    assert!(tree.walk_next(&mut walk, usize::MAX, None, |_, _| true, add));
    all
}

use Kind::{Directory as D, File as F};

#[test]
fn nothing_is_known_at_first() {
    let mut tree = TreeWriter::new();
    assert_eq!(tree.root(), None);
    assert_eq!(tree.nearest(path("/a").as_ref()), None);
    assert_eq!(tree.slot(path("/").as_ref()), Some((BlockId::ANCHOR, &b""[..])));
    assert_eq!(tree.slot(path("/a").as_ref()), None);
    assert_eq!(tree.path(BlockId::ANCHOR), None);
    assert!(tree.detach(BlockId::ANCHOR, b"", at(1)).is_none());
}

#[test]
fn paths_lead_to_directories_and_back() {
    let mut tree = tree_of(&[("/", D), ("/a", D), ("/a/b", D), ("/a/f", F)]);
    let b = tree.dir(path("/a/b").as_ref()).unwrap();
    assert_eq!(tree.path(b), Some(path("/a/b")));
    let root = tree.root().unwrap().block.unwrap();
    assert_eq!(tree.path(root), Some(path("/")));
    let far = path("/a/b/c/d");
    assert_eq!(tree.nearest(far.as_ref()), Some(Nearest { dir: b, rest: b"c/d" }));
    let below_file = path("/a/f/x");
    assert_eq!(tree.nearest(below_file.as_ref()).unwrap().rest, b"f/x");
    assert!(tree.is_within(b, root) && !tree.is_within(root, b));
    assert_eq!(tree.itself(b), Some((3, DirMeta::default())));
}

#[test]
fn the_index_is_checked_after_renames_and_removals() {
    let mut tree = tree_of(&[("/", D), ("/a", D), ("/a/b", D), ("/a/b/c", D), ("/z", D)]);
    let deep = path("/a/b/c");
    let c = tree.dir(deep.as_ref()).unwrap();
    assert_eq!(tree.dir(deep.as_ref()), Some(c));
    let root = tree.root().unwrap().block.unwrap();
    let z = tree.dir(path("/z").as_ref()).unwrap();
    tree.rename((root, b"a"), (z, b"y"), &entry(D, 2), at(2)).unwrap();
    assert_eq!(tree.dir(deep.as_ref()), None);
    assert_eq!(tree.dir(path("/z/y/b/c").as_ref()), Some(c));
    for (number, again) in ["/a", "/a/b", "/a/b/c"].iter().enumerate() {
        put(&mut tree, again, D, 10 + number as u64);
    }
    let new = tree.dir(deep.as_ref()).unwrap();
    assert_ne!(new, c);
    let gone = tree.detach(root, b"a", at(3)).unwrap();
    assert_eq!(tree.dir(deep.as_ref()), None);
    assert_eq!(tree.path(new), None);
    let mut purge = gone.into_purge();
    while !tree.purge(&mut purge, 1) {}
    assert!(!tree.is_known(new) && tree.is_known(c));
    put(&mut tree, "/z/y/b/c/d", D, 20);
    assert!(!tree.is_known(new), "the slot is used again, the id is not");
}

#[test]
fn paths_whose_hashes_collide_are_told_apart() {
    let names = ["/a", "/b", "/a/b", "/b/a", "/a/b/a"];
    let mut tree =
        tree_of(&[("/", D), ("/a", D), ("/b", D), ("/a/b", D), ("/b/a", D), ("/a/b/a", D)]);
    let blocks = names.map(|name| tree.dir(path(name).as_ref()).unwrap());
    for (name, block) in names.iter().zip(blocks) {
        for other in blocks {
            tree.collide(path(name).as_ref(), other);
            assert_eq!(tree.dir(path(name).as_ref()), Some(block), "{name}");
            tree.collide(path("/c").as_ref(), other);
            assert_eq!(tree.dir(path("/c").as_ref()), None);
            tree.collide(path(name).as_ref(), other);
            put(&mut tree, &format!("{name}/file"), F, 7);
        }
    }
    let root = tree.root().unwrap().block.unwrap();
    assert_eq!(tree.totals(root).unwrap().files, names.len() as u64);
}

#[test]
fn the_directory_looked_up_last_is_forgotten_when_one_above_it_goes() {
    type Go = fn(&mut TreeWriter, BlockId);
    let ways: [Go; 4] = [
        |tree, root| drop(tree.detach(root, b"a", at(2)).unwrap().into_purge()),
        |tree, root| drop(tree.rename((root, b"a"), (root, b"z"), &entry(D, 9), at(2)).unwrap()),
        |tree, root| {
            let put = tree.put(root, b"a", &entry(F, 9), at(2)).unwrap();
            assert!(matches!(put, Put::Replaced(_)));
        },
        |tree, root| {
            let nothing = ChildColumns::default();
            let remove = |_: MergeCase<'_>| MergeAction::Remove;
            let rows = nothing.as_children();
            let merged =
                tree.merge(root, &rows, NameRange::ALL, version(2), at(2), remove).unwrap();
            assert_eq!(merged.taken_out.len(), 1);
        },
    ];
    for go in ways {
        let mut tree = tree_of(&[("/", D), ("/a", D), ("/a/b", D)]);
        let root = tree.root().unwrap().block.unwrap();
        let (deep, b) = (path("/a/b"), tree.dir(path("/a/b").as_ref()));
        assert!(b.is_some() && tree.dir(deep.as_ref()) == b);
        go(&mut tree, root);
        assert_eq!(tree.dir(deep.as_ref()), None);
    }
}

#[test]
fn a_directory_cannot_lie_inside_itself() {
    let mut tree = tree_of(&[("/", D), ("/a", D), ("/a/b", D), ("/f", F)]);
    let root = tree.root().unwrap().block.unwrap();
    let a = tree.dir(path("/a").as_ref()).unwrap();
    let b = tree.dir(path("/a/b").as_ref()).unwrap();
    let mut rename = |from, to, kind| tree.rename(from, to, &entry(kind, 9), at(2)).unwrap_err();
    assert_eq!(rename((root, b"a"), (b, b"x"), D), EditError::IntoItself);
    assert_eq!(rename((a, b"b"), (root, b"a"), D), EditError::IntoItself);
    assert_eq!(rename((root, b"f"), (root, b"g"), D), EditError::OtherKind);
    assert_eq!(rename((root, b"none"), (root, b"g"), D), EditError::NoEntry);
    let gone = tree.detach(root, b"a", at(2)).unwrap();
    let refused = tree.attach(b, b"x", gone, at(3)).unwrap_err();
    assert_eq!(refused.why, EditError::IntoItself);
    let refused = tree.attach(root, b"f", *refused.detached, at(3)).unwrap_err();
    assert_eq!(refused.why, EditError::Taken);
    tree.attach(root, b"back", *refused.detached, at(3)).unwrap();
    assert_eq!(paths(&tree, root), ["/back", "/back/b", "/f"]);
}

#[test]
fn what_is_seen_is_one_version_per_page_and_more_where_it_differs() {
    let mut tree = tree_of(&[("/", D)]);
    let root = tree.root().unwrap().block.unwrap();
    let mut listing = crate::evidence::ChildColumns::default();
    for number in 0..9_u64 {
        listing.push(format!("{number}").as_bytes(), &stat(F, number));
    }
    let take = |_: MergeCase<'_>| MergeAction::Take(Flags::NONE);
    let rows = listing.as_children();
    tree.merge(root, &rows, NameRange::ALL, version(5), at(1), take).unwrap();
    let keep_three = |case: MergeCase<'_>| match case {
        MergeCase::Known { name: b"3", .. } => MergeAction::Skip,
        _ => MergeAction::Seen(Flags::BLIND),
    };
    tree.merge(root, &rows, NameRange::ALL, version(6), at(2), keep_three).unwrap();
    tree.set_seen(root, b"4", version(7));
    let seen = |name: &[u8]| tree.child(root, name).unwrap().seen_in;
    assert_eq!([seen(b"2"), seen(b"3"), seen(b"4")], [6, 5, 7].map(|n| Some(version(n))));
    let totals = tree.totals(root).unwrap();
    assert_eq!((totals.blind, totals.last_change), (8, Some(at(1))));
}

#[test]
fn the_newest_mtime_is_found_again_when_its_holder_went() {
    let mut tree = tree_of(&[("/", D), ("/a", D), ("/a/b", D)]);
    let root = tree.root().unwrap().block.unwrap();
    for number in 500..520 {
        put(&mut tree, &format!("/a/b/{number}"), F, number);
        put(&mut tree, &format!("/a/{number}"), F, number);
    }
    while let Some(newest) = tree.totals(root).unwrap().newest_mtime {
        assert_eq!(tree.recount(root).unwrap().newest_mtime, Some(newest));
        let mut walk = Walk::new(root, b"");
        let mut holder = None;
        let is = |_: &[u8], stat: &Stat| stat.mtime == newest;
        tree.walk_next(&mut walk, usize::MAX, None, is, |path, _| {
            holder = TreePath::new(path.to_vec()).ok();
        });
        let holder = holder.unwrap();
        let (dir, name) = tree.slot(holder.as_ref()).unwrap();
        let mut purge = tree.detach(dir, name, at(9)).unwrap().into_purge();
        assert!(tree.purge(&mut purge, 1000));
    }
    assert!(tree.recount(root).unwrap().files == 0);
}

#[test]
fn a_walk_goes_only_into_what_is_in_its_scope() {
    let mut tree = tree_of(&[
        ("/", D),
        ("/a", D),
        ("/a/b", D),
        ("/a/b/old", F),
        ("/c", D),
        ("/c/suspect", F),
        ("/d", D),
        ("/d/e", D),
        ("/d/e/blind", F),
        ("/z", F),
    ]);
    for (at_path, flag) in [("/c/suspect", Flags::SUSPECT), ("/d/e/blind", Flags::BLIND)] {
        let path = path(at_path);
        let (dir, name) = tree.slot(path.as_ref()).unwrap();
        let flagged = Entry { flags: flag, ..entry(F, 321) };
        tree.put(dir, name, &flagged, at(2)).unwrap();
    }
    let root = tree.root().unwrap().block.unwrap();
    let seen = |scope: Scope| {
        let (mut walk, mut all) = (Walk::new(root, b"").within(scope), Vec::new());
        let add = |path: &[u8], _: &Child| all.push(String::from_utf8_lossy(path).into_owned());
        // In slices: where a walk stands must be right after what it did not go into.
        let mut found = add;
        while !tree.walk_next(&mut walk, 1, None, |_, _| true, &mut found) {
            walk.mend(&tree);
        }
        all.join(" ")
    };
    let newest = Some(stat(F, 321).mtime);
    let cases = [
        (Scope { depth: Some(1), ..Scope::default() }, "/a /c /d /z"),
        (Scope { depth: Some(2), ..Scope::default() }, "/a /a/b /c /c/suspect /d /d/e /z"),
        (Scope { suspects: true, ..Scope::default() }, "/a /c /c/suspect /d /z"),
        (Scope { blind: true, ..Scope::default() }, "/a /c /d /d/e /d/e/blind /z"),
        (Scope { newest, ..Scope::default() }, "/a /c /c/suspect /d /d/e /d/e/blind /z"),
        (Scope { suspects: true, blind: true, ..Scope::default() }, "/a /c /d /z"),
    ];
    for (scope, expected) in cases {
        assert_eq!(seen(scope), expected, "{scope:?}");
    }
}

#[test]
fn a_walk_goes_on_after_any_path_that_it_told() {
    let tree = tree_of(&[
        ("/", D),
        ("/b", D),
        ("/b/a", D),
        ("/b/a/f", F),
        ("/b/a/g", F),
        ("/b/c", F),
        ("/b-", F),
        ("/e", D),
        ("/z", F),
    ])
    .share();
    let rest = |at_path: &str, below: &[u8], scope: Scope, after: &[u8]| {
        let dir = tree.dir(path(at_path).as_ref()).unwrap();
        let walk = Walk::new(dir, below).within(scope);
        let (mut walk, mut all) = (walk.after(&tree, after), Vec::new());
        let add = |path: &[u8], _: &Child| all.push(String::from_utf8_lossy(path).into_owned());
        assert!(tree.walk_next(&mut walk, usize::MAX, None, |_, _| true, add));
        all
    };
    let shallow = Scope { depth: Some(2), ..Scope::default() };
    for (at_path, below, scope) in
        [("/", &b""[..], Scope::default()), ("/", b"", shallow), ("/b", b"/b", Scope::default())]
    {
        // A path that is no path below comes from nowhere: all is told.
        let all = rest(at_path, below, scope, b"");
        for (number, told) in all.iter().enumerate() {
            assert_eq!(rest(at_path, below, scope, told.as_bytes()), all[number + 1..], "{told}");
        }
    }
    let all = |after: &[u8]| rest("/", b"", Scope::default(), after).join(" ");
    assert_eq!(all(b"/b/a/f0/gone"), "/b/a/g /b/c /b- /e /z");
    assert_eq!(all(b"/b/b"), "/b/c /b- /e /z");
    assert_eq!(all(b"/zz"), "");
}
