//! What hangs with the storage holds up nothing that must go on.

use std::sync::mpsc;

use super::broken::{is_ready, overflows, restart, upserted};
use super::*;

/// A thread that placed a watch, or wrote to the spool, when the storage stopped answering.
struct Hung(mpsc::Sender<()>, std::thread::JoinHandle<()>);

impl Hung {
    fn on(rig: &Rig) -> Self {
        let watch = rig.shared.watch().unwrap();
        Self::in_call(move |until, hangs| watch.hang_for_test(until, hangs))
    }

    fn on_spool(shared: &Shared) -> Self {
        let spool = shared.spool.clone();
        Self::in_call(move |until, hangs| spool.hang_for_test(until, hangs))
    }

    fn in_call(call: impl FnOnce(&mpsc::Receiver<()>, &dyn Fn()) + Send + 'static) -> Self {
        let (let_go, until) = mpsc::channel();
        let (hangs, it_does) = mpsc::channel();
        let thread = crate::spawn::spawn_thread("hung", move || {
            call(&until, &|| hangs.send(()).unwrap());
        });
        it_does.recv().unwrap();
        Self(let_go, thread.unwrap())
    }

    fn let_go(self) {
        drop(self.0);
        self.1.join().unwrap();
    }
}

fn beats(script: &Script) -> usize {
    script.heartbeats.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heartbeats_and_a_restart_of_the_watcher_wait_for_no_call_of_the_storage() {
    let rig = Rig::start(small_tree, |script| script.beats_fast = true).await;
    rig.until("ready", is_ready).await;
    let hung = Hung::on(&rig);
    let before = beats(&rig.fake.script());
    rig.until("heartbeats", |script| beats(script) > before + 10).await;
    let status = rig.fake.script().heartbeats.last().unwrap().status.clone().unwrap();
    assert_eq!(status.watched_directories, 3);
    rig.fake.script().commands.push(restart(pb::AgentPart::Watch));
    let restarts = rig.shared.metrics.restarts.with_label_values(&["watch"]);
    rig.until("another watcher", |_| restarts.get() == 1).await;
    // When they were lost, and when all is watched again.
    rig.until("all is watched again", |script| overflows(script) == 2 && is_ready(script)).await;
    std::fs::write(rig.folder.path().join("root/a/new"), "x").unwrap();
    rig.until("an event", |script| upserted(script, "/a/new")).await;
    rig.end().await;
    hung.let_go();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_to_stop_waits_for_no_call_of_the_storage() {
    let mut stop = scan_command("/", pb::ScanSource::OnDemand);
    stop.action = Some(pb::command::Action::Stop(pb::StopCommand { why: "test".into() }));
    let rig = Rig::start(small_tree, |script| script.beats_fast = true).await;
    rig.until("ready", is_ready).await;
    let hung = Hung::on(&rig);
    // A scan that hangs with it, and what was asked for before.
    rig.fake.script().commands.push(scan_command("/", pb::ScanSource::OnDemand));
    rig.until("a scan", |script| reports(script, pb::CommandState::Running) > 0).await;
    rig.fake.script().commands.push(stop);
    let ended = tokio::time::timeout(PATIENCE, rig.agent).await;
    ended.expect("the end").unwrap().unwrap();
    hung.let_go();
}

/// The end has its 2 s whatever the spool's disk does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_whose_spool_hangs_ends_in_time() {
    let rig = Rig::start(small_tree, |script| script.beats_fast = true).await;
    rig.until("ready", is_ready).await;
    let hung = Hung::on_spool(&rig.shared);
    let fake = rig.end().await;
    assert_eq!(fake.script().ended.len(), 1, "the server is told");
    hung.let_go();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_whose_spool_hangs_while_it_begins_ends_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let (root, spool) = (folder.path().join("root"), folder.path().join("spool"));
    std::fs::create_dir(&root).unwrap();
    let url = crate::config::ServerUrl::new("http://127.0.0.1:1").unwrap();
    let config = AgentConfig::new(url, ViewName::new("v").unwrap(), root, spool);
    let agent = build(config, Deps::default()).await.unwrap();
    let mut progress = agent.progress();
    let hung = Hung::on_spool(&agent.shared);
    let ended = tokio::time::timeout(Duration::from_secs(2), agent.run(async {})).await;
    ended.expect("the end").unwrap();
    assert_eq!(progress.borrow_and_update().link, LinkState::Stopped);
    hung.let_go();
}
