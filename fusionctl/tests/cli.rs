//! The binary as a stranger meets it, without a server.

#![expect(clippy::expect_used, reason = "a test that cannot run the binary ends")]

use std::process::{Command, Output};

fn fusionctl(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fusionctl")).args(args).output().expect("fusionctl runs")
}

#[test]
fn help_and_version_are_answers() {
    for flag in ["--help", "--version"] {
        let output = fusionctl(&[flag]);
        assert_eq!(output.status.code(), Some(0), "{flag}");
        assert!(String::from_utf8_lossy(&output.stdout).contains("fusionctl"), "{flag}");
        assert!(output.stderr.is_empty(), "{flag}");
    }
}

#[test]
fn wrong_usage_exits_with_2_and_names_what_is_wrong() {
    let cases: [(&[&str], &str); 31] = [
        (&[], "Usage"),
        (&["frobnicate"], "frobnicate"),
        (&["--output", "xml", "ls"], "xml"),
        (&["--server", "ftp://host", "ls"], "ftp://host"),
        (&["ls", "not/rooted"], "not/rooted"),
        (&["find", "/path", "/other"], "/other"),
        (&["ls", "-S", "-t"], "-t"),
        (&["ls", "--view", "Bad Name"], "Bad Name"),
        (&["find", "-S", "lots"], "lots"),
        (&["find", "-S", "+2k", "-S", "-1k"], "2000"),
        (&["find", "-t", "x"], "x"),
        (&["find", "--regex"], "PATTERN"),
        (&["find", "--reverse"], "--sort"),
        (&["find", "--sort", "colour"], "colour"),
        (&["find", "--sort", "size", "-n", "10001"], "10000"),
        (&["find", "-n", "0"], "0"),
        (&["find", "-d", "0"], "0"),
        (&["find", "--changed-within", "soon"], "soon"),
        (&["find", "--changed-within", "1d", "--changed-before", "2d"], "--changed-before"),
        (&["find", "--owner", "no such user"], "no such user"),
        (&["find", "-l", "-0"], "--print0"),
        (&["tree", "-d", "0"], "0"),
        (&["du", "-n", "10001"], "10001"),
        (&["compare", "--rank", "beauty"], "beauty"),
        (&["export", "--format", "parquet"], "parquet"),
        (&["ls", "-n"], "-n"),
        (&["watch", "/", "--types", "NO_SUCH"], "VIEW_RESET"),
        (&["watch", "/", "--from", "now"], "--from"),
        (&["changes", "/", "--since", "yesterday"], "90min"),
        (&["wait", "/"], "--quiet"),
        (&["wait", "/", "--quiet", "30"], "30s"),
    ];
    for (args, says) in cases {
        let output = fusionctl(args);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {text}");
        assert!(text.contains(says), "{args:?}: {text}");
        assert!(output.stdout.is_empty(), "{args:?}");
    }
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let output = fusionctl(&["--server", "http://127.0.0.1:1", "ls", "/"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("http://127.0.0.1:1"), "{text}");
}
