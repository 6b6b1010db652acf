//! What happens in the tree is seen: every kind of change, and afterwards view and disk are equal,
//! entry for entry.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::time::Duration;

use fusion_tests::disk::raw;
use fusion_tests::pair::World;
use rustix::fs::{FileType, Mode, makedev, mknodat};

/// What is done, and how.
type Step = (&'static str, fn(&Path));

#[tokio::test]
async fn one_change_after_the_other() {
    let world = World::start();
    fs::create_dir(world.root().join("before")).unwrap();
    fs::write(world.root().join("before/file"), "1").unwrap();
    let _agent = world.start_ready_agent("one").await;
    world.settle().await;

    let root = world.root();
    let steps: [Step; 12] = [
        ("create", |root| fs::write(root.join("a"), "").unwrap()),
        ("write", |root| fs::write(root.join("a"), "hello").unwrap()),
        ("append", |root| {
            let mut file = File::options().append(true).open(root.join("a")).unwrap();
            file.write_all(b" world").unwrap();
        }),
        ("chmod", |root| {
            fs::set_permissions(root.join("a"), fs::Permissions::from_mode(0o600)).unwrap();
        }),
        ("rename", |root| fs::rename(root.join("a"), root.join("b")).unwrap()),
        ("rename over", |root| {
            fs::write(root.join("c"), "new").unwrap();
            fs::rename(root.join("c"), root.join("b")).unwrap();
        }),
        ("remove", |root| fs::remove_file(root.join("b")).unwrap()),
        ("mkdir -p with files", |root| {
            fs::create_dir_all(root.join("p/q/r")).unwrap();
            fs::write(root.join("p/1"), "1").unwrap();
            fs::write(root.join("p/q/22"), "22").unwrap();
            fs::write(root.join("p/q/r/333"), "333").unwrap();
        }),
        ("move a tree", |root| fs::rename(root.join("p"), root.join("before/moved")).unwrap()),
        ("write in the moved tree", |root| {
            fs::write(root.join("before/moved/q/r/4444"), "4444").unwrap();
        }),
        ("remove the tree", |root| fs::remove_dir_all(root.join("before")).unwrap()),
        ("the same names again", |root| {
            fs::create_dir(root.join("before")).unwrap();
            fs::write(root.join("before/file"), "other").unwrap();
        }),
    ];
    for (what, step) in steps {
        step(root);
        let took = world.settle().await;
        println!("{what}: equal after {took:?}");
    }
}

#[tokio::test]
async fn a_copy_of_a_thousand_files() {
    let world = World::start();
    let source = world.path("source");
    for number in 0..1_000 {
        let folder = source.join(format!("d{}/e{}", number % 10, number % 7));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(format!("f{number}")), number.to_string()).unwrap();
    }
    let _agent = world.start_ready_agent("one").await;
    copy(&source, &world.root().join("copy"));
    println!("cp -r: equal after {:?}", world.settle().await);
    fs::rename(world.root().join("copy"), world.root().join("there")).unwrap();
    println!("mv: equal after {:?}", world.settle().await);
    fs::remove_dir_all(world.root().join("there")).unwrap();
    println!("rm -rf: equal after {:?}", world.settle().await);
}

fn make_node(path: &Path, kind: FileType, device: u64) -> rustix::io::Result<()> {
    mknodat(rustix::fs::CWD, path, kind, Mode::from_raw_mode(0o600), device)
}

#[tokio::test]
async fn names_and_kinds_of_every_sort() {
    let world = World::start();
    let root = world.root();
    let odd = |root: &Path| {
        fs::write(root.join(raw(b"not-utf8-\xff\xfe")), "x").unwrap();
        fs::write(root.join("new\nline"), "x").unwrap();
        fs::write(root.join("back\\slash"), "x").unwrap();
        fs::write(root.join("ümläut ☃"), "x").unwrap();
        fs::write(root.join("l".repeat(255)), "x").unwrap();
        symlink("nowhere", root.join("dangling")).unwrap();
        fs::write(root.join("linked"), "x").unwrap();
        fs::hard_link(root.join("linked"), root.join("hard")).unwrap();
        make_node(&root.join("fifo"), FileType::Fifo, 0).unwrap();
        // `null` and `loop0`. Only who may make them can have them in a tree.
        let character = make_node(&root.join("null"), FileType::CharacterDevice, makedev(1, 3));
        let block = make_node(&root.join("loop0"), FileType::BlockDevice, makedev(7, 0));
        for made in [character, block] {
            match made {
                Err(rustix::io::Errno::PERM) => {
                    println!("NOT RUN: a device, which needs CAP_MKNOD")
                }
                made => made.unwrap(),
            }
        }
        drop(std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap());
    };
    let scanned = root.join("scanned");
    fs::create_dir(&scanned).unwrap();
    odd(&scanned);
    let _agent = world.start_ready_agent("one").await;
    world.settle().await;
    let seen = root.join("seen");
    fs::create_dir(&seen).unwrap();
    world.settle().await;
    odd(&seen);
    world.settle().await;

    let listed = world.fusionctl(&["--output", "json", "ls", "/seen"]);
    let text = String::from_utf8(listed.stdout).unwrap();
    assert!(text.contains(r#""path":"/seen/not-utf8-\\xFF\\xFE""#), "{text}");
    assert!(text.contains(r#""path":"/seen/new\\x0Aline""#), "{text}");
    assert!(text.contains(r#""path":"/seen/back\\\\slash""#), "{text}");
}

#[tokio::test]
async fn a_deep_path_and_a_large_directory() {
    let world = World::start();
    let mut deep = world.root().to_path_buf();
    for _ in 0..15 {
        deep.push("d".repeat(200));
    }
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("bottom"), "x").unwrap();
    let large = world.root().join("large");
    fs::create_dir(&large).unwrap();
    for number in 0..5_000 {
        fs::write(large.join(format!("file-{number}")), "").unwrap();
    }
    let _agent = world.start_ready_agent("one").await;
    world.settle().await;
    for number in (0..5_000).step_by(2) {
        fs::remove_file(large.join(format!("file-{number}"))).unwrap();
    }
    println!("2,500 removed: equal after {:?}", world.settle().await);
}

#[tokio::test]
async fn files_are_made_while_the_first_scan_runs() {
    let world = World::start();
    let root = world.root().to_path_buf();
    for number in 0..200 {
        fs::create_dir_all(root.join(format!("d{number}"))).unwrap();
    }
    let writer = std::thread::Builder::new()
        .name("writer".into())
        .spawn(move || {
            for number in 0..4_000 {
                fs::write(root.join(format!("d{}/f{number}", number % 200)), "x").unwrap();
            }
        })
        .unwrap();
    let _agent = world.start_ready_agent("one").await;
    writer.join().unwrap();
    println!("equal after {:?}", world.settle().await);
}

#[tokio::test]
async fn an_idle_pair_ends_within_two_seconds() {
    let mut world = World::start();
    let mut agent = world.start_ready_agent("one").await;
    let limit = Duration::from_secs(2);
    assert!(agent.process.terminate(limit).success());
    assert!(world.server().terminate(limit).success());
}

fn copy(from: &Path, to: &Path) {
    let done = std::process::Command::new("cp").arg("-r").args([from, to]).status().unwrap();
    assert!(done.success());
}
