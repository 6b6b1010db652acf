//! The binary as a user meets it: exit codes, messages, files. No server is needed.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use tokio::time::Instant;

const BINARY: &str = env!("CARGO_BIN_EXE_agent-client");
/// Nothing listens there: port 1 is privileged and unused.
const NO_SERVER: &str = "http://127.0.0.1:1";

/// The binary without anything of our environment that it would heed.
fn command() -> Command {
    let mut command = Command::new(BINARY);
    command.env_clear().stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> Output {
    command().args(arguments).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A running agent; killed when a test fails.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    fn start(folder: &Path) -> Self {
        let root = folder.join("root");
        std::fs::create_dir_all(&root).unwrap();
        let child = command()
            .args(["--server", NO_SERVER, "--view", "v", "--root", text(&root)])
            .args(["--spool", text(&folder.join("spool")), "--http-listen", "127.0.0.1:0"])
            .args(["--address-file", text(&folder.join("address"))])
            .stderr(std::fs::File::create(folder.join("log")).unwrap())
            .spawn();
        let mut running = Self(child.unwrap());
        running.within(Duration::from_secs(20), "its address", |_| {
            std::fs::read_to_string(folder.join("address")).is_ok()
        });
        running
    }

    /// Waits for something outside of our hands.
    fn within(&mut self, limit: Duration, what: &str, is: impl Fn(&mut Child) -> bool) {
        let end = Instant::now() + limit;
        while !is(&mut self.0) {
            assert!(Instant::now() < end, "waited in vain for {what}");
            std::thread::sleep(Duration::from_millis(20));
        }
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

#[test]
fn usage_and_configuration_faults_exit_with_2_and_name_all_of_them() {
    let output = run(&["--frobnicate"]);
    assert_eq!(output.status.code(), Some(2));
    let output = run(&["--server", "nonsense", "--view", "Not-One", "--scan-workers", "0"]);
    assert_eq!(output.status.code(), Some(2));
    let told = stderr(&output);
    for part in ["server = \"nonsense\"", "view = \"Not-One\"", "root:", "scan_workers = \"0\""] {
        assert!(told.contains(part), "no {part:?} in: {told}");
    }
}

#[test]
fn a_root_that_cannot_be_one_exits_with_2_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let spool = folder.path().join("spool");
    for (root, why) in
        [(folder.path().join("missing"), "No such file or directory"), (file, "Not a directory")]
    {
        let arguments =
            ["--server", NO_SERVER, "--view", "v", "--root", text(&root), "--spool", text(&spool)];
        let output = run(&arguments);
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert!(stderr(&output).contains(why), "{}", stderr(&output));
        assert!(stderr(&output).contains(text(&root)), "{}", stderr(&output));
        assert!(!spool.exists(), "nothing is left half done");
    }
}

/// Two trees of this folder, as flags.
fn two_trees(folder: &Path, roots: [&str; 2]) -> Command {
    let mut command = command();
    command.args(["--server", NO_SERVER, "--spool", text(&folder.join("spool"))]);
    for (view, root) in ["one", "two"].into_iter().zip(roots) {
        command.args(["--tree", &format!("{view}={}", folder.join(root).display())]);
    }
    command
}

#[test]
fn trees_that_cannot_be_served_together_end_the_process_and_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let at = |path: &str| folder.path().join(path);
    std::fs::create_dir_all(at("a/b")).unwrap();
    std::os::unix::fs::symlink(at("a/b"), at("link")).unwrap();
    for (roots, says) in [
        (["none", "nor-this"], vec!["view one: root ", "none: No such file", "view two: root "]),
        (["a", "a/b"], vec!["tree 2: root = ", "lies within the root of view one"]),
        (["a", "link"], vec!["root ", "the root of view ", "outside of the others'"]),
    ] {
        let output = two_trees(folder.path(), roots).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{roots:?}: {}", stderr(&output));
        for says in says {
            assert!(stderr(&output).contains(says), "no {says:?} in: {}", stderr(&output));
        }
    }
}

#[test]
fn a_tree_that_is_not_there_is_served_when_it_is_and_holds_up_no_other() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("a")).unwrap();
    let mut command = two_trees(folder.path(), ["a", "b"]);
    command.args(["--http-listen", "127.0.0.1:0"]);
    command.args(["--address-file", text(&folder.path().join("address"))]);
    command.stderr(std::fs::File::create(folder.path().join("log")).unwrap());
    let mut process = Running(command.spawn().unwrap());
    process.within(Duration::from_secs(20), "its address", |_| {
        std::fs::read_to_string(folder.path().join("address")).is_ok()
    });
    let address = std::fs::read_to_string(folder.path().join("address")).unwrap();
    let address = address.strip_prefix("http=").unwrap().trim_end();
    let is_ready = get(address, "/readyz");
    assert!(is_ready.starts_with("HTTP/1.1 503"), "{is_ready}");
    assert!(is_ready.contains("view: one\nlink: joining"), "{is_ready}");
    assert!(is_ready.contains("view: two\nlink: stopped"), "{is_ready}");
    assert!(is_ready.contains("No such file"), "{is_ready}");
    // Alerts stand on it.
    assert!(get(address, "/metrics").contains("fusion_agent_role{role=\"leader\",view=\"two\"} 0"));
    for (view, spool) in [("one", true), ("two", false)] {
        let lock = folder.path().join("spool").join(view).join("spool.lock");
        assert_eq!(lock.exists(), spool, "{view}");
    }
    std::fs::create_dir(folder.path().join("b")).unwrap();
    process.within(Duration::from_secs(20), "the other tree", |_| {
        get(address, "/readyz").contains("view: two\nlink: joining")
    });
    let metrics = get(address, "/metrics");
    for view in ["one", "two"] {
        let line = format!("fusion_agent_watched_directories{{view=\"{view}\"}} ");
        assert!(metrics.contains(&line), "no {line} in {metrics}");
    }
    // Another process may not have either of the spools.
    let output = two_trees(folder.path(), ["a", "b"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let told = stderr(&output).matches(&process.0.id().to_string()).count();
    assert!(told >= 2, "{}", stderr(&output));
}

#[test]
fn the_configuration_is_printed_and_checked_without_a_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("agent.toml");
    std::fs::write(&file, "server = \"http://h:1\"\nview = \"lab\"\nroot = \"/data\"\n").unwrap();
    let arguments = ["--config", text(&file), "--spool", "/s", "--print-config"];
    let output = command().env("FUSION_AGENT__VIEW", "other").args(arguments).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && printed.contains("view = \"other\""), "{printed}");
    let output = run(&["--config", text(&file), "--spool", "/s", "--check-config"]);
    assert!(output.status.success() && output.stdout.is_empty());
}

