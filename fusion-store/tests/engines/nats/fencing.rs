//! Two servers that write the log of one view: the one that was not the last to take it writes
//! nothing any more.

use std::time::Duration;

use fusion_store::engines::nats::{Nats, NatsSettings};
use fusion_store::{ChangeLog, Health, StoreError, sample};

use super::feed::{Feed, wait_for};
use super::proxy::{Line, Proxy};
use super::server::{self, Options};
use super::settings;

fn is_fenced<T: std::fmt::Debug>(outcome: Result<T, StoreError>) {
    assert!(matches!(outcome, Err(StoreError::NotNext { .. })), "{outcome:?}");
}

/// What the first appends after the second has: it gets no acknowledgement, is closed, and goes on only
/// after it was opened again.
fn check_fenced(log: &dyn ChangeLog, feed: &mut Feed, acknowledged: usize) {
    is_fenced(feed.tickets.last().unwrap().wait());
    assert_eq!(feed.acknowledged(), acknowledged);
    is_fenced(feed.try_append(log, 1));
    let health = log.status(feed.view.id).unwrap().health;
    assert!(matches!(health, Health::Failing(StoreError::NotNext { .. })), "{health:?}");
}

#[test]
fn a_writer_that_was_followed_by_another_writes_nothing() {
    if !server::is_there("a_writer_that_was_followed_by_another_writes_nothing") {
        return;
    }
    let servers = server::Nats::one(&Options::default());
    let settings = settings(servers.urls());
    let (one, two) = (Nats::connect(settings.clone()), Nats::connect(settings.clone()));
    let (one, two) = (one.unwrap().log(), two.unwrap().log());
    let mut first = Feed::open(&one, sample::view(1));
    first.append(&one, [3, 0, 7]);
    first.wait(&one);
    let mut second = Feed::open(&two, sample::view(1));
    assert_eq!(second.after, first.after);
    second.append(&two, [1, 2]);
    second.wait(&two);
    first.append(&one, [5, 5]);
    check_fenced(&one, &mut first, 3);

    first.records.truncate(3);
    first.records.append(&mut second.records);
    first.after = second.after;
    first.tickets.truncate(3);
    assert_eq!(one.open(&first.view).unwrap().end, first.after, "it is there anew");
    first.append(&one, [4]);
    first.wait(&one);
    first.check(&settings);
    is_fenced(
        second.try_append(&two, 1).and_then(|()| second.tickets.last().unwrap().wait().map(drop)),
    );
}

/// A server that only followed takes the view over: opening finds what was appended since.
#[test]
fn opening_again_finds_what_another_has_appended() {
    if !server::is_there("opening_again_finds_what_another_has_appended") {
        return;
    }
    let servers = server::Nats::one(&Options::default());
    let settings = settings(servers.urls());
    let (one, two) = (Nats::connect(settings.clone()), Nats::connect(settings.clone()));
    let (one, two) = (one.unwrap().log(), two.unwrap().log());
    let mut follower = Feed::open(&two, sample::view(1));
    let mut owner = Feed::open(&one, sample::view(1));
    owner.append(&one, [3, 0, 7]);
    owner.wait(&one);
    follower.after = two.open(&follower.view).unwrap().end;
    assert_eq!(follower.after, owner.after);
    follower.append(&two, [2]);
    follower.wait(&two);
    owner.records.append(&mut follower.records);
    owner.check(&settings);
}

/// What a server has sent and the engine has not got arrives after another server took the view.
#[test]
fn what_arrives_late_does_not_count() {
    if !server::is_there("what_arrives_late_does_not_count") {
        return;
    }
    let servers = server::Nats::one(&Options { hidden: true, ..Options::default() });
    let proxy = Proxy::new(servers.nodes[0].port);
    let direct = settings(servers.urls());
    let zombie = Nats::connect(NatsSettings { servers: vec![proxy.url()], ..direct.clone() });
    let (one, two) = (zombie.unwrap().log(), Nats::connect(direct.clone()).unwrap().log());
    let mut first = Feed::open(&one, sample::view(1));
    first.append(&one, [3, 0, 7]);
    first.wait(&one);
    proxy.set(Line::Held);
    for size in [5, 0, 5] {
        first.append(&one, [size]);
        // Apart, so that it does not go with the one before.
        std::thread::sleep(Duration::from_millis(100));
    }
    let mut second = Feed::open(&two, sample::view(1));
    // One message: it has the number of the first that is held, and not that of the second.
    second.append(&two, [2]);
    second.wait(&two);
    proxy.set(Line::Open);
    wait_for("the zombie to learn of it", || first.tickets.last().unwrap().wait().is_err());
    check_fenced(&one, &mut first, 3);
    second.append(&two, [0, 1]);
    second.wait(&two);
    first.records.truncate(3);
    first.records.append(&mut second.records);
    first.check(&direct);
}
