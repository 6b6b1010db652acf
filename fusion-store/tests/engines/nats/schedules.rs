//! Random faults on three servers, by seed; `FUSION_SEEDS=FROM..TO` runs others than the usual.

use std::time::Duration;

use fusion_store::engines::nats::{Nats, NatsSettings};
use fusion_store::sample;

use super::feed::{Feed, Seeded};
use super::server::{self, Options};
use super::settings;

fn seeds() -> std::ops::Range<u64> {
    let Ok(text) = std::env::var("FUSION_SEEDS") else { return 1..4 };
    let (from, to) = text.split_once("..").unwrap();
    from.parse().unwrap()..to.parse().unwrap()
}

/// What became of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Dead,
    Frozen,
}

fn run(seed: u64) {
    let mut random = Seeded(seed);
    let mut servers = server::Nats::three(&Options { sync_always: true, ..Options::default() });
    let timeout = Duration::from_secs(5);
    let message_bytes = 8 << (10 + random.below(4));
    let settings = NatsSettings { replicas: 3, message_bytes, timeout, ..settings(servers.urls()) };
    let nats = Nats::connect(settings.clone()).unwrap();
    let log = nats.log();
    let mut feed = Feed::open(&log, sample::view(1));
    let mut hurt: Option<(usize, Fate)> = None;
    for _ in 0..12 {
        for _ in 0..random.below(20) {
            feed.append(&log, [[0, 1, 5, 100, 2_000][random.below(5) as usize]]);
        }
        std::thread::sleep(Duration::from_millis(random.below(300)));
        match hurt.take() {
            Some((node, Fate::Dead)) => servers.nodes[node].start(),
            Some((node, Fate::Frozen)) => servers.nodes[node].thaw(),
            None if random.below(4) == 0 => feed.check(&settings),
            None => {
                let leads = random.below(2) == 0;
                let node =
                    if leads { servers.leader(&settings.prefix) } else { random.below(3) as usize };
                let fate = if random.below(2) == 0 { Fate::Dead } else { Fate::Frozen };
                match fate {
                    Fate::Dead => servers.nodes[node].kill(),
                    Fate::Frozen => servers.nodes[node].freeze(),
                }
                hurt = Some((node, fate));
            }
        }
    }
    match hurt {
        Some((node, Fate::Dead)) => servers.nodes[node].start(),
        Some((node, Fate::Frozen)) => servers.nodes[node].thaw(),
        None => {}
    }
    feed.wait(&log);
    feed.check(&settings);
    println!("seed {seed}: {} records, all there once", feed.records.len());
}

#[test]
fn three_servers_under_random_faults() {
    if !server::is_there("three_servers_under_random_faults") {
        return;
    }
    for seed in seeds() {
        println!("seed {seed}");
        run(seed);
    }
}
