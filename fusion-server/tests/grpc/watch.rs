//! `WatchView`: every change once and in order, from any revision, seen from a path; and how a watch
//! ends.

use std::sync::Arc;
use std::time::Duration;

use fusion_core::id::Revision;
use fusion_core::time::ServerTime;
use fusion_proto::pb;
use fusion_proto::pb::EventType as Type;
use fusion_proto::pb::evidence::Evidence as Said;
use fusion_proto::status::Refusal;
use fusion_server::clock::RuntimeClock;
use fusion_server::stores::Stores;
use fusion_store::{LogPoint, ReadFrom, Retention};
use tonic::{Code, Status, Streaming};

use crate::evidence::{DIR, DIR_INODE, FILE, ROOT_INODE, batch, file, listing, root, row, stat};
use crate::harness::{TestServer, VIEW, advance, config, refusal, start, start_in, start_with};
use crate::telling::{Lane, opening};

fn watch(path: &str, after_revision: Option<u64>) -> pb::WatchViewRequest {
    let (view, path) = (VIEW.to_owned(), path.to_owned());
    pb::WatchViewRequest { view, path, after_revision, filter: None }
}

fn filtered(types: &[Type], kinds: &[pb::EntryKind]) -> pb::WatchViewRequest {
    let event_types = types.iter().map(|&kind| kind.into()).collect();
    let kinds = kinds.iter().map(|&kind| kind.into()).collect();
    let filter = Some(pb::EventFilter { event_types, kinds });
    pb::WatchViewRequest { filter, ..watch("/", Some(0)) }
}

fn dir(path: &str, inode: u64) -> pb::Evidence {
    row(Said::Upsert(pb::Upsert {
        path: path.as_bytes().to_vec().into(),
        stat: Some(stat(DIR, 0, inode)),
        parent: Some(stat(DIR, 0, ROOT_INODE)),
        atomic: true,
    }))
}

/// A file with an inode of its own, in a directory of that inode.
fn own(path: &str, inode: u64, parent: u64) -> pb::Evidence {
    row(Said::Upsert(pb::Upsert {
        path: path.as_bytes().to_vec().into(),
        stat: Some(stat(FILE, 1, inode)),
        parent: Some(stat(DIR, 0, parent)),
        atomic: true,
    }))
}

fn rename(from: (&str, u64), to: (&str, u64), inode: u64) -> pb::Evidence {
    row(Said::Rename(pb::Rename {
        from: from.0.as_bytes().to_vec().into(),
        to: to.0.as_bytes().to_vec().into(),
        stat: Some(stat(FILE, 1, inode)),
        from_parent: Some(stat(DIR, 0, from.1)),
        to_parent: Some(stat(DIR, 0, to.1)),
    }))
}

fn remove(path: &str, parent: u64) -> pb::Evidence {
    let (path, parent) = (path.as_bytes().to_vec().into(), Some(stat(DIR, 0, parent)));
    row(Said::Remove(pb::Remove { path, parent }))
}

async fn lane(server: &mut TestServer) -> Lane {
    let session = server.join("a").await.session_id;
    Lane::open(server, opening(pb::Lane::Realtime, &session, "a")).await.unwrap().0
}

/// Who watches, and checks on the way that revisions and ids fit together.
struct Watcher {
    told: Streaming<pb::WatchViewResponse>,
    revision: u64,
}

impl Watcher {
    async fn begin(server: &TestServer, asked: pb::WatchViewRequest) -> Result<Self, Status> {
        let mut told = server.views.clone().watch_view(asked).await?.into_inner();
        let first = told.message().await?.unwrap();
        assert!(first.events.is_empty(), "the first message says where it begins");
        Ok(Self { told, revision: first.revision })
    }

    async fn next(&mut self) -> Result<Vec<pb::EventEnvelope>, Status> {
        let Some(message) = self.told.message().await? else { panic!("ended without a status") };
        for event in &message.events {
            assert!(event.version > self.revision, "{} after {}", event.version, self.revision);
            self.revision = event.version;
        }
        assert!(message.revision >= self.revision);
        self.revision = message.revision;
        Ok(message.events)
    }

    /// So many changes, or more if they come in the same message.
    async fn take(&mut self, count: usize) -> Vec<(Type, String)> {
        let mut events = Vec::new();
        while events.len() < count {
            events.extend(self.next().await.unwrap());
        }
        let path = |event: &pb::EventEnvelope| event.target.as_ref().unwrap().path.clone();
        events.iter().map(|event| (event.event_type(), path(event))).collect()
    }

    async fn end(&mut self) -> Refusal {
        loop {
            match self.told.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("ended without a status"),
                Err(status) => return refusal::<()>(Err(status)),
            }
        }
    }
}

