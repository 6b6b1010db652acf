//! A scan gives what a naive walk gives.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::Path;

use agent_client::scan::{Found, ListedDir, Root, RootOptions, ScanOptions, Start};

use crate::disk::{Tree, walk};
use crate::harness::{folder, in_one_part, scan_with};

/// A bit of everything that can have a name.
pub(crate) fn fill(root: &Path) {
    for directory in ["a/b/c/d", "a/empty", "many", "z"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    for number in 0..1_200 {
        fs::write(root.join(format!("many/f{number}")), vec![0; number % 7]).unwrap();
    }
    fs::write(root.join("a/b/file"), "content").unwrap();
    fs::hard_link(root.join("a/b/file"), root.join("z/link")).unwrap();
    symlink("b/file", root.join("a/symlink")).unwrap();
    symlink("/", root.join("a/to-the-root")).unwrap();
    symlink("nowhere", root.join("a/dangling")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, root.join("a/fifo"), 0o600.into()).unwrap();
    let _listener = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
    for name in [&b"\xff\xfe"[..], b"new\nline", b"tab\t", b"-rf", b"\\", &[b'n'; 255]] {
        fs::write(root.join(std::ffi::OsStr::from_bytes(name)), "").unwrap();
        let directory = [b"dir-".to_vec(), name[..name.len().min(200)].to_vec()].concat();
        let directory = root.join(std::ffi::OsStr::from_bytes(&directory));
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("inside"), "").unwrap();
    }
}

fn copy_of(found: &[Found]) -> Tree {
    let mut copy = Tree::default();
    for item in found {
        if let Found::Listed(listed) = item {
            copy.list(listed);
        }
    }
    copy
}

#[test]
fn a_scan_equals_a_naive_walk() {
    let folder = folder();
    fill(folder.path());
    let disk = walk(folder.path());
    for without_openat2 in [false, true] {
        for workers in [1_usize, 2, 7] {
            let options = RootOptions { without_openat2, ..RootOptions::default() };
            let root = Root::open(folder.path(), options).unwrap();
            let options = ScanOptions { workers: workers.try_into().unwrap(), ..in_one_part() };
            let (found, report) = scan_with(&root, &options, None);
            assert_eq!(copy_of(&found).differences(&disk), Vec::<String>::new());
            assert_eq!((report.start, report.complete), (Start::Directory, true));
            assert_eq!(report.counts.entries, disk.0.len() as u64 - 1);
            assert_eq!(report.counts.file_stats, report.counts.entries);
            let directories = found.iter().filter(|item| matches!(item, Found::Listed(_)));
            assert_eq!(report.counts.directories, directories.count() as u64);
            assert_eq!(report.counts.errors, 0);
        }
    }
}

#[test]
fn a_large_directory_comes_in_parts_that_meet() {
    let folder = folder();
    for number in 0..20_000 {
        fs::write(folder.path().join(format!("{}-file", number * 7 % 20_000)), "").unwrap();
    }
    let root = Root::open(folder.path(), RootOptions::default()).unwrap();
    let (found, report) = scan_with(&root, &ScanOptions::default(), None);
    assert!(report.complete);
    let parts: Vec<&ListedDir> = found
        .iter()
        .map(|item| match item {
            Found::Listed(listed) => &**listed,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(parts.len(), 21);
    let mut names: Vec<Vec<u8>> = Vec::new();
    for (number, part) in parts.iter().enumerate() {
        assert_eq!((part.part as usize, part.last), (number, number == 20));
        assert_eq!((part.dir_stat, part.started_at), (parts[0].dir_stat, parts[0].started_at));
        assert!(part.complete && part.started_at <= part.finished_at);
        names.extend(part.children.as_children().iter().map(|row| row.0.to_vec()));
    }
    assert_eq!(names.len(), 20_000);
    assert!(names.is_sorted_by(|one, other| one < other), "sorted by bytes, none twice");
}

#[test]
fn an_empty_directory_is_one_empty_part() {
    let folder = folder();
    let root = Root::open(folder.path(), RootOptions::default()).unwrap();
    let (found, report) = scan_with(&root, &ScanOptions::default(), None);
    let [Found::Listed(listed)] = &found[..] else { panic!("{found:?}") };
    assert!(listed.children.is_empty() && listed.last && listed.complete && listed.part == 0);
    assert!(report.complete);
}
