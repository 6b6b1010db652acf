//! Storage seen through a mount that is not the only way to it: what happens behind the agent's back,
//! and a mount that hangs, dies, goes away, is covered by another, or is suddenly empty (R9, R11).
//!
//! The mount is bindfs: kernel events of one mount tell nothing of what is done beside it, SIGSTOP
//! makes it hang, SIGKILL makes it answer ENOTCONN. Directories that answer with errors are a row of
//! docs/faults.md.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use fusion_core::path::TreePath;
use fusion_tests::compare;
use fusion_tests::faults::checks::until;
use fusion_tests::mounts::Bind;
use fusion_tests::pair::{NOTICED, READY, World, counter};
use fusion_tests::settings::Settings;
use rustix::process::Signal;
use tempfile::TempDir;

/// A tree, and a mount through which the agent sees it.
struct Storage {
    bind: Option<Bind>,
    folder: TempDir,
}

impl Storage {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let behind = folder.path().join("behind");
        for number in 0..200 {
            let below = behind.join(format!("d{}/e{}", number % 10, number % 3));
            fs::create_dir_all(&below).unwrap();
            fs::write(below.join(format!("f{number}")), "1").unwrap();
        }
        let mut storage = Self { bind: None, folder };
        storage.mount_again();
        storage
    }

    fn world(&self) -> World {
        World::start_configured_on(&self.mount(), &Settings::QUICK.toml())
    }

    /// The tree itself: what is done here, no event of the mount tells.
    fn behind(&self) -> PathBuf {
        self.folder.path().join("behind")
    }

    fn mount(&self) -> PathBuf {
        self.folder.path().join("mount")
    }

    fn signal(&self, signal: Signal) {
        self.bind.as_ref().unwrap().process.signal(signal);
    }

    fn unmount(&mut self) {
        self.bind = None;
    }

    fn mount_again(&mut self) {
        self.bind = Some(Bind::of(&self.behind(), &self.mount(), Duration::ZERO));
    }
}

/// Waits until the view says that it is not to be believed, and why.
async fn until_degraded(world: &World) -> String {
    compare::until_not_ready(&mut world.client(), world.view(), NOTICED).await
}

async fn entries(world: &World) -> usize {
    compare::entries(&mut world.client(), world.view()).await
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

/// Written and not closed, they are suspect: the sentinel looks at them when they should be quiet. Without an audit
/// nobody else would find what became of them behind the mount.
#[tokio::test]
async fn what_is_suspect_is_looked_at_and_found_as_it_is() {
    let storage = Storage::new();
    let settings = Settings { session_timeout: "30s", ..Settings::NO_AUDITS };
    let world = World::start_configured_on(&storage.mount(), &settings.toml());
    let agent = world.start_ready_agent("one").await;
    world.settle().await;
    let names = ["changed", "gone"];
    let _open = names.map(|name| {
        let mut file = fs::File::create(storage.mount().join("d1").join(name)).unwrap();
        file.write_all(b"x").unwrap();
        file
    });
    for name in names {
        until("it is suspect", async || {
            let path = TreePath::new(format!("/d1/{name}").into_bytes()).unwrap();
            let entry = world.client().entry(world.view(), &path).await.ok()?.entry;
            (entry.suspect && entry.stat.size == 1).then_some(())
        })
        .await;
    }
    fs::write(storage.behind().join("d1/changed"), "longer than before").unwrap();
    fs::remove_file(storage.behind().join("d1/gone")).unwrap();
    println!("looked at: equal after {:?}", world.settle().await);
    let scans = "fusion_agent_scans_total{outcome=\"complete\"}";
    assert_eq!(counter(&agent.http, scans), 1.0, "the first snapshot alone");
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
    // All at once, as it is seen through the mount: what is gone one by one is believed.
    let move_all = |from: &Path, to: &Path| {
        storage.signal(Signal::STOP);
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            fs::rename(entry.path(), to.join(entry.file_name())).unwrap();
        }
        storage.signal(Signal::CONT);
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
