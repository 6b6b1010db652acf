//! What an agent cannot watch, or was not told of by the kernel, is known by audits and said so.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use fusion_core::path::TreePath;
use fusion_core::view::Coverage;
use fusion_tests::pair::{Agent, READY, World, counter, metric};
use fusion_tests::settings::Settings;
use fusion_tests::{blind, compare, faults};
use rustix::process::Signal;

const SETTINGS: Settings = Settings {
    session_timeout: "30s",
    audit_interval: "2s",
    deep_audit_one_in: 1,
    ..Settings::QUICK
};

/// Three thousand directories, one file in each; the first fifty changed last.
fn fill(root: &Path) {
    let long_ago = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_500_000_000);
    for number in 0..3_000 {
        let directory = root.join(format!("g{}/d{number:04}", number / 100));
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("file"), "1").unwrap();
        if number >= 50 {
            fs::File::open(&directory).unwrap().set_modified(long_ago).unwrap();
        }
    }
}

fn path(text: &str) -> TreePath {
    TreePath::new(text.as_bytes().to_vec()).unwrap()
}

/// What must hold where a hundred directories may be watched, whoever says so.
async fn with_a_hundred_watches(world: &World, agent: &Agent) {
    faults::checks::until("an audit", async || {
        let known = world.client().view(world.view()).await.ok()?;
        known.freshness.last_audit
    })
    .await;
    let two_more = audits(agent) + 2.0;
    while audits(agent) < two_more {
        // Also while an audit counts, and tries whether there may be more.
        assert_eq!(metric(&agent.http, "fusion_agent_watch_limit"), 100.0);
        assert_eq!(metric(&agent.http, "fusion_agent_watched_directories"), 100.0);
        // The root, thirty groups and three thousand directories in them.
        assert_eq!(metric(&agent.http, "fusion_agent_unwatched_directories"), 2_931.0);
        assert_eq!(coverage(world).await, Coverage::WatchDegraded);
    }
    let status = world.fusionctl(&["status"]);
    let status = String::from_utf8_lossy(&status.stdout);
    for says in ["WATCH_DEGRADED", "watches 100 of at most 100 directories (2,931 not watched)"] {
        assert!(status.contains(says), "no {says:?} in {status}");
    }
    // Watched, as the hottest are; and not, as the coldest are.
    fs::write(world.root().join("g0/d0010/watched"), "x").unwrap();
    fs::write(world.root().join("g29/d2990/unwatched"), "x").unwrap();
    fs::remove_file(world.root().join("g28/d2890/file")).unwrap();
    world.settle().await;
    let mut client = world.client();
    let spots = blind::spots(&mut client, world.view()).await;
    assert!(spots.contains("/g29/d2990/unwatched"), "{spots:?}");
    assert!(spots.contains("gone: /g28/d2890/file"), "{spots:?}");
    assert!(!spots.contains("/g0/d0010/watched"), "{spots:?}");
    assert!(client.entry(world.view(), &path("/g28/d2890/file")).await.is_err());
}

/// Audits that came to their end.
fn audits(agent: &Agent) -> f64 {
    counter(&agent.http, r#"fusion_agent_scans_total{outcome="complete",source="audit"}"#)
}

async fn coverage(world: &World) -> Coverage {
    world.client().view(world.view()).await.unwrap().freshness.coverage
}

#[tokio::test]
async fn with_a_hundred_watches_the_rest_is_found_by_audits_marked_blind_and_said() {
    let world = World::start_with(&SETTINGS);
    fill(world.root());
    let agent = world.start_agent("one", &["--max-watches", "100"]);
    with_a_hundred_watches(&world, &agent).await;
}

/// As many as the kernel gives to a user namespace and all in it.
const GIVEN: &str = "/proc/sys/user/max_inotify_watches";

/// The kernel's limit is one for all that a user runs, so the agent is alone in a user namespace.
#[tokio::test]
async fn a_limit_of_the_kernel_is_learned_as_if_it_were_set_and_forgotten_when_it_is_raised() {
    let world = World::start_with(&SETTINGS);
    fill(world.root());
    let few = format!("echo 100 > {GIVEN} && exec \"$0\" \"$@\"");
    let agent = world.launch("one").prefix(["unshare", "-Ur", "sh", "-c", &few]).start();
    with_a_hundred_watches(&world, &agent).await;

    let (inside, more) = (agent.process.id().to_string(), format!("echo 10000 > {GIVEN}"));
    let mut enter = Command::new("nsenter");
    enter.args(["--user", "--preserve-credentials", "--target", &inside, "sh", "-c", &more]);
    assert!(enter.status().unwrap().success());
    let watched = || metric(&agent.http, "fusion_agent_unwatched_directories") == 0.0;
    faults::checks::until_true("all is watched", watched).await;
    faults::checks::until("and it is said", async || {
        (coverage(&world).await == Coverage::RealtimeAndAudit).then_some(())
    })
    .await;
    fs::write(world.root().join("g29/d2991/watched"), "x").unwrap();
    world.settle().await;
    let spots = blind::spots(&mut world.client(), world.view()).await;
    assert!(!spots.contains("/g29/d2991/watched"), "{spots:?}");
}

/// The kernel keeps 16,384 events for an agent that reads none.
#[tokio::test]
async fn events_that_the_kernel_dropped_are_said_audited_and_the_view_is_the_disk() {
    let world = World::start_with(&Settings { cache_horizon: "1s", ..SETTINGS });
    for number in 0..20 {
        fs::create_dir(world.root().join(format!("d{number}"))).unwrap();
    }
    let agent = world.start_ready_agent("one").await;
    world.settle().await;
    assert_eq!(metric(&agent.http, "fusion_agent_kernel_overflows_total"), 0.0);
    agent.process.signal(Signal::STOP);
    for number in 0..9_000 {
        fs::write(world.root().join(format!("d{}/f{number}", number % 20)), "x").unwrap();
    }
    fs::rename(world.root().join("d3"), world.root().join("d4/moved")).unwrap();
    fs::remove_dir_all(world.root().join("d5")).unwrap();
    agent.process.signal(Signal::CONT);
    // For a cache horizon at least: only what begins after it is the audit that ends it.
    faults::checks::until("the view says that it cannot be trusted", async || {
        let why = compare::why_not_ready(&mut world.client(), world.view()).await?;
        why.contains("events of agent one were lost: its queue overflowed").then_some(())
    })
    .await;
    let lost = || metric(&agent.http, "fusion_agent_kernel_overflows_total") >= 1.0;
    faults::checks::until_true("the loss is told", lost).await;
    world.settle().await;
    compare::until_ready(&mut world.client(), world.view(), READY).await;
    // All is watched again, what moved too.
    fs::write(world.root().join("d4/moved/later"), "x").unwrap();
    fs::write(world.root().join("d6/later"), "x").unwrap();
    world.settle().await;
    let spots = blind::spots(&mut world.client(), world.view()).await;
    assert!(!spots.iter().any(|spot| spot.ends_with("/later")), "{spots:?}");
}
