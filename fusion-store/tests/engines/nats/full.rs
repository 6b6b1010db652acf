//! An engine that has no room: what waits is kept within its bound and written when there is room.

use std::time::Duration;

use fusion_core::time::ServerTime;
use fusion_store::engines::nats::{Nats, NatsSettings};
use fusion_store::{ChangeLog as _, Retention, sample};

use super::feed::{Feed, wait_for};
use super::server::{self, Options};
use super::settings;

const NOTHING_KEPT: Retention = Retention { age: Duration::ZERO, changes: 0, bytes: 0 };

fn fills_and_goes_on(settings: &NatsSettings) {
    let nats = Nats::connect(settings.clone()).unwrap();
    let log = nats.log();
    let mut feed = Feed::open(&log, sample::view(1));
    let is_well = || log.status(sample::view(1).id).unwrap().health.is_well();
    while is_well() {
        feed.append(&log, [1_000; 4]);
        let end = feed.tickets.len();
        wait_for("an acknowledgement or a fault", || feed.acknowledged() == end || !is_well());
        assert!(end < 10_000, "it never was full");
    }
    let (acknowledged, told) = (feed.acknowledged(), log.status(feed.view.id).unwrap().health);
    feed.append(&log, [10, 0, 1]);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(feed.acknowledged(), acknowledged, "{told:?}");
    let contained = feed.records[acknowledged / 2].point;
    let start = log.trim(feed.view.id, contained, &NOTHING_KEPT, ServerTime::MAX).unwrap();
    assert!(start.record > 0 && start <= contained);
    feed.wait(&log);
    let records = feed.records.split_off(start.record as usize);
    let read: Result<Vec<_>, _> =
        log.read(feed.view.id, fusion_store::ReadFrom::Start).unwrap().collect();
    assert!(read.unwrap() == records, "all that was not trimmed is there once");
}

#[test]
fn a_log_that_has_all_its_bytes_goes_on_when_it_is_trimmed() {
    if !server::is_there("a_log_that_has_all_its_bytes_goes_on_when_it_is_trimmed") {
        return;
    }
    let servers = server::Nats::one(&Options::default());
    let log_max_bytes = Some(2 << 20);
    fills_and_goes_on(&NatsSettings { log_max_bytes, ..settings(servers.urls()) });
}

#[test]
fn an_engine_that_is_full_goes_on_when_the_log_is_trimmed() {
    if !server::is_there("an_engine_that_is_full_goes_on_when_the_log_is_trimmed") {
        return;
    }
    let servers = server::Nats::one(&Options { max_file_store: 2 << 20, ..Options::default() });
    fills_and_goes_on(&settings(servers.urls()));
}
