//! A mount within the tree that does not answer: one name is not known, and all else goes on (R11).
//!
//! The mount is bindfs, stopped. A root that hangs as a whole is a case of `storage`.

use std::fs;
use std::path::Path;
use std::time::Duration;

use fusion_core::path::TreePath;
use fusion_tests::compare;
use fusion_tests::compare::clock as now;
use fusion_tests::faults::checks::until_true;
use fusion_tests::mounts::Bind;
use fusion_tests::pair::{ARRIVE, Agent, READY, World, counter, metric};
use fusion_tests::settings::Settings;

fn fill(root: &Path) {
    for number in 0..60 {
        let below = root.join(format!("d{}/e{}", number % 6, number % 3));
        fs::create_dir_all(&below).unwrap();
        fs::write(below.join(format!("f{number}")), "1").unwrap();
    }
}

/// A mount that answers nothing, and the world in whose tree it is to be.
fn hanging(world: &World, at: &Path) -> Bind {
    let behind = world.path("behind");
    fs::create_dir_all(&behind).unwrap();
    fs::write(behind.join("no-part-of-the-tree"), "x").unwrap();
    let mount = Bind::of(&behind, at, Duration::ZERO);
    mount.process.signal(rustix::process::Signal::STOP);
    mount
}

fn agent(world: &World) -> Agent {
    world.launch("one").env("FUSION_AGENT__CALL_LIMIT", "1s").start()
}

/// Waits until the view has an entry.
async fn until_known(world: &World, path: &str) {
    let (started, path) = (now(), TreePath::new(path.as_bytes().to_vec()).unwrap());
    while world.client().entry(world.view(), &path).await.is_err() {
        assert!(started.elapsed() < ARRIVE, "never known: {path}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn an_agent_starts_and_audits_beside_a_mount_that_hangs() {
    let world = World::start_with(&Settings::QUICK);
    fill(world.root());
    let mut mount = hanging(&world, &world.root().join("mounted"));
    let agent = agent(&world);
    until_known(&world, "/d1/e1/f1").await;
    until_true("an audit", || {
        counter(&agent.http, r#"fusion_agent_scans_total{outcome="complete",source="audit"}"#) > 1.0
    })
    .await;
    fs::write(world.root().join("d2/new"), "x").unwrap();
    until_known(&world, "/d2/new").await;
    assert!(metric(&agent.http, "fusion_agent_hung_calls") >= 1.0);
    mount.process.resume();
    world.settle().await;
    compare::until_ready(&mut world.client(), world.view(), READY).await;
    until_true("nothing hangs", || metric(&agent.http, "fusion_agent_hung_calls") == 0.0).await;
}

#[tokio::test]
async fn what_appears_and_hangs_holds_up_no_events_of_other_directories() {
    let world = World::start_with(&Settings::QUICK);
    fill(world.root());
    let mut mount = hanging(&world, &world.path("outside/mounted"));
    let agent = agent(&world);
    compare::until_ready(&mut world.client(), world.view(), READY).await;
    assert_eq!(counter(&agent.http, r#"fusion_agent_part_restarts_total{part="watch"}"#), 0.0);
    // It is listed because it appeared, by the thread that tells of all events.
    fs::rename(world.path("outside"), world.root().join("d3/appeared")).unwrap();
    fs::write(world.root().join("d4/new"), "x").unwrap();
    until_known(&world, "/d4/new").await;
    until_true("another watcher", || {
        counter(&agent.http, r#"fusion_agent_part_restarts_total{part="watch"}"#) == 1.0
    })
    .await;
    fs::write(world.root().join("d5/newer"), "x").unwrap();
    until_known(&world, "/d5/newer").await;
    mount.process.resume();
    world.settle().await;
    compare::until_ready(&mut world.client(), world.view(), READY).await;
    until_true("nothing hangs", || metric(&agent.http, "fusion_agent_hung_calls") == 0.0).await;
    assert_eq!(counter(&agent.http, r#"fusion_agent_part_restarts_total{part="watch"}"#), 1.0);
    assert_eq!(mount.process.output(), "");
}
