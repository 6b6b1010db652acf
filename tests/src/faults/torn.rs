//! The last frame of the spool is torn: the agent died in the middle of an append.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::checks::{leads_alone, new_session, recovered, session_of, until_true};
use super::churn::Dice;
use super::proxy::Proxy;
use crate::pair::{Agent, World, counter, metric};

const CONFIG: &str = r#"
[view_defaults]
cache_horizon = "200ms"
hot_threshold = "100ms"
session_timeout = "3s"
"#;

/// So many times the agent is killed while its spool holds frames that the server has not got, and
/// so many bytes as chance says are cut off the last one. What was in it is found by the audit that
/// follows a death (R10), the frames before it arrive.
///
/// # Panics
/// Something of this does not hold.
pub async fn not_delivered(seed: u64, rounds: u64) {
    let mut dice = Dice::new(seed);
    let world = World::start_configured(CONFIG);
    let work = world.root().join("work");
    fs::create_dir(&work).expect("the tree");
    let mut agent = world.start_ready_agent("one").await;
    for round in 0..rounds {
        let old = session_of(&world, "one").await.map(|(id, _)| id);
        agent.process.kill();
        let proxy = Proxy::to(&world.url());
        agent = world.launch("one").server(proxy.url()).start();
        new_session(&world, "one", old).await;
        until_settled(&world, &agent).await;
        proxy.block();
        for number in 0..5 {
            let file = work.join(format!("r{round}-{number}"));
            fs::write(file, "x").expect("a file");
            let frames = f64::from(number);
            until_true("it is in the spool", || {
                metric(&agent.http, "fusion_agent_spool_batches") > frames
            })
            .await;
        }
        let old = session_of(&world, "one").await.map(|(id, _)| id);
        agent.process.kill();
        drop(proxy);
        let cut = 1 + dice.below(40);
        tear(&world.path("one.spool"), cut);
        println!("torn: seed {seed}, round {round}: {cut} bytes cut off");
        let before = counter(world.http(), APPLIED);
        agent = world.start_agent("one", &[]);
        new_session(&world, "one", old).await;
        recovered(&world).await;
        leads_alone(&world, &agent, "one").await;
        assert_eq!(found(&agent, "torn"), 1.0);
        assert_eq!(found(&agent, "rolled_back"), 0.0);
        let whole = counter(world.http(), APPLIED) - before;
        assert!(whole >= 4.0, "the whole frames were delivered: {whole}");
    }
}

/// The frame that is torn is one that the server has: the spool then holds less than was
/// acknowledged, takes a new id, and says that events were lost. The old session, of another spool
/// id, has to expire first.
///
/// # Panics
/// Something of this does not hold.
pub async fn delivered() {
    let world = World::start_configured(CONFIG);
    let work = world.root().join("work");
    fs::create_dir(&work).expect("the tree");
    let mut agent = world.start_ready_agent("one").await;
    // By one event, so that no frame comes after the one that is waited for.
    fs::write(world.path("a"), "a").expect("a file");
    fs::rename(world.path("a"), work.join("a")).expect("a file that turns up");
    until_settled(&world, &agent).await;
    let epoch = leads_alone(&world, &agent, "one").await;
    let old = session_of(&world, "one").await.map(|(id, _)| id);
    agent.process.kill();
    tear(&world.path("one.spool"), 3);
    fs::write(work.join("b"), "b").expect("a file");
    let agent = world.start_agent("one", &[]);
    new_session(&world, "one", old).await;
    recovered(&world).await;
    assert!(leads_alone(&world, &agent, "one").await > epoch);
    assert_eq!((found(&agent, "torn"), found(&agent, "rolled_back")), (1.0, 1.0));
    let expired = "fusion_sessions_ended_total{state=\"expired\",view=\"tree\"}";
    assert_eq!(counter(world.http(), expired), 1.0, "not superseded: it is another spool");
}

const APPLIED: &str = "fusion_batches_total{lane=\"realtime\",outcome=\"applied\",view=\"tree\"}";

async fn until_settled(world: &World, agent: &Agent) {
    recovered(world).await;
    until_true("the spool is empty", || metric(&agent.http, "fusion_agent_spool_batches") == 0.0)
        .await;
}

fn found(agent: &Agent, what: &str) -> f64 {
    counter(&agent.http, &format!("fusion_agent_spool_recoveries_total{{what=\"{what}\"}}"))
}

/// Cuts bytes off the newest segment.
fn tear(spool: &Path, bytes: u64) {
    let entries = fs::read_dir(spool).expect("the spool").flatten().map(|entry| entry.path());
    let mut segments: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|it| it == "seg")).collect();
    segments.sort();
    let last = segments.pop().expect("a segment");
    let length = fs::metadata(&last).expect("the segment").len();
    let file = File::options().write(true).open(&last).expect("the segment");
    file.set_len(length - bytes).expect("a shorter segment");
}
