//! What a watcher tells makes a copy that equals the disk.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use crate::harness::Watched;

fn run(program: &str, arguments: &[&Path]) {
    let status = Command::new(program).args(arguments).status().unwrap();
    assert!(status.success(), "{program} {arguments:?}");
}

pub(crate) fn fill_small(root: &Path) {
    for directory in ["a/b/c", "d", "e"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    for file in ["a/one", "a/b/two", "a/b/c/three", "d/four", "top"] {
        fs::write(root.join(file), file).unwrap();
    }
}

#[test]
fn directories_and_files_that_appear_together() {
    let mut tree = Watched::new(fill_small);
    let made = Command::new("sh")
        .current_dir(&tree.root)
        .args(["-c", "mkdir -p x/y/z && echo 1 > x/y/z/f && echo 2 > x/f && mkdir -p a/b/c/n/m && touch a/b/c/n/m/f"])
        .status();
    assert!(made.unwrap().success());
    tree.level("mkdir -p with files");
    for number in 0..200 {
        let deep = tree.at(&format!("deep/{number}/a/b/c"));
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join("file"), "x").unwrap();
    }
    tree.level("many chains of directories");
    fs::write(tree.at("deep/7/a/b/c/later"), "x").unwrap();
    fs::write(tree.at("x/y/z/later"), "x").unwrap();
    tree.level("and they are watched");
    assert_eq!(tree.watcher().handle().counts().dropped_watches, 0);
}

#[test]
fn a_copy_of_a_tree_and_its_removal() {
    let mut tree = Watched::new(fill_small);
    let source = tree.outside().join("source");
    for directory in 0..20 {
        let directory = source.join(format!("d{directory}/sub"));
        fs::create_dir_all(&directory).unwrap();
        for file in 0..50 {
            fs::write(directory.join(format!("f{file}")), vec![1; file]).unwrap();
        }
    }
    run("cp", &[Path::new("-r"), &source, &tree.at("copy")]);
    tree.level("cp -r of 1,000 files");
    run("cp", &[Path::new("-a"), &source, &tree.at("a/b/exact")]);
    tree.level("cp -a of 1,000 files");
    tree.told.clear();
    run("rm", &[Path::new("-rf"), &tree.at("copy")]);
    tree.level("rm -rf");
    assert!(tree.said().contains(&"remove /copy".to_owned()));
    run("rm", &[Path::new("-rf"), &tree.at("a")]);
    run("cp", &[Path::new("-r"), &source, &tree.at("a")]);
    tree.level("removed and made again under one name");
    fs::write(tree.at("a/d3/sub/later"), "x").unwrap();
    tree.level("and watched");
}

#[test]
fn writing_closing_and_appending() {
    let mut tree = Watched::new(fill_small);
    tree.forget();
    fs::write(tree.at("new"), "content").unwrap();
    tree.level("a new file");
    tree.settle();
    assert!(tree.said().contains(&"upsert /new".to_owned()), "{:?}", tree.said());
    assert!(!tree.said().contains(&"remove /new".to_owned()));
    tree.told.clear();
    let mut file = OpenOptions::new().append(true).open(tree.at("new")).unwrap();
    file.write_all(b"more").unwrap();
    tree.level("appended and still open");
    assert!(tree.said().contains(&"open /new".to_owned()), "{:?}", tree.said());
    assert!(!tree.said().contains(&"upsert /new".to_owned()), "{:?}", tree.said());
    let permissions = fs::Permissions::from_mode(0o600);
    fs::set_permissions(tree.at("new"), permissions).unwrap();
    tree.level("its mode while it is open");
    assert!(!tree.said().contains(&"upsert /new".to_owned()), "{:?}", tree.said());
    drop(file);
    assert!(tree.eventually(|tree| tree.said().contains(&"upsert /new".to_owned())));
    tree.settle();
    tree.told.clear();
    let permissions = fs::Permissions::from_mode(0o644);
    fs::set_permissions(tree.at("new"), permissions).unwrap();
    tree.level("its mode when it is closed");
    assert_eq!(tree.said(), ["upsert /new"]);
}

