//! What an agent cannot watch, or was not told of by the kernel, is known by audits and said so.

use std::fs;
use std::path::Path;
use std::time::Duration;

use fusion_core::path::TreePath;
use fusion_core::view::Coverage;
use fusion_tests::pair::{READY, World, counter, metric};
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

#[tokio::test]
async fn with_a_hundred_watches_the_rest_is_found_by_audits_marked_blind_and_said() {
    let world = World::start_with(&SETTINGS);
    fill(world.root());
    let agent = world.start_agent("one", &["--max-watches", "100"]);
    faults::checks::until("an audit", async || {
        let known = world.client().view(world.view()).await.ok()?;
        known.freshness.last_audit
    })
    .await;
    assert_eq!(metric(&agent.http, "fusion_agent_watched_directories"), 100.0);
    assert_eq!(metric(&agent.http, "fusion_agent_watch_limit"), 100.0);
    // The root, thirty groups and three thousand directories in them; also while an audit counts.
    let audits =
        || counter(&agent.http, r#"fusion_agent_scans_total{outcome="complete",source="audit"}"#);
    let two_more = audits() + 2.0;
    while audits() < two_more {
        assert_eq!(metric(&agent.http, "fusion_agent_unwatched_directories"), 2_931.0);
        let coverage = world.client().view(world.view()).await.unwrap().freshness.coverage;
        assert_eq!(coverage, Coverage::WatchDegraded);
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

/// The kernel keeps 16,384 events for an agent that reads none.
#[tokio::test]
async fn events_that_the_kernel_dropped_are_said_audited_and_the_view_is_the_disk() {
    let world = World::start_with(&SETTINGS);
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
