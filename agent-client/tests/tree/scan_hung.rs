//! Scans of storage that does not answer: each call has its time limit, and the rest goes on.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent_client::clock::{AgentClock as _, HostClock};
use agent_client::scan::{
    Cancel, Found, ListedDir, Root, RootCheck, RootOptions, Scan, ScanCounters, ScanOptions,
    ScanReport, Start, Unlimited,
};
use fusion_core::path::{PathRef, TreePath};
use rustix::io::Errno;

use crate::harness::{PATIENCE, folder};
use crate::mounts::{Mount, until};

const LIMIT: Duration = Duration::from_millis(200);
/// Longer than a scan takes on a busy machine: a scan that waited for it is told from one that was slow.
const LONG: Duration = Duration::from_secs(3);
const TIMED_OUT: i32 = Errno::TIMEDOUT.raw_os_error();

/// Forty directories of five files; the directory `d7` has another mount in it.
struct Tree {
    /// Goes first: the folder could not be removed while it hangs.
    mount: Mount,
    folder: tempfile::TempDir,
}

impl Tree {
    fn new() -> Self {
        let folder = folder();
        for number in 0..40 {
            let directory = folder.path().join(format!("tree/d{number}"));
            fs::create_dir_all(&directory).unwrap();
            for file in 0..5 {
                fs::write(directory.join(format!("f{file}")), "x").unwrap();
            }
        }
        let (behind, at) = (folder.path().join("behind"), folder.path().join("tree/d7/mounted"));
        fs::create_dir_all(behind.join("below")).unwrap();
        fs::create_dir(&at).unwrap();
        let mount = Mount::of(&behind, &at);
        Self { mount, folder }
    }

    fn at(&self) -> PathBuf {
        self.folder.path().join("tree")
    }

    fn root(&self, cross_mounts: bool) -> Root {
        open(&self.at(), cross_mounts, LIMIT)
    }
}

fn open(at: &Path, cross_mounts: bool, call_limit: Duration) -> Root {
    let options = RootOptions { cross_mounts, call_limit, ..RootOptions::default() };
    Root::open(at, options).unwrap()
}

/// What to walk for.
#[derive(Clone, Copy)]
enum For {
    Listings,
    Watches,
}

/// Walks on a thread of its own, which stays with what hangs; gives what was found when the walk is
/// over.
fn walk(root: &Root, what: For) -> (Vec<Found>, ScanReport) {
    let (found, root) = (Arc::<Mutex<Vec<Found>>>::default(), root.clone());
    let (over, report) = channel();
    let sunk = Arc::clone(&found);
    let body = move || {
        let then = |report| over.send(report).unwrap();
        let scan = Scan {
            root: &root,
            options: &ScanOptions { workers: 2.try_into().unwrap(), ..ScanOptions::default() },
            clock: &HostClock,
            cancel: &Cancel::new(),
            counters: &ScanCounters::default(),
            pace: &Unlimited,
            placer: None,
            then: Some(&then),
        };
        let sink = |item| {
            sunk.lock().unwrap().push(item);
            ControlFlow::Continue(())
        };
        match what {
            For::Listings => scan.subtree(PathRef::ROOT, &sink),
            For::Watches => scan.place_watches(PathRef::ROOT, &sink),
        };
    };
    std::thread::Builder::new().spawn(body).unwrap();
    let report = report.recv_timeout(PATIENCE).unwrap();
    (std::mem::take(&mut *found.lock().unwrap()), report)
}

fn listed<'f>(found: &'f [Found], path: &str) -> Vec<&'f ListedDir> {
    let listed = found.iter().filter_map(|item| match item {
        Found::Listed(listed) if listed.path.as_bytes() == path.as_bytes() => Some(&**listed),
        _ => None,
    });
    listed.collect()
}

