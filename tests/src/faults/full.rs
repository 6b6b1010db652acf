//! The spool is full: by its own bound, or because its disk is. The disk of the server is full.

use std::fs;
use std::path::{Path, PathBuf};

use super::checks::{
    leads_alone, new_session, recovered, session_of, status_of, until, until_true,
};
use super::net::run;
use super::proxy::Proxy;
use crate::compare;
use crate::pair::{Agent, World, counter, metric};

const CONFIG: &str = r#"
[view_defaults]
cache_horizon = "200ms"
hot_threshold = "100ms"
session_timeout = "30s"
"#;

/// The way to the server is blocked, for less than the timeout, until the smallest spool that may be
/// set is full: events are lost from then on. When there is room again one Overflow says so in the
/// lane, the view is DEGRADED until the audit that follows, and all is found.
///
/// # Panics
/// What must hold does not.
pub async fn by_its_bound() {
    let world = World::start_configured(CONFIG);
    let work = world.root().join("work");
    fs::create_dir(&work).expect("the tree");
    let proxy = Proxy::to(&world.url());
    let launch = world.launch("one").env("FUSION_AGENT__SPOOL_BYTES", "1048576");
    let agent = launch.server(proxy.url()).start();
    new_session(&world, "one", None).await;
    recovered(&world).await;
    let epoch = leads_alone(&world, &agent, "one").await;
    let (session, _) = session_of(&world, "one").await.expect("its session");

    proxy.block();
    let name = "n".repeat(150);
    let mut made = 0;
    until("the spool is full", async || {
        for _ in 0..500 {
            fs::write(work.join(format!("{name}{made}")), "x").expect("a file");
            made += 1;
        }
        (counter(&agent.http, "fusion_agent_spool_full_total") >= 1.0).then_some(())
    })
    .await;
    // These are lost for certain.
    for number in 0..100 {
        fs::write(work.join(format!("lost{number}")), "x").expect("a file");
        fs::remove_file(work.join(format!("{name}{number}"))).expect("a file");
    }
    until_true("all of them were seen", || metric(&agent.http, "fusion_agent_event_queue") == 0.0)
        .await;
    println!("full: {made} files made");

    proxy.open();
    found_all(&world, &agent).await;
    let (same, _) = session_of(&world, "one").await.expect("its session");
    assert_eq!(same, session, "the session lived through it");
    assert_eq!(leads_alone(&world, &agent, "one").await, epoch);
}

/// There is room again: one Overflow told of the loss, an audit found what was lost, and nothing is
/// broken any more.
async fn found_all(world: &World, agent: &Agent) {
    let audits = "fusion_agent_scans_total{outcome=\"complete\",source=\"audit\"}";
    until_true("an audit", || counter(&agent.http, audits) >= 1.0).await;
    recovered(world).await;
    until("nothing is broken any more", async || {
        let status = status_of(world, "one").await?;
        (status.errors.is_empty() && status.realtime_ready).then_some(())
    })
    .await;
    assert!(counter(&agent.http, "fusion_agent_spool_full_total") >= 1.0);
    assert_eq!(counter(&agent.http, "fusion_agent_session_recoveries_total"), 0.0);
}

/// The disk under the spool, one of 1 MiB of its own, is filled by somebody else while the way to the
/// server is open: the heartbeat goes on and says what is broken, and the view is not READY while
/// events are lost. When there is room again, all is found. Needs root, to mount the disk.
///
/// # Panics
/// What must hold does not.
pub async fn by_its_disk() {
    let world = World::start_configured(CONFIG);
    let work = world.root().join("work");
    fs::create_dir(&work).expect("the tree");
    let disk = Disk::mount(&world.path("disk"), "1m");
    let agent = world.launch("one").spool(&disk.0.join("spool")).start();
    let session = new_session(&world, "one", None).await;
    recovered(&world).await;
    let epoch = leads_alone(&world, &agent, "one").await;

    let ballast = disk.0.join("ballast");
    let full = fs::write(&ballast, vec![0; 2 << 20]).expect_err("the disk is smaller");
    assert_eq!(full.raw_os_error(), Some(rustix::io::Errno::NOSPC.raw_os_error()));
    let mut made = 0;
    until("the agent says so, and the view that it cannot be trusted", async || {
        fs::write(work.join(format!("{}{made}", "n".repeat(150))), "x").expect("a file");
        made += 1;
        let status = status_of(&world, "one").await?;
        let says = status.errors.iter().any(|error| error.starts_with("spool: "));
        let view = world.client().view(world.view()).await.ok()?;
        (says && !status.realtime_ready && !view.freshness.is_ready()).then_some(())
    })
    .await;
    let beaten = async || {
        let (same, info) = session_of(&world, "one").await.expect("its session");
        assert_eq!(same, session, "the session lives");
        info.last_heartbeat
    };
    let before = beaten().await;
    until("the heartbeat goes on", async || (beaten().await > before).then_some(())).await;
    println!("full: {made} files made until the disk was");

    fs::remove_file(&ballast).expect("the ballast");
    found_all(&world, &agent).await;
    assert_eq!(leads_alone(&world, &agent, "one").await, epoch);
    beaten().await;
}

