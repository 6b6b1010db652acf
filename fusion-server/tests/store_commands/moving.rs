//! `store move`: everything is elsewhere, and is what it was. To NATS and back it is walked in docs/cluster.md.

use std::path::Path;

use serde_json::Value;

use crate::made::{copy, data_dir, err, out, store};
use crate::{check_json, waste};

fn configuration(dir: &Path) -> (tempfile::NamedTempFile, String) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("data_dir = {dir:?}\n")).unwrap();
    let path = file.path().to_str().unwrap().to_owned();
    (file, path)
}

/// What is in a directory, without how much room it takes.
fn told(dir: &Path) -> (Value, String, String) {
    let (code, mut report) = check_json(dir);
    assert_eq!(code, Some(0), "{report}");
    let view = report["views"][0].take();
    let entries = store("export", dir, &["--view", "tree", "--entries"]);
    let changes = store("export", dir, &["--view", "tree"]);
    let told = ["name", "id", "entries"].map(|key| view[key].clone());
    let kept = ["first_revision", "last_revision"].map(|key| view["log"][key].clone());
    let told = serde_json::json!([
        told,
        kept,
        view["blocks"]["revision"],
        report["server"],
        report["state"]["sessions"]
    ]);
    (told, out(&entries), out(&changes))
}

#[test]
fn what_is_moved_is_elsewhere_as_it_was() {
    let (source, parent) = (data_dir(), tempfile::tempdir().unwrap());
    // Its log begins somewhere.
    waste(source.path());
    let before = told(source.path());
    let untouched = copy(source.path());
    let (_file, to) = configuration(&parent.path().join("new"));
    let moved = store("move", source.path(), &["--to", &to]);
    assert_eq!(moved.status.code(), Some(0), "{}", err(&moved));
    assert!(out(&moved).contains("view tree: "), "{}", out(&moved));
    assert_eq!(told(&parent.path().join("new")), before);
    assert_eq!(told(source.path()), told(untouched.path()), "what it was moved from");
    let again = store("move", source.path(), &["--to", &to]);
    assert_eq!(again.status.code(), Some(1), "{}", out(&again));
    assert!(err(&again).contains("already"), "{}", err(&again));
}

#[test]
fn a_move_needs_a_place() {
    let source = data_dir();
    let (file, to) = configuration(Path::new("/nowhere"));
    std::fs::write(file.path(), "").unwrap();
    let moved = store("move", source.path(), &["--to", &to]);
    assert!(moved.status.code() == Some(1) && err(&moved).contains("data_dir"), "{}", err(&moved));
}
