//! A store that fails, hangs, and dies with what it was given: what clients are told, and what is
//! there afterwards.

use std::sync::Arc;
use std::time::Duration;

use fusion_proto::pb;
use fusion_proto::status::{Reason, Refusal};
use fusion_server::clock::RuntimeClock;
use fusion_server::config::Config;
use fusion_server::stores::Stores;
use fusion_store::flaky::{FlakyBlocks, FlakyLog, FlakyState, Moods};
use fusion_store::memory::{MemoryBlocks, MemoryLog, MemoryState};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::evidence::{ROOT_INODE, batch, file, root, scan_finished, scan_started};
use crate::harness::{TestServer, VIEW, advance, asks_with_top, config, refusal, start_in, uuid};
use crate::lists::remove;
use crate::telling::{Lane, opening, with_a_file};

/// Stores that fail together, and the log, whose crash can be had.
pub(crate) struct Flaky {
    pub(crate) moods: Moods,
    log: Arc<FlakyLog<MemoryLog>>,
    pub(crate) stores: Stores,
}

impl Flaky {
    pub(crate) fn new(seed: u64) -> Self {
        let moods = Moods::new(seed);
        let log = Arc::new(FlakyLog::new(Arc::new(MemoryLog::default()), moods.clone()));
        let blocks = Arc::new(FlakyBlocks::new(Arc::new(MemoryBlocks::default()), moods.clone()));
        let state = Arc::new(FlakyState::new(Arc::new(MemoryState::default()), moods.clone()));
        let stores = Stores::new(Arc::clone(&log) as _, blocks, state);
        Self { moods, log, stores }
    }

    async fn start(&self) -> TestServer {
        start_in(config(), Arc::new(RuntimeClock::new()), self.stores.clone()).await
    }
}

fn entry(path: &str) -> pb::GetEntryRequest {
    pb::GetEntryRequest { view: VIEW.to_owned(), path: path.to_owned(), read_class: 0 }
}

async fn is_there(server: &mut TestServer, path: &str) -> bool {
    match server.views.get_entry(entry(path)).await {
        Ok(_) => true,
        Err(status) => {
            assert_eq!(Refusal::from_status(&status).unwrap().reason(), Reason::PathNotFound);
            false
        }
    }
}

#[tokio::test]
async fn while_the_disk_fails_nothing_is_acknowledged_and_reads_are_answered() {
    let flaky = Flaky::new(1);
    let mut server = flaky.start().await;
    let (_, mut lane) = with_a_file(&mut server).await;
    flaky.moods.fail(1000);
    lane.send(batch(2, vec![file("/g", 2)])).await;
    lane.send(batch(3, vec![file("/h", 2)])).await;
    let unheard = tokio::time::timeout(Duration::from_secs(1), lane.acknowledged(2)).await;
    assert!(unheard.is_err(), "{unheard:?}");
    assert!(is_there(&mut server, "/f").await);
    assert!(!is_there(&mut server, "/h").await, "no evidence is taken");
    let metrics = server.get("/metrics").await;
    assert!(metrics.contains("fusion_store_failing{view=\"v\"} 1"), "{metrics}");
    let asked = pb::GetViewRequest { view: VIEW.to_owned() };
    let view = server.views.get_view(asked).await.unwrap().into_inner().view.unwrap();
    let reasons = view.freshness.unwrap().reasons;
    assert!(reasons.iter().any(|it| it.starts_with("the store cannot be written")), "{reasons:?}");
    let refused = refusal(server.sessions.create_session(asks_with_top("b", "f", 7)).await);
    assert!(matches!(refused, Refusal::StoreUnavailable { .. }), "{refused:?}");

    flaky.moods.fail(0);
    lane.acknowledged(3).await.unwrap();
    assert!(is_there(&mut server, "/g").await && is_there(&mut server, "/h").await);
    server.sessions.create_session(asks_with_top("b", "f", 7)).await.unwrap();
    let metrics = server.get("/metrics").await;
    assert!(metrics.contains("fusion_store_failing{view=\"v\"} 0"), "{metrics}");
}

#[tokio::test]
async fn a_view_is_not_healthy_while_its_disk_fails() {
    let flaky = Flaky::new(8);
    let mut server = flaky.start().await;
    let leader = server.join("a").await;
    let scan = opening(pb::Lane::Scan, &leader.session_id, "");
    let (mut lane, _) = Lane::open(&mut server, scan).await.unwrap();
    let leader_epoch = leader.leader_epoch;
    let frames = vec![scan_started(), scan_finished()];
    lane.deliver(pb::EvidenceBatch { leader_epoch, ..batch(1, frames) }).await;
    let of_view = || HealthCheckRequest { service: "fusion.v1.view/v".to_owned() };
    let mut health = HealthClient::new(server.channel.clone());
    let mut told = health.watch(of_view()).await.unwrap().into_inner();
    let mut until = async |status: ServingStatus| {
        while told.message().await.unwrap().unwrap().status() != status {}
    };
    until(ServingStatus::Serving).await;
    flaky.moods.fail(1000);
    let mut realtime = Lane::realtime(&mut server, &leader.session_id, "a").await;
    realtime.send(batch(1, vec![root(), file("/f", 1)])).await;
    until(ServingStatus::NotServing).await;
    flaky.moods.fail(0);
    until(ServingStatus::Serving).await;
    realtime.acknowledged(1).await.unwrap();
}

