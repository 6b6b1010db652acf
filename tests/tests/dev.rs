//! `fusionctl dev`: one command, a live view of a directory.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fusion_tests::{binaries, compare, disk};
use rustix::process::{Pid, Signal, kill_process};

#[test]
fn a_small_tree_until_ctrl_c() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("a/b")).unwrap();
    fs::write(folder.path().join("a/b/file"), "12345").unwrap();
    let (child, ready) = start(folder.path());
    assert_eq!((&ready["files"], &ready["directories"]), (&1.into(), &2.into()));
    assert_eq!(ready["bytes"], 5);
    let server = format!("http://{}", ready["grpc"].as_str().unwrap());
    let listed = Command::new(binaries::path("fusionctl"))
        .args(["--server", &server, "ls", "/a/b"])
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&listed.stdout).contains("file"), "{listed:?}");
    end(child);
}

/// `/usr` is large, has names of every sort, and is at rest.
#[test]
fn usr_is_counted_as_find_counts_it() {
    let counted = compare::count(&disk::walk(Path::new("/usr")));
    let (child, ready) = start(Path::new("/usr"));
    println!("/usr READY after {} s", ready["seconds"]);
    let told = |key: &str| ready[key].as_u64().unwrap();
    assert_eq!(
        (told("files"), told("directories"), told("others"), told("bytes")),
        (counted.files, counted.directories, counted.others, counted.bytes)
    );
    end(child);
}

#[test]
fn what_is_no_directory_is_refused() {
    let output = Command::new(binaries::path("fusionctl"))
        .args(["dev", "/does/not/exist"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/does/not/exist"));
}

fn start(dir: &Path) -> (Child, serde_json::Value) {
    let mut child = Command::new(binaries::path("fusionctl"))
        .args(["--output", "json", "dev"])
        .arg(dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    (child, serde_json::from_str(&line).expect("the summary"))
}

fn end(mut child: Child) {
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let started = compare::clock();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "{status}");
            break;
        }
        if started.elapsed() > Duration::from_secs(2) {
            child.kill().unwrap();
            panic!("still there 2 s after Ctrl-C");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