#[test]
fn a_name_that_hangs_is_told_of_and_all_else_is_listed() {
    let tree = Tree::new();
    let root = open(&tree.at(), false, LONG);
    let (found, report) = walk(&root, For::Listings);
    assert!(report.complete && report.counts.errors == 0, "{report:?}");
    let directories = report.counts.directories;
    tree.mount.hang();
    for round in 0..3 {
        let began = HostClock.monotonic();
        let (now, report) = walk(&root, For::Listings);
        let took = HostClock.monotonic().since(began);
        assert!(report.complete && report.start == Start::Directory, "{report:?}");
        assert_eq!((report.counts.directories, report.counts.errors), (directories, 1));
        for number in 0..40 {
            let path = format!("/d{number}");
            let listings = listed(&now, &path);
            assert_eq!(listings.len(), 1, "{path} in round {round}");
            assert_eq!(listings[0].complete, number != 7, "{path}");
        }
        let around = listed(&now, "/d7")[0];
        assert_eq!(around.children.len(), 5, "the files beside it");
        let error = &around.errors[0];
        assert_eq!((error.path.as_bytes(), error.errno), (&b"/d7/mounted"[..], TIMED_OUT));
        // The scan that met it first, and the look by which it was found; nobody joins them.
        assert_eq!(root.hung_calls(), 2, "in round {round}");
        assert!(round == 0 || took < LONG, "{took:?} in round {round}: known to hang");
    }
    tree.mount.answer();
    until("nothing hangs", || root.hung_calls() == 0);
    let (again, report) = walk(&root, For::Listings);
    assert_eq!((report.counts.errors, again.len()), (0, found.len()));
}

#[test]
fn a_directory_that_hangs_is_unreadable_and_all_else_is_walked() {
    let tree = Tree::new();
    let root = tree.root(true);
    let (_, report) = walk(&root, For::Watches);
    let directories = report.counts.directories;
    tree.mount.hang();
    let (found, report) = walk(&root, For::Watches);
    assert!(report.complete, "{report:?}");
    // It, and what is below it.
    assert_eq!(report.counts.directories, directories - 2);
    let [Found::Unreadable(unreadable)] = &found[..] else { panic!("{found:?}") };
    assert_eq!((unreadable.dir.as_bytes(), unreadable.errno), (&b"/d7/mounted"[..], TIMED_OUT));
    tree.mount.answer();
    until("nothing hangs", || root.hung_calls() == 0);
    assert_eq!(walk(&root, For::Watches).1.counts.directories, directories);
}

#[test]
fn a_root_that_hangs_ends_a_scan_and_is_not_asked_twice() {
    let tree = Tree::new();
    let root = open(&tree.at().join("d7/mounted"), false, LIMIT);
    assert!(walk(&root, For::Listings).1.complete);
    tree.mount.hang();
    let (found, report) = walk(&root, For::Listings);
    assert!(!report.complete && found.is_empty(), "{report:?} {found:?}");
    let hung = root.hung_calls();
    for _ in 0..20 {
        assert_eq!(root.check_in_time(), RootCheck::Gone(Errno::TIMEDOUT));
    }
    assert_eq!(root.hung_calls(), hung, "one look at it at a time");
    tree.mount.answer();
    until("nothing hangs", || root.hung_calls() == 0);
    assert_eq!(root.check_in_time(), RootCheck::Same);
    assert!(walk(&root, For::Listings).1.complete);
}

#[test]
fn what_a_root_is_known_by_needs_no_answer_of_what_hangs_at_its_top() {
    let tree = Tree::new();
    let root = open(&tree.at().join("d7"), false, LIMIT);
    let whole = root.identity_in_time().unwrap();
    assert_eq!(whole.top.len(), 6);
    tree.mount.hang();
    let known = root.identity_in_time().unwrap();
    let others: Vec<_> = whole.top.iter().filter(|top| top.0 != b"mounted").cloned().collect();
    assert_eq!(known.top, others);
    let name = TreePath::new(b"/mounted".to_vec()).unwrap();
    let look = |path: &TreePath| root.look_in_time(path, HostClock.monotonic());
    assert_eq!(look(&name).unwrap_err().errno, Errno::TIMEDOUT);
    assert!(look(&TreePath::new(b"/f1".to_vec()).unwrap()).unwrap().found.is_some());
    tree.mount.answer();
    until("nothing hangs", || root.hung_calls() == 0);
    assert_eq!(root.identity_in_time().unwrap(), whole);
}