#[tokio::test]
async fn while_the_disk_fails_lists_are_answered_and_operators_refused() {
    let flaky = Flaky::new(2);
    let mut server = flaky.start().await;
    let (session, mut lane) = with_a_file(&mut server).await;
    lane.send(batch(2, vec![remove("/f", ROOT_INODE)])).await;
    lane.acknowledged(2).await.unwrap();
    flaky.moods.fail(1000);
    lane.send(batch(3, vec![file("/g", 2)])).await;
    let unheard = tokio::time::timeout(Duration::from_secs(1), lane.acknowledged(3)).await;
    assert!(unheard.is_err(), "{unheard:?}");

    let view = || VIEW.to_owned();
    let list = || pb::ListTrashRequest { view: view(), path: "/".into(), ..Default::default() };
    let records = server.views.list_trash(list()).await.unwrap().into_inner().records;
    let trash_id = records[0].trash_id;
    let restore = pb::RestoreTrashRequest { view: view(), trash_id };
    let purge = pb::PurgeTrashRequest { view: view(), trash_id };
    let refresh = pb::RefreshPathRequest { view: view(), path: "/".into(), ..Default::default() };
    let refused = [
        refusal(server.views.restore_trash(restore.clone()).await),
        refusal(server.views.purge_trash(purge).await),
        refusal(server.admin.reset_view(pb::ResetViewRequest { view: view() }).await),
        refusal(server.admin.accept_root(pb::AcceptRootRequest { view: view() }).await),
        refusal(server.views.refresh_path(refresh).await),
    ];
    for refused in refused {
        assert!(matches!(refused, Refusal::StoreUnavailable { .. }), "{refused:?}");
    }
    let after = server.views.list_trash(list()).await.unwrap().into_inner().records;
    assert_eq!(after, records, "nothing was done");
    assert_eq!(server.beat(&session.session_id).await.unwrap().leader_epoch, session.leader_epoch);

    flaky.moods.fail(0);
    lane.acknowledged(3).await.unwrap();
    server.views.restore_trash(restore).await.unwrap();
    assert!(is_there(&mut server, "/f").await);
}

#[tokio::test]
async fn a_view_that_is_being_made_on_a_slow_disk_holds_up_no_other() {
    let flaky = Flaky::new(4);
    let mut server = flaky.start().await;
    let (session, _lane) = with_a_file(&mut server).await;
    flaky.moods.hang(true);
    let mut asks = asks_with_top("b", "f", 7);
    asks.view = "other".to_owned();
    let (mut sessions, hung) = (server.sessions.clone(), flaky.moods.clone());
    let making = async move { sessions.create_session(asks).await };
    let others = async {
        while hung.held() == 0 {
            tokio::task::yield_now().await;
        }
        server.beat(&session.session_id).await.unwrap();
        assert!(is_there(&mut server, "/f").await);
        hung.hang(false);
    };
    let (made, ()) = tokio::join!(making, others);
    made.unwrap();
}