fn told(events: &[(Type, &str)]) -> Vec<(Type, String)> {
    events.iter().map(|(kind, path)| (*kind, (*path).to_owned())).collect()
}

#[tokio::test]
async fn changes_are_told_as_they_happen_and_again_from_any_revision() {
    let mut server = start().await;
    let mut lane = lane(&mut server).await;
    lane.send(batch(1, vec![root(), file("/f", 1)])).await;
    lane.acknowledged(1).await.unwrap();
    let mut live = Watcher::begin(&server, watch("/", None)).await.unwrap();
    lane.send(batch(2, vec![file("/g", 1), file("/f", 2), file("/g", 1)])).await;
    let new = [(Type::EntryCreated, "/g"), (Type::EntryModified, "/f")];
    assert_eq!(live.take(2).await, told(&new));
    lane.send(batch(3, vec![remove("/g", ROOT_INODE)])).await;
    assert_eq!(live.take(1).await, told(&[(Type::NodeSoftDeleted, "/g")]));

    let mut all = vec![(Type::EntryCreated, "/"), (Type::EntryCreated, "/f")];
    all.extend(new);
    all.push((Type::NodeSoftDeleted, "/g"));
    let mut first = Watcher::begin(&server, watch("/", Some(0))).await.unwrap();
    let mut events = first.next().await.unwrap();
    while events.len() < all.len() {
        events.extend(first.next().await.unwrap());
    }
    for (at, event) in events.iter().enumerate() {
        let mut later = Watcher::begin(&server, watch("/", Some(event.version))).await.unwrap();
        if at + 1 < all.len() {
            assert_eq!(later.take(all.len() - at - 1).await, told(&all[at + 1..]));
        }
        let mut again = Watcher::begin(&server, watch("/", Some(event.version - 1))).await.unwrap();
        assert_eq!(again.next().await.unwrap()[0], *event, "the same whenever it is told");
    }
    let envelope = &events[3];
    assert_eq!(envelope.actor.as_ref().unwrap().agent_id, "a");
    assert_eq!(envelope.cause(), pb::ChangeCause::Realtime);
    let Some(pb::event_envelope::Payload::Entry(entry)) = &envelope.payload else {
        panic!("{envelope:?}");
    };
    let size = |stat: &Option<pb::Stat>| stat.as_ref().map(|stat| stat.size);
    assert_eq!((size(&entry.before), size(&entry.after)), (Some(1), Some(2)));
}

#[tokio::test]
async fn the_chain_of_cause_and_effect_is_told() {
    let mut server = start().await;
    let mut lane = lane(&mut server).await;
    let (correlation_id, causation_id) = ("chain:1".to_owned(), "link:2".to_owned());
    let chained =
        pb::EvidenceBatch { correlation_id, causation_id, ..batch(1, vec![root(), file("/f", 1)]) };
    lane.send(chained).await;
    lane.acknowledged(1).await.unwrap();
    let mut watcher = Watcher::begin(&server, watch("/f", Some(0))).await.unwrap();
    let events = watcher.next().await.unwrap();
    assert_eq!(events[0].correlation_id, "chain:1");
    assert_eq!(events[0].causation_id, "link:2");
}

#[tokio::test]
async fn a_path_sees_what_concerns_it_and_its_edge() {
    let mut server = start().await;
    let mut lane = lane(&mut server).await;
    let begin = vec![root(), dir("/w", DIR_INODE), dir("/o", 5), own("/o/a", 10, 5)];
    lane.send(batch(1, begin)).await;
    lane.acknowledged(1).await.unwrap();
    let mut watcher = Watcher::begin(&server, watch("/w", None)).await.unwrap();
    let outside = [own("/o/b", 11, 5), own("/ww", 12, ROOT_INODE)];
    lane.send(batch(2, outside.to_vec())).await;
    lane.send(batch(3, vec![rename(("/o/a", 5), ("/w/a", DIR_INODE), 10)])).await;
    lane.send(batch(4, vec![rename(("/w/a", DIR_INODE), ("/w/c", DIR_INODE), 10)])).await;
    lane.send(batch(5, vec![rename(("/w/c", DIR_INODE), ("/o/c", 5), 10)])).await;
    lane.deliver(batch(6, vec![remove("/w", ROOT_INODE)])).await;
    let seen = [
        (Type::EntryMovedIn, "/w/a"),
        (Type::EntryMoved, "/w/c"),
        (Type::EntryMovedOut, "/w/c"),
        (Type::NodeSoftDeleted, "/w"),
    ];
    assert_eq!(watcher.take(4).await, told(&seen));
    let mut below = Watcher::begin(&server, watch("/w/x/y", Some(0))).await.unwrap();
    assert_eq!(below.take(1).await, told(&[(Type::NodeSoftDeleted, "/w")]));
}

