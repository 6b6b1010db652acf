//! What a scan must not do, and what it must bear.

use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::sync::Mutex;

use agent_client::clock::HostClock;
use agent_client::scan::{
    Cancel, FileId, Found, LeftOut, Placer, Root, RootOptions, Scan, ScanCounters, ScanOptions,
    Sink, Start, Unlimited, WhyLeftOut,
};
use fusion_core::path::{PathRef, TreePath};
use fusion_core::stat::{Kind, Stat};
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::io::Errno;

use crate::harness::{folder, scan_with};

fn path(text: &str) -> TreePath {
    TreePath::new(text.as_bytes()).unwrap()
}

fn roots(at: &Path) -> [Root; 2] {
    [false, true].map(|without_openat2| {
        Root::open(at, RootOptions { without_openat2, ..RootOptions::default() }).unwrap()
    })
}

#[test]
fn a_path_never_leads_through_a_symlink() {
    let folder = folder();
    let (tree, outside) = (folder.path().join("tree"), folder.path().join("outside"));
    fs::create_dir_all(outside.join("secret")).unwrap();
    fs::create_dir_all(tree.join("inside/dir")).unwrap();
    symlink(&outside, tree.join("out")).unwrap();
    symlink("inside", tree.join("in")).unwrap();
    for root in roots(&tree) {
        for text in ["/out/secret", "/in/dir", "/out/secret/x", "/inside/nothing/x"] {
            let look = root.look(path(text).as_ref(), &HostClock).unwrap();
            assert_eq!((look.parent, look.found), (None, None), "{text}");
        }
        let look = root.look(path("/out").as_ref(), &HostClock).unwrap();
        assert_eq!(look.found.unwrap().kind, Kind::Symlink);
        let look = root.look(path("/inside/none").as_ref(), &HostClock).unwrap();
        assert!(look.found.is_none() && look.parent.unwrap().kind == Kind::Directory);
        let look = root.look(PathRef::ROOT, &HostClock).unwrap();
        assert_eq!((look.parent, look.found.unwrap().inode), (None, root.id().inode));
        for start in ["/out", "/out/secret", "/in", "/nothing"] {
            let report = walk_from(&root, start, &|_| ControlFlow::Continue(()));
            assert_eq!((report.start, report.complete), (Start::NoDirectory, false), "{start}");
        }
    }
}

fn walk_from(root: &Root, start: &str, sink: &dyn Sink) -> agent_client::scan::ScanReport {
    scan(root, &ScanOptions::default(), &Cancel::new(), |scan| {
        scan.subtree(path(start).as_ref(), sink)
    })
}