#[test]
fn without_a_server_it_tries_on_and_ends_at_once_when_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut agent = Running::start(folder.path());
    let address = std::fs::read_to_string(folder.path().join("address")).unwrap();
    let address = address.strip_prefix("http=").unwrap().trim_end();
    assert!(get(address, "/livez").starts_with("HTTP/1.1 200"));
    assert!(get(address, "/readyz").starts_with("HTTP/1.1 503"));
    assert!(get(address, "/metrics").contains("fusion_build_info{program=\"agent-client\""));
    let log = folder.path().join("log");
    agent.within(Duration::from_secs(10), "a line about the server", |_| {
        let log = std::fs::read_to_string(&log).unwrap();
        log.contains("cannot reach the server") && log.contains(NO_SERVER)
    });
    assert!(agent.0.try_wait().unwrap().is_none(), "it must not end by itself");
    let told = Instant::now();
    let pid = rustix::process::Pid::from_child(&agent.0);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    agent.within(Duration::from_secs(10), "its end", |child| child.try_wait().unwrap().is_some());
    assert!(told.elapsed() < Duration::from_secs(2), "{:?}", told.elapsed());
    assert_eq!(agent.0.wait().unwrap().code(), Some(0));
}

/// A spool that does not answer: whoever opens this waits for somebody to write into it.
#[test]
fn while_it_waits_for_its_spool_it_ends_at_once_when_told() {
    let folder = tempfile::tempdir().unwrap();
    let (root, spool) = (folder.path().join("root"), folder.path().join("spool"));
    std::fs::create_dir_all(&root).unwrap();
    std::fs::create_dir_all(&spool).unwrap();
    let made = Command::new("mkfifo").arg(spool.join("identity")).status().unwrap();
    assert!(made.success());
    let arguments =
        ["--server", NO_SERVER, "--view", "v", "--root", text(&root), "--spool", text(&spool)];
    let mut agent = Running(command().args(arguments).stderr(Stdio::null()).spawn().unwrap());
    let lock = spool.join("spool.lock");
    agent.within(Duration::from_secs(20), "its lock", |_| lock.exists());
    let told = Instant::now();
    let pid = rustix::process::Pid::from_child(&agent.0);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    agent.within(Duration::from_secs(10), "its end", |child| child.try_wait().unwrap().is_some());
    assert!(told.elapsed() < Duration::from_secs(2), "{:?}", told.elapsed());
    assert_eq!(agent.0.wait().unwrap().code(), Some(0));
}

#[test]
fn a_second_agent_on_the_spool_is_refused_and_told_by_whom() {
    let folder = tempfile::tempdir().unwrap();
    let first = Running::start(folder.path());
    let (root, spool) = (folder.path().join("root"), folder.path().join("spool"));
    let arguments =
        ["--server", NO_SERVER, "--view", "v", "--root", text(&root), "--spool", text(&spool)];
    let output = run(&arguments);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains(&first.0.id().to_string()), "{}", stderr(&output));
    drop(first);
    // A dead owner's lock is taken over: the next one starts.
    drop(Running::start(folder.path()));
}
