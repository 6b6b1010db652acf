//! The same by fanotify: all tests of watching once more in a process of their own, on a file system
//! of their own, because fanotify tells of the whole of one.

use std::ffi::OsString;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use agent_client::clock::HostClock;
use agent_client::scan::{Root, RootOptions};
use agent_client::watch::{WatchEvidence, WatchMethod, WatchOptions, Watcher};

use crate::harness::{FOLDER, METHOD, Watched};
use crate::watch::fill_small;

#[test]
fn all_that_inotify_sees_fanotify_sees() {
    if std::env::var_os(METHOD).is_some() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let run = r#"mount -t tmpfs none "$0" && mkdir "$0/in" && exec "$@""#;
    let arguments: [OsString; 5] =
        ["--mount".into(), "sh".into(), "-c".into(), run.into(), folder.path().into()];
    let mut again = Command::new("unshare");
    again.args(arguments).arg(std::env::current_exe().unwrap());
    // These are of budgets, which fanotify has none of; and one after the other, for its one queue.
    for without in ["budget", "hottest", "limit_of_the_kernel"] {
        again.args(["--skip", without]);
    }
    again.args(["--test-threads", "1", "watch"]);
    again.env(METHOD, "fanotify").env(FOLDER, folder.path().join("in"));
    let output = again.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let refused = ["unshare failed", "mount:", "permission denied", "Operation not permitted"];
    if !output.status.success() && refused.iter().any(|why| said.contains(why)) {
        eprintln!("NOT RUN: no file system of our own is to be had here: {said}");
        return;
    }
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && !shown.contains(" 0 passed"), "{shown}{said}");
}

/// Run by the one above.
#[test]
fn what_is_done_elsewhere_in_the_file_system_is_not_told() {
    if std::env::var_os(METHOD).is_none() {
        return;
    }
    let mut tree = Watched::new(fill_small);
    assert_eq!(tree.watcher().handle().counts().method, WatchMethod::Fanotify);
    tree.forget();
    let before = tree.watcher().handle().counts().events;
    for number in 0..100 {
        fs::write(tree.outside().join(format!("{number}")), "x").unwrap();
    }
    fs::write(tree.at("marker"), "x").unwrap();
    tree.level("beside the tree");
    let after = tree.watcher().handle().counts();
    assert!(after.events - before < 10 && after.unwatched == 0, "{after:?}");
    fs::write(tree.at("gone"), "x").unwrap();
    fs::rename(tree.at("gone"), tree.outside().join("gone")).unwrap();
    tree.level("moved out");
    fs::rename(tree.outside().join("gone"), tree.at("d/back")).unwrap();
    tree.level("and in");
}

/// Run by the first.
#[test]
fn it_is_chosen_for_the_top_of_a_mount_and_only_there() {
    if std::env::var_os(METHOD).is_none() {
        return;
    }
    let within = std::env::var_os(FOLDER).unwrap();
    let within = Path::new(&within);
    let chosen = |path: &Path, options: WatchOptions| {
        let root = Arc::new(Root::open(path, RootOptions::default()).unwrap());
        let sink = |_: Vec<WatchEvidence>| ControlFlow::Continue(());
        let watcher = Watcher::start(root, options, Arc::new(HostClock), Box::new(sink)).unwrap();
        let counts = watcher.handle().counts();
        watcher.stop();
        counts.method
    };
    let mount = within.parent().unwrap();
    assert_eq!(chosen(mount, WatchOptions::default()), WatchMethod::Fanotify);
    assert_eq!(chosen(within, WatchOptions::default()), WatchMethod::Inotify);
    let few = WatchOptions { max_watches: Some(100), ..WatchOptions::default() };
    assert_eq!(chosen(mount, few), WatchMethod::Inotify);
    let asked = WatchOptions { method: Some(WatchMethod::Fanotify), ..WatchOptions::default() };
    assert_eq!(chosen(Path::new("/proc"), asked), WatchMethod::Inotify, "no local storage");
}