/// The disk under the server's data, one of 32 MiB of its own, is filled by somebody else: no more evidence is taken,
/// queries and heartbeats are answered, and the view and its metric say why it is not READY. When there is
/// room again, what waited is taken by itself: nothing was lost, and nothing is listed anew. Needs root, to
/// mount the disk.
///
/// # Panics
/// What must hold does not.
pub async fn of_the_server() {
    let mut world = World::start_configured(CONFIG);
    world.kill_server();
    let data = world.path("server");
    fs::remove_dir_all(&data).expect("its data");
    let disk = Disk::mount(&data, "32m");
    world.start_server();
    let work = world.root().join("work");
    fs::create_dir(&work).expect("the tree");
    let agent = world.launch("one").start();
    let session = new_session(&world, "one", None).await;
    recovered(&world).await;
    let epoch = leads_alone(&world, &agent, "one").await;

    let ballast = disk.0.join("ballast");
    let full = fs::write(&ballast, vec![0; 64 << 20]).expect_err("the disk is smaller");
    assert_eq!(full.raw_os_error(), Some(rustix::io::Errno::NOSPC.raw_os_error()));
    let mut made = 0;
    // What is left of the segment that is being written to is room still.
    until("the view says that its store cannot be written", async || {
        for _ in 0..100 {
            fs::write(work.join(format!("{}{made}", "n".repeat(150))), "x").expect("a file");
            made += 1;
        }
        let view = world.client().view(world.view()).await.expect("an answer");
        let says = |reason: &String| {
            reason.starts_with("the store cannot be written") && reason.contains("the disk is full")
        };
        view.freshness.reasons.iter().any(says).then_some(())
    })
    .await;
    println!("full: {made} files made until the disk was");
    assert!(!world.client().view(world.view()).await.expect("the view").freshness.is_ready());
    assert_eq!(metric(world.http(), "fusion_store_failing"), 1.0);
    let beaten = async || {
        let (same, info) = session_of(&world, "one").await.expect("its session");
        assert_eq!(same, session, "the session lives");
        info.last_heartbeat
    };
    let before = beaten().await;
    fs::write(work.join("meanwhile"), "x").expect("a file");
    until("heartbeats go on", async || (beaten().await > before).then_some(())).await;
    let known = compare::view_tree(&mut world.client(), world.view()).await.expect("an answer");
    assert!(known.contains_key("/work") && !known.contains_key("/work/meanwhile"));

    fs::remove_file(&ballast).expect("the ballast");
    recovered(&world).await;
    assert_eq!(metric(world.http(), "fusion_store_failing"), 0.0);
    assert_eq!(leads_alone(&world, &agent, "one").await, epoch);
    assert_eq!(counter(&agent.http, "fusion_agent_session_recoveries_total"), 0.0);
    assert_eq!(counter(world.http(), "fusion_lost_batches_total"), 0.0);
    let scans = "fusion_agent_scans_total{outcome=\"complete\"}";
    assert_eq!(counter(&agent.http, scans), 1.0, "the first snapshot alone");
    beaten().await;
}

/// A small disk.
#[derive(Debug)]
pub(crate) struct Disk(pub(crate) PathBuf);

impl Disk {
    pub(crate) fn mount(place: &Path, size: &str) -> Self {
        fs::create_dir(place).expect("a mount point");
        let place = place.to_path_buf();
        let text = place.to_str().expect("a path in UTF-8");
        run(&["mount", "-t", "tmpfs", "-o", &format!("size={size}"), "fusion-faults", text]);
        Self(place)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: the agent ends after it where a test fails.
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
