//! Servers that die or stand still in the middle of appends: nothing that was acknowledged is lost,
//! nothing is there twice, and the log goes on by itself.

use std::time::Duration;

use fusion_store::engines::nats::{Nats, NatsSettings};
use fusion_store::{ChangeLog as _, sample};

use super::feed::{Feed, wait_for};
use super::proxy::{Line, Proxy};
use super::server::{self, Options};
use super::settings;

/// Small messages, so that many are under way and large records are in pieces.
fn small(servers: Vec<String>) -> NatsSettings {
    let (message_bytes, timeout) = (16 << 10, Duration::from_secs(5));
    NatsSettings { message_bytes, timeout, ..settings(servers) }
}

fn sizes(round: u64) -> impl Iterator<Item = u64> {
    (0..60).map(move |number| [0, 1, 3, 40, 1_500][((number * 7 + round) % 5) as usize])
}

#[test]
fn the_only_server_is_killed_in_the_middle() {
    if !server::is_there("the_only_server_is_killed_in_the_middle") {
        return;
    }
    let mut servers = server::Nats::one(&Options { sync_always: true, ..Options::default() });
    let settings = small(servers.urls());
    let nats = Nats::connect(settings.clone()).unwrap();
    let log = nats.log();
    let mut feed = Feed::open(&log, sample::view(1));
    for round in 0..6 {
        feed.append(&log, sizes(round));
        // The next rounds kill it after other numbers of acknowledgements.
        let enough = feed.acknowledged() + round as usize * 4;
        wait_for("some acknowledgements", || feed.acknowledged() >= enough);
        servers.nodes[0].kill();
        feed.append(&log, sizes(round + 1));
        assert!(feed.acknowledged() < feed.tickets.len(), "it was in the middle");
        wait_for("the log to say so", || !log.status(feed.view.id).unwrap().health.is_well());
        servers.nodes[0].start();
        servers.wait_until_well();
        feed.check(&settings);
        feed.wait(&log);
    }
    feed.check(&settings);
}

#[test]
fn the_leader_of_three_is_killed_or_stands_still() {
    if !server::is_there("the_leader_of_three_is_killed_or_stands_still") {
        return;
    }
    let mut servers = server::Nats::three(&Options { sync_always: true, ..Options::default() });
    let settings = NatsSettings { replicas: 3, ..small(servers.urls()) };
    let nats = Nats::connect(settings.clone()).unwrap();
    let log = nats.log();
    let mut feed = Feed::open(&log, sample::view(1));
    for round in 0..4 {
        feed.append(&log, sizes(round));
        let leader = servers.leader(&settings.prefix);
        match round % 2 {
            0 => servers.nodes[leader].kill(),
            _ => servers.nodes[leader].freeze(),
        }
        feed.append(&log, sizes(round + 1));
        // The other two go on without it.
        feed.wait(&log);
        match round % 2 {
            0 => servers.nodes[leader].start(),
            _ => servers.nodes[leader].thaw(),
        }
        feed.append(&log, sizes(round + 2));
        feed.wait(&log);
        servers.wait_until_well();
        feed.check(&settings);
    }
}

#[test]
fn an_acknowledgement_is_lost_with_its_connection() {
    if !server::is_there("an_acknowledgement_is_lost_with_its_connection") {
        return;
    }
    let servers = server::Nats::one(&Options { hidden: true, ..Options::default() });
    let proxy = Proxy::new(servers.nodes[0].port);
    let settings = small(vec![proxy.url()]);
    let direct = NatsSettings { servers: servers.urls(), ..settings.clone() };
    let nats = Nats::connect(settings).unwrap();
    let log = nats.log();
    let mut feed = Feed::open(&log, sample::view(1));
    for round in 0..8 {
        feed.append(&log, sizes(round));
        feed.wait(&log);
        proxy.set(Line::Deaf);
        feed.append(&log, sizes(round + 1));
        // What was sent arrives, and nobody is told.
        std::thread::sleep(Duration::from_millis(20 * round));
        proxy.cut();
        proxy.set(Line::Open);
        feed.wait(&log);
        feed.check(&direct);
    }
}

#[test]
fn a_handle_that_is_dropped_writes_what_waits() {
    if !server::is_there("a_handle_that_is_dropped_writes_what_waits") {
        return;
    }
    let servers = server::Nats::one(&Options::default());
    let settings = small(servers.urls());
    let nats = Nats::connect(settings.clone()).unwrap();
    let log = nats.log();
    let mut feed = Feed::open(&log, sample::view(1));
    feed.append(&log, sizes(0).chain(sizes(1)));
    drop(log);
    assert_eq!(feed.acknowledged(), feed.tickets.len());
    feed.check(&settings);
}