#[test]
fn many_writes_to_one_file_are_few_looks() {
    let mut tree = Watched::new(fill_small);
    tree.forget();
    let before = tree.watcher().handle().counts();
    let mut file = OpenOptions::new().append(true).open(tree.at("top")).unwrap();
    for _ in 0..20_000 {
        file.write_all(b"x").unwrap();
    }
    tree.level("20,000 appends");
    drop(file);
    tree.level("and the close");
    let after = tree.watcher().handle().counts();
    assert!(after.file_stats - before.file_stats < 200, "{before:?} {after:?}");
}

#[test]
fn names_of_every_kind() {
    let mut tree = Watched::new(fill_small);
    crate::scan::fill(&tree.at("e"));
    tree.level("everything at once");
    for name in [&b"\xff\xfe"[..], b"new\nline", &[b'n'; 255]] {
        let name = std::ffi::OsStr::from_bytes(name);
        fs::write(tree.root.join(name), "x").unwrap();
        fs::rename(tree.root.join(name), tree.at("d").join(name)).unwrap();
        fs::create_dir(tree.root.join(name)).unwrap();
        fs::write(tree.root.join(name).join(name), "x").unwrap();
    }
    tree.level("names that are no text");
}

#[test]
fn what_nobody_closes_is_finished_at_once() {
    let mut tree = Watched::new(fill_small);
    tree.forget();
    symlink("top", tree.at("symlink")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, tree.at("fifo"), 0o600.into()).unwrap();
    fs::hard_link(tree.at("top"), tree.at("d/link")).unwrap();
    let wanted = ["upsert /symlink", "upsert /fifo", "upsert /d/link"];
    assert!(tree.eventually(|tree| {
        wanted.iter().all(|wanted| tree.said().contains(&(*wanted).to_owned()))
    }));
    tree.settle();
    assert!(!tree.said().iter().any(|said| said.starts_with("open")), "{:?}", tree.said());
}

#[test]
fn other_names_of_a_file_follow() {
    let mut tree = Watched::new(fill_small);
    fs::write(tree.at("first"), "x").unwrap();
    tree.level("a file");
    fs::hard_link(tree.at("first"), tree.at("d/second")).unwrap();
    tree.level("its second name");
    fs::write(tree.at("d/second"), "through the second").unwrap();
    tree.level("written through the second");
    fs::rename(tree.at("d/second"), tree.at("e/moved")).unwrap();
    fs::remove_file(tree.at("first")).unwrap();
    tree.level("the first removed");
    // As git and mail deliveries do it: a temporary name, a link, and the first name goes.
    for number in 0..50 {
        fs::write(tree.at("tmp"), "object").unwrap();
        fs::hard_link(tree.at("tmp"), tree.at(&format!("e/object{number}"))).unwrap();
        fs::remove_file(tree.at("tmp")).unwrap();
    }
    tree.level("linked from temporary names");
}

#[test]
fn a_burst_of_files_in_one_directory() {
    let mut tree = Watched::new(fill_small);
    for number in 0..20_000 {
        fs::write(tree.at(&format!("d/burst{number}")), "x").unwrap();
    }
    tree.level("20,000 files");
    let counts = tree.watcher().handle().counts();
    assert_eq!(counts.overflows, 0, "{counts:?}");
    for number in 0..20_000 {
        fs::remove_file(tree.at(&format!("d/burst{number}"))).unwrap();
    }
    tree.level("and their removal");
}

#[test]
fn temporary_files_leave_nothing_behind() {
    let mut tree = Watched::new(fill_small);
    tree.forget();
    for number in 0..2_000 {
        let path = tree.at(&format!("d/tmp{number}"));
        fs::write(&path, "x").unwrap();
        fs::remove_file(&path).unwrap();
    }
    tree.settle();
    tree.level("temporary files");
    // A scan may have told of each, so its end is told of.
    let removed = tree.said().iter().filter(|said| said.starts_with("remove /d/tmp")).count();
    assert_eq!(removed, 2_000);
    fs::remove_file(tree.at("top")).unwrap();
    fs::write(tree.at("top"), "again").unwrap();
    fs::remove_file(tree.at("top")).unwrap();
    tree.level("a known file that went, came and went");
}
