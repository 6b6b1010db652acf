//! One leads, the others follow; and who comes back after a death.

use std::fs;
use std::time::Duration;

use fusion_core::id::SessionId;
use fusion_core::time::ServerTime;
use fusion_proto::client::{CallHook, connect};
use fusion_proto::convert::session::{EvictSession, ListSessions};
use fusion_proto::convert::view::Page;
use fusion_tests::compare;
use fusion_tests::pair::{READY, World, metric};

#[tokio::test]
async fn a_follower_lists_nothing_and_is_promoted() {
    let world = World::start_impatient();
    for number in 0..300 {
        let folder = world.root().join(format!("d{}", number % 20));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(format!("f{number}")), "x").unwrap();
    }
    let mut leader = world.start_ready_agent("leader").await;
    let follower = world.start_agent("follower", &[]);
    wait_for(|| metric(&follower.http, "fusion_agent_watched_directories") >= 21.0, "watches");
    assert_eq!(metric(&follower.http, "fusion_agent_file_stats_total"), 0.0);
    assert_eq!(led_by(&world).await, "leader");

    fs::write(world.root().join("d1/new"), "new").unwrap();
    fs::create_dir(world.root().join("d1/sub")).unwrap();
    fs::write(world.root().join("d1/sub/file"), "x").unwrap();
    world.settle().await;
    // The view is equal as soon as one of them told; the follower looks at its own events all the same.
    wait_for(|| metric(&follower.http, "fusion_agent_file_stats_total") >= 2.0, "own events");
    let looked = metric(&follower.http, "fusion_agent_file_stats_total");
    assert!((1.0..=20.0).contains(&looked), "{looked} files looked at for three events");

    let died = compare::clock();
    leader.process.kill();
    fs::write(world.root().join("d2/after"), "the death").unwrap();
    let limit = Duration::from_secs(60);
    while led_by(&world).await != "follower" {
        assert!(died.elapsed() < limit, "nobody was promoted");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("promoted after {:?}", died.elapsed());
    compare::until_ready(&mut world.client(), world.view(), READY).await;
    world.settle().await;

    let _back = world.start_agent("leader", &[]);
    fs::write(world.root().join("d3"), "x").unwrap_err();
    fs::write(world.root().join("d3/again"), "x").unwrap();
    world.settle().await;
    assert_eq!(led_by(&world).await, "follower", "a returning leader follows");
}

#[tokio::test]
async fn the_server_dies_while_files_are_written() {
    let mut world = World::start_impatient();
    let root = world.root().to_path_buf();
    fs::create_dir(root.join("d")).unwrap();
    let _agent = world.start_ready_agent("one").await;
    let writer = std::thread::Builder::new()
        .name("writer".into())
        .spawn(move || {
            for number in 0..2_000 {
                fs::write(root.join(format!("d/f{number}")), number.to_string()).unwrap();
                if number % 3 == 0 {
                    fs::remove_file(root.join(format!("d/f{number}"))).unwrap();
                }
                if number % 100 == 0 {
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        })
        .unwrap();
    for _ in 0..3 {
        world.kill_server();
        world.start_server();
        compare::until_ready(&mut world.client(), world.view(), READY).await;
    }
    writer.join().unwrap();
    world.settle().await;
}

#[tokio::test]
async fn an_agent_dies_and_comes_back_alone() {
    let world = World::start_impatient();
    fs::create_dir(world.root().join("d")).unwrap();
    for round in 0..3 {
        let mut agent = world.start_ready_agent("one").await;
        fs::write(world.root().join(format!("d/alive{round}")), "x").unwrap();
        world.settle().await;
        assert_eq!(led_by(&world).await, "one", "one agent alone leads again");
        agent.process.kill();
        fs::write(world.root().join(format!("d/dead{round}")), "x").unwrap();
        fs::remove_file(world.root().join(format!("d/alive{round}"))).unwrap();
    }
    let _agent = world.start_ready_agent("one").await;
    world.settle().await;
}

/// As long as nobody looks at the root but now and then, what stands there is older than what is told.
const AUDITED: &str = r#"
[view_defaults]
cache_horizon = "200ms"
hot_threshold = "100ms"
session_timeout = "6s"
audit_interval = "300ms"
"#;

#[tokio::test]
async fn a_tree_that_was_empty_and_is_filled_stays_the_same_tree() {
    let world = World::start_configured(AUDITED);
    let _agent = world.start_ready_agent("one").await;
    for round in 0..2 {
        fs::create_dir(world.root().join(format!("d{round}"))).unwrap();
        world.settle().await;
        let began = audited(&world).await;
        let started = compare::clock();
        // The first of them may have begun before.
        let mut ended = [began; 2];
        while ended[0] == began {
            let now = audited(&world).await;
            if now != ended[1] {
                ended = [ended[1], now];
            }
            assert!(started.elapsed() < READY, "no audit counts");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        compare::until_ready(&mut world.client(), world.view(), READY).await;
    }
}

/// When the last audit that counts ended.
async fn audited(world: &World) -> Option<ServerTime> {
    world.client().view(world.view()).await.expect("the view").freshness.last_audit
}

#[tokio::test]
async fn an_agent_that_is_evicted_comes_back_on_a_tree_that_was_empty() {
    let world = World::start_impatient();
    let _agent = world.start_ready_agent("one").await;
    fs::write(world.root().join("new"), "x").unwrap();
    world.settle().await;
    let before = session(&world).await.expect("a session");
    let client = connect(&world.url(), CallHook::none()).unwrap();
    let evict = EvictSession { session: before, allow_missing: false };
    client.admin.clone().evict(&evict).await.unwrap();
    let started = compare::clock();
    while session(&world).await.is_none_or(|now| now == before) {
        assert!(started.elapsed() < READY, "it does not come back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    compare::until_ready(&mut world.client(), world.view(), READY).await;
    fs::write(world.root().join("newer"), "x").unwrap();
    world.settle().await;
}

/// The session of the view's only agent.
async fn session(world: &World) -> Option<SessionId> {
    let client = connect(&world.url(), CallHook::none()).unwrap();
    let page = Page { size: 0, token: String::new() };
    let asked = ListSessions { view: Some(world.view().clone()), page };
    let (sessions, _) = client.sessions.clone().list(&asked).await.unwrap();
    sessions.first().and_then(|one| one.session)
}

async fn led_by(world: &World) -> String {
    world.client().view(world.view()).await.expect("the view").leader_agent_id
}

/// Polls for what a process does in its own time, at most 20 s.
fn wait_for(holds: impl Fn() -> bool, what: &str) {
    let started = compare::clock();
    while !holds() {
        assert!(started.elapsed() < Duration::from_secs(20), "{what}: not in time");
        std::thread::sleep(Duration::from_millis(10));
    }
}
