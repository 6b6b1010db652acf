//! Limits, losses and ends of a watcher.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use agent_client::clock::{AgentClock as _, HostClock};
use agent_client::scan::{FileId, Root, RootOptions, ScanOptions};
use agent_client::watch::{WatchEvidence, WatchOptions, Watcher};

use crate::harness::{Watched, folder, scan_with};
use crate::watch::fill_small;

#[test]
fn a_budget_is_kept_and_what_is_not_watched_is_counted() {
    let options = WatchOptions { max_watches: Some(10), ..WatchOptions::default() };
    let mut tree = Watched::with(options, |root| {
        for number in 0..30 {
            fs::create_dir(root.join(format!("{number:02}"))).unwrap();
        }
    });
    let counts = tree.watcher().handle().counts();
    assert_eq!((counts.watched, counts.unwatched, counts.limit), (10, 21, 10));
    fs::write(tree.at("in-the-root"), "x").unwrap();
    assert!(tree.eventually(|tree| tree.said().contains(&"upsert /in-the-root".to_owned())));
    // It comes whole.
    let whole = tree.outside().join("new");
    fs::create_dir_all(whole.join("deep")).unwrap();
    fs::rename(whole, tree.at("new")).unwrap();
    tree.level("a directory that appears is listed, and watched instead of a colder one");
    fs::write(tree.at("new/deep/later"), "x").unwrap();
    tree.level("and watched");
    assert_eq!(tree.watcher().handle().counts().watched, 10);
}

/// Directories `00` to `29`, each an hour hotter than the one before, but made in another order.
fn fill_by_heat(root: &Path) {
    for number in 0..30_u64 {
        let number = number * 7 % 30;
        let path = root.join(format!("{number:02}"));
        fs::create_dir(&path).unwrap();
        let made_at = fs::metadata(&path).unwrap().modified().unwrap();
        let changed_at = made_at - Duration::from_secs(3_600 * (30 - number));
        fs::File::open(&path).unwrap().set_modified(changed_at).unwrap();
    }
}

/// The directories in which a new file is told of.
fn seen(tree: &mut Watched, name: &str) -> Vec<u64> {
    tree.settle();
    tree.told.clear();
    for number in 0..30 {
        fs::write(tree.at(&format!("{number:02}/{name}")), "x").unwrap();
    }
    tree.settle();
    let told = tree.said();
    let is_told = |number: &u64| told.contains(&format!("upsert /{number:02}/{name}"));
    (0..30).filter(is_told).collect()
}

#[test]
fn the_hottest_directories_are_watched_and_the_least_recently_used_make_room() {
    let options = WatchOptions { max_watches: Some(10), ..WatchOptions::default() };
    let mut tree = Watched::with(options, fill_by_heat);
    let counts = tree.watcher().handle().counts();
    assert_eq!((counts.watched, counts.unwatched), (10, 21));
    // Nine, and the root.
    assert_eq!(seen(&mut tree, "one"), (21..30).collect::<Vec<_>>());
    // One after the other: what is read at once was used at once.
    for number in (22..30).chain([21]) {
        fs::write(tree.at(&format!("{number}/used")), "x").unwrap();
        tree.settle();
    }
    fs::create_dir(tree.at("new")).unwrap();
    assert!(tree.eventually(|tree| tree.said().contains(&"list /new".to_owned())));
    let others: Vec<u64> = [21].into_iter().chain(23..30).collect();
    assert_eq!(seen(&mut tree, "two"), others, "22 was the least recently used");
    assert_eq!(tree.watcher().handle().counts().watched, 10);
    fs::rename(tree.at("22"), tree.at("23/22")).unwrap();
    assert!(tree.eventually(|tree| tree.said().contains(&"list /23/22".to_owned())));
    assert_eq!(tree.watcher().handle().counts().dropped_watches, 0);
}

/// As many as the kernel gives to a user namespace and all in it.
const GIVEN: &str = "/proc/sys/user/max_inotify_watches";

/// Runs a test again in a user namespace of its own, because the kernel's limit is one for all that a
/// user runs; false where it is to run here, because it did.
fn runs_where_the_kernel_gives(watches: usize, name: &str) -> bool {
    const INSIDE: &str = "FUSION_TEST_FEW_WATCHES";
    if std::env::var_os(INSIDE).is_some() {
        return false;
    }
    let few = format!("echo {watches} > {GIVEN} && exec \"$@\"");
    let mut again = Command::new("unshare");
    again.args(["--user", "--map-root-user", "sh", "-c", &few, "sh"]);
    again.arg(std::env::current_exe().unwrap()).env(INSIDE, "1");
    again.args(["--exact", &format!("watch_edges::{name}")]);
    let output = again.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    if said.contains("unshare failed") {
        eprintln!("NOT RUN: no user namespace is to be had here: {said}");
        return true;
    }
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && shown.contains("1 passed"), "{shown}{said}");
    true
}