#[tokio::test]
async fn a_server_ends_within_its_grace_on_a_disk_that_hangs() {
    let flaky = Flaky::new(6);
    let config = Config { shutdown_grace: Duration::from_secs(4), ..config() };
    let clock = Arc::new(RuntimeClock::new());
    let mut server = start_in(config, clock, flaky.stores.clone()).await;
    let (_, mut lane) = with_a_file(&mut server).await;
    flaky.moods.hang(true);
    lane.send(batch(2, vec![file("/g", 1)])).await;
    while !is_there(&mut server, "/g").await {}
    server.stop();
    let over = tokio::time::timeout(Duration::from_secs(4), server.run_is_over()).await;
    flaky.moods.hang(false);
    over.unwrap();
    assert!(lane.acknowledged(2).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn what_a_slow_disk_gave_is_told_after_the_heartbeat_and_not_read_again() {
    let flaky = Flaky::new(3);
    let mut server = flaky.start().await;
    let (_, lane) = with_a_file(&mut server).await;
    drop(lane);
    server.ended().await;

    // After the restart nothing is in memory to be told from.
    let mut server = flaky.start().await;
    flaky.moods.hang(true);
    let view = VIEW.to_owned();
    let path = "/".to_owned();
    let asked = pb::WatchViewRequest { view, path, after_revision: Some(0), filter: None };
    let mut told = server.views.watch_view(asked).await.unwrap().into_inner();
    let mut next = async || told.message().await.unwrap().unwrap();
    assert_eq!(next().await.revision, 0);
    let reads = "fusion_watch_log_reads_total{view=\"v\"}";
    while !server.get("/metrics").await.contains(&format!("{reads} 1\n")) {}
    advance(Duration::from_secs(6)).await;
    flaky.moods.hang(false);
    assert_eq!(next().await.events.len(), 0, "a heartbeat");
    let paths = next().await.events.into_iter().map(|event| event.target.unwrap().path);
    assert_eq!(paths.collect::<Vec<_>>(), ["/", "/f"]);
    assert!(server.get("/metrics").await.contains(&format!("{reads} 1\n")), "read once");
}

/// The session of another process of an agent is durable, and that events were lost (R10) is not yet:
/// the next life of the server finds it out.
#[tokio::test]
async fn a_death_between_a_session_and_what_it_means_to_the_view_loses_neither() {
    let moods = Moods::new(4);
    let log = Arc::new(FlakyLog::new(Arc::new(MemoryLog::default()), moods.clone()));
    let (blocks, state) = (Arc::new(MemoryBlocks::default()), Arc::new(MemoryState::default()));
    let flaky = Flaky { moods, log: Arc::clone(&log), stores: Stores::new(log, blocks, state) };
    let mut server = flaky.start().await;
    let session_id = server.join("a").await.session_id;
    let ask = opening(pb::Lane::Realtime, &session_id, "a");
    let (mut lane, _) = Lane::open(&mut server, ask).await.unwrap();
    lane.send(batch(1, vec![root(), file("/f", 1)])).await;
    lane.acknowledged(1).await.unwrap();
    let end = pb::EndSessionRequest { session_id, allow_missing: false };
    server.sessions.end_session(end).await.unwrap();
    flaky.moods.fail(1000);
    let another = uuid("another process");
    let asks = pb::CreateSessionRequest { instance_id: another, ..asks_with_top("a", "f", 7) };
    let again = server.sessions.create_session(asks).await.unwrap().into_inner();
    server.stop();
    flaky.log.crash(0);
    flaky.moods.fail(0);
    drop(lane);
    server.ended().await;

    let mut server = flaky.start().await;
    let ask = opening(pb::Lane::Realtime, &again.session_id, "a");
    let ask = pb::PushOpening { first_held: 2, next: 2, ..ask };
    let (_lane, _) = Lane::open(&mut server, ask).await.unwrap();
    let answer = server.views.get_entry(entry("/f")).await.unwrap().into_inner();
    let reasons = answer.freshness.unwrap().reasons;
    assert_eq!(reasons[0], "events of agent a were lost: it was started anew");
}

/// Batches of the script; each tells of two names, so that half of one would be seen.
const BATCHES: u64 = 6;

fn told(number: u64) -> pb::EvidenceBatch {
    let mut rows = vec![file(&format!("/{number}-a"), 1), file(&format!("/{number}-b"), 1)];
    if number == 1 {
        rows.insert(0, root());
    }
    batch(number, rows)
}

/// The server dies at every record of the script, with none, some or all of what was on the way
/// written all the same.
#[tokio::test]
async fn a_death_at_any_write_loses_nothing_acknowledged_and_leaves_no_half() {
    for died_after in 0..BATCHES {
        for written in 0..=BATCHES - died_after {
            dies(died_after, usize::try_from(written).unwrap()).await;
        }
    }
}

async fn dies(died_after: u64, written: usize) {
    let flaky = Flaky::new(died_after);
    let mut server = flaky.start().await;
    let session = server.join("a").await;
    let ask = opening(pb::Lane::Realtime, &session.session_id, "a");
    let (mut lane, _) = Lane::open(&mut server, ask.clone()).await.unwrap();
    for number in 1..=died_after {
        lane.send(told(number)).await;
        lane.acknowledged(number).await.unwrap();
    }
    flaky.moods.fail(1000);
    for number in died_after + 1..=BATCHES {
        lane.send(told(number)).await;
    }
    let unheard = tokio::time::timeout(Duration::from_millis(30), lane.acknowledged(BATCHES)).await;
    assert!(unheard.is_err() || died_after == BATCHES);
    server.stop();
    flaky.log.crash(written);
    flaky.moods.fail(0);
    drop(lane);
    server.ended().await;

    let mut server = flaky.start().await;
    let again = pb::PushOpening { first_held: died_after + 1, next: BATCHES + 1, ..ask };
    let (mut lane, applied) = Lane::open(&mut server, again).await.unwrap();
    assert!((died_after..=died_after + written as u64).contains(&applied), "{applied}");
    for number in 1..=BATCHES {
        let is = [
            is_there(&mut server, &format!("/{number}-a")).await,
            is_there(&mut server, &format!("/{number}-b")).await,
        ];
        assert_eq!(is, [number <= applied; 2], "batch {number}, {applied} applied");
    }
    for number in applied + 1..=BATCHES {
        lane.send(told(number)).await;
    }
    if applied < BATCHES {
        lane.acknowledged(BATCHES).await.unwrap();
    }
    for number in 1..=BATCHES {
        assert!(is_there(&mut server, &format!("/{number}-b")).await);
    }
    drop(lane);
    server.ended().await;
}
