//! Wrong input at the edge: each a clear message that names the thing, and the right exit code.

use std::fs;
use std::process::{Command, Output};

use fusion_tests::binaries;
use fusion_tests::pair::World;

#[tokio::test]
async fn fusionctl_says_what_is_wrong() {
    let world = World::start();
    let none = world.fusionctl(&["ls"]);
    check(&none, 1, "no view");
    fs::create_dir(world.root().join("d")).unwrap();
    fs::write(world.root().join("d/file"), "12345").unwrap();
    let _agent = world.start_ready_agent("one").await;
    world.settle().await;

    check(&world.fusionctl(&["ls", "d"]), 2, "`d`");
    check(&world.fusionctl(&["ls", "/d/"]), 2, "/d/");
    check(&world.fusionctl(&["ls", "/a/../b"]), 2, "/a/../b");
    check(&world.fusionctl(&["ls", r"/a\n"]), 2, r"/a\n");
    check(&world.fusionctl(&["ls", "/missing"]), 1, "/missing");
    check(&world.fusionctl(&["stat", "/missing"]), 1, "/missing");
    check(&world.fusionctl(&["du", "/missing"]), 1, "/missing");
    check(&world.fusionctl(&["find", "*", "/missing"]), 1, "/missing");
    check(&world.fusionctl(&["find", "[", "/"]), 1, "[");
    check(&world.fusionctl(&["ls", "--view", "other", "/"]), 1, "other");
    check(&world.fusionctl(&["ls", "--view", "Bad Name", "/"]), 2, "Bad Name");
    check(&world.fusionctl(&["frobnicate"]), 2, "frobnicate");
    check(&world.fusionctl(&["--output", "xml", "ls"]), 2, "xml");

    let none = world.fusionctl(&["find", "nothing*"]);
    assert_eq!((none.status.code(), none.stdout.len()), (Some(0), 0), "no match is no failure");
    let found = world.fusionctl(&["--output", "json", "find", "f*", "/d"]);
    let line: serde_json::Value = serde_json::from_slice(&found.stdout).expect("one object");
    assert_eq!(line["path"], "/d/file");
    assert_eq!((&line["kind"], &line["size"]), (&"file".into(), &5.into()));
    let below = world.fusionctl(&["--output", "json", "find", "/d"]);
    assert_eq!(String::from_utf8_lossy(&below.stdout).lines().count(), 1, "PATH is not in it");
    let du = world.fusionctl(&["--output", "json", "du"]);
    let totals: serde_json::Value = serde_json::from_slice(&du.stdout).expect("one document");
    assert_eq!((&totals["files"], &totals["directories"]), (&1.into(), &1.into()));
    assert_eq!((&totals["others"], &totals["bytes"]), (&0.into(), &5.into()));
}

#[test]
fn nobody_is_there() {
    let output = Command::new(binaries::path("fusionctl"))
        .args(["--server", "http://127.0.0.1:1", "ls"])
        .output()
        .unwrap();
    check(&output, 1, "127.0.0.1:1");
    let output = Command::new(binaries::path("fusionctl"))
        .args(["--server", "not a url", "ls"])
        .output()
        .unwrap();
    check(&output, 2, "not a url");
}

#[test]
fn a_port_in_use() {
    let world = World::start();
    let address = world.url().trim_start_matches("http://").to_owned();
    let output = Command::new(binaries::path("fusion-server"))
        .args(["--listen", &address, "--http-listen", "127.0.0.1:0"])
        .arg("--data-dir")
        .arg(world.path("other"))
        .output()
        .unwrap();
    check(&output, 1, &address);
}

#[test]
fn an_address_that_others_reach_needs_to_be_meant() {
    let output = Command::new(binaries::path("fusion-server"))
        .args(["--listen", "0.0.0.0:0", "--http-listen", "127.0.0.1:0"])
        .output()
        .unwrap();
    check(&output, 2, "allow_plaintext");
}

#[tokio::test]
async fn an_agent_that_cannot_work_says_why() {
    let world = World::start();
    fs::write(world.root().join("one"), "1").unwrap();
    let first = world.start_ready_agent("one").await;
    let agent = |view: &str, root: &str, spool: &str| {
        Command::new(binaries::path("agent-client"))
            .args(["--server", &world.url(), "--view", view, "--root", root])
            .arg("--spool")
            .arg(world.path(spool))
            .output()
            .unwrap()
    };
    let root = world.root().to_str().unwrap();
    let missing = agent("tree", "/does/not/exist", "s1");
    assert!(matches!(missing.status.code(), Some(1 | 2)), "{missing:?}");
    check(&missing, missing.status.code().unwrap(), "/does/not/exist");
    let file = format!("{root}/one");
    let wrong = agent("tree", &file, "s2");
    check(&wrong, wrong.status.code().unwrap(), &file);
    check(&agent("Bad View", root, "s3"), 2, "Bad View");
    let held = agent("tree", root, "one.spool");
    check(&held, 1, &first.process.id().to_string());

    let other = world.path("another-tree");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("something else"), "x").unwrap();
    check(&agent("tree", other.to_str().unwrap(), "s4"), 1, "another tree");
}

#[track_caller]
fn check(output: &Output, code: i32, says: &str) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(text.contains(says), "should name `{says}`: {text}");
}
