//! A server whose logs are on NATS JetStream: it dies, NATS dies, and the view is what is on disk.

use std::fs;
use std::time::Duration;

use fusion_tests::compare;
use fusion_tests::nats as server;
use fusion_tests::pair::{READY, World, counter};

const SNAPSHOTS: &str = "fusion_agent_scans_total{outcome=\"complete\",source=\"snapshot\"}";

fn world(servers: &server::Nats) -> World {
    let urls = servers.urls();
    World::start_configured(&format!(
        "[change_log]\nengine = \"nats\"\nservers = {urls:?}\nsync = \"always\"\ntimeout = \"5s\"\n\
         [view_defaults]\ncache_horizon = \"200ms\"\nhot_threshold = \"100ms\"\n"
    ))
}

fn make(world: &World, name: &str) {
    let dir = world.root().join(name);
    fs::create_dir(&dir).unwrap();
    for number in 0..200 {
        fs::write(dir.join(format!("f{number}")), number.to_string()).unwrap();
    }
    fs::remove_file(dir.join("f7")).unwrap();
}

#[tokio::test]
async fn a_server_on_jetstream_dies_and_goes_on_without_a_scan() {
    if !server::is_there("a_server_on_jetstream_dies_and_goes_on_without_a_scan") {
        return;
    }
    let options = server::Options { sync_always: true, ..server::Options::default() };
    let mut servers = server::Nats::one(&options);
    let mut world = world(&servers);
    make(&world, "first");
    let agent = world.start_ready_agent("one").await;
    world.settle().await;
    let snapshots = counter(&agent.http, SNAPSHOTS);
    for round in 0..3 {
        make(&world, &format!("while-{round}-runs"));
        world.kill_server();
        make(&world, &format!("while-{round}-is-dead"));
        world.start_server();
        compare::until_ready(&mut world.client(), world.view(), READY).await;
        world.settle().await;
    }
    for round in 0..3 {
        make(&world, &format!("while-nats-{round}-runs"));
        servers.nodes[0].kill();
        make(&world, &format!("while-nats-{round}-is-dead"));
        // The server lives on and takes no evidence meanwhile.
        tokio::time::sleep(Duration::from_millis(300)).await;
        servers.nodes[0].start();
        servers.wait_until_well();
        world.settle().await;
    }
    world.kill_server();
    world.start_server();
    compare::until_ready(&mut world.client(), world.view(), READY).await;
    world.settle().await;
    assert_eq!(counter(&agent.http, SNAPSHOTS), snapshots, "what was known was not scanned again");
}
