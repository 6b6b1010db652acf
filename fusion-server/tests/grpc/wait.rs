//! `WaitQuiet`: why not yet, and never before the witnesses were heard far enough.

use std::time::Duration;

use fusion_proto::pb;
use fusion_proto::pb::NotQuietReason as Why;
use fusion_proto::pb::evidence::Evidence as Said;
use fusion_proto::status::Refusal;
use prost_types::Timestamp;
use tonic::{Status, Streaming};

use crate::evidence::{
    DIR, DIR_INODE, ROOT_INODE, batch, file, listing, root, row, scan_finished, scan_started, stat,
};
use crate::harness::{TestServer, VIEW, advance, asks_with_top, config, refusal, start_with};
use crate::telling::{Lane, opening};

const QUIET: i64 = 30;

/// A view that is READY, with an agent that beats when it is told to.
struct Rig {
    server: TestServer,
    session: String,
    lane: Lane,
    sequence: u64,
}

impl Rig {
    async fn start() -> Self {
        let mut config = config();
        config.view_defaults.session_timeout = Duration::from_secs(600);
        config.view_defaults.settings.hot_threshold = Duration::from_secs(90);
        let mut server = start_with(config).await;
        let joined = server.join("a").await;
        let session = joined.session_id;
        let ask = opening(pb::Lane::Scan, &session, "a");
        let (mut scan, _) = Lane::open(&mut server, ask).await.unwrap();
        let led = |sequence, rows| pb::EvidenceBatch {
            leader_epoch: joined.leader_epoch,
            ..batch(sequence, rows)
        };
        scan.send(led(1, vec![scan_started()])).await;
        let listings = vec![listing("/", &["f".to_owned()], 0, true)];
        scan.send(pb::EvidenceBatch { listings, ..led(2, vec![]) }).await;
        scan.deliver(led(3, vec![scan_finished()])).await;
        let lane = Lane::realtime(&mut server, &session, "a").await;
        let mut rig = Self { server, session, lane, sequence: 0 };
        rig.tell(vec![root()]).await;
        rig
    }

    async fn tell(&mut self, rows: Vec<pb::Evidence>) {
        self.sequence += 1;
        self.lane.deliver(batch(self.sequence, rows)).await;
    }

    /// The agent is heard, and has delivered all that it saw up to then; what time it is.
    async fn heard_through(&mut self, through: Option<Timestamp>) -> Timestamp {
        let status = pb::AgentStatus {
            realtime_ready: true,
            root_state: pb::RootState::Available.into(),
            ..Default::default()
        };
        let beat = pb::HeartbeatRequest {
            session_id: self.session.clone(),
            delivered_through: through,
            status: Some(status),
            ..Default::default()
        };
        let answer = self.server.sessions.heartbeat(beat).await.unwrap().into_inner();
        answer.server_time.unwrap()
    }

    /// The agent is heard up to now.
    async fn heard(&mut self) {
        let now = self.heard_through(None).await;
        self.heard_through(Some(now)).await;
    }

    async fn wait(&mut self, asked: pb::WaitQuietRequest) -> Waiter {
        let told = self.server.views.wait_quiet(asked).await.unwrap().into_inner();
        Waiter { told }
    }
}

struct Waiter {
    told: Streaming<pb::WaitQuietResponse>,
}

impl Waiter {
    /// The next report; time passes meanwhile, but nobody is heard.
    async fn next(&mut self, rig: &Rig) -> Result<pb::WaitQuietResponse, Status> {
        loop {
            tokio::select! {
                biased;
                told = self.told.message() => return told.map(|told| told.expect("a report")),
                // A round trip, so that what is on its way arrives.
                _ = rig.server.get("/livez") => advance(Duration::from_millis(60)).await,
            }
        }
    }

    /// Reads on until the reasons are these.
    async fn until(&mut self, rig: &Rig, reasons: &[Why]) -> pb::WaitQuietResponse {
        let mut last = None;
        for _ in 0..200 {
            let told = self.next(rig).await.unwrap();
            assert!(!told.quiet || reasons.is_empty(), "too early: {told:?}");
            if told.reasons().eq(reasons.iter().copied()) {
                return told;
            }
            last = Some(told);
        }
        panic!("never for {reasons:?}, but {last:?}");
    }

    /// Asserts that for so many reports it is for these reasons and no others.
    async fn stays(&mut self, rig: &Rig, reasons: &[Why]) -> pb::WaitQuietResponse {
        self.until(rig, reasons).await;
        for _ in 0..3 {
            let told = self.next(rig).await.unwrap();
            assert!(told.reasons().eq(reasons.iter().copied()), "{told:?}");
        }
        self.next(rig).await.unwrap()
    }
}

fn quiet(path: &str) -> pb::WaitQuietRequest {
    pb::WaitQuietRequest {
        view: VIEW.to_owned(),
        path: path.to_owned(),
        quiet_for: Some(prost_types::Duration { seconds: QUIET, nanos: 0 }),
        progress_interval: Some(prost_types::Duration { seconds: 0, nanos: 100_000_000 }),
        ..Default::default()
    }
}

