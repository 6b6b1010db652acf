//! What breaks is begun anew, and the heartbeat goes on and says so.

use std::sync::atomic::{AtomicU32, Ordering};

use fusion_core::id::SessionId;

use super::*;
use crate::link::{Action, Command, CommandState, LinkView, Reporter as _, Reports};

pub(super) fn upserted(script: &Script, name: &str) -> bool {
    let mut rows = script.batches.iter().flat_map(|(_, batch)| &batch.rows);
    rows.any(|row| matches!(&row.evidence, Some(Evidence::Upsert(u)) if u.path == name.as_bytes()))
}

pub(super) fn overflows(script: &Script) -> usize {
    let rows = script.batches.iter().flat_map(|(_, batch)| &batch.rows);
    rows.filter(|row| matches!(row.evidence, Some(Evidence::Overflow(_)))).count()
}

fn says(script: &Script, part: &str) -> bool {
    let statuses = script.heartbeats.iter().filter_map(|beat| beat.status.as_ref());
    let mut errors = statuses.flat_map(|status| &status.errors);
    errors.any(|error| error.starts_with(part))
}

pub(super) fn is_ready(script: &Script) -> bool {
    let status = script.heartbeats.last().and_then(|beat| beat.status.as_ref());
    status.is_some_and(|status| status.realtime_ready && status.errors.is_empty())
}

/// Whatever the role: lost events are told, watches are placed anew, and events come again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_that_breaks_off_is_begun_anew() {
    for follows in [false, true] {
        let rig = Rig::start(small_tree, |script| {
            (script.follows, script.beats_fast) = (follows, true);
        })
        .await;
        rig.until("ready", is_ready).await;
        let told_before = overflows(&rig.fake.script());
        rig.shared.watch().unwrap().break_off_for_test();
        rig.until("told", |script| says(script, "watch: broke off")).await;
        rig.until("ready again", is_ready).await;
        // When they were lost, and when all is watched again: the view orders an audit by that.
        rig.until("lost events", |script| overflows(script) == told_before + 2).await;
        let scans = started(&rig.fake.script()).len();
        assert_eq!(scans, usize::from(!follows), "the snapshot alone");
        assert_eq!(rig.shared.metrics.restarts.with_label_values(&["watch"]).get(), 1);
        std::fs::write(rig.folder.path().join("root/a/new"), "x").unwrap();
        rig.until("an event", |script| upserted(script, "/a/new")).await;
        assert_eq!(rig.fake.script().creates.len(), 1, "the session was kept");
        rig.end().await;
    }
}

fn snapshots(script: &Script) -> usize {
    started(script).iter().filter(|one| one.source() == pb::ScanSource::Snapshot).count()
}