fn scan<T>(
    root: &Root,
    options: &ScanOptions,
    cancel: &Cancel,
    body: impl FnOnce(&Scan<'_>) -> T,
) -> T {
    let counters = ScanCounters::default();
    body(&Scan {
        root,
        options,
        clock: &HostClock,
        cancel,
        counters: &counters,
        pace: &Unlimited,
        placer: None,
        then: None,
    })
}

#[test]
fn mount_points_are_listed_and_not_entered() {
    // `/proc` is mounted wherever these tests can run at all.
    for root in roots(Path::new("/")) {
        let found = Mutex::new(Vec::new());
        let sink = |item| {
            found.lock().unwrap().push(item);
            ControlFlow::Continue(())
        };
        let report = scan(&root, &ScanOptions::default(), &Cancel::new(), |scan| {
            scan.directory(PathRef::ROOT, &sink)
        });
        assert!(report.complete && report.counts.directories == 1);
        let left_out = LeftOut { dir: path("/proc"), why: WhyLeftOut::MountPoint };
        let found = found.into_inner().unwrap();
        assert!(found.contains(&Found::LeftOut(left_out)));
        let listed = |item: &Found| match item {
            Found::Listed(listed) => {
                listed.children.as_children().iter().any(|row| row.0 == b"proc")
            }
            _ => false,
        };
        assert!(found.iter().any(listed));
        let report = walk_from(&root, "/proc", &|_| ControlFlow::Continue(()));
        assert_eq!((report.start, report.counts.entries), (Start::LeftOut, 0));
    }
}

#[test]
fn a_tree_that_is_nothing_but_trouble_does_not_end_a_scan() {
    // Entries vanish, cannot be read, or answer with odd errors while they are looked at.
    let root = Root::open(Path::new("/proc"), RootOptions::default()).unwrap();
    let options = ScanOptions { workers: 2.try_into().unwrap(), ..ScanOptions::default() };
    let cancel = Cancel::new();
    let seen = Mutex::new(0);
    let sink = |_| {
        *seen.lock().unwrap() += 1;
        ControlFlow::Continue(())
    };
    let report = scan(&root, &options, &cancel, |scan| scan.subtree(path("/self").as_ref(), &sink));
    assert_eq!(report.start, Start::NoDirectory, "a symlink");
    let own = path(&format!("/{}", std::process::id()));
    let report = scan(&root, &options, &cancel, |scan| scan.subtree(own.as_ref(), &sink));
    assert!(report.complete && report.counts.directories > 10, "{report:?}");
}

#[test]
fn our_own_directories_are_left_out() {
    let folder = folder();
    fs::create_dir_all(folder.path().join("data/spool/deep")).unwrap();
    fs::create_dir(folder.path().join("data/other")).unwrap();
    let root = Root::open(folder.path(), RootOptions::default()).unwrap();
    let own = FileId::of(&folder.path().join("data/spool")).unwrap();
    let options = ScanOptions { left_out: vec![own], ..ScanOptions::default() };
    let (found, report) = scan_with(&root, &options, None);
    let left_out = LeftOut { dir: path("/data/spool"), why: WhyLeftOut::Own };
    assert!(found.contains(&Found::LeftOut(left_out)));
    assert_eq!((report.counts.directories, report.counts.entries), (3, 3));
    assert!(report.complete);
}

#[test]
fn a_cancelled_scan_ends_in_mid_directory() {
    let folder = folder();
    for number in 0..5_000 {
        fs::write(folder.path().join(format!("{number}")), "").unwrap();
    }
    let root = Root::open(folder.path(), RootOptions::default()).unwrap();
    let options = ScanOptions { max_rows: 10.try_into().unwrap(), ..ScanOptions::default() };
    let cancel = Cancel::new();
    let parts = Mutex::new(0);
    let sink = |_| {
        *parts.lock().unwrap() += 1;
        cancel.set();
        ControlFlow::Continue(())
    };
    let report = scan(&root, &options, &cancel, |scan| scan.subtree(PathRef::ROOT, &sink));
    assert!(!report.complete);
    assert_eq!((*parts.lock().unwrap(), report.counts.entries), (1, 10));
    let report = scan(&root, &options, &Cancel::new(), |scan| {
        scan.subtree(PathRef::ROOT, &|_| ControlFlow::Break(()))
    });
    assert!(!report.complete && report.counts.entries == 10, "a sink that breaks off ends it too");
}

/// Every directory that it is asked to watch, and whether it was listed before.
#[derive(Default)]
struct Asked(Mutex<Vec<TreePath>>);

impl Placer for Asked {
    fn place(&self, path: PathRef<'_>, _directory: BorrowedFd<'_>, _id: FileId, stat: &Stat) {
        assert_eq!(stat.kind, Kind::Directory);
        self.0.lock().unwrap().push(path.to_owned());
    }
}

#[test]
fn a_walk_for_watches_asks_once_for_each_directory_and_looks_at_no_file() {
    let folder = folder();
    crate::scan::fill(folder.path());
    let root = Root::open(folder.path(), RootOptions::default()).unwrap();
    let asked = Asked::default();
    let options = ScanOptions::default();
    let counters = ScanCounters::default();
    let walk = Scan {
        root: &root,
        options: &options,
        clock: &HostClock,
        cancel: &Cancel::new(),
        counters: &counters,
        pace: &Unlimited,
        placer: Some(&asked),
        then: None,
    };
    let report = walk.place_watches(PathRef::ROOT, &|item| panic!("{item:?}"));
    assert!(report.complete && report.counts.file_stats == 0);
    let mut asked = asked.0.into_inner().unwrap();
    asked.sort();
    let disk = crate::disk::walk(folder.path());
    let directories = disk.0.iter().filter(|(_, stat)| stat.kind == Kind::Directory);
    let directories: Vec<TreePath> =
        directories.map(|(path, _)| TreePath::new(path.clone()).unwrap()).collect();
    assert_eq!(asked, directories);
}

#[test]
fn what_lies_deeper_than_a_path_can_tell_is_a_soft_error() {
    let folder = folder();
    let name = "n".repeat(200);
    let mut at = OwnedFd::from(fs::File::open(folder.path()).unwrap());
    for _ in 0..30 {
        rustix::fs::mkdirat(&at, &*name, 0o700.into()).unwrap();
        let flags = rustix::fs::OFlags::DIRECTORY;
        at = rustix::fs::openat(&at, &*name, flags, 0o700.into()).unwrap();
    }
    drop(at);
    for root in roots(folder.path()) {
        let (found, report) = scan_with(&root, &ScanOptions::default(), None);
        assert!(report.complete);
        assert_eq!((report.counts.entries, report.counts.errors), (20, 1), "20 × 201 ≤ 4096");
        let errors = found.iter().filter_map(|item| match item {
            Found::Listed(listed) => listed.errors.first(),
            _ => None,
        });
        let errors: Vec<i32> = errors.map(|error| error.errno).collect();
        assert_eq!(errors, [Errno::NAMETOOLONG.raw_os_error()]);
    }
}

#[test]
fn a_directory_that_must_not_be_read_is_said_and_ends_nothing() {
    let folder = folder();
    fs::create_dir_all(folder.path().join("closed/inside")).unwrap();
    fs::create_dir_all(folder.path().join("names-only/inside")).unwrap();
    let mode = |name: &str, mode| {
        fs::set_permissions(folder.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    mode("closed", 0o000);
    mode("names-only", 0o400);
    let root = Root::open(folder.path(), RootOptions::default()).unwrap();
    let (found, report) = scan_with(&root, &ScanOptions::default(), None);
    mode("closed", 0o700);
    mode("names-only", 0o700);
    assert!(report.complete);
    if rustix::process::geteuid().is_root() {
        eprintln!("NOT SHOWN: to root no directory is closed, so EACCES cannot be had here");
        assert_eq!(report.counts.errors, 0);
        return;
    }
    let unreadable = |item: &Found| match item {
        Found::Unreadable(it) => {
            it.dir == path("/closed") && it.errno == Errno::ACCESS.raw_os_error()
        }
        _ => false,
    };
    assert!(found.iter().any(unreadable), "{found:?}");
    let incomplete = |item: &Found| match item {
        Found::Listed(it) => it.path == path("/names-only") && !it.complete && it.errors.len() == 1,
        _ => false,
    };
    assert!(found.iter().any(incomplete), "{found:?}");
}
