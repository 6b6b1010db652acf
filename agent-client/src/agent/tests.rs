//! The whole agent on a real tree, with a scripted server: who does what, and when it stops.

mod again;
mod audits;
mod broken;
mod excluded;
mod hung;
mod limits;
mod made;
mod on_demand;
mod restarts;
mod root;

use std::path::Path;
use std::time::Duration;

use fusion_core::id::ViewName;
use fusion_core::path::PathRef;
use fusion_core::view::audit::lists_in_full;
use fusion_proto::pb;
use fusion_proto::pb::evidence::Evidence;
use fusion_proto::status::Refusal;
use tokio::time::Instant;
use uuid::Uuid;

use super::*;
use crate::link::tests::fake::{Answer, Fake, OnBatch, Script};
use crate::progress::ScanPhase;
use crate::watch::WatchEvidence;

/// Longest that anything here may take; a machine that is busy is not wrong.
const PATIENCE: Duration = Duration::from_secs(30);

struct Rig {
    fake: Fake,
    progress: watch::Receiver<Progress>,
    shared: Arc<Shared>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    agent: Task<Result<(), AgentError>>,
    _server: Task<()>,
    folder: tempfile::TempDir,
}

impl Rig {
    async fn start(tree: impl FnOnce(&Path), prepare: impl FnOnce(&mut Script)) -> Self {
        Self::configured(tree, prepare, |_| {}).await
    }

    async fn configured(
        tree: impl FnOnce(&Path),
        prepare: impl FnOnce(&mut Script),
        configure: impl FnOnce(&mut AgentConfig),
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        std::fs::create_dir(&root).unwrap();
        tree(&root);
        let fake = Fake::new(prepare);
        let (url, server) = fake.listen().await;
        let view = ViewName::new("v").unwrap();
        let mut config = AgentConfig::new(url, view, root, folder.path().join("spool"));
        configure(&mut config);
        let agent = build(config, Deps::default()).await.unwrap();
        let (progress, shared) = (agent.progress(), Arc::clone(&agent.shared));
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let agent = spawn(
            "agent",
            agent.run(async {
                let _ = stopped.await;
            }),
        );
        let stop = Some(stop);
        Self { fake, progress, shared, stop, agent, _server: server, folder }
    }