fn dir(path: &str) -> pb::Evidence {
    row(Said::Upsert(pb::Upsert {
        path: path.as_bytes().to_vec().into(),
        stat: Some(stat(DIR, 0, DIR_INODE)),
        parent: Some(stat(DIR, 0, ROOT_INODE)),
        atomic: true,
    }))
}

fn open(path: &str, size: u64) -> pb::Evidence {
    let mut open = file(path, size);
    if let Some(Said::Upsert(upsert)) = &mut open.evidence {
        upsert.atomic = false;
    }
    open
}

fn later(time: Timestamp, nanos: i64) -> Timestamp {
    let total =
        i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos) + i128::from(nanos);
    let nanos = total.rem_euclid(1_000_000_000) as i32;
    Timestamp { seconds: total.div_euclid(1_000_000_000) as i64, nanos }
}

#[tokio::test(start_paused = true)]
async fn it_is_quiet_when_the_horizon_is_far_enough_and_not_before() {
    let mut rig = Rig::start().await;
    rig.tell(vec![dir("/up"), file("/up/a", 5)]).await;
    rig.heard().await;
    let mut waiter = rig.wait(quiet("/up")).await;
    let told = waiter.stays(&rig, &[Why::ChangedRecently]).await;
    let last_change = told.last_change.unwrap();
    // Two minutes pass, and nobody is heard: nothing is known of them.
    advance(Duration::from_secs(120)).await;
    waiter.stays(&rig, &[Why::ChangedRecently]).await;
    let enough = QUIET * 1_000_000_000;
    let short = later(last_change, enough - 1);
    rig.heard_through(Some(short)).await;
    loop {
        let told = waiter.next(&rig).await.unwrap();
        assert!(!told.quiet, "one nanosecond too early");
        if told.freshness.unwrap().horizon == Some(short) {
            break;
        }
    }
    rig.heard_through(Some(later(last_change, enough))).await;
    let told = waiter.until(&rig, &[]).await;
    assert!(told.quiet);
    assert_eq!(told.totals.unwrap().files, 1);
    assert_eq!(told.freshness.unwrap().quiet_for.unwrap().seconds, QUIET);
    assert!(waiter.told.message().await.unwrap().is_none(), "it was the last");
}

#[tokio::test(start_paused = true)]
async fn a_change_within_begins_anew_and_one_beside_does_not() {
    let mut rig = Rig::start().await;
    rig.tell(vec![dir("/up"), file("/up/a", 5)]).await;
    rig.heard().await;
    let mut waiter = rig.wait(quiet("/up")).await;
    waiter.until(&rig, &[Why::ChangedRecently]).await;
    advance(Duration::from_secs(20)).await;
    rig.tell(vec![file("/up/b", 1)]).await;
    advance(Duration::from_secs(20)).await;
    rig.tell(vec![file("/beside", 1)]).await;
    rig.heard().await;
    let told = waiter.stays(&rig, &[Why::ChangedRecently]).await;
    assert_eq!(told.totals.unwrap().files, 2);
    advance(Duration::from_secs(15)).await;
    rig.heard().await;
    assert!(waiter.until(&rig, &[]).await.quiet);
}

#[tokio::test(start_paused = true)]
async fn what_is_open_is_waited_for() {
    let mut rig = Rig::start().await;
    rig.tell(vec![dir("/up"), open("/up/a", 5)]).await;
    let mut waiter = rig.wait(quiet("/up")).await;
    advance(Duration::from_secs(40)).await;
    rig.heard().await;
    let told = waiter.stays(&rig, &[Why::Suspects]).await;
    assert_eq!(told.totals.unwrap().suspects, 1);
    rig.tell(vec![file("/up/a", 5)]).await;
    assert!(waiter.until(&rig, &[]).await.quiet, "closed as it was: no change");

    // What is left open and does not change is suspect for `hot_threshold`, not for ever.
    rig.tell(vec![open("/up/a", 6)]).await;
    let mut waiter = rig.wait(quiet("/up")).await;
    advance(Duration::from_secs(40)).await;
    rig.heard().await;
    waiter.stays(&rig, &[Why::Suspects]).await;
    advance(Duration::from_secs(60)).await;
    rig.heard().await;
    assert!(waiter.until(&rig, &[]).await.quiet);
}

#[tokio::test(start_paused = true)]
async fn a_suspect_is_named_among_any_number_of_entries() {
    let mut rig = Rig::start().await;
    rig.tell(vec![dir("/up")]).await;
    for part in 0..25 {
        rig.tell((0..900).map(|i| file(&format!("/up/{part:02}-{i:03}"), 1)).collect()).await;
    }
    rig.tell(vec![open("/up/z-open", 5), open("/z", 5)]).await;
    let mut waiter = rig.wait(quiet("/up")).await;
    let reasons = [Why::Suspects, Why::ChangedRecently];
    // A view that was too busy to answer at once names them with a later report.
    let named = loop {
        let told = waiter.until(&rig, &reasons).await;
        if !told.suspects.is_empty() {
            break told.suspects;
        }
    };
    assert_eq!(named, ["/up/z-open"]);
    let mut of_one = rig.wait(quiet("/z")).await;
    assert_eq!(of_one.until(&rig, &reasons).await.totals.unwrap().suspects, 1);
}

