//! Looks that give no answer, for want of descriptors or of a right: the event is not lost with them.
//!
//! Each in a process of its own, because a limit, or a right that is missing, is one for the process.

use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use agent_client::clock::{AgentClock as _, HostClock};
use agent_client::watch::{FailedLook, WatchEvidence};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::harness::Watched;
use crate::watch::fill_small;

/// Set in the process in which the test itself runs.
const INSIDE: &str = "FUSION_TEST_FAILED_LOOKS";

/// Runs a test again through a program; false where it is to run here, because it did.
fn runs_elsewhere(name: &str, through: &[&str]) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return false;
    }
    let mut again = Command::new(through[0]);
    again.args(&through[1..]).arg(std::env::current_exe().unwrap()).env(INSIDE, "1");
    again.args(["--exact", &format!("watch_failed::{name}")]);
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

fn failed(tree: &Watched, why: FailedLook) -> u64 {
    let counts = tree.watcher().handle().counts().failed_looks;
    let at = FailedLook::ALL.iter().position(|one| *one == why).unwrap();
    counts[at]
}

/// Until it is called again with the limit that it gave, nothing more can be opened.
fn limit_descriptors(most: Option<u64>) -> Option<u64> {
    let before = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: most, maximum: before.maximum }).unwrap();
    before.current
}

#[test]
fn what_could_not_be_looked_at_for_a_moment_is_told_after_it() {
    if runs_elsewhere("what_could_not_be_looked_at_for_a_moment_is_told_after_it", &["env"]) {
        return;
    }
    let mut tree = Watched::new(fill_small);
    fs::write(tree.at("gone"), "x").unwrap();
    tree.forget();
    let before = limit_descriptors(Some(1));
    // What needs no descriptor.
    let happened_at = HostClock.monotonic();
    fs::create_dir(tree.at("new")).unwrap();
    fs::remove_file(tree.at("gone")).unwrap();
    let has_failed = tree.eventually(|tree| failed(tree, FailedLook::Exhausted) > 1);
    let seen_through = tree.watcher().handle().seen_through();
    limit_descriptors(before);
    assert!(has_failed);
    assert!(seen_through <= happened_at, "nothing later counts as seen");
    tree.level("when descriptors are to be had again");
    let said = tree.said();
    assert!(said.contains(&"remove /gone".to_owned()), "{said:?}");
    assert!(!said.contains(&"overflow".to_owned()), "{said:?}");
}

#[test]
fn what_cannot_be_looked_at_for_longer_counts_as_lost() {
    if runs_elsewhere("what_cannot_be_looked_at_for_longer_counts_as_lost", &["env"]) {
        return;
    }
    let mut tree = Watched::new(fill_small);
    fs::write(tree.at("gone"), "x").unwrap();
    tree.forget();
    let before = limit_descriptors(Some(1));
    let happened_at = HostClock.monotonic();
    fs::remove_file(tree.at("gone")).unwrap();
    let mut lost_since = None;
    let is_said = tree.eventually(|tree| {
        lost_since = tree.told.iter().find_map(|evidence| match evidence {
            WatchEvidence::Overflow { since, .. } => Some(*since),
            _ => None,
        });
        lost_since.is_some()
    });
    limit_descriptors(before);
    assert!(is_said, "{:?}", tree.said());
    assert!(lost_since.unwrap() <= happened_at);
}

#[test]
fn a_directory_that_may_not_be_looked_into_is_told_as_unreadable() {
    // There the owner of everything has no right but those of an owner.
    let through = ["unshare", "--user"];
    if runs_elsewhere("a_directory_that_may_not_be_looked_into_is_told_as_unreadable", &through) {
        return;
    }
    let mut tree = Watched::new(|root| fs::create_dir(root.join("closed")).unwrap());
    let mut file = fs::File::create(tree.at("closed/file")).unwrap();
    tree.level("before");
    let closed = tree.at("closed");
    fs::set_permissions(&closed, Permissions::from_mode(0o000)).unwrap();
    file.write_all(b"more").unwrap();
    drop(file);
    let is_said = tree.eventually(|tree| tree.said().contains(&"unreadable /closed".to_owned()));
    fs::set_permissions(&closed, Permissions::from_mode(0o700)).unwrap();
    assert!(is_said, "{:?}", tree.said());
    assert!(failed(&tree, FailedLook::Denied) > 0);
    assert!(!tree.said().contains(&"overflow".to_owned()));
}
