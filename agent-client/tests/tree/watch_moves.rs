//! Renames, of files and of trees, over others, out of the tree and into it.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use agent_client::watch::WatchEvidence;
use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::harness::Watched;
use crate::watch::fill_small;

fn fill_trees(root: &Path) {
    fill_small(root);
    for tree in ["t1", "t2"] {
        for directory in 0..30 {
            let directory = root.join(format!("{tree}/{directory}/sub"));
            fs::create_dir_all(&directory).unwrap();
            for file in 0..10 {
                fs::write(directory.join(format!("{file}")), tree).unwrap();
            }
        }
    }
}

fn swap(one: &Path, other: &Path) {
    renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).unwrap();
}

#[test]
fn a_tree_that_moves_is_one_piece_of_evidence_and_stays_watched() {
    let mut tree = Watched::new(fill_trees);
    tree.forget();
    fs::rename(tree.at("t1"), tree.at("d/moved")).unwrap();
    tree.level("mv of a tree");
    tree.settle();
    let said = tree.said();
    assert_eq!(said.iter().filter(|said| said.starts_with("rename")).count(), 1, "{said:?}");
    assert!(!said.iter().any(|said| said.starts_with("list")), "{said:?}");
    fs::write(tree.at("d/moved/3/sub/later"), "x").unwrap();
    fs::create_dir_all(tree.at("d/moved/4/sub/new/deeper")).unwrap();
    tree.level("and what is in it is still seen");
    fs::rename(tree.at("d"), tree.at("e/d")).unwrap();
    fs::rename(tree.at("e/d/moved"), tree.at("e/d/again")).unwrap();
    fs::rename(tree.at("e"), tree.at("f")).unwrap();
    fs::write(tree.at("f/d/again/5/sub/later"), "x").unwrap();
    tree.level("several moves, one inside the other");
    assert_eq!(tree.watcher().handle().counts().dropped_watches, 0);
}

#[test]
fn renames_of_files() {
    let mut tree = Watched::new(fill_small);
    tree.forget();
    fs::rename(tree.at("top"), tree.at("bottom")).unwrap();
    tree.level("within a directory");
    assert!(tree.said().contains(&"rename /top /bottom".to_owned()), "{:?}", tree.said());
    fs::rename(tree.at("bottom"), tree.at("a/one")).unwrap();
    tree.level("over another");
    // Log files: the oldest first.
    for number in 0..5 {
        fs::write(tree.at(&format!("log.{number}")), format!("{number}")).unwrap();
    }
    for number in (0..5).rev() {
        let (from, to) = (format!("log.{number}"), format!("log.{}", number + 1));
        fs::rename(tree.at(&from), tree.at(&to)).unwrap();
    }
    fs::write(tree.at("log.0"), "new").unwrap();
    tree.level("a rotation");
    for number in 0..20 {
        let (from, to) = (format!("c{number}"), format!("c{}", number + 1));
        if number == 0 {
            fs::write(tree.at("c0"), "x").unwrap();
        }
        fs::rename(tree.at(&from), tree.at(&to)).unwrap();
    }
    tree.level("a chain");
    swap(&tree.at("c20"), &tree.at("log.1"));
    tree.level("an exchange");
    swap(&tree.at("c20"), &tree.at("a"));
    tree.level("an exchange of a file and a directory");
}

#[test]
fn an_editor_that_saves() {
    let mut tree = Watched::new(fill_small);
    for round in 0..30 {
        fs::write(tree.at("a/.one.swp"), format!("content {round}")).unwrap();
        fs::rename(tree.at("a/.one.swp"), tree.at("a/one")).unwrap();
    }
    tree.level("written beside and renamed over");
    fs::rename(tree.at("a/one"), tree.at("a/one~")).unwrap();
    fs::write(tree.at("a/one"), "new").unwrap();
    tree.level("kept as a copy and written anew");
    tree.settle();
    let open = tree.told.iter().rev().find(|evidence| {
        matches!(evidence, WatchEvidence::Upsert { path, .. } if path.as_bytes() == b"/a/one")
    });
    assert!(matches!(open, Some(WatchEvidence::Upsert { atomic: true, .. })), "{open:?}");
}

#[test]
fn trees_that_change_places() {
    let mut tree = Watched::new(fill_trees);
    swap(&tree.at("t1"), &tree.at("t2"));
    tree.level("an exchange of trees");
    fs::write(tree.at("t1/1/sub/a"), "x").unwrap();
    fs::write(tree.at("t2/1/sub/b"), "x").unwrap();
    tree.level("both still watched");
    for _ in 0..10 {
        fs::rename(tree.at("t1"), tree.at("t")).unwrap();
        fs::rename(tree.at("t2"), tree.at("t1")).unwrap();
        fs::rename(tree.at("t"), tree.at("t2")).unwrap();
    }
    tree.level("by three renames, again and again");
    fs::rename(tree.at("t1"), tree.at("t2/inner")).unwrap();
    fs::rename(tree.at("t2/inner/3"), tree.at("t1")).unwrap();
    fs::rename(tree.at("t2"), tree.at("t1/sub/turned")).unwrap();
    tree.level("inside out");
    fs::write(tree.at("t1/sub/turned/inner/4/sub/later"), "x").unwrap();
    fs::write(tree.at("t1/sub/turned/7/sub/later"), "x").unwrap();
    tree.level("all still watched");
}

#[test]
fn a_tree_that_replaces_another() {
    let mut tree = Watched::new(fill_trees);
    fs::create_dir(tree.at("empty")).unwrap();
    tree.level("an empty directory");
    fs::rename(tree.at("t1"), tree.at("empty")).unwrap();
    tree.level("renamed over an empty directory");
    fs::remove_dir_all(tree.at("t2")).unwrap();
    fs::rename(tree.at("empty"), tree.at("t2")).unwrap();
    fs::write(tree.at("t2/2/sub/later"), "x").unwrap();
    tree.level("removed, and another put in its place");
    fs::rename(tree.at("t2"), tree.at("kept")).unwrap();
    fs::create_dir_all(tree.at("t2/1/sub")).unwrap();
    fs::write(tree.at("t2/1/sub/new"), "x").unwrap();
    fs::write(tree.at("kept/1/sub/old"), "x").unwrap();
    tree.level("moved away, and made anew under its name");
}

#[test]
fn out_of_the_tree_and_into_it() {
    let mut tree = Watched::new(fill_trees);
    let outside = tree.outside();
    fs::rename(tree.at("t1"), outside.join("t1")).unwrap();
    tree.level("a tree moved out");
    fs::write(outside.join("t1/1/sub/unseen"), "x").unwrap();
    fs::rename(tree.at("top"), outside.join("top")).unwrap();
    tree.level("a file moved out");
    let watched = tree.watcher().handle().counts().watched;
    fs::rename(outside.join("t1"), tree.at("a/back")).unwrap();
    tree.level("the tree moved in");
    fs::write(tree.at("a/back/1/sub/seen"), "x").unwrap();
    tree.level("and watched");
    fs::rename(outside.join("top"), tree.at("top")).unwrap();
    tree.level("the file moved in");
    assert_eq!(tree.watcher().handle().counts().watched, watched + 61);
    assert_eq!(fs::metadata(tree.at("top")).unwrap().nlink(), 1);
}
