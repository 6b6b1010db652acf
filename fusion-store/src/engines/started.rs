//! Engines that a test starts: on a port of its own, in a temporary folder, ended with the test.
//!
//! Found on the PATH or where Debian puts them. A test whose engine is not on the machine says so on a
//! line, and fails where `FUSION_ENGINES` is `required`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "for tests alone")]

mod port;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "redis")]
mod redis;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::{EngineSettings, Secret};

pub use port::own_port;
#[cfg(feature = "postgres")]
pub use postgres::StartedPostgres;
#[cfg(feature = "redis")]
pub use redis::StartedRedis;

/// What they ask for.
pub const PASSWORD: &str = "only for tests";

/// Where Debian puts the programs of PostgreSQL.
const DEBIAN: &str = "/usr/lib/postgresql/15/bin";

/// A program, by its name; tells if it is not there.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from(DEBIAN)]);
    let found = folders.map(|folder| folder.join(program)).find(|file| file.is_file());
    if found.is_none() {
        let is_required = std::env::var("FUSION_ENGINES").is_ok_and(|needed| needed == "required");
        assert!(!is_required, "{program} is not on this machine, and FUSION_ENGINES is required");
        #[expect(clippy::print_stderr, reason = "what was not tested is said")]
        {
            eprintln!("NOT TESTED: {program} is not on this machine");
        }
    }
    found
}

/// How the engine at an address is reached by a test.
fn settings(url: String) -> EngineSettings {
    EngineSettings {
        url,
        password: Some(Secret::new(PASSWORD.to_owned())),
        tls: None,
        connections: 8,
        connect_timeout: Duration::from_secs(5),
        timeout: Duration::from_secs(5),
        prefix: "fusion:".to_owned(),
    }
}

/// Sends a signal to processes.
fn signal(name: &str, pids: &[u32]) {
    let pids = pids.iter().map(ToString::to_string);
    // One that has ended meanwhile is no fault.
    let _ = Command::new("kill").arg(format!("-{name}")).args(pids).output().unwrap();
}

/// A process and all that come from it.
fn family(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    let mut next = 0;
    while let Some(pid) = all.get(next) {
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let children = children.unwrap_or_default();
        all.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        next += 1;
    }
    all
}

/// Whether a process runs.
fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(" Z"))
}

/// Gives a folder to the user that engines run as, if we are root: they refuse to be.
fn give_away(path: &Path) {
    if is_root() {
        let done = Command::new("chown").args(["-R", "nobody:nogroup"]).arg(path).status().unwrap();
        assert!(done.success());
    }
}

fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    status.lines().any(|line| line.starts_with("Uid:\t0\t"))
}

/// A program as a user that is not root.
fn unprivileged(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"]).arg(program);
    command
}

/// Runs a program to its end.
fn run(command: &mut Command) {
    let done = command.stdin(std::process::Stdio::null()).output().unwrap();
    let told = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{command:?}: {told}{}", String::from_utf8_lossy(&done.stdout));
}
