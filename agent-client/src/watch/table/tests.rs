//! The table alone.

use super::*;

fn file(inode: u64) -> FileId {
    FileId { device: 1, inode }
}

fn path(text: &str) -> TreePath {
    TreePath::new(text.as_bytes()).unwrap()
}

/// A table that watches these paths, numbered from 1.
fn table(paths: &[&str]) -> Table {
    let mut table = Table::new();
    for (number, text) in (1..).zip(paths) {
        let node = table.find_or_make(path(text).as_ref());
        table.set_watch(node, number, file(number as u64), 0);
    }
    table
}

fn path_of(table: &Table, watch: WatchNumber) -> Option<String> {
    Some(table.path(table.by_watch(watch)?)?.to_string())
}

#[test]
fn moving_a_tree_moves_all_below_it() {
    let mut table = table(&["/", "/a", "/a/b", "/a/b/c", "/d"]);
    let (b, d) = (table.by_watch(3).unwrap(), table.by_watch(5).unwrap());
    table.detach(b);
    assert_eq!(path_of(&table, 4), None, "what is detached has no path");
    assert!(!table.attach(b, table.by_watch(4).unwrap(), b"x"), "not within itself");
    assert!(table.attach(b, d, b"new"));
    assert_eq!(path_of(&table, 4).unwrap(), "/d/new/c");
    assert_eq!(table.find(path("/a/b").as_ref()), None);
    assert_eq!(table.watched(), 5);
}

#[test]
fn removing_a_tree_gives_its_watches_and_ends_its_nodes() {
    let mut table = table(&["/", "/a", "/a/b", "/a/b/c"]);
    let (a, c) = (table.by_watch(2).unwrap(), table.by_watch(4).unwrap());
    let mut watches = table.remove(a);
    watches.sort_unstable();
    assert_eq!(watches, [2, 3, 4]);
    assert!(!table.is_live(c));
    let again = table.find_or_make(path("/z").as_ref());
    assert!(again != c && !table.is_live(c), "a place is reused under another generation");
    assert_eq!(table.watched(), 1);
}

#[test]
fn what_is_due_is_due_with_all_below_it_until_it_is_listed() {
    let mut table = table(&["/a", "/a/b", "/a/b/c", "/a/d"]);
    let [a, b, c, d] = [1, 2, 3, 4].map(|watch| table.by_watch(watch).unwrap());
    table.set_content(a, Content::Due);
    assert!(table.is_due(c) && !table.is_due(ROOT));
    table.set_content(a, Content::Listed);
    table.pass_on_due(a, |name| name == b"d");
    assert!(table.is_due(b) && table.is_due(c) && !table.is_due(d) && !table.is_due(a));
    table.set_content(d, Content::Listed);
    table.set_watch(d, 4, file(4), 0);
    assert_eq!(table.watched_at(d).unwrap().content, Content::Listed);
    table.set_watch(d, 4, file(9), 0);
    assert_eq!(table.watched_at(d).unwrap().content, Content::Elsewhere, "another directory");
}

#[test]
fn what_leads_to_no_watch_is_not_kept() {
    let mut table = table(&["/a/b/c"]);
    assert_eq!(path_of(&table, 1).unwrap(), "/a/b/c");
    table.forget_watch(1);
    assert_eq!(table.find(path("/a").as_ref()), None);
    assert_eq!(table.free.len(), 3);
    assert_eq!(table.path(ROOT).unwrap(), TreePath::root());
}
