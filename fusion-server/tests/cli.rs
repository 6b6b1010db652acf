//! The binary as scripts see it: flags, output, exit codes, the address file, a graceful end.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what helpers of tests do not get is a failed test"
)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use fusion_proto::pb;
use fusion_proto::pb::session_service_client::SessionServiceClient;
use tempfile::TempDir;

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

/// Runs it with these sockets: a shell says which process they are for, as a service manager does.
fn run_activated(names: &str, sockets: [std::os::fd::OwnedFd; 2], args: &[&str]) -> Output {
    let hand_over = r#"export LISTEN_PID=$$ && exec "$0" "$@" 3<&0 4<&1 1>&2"#;
    let [first, second] = sockets.map(Stdio::from);
    let mut command = Command::new("/bin/sh");
    command.args(["-c", hand_over, env!("CARGO_BIN_EXE_fusion-server")]).args(args);
    command.env("LISTEN_FDS", "2").env("LISTEN_FDNAMES", names);
    command.stdin(first).stdout(second).output().unwrap()
}

#[test]
fn what_is_handed_over_is_looked_at_before_it_is_served() {
    let data = tempfile::tempdir().unwrap();
    let args = ["--data-dir", data.path().to_str().unwrap(), "--listen", "127.0.0.1:0"];
    let socket = |at: &str| std::os::fd::OwnedFd::from(TcpListener::bind(at).unwrap());
    let on_loopback = || socket("127.0.0.1:0");
    let refused = |names, sockets| {
        let output = run_activated(names, sockets, &args);
        assert_eq!(output.status.code(), Some(2), "{}", err(&output));
        err(&output)
    };
    // What is allowed of an address is asked of where the socket is, whatever --listen says.
    let said = refused("grpc:http", [socket("0.0.0.0:0"), on_loopback()]);
    assert!(
        said.contains("listen.grpc = \"0.0.0.0:") && said.contains("allow_plaintext"),
        "{said}"
    );
    let said = refused("grpc:http", [on_loopback(), socket("[::]:0")]);
    assert!(said.contains("listen.http = \"[::]:"), "{said}");
    let said = refused("grpc:fusion-server.socket", [on_loopback(), on_loopback()]);
    assert!(
        said.contains("fusion-server.socket") && said.contains("FileDescriptorName="),
        "{said}"
    );
    let said = refused("grpc:grpc", [on_loopback(), on_loopback()]);
    assert!(said.contains("two sockets named grpc"), "{said}");
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let said = refused("grpc:http", [on_loopback(), udp.into()]);
    assert!(said.contains("as http is a socket of another kind"), "{said}");
}

#[test]
fn sockets_for_another_process_are_left_alone() {
    let output = server(&["--print-config"])
        .env("LISTEN_PID", "1")
        .env("LISTEN_FDS", "2")
        .env("LISTEN_FDNAMES", "grpc:http")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("127.0.0.1:7700"), "{text}");
    let refused = server(&["--print-config"]).env("LISTEN_PID", "me").output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(err(&refused).contains("LISTEN_PID"), "{}", err(&refused));
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
    // Nothing had to be waited for: whoever holds the store lets go by itself.
    assert!(log.contains("draining") && !log.contains("still being written to"), "{log}");
}

/// A running server, killed when it is dropped.
struct Running {
    child: Child,
    _dir: TempDir,
    grpc: String,
    http: String,
}

