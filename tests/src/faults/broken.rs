//! A part of the agent is broken: its heartbeat goes on, and says so.

use std::fs;
use std::time::Duration;

use fusion_core::evidence::RootState;
use fusion_core::id::SessionId;
use fusion_proto::convert::session::agent::AgentStatus;
use rustix::process::Signal;

use super::checks::{leads_alone, new_session, recovered, session_of, status_of, until};
use crate::mounts::Bind;
use crate::pair::{World, counter};
use crate::process::now;

const CONFIG: &str = r#"
[view_defaults]
cache_horizon = "200ms"
hot_threshold = "100ms"
session_timeout = "2s"
audit_interval = "1s"
"#;

/// Long enough for a session to expire whose heartbeat has stopped.
const LONG: Duration = Duration::from_secs(5);

/// The kernel gives no inotify instance: the agent leads and scans, says that it does not watch, and
/// the view, which cannot be READY then, follows the disk by audits.
///
/// # Panics
/// What must hold does not.
pub async fn watcher() {
    let world = World::start_configured(CONFIG);
    fs::create_dir(world.root().join("work")).expect("the tree");
    let none = "echo 0 > /proc/sys/user/max_inotify_instances && exec \"$0\" \"$@\"";
    let agent = world.launch("one").prefix(["unshare", "-Ur", "sh", "-c", none]).start();
    let session = new_session(&world, "one", None).await;
    says_so(&world, "watch: ", |status| !status.realtime_ready).await;
    fs::write(world.root().join("work/unseen"), "x").expect("a file");
    lives_on(&world, session).await;
    world.settle().await;
    leads_alone(&world, &agent, "one").await;
    let view = world.client().view(world.view()).await.expect("the view");
    assert!(!view.freshness.is_ready(), "{:?}", view.freshness);
}

/// The storage hangs, and then is there again: nothing is removed, the session lives, and what
/// happened meanwhile is found. Needs bindfs, whose process is stopped.
///
/// # Panics
/// What must hold does not.
pub async fn storage() {
    let world = World::start_configured(CONFIG);
    let bound = mount(&world);
    fs::create_dir(world.root().join("work")).expect("the tree");
    for number in 0..50 {
        fs::write(world.root().join(format!("work/f{number}")), "x").expect("a file");
    }
    let agent = world.launch("one").root(&world.path("mount")).start();
    let session = new_session(&world, "one", None).await;
    recovered(&world).await;
    bound.process.signal(Signal::STOP);
    fs::write(world.root().join("work/meanwhile"), "x").expect("a file");
    fs::remove_file(world.root().join("work/f0")).expect("a file");
    says_so(&world, "root: ", |status| status.root_state == RootState::Unavailable).await;
    let view = world.client().view(world.view()).await.expect("the view");
    assert!(!view.freshness.is_ready(), "{:?}", view.freshness);
    assert_eq!(view.totals.files, 50, "nothing is removed");
    lives_on(&world, session).await;
    bound.process.signal(Signal::CONT);
    until("nothing is broken any more", async || {
        let status = status_of(&world, "one").await?;
        (status.errors.is_empty() && status.root_state == RootState::Available).then_some(())
    })
    .await;
    recovered(&world).await;
    leads_alone(&world, &agent, "one").await;
    assert_eq!(counter(&agent.http, "fusion_agent_session_recoveries_total"), 0.0);
}

/// The storage goes away (its process is killed), and later another mount of it takes its place. While
/// it is away the agent says so and tells nothing, whatever its audits find, and nothing is removed.
/// When it is there again the agent, whose descriptors lead to the dead one, begins anew on it by
/// itself and finds all. Needs bindfs.
///
/// # Panics
/// What must hold does not.
pub async fn storage_gone() {
    let world = World::start_configured(CONFIG);
    let mut bound = mount(&world);
    fs::create_dir(world.root().join("work")).expect("the tree");
    for number in 0..50 {
        fs::write(world.root().join(format!("work/f{number}")), "x").expect("a file");
    }
    let agent = world.launch("one").root(&world.path("mount")).start();
    let session = new_session(&world, "one", None).await;
    recovered(&world).await;
    let epoch = leads_alone(&world, &agent, "one").await;
    bound.process.kill();
    says_so(&world, "scan: ", |status| status.root_state != RootState::Available).await;
    drop(bound);
    fs::remove_file(world.root().join("work/f0")).expect("a file");
    lives_on(&world, session).await;
    let view = world.client().view(world.view()).await.expect("the view");
    assert!(!view.freshness.is_ready(), "{:?}", view.freshness);
    assert_eq!(view.totals.files, 50, "nothing is removed");

    let _mount = mount(&world);
    new_session(&world, "one", Some(session)).await;
    recovered(&world).await;
    assert!(leads_alone(&world, &agent, "one").await > epoch);
}

async fn says_so(world: &World, part: &str, and: impl Fn(&AgentStatus) -> bool) {
    until(&format!("a heartbeat says `{part}`"), async || {
        let status = status_of(world, "one").await?;
        (status.errors.iter().any(|error| error.starts_with(part)) && and(&status)).then_some(())
    })
    .await;
}

/// For longer than its timeout the session is the same and is heard.
async fn lives_on(world: &World, session: SessionId) {
    let (_, before) = session_of(world, "one").await.expect("its session");
    let began = now();
    while began.elapsed() < LONG {
        let (same, _) = session_of(world, "one").await.expect("a session that lives");
        assert_eq!(same, session);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let (_, after) = session_of(world, "one").await.expect("its session");
    assert!(after.last_heartbeat.since(before.last_heartbeat) > LONG / 2, "{after:?}");
}

/// The tree, mounted once more by a process that can be stopped.
fn mount(world: &World) -> Bind {
    Bind::of(world.root(), &world.path("mount"), Duration::ZERO)
}
