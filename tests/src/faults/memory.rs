//! The four losses of memory: spool deleted, spool copied back from yesterday, the server's data
//! deleted, the server restored from yesterday.

use std::fs;

use fusion_core::id::SessionId;

use super::checks::{copy, leads_alone, new_session, recovered, session_of, until_true, watching};
use crate::pair::{Agent, World, counter, metric};
use crate::process::now;

const CONFIG: &str = r#"
[view_defaults]
cache_horizon = "200ms"
hot_threshold = "100ms"
session_timeout = "3s"
"#;

/// The same where no first scan begins late enough to count as the audit after a loss.
const UNHURRIED: &str = r#"
[view_defaults]
cache_horizon = "2s"
hot_threshold = "100ms"
session_timeout = "3s"
"#;

/// A world whose agent has delivered so many batches that segments of its spool were removed.
async fn begun(config: &str) -> (World, Agent) {
    let world = World::start_configured(config);
    fs::create_dir(world.root().join("work")).expect("the tree");
    let agent = world.start_ready_agent("one").await;
    deliver(&world, &agent, "first", 3).await;
    (world, agent)
}

/// Makes files one by one, each in a batch of its own, and waits until they are acknowledged.
async fn deliver(world: &World, agent: &Agent, name: &str, files: u64) {
    watching(world, "one").await;
    for number in 0..files {
        let sent = sent(agent);
        fs::write(world.root().join(format!("work/{name}{number}")), "x").expect("a file");
        until_true("a batch is sent", || self::sent(agent) > sent).await;
    }
    recovered(world).await;
    until_true("the spool is empty", || metric(&agent.http, "fusion_agent_spool_batches") == 0.0)
        .await;
}

fn sent(agent: &Agent) -> f64 {
    counter(&agent.http, "fusion_agent_batches_sent_total{lane=\"realtime\"}")
}

async fn session(world: &World) -> Option<SessionId> {
    session_of(world, "one").await.map(|(id, _)| id)
}

/// A file is made and one removed while nobody looks.
fn change_unseen(world: &World, name: &str) {
    fs::write(world.root().join(format!("work/{name}")), "x").expect("a file");
    fs::remove_file(world.root().join("work/first0")).expect("a file");
}

/// The agent dies and its spool is gone: it comes with another spool id, which the server has not met
/// and which starts at 0; the session of the old one has to expire first.
///
/// # Panics
/// What must hold does not.
pub async fn spool_deleted() {
    let (world, mut agent) = begun(CONFIG).await;
    let epoch = leads_alone(&world, &agent, "one").await;
    let old = session(&world).await;
    agent.process.kill();
    fs::remove_dir_all(world.path("one.spool")).expect("the spool");
    change_unseen(&world, "unseen");
    let agent = world.start_agent("one", &[]);
    new_session(&world, "one", old).await;
    recovered(&world).await;
    assert!(leads_alone(&world, &agent, "one").await > epoch);
    let expired = "fusion_sessions_ended_total{state=\"expired\",view=\"tree\"}";
    assert_eq!(counter(world.http(), expired), 1.0);
    assert_eq!(counter(&agent.http, "fusion_agent_spool_recoveries_total"), 0.0, "it is a new one");
    deliver(&world, &agent, "second", 2).await;
}

/// The agent was stopped, and its spool is that of yesterday: the server has more of it than it can
/// have given (SPOOL_ROLLED_BACK). It takes a new id, numbers anew and reports lost events.
///
/// # Panics
/// What must hold does not.
pub async fn spool_rolled_back() {
    let (world, mut agent) = begun(UNHURRIED).await;
    let (spool, yesterday) = (world.path("one.spool"), world.path("yesterday"));
    let limit = std::time::Duration::from_secs(5);
    assert!(agent.process.terminate(limit).success());
    copy(&spool, &yesterday);
    let mut agent = world.start_agent("one", &[]);
    new_session(&world, "one", None).await;
    deliver(&world, &agent, "today", 3).await;
    assert!(agent.process.terminate(limit).success());
    fs::remove_dir_all(&spool).expect("the spool");
    fs::rename(&yesterday, &spool).expect("yesterday's spool");
    change_unseen(&world, "unseen");
    let agent = world.start_agent("one", &[]);
    let first = new_session(&world, "one", None).await;
    until_true("it takes a new spool id", || {
        counter(&agent.http, "fusion_agent_session_recoveries_total{cause=\"spool_rolled_back\"}")
            == 1.0
    })
    .await;
    new_session(&world, "one", Some(first)).await;
    let audits = "fusion_agent_scans_total{outcome=\"complete\",source=\"audit\"}";
    until_true("lost events end with an audit", || counter(&agent.http, audits) >= 1.0).await;
    recovered(&world).await;
    leads_alone(&world, &agent, "one").await;
    deliver(&world, &agent, "second", 2).await;
    assert_eq!(counter(&agent.http, "fusion_agent_session_recoveries_total"), 1.0);
}

/// The server was killed, its data are deleted and it knows nothing: the agent lists anew, its spool goes on where it was, and
/// the hole counts as lost events, which an audit ends.
///
/// # Panics
/// What must hold does not.
pub async fn server_deleted() {
    let (mut world, agent) = begun(CONFIG).await;
    let old = session(&world).await;
    world.kill_server();
    fs::remove_dir_all(world.path("server")).expect("the server's data");
    change_unseen(&world, "unseen");
    world.start_server();
    new_session(&world, "one", old).await;
    recovered(&world).await;
    leads_alone(&world, &agent, "one").await;
    assert!(counter(world.http(), LOST) >= 3.0, "batches that neither side has any more");
    let unknown = "fusion_agent_session_recoveries_total{cause=\"unknown\"}";
    assert_eq!(counter(&agent.http, unknown), 1.0);
    deliver(&world, &agent, "second", 2).await;
}

/// The server's data are those of yesterday: it has a number in the middle of the spool's, and the
/// session and its epoch. The hole counts as lost events, the rest is delivered in the same session.
///
/// # Panics
/// What must hold does not.
pub async fn server_restored() {
    let (mut world, agent) = begun(CONFIG).await;
    let (data, yesterday) = (world.path("server"), world.path("yesterday"));
    let old = session(&world).await;
    world.kill_server();
    copy(&data, &yesterday);
    world.start_server();
    deliver(&world, &agent, "today", 4).await;
    world.kill_server();
    fs::remove_dir_all(&data).expect("the server's data");
    fs::rename(&yesterday, &data).expect("yesterday's data");
    change_unseen(&world, "unseen");
    world.start_server();
    recovered(&world).await;
    leads_alone(&world, &agent, "one").await;
    assert_eq!(session(&world).await, old, "yesterday's server knew it");
    let lost = counter(world.http(), LOST);
    assert!((4.0..100.0).contains(&lost), "{lost} batches in the hole");
    deliver(&world, &agent, "second", 2).await;
    assert_eq!(counter(&agent.http, "fusion_agent_session_recoveries_total"), 0.0);
}

const LOST: &str = "fusion_lost_batches_total{view=\"tree\"}";

/// All four, each on a pair of its own.
///
/// # Panics
/// What must hold does not.
pub async fn all_four() {
    let began = now();
    spool_deleted().await;
    spool_rolled_back().await;
    server_deleted().await;
    server_restored().await;
    println!("memory: all four in {:?}", began.elapsed());
}
