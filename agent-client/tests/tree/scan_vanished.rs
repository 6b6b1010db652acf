//! Names that are gone when they are looked at: between the reading of a directory and its looks something happens.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use agent_client::clock::HostClock;
use agent_client::scan::{
    Cancel, Found, ListedDir, Pace, Root, RootOptions, Scan, ScanCounters, ScanOptions,
};
use fusion_core::path::TreePath;
use fusion_core::time::Monotonic;
use rustix::io::Errno;

use crate::harness::folder;
use crate::mounts::Mount;

/// What happens once the names are read, before the first is looked at.
struct Between<F>(Mutex<Option<F>>);

impl<F: FnOnce() + Send> Pace for Between<F> {
    fn delay(&self, _entries: usize, _now: Monotonic) -> Duration {
        if let Some(happen) = self.0.lock().unwrap().take() {
            happen();
        }
        Duration::ZERO
    }
}

fn list(at: &Path, between: impl FnOnce() + Send) -> ListedDir {
    let root = Root::open(at, RootOptions::default()).unwrap();
    let found = Mutex::new(Vec::new());
    let scan = Scan {
        root: &root,
        options: &ScanOptions::default(),
        clock: &HostClock,
        cancel: &Cancel::new(),
        counters: &ScanCounters::default(),
        pace: &Between(Mutex::new(Some(between))),
        placer: None,
        then: None,
    };
    scan.directory(TreePath::new(b"/dir".as_slice()).unwrap().as_ref(), &|each| {
        found.lock().unwrap().push(each);
        std::ops::ControlFlow::Continue(())
    });
    match found.into_inner().unwrap().pop() {
        Some(Found::Listed(listed)) => *listed,
        other => panic!("{other:?}"),
    }
}

fn names(listed: &ListedDir) -> Vec<String> {
    let names = listed.children.as_children();
    names.iter().map(|(name, _)| String::from_utf8_lossy(name).into_owned()).collect()
}

fn make(tree: &Path) {
    fs::create_dir_all(tree.join("dir")).unwrap();
    for name in ["a", "b", "c"] {
        fs::write(tree.join("dir").join(name), name).unwrap();
    }
}

#[test]
fn what_was_removed_meanwhile_is_not_listed() {
    let folder = folder();
    make(folder.path());
    let dir = folder.path().join("dir");
    // A tick of the file system's clock may hold both: then the directory does not tell that it has changed.
    let listed = list(folder.path(), || fs::remove_file(dir.join("b")).unwrap());
    assert_eq!((listed.complete, names(&listed)), (true, vec!["a".to_owned(), "c".to_owned()]));
    assert!(listed.errors.is_empty());
}

#[test]
fn what_was_removed_long_after_is_not_listed() {
    let folder = folder();
    make(folder.path());
    let dir = folder.path().join("dir");
    let ctime = || fs::metadata(&dir).map(|it| (it.ctime(), it.ctime_nsec())).unwrap();
    let listed = list(folder.path(), || {
        let before = ctime();
        fs::remove_file(dir.join("b")).unwrap();
        while ctime() == before {
            fs::write(dir.join("d"), "d").unwrap();
            fs::remove_file(dir.join("d")).unwrap();
        }
    });
    assert_eq!((listed.complete, names(&listed)), (true, vec!["a".to_owned(), "c".to_owned()]));
}

/// The directory is still open and shows its names, and none of them is known: to believe that would remove them all.
#[test]
fn storage_that_goes_between_names_and_looks_lists_nothing_as_gone() {
    let folder = folder();
    let (behind, at) = (folder.path().join("behind"), folder.path().join("at"));
    make(&behind);
    fs::create_dir(&at).unwrap();
    let _mount = Mount::of(&behind, &at);
    let listed = list(&at, || fs::rename(behind.join("dir"), folder.path().join("aside")).unwrap());
    assert_eq!((listed.complete, names(&listed)), (false, Vec::new()));
    let told: Vec<_> = listed.errors.iter().map(|it| (it.path.as_bytes(), it.errno)).collect();
    assert_eq!(told, [(b"/dir".as_slice(), Errno::STALE.raw_os_error())]);
}
