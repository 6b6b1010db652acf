//! A watcher that is begun anew by several at once: what is left is one, whole.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;

use super::broken::{is_ready, upserted};
use super::*;

/// The inodes that each descriptor of an inotify instance of this process watches, if this one is
/// among them: other tests have instances too.
fn watching(inode: u64) -> Vec<BTreeSet<u64>> {
    let descriptors = std::fs::read_dir("/proc/self/fdinfo").unwrap();
    let inodes = |entry: std::fs::DirEntry| -> BTreeSet<u64> {
        // It may have been closed since.
        let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
        let watches = text.lines().filter(|line| line.starts_with("inotify "));
        let inode = watches.filter_map(|line| line.split(" ino:").nth(1)?.split(' ').next());
        inode.filter_map(|hex| u64::from_str_radix(hex, 16).ok()).collect()
    };
    let all = descriptors.filter_map(Result::ok).map(inodes);
    all.filter(|inodes| inodes.contains(&inode)).collect()
}

fn tree(root: &Path) {
    for number in 0..40 {
        std::fs::create_dir_all(root.join(format!("d{number}/e"))).unwrap();
    }
}

fn inodes(root: &Path) -> BTreeSet<u64> {
    let mut open = vec![root.to_owned()];
    let mut found = BTreeSet::new();
    while let Some(directory) = open.pop() {
        found.insert(std::fs::metadata(&directory).unwrap().ino());
        open.extend(std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()));
    }
    found
}

/// Restarts that are ordered, a watcher that breaks off meanwhile, and scans that place watches all
/// the while: one instance of the kernel is left, and it watches every directory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarts_by_several_at_once_leave_one_watcher_that_watches_all() {
    let rig = Rig::start(tree, |script| script.beats_fast = true).await;
    rig.until("ready", is_ready).await;
    let root = rig.folder.path().join("root");
    let (all, of_root) = (inodes(&root), std::fs::metadata(&root).unwrap().ino());
    let before = watching(of_root);
    assert!(!before.is_empty() && before.iter().all(|watched| *watched == all), "{before:?}");
    let restarts = || rig.shared.metrics.restarts.with_label_values(&["watch"]).get();
    for round in 1..=4_u64 {
        let ordered = restarts() + 8;
        let order = async {
            while restarts() < ordered {
                rig.shared.state.restart_watch.notify_one();
                tokio::time::sleep(Duration::from_millis(round)).await;
            }
        };
        let break_off = async {
            for _ in 0..20 {
                if let Some(watch) = rig.shared.watch() {
                    watch.break_off_for_test();
                }
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
        };
        let scan = async {
            for _ in 0..5 {
                rig.shared.state.restart_scan.notify_one();
                tokio::time::sleep(Duration::from_millis(7)).await;
            }
        };
        tokio::join!(order, break_off, scan);
        rig.until("one watcher that watches all", |script| {
            is_ready(script) && {
                let now = watching(of_root);
                now.len() == before.len() && now.iter().all(|watched| *watched == all)
            }
        })
        .await;
        let counts = rig.shared.watch_counts();
        assert_eq!((counts.watched, counts.unwatched), (all.len() as u64, 0));
        std::fs::write(root.join(format!("d{round}/e/new")), "x").unwrap();
        let name = format!("/d{round}/e/new");
        rig.until("an event", |script| upserted(script, &name)).await;
    }
    rig.end().await;
}