impl Running {
    /// With this many descriptors at most, and these flags.
    fn start(descriptors: u32, flags: &[&str]) -> Self {
        let dir = TempDir::new().unwrap();
        let (file, data) = (dir.path().join("addresses"), dir.path().join("data"));
        let mut limited = Command::new("sh");
        let own = server(&[]);
        limited.args(["-c", &format!("ulimit -n {descriptors}; exec \"$@\""), "sh"]);
        limited.arg(own.get_program()).args(["--listen", "127.0.0.1:0"]);
        limited.args(["--http-listen", "127.0.0.1:0", "--data-dir"]).arg(data);
        limited.arg("--address-file").arg(&file).args(flags);
        for (name, _) in own.get_envs() {
            limited.env_remove(name);
        }
        let child = limited.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let child = child.spawn().unwrap();
        let written = wait_for(&file);
        let mut lines = written.lines().map(|line| line.split_once('=').unwrap().1.to_owned());
        let (grpc, http) = (lines.next().unwrap(), lines.next().unwrap());
        Self { child, _dir: dir, grpc, http }
    }

    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.http).unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn without_descriptors_it_waits_for_some_and_says_so_once() {
    const SAYS: &str = "no connection can be taken";
    let mut server = Running::start(64, &[]);
    let idle: Vec<_> = (0..100).map(|_| TcpStream::connect(&server.grpc).unwrap()).collect();
    let mut log = BufReader::new(server.child.stderr.take().unwrap()).lines();
    let said = log.find(|line| line.as_ref().unwrap().contains(SAYS));
    assert!(said.unwrap().unwrap().contains("Too many open files"));
    // Long enough for tens of thousands of tries, if nothing held them up.
    std::thread::sleep(Duration::from_millis(300));
    drop(idle);

    let mut stream = TcpStream::connect(&server.grpc).unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
    stream.read_exact(&mut [0]).unwrap();
    let text = server.get("/metrics");
    let series = "fusion_connections_total{outcome=\"failed\"} ";
    let tries = text.lines().find_map(|line| line.strip_prefix(series)).unwrap();
    assert!((1..1_000).contains(&tries.parse::<u32>().unwrap()), "{tries}");
    server.child.kill().unwrap();
    let again = log.filter(|line| line.as_ref().unwrap().contains(SAYS)).count();
    // Descriptors come back one by one, and are taken by those who wait.
    assert!(again < 100, "{again}");
}

#[tokio::test]
async fn what_clients_call_themselves_cannot_make_lines_of_the_log() {
    let mut server = Running::start(1024, &[]);
    let forged = "x\n{\"level\":\"ERROR\",\"message\":\"forged\"}\r\n\u{1b}[31m";
    let id = "00000000-0000-4000-8000-000000000000".to_owned();
    let asked = pb::CreateSessionRequest {
        view: "v".to_owned(),
        agent_id: "a".to_owned(),
        instance_id: id.clone(),
        spool_id: id,
        client: Some(pb::Client { hostname: forged.to_owned(), ..Default::default() }),
        root: Some(pb::Root {
            uri: forged.to_owned(),
            identity: Some(pb::RootIdentity::default()),
        }),
        capabilities: vec![pb::Capability::Realtime.into(), pb::Capability::Scan.into()],
        proposed_timeout: None,
    };
    let channel = tonic::transport::Channel::from_shared(format!("http://{}", server.grpc));
    let mut sessions = SessionServiceClient::new(channel.unwrap().connect_lazy());
    sessions.create_session(asked).await.unwrap();
    let mut log = BufReader::new(server.child.stderr.take().unwrap()).lines();
    let created = loop {
        let line = log.next().unwrap().unwrap();
        let line: serde_json::Value = serde_json::from_str(&line).expect(&line);
        if line["message"] == "session created" {
            break line;
        }
        assert_ne!(line["message"], "forged");
    };
    assert_eq!(created["host"], forged);
}

#[test]
fn a_hangup_reads_the_configuration_anew() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config.toml");
    std::fs::write(&config, "[views.one]\n").unwrap();
    let server = Running::start(1024, &["--config", config.to_str().unwrap()]);
    let pid = server.child.id().to_string();
    let reload = |text: &str, until: &[&str]| {
        std::fs::write(&config, text).unwrap();
        let told = Command::new("kill").args(["-HUP", &pid]).status().unwrap();
        assert!(told.success());
        for _ in 0..500 {
            let (views, metrics) = (server.get("/readyz"), server.get("/metrics"));
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

fn wait_for(file: &Path) -> String {
    for _ in 0..500 {
        if let Ok(text) = std::fs::read_to_string(file) {
            return text;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("{} was not written", file.display());
}