#[tokio::test(start_paused = true)]
async fn what_must_be_there_is_waited_for() {
    let mut rig = Rig::start().await;
    let asked =
        pb::WaitQuietRequest { min_files: 2, min_bytes: 10, marker: "done".into(), ..quiet("/up") };
    let mut waiter = rig.wait(asked).await;
    rig.heard().await;
    waiter.stays(&rig, &[Why::PathNotFound]).await;
    rig.tell(vec![dir("/up"), file("/up/a", 5)]).await;
    advance(Duration::from_secs(40)).await;
    rig.heard().await;
    let missing = [Why::TooFewFiles, Why::TooFewBytes, Why::MarkerMissing];
    waiter.stays(&rig, &missing).await;
    rig.tell(vec![file("/up/b", 5), file("/up/done", 0)]).await;
    waiter.until(&rig, &[Why::ChangedRecently]).await;
    advance(Duration::from_secs(40)).await;
    rig.heard().await;
    let told = waiter.until(&rig, &[]).await;
    assert_eq!((told.totals.unwrap().files, told.totals.unwrap().bytes), (3, 10));
}

#[tokio::test(start_paused = true)]
async fn a_file_and_an_empty_directory_can_be_waited_for() {
    let mut rig = Rig::start().await;
    rig.tell(vec![dir("/empty"), file("/one", 5)]).await;
    rig.heard().await;
    let mut of_file = rig.wait(quiet("/one")).await;
    let mut of_dir = rig.wait(quiet("/empty")).await;
    of_file.until(&rig, &[Why::ChangedRecently]).await;
    of_dir.until(&rig, &[Why::ChangedRecently]).await;
    advance(Duration::from_secs(20)).await;
    // Their directory changes all the time, they do not.
    rig.tell(vec![file("/other", 5)]).await;
    advance(Duration::from_secs(20)).await;
    rig.tell(vec![file("/other", 6)]).await;
    rig.heard().await;
    let told = of_file.until(&rig, &[]).await;
    assert_eq!((told.totals.unwrap().files, told.totals.unwrap().bytes), (1, 5));
    assert!(of_dir.until(&rig, &[]).await.quiet);

    let mut of_other = rig.wait(quiet("/other")).await;
    of_other.stays(&rig, &[Why::ChangedRecently]).await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_witness_is_waited_for() {
    let mut rig = Rig::start().await;
    rig.tell(vec![dir("/up"), file("/up/a", 5)]).await;
    rig.heard().await;
    let other = asks_with_top("b", "f", 1);
    let other = rig.server.sessions.create_session(other).await.unwrap().into_inner().session_id;
    let mut waiter = rig.wait(quiet("/up")).await;
    waiter.until(&rig, &[Why::ChangedRecently]).await;
    let evict = pb::EvictSessionRequest { session_id: other, allow_missing: false };
    rig.server.admin.evict_session(evict).await.unwrap();
    let lost = [Why::ViewNotReady, Why::ChangedRecently];
    waiter.until(&rig, &lost).await;
    // Nothing is known of what came after that, however much time passes.
    for _ in 0..4 {
        advance(Duration::from_secs(20)).await;
        rig.heard().await;
    }
    let told = waiter.stays(&rig, &lost).await;
    let reasons = told.freshness.unwrap().reasons;
    assert!(reasons.iter().any(|reason| reason.contains("agent b")), "{reasons:?}");
}

#[tokio::test(start_paused = true)]
async fn what_was_told_of_and_cannot_be_placed_is_waited_for() {
    let mut rig = Rig::start().await;
    rig.tell(vec![dir("/up"), file("/up/a", 5)]).await;
    // Another witness was faster than the one that saw the directory come.
    let mut early = file("/up/new/b", 5);
    if let Some(Said::Upsert(upsert)) = &mut early.evidence {
        upsert.parent = Some(stat(DIR, 0, 77));
    }
    rig.tell(vec![early]).await;
    let mut beside = rig.wait(quiet("/up/a")).await;
    let mut waiter = rig.wait(quiet("/up")).await;
    beside.until(&rig, &[Why::ChangedRecently]).await;
    advance(Duration::from_secs(40)).await;
    rig.heard().await;
    waiter.stays(&rig, &[Why::InDoubt]).await;
    assert!(beside.until(&rig, &[]).await.quiet);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_goes_down_says_so() {
    let mut rig = Rig::start().await;
    let mut waiter = rig.wait(quiet("/none")).await;
    waiter.next(&rig).await.unwrap();
    rig.server.stop();
    let ended = loop {
        match waiter.told.message().await {
            Ok(told) => assert!(!told.expect("a status at the end").quiet),
            Err(status) => break refusal::<()>(Err(status)),
        }
    };
    assert!(matches!(ended, Refusal::ServerDraining { .. }), "{ended:?}");
}
