//! SIGSTOP of a leader past its timeout, in the middle of its first scan; then SIGCONT.

use std::fs;
use std::time::Duration;

use fusion_proto::client::CallError;
use fusion_proto::convert::evidence::WireBatch;
use fusion_proto::convert::push::{Lane, PushBatch};
use fusion_proto::status::{ObsoleteCause, Refusal};
use rustix::process::Signal;

use super::checks::{
    PATIENCE, client, leads_alone, new_session, recovered, session_of, until, until_true,
};
use super::churn::Churn;
use super::proxy::Proxy;
use crate::compare;
use crate::pair::{World, counter, metric};
use crate::process::now;

const IMPATIENT: &str = r#"
[view_defaults]
cache_horizon = "200ms"
hot_threshold = "100ms"
session_timeout = "3s"
"#;

/// A tree of so many directories with ten files each; the leader is stopped while it lists them. A
/// follower leads meanwhile, and half of the files go: what the stopped one saw is false. What it had
/// sent arrives late, and it comes back as a follower in a new session: nothing that it saw under its
/// old leadership is believed.
///
/// # Panics
/// Something of this does not hold.
pub async fn leader_past_its_timeout(directories: u64) {
    let world = World::start_configured(IMPATIENT);
    for number in 0..directories * 10 {
        let folder = world.root().join(format!("d{}", number % directories));
        fs::create_dir_all(&folder).expect("a directory");
        fs::write(folder.join(format!("f{number}")), "x").expect("a file");
    }
    let proxy = Proxy::to(&world.url());
    proxy.slow(Duration::from_millis(20));
    let paused = world.launch("paused").server(proxy.url()).start();
    let session = new_session(&world, "paused", None).await;
    until("the first batches of its scan", async || {
        let info = world.client().view(world.view()).await.ok()?;
        (info.totals.files > 0).then_some(())
    })
    .await;
    proxy.block();
    paused.process.signal(Signal::STOP);
    let info = world.client().view(world.view()).await.expect("the view");
    assert!(!info.freshness.is_ready(), "the scan was over already: take more directories");
    let first_epoch = info.leader_epoch;
    assert_eq!(info.leader_agent_id, "paused");

    let follower = world.start_agent("follower", &[]);
    until("the follower leads", async || {
        let info = world.client().view(world.view()).await.ok()?;
        (info.leader_agent_id == "follower").then_some(())
    })
    .await;
    for number in 0..directories * 10 {
        if number % 2 == 0 {
            let folder = world.root().join(format!("d{}", number % directories));
            fs::remove_file(folder.join(format!("f{number}"))).expect("a file");
        }
    }
    compare::until_ready(&mut world.client(), world.view(), PATIENCE).await;
    world.settle().await;

    // What it left in its lane is of a session that is over: not even looked at.
    let batch = WireBatch::default();
    let late = PushBatch { session, lane: Lane::Scan, batch };
    let refusal = client(&world).events.push_batch(late).await.expect_err("it is over");
    match refusal {
        CallError::Refused(Refusal::SessionObsolete { cause: ObsoleteCause::Expired, .. }) => {}
        other => panic!("{other:?}"),
    }
    let listed = snapshot_rows(&world);
    proxy.open();
    paused.process.signal(Signal::CONT);
    assert_ne!(new_session(&world, "paused", Some(session)).await, session);
    until_true("it knows why", || counter(&paused.http, RECOVERED) == 1.0).await;
    let info = world.client().view(world.view()).await.expect("the view");
    assert_eq!(info.leader_agent_id, "follower", "a returning leader follows");
    assert!(info.leader_epoch > first_epoch, "{} after {first_epoch}", info.leader_epoch);
    let (_, back) = session_of(&world, "paused").await.expect("its session");
    assert_eq!(back.role, fusion_core::session::Role::Follower);
    stays_equal(&world).await;
    recovered(&world).await;
    assert_eq!(snapshot_rows(&world), listed, "not a row of its scan was believed or even judged");
    assert_eq!(counter(world.http(), ENDED), 1.0);
    assert!(counter(world.http(), TOLD) >= 1.0);
    assert_eq!(metric(&follower.http, "fusion_agent_role{role=\"leader\"}"), 1.0);
}

/// The only agent is stopped past its timeout while files change: nobody leads, the view says so; it
/// wakes up, reads from the kernel's queue what it missed, and leads alone again.
///
/// # Panics
/// Something of this does not hold.
pub async fn only_agent_past_its_timeout(seed: u64) {
    let world = World::start_configured(IMPATIENT);
    let work = world.root().join("work");
    fs::create_dir(&work).expect("the tree");
    let agent = world.start_ready_agent("one").await;
    let epoch = leads_alone(&world, &agent, "one").await;
    let session = new_session(&world, "one", None).await;
    agent.process.signal(Signal::STOP);
    let churn = Churn::begin(&work, seed);
    until("nobody leads", async || {
        let view = world.client().view(world.view()).await.ok()?;
        let led = view.sessions > 0 || !view.leader_agent_id.is_empty();
        (!led && !view.freshness.is_ready()).then_some(())
    })
    .await;
    let operations = churn.end();
    agent.process.signal(Signal::CONT);
    assert_ne!(new_session(&world, "one", Some(session)).await, session);
    recovered(&world).await;
    assert!(leads_alone(&world, &agent, "one").await > epoch);
    assert_eq!(counter(&agent.http, RECOVERED), 1.0);
    assert_eq!(counter(world.http(), ENDED), 1.0);
    println!("pause: seed {seed}, {operations} operations");
}

const RECOVERED: &str = "fusion_agent_session_recoveries_total{cause=\"expired\"}";
const ENDED: &str = "fusion_sessions_ended_total{state=\"expired\",view=\"tree\"}";
const TOLD: &str = "fusion_obsolete_answers_total{cause=\"expired\"}";

/// Rows of first scans that were judged, however.
fn snapshot_rows(world: &World) -> f64 {
    let judged = ["applied", "unchanged", "stale", "ghost", "held", "kept", "relist"];
    let rows = judged.map(|outcome| {
        let labels = format!("outcome=\"{outcome}\",tier=\"snapshot\",view=\"tree\"");
        counter(world.http(), &format!("fusion_evidence_rows_total{{{labels}}}"))
    });
    rows.iter().sum()
}

/// For two seconds the view says nothing else than the disk, whatever the returned one sends.
async fn stays_equal(world: &World) {
    let on_disk = crate::disk::walk(world.root());
    let began = now();
    while began.elapsed() < Duration::from_secs(2) {
        let tree = compare::view_tree(&mut world.client(), world.view()).await.expect("the view");
        let paths: Vec<_> = tree.keys().filter(|path| !on_disk.contains_key(*path)).collect();
        assert!(paths.is_empty(), "came back from the dead: {paths:?}");
        assert_eq!(tree.len(), on_disk.len(), "entries of the view and of the disk");
    }
}