pub(super) fn restart(part: pb::AgentPart) -> pb::Command {
    pb::Command {
        action: Some(pb::command::Action::Restart(pb::RestartCommand { part: part.into() })),
        ..scan_command("/", pb::ScanSource::OnDemand)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_are_begun_anew_when_the_server_asks_for_it_and_that_is_acknowledged() {
    let rig = Rig::start(small_tree, |script| script.beats_fast = true).await;
    rig.until("ready", is_ready).await;
    let overflows_before = overflows(&rig.fake.script());
    rig.fake.script().commands.push(restart(pb::AgentPart::Watch));
    rig.until("done", |script| reports(script, pb::CommandState::Done) > 0).await;
    rig.until("lost events", |script| overflows(script) > overflows_before).await;
    rig.until("ready again", is_ready).await;
    assert_eq!(rig.shared.metrics.restarts.with_label_values(&["watch"]).get(), 1);

    assert_eq!(snapshots(&rig.fake.script()), 1);
    rig.fake.script().commands = vec![restart(pb::AgentPart::Scan)];
    rig.until("a second snapshot", |script| snapshots(script) == 2).await;
    let fake = rig.end().await;
    let script = fake.script();
    assert_eq!((script.creates.len(), reports(&script, pb::CommandState::Failed)), (1, 0));
}

/// Breaks off a few times, then goes on.
struct Fragile {
    tries: Arc<AtomicU32>,
    mended: u32,
}

impl Part for Fragile {
    const NAME: &'static str = "fragile";
    type End = u32;

    async fn run(&mut self) -> u32 {
        match self.tries.fetch_add(1, Ordering::Relaxed) {
            0..3 => panic!("broken in the test"),
            3 => tokio::time::sleep(Duration::from_millis(40)).await,
            _ => {}
        }
        self.mended
    }

    fn broke_off(&mut self) {
        self.mended += 1;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_that_breaks_off_is_begun_anew_and_the_heartbeat_says_so() {
    let rig = Rig::start(small_tree, |script| script.beats_fast = true).await;
    rig.until("ready", is_ready).await;
    let part = Fragile { tries: Arc::default(), mended: 0 };
    let tries = Arc::clone(&part.tries);
    assert_eq!(keep(Arc::clone(&rig.shared), part).await, 3, "put in order after each");
    assert_eq!(tries.load(Ordering::Relaxed), 4);
    assert_eq!(rig.shared.metrics.restarts.with_label_values(&["fragile"]).get(), 3);
    let told = rig.shared.status().errors;
    assert_eq!(told, ["fragile: broke off and was begun anew: broken in the test"]);
    rig.until("told", |script| says(script, "fragile: broke off")).await;
    assert_eq!(rig.fake.script().creates.len(), 1, "the session was kept");
    rig.end().await;
}

fn command() -> Command {
    Command {
        id: Uuid::new_v4(),
        lease: "l".into(),
        correlation: None,
        traceparent: String::new(),
        action: Action::Stop { why: "test".into() },
    }
}

/// What does commands, where no more come and there is no session.
fn without_link(desk: ReportDesk, slots: Slots) -> CommandsTask {
    CommandsTask {
        shared: Arc::clone(&desk.shared),
        exchange: Arc::default(),
        view: watch::channel(LinkView::default()).1,
        arriving: mpsc::channel(1).1,
        audits: mpsc::channel(1).0,
        desk,
        slots,
    }
}

/// What it was doing has failed; an audit that it handed on is still being done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_nobody_goes_on_with_has_failed() {
    let rig = Rig::start(small_tree, |_| {}).await;
    let reports = Arc::<Reports>::default();
    let desk = ReportDesk { shared: Arc::clone(&rig.shared), reports: Arc::clone(&reports) };
    let (doing, handed_on) = (command(), command());
    for running in [&doing, &handed_on] {
        desk.accept(running);
    }
    let mut slots = Slots::default();
    slots.of(&doing.action).queue(doing.clone(), SessionId::new(Uuid::nil()));
    let mut part = without_link(desk, slots);
    part.broke_off();
    let state = |of: &Command| {
        let pending = reports.pending().into_iter().find(|one| one.id == of.id);
        pending.map(|report| report.state)
    };
    assert_eq!(state(&doing), Some(CommandState::Failed));
    assert_eq!(state(&handed_on), Some(CommandState::Running));
    reports.told(&reports.pending());
    assert_eq!(state(&doing), None, "told once, and not as running for ever");
    rig.end().await;
}

/// A server that was restarted knows nothing of what it asked for before, and asks anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_the_server_gave_up_is_not_begun() {
    let rig = Rig::start(small_tree, |_| {}).await;
    let reports = Arc::<Reports>::default();
    let desk = ReportDesk { shared: Arc::clone(&rig.shared), reports: Arc::clone(&reports) };
    let (given_up, wanted, done) = (command(), command(), command());
    let mut slots = Slots::default();
    for waiting in [&given_up, &wanted] {
        desk.accept(waiting);
        slots.of(&waiting.action).queue(waiting.clone(), SessionId::new(Uuid::nil()));
    }
    desk.accept(&done);
    desk.finish(&done, Ok(Default::default()));
    reports.give_up(&[given_up.id, done.id]);
    without_link(desk, slots).begin_what_waits();
    let state = |of: &Command| {
        let pending = reports.pending().into_iter().find(|one| one.id == of.id);
        pending.map(|report| report.state)
    };
    assert_eq!(state(&given_up), None, "neither begun nor told of");
    assert_eq!(rig.shared.metrics.commands.with_label_values(&["lapsed"]).get(), 1);
    // Begun, for which there is no session here.
    assert_eq!(state(&wanted), Some(CommandState::Failed));
    assert!(reports.is_known(done.id), "what is done is not done again");
    rig.end().await;
}

/// Whatever of the two comes first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_audit_that_is_asked_for_is_answered_by_the_scan_that_is_begun_anew() {
    let rig = Rig::start(small_tree, |script| script.beats_fast = true).await;
    rig.until("ready", is_ready).await;
    let audit = scan_command("/", pb::ScanSource::Audit);
    let id = audit.command_id.clone();
    rig.fake.script().commands = vec![audit, restart(pb::AgentPart::Scan)];
    let is_done = |report: &pb::CommandReport| {
        report.command_id == id && report.state() == pb::CommandState::Done
    };
    rig.until("an answer", |script| {
        script.heartbeats.iter().flat_map(|beat| &beat.command_reports).any(is_done)
    })
    .await;
    rig.until("a second snapshot", |script| snapshots(script) == 2).await;
    let fake = rig.end().await;
    assert_eq!(reports(&fake.script(), pb::CommandState::Failed), 0);
}