#[tokio::test]
async fn types_and_kinds_are_chosen() {
    let mut server = start().await;
    let mut lane = lane(&mut server).await;
    lane.send(batch(1, vec![root(), dir("/d", DIR_INODE), own("/f", 9, ROOT_INODE)])).await;
    lane.send(batch(2, vec![rename(("/f", ROOT_INODE), ("/d/f", DIR_INODE), 9)])).await;
    lane.acknowledged(2).await.unwrap();
    let mut directories =
        Watcher::begin(&server, filtered(&[], &[pb::EntryKind::Directory])).await.unwrap();
    let seen = [(Type::EntryCreated, "/"), (Type::EntryCreated, "/d")];
    assert_eq!(directories.take(2).await, told(&seen));
    let mut moves = Watcher::begin(&server, filtered(&[Type::EntryMoved], &[])).await.unwrap();
    assert_eq!(moves.take(1).await, told(&[(Type::EntryMoved, "/d/f")]));
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_says_how_far_it_is_although_nothing_was_wanted() {
    let mut server = start().await;
    let mut lane = lane(&mut server).await;
    let asked = pb::WatchViewRequest { path: "/none".into(), ..filtered(&[], &[]) };
    let mut watcher = Watcher::begin(&server, asked).await.unwrap();
    assert_eq!(watcher.revision, 0);
    lane.send(batch(1, vec![root(), file("/f", 1)])).await;
    lane.acknowledged(1).await.unwrap();
    advance(Duration::from_secs(5)).await;
    assert_eq!(watcher.next().await.unwrap(), []);
    assert!(watcher.revision >= 2, "{}", watcher.revision);
}

#[tokio::test]
async fn what_is_not_there_and_what_is_not_kept_is_refused() {
    let stores = Stores::memory();
    let mut server = start_in(config(), Arc::new(RuntimeClock::new()), stores.clone()).await;
    let mut lane = lane(&mut server).await;
    lane.send(batch(1, vec![root(), file("/f", 1), file("/g", 1)])).await;
    lane.send(batch(2, vec![file("/h", 1)])).await;
    lane.acknowledged(2).await.unwrap();
    let begin = async |asked| refusal(Watcher::begin(&server, asked).await.map(|_| ()));
    match begin(watch("/", Some(1_000))).await {
        Refusal::RevisionUnknown { latest } => assert!((4..1_000).contains(&latest.0)),
        other => panic!("{other:?}"),
    }
    let view = stores.log.views().unwrap()[0].id;
    let second = stores.log.read(view, ReadFrom::Revision(Revision(1))).unwrap();
    let points: Vec<LogPoint> = second.map(|record| record.unwrap().point).collect();
    let through = points.iter().rev().find(|point| point.revision.0 < 4).copied().unwrap();
    let nothing = Retention { age: Duration::ZERO, changes: 0, bytes: 0 };
    let now = ServerTime::from_nanos(i64::MAX);
    stores.log.trim(view, through, &nothing, now).unwrap();
    let oldest = match begin(watch("/", Some(0))).await {
        Refusal::RevisionCompacted { oldest } => oldest.0,
        other => panic!("{other:?}"),
    };
    let mut watcher = Watcher::begin(&server, watch("/", Some(oldest - 1))).await.unwrap();
    assert_eq!(watcher.take(1).await, told(&[(Type::EntryCreated, "/h")]));

    let strange = pb::WatchViewRequest { view: "w".into(), ..watch("/", None) };
    assert!(matches!(begin(strange).await, Refusal::ViewNotFound { .. }));
    for (asked, field) in [
        (watch("x", None), "path"),
        (
            pb::WatchViewRequest {
                filter: Some(pb::EventFilter { event_types: vec![77], kinds: vec![] }),
                ..watch("/", None)
            },
            "filter.event_types",
        ),
    ] {
        match begin(asked).await {
            Refusal::InvalidArgument { violations } => assert_eq!(violations[0].field, field),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn watchers_are_limited_and_their_seats_come_back() {
    let mut config = config();
    config.max_watchers = 2;
    let mut server = start_with(config).await;
    server.join("a").await;
    let mut first = Watcher::begin(&server, watch("/", None)).await.unwrap();
    let _second = Watcher::begin(&server, watch("/", None)).await.unwrap();
    match refusal(Watcher::begin(&server, watch("/", None)).await.map(|_| ())) {
        Refusal::QuotaExceeded { quota, limit, .. } => {
            assert_eq!((quota.as_str(), limit), ("max_watchers", 2));
        }
        other => panic!("{other:?}"),
    }
    first.revision = 0;
    drop(first);
    // The server learns of the reset in its own time.
    while let Err(status) = Watcher::begin(&server, watch("/", None)).await {
        assert_eq!(status.code(), Code::ResourceExhausted);
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_server_that_goes_down_says_so_and_the_next_one_goes_on() {
    let stores = Stores::memory();
    let clock = || Arc::new(RuntimeClock::new());
    let mut server = start_in(config(), clock(), stores.clone()).await;
    let first = lane(&mut server).await;
    let mut watcher = Watcher::begin(&server, watch("/", Some(0))).await.unwrap();
    first.send(batch(1, vec![root(), file("/f", 1)])).await;
    assert_eq!(watcher.take(2).await.len(), 2);
    server.stop();
    assert!(matches!(watcher.end().await, Refusal::ServerDraining { .. }));
    let seen = watcher.revision;
    server.ended().await;

    let mut server = start_in(config(), clock(), stores).await;
    let again = crate::harness::asks_with_top("a", "f", 7);
    let session = server.sessions.create_session(again).await.unwrap().into_inner().session_id;
    let mut ask = opening(pb::Lane::Realtime, &session, "a");
    (ask.first_held, ask.next) = (2, 2);
    let (lane, _) = Lane::open(&mut server, ask).await.unwrap();
    let mut watcher = Watcher::begin(&server, watch("/", Some(seen))).await.unwrap();
    lane.send(batch(2, vec![file("/g", 1)])).await;
    assert_eq!(watcher.take(1).await, told(&[(Type::EntryCreated, "/g")]));
}

#[tokio::test(start_paused = true)]
async fn who_does_not_read_is_ended_and_goes_on_without_a_hole() {
    let mut server = start().await;
    let mut lane = lane(&mut server).await;
    let mut told = server.views.watch_view(watch("/", None)).await.unwrap().into_inner();
    let mut made = 0;
    lane.send(batch(1, vec![root()])).await;
    // More than the connection's windows hold.
    for sequence in 2..=80 {
        let rows = (0..900).map(|i| file(&format!("/{sequence:03}-{i:04}"), 1)).collect();
        lane.send(batch(sequence, rows)).await;
        made += 900;
    }
    lane.acknowledged(80).await.unwrap();
    // The view went on; only now is the watcher, which has read nothing, too slow.
    let metric = |text: &str| text.contains("fusion_watchers_too_slow_total{view=\"v\"} 1");
    while !metric(&server.get("/metrics").await) {
        advance(Duration::from_secs(1)).await;
        tokio::task::yield_now().await;
    }
    let (mut seen, mut revision) = (0, 0);
    let ended = loop {
        match told.message().await {
            Ok(Some(message)) => {
                seen += message.events.iter().filter(|event| event.version > 1).count();
                revision = message.revision;
            }
            Ok(None) => panic!("ended without a status"),
            Err(status) => break refusal::<()>(Err(status)),
        }
    };
    match ended {
        Refusal::WatcherTooSlow { resume_after, .. } => assert_eq!(resume_after.0, revision),
        other => panic!("{other:?}"),
    }
    assert!((1..made).contains(&seen), "{seen} of {made}");
    let mut watcher = Watcher::begin(&server, watch("/", Some(revision))).await.unwrap();
    let rest = watcher.take(made - seen).await;
    assert_eq!(rest.len() + seen, made);
}

#[tokio::test]
async fn a_listing_is_told_row_by_row_and_gone_on_with_in_its_middle() {
    let mut server = start().await;
    let session = server.join("a").await;
    let ask = opening(pb::Lane::Scan, &session.session_id, "a");
    let (mut lane, _) = Lane::open(&mut server, ask).await.unwrap();
    let names: Vec<String> = (0..900).map(|i| format!("f{i:03}")).collect();
    let scanned = pb::EvidenceBatch {
        listings: vec![listing("/", &names, 0, true)],
        leader_epoch: session.leader_epoch,
        ..batch(1, vec![])
    };
    lane.deliver(scanned).await;
    let mut watcher = Watcher::begin(&server, watch("/", Some(0))).await.unwrap();
    let (mut events, mut messages) = (Vec::new(), 0);
    while events.len() < 900 {
        let more = watcher.next().await.unwrap();
        messages += usize::from(!more.is_empty());
        events.extend(more.into_iter().filter(|event| event.target.as_ref().unwrap().path != "/"));
    }
    assert!(messages > 1, "a message is bounded: {messages}");
    for at in [0, 1, 500, 898] {
        let mut later =
            Watcher::begin(&server, watch("/", Some(events[at].version))).await.unwrap();
        assert_eq!(later.next().await.unwrap()[0], events[at + 1]);
    }
}
