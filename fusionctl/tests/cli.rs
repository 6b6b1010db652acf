//! The binary as a stranger meets it, without a server.

#![expect(clippy::expect_used, reason = "a test that cannot run the binary ends")]

use std::process::{Command, Output};

fn fusionctl(args: &[&str]) -> Output {
    command(args).output().expect("fusionctl runs")
}

/// Without the profile and the server of whoever runs the tests.
fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fusionctl"));
    command.args(args).env("XDG_CONFIG_HOME", "/nowhere").env_remove("FUSION_SERVER");
    command.env_remove("FUSION_PROFILE");
    command
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
    let cases: &[(&[&str], &str)] = &[
        (&[], "Usage"),
        (&["frobnicate"], "frobnicate"),
        (&["--output", "xml", "ls"], "xml"),
        (&["--server", "ftp://host", "ls"], "ftp://host"),
        (&["ls", "not/rooted"], "not/rooted"),
        (&["find", "/path", "/other"], "/other"),
        (&["watch", "/", "--types", "NO_SUCH"], "VIEW_RESET"),
        (&["watch", "/", "--from", "now"], "--from"),
        (&["changes", "/", "--since", "yesterday"], "1h 30min"),
        (&["wait", "/"], "--quiet"),
        (&["wait", "/", "--quiet", "30"], "30s"),
        (&["suspects", "not/rooted", "--view", "v"], "not/rooted"),
        (&["trash", "restore"], "ID"),
        (&["trash", "purge", "seven"], "seven"),
        (&["sessions", "evict", "seven"], "seven"),
        (&["views", "reset", "v"], "--yes"),
        (&["refresh", "/", "--agent", "a b", "--view", "v"], "--agent"),
        (&["--profile", "/no/such/file", "views"], "/no/such/file"),
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
        (&["export", "--format", "orc"], "parquet"),
        (&["ls", "-n"], "-n"),
    ];
    for &(args, says) in cases {
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

#[test]
fn every_command_that_asks_names_the_server_that_is_not_there() {
    let commands: [&[&str]; 9] = [
        &["views"],
        &["status"],
        &["doctor"],
        &["sessions"],
        &["suspects", "--view", "v"],
        &["blind-spots", "--view", "v"],
        &["trash", "list", "--view", "v"],
        &["refresh", "/", "--view", "v"],
        &["views", "reset", "v", "--yes"],
    ];
    for args in commands {
        let output = command(args).env("FUSION_SERVER", "http://127.0.0.1:1").output();
        let output = output.expect("fusionctl runs");
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {text}");
        let told = text.contains("http://127.0.0.1:1") && text.contains("fusion-server");
        assert!(told, "where, and what to do: {args:?}: {text}");
        assert!(output.stdout.is_empty(), "{args:?}");
    }
}

#[test]
fn the_profile_says_where_the_server_is_and_is_checked() {
    let dir = tempfile::tempdir().expect("a folder");
    let folder = dir.path().join("fusion");
    std::fs::create_dir(&folder).expect("a folder");
    let file = folder.join("profile.toml");
    let run = |args: &[&str]| {
        command(args).env("XDG_CONFIG_HOME", dir.path()).output().expect("fusionctl runs")
    };
    std::fs::write(&file, "server = \"http://127.0.0.1:2\"\n").expect("a profile");
    let text = String::from_utf8_lossy(&run(&["views"]).stderr).into_owned();
    assert!(text.contains("127.0.0.1:2"), "{text}");
    let text = String::from_utf8_lossy(&run(&["--server", "http://127.0.0.1:1", "views"]).stderr)
        .into_owned();
    assert!(text.contains("127.0.0.1:1"), "the command line goes first: {text}");
    std::fs::write(&file, "sever = \"http://127.0.0.1:2\"\n").expect("a profile");
    let output = run(&["views"]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("sever") && text.contains("profile.toml"), "{text}");
}

#[test]
fn completions_and_manual_pages_are_made() {
    for shell in ["bash", "zsh", "fish"] {
        let output = fusionctl(&["completions", shell]);
        assert_eq!(output.status.code(), Some(0), "{shell}");
        let script = String::from_utf8_lossy(&output.stdout);
        assert!(script.contains("fusionctl") && script.contains("blind-spots"), "{shell}");
    }
    let dir = tempfile::tempdir().expect("a folder");
    let pages = dir.path().join("man1");
    let output = fusionctl(&["man", "--dir", pages.to_str().expect("a path in UTF-8")]);
    assert_eq!(output.status.code(), Some(0));
    for page in ["fusionctl.1", "fusionctl-trash-restore.1", "fusionctl-refresh.1"] {
        let text = std::fs::read_to_string(pages.join(page)).expect(page);
        assert!(text.starts_with(".ie") || text.contains(".TH"), "{page}: {text}");
    }
}