    async fn until(&self, what: &str, is: impl Fn(&Script) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !is(&self.fake.script()) {
            assert!(Instant::now() < end, "never: {what}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn phase(&mut self, phase: ScanPhase) {
        let is = |progress: &Progress| progress.scan.is_some_and(|scan| scan.phase == phase);
        let waited = tokio::time::timeout(PATIENCE, self.progress.wait_for(is)).await;
        waited.expect("the phase of the scan").unwrap();
    }

    /// Ends the agent; it has 2 s.
    async fn end(mut self) -> Fake {
        let _ = self.stop.take().unwrap().send(());
        let ended = tokio::time::timeout(Duration::from_secs(2), self.agent).await;
        ended.expect("the end").unwrap().unwrap();
        assert_eq!(self.progress.borrow().link, LinkState::Stopped);
        self.fake
    }
}

/// Rows of the SCAN lane that are not listings.
fn frames(script: &Script) -> Vec<Evidence> {
    let scans = script.batches.iter().filter(|(lane, _)| *lane == pb::Lane::Scan);
    scans.flat_map(|(_, batch)| batch.rows.iter()).filter_map(|row| row.evidence.clone()).collect()
}

fn started(script: &Script) -> Vec<pb::ScanStarted> {
    let frames = frames(script).into_iter();
    frames
        .filter_map(|row| match row {
            Evidence::ScanStarted(started) => Some(started),
            _ => None,
        })
        .collect()
}

fn finished(script: &Script) -> Vec<pb::ScanFinished> {
    let frames = frames(script).into_iter();
    frames
        .filter_map(|row| match row {
            Evidence::ScanFinished(finished) => Some(finished),
            _ => None,
        })
        .collect()
}

/// Children listed on the SCAN lane.
fn rows_listed(script: &Script) -> usize {
    let scans = script.batches.iter().filter(|(lane, _)| *lane == pb::Lane::Scan);
    scans.flat_map(|(_, batch)| &batch.listings).map(|each| each.name_lengths.len()).sum()
}

fn small_tree(root: &Path) {
    std::fs::create_dir_all(root.join("a/b")).unwrap();
    for name in ["one", "a/two", "a/b/three"] {
        std::fs::write(root.join(name), name).unwrap();
    }
}

fn many_files(root: &Path) {
    for number in 0..60_000 {
        std::fs::File::create(root.join(format!("{number}"))).unwrap();
    }
}

fn scan_command(path: &str, source: pb::ScanSource) -> pb::Command {
    pb::Command {
        command_id: Uuid::new_v4().to_string(),
        lease_id: "lease-1".into(),
        correlation_id: "corr-1".into(),
        action: Some(pb::command::Action::Scan(pb::ScanCommand {
            path: path.as_bytes().to_vec().into(),
            source: source.into(),
            recursive: true,
            audit_number: 0,
        })),
        ..Default::default()
    }
}

fn reports(script: &Script, state: pb::CommandState) -> usize {
    let reports = script.heartbeats.iter().flat_map(|beat| &beat.command_reports);
    reports.filter(|report| report.state() == state).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_lists_the_tree_between_its_frames_and_again_under_each_leadership() {
    let mut rig = Rig::start(small_tree, |_| {}).await;
    rig.phase(ScanPhase::Delivered).await;
    {
        let script = rig.fake.script();
        let (started, finished) = (started(&script), finished(&script));
        assert_eq!(started.len(), 1);
        assert_eq!(started[0].source(), pb::ScanSource::Snapshot);
        let root = started[0].root.as_ref().unwrap();
        assert_eq!(Some(root), script.creates[0].1.root.as_ref().unwrap().identity.as_ref());
        assert_eq!(root.top.len(), 2);
        assert!(finished[0].complete);
        assert_eq!((finished[0].directories, finished[0].entries), (3, 5));
        assert_eq!(rows_listed(&script), 5);
    }
    let notice = |role: pb::SessionRole, leader_epoch| pb::PushNotice {
        role: role.into(),
        leader_epoch,
        commands: Vec::new(),
    };
    rig.fake.notice(notice(pb::SessionRole::Follower, 2)).await;
    rig.fake.notice(notice(pb::SessionRole::Leader, 3)).await;
    rig.until("a second snapshot", |script| finished(script).len() == 2).await;
    let fake = rig.end().await;
    let script = fake.script();
    let scans = script.batches.iter().filter(|(lane, _)| *lane == pb::Lane::Scan);
    let epochs: Vec<_> = scans.map(|(_, batch)| batch.leader_epoch).collect();
    assert_eq!((epochs.first(), epochs.last()), (Some(&1), Some(&3)));
    assert_eq!(script.ended.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_session_lists_anew() {
    let rig = Rig::start(small_tree, |script| script.beats_fast = true).await;
    rig.until("a snapshot", |script| finished(script).len() == 1).await;
    let refusal = Refusal::SessionObsolete {
        session: None,
        view: None,
        cause: fusion_core::session::ObsoleteCause::Unknown,
        retry_after: Duration::ZERO,
    };
    rig.fake.script().on_heartbeat.push_back(Answer::Refuse(refusal));
    rig.until("a second snapshot", |script| finished(script).len() == 2).await;
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_leadership_is_over_stops_in_mid_directory() {
    // The first batch is refused, and what follows is never acknowledged: the window fills.
    let mut rig = Rig::start(many_files, |script| {
        script.on_scan_batch.push_back(OnBatch::Reject("LEADER_EPOCH_STALE"));
        script.on_scan_batch.extend((0..100).map(|_| OnBatch::Silent));
    })
    .await;
    rig.phase(ScanPhase::CutOff).await;
    assert_eq!(rig.progress.borrow().role, Some(crate::role::Role::Follower));
    let fake = rig.end().await;
    let script = fake.script();
    assert!(finished(&script).is_empty());
    assert!(rows_listed(&script) < 60_000, "{}", rows_listed(&script));
    assert_eq!(script.creates.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relist_stops_in_mid_directory_when_the_leadership_is_over() {
    let mut command = scan_command("/", pb::ScanSource::Audit);
    if let Some(pb::command::Action::Scan(scan)) = &mut command.action {
        scan.recursive = false;
    }
    stops_with_the_leadership(command).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_audit_stops_in_mid_directory_when_the_leadership_is_over() {
    let mut command = scan_command("/", pb::ScanSource::Audit);
    if let Some(pb::command::Action::Scan(scan)) = &mut command.action {
        // One that does not go past the directory that holds everything.
        let lists = |number: &u64| lists_in_full(PathRef::ROOT, *number, 4);
        scan.audit_number = (0..).find(lists).unwrap();
    }
    stops_with_the_leadership(command).await;
}

async fn stops_with_the_leadership(command: pb::Command) {
    let mut rig = Rig::start(many_files, |script| script.beats_fast = true).await;
    rig.phase(ScanPhase::Delivered).await;
    let batches = {
        let mut script = rig.fake.script();
        // Nothing more is acknowledged: the window fills, and the relist is held up in it.
        script.on_batch.extend((0..100).map(|_| OnBatch::Silent));
        script.commands.push(command);
        script.batches.len()
    };
    rig.until("a relist", |script| script.batches.len() >= batches + 32).await;
    assert_eq!(reports(&rig.fake.script(), pb::CommandState::Failed), 0);
    rig.fake.script().follows = true;
    rig.until("its end", |script| reports(script, pb::CommandState::Failed) > 0).await;
    let fake = rig.end().await;
    assert_eq!(finished(&fake.script()).len(), 1, "the snapshot alone");
    assert_eq!(fake.script().creates.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_looks_at_no_file() {
    let rig = Rig::start(small_tree, |script| {
        script.follows = true;
        script.beats_fast = true;
    })
    .await;
    rig.until("heartbeats", |script| script.heartbeats.len() > 10).await;
    let fake = rig.end().await;
    let script = fake.script();
    let told: Vec<_> = script.batches.iter().flat_map(|(_, batch)| &batch.rows).collect();
    let of_the_root = |row: &&pb::Evidence| matches!(row.evidence, Some(Evidence::Root(_)));
    assert!(told.len() == 1 && told.iter().all(of_the_root), "{told:?}");
    assert!(script.batches.iter().all(|(_, batch)| batch.listings.is_empty()));
    assert_eq!(script.heartbeats.last().unwrap().status.as_ref().unwrap().file_stats, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_is_done_once_and_reported() {
    let rig = Rig::start(small_tree, |script| {
        script.follows = true;
        script.beats_fast = true;
        script.commands.push(scan_command("/a", pb::ScanSource::OnDemand));
        script.commands.push(scan_command("/", pb::ScanSource::Audit));
    })
    .await;
    // Both are in every answer: the server repeats them until it has the report, and longer.
    rig.until("reports", |script| {
        reports(script, pb::CommandState::Done) > 2 && reports(script, pb::CommandState::Failed) > 2
    })
    .await;
    let fake = rig.end().await;
    let script = fake.script();
    let started = started(&script);
    assert_eq!(started.len(), 1, "{started:?}");
    assert_eq!((&*started[0].path, started[0].source()), (&b"/a"[..], pb::ScanSource::OnDemand));
    assert_eq!(rows_listed(&script), 3);
    let mut scans = script.batches.iter().filter(|(lane, _)| *lane == pb::Lane::Scan);
    let (_, batch) = scans.next().unwrap();
    assert_eq!(batch.correlation_id, "corr-1");
    assert_eq!(batch.causation_id, script.commands[0].command_id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_without_anything_is_probed_when_a_scan_of_it_is_asked_for() {
    let mut probe = scan_command("/", pb::ScanSource::OnDemand);
    probe.action = Some(pb::command::Action::Probe(pb::ProbeCommand {
        paths: vec![b"/one".to_vec().into(), b"/gone".to_vec().into()],
    }));
    let rig = Rig::start(small_tree, |script| {
        script.follows = true;
        script.beats_fast = true;
        script.commands.push(scan_command("/nothing", pb::ScanSource::OnDemand));
        script.commands.push(probe);
    })
    .await;
    rig.until("reports", |script| reports(script, pb::CommandState::Done) >= 2).await;
    let fake = rig.end().await;
    let mut probes: Vec<_> = frames(&fake.script())
        .into_iter()
        .filter_map(|row| match row {
            Evidence::Probe(probe) => Some((probe.path.to_vec(), probe.found.is_some())),
            _ => None,
        })
        .collect();
    probes.sort();
    let expected = [(&b"/gone"[..], false), (&b"/nothing"[..], false), (&b"/one"[..], true)];
    assert_eq!(probes, expected.map(|(path, found)| (path.to_vec(), found)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_to_stop_ends_the_agent_for_good() {
    let mut stop = scan_command("/", pb::ScanSource::OnDemand);
    stop.action = Some(pb::command::Action::Stop(pb::StopCommand { why: "test".into() }));
    let rig = Rig::start(small_tree, |script| script.commands.push(stop)).await;
    let ended = tokio::time::timeout(PATIENCE, rig.agent).await;
    ended.expect("the end").unwrap().unwrap();
    assert_eq!(rig.fake.script().ended.len(), 1);
    assert!(rig.folder.path().join("spool").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happens_is_told_in_realtime_and_outlives_a_server_that_is_away() {
    let mut rig = Rig::start(small_tree, |_| {}).await;
    rig.phase(ScanPhase::Delivered).await;
    let root = rig.folder.path().join("root");
    let upserts = |script: &Script, name: &str| {
        let rows = script.batches.iter().flat_map(|(_, batch)| &batch.rows);
        rows.filter(|row| match &row.evidence {
            Some(Evidence::Upsert(upsert)) => upsert.path == name.as_bytes() && upsert.atomic,
            _ => false,
        })
        .count()
    };
    std::fs::write(root.join("a/new"), "x").unwrap();
    rig.until("the file", |script| upserts(script, "/a/new") > 0).await;
    rig.fake.script().on_batch.push_back(OnBatch::End(Refusal::ServerDraining {
        retry_after: Duration::from_millis(300),
    }));
    std::fs::write(root.join("a/newer"), "x").unwrap();
    std::fs::write(root.join("a/newest"), "x").unwrap();
    rig.until("both files", |script| {
        upserts(script, "/a/newer") > 0 && upserts(script, "/a/newest") > 0
    })
    .await;
    rig.until("acknowledged", |_| rig.shared.spool.figures().batches == 0).await;
    assert_eq!(rig.fake.script().creates.len(), 1);
    rig.end().await;
}
