//! What operators command while files change: a view moved, a server drained; and an owner that hangs.

use std::fs;
use std::time::Duration;

use fusion_proto::client::{CallHook, connect};
use fusion_proto::convert::session::ListSessions;
use fusion_proto::convert::view::Page;
use fusion_tests::faults::churn::Churn;
use fusion_tests::nats::{self, Nats, Options};
use fusion_tests::pair::{Agent, counter, text};
use rustix::process::Signal;

use crate::servers::{PATIENCE, Servers, view};
use crate::{all_answer_the_same, make, standing};

/// Keep-alive finds a server that is silently gone within 15 s; the rest is for a busy machine.
const FOUND: Duration = Duration::from_secs(25);

/// A command that is to succeed.
fn done(servers: &Servers, asked: usize, args: &[&str]) -> String {
    let output = servers.fusionctl(asked, args);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {}", text(&output));
    text(&output)
}

fn three(nats: &Nats) -> Servers {
    let servers = Servers::start(3, "[state]\nengine = \"nats\"\n", &nats.urls(), 1);
    make(&servers, "first");
    servers
}

/// The servers that do not own the view.
fn others(servers: &Servers, owner: usize) -> [usize; 2] {
    let others: Vec<_> = servers.running().into_iter().filter(|one| *one != owner).collect();
    others.try_into().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_is_moved_and_a_server_drained_while_files_change() {
    if !nats::is_there("a_view_is_moved_and_a_server_drained_while_files_change") {
        return;
    }
    let nats = Nats::one(&Options { sync_always: true, ..Default::default() });
    let servers = three(&nats);
    let owner = servers.until_owned(&[], PATIENCE);
    let [to, third] = others(&servers, owner);
    let agents = [servers.agent("one", owner).start(), servers.agent("two", to).start()];
    let agents: Vec<&Agent> = agents.iter().collect();
    servers.until_ready().await;
    let before = with_sessions(&servers, &agents, owner).await;
    let work = servers.root().join("work");
    fs::create_dir(&work).unwrap();
    let churn = Churn::begin(&work, 1);

    // Nobody is there within a millisecond; it goes there all the same.
    let (first, second) = (servers.url(to), servers.url(third));
    let hurried = servers.fusionctl(owner, &["views", "move", "tree", &first, "--wait", "1ms"]);
    assert_eq!(hurried.status.code(), Some(1), "{}", text(&hurried));
    let told = format!("fusionctl: view tree is not at {first} within");
    assert!(text(&hurried).contains(&told) && text(&hurried).contains("--wait"), "{hurried:?}");
    assert_eq!(servers.until_owned(&[owner, third], PATIENCE), to);

    let moved = done(&servers, owner, &["views", "move", "tree", &second]);
    assert!(moved.contains(&format!("view tree is owned by {second}")), "{moved}");
    assert_eq!(servers.owner(), Some(third));
    let drained = done(&servers, owner, &["server", "drain", &second]);
    assert!(drained.contains(&format!("server {second} drains")), "{drained}");
    let next = servers.until_owned(&[third], PATIENCE);
    let status = done(&servers, next, &["cluster", "status"]);
    let its = |line: &&str| line.contains(&second) && line.contains("drains");
    assert_eq!(status.lines().filter(its).count(), 1, "{status}");
    done(&servers, next, &["server", "drain", &second, "--lift"]);

    let changes = churn.end();
    assert!(changes > 100, "{changes} changes");
    servers.settle().await;
    servers.until_ready().await;
    all_answer_the_same(&servers);
    let owner = servers.until_owned(&[], PATIENCE);
    assert_eq!(standing(&servers, &agents, owner).await, before);
    for agent in agents {
        assert_eq!(counter(&agent.http, "fusion_agent_session_recoveries_total"), 0.0);
    }
}

/// What stands, once both agents have a session.
async fn with_sessions(servers: &Servers, agents: &[&Agent], asked: usize) -> crate::Standing {
    let began = fusion_tests::compare::clock();
    loop {
        let now = standing(servers, agents, asked).await;
        if now.sessions.len() == agents.len() {
            return now;
        }
        assert!(began.elapsed() < PATIENCE, "{now:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_was_sent_on_to_an_owner_that_hangs_is_refused() {
    if !nats::is_there("a_call_that_was_sent_on_to_an_owner_that_hangs_is_refused") {
        return;
    }
    let nats = Nats::one(&Options { sync_always: true, ..Default::default() });
    let mut servers = three(&nats);
    let owner = servers.until_owned(&[], PATIENCE);
    let [other, _] = others(&servers, owner);
    let agent = servers.agent("one", other).start();
    servers.until_ready().await;
    let before = with_sessions(&servers, &[&agent], owner).await;

    servers.process(owner).signal(Signal::STOP);
    let page = Page { size: 0, token: String::new() };
    let asked = ListSessions { view: Some(view()), page };
    let mut client = connect(&servers.url(other), CallHook::none()).unwrap();
    let answer = tokio::time::timeout(FOUND, client.sessions.list(&asked)).await;
    let refused = answer.expect("an end of the call").expect_err("nobody can have answered");
    assert!(fusion_proto::views::live::may_go_on(&refused).is_some(), "{refused:?}");
    let next = servers.until_owned(&[owner], PATIENCE);
    servers.process(owner).resume();

    servers.until_ready().await;
    servers.settle().await;
    assert_eq!(standing(&servers, &[&agent], next).await, before);
}
