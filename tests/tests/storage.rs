//! Storage seen through a mount that is not the only way to it: what happens behind the agent's back,
//! and a mount that hangs, dies, goes away, is covered by another, or is suddenly empty (R9, R11).
//!
//! The mount is bindfs: kernel events of one mount tell nothing of what is done beside it, SIGSTOP
//! makes it hang, SIGKILL makes it answer ENOTCONN. Directories that answer with errors are a row of
//! docs/faults.md.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fusion_tests::compare;
use fusion_tests::pair::{READY, World};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

const SETTINGS: &str = r#"
[view_defaults]
cache_horizon = "200ms"
hot_threshold = "100ms"
session_timeout = "6s"
audit_interval = "700ms"
deep_audit_one_in = 4
"#;

/// How long it may take until a root that is not there is noticed: the agent looks every 5 s, and
/// waits for 5 s before it calls a look hung.
const NOTICED: Duration = Duration::from_secs(40);

/// A tree, and a mount through which the agent sees it.
struct Storage {
    folder: TempDir,
    bindfs: Child,
}

impl Storage {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["behind", "mount"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let behind = folder.path().join("behind");
        for number in 0..200 {
            let below = behind.join(format!("d{}/e{}", number % 10, number % 3));
            fs::create_dir_all(&below).unwrap();
            fs::write(below.join(format!("f{number}")), "1").unwrap();
        }
        fs::write(folder.path().join("server.toml"), SETTINGS).unwrap();
        let bindfs = mount(folder.path());
        Self { folder, bindfs }
    }

    fn world(&self) -> World {
        let config = self.folder.path().join("server.toml");
        World::start_on(&self.mount(), &["--config", config.to_str().unwrap()])
    }

    /// The tree itself: what is done here, no event of the mount tells.
    fn behind(&self) -> PathBuf {
        self.folder.path().join("behind")
    }

    fn mount(&self) -> PathBuf {
        self.folder.path().join("mount")
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.bindfs), signal).unwrap();
    }

    fn unmount(&mut self) {
        let done = Command::new("umount").arg("-l").arg(self.mount()).status().unwrap();
        assert!(done.success());
        let _ = self.bindfs.kill();
        self.bindfs.wait().unwrap();
    }

    fn mount_again(&mut self) {
        self.bindfs = mount(self.folder.path());
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.mount()).stderr(Stdio::null()).status();
        let _ = self.bindfs.kill();
        let _ = self.bindfs.wait();
    }
}

fn mount(folder: &Path) -> Child {
    let point = folder.join("mount");
    let bindfs = Command::new("bindfs")
        .args(["-f", "-o", "attr_timeout=0,entry_timeout=0,negative_timeout=0"])
        .args([folder.join("behind"), point.clone()])
        .spawn()
        .expect("bindfs, which .ci/install installs");
    let text = format!(" {} ", point.display());
    let is_there = || fs::read_to_string("/proc/self/mountinfo").unwrap().contains(&text);
    wait_for(is_there, "the mount");
    bindfs
}

