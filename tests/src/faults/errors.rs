//! Storage that answers with errors: one directory cannot be read (EIO, ESTALE), all else can.
//!
//! The errors are put into the agent's system calls by strace, for that directory alone.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::checks::{leads_alone, new_session, recovered, session_of, until_true};
use crate::pair::{Agent, World, counter};
use crate::process::{Process, now};

/// Every audit lists everything, so that none goes past the directory.
const CONFIG: &str = r#"
[view_defaults]
cache_horizon = "200ms"
hot_threshold = "100ms"
session_timeout = "6s"
audit_interval = "700ms"
deep_audit_one_in = 1
"#;

const DIRECTORIES: usize = 8;
const FILES: usize = 25;

/// While audits get this error (a name such as `EIO`) for a directory that is known, its children stay,
/// all else is kept up to date, and the session goes on; afterwards all is as on the disk.
///
/// # Panics
/// What must hold does not.
pub async fn of_a_known_directory(error: &str) {
    let (world, broken) = world();
    let agent = world.start_ready_agent("one").await;
    let session = new_session(&world, "one", None).await;
    world.settle().await;
    let tracer = attach(&world, &agent, &broken, error);
    let audits_met_it = counter(&agent.http, ERRORS) + 3.0;
    until_true("audits get the error", || counter(&agent.http, ERRORS) >= audits_met_it).await;
    fs::write(world.root().join("d0/meanwhile"), "x").expect("a file");
    world.settle().await;
    assert_eq!(session_of(&world, "one").await.map(|live| live.0), Some(session));
    drop(tracer);
    healed(&world, &agent).await;
}

/// The first scan gets the error: it ends all the same, the view has everything but what is in the
/// directory, and gets that when it can be read.
///
/// # Panics
/// What must hold does not.
pub async fn of_an_unknown_directory(error: &str) {
    let (world, broken) = world();
    let words = ["strace", "-D", "-I2", "-f", "-qq", "-o", "/dev/null"].map(String::from);
    let words = words.into_iter().chain(injection(&broken, error));
    let agent = world.launch("one").prefix(words).start();
    until_true("a scan gets the error", || {
        counter(&agent.http, "fusion_agent_scan_errors_total") > 0.0
    })
    .await;
    let known = (DIRECTORIES - 1) * FILES;
    let mut client = world.client();
    let began = now();
    loop {
        let view = client.view(world.view()).await.expect("the view");
        if view.totals.files == known as u64 && view.freshness.last_snapshot.is_some() {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "{view:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    end_tracer(&agent);
    healed(&world, &agent).await;
}

async fn healed(world: &World, agent: &Agent) {
    recovered(world).await;
    leads_alone(world, agent, "one").await;
    assert_eq!(counter(&agent.http, "fusion_agent_session_recoveries_total"), 0.0);
}

const ERRORS: &str = "fusion_agent_scan_errors_total{source=\"audit\"}";

fn world() -> (World, std::path::PathBuf) {
    let world = World::start_configured(CONFIG);
    for directory in 0..DIRECTORIES {
        let at = world.root().join(format!("d{directory}"));
        fs::create_dir(&at).expect("a directory");
        for file in 0..FILES {
            fs::write(at.join(format!("f{file}")), "x").expect("a file");
        }
    }
    let broken = world.root().join("d3");
    (world, broken)
}

fn injection(directory: &Path, error: &str) -> Vec<String> {
    let inject = format!("inject=getdents64:error={error}");
    let path = directory.to_str().expect("a path in UTF-8");
    ["-P", path, "-e", "trace=getdents64", "-e", &inject].map(String::from).into()
}

/// strace, attached to the agent; it lets go when it is dropped.
struct Tracer(Process);

impl Drop for Tracer {
    fn drop(&mut self) {
        let _ = self.0.terminate(Duration::from_secs(10));
    }
}

fn attach(world: &World, agent: &Agent, directory: &Path, error: &str) -> Tracer {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-o", "/dev/null", "-p", &agent.process.id().to_string()]);
    strace.args(injection(directory, error));
    Tracer(Process::start("strace", &mut strace, &world.path("strace.log")))
}

/// Ends a tracer that is not ours but the agent's own grandchild, by the id that the kernel tells.
fn end_tracer(agent: &Agent) {
    let status = fs::read_to_string(format!("/proc/{}/status", agent.process.id()));
    let status = status.expect("the status of the agent");
    let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:"));
    let tracer = tracer.and_then(|id| Pid::from_raw(id.trim().parse().ok()?));
    kill_process(tracer.expect("a tracer"), Signal::TERM).expect("a tracer that lives");
}
