//! Three servers on one log and one state, with the real binaries on real engines: any of them answers, and the death
//! or the end of the one that owns the view costs moments, and neither a session nor a scan.

mod commands;
mod servers;

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::time::Duration;

use fusion_store::engines::started::{PASSWORD, StartedPostgres, StartedRedis};
use fusion_tests::pair::{Agent, counter, text};
use fusion_tests::{binaries, compare, nats};
use servers::{LEASE, PATIENCE, Servers};

const SNAPSHOTS: &str = "fusion_agent_scans_total{outcome=\"complete\",source=\"snapshot\"}";

/// What must not change, whatever happens to servers.
#[derive(Debug, PartialEq, Eq)]
struct Standing {
    sessions: BTreeSet<String>,
    leader: String,
    snapshots: u64,
}

async fn standing(servers: &Servers, agents: &[&Agent], asked: usize) -> Standing {
    let sessions = servers.json(asked, &["sessions", "--view", "tree"]);
    let sessions = sessions.iter().map(|session| session["session_id"].to_string()).collect();
    let leader = servers.client(asked).view(&servers::view()).await.unwrap().leader_agent_id;
    let snapshots = agents.iter().map(|agent| counter(&agent.http, SNAPSHOTS) as u64).sum();
    Standing { sessions, leader, snapshots }
}

fn make(servers: &Servers, name: &str) {
    let dir = servers.root().join(name);
    fs::create_dir(&dir).unwrap();
    for number in 0..100 {
        fs::write(dir.join(format!("f{number}")), number.to_string()).unwrap();
    }
    fs::remove_file(dir.join("f7")).unwrap();
}

/// Every server says the same to who asks it.
fn all_answer_the_same(servers: &Servers) {
    for args in
        [&["ls", "-l", "/first"][..], &["du", "/"], &["find", "f9*"], &["stat", "/first/f1"]]
    {
        let args = [args, &["--view", "tree"]].concat();
        let mut answers: Vec<_> =
            servers.running().iter().map(|one| servers.json(*one, &args)).collect();
        // What an answer is worth each says for itself.
        for answer in answers.iter_mut().flatten() {
            if let Some(fields) = answer.as_object_mut() {
                fields.remove("freshness");
            }
        }
        assert!(answers[0] == answers[answers.len() - 1] && !answers[0].is_empty(), "{answers:#?}");
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{args:?}: {answers:#?}");
    }
}

/// The owner goes, in one way or another; what was is as it was.
async fn the_owner_goes(
    servers: &mut Servers,
    agents: &[&Agent],
    name: &str,
    kill: bool,
) -> Duration {
    let owner = servers.owner().unwrap();
    let before = standing(servers, agents, owner).await;
    make(servers, &format!("before-{name}"));
    let began = compare::clock();
    if kill {
        servers.kill(owner)
    } else {
        servers.tell_to_end(owner)
    }
    make(servers, &format!("while-{name}"));
    let next = servers.until_owned(&[owner], PATIENCE);
    let took = began.elapsed();
    if !kill {
        assert!(servers.ended(owner).success(), "a planned end");
    }
    servers.start_one(owner);
    servers.until_ready().await;
    servers.settle().await;
    all_answer_the_same(servers);
    assert_eq!(standing(servers, agents, next).await, before, "{name}");
    for agent in agents {
        assert!(!agent.process.output().contains("obsolete"), "{}", agent.process.output());
    }
    println!("{name}: another server owned the view after {took:?}");
    took
}

async fn lives_on(servers: &mut Servers) {
    let owner = servers.until_owned(&[], PATIENCE);
    let others: Vec<_> = servers.running().into_iter().filter(|one| *one != owner).collect();
    make(servers, "first");
    // Neither talks to the owner.
    let leader = servers.agent("leader", others[0]).start();
    servers.until_ready().await;
    let follower = servers.agent("follower", others[1]).start();
    let agents = [&leader, &follower];
    let began = compare::clock();
    while standing(servers, &agents, owner).await.sessions.len() < 2 {
        assert!(began.elapsed() < PATIENCE, "the follower has no session");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    servers.settle().await;
    all_answer_the_same(servers);

    let killed = the_owner_goes(servers, &agents, "kill", true).await;
    assert!(killed > LEASE / 2, "nobody takes what may be another's: {killed:?}");
    let ended = the_owner_goes(servers, &agents, "end", false).await;
    assert!(ended < LEASE, "who ends as told is not waited for: {ended:?}");
    the_owner_goes(servers, &agents, "kill-again", true).await;
}

fn on_postgres(engine: &StartedPostgres) -> String {
    let url = engine.settings("fusion").url;
    format!("[state]\nengine = \"postgres\"\nurl = \"{url}\"\npassword = \"{PASSWORD}\"\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn three_servers_on_one_nats_and_postgresql_outlive_their_owner() {
    if !nats::is_there("three_servers_on_one_nats_and_postgresql_outlive_their_owner") {
        return;
    }
    let Some(engine) = StartedPostgres::start() else { return };
    let nats = nats::Nats::one(&nats::Options { sync_always: true, ..Default::default() });
    let mut servers = Servers::start(3, &on_postgres(&engine), &nats.urls(), 1);
    lives_on(&mut servers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_servers_on_three_nats_and_redis_outlive_their_owner() {
    if !nats::is_there("three_servers_on_three_nats_and_redis_outlive_their_owner") {
        return;
    }
    let Some(engine) = StartedRedis::start() else { return };
    let nats = nats::Nats::three(&nats::Options::default());
    let url = engine.settings("").url;
    let state =
        format!("[state]\nengine = \"redis\"\nurl = \"{url}\"\npassword = \"{PASSWORD}\"\n");
    let mut servers = Servers::start(3, &state, &nats.urls(), 3);
    lives_on(&mut servers).await;
}

/// NATS comes up a moment later than the servers, as when all were started together.
#[tokio::test(flavor = "multi_thread")]
async fn servers_wait_for_an_engine_that_comes_up_with_them() {
    if !nats::is_there("servers_wait_for_an_engine_that_comes_up_with_them") {
        return;
    }
    let Some(engine) = StartedPostgres::start() else { return };
    let mut nats = nats::Nats::one(&nats::Options::default());
    let mut servers = Servers::start(1, &on_postgres(&engine), &nats.urls(), 1);
    servers.until_owned(&[], PATIENCE);
    servers.kill(0);
    nats.nodes[0].kill();
    let starts = std::thread::Builder::new().name("nats".into()).spawn(move || {
        std::thread::sleep(Duration::from_secs(2));
        nats.nodes[0].start();
        nats
    });
    servers.start_one(0);
    let _nats = starts.unwrap().join().unwrap();
    assert!(text(&servers.fusionctl(0, &["status"])).contains("tree"));
}

/// What is wrong is told before anything is opened.
#[test]
fn a_cluster_on_what_is_not_shared_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("server.toml");
    fs::write(&config, "[cluster]\nadvertise = \"http://fusion-0:0\"\nlease = \"100ms\"\n")
        .unwrap();
    let mut command = Command::new(binaries::path("fusion-server"));
    command.arg("--check-config").arg("--config").arg(&config);
    let refused = command.output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    for part in ["change_log.engine", "state.engine", "cluster.advertise", "cluster.lease"] {
        assert!(text(&refused).contains(part), "{}", text(&refused));
    }
}
