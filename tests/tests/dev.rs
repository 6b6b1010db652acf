//! `fusionctl dev`: one command, a live view of a directory.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fusion_tests::{binaries, compare, disk, nats};
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
fn three_servers_answer_the_same_until_ctrl_c() {
    if !nats::is_there("three_servers_answer_the_same_until_ctrl_c") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("a")).unwrap();
    fs::write(folder.path().join("a/file"), "12345").unwrap();
    let (child, ready) = start_with(folder.path(), &["--servers", "3"]);
    let servers = ready["servers"].as_array().unwrap();
    assert_eq!((servers.len(), &ready["grpc"]), (3, &servers[0]), "{ready}");
    fs::write(folder.path().join("a/late"), "1").unwrap();
    for server in servers {
        let server = format!("http://{}", server.as_str().unwrap());
        let began = compare::clock();
        loop {
            let listed = Command::new(binaries::path("fusionctl"))
                .args(["--server", &server, "ls", "/a"])
                .output()
                .unwrap();
            if String::from_utf8_lossy(&listed.stdout).contains("late") {
                break;
            }
            assert!(began.elapsed() < Duration::from_secs(30), "{server}: {listed:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    end(child);
}

#[test]
fn several_servers_without_nats_say_what_to_install() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(binaries::path("fusionctl"))
        .args(["dev", "--servers", "3"])
        .arg(folder.path())
        .env("PATH", "")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("nats-server") && said.contains("install"), "{said}");
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
    start_with(dir, &[])
}

fn start_with(dir: &Path, more: &[&str]) -> (Child, serde_json::Value) {
    let mut child = Command::new(binaries::path("fusionctl"))
        .args(["--output", "json", "dev"])
        .args(more)
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