#[test]
fn a_limit_of_the_kernel_is_learned() {
    if runs_where_the_kernel_gives(11, "a_limit_of_the_kernel_is_learned") {
        return;
    }
    let mut tree = Watched::new(fill_by_heat);
    let counts = tree.watcher().handle().counts();
    assert_eq!((counts.watched, counts.unwatched, counts.limit), (11, 20, 11));
    assert_eq!(seen(&mut tree, "one"), (20..30).collect::<Vec<_>>());
}

/// Nothing tells of it but the refusal of the next watch. Each directory that appears then costs the
/// coldest its watch; it is listed all the same, and watched from when no more are held than are given.
#[test]
fn a_limit_of_the_kernel_that_is_lowered_is_gone_down_to() {
    if runs_where_the_kernel_gives(100, "a_limit_of_the_kernel_that_is_lowered_is_gone_down_to") {
        return;
    }
    let mut tree = Watched::new(fill_by_heat);
    let counts = tree.watcher().handle().counts();
    assert_eq!((counts.watched, counts.unwatched), (31, 0));
    fs::write(GIVEN, "25").unwrap();
    for number in 1..=10_u64 {
        fs::create_dir(tree.at(&format!("new{number}"))).unwrap();
        let listed = format!("list /new{number}");
        assert!(tree.eventually(|tree| tree.said().contains(&listed)), "{listed}");
        let counts = tree.watcher().handle().counts();
        let watched = (31 - number).max(25);
        assert_eq!((counts.watched, counts.unwatched), (watched, 31 + number - watched));
        assert_eq!(counts.limit, watched, "as it is known by now");
    }
    tree.forget();
    for number in 1..=10 {
        fs::write(tree.at(&format!("new{number}/file")), "x").unwrap();
    }
    tree.settle();
    let told = tree.said();
    let is_told = |number: &u64| told.contains(&format!("upsert /new{number}/file"));
    assert_eq!((1..=10).filter(is_told).collect::<Vec<_>>(), [7, 8, 9, 10]);
    // The hottest of the old ones: twenty, and the root.
    assert_eq!(seen(&mut tree, "one"), (10..30).collect::<Vec<_>>());
}

#[test]
fn our_own_directory_inside_the_tree_is_not_watched() {
    let folder = folder();
    let spool = folder.path().join("spool");
    fs::create_dir(&spool).unwrap();
    let root = Arc::new(Root::open(folder.path(), RootOptions::default()).unwrap());
    let own = FileId::of(&spool).unwrap();
    let options = WatchOptions { left_out: vec![own], ..WatchOptions::default() };
    let (sender, evidence) = sync_channel(1_000);
    let sink = move |batch: Vec<WatchEvidence>| match sender.send(batch) {
        Ok(()) => ControlFlow::Continue(()),
        Err(_) => ControlFlow::Break(()),
    };
    let watcher =
        Watcher::start(Arc::clone(&root), options, Arc::new(HostClock), Box::new(sink)).unwrap();
    let options = ScanOptions { left_out: vec![own], ..ScanOptions::default() };
    scan_with(&root, &options, Some(watcher.handle()));
    assert_eq!(watcher.handle().counts().watched, 1);
    fs::write(spool.join("segment"), "x").unwrap();
    fs::write(folder.path().join("marker"), "x").unwrap();
    let mut told = Vec::new();
    while !told.iter().any(|said| said == "upsert /marker") {
        told.extend(evidence.recv().unwrap().iter().map(crate::harness::say));
    }
    assert!(!told.iter().any(|said| said.contains("segment")), "{told:?}");
    drop(evidence);
    watcher.stop();
}