fn wait_for(mut is: impl FnMut() -> bool, what: &str) {
    let started = compare::clock();
    while !is() {
        assert!(started.elapsed() < NOTICED, "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Waits until the view says that it is not to be believed, and why.
async fn until_degraded(world: &World) -> String {
    let started = compare::clock();
    loop {
        let freshness = world.client().view(world.view()).await.unwrap().freshness;
        if !freshness.is_ready() {
            return format!("{} {:?}", freshness.state_text(), freshness.reasons);
        }
        assert!(started.elapsed() < NOTICED, "the view is READY as if nothing were wrong");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn entries(world: &World) -> usize {
    compare::view_tree(&mut world.client(), world.view()).await.unwrap().len()
}

#[tokio::test]
async fn audits_find_what_is_done_behind_the_mount() {
    let storage = Storage::new();
    let world = storage.world();
    let _agent = world.start_ready_agent("one").await;
    world.settle().await;
    let behind = storage.behind();
    fs::write(behind.join("d1/new"), "new").unwrap();
    fs::create_dir_all(behind.join("d2/made/below")).unwrap();
    fs::write(behind.join("d2/made/below/file"), "x").unwrap();
    println!("made: equal after {:?}", world.settle().await);
    fs::rename(behind.join("d3"), behind.join("d4/moved")).unwrap();
    fs::remove_dir_all(behind.join("d5")).unwrap();
    println!("moved and removed: equal after {:?}", world.settle().await);
    // No directory shows it: only the rotation of the deep audit finds it.
    fs::write(behind.join("d6/e0/f6"), "longer than before").unwrap();
    println!("rewritten in place: equal after {:?}", world.settle().await);
}

#[tokio::test]
async fn a_mount_that_hangs_removes_nothing_and_heals() {
    let storage = Storage::new();
    let world = storage.world();
    let _agent = world.start_ready_agent("one").await;
    world.settle().await;
    let before = entries(&world).await;
    storage.signal(Signal::STOP);
    println!("{}", until_degraded(&world).await);
    fs::write(storage.behind().join("d1/meanwhile"), "x").unwrap();
    assert_eq!(entries(&world).await, before);
    storage.signal(Signal::CONT);
    compare::until_ready(&mut world.client(), world.view(), READY).await;
    world.settle().await;
}

#[tokio::test]
async fn a_mount_that_dies_removes_nothing_and_heals_when_it_is_back() {
    let mut storage = Storage::new();
    let world = storage.world();
    let _agent = world.start_ready_agent("one").await;
    world.settle().await;
    let before = entries(&world).await;
    storage.signal(Signal::KILL);
    println!("{}", until_degraded(&world).await);
    assert_eq!(entries(&world).await, before);
    storage.unmount();
    fs::write(storage.behind().join("d1/meanwhile"), "x").unwrap();
    storage.mount_again();
    compare::until_ready(&mut world.client(), world.view(), READY).await;
    world.settle().await;
    // It watches the new mount.
    fs::write(storage.mount().join("d1/after"), "x").unwrap();
    world.settle().await;
}

#[tokio::test]
async fn a_mount_that_is_gone_leaves_no_empty_view() {
    let mut storage = Storage::new();
    let world = storage.world();
    let _agent = world.start_ready_agent("one").await;
    world.settle().await;
    let before = entries(&world).await;
    storage.unmount();
    println!("{}", until_degraded(&world).await);
    // Long enough for audits of the empty directory below.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(entries(&world).await, before);
    storage.mount_again();
    compare::until_ready(&mut world.client(), world.view(), READY).await;
    world.settle().await;
}

#[tokio::test]
async fn another_device_in_the_place_of_the_mount_changes_nothing() {
    let storage = Storage::new();
    let world = storage.world();
    let _agent = world.start_ready_agent("one").await;
    world.settle().await;
    let before = entries(&world).await;
    let tmpfs = Command::new("mount").args(["-t", "tmpfs", "none"]).arg(storage.mount()).status();
    assert!(tmpfs.unwrap().success(), "needs root");
    // What another tree has is not this tree's, whatever stands in it.
    fs::create_dir(storage.mount().join("d1")).unwrap();
    fs::write(storage.mount().join("d1/another"), "x").unwrap();
    println!("{}", until_degraded(&world).await);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(entries(&world).await, before, "long enough for audits");
    fs::write(storage.behind().join("d1/meanwhile"), "x").unwrap();
    assert!(Command::new("umount").arg(storage.mount()).status().unwrap().success());
    compare::until_ready(&mut world.client(), world.view(), READY).await;
    world.settle().await;
}

#[tokio::test]
async fn storage_that_is_suddenly_empty_is_doubted_and_not_believed() {
    let storage = Storage::new();
    let world = storage.world();
    let _agent = world.start_ready_agent("one").await;
    world.settle().await;
    let before = entries(&world).await;
    let aside = storage.folder.path().join("aside");
    fs::create_dir(&aside).unwrap();
    let move_all = |from: &Path, to: &Path| {
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            fs::rename(entry.path(), to.join(entry.file_name())).unwrap();
        }
    };
    move_all(&storage.behind(), &aside);
    let why = until_degraded(&world).await;
    println!("{why}");
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(entries(&world).await, before, "long enough for audits that find nothing");
    move_all(&aside, &storage.behind());
    compare::until_ready(&mut world.client(), world.view(), READY).await;
    world.settle().await;
}
