//! Scans that are broken off and gone on with, and trees that lead back into themselves.

use std::collections::BTreeSet;
use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;

use agent_client::clock::HostClock;
use agent_client::scan::{
    Cancel, Found, LeftOut, Memory, Recall, Root, RootOptions, Scan, ScanCounters, ScanOptions,
    ScanReport, Silent, Unlimited, WhyLeftOut,
};
use fusion_core::path::{PathRef, TreePath};
use fusion_core::stat::Kind;
use fusion_core::time::StorageTime;

use crate::harness::{folder, scan_with};

/// What a scan gave before it was broken off: directories that it listed to the end, and those that
/// it told of as silent.
#[derive(Default)]
struct Gave {
    listed: Vec<TreePath>,
    silent: Vec<TreePath>,
}

/// Scans the whole tree with a memory, until so many listings were given.
fn scan_for(root: &Root, memory: &Memory, workers: usize, most: usize) -> (Gave, ScanReport) {
    let (gave, cancel) = (Mutex::new(Gave::default()), Cancel::new());
    let sink = |item| {
        if let Found::Listed(part) = item {
            let mut gave = gave.lock().unwrap();
            assert!(part.complete);
            if part.last {
                gave.listed.push(part.path);
            }
            if gave.listed.len() >= most {
                cancel.set();
            }
        }
        ControlFlow::Continue(())
    };
    let tell = |silent: Silent| {
        gave.lock().unwrap().silent.push(silent.dir);
        ControlFlow::Continue(())
    };
    let settled = |_| StorageTime::from_nanos(i64::MAX);
    let scan = Scan {
        root,
        options: &ScanOptions {
            workers: workers.try_into().unwrap(),
            max_rows: 7.try_into().unwrap(),
            ..ScanOptions::default()
        },
        clock: &HostClock,
        cancel: &cancel,
        counters: &ScanCounters::default(),
        pace: &Unlimited,
        placer: None,
        then: None,
    };
    let recall = Recall { memory, deep: None, settled: &settled, tell: &tell };
    let report = scan.whole(&sink, &recall);
    (gave.into_inner().unwrap(), report)
}

fn directories(at: &Path) -> BTreeSet<TreePath> {
    let disk = crate::disk::walk(at);
    let directories = disk.0.iter().filter(|(_, stat)| stat.kind == Kind::Directory);
    directories.map(|(path, _)| TreePath::new(path.clone()).unwrap()).collect()
}

#[test]
fn a_scan_that_is_broken_off_goes_on_by_directory_and_lists_none_twice() {
    let folder = folder();
    crate::scan::fill(folder.path());
    for number in 0..30 {
        let below = folder.path().join(format!("more{}/d{number}", number % 4));
        fs::create_dir_all(&below).unwrap();
        for file in 0..number {
            fs::write(below.join(format!("f{file}")), "").unwrap();
        }
    }
    let root = Root::open(folder.path(), RootOptions::default()).unwrap();
    let all = directories(folder.path());
    for workers in [1, 2, 4] {
        for most in [1, 2, 3, 7, 20] {
            let (memory, mut listed) = (Memory::default(), BTreeSet::new());
            let mut scans = 0;
            loop {
                let (gave, report) = scan_for(&root, &memory, workers, most);
                for dir in gave.silent {
                    assert!(listed.contains(&dir), "{dir} was never listed");
                }
                let is_over = report.complete;
                for dir in gave.listed {
                    assert!(!listed.contains(&dir), "{dir} twice, {workers} workers, {most}");
                    listed.insert(dir);
                }
                scans += 1;
                assert!(scans <= all.len() + 1, "it does not come on");
                if is_over {
                    break;
                }
            }
            assert_eq!(listed, all, "{workers} workers, {most} at a time");
            assert!(scans > 1 || most >= all.len());
        }
    }
}

/// Something mounted over a directory, until it is dropped.
struct Bound<'a>(&'a Path);

impl<'a> Bound<'a> {
    fn to(behind: &Path, at: &'a Path) -> Option<Self> {
        let mut mount = Command::new("mount");
        let mounted = mount.arg("--bind").args([behind, at]).stderr(Stdio::null()).status();
        mounted.unwrap().success().then_some(Self(at))
    }
}

impl Drop for Bound<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[test]
fn a_tree_that_leads_back_into_itself_is_walked_once() {
    let folder = folder();
    let tree = folder.path().join("tree");
    fs::create_dir_all(tree.join("a/b/c")).unwrap();
    fs::write(tree.join("a/b/file"), "x").unwrap();
    symlink(&tree, tree.join("a/up")).unwrap();
    symlink(".", tree.join("a/b/here")).unwrap();
    let options = RootOptions { cross_mounts: true, ..RootOptions::default() };
    let root = Root::open(&tree, options).unwrap();
    let (_, report) = scan_with(&root, &ScanOptions::default(), None);
    assert_eq!(
        (report.counts.directories, report.counts.entries),
        (4, 6),
        "links are not followed"
    );
    let at = tree.join("a/b/c");
    let Some(_bound) = Bound::to(&tree, &at) else {
        return eprintln!("NOT SHOWN: a loop needs a bind mount, which is not to be had here");
    };
    for without_openat2 in [false, true] {
        let root = Root::open(&tree, RootOptions { without_openat2, ..options }).unwrap();
        for workers in [1, 4] {
            let options =
                ScanOptions { workers: workers.try_into().unwrap(), ..Default::default() };
            let (found, report) = scan_with(&root, &options, None);
            assert!(report.complete);
            assert_eq!((report.counts.directories, report.counts.entries), (3, 6));
            let dir = TreePath::new(b"/a/b/c".to_vec()).unwrap();
            let left_out = Found::LeftOut(LeftOut { dir, why: WhyLeftOut::Loop });
            assert_eq!(found.iter().filter(|item| **item == left_out).count(), 1, "{found:?}");
        }
        // From below, what is above is no loop until it is come to again.
        let (below, counters) = (TreePath::new(b"/a/b".to_vec()).unwrap(), ScanCounters::default());
        let scan = Scan {
            root: &root,
            options: &ScanOptions::default(),
            clock: &HostClock,
            cancel: &Cancel::new(),
            counters: &counters,
            pace: &Unlimited,
            placer: None,
            then: None,
        };
        let report = scan.place_watches(below.as_ref(), &|_| ControlFlow::Continue(()));
        // b, c which is the root, and a in it.
        assert!(report.complete && report.counts.directories == 3, "{report:?}");
        assert_eq!(scan.place_watches(PathRef::ROOT, &|_| ControlFlow::Continue(())).start, {
            agent_client::scan::Start::Directory
        });
    }
}