#[test]
fn lost_events_are_said_and_all_watches_are_placed_anew() {
    let folder = folder();
    fs::create_dir_all(folder.path().join("a/b")).unwrap();
    let root = Arc::new(Root::open(folder.path(), RootOptions::default()).unwrap());
    let queue_events = 64.try_into().unwrap();
    let options = WatchOptions { queue_events, ..WatchOptions::default() };
    // The sink takes nothing until it is asked, so the queue runs over.
    let (sender, evidence) = sync_channel(0);
    let sink = move |batch: Vec<WatchEvidence>| match sender.send(batch) {
        Ok(()) => ControlFlow::Continue(()),
        Err(_) => ControlFlow::Break(()),
    };
    let watcher =
        Watcher::start(Arc::clone(&root), options, Arc::new(HostClock), Box::new(sink)).unwrap();
    scan_with(&root, &ScanOptions::default(), Some(watcher.handle()));
    let before = HostClock.monotonic();
    for number in 0..1_000 {
        fs::write(folder.path().join(format!("a/f{number}")), "x").unwrap();
    }
    for number in 0..50 {
        fs::create_dir(folder.path().join(format!("a/n{number}"))).unwrap();
        for file in 0..20 {
            fs::write(folder.path().join(format!("a/n{number}/{file}")), "x").unwrap();
        }
    }
    fs::rename(folder.path().join("a/b"), folder.path().join("b")).unwrap();
    let mut losses = Vec::new();
    while losses.len() < 2 {
        for evidence in evidence.recv_timeout(crate::harness::PATIENCE).unwrap() {
            if let WatchEvidence::Overflow { since, watching_since, .. } = evidence {
                losses.push((since, watching_since));
            }
        }
    }
    let (first, last) = (losses[0], losses[losses.len() - 1]);
    assert!(first.0 <= last.1 && last.1 > before, "{losses:?}");
    assert!(watcher.handle().counts().overflows >= 1);
    // Every directory is watched again: the root, a, b and 50 new ones. One whose rename is read only
    // now is watched once more a moment later.
    let patient = HostClock.monotonic().plus(crate::harness::PATIENCE);
    while watcher.handle().counts().watched != 53 {
        assert!(HostClock.monotonic() < patient, "{:?}", watcher.handle().counts());
        let _ = evidence.recv_timeout(std::time::Duration::from_millis(5));
    }
    let paths = ["a/n7/later", "b/later"];
    for path in paths {
        fs::write(folder.path().join(path), "x").unwrap();
    }
    let mut told = Vec::new();
    while !paths.iter().all(|path| told.contains(&format!("upsert /{path}"))) {
        let batch = evidence.recv_timeout(crate::harness::PATIENCE).unwrap();
        told.extend(batch.iter().map(crate::harness::say));
    }
    drop(evidence);
    watcher.stop();
}

#[test]
fn a_root_that_goes_away_is_said() {
    let mut tree = Watched::new(fill_small);
    let away = tree.outside().join("away");
    fs::rename(&tree.root, &away).unwrap();
    assert!(tree.eventually(|tree| tree.said().contains(&"root gone".to_owned())));
    let mut tree = Watched::new(fill_small);
    fs::remove_dir_all(&tree.root).unwrap();
    assert!(tree.eventually(|tree| tree.said().contains(&"root gone".to_owned())));
}

#[test]
fn what_was_seen_goes_on_while_nothing_happens() {
    let mut tree = Watched::new(fill_small);
    tree.settle();
    let one = tree.watcher().handle().seen_through();
    let other = tree.watcher().handle().seen_through();
    assert!(one < other, "{one:?} {other:?}");
    // Not before an open file has been told of.
    let mut file = fs::File::create(tree.at("open")).unwrap();
    std::io::Write::write_all(&mut file, b"x").unwrap();
    tree.settle();
    assert!(tree.said().contains(&"open /open".to_owned()), "{:?}", tree.said());
}

#[test]
fn an_ended_watcher_tells_nothing_more_and_holds_nothing() {
    let mut tree = Watched::new(fill_small);
    let handle = tree.watcher().handle().clone();
    assert!(handle.is_running());
    tree.stop();
    assert!(!handle.is_running());
    fs::write(tree.at("unseen"), "x").unwrap();
    tree.drain();
    assert!(tree.told.is_empty());
}

#[test]
fn a_watcher_whose_sink_panics_has_ended() {
    let folder = tempfile::tempdir().unwrap();
    let root = Arc::new(Root::open(folder.path(), RootOptions::default()).unwrap());
    let sink = |_: Vec<WatchEvidence>| -> ControlFlow<()> { panic!("the sink breaks") };
    let (options, clock) = (WatchOptions::default(), Arc::new(HostClock));
    let watcher = Watcher::start(Arc::clone(&root), options, clock, Box::new(sink)).unwrap();
    scan_with(&root, &ScanOptions::default(), Some(watcher.handle()));
    assert!(watcher.handle().is_running());
    fs::write(folder.path().join("file"), "x").unwrap();
    while watcher.handle().is_running() {
        std::thread::yield_now();
    }
    watcher.stop();
}
