//! Bursts: the copy equals the disk once all is quiet, and no directory was listed for it that did not
//! appear. (The view is rescanned only after the kernel dropped events, which is asserted against.)

use std::fs;
use std::path::Path;

use crate::harness::Watched;
use crate::watch::fill_small;

/// 1,000 directories of 99 files: with the directories 100,000 entries.
fn fill_large(root: &Path) {
    fill_small(root);
    for directory in 0..1_000 {
        let directory = root.join(format!("large/{:02}/{directory:03}", directory % 50));
        fs::create_dir_all(&directory).unwrap();
        for file in 0..99 {
            fs::File::create(directory.join(format!("{file}"))).unwrap();
        }
    }
}

impl Watched {
    /// Waits until the burst has been told of, and compares.
    fn level_after(&mut self, what: &str) {
        self.settle();
        self.level(what);
        let counts = self.watcher().handle().counts();
        assert_eq!((counts.overflows, counts.dropped_watches, counts.queued), (0, 0, 0), "{what}");
    }

    /// After every 2,000 operations the watcher is waited for, so that the kernel's queue of 16,384 events
    /// never fills up: how fast the watcher is beside all else on the machine is not the question here.
    fn paced(&mut self, operations: usize) {
        if operations.is_multiple_of(2_000) {
            self.settle();
        }
    }

    /// Removes a directory and all in it.
    fn remove_all(&mut self, dir: &Path, operations: &mut usize) {
        for entry in fs::read_dir(dir).unwrap().collect::<Vec<_>>() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                self.remove_all(&entry.path(), operations);
            } else {
                fs::remove_file(entry.path()).unwrap();
            }
            *operations += 1;
            self.paced(*operations);
        }
        fs::remove_dir(dir).unwrap();
    }

    /// Directories listed so far because they appeared.
    fn discovered(&self) -> u64 {
        self.watcher().handle().counts().discovered
    }
}

#[test]
fn a_hundred_thousand_files_in_one_directory_come_and_go() {
    let mut tree = Watched::new(fill_small);
    for number in 0..100_000 {
        fs::File::create(tree.at(&format!("d/{number}"))).unwrap();
        tree.paced(number);
    }
    tree.level_after("100,000 files");
    tree.remove_all(&tree.at("d"), &mut 0);
    tree.level_after("and their removal");
    assert_eq!(tree.discovered(), 0);
}

#[test]
fn a_tree_of_a_hundred_thousand_entries_moves_changes_and_goes() {
    let mut tree = Watched::new(fill_large);
    tree.told.clear();
    fs::rename(tree.at("large"), tree.at("d/moved")).unwrap();
    tree.level_after("the move");
    let moves = tree.said().iter().filter(|said| said.starts_with("rename")).count();
    assert_eq!((moves, tree.discovered()), (1, 0));
    assert!(tree.told.len() < 10, "{:?}", tree.said());
    // As a checkout of another version does it: some files go, some are made anew, some come.
    for directory_number in 0..1_000 {
        let directory =
            tree.at(&format!("d/moved/{:02}/{directory_number:03}", directory_number % 50));
        for file in 0..10 {
            fs::remove_file(directory.join(format!("{file}"))).unwrap();
            fs::write(directory.join(format!("{}", 99 + file)), "another version").unwrap();
            let kept = directory.join(format!("{}", 20 + file));
            fs::write(directory.join("lock"), "another version").unwrap();
            fs::rename(directory.join("lock"), kept).unwrap();
        }
        tree.paced(directory_number * 20);
    }
    tree.level_after("another version");
    assert_eq!(tree.discovered(), 0);
    tree.remove_all(&tree.at("d/moved"), &mut 0);
    tree.level_after("the removal");
    assert_eq!(tree.watcher().handle().counts().watched, 6);
}

#[test]
fn a_build_that_makes_and_deletes_fifty_thousand_temporary_files() {
    let mut tree = Watched::new(fill_small);
    for number in 0..50_000 {
        let path = tree.at(&format!("a/b/tmp{number}"));
        fs::write(&path, "x").unwrap();
        fs::remove_file(&path).unwrap();
        tree.paced(number);
    }
    tree.level_after("50,000 temporary files");
}
