//! The binary as scripts see it: flags, output, exit codes, the address file, a graceful end.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what helpers of tests do not get is a failed test"
)]

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

fn server(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fusion-server"));
    command.args(args).stdin(Stdio::null());
    for (name, _) in std::env::vars() {
        if name.starts_with("FUSION_SERVER__") || name.starts_with("OTEL_") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs it with a place for data of its own.
fn run(args: &[&str]) -> Output {
    let state = tempfile::tempdir().unwrap();
    server(args).env("XDG_STATE_HOME", state.path()).output().unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn configuration_is_checked_and_printed() {
    let checked = run(&["--check-config"]);
    assert_eq!(checked.status.code(), Some(0), "{}", err(&checked));

    let printed = server(&["--print-config", "--listen", "127.0.0.1:9"])
        .env("FUSION_SERVER__SHUTDOWN_GRACE", "7s")
        .output()
        .unwrap();
    let text = String::from_utf8(printed.stdout).unwrap();
    assert!(text.contains("shutdown_grace = \"7s\"") && text.contains("\"127.0.0.1:9\""), "{text}");

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bad.toml");
    std::fs::write(&file, "nonsense = 1\nshutdown_grace = \"soon\"\n").unwrap();
    let refused = run(&["--config", file.to_str().unwrap(), "--check-config"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(err(&refused).contains("nonsense = 1") && err(&refused).contains("shutdown_grace"));

    assert_eq!(run(&["--no-such-flag"]).status.code(), Some(2));
    assert_eq!(run(&["--listen", "0.0.0.0:0"]).status.code(), Some(2));
    assert_eq!(run(&["--help"]).status.code(), Some(0));
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let refused = run(&["--listen", &address, "--http-listen", "127.0.0.1:0"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(err(&refused).contains(&address), "{}", err(&refused));
}

#[test]
fn a_data_directory_that_cannot_be_made_is_named() {
    let ports = ["--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"];
    let refused = run(&[&ports[..], &["--data-dir", "/dev/null/x"]].concat());
    assert_eq!(refused.status.code(), Some(1));
    assert!(err(&refused).contains("/dev/null/x"), "{}", err(&refused));
}

#[test]
fn a_data_directory_that_is_in_use_names_its_server() {
    let dir = tempfile::tempdir().unwrap();
    let (file, data) = (dir.path().join("addresses"), dir.path().join("data"));
    let ports = ["--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"];
    let place = ["--data-dir", data.to_str().unwrap()];
    let written = ["--address-file", file.to_str().unwrap()];
    let mut first = server(&[&ports[..], &place, &written].concat())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_for(&file);
    let refused = run(&[&ports[..], &place].concat());
    let owner = format!("process {}", first.id());
    first.kill().unwrap();
    first.wait().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(err(&refused).contains(&owner), "{}", err(&refused));
    // The dead server's directory is free.
    let mut second = server(&[&ports[..], &place, &written].concat())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(
        &mut std::io::BufReader::new(second.stdout.take().unwrap()),
        &mut line,
    )
    .unwrap();
    second.kill().unwrap();
    second.wait().unwrap();
    assert!(line.starts_with("grpc="), "{line}");
}

#[test]
fn addresses_are_written_and_a_signal_ends_it() {
    let dir = tempfile::tempdir().unwrap();
    let (file, data) = (dir.path().join("addresses"), dir.path().join("data"));
    let paths = [file.to_str().unwrap(), data.to_str().unwrap()];
    let ports = ["--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"];
    let flags = ["--address-file", paths[0], "--data-dir", paths[1]];
    let mut child = server(&[&ports[..], &flags].concat())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let written = wait_for(&file);
    let lines: Vec<&str> = written.lines().collect();
    assert!(lines[0].starts_with("grpc=127.0.0.1:") && lines[1].starts_with("http=127.0.0.1:"));
    std::net::TcpStream::connect(&lines[1]["http=".len()..]).unwrap();

    let begun = std::process::Command::new("kill").arg(child.id().to_string()).status().unwrap();
    assert!(begun.success());
    let mut left = 100;
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None if left == 0 => panic!("still there after 2 s"),
            None => left -= 1,
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(status.code(), Some(0));
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), written);
    let log = err(&output);
    assert!(log.contains("serving") && log.lines().all(|line| line.starts_with('{')), "{log}");
}

#[test]
fn a_hangup_reads_the_configuration_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (config, addresses) = (dir.path().join("config.toml"), dir.path().join("addresses"));
    std::fs::write(&config, "[views.one]\n").unwrap();
    let paths = [config.to_str().unwrap(), addresses.to_str().unwrap()];
    let data = dir.path().join("data");
    let flags = ["--config", paths[0], "--address-file", paths[1], "--data-dir"];
    let ports = ["--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"];
    let child = server(&[&ports[..], &flags, &[data.to_str().unwrap()]].concat())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let child = Ends(child);
    let written = wait_for(&addresses);
    let http = written.lines().nth(1).unwrap()["http=".len()..].to_owned();
    let reload = |text: &str, until: &[&str]| {
        std::fs::write(&config, text).unwrap();
        let told = Command::new("kill").args(["-HUP", &child.0.id().to_string()]).status().unwrap();
        assert!(told.success());
        for _ in 0..500 {
            let (views, metrics) = (get(&http, "/readyz"), get(&http, "/metrics"));
            if until.iter().all(|part| views.contains(part) || metrics.contains(part)) {
                return views;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("{until:?} was not seen");
    };
    let count = |outcome: &str, count: u32| {
        format!("fusion_reloads_total{{outcome=\"{outcome}\",what=\"configuration\"}} {count}")
    };
    let views = reload("[views.two]\n", &["view two", &count("taken", 1)]);
    assert!(!views.contains("view one"), "{views}");
    let views = reload("[views.three]\nnonsense = 1\n", &[&count("refused", 1)]);
    assert!(views.contains("view two") && !views.contains("view three"), "{views}");
    reload("[views.two]\n", &[&count("unchanged", 1)]);
}

/// A process that is ended with the test.
struct Ends(std::process::Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn get(address: &str, path: &str) -> String {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn wait_for(file: &Path) -> String {
    for _ in 0..500 {
        if let Ok(text) = std::fs::read_to_string(file) {
            return text;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("{} was not written", file.display());
}
