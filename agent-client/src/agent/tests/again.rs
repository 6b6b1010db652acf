//! What did not succeed is done again soon, however long it is until the next audit is due.

use super::broken::is_ready;
use super::*;
use crate::link::Reporter as _;

/// An agent whose root is a link that can be taken away: its scans fail then, and its watcher hears
/// nothing of it. The next audit is due in an hour.
struct Linked {
    rig: Rig,
    link: std::path::PathBuf,
}

impl Linked {
    async fn start() -> Self {
        let rig = Rig::configured(
            small_tree,
            |script| script.beats_fast = true,
            |config| {
                let link = config.root.with_file_name("link");
                std::os::unix::fs::symlink(&config.root, &link).unwrap();
                config.root = link;
            },
        )
        .await;
        rig.until("ready", is_ready).await;
        rig.until("the snapshot", |script| finished(script).len() == 1).await;
        let link = rig.folder.path().join("link");
        Self { rig, link }
    }

    fn take_away(&self) {
        std::fs::remove_file(&self.link).unwrap();
    }

    fn put_back(&self) {
        std::os::unix::fs::symlink(self.rig.folder.path().join("root"), &self.link).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_that_failed_under_a_new_leadership_does_not_wait_for_the_audit_of_the_old() {
    let it = Linked::start().await;
    it.take_away();
    it.rig.fake.script().on_heartbeat.push_back(Answer::Refuse(Refusal::SessionObsolete {
        session: None,
        view: None,
        cause: fusion_core::session::ObsoleteCause::Evicted,
        retry_after: Duration::ZERO,
    }));
    let has_failed =
        || it.rig.shared.status().errors.iter().any(|error| error.starts_with("scan: "));
    it.rig.until("it failed", |_| has_failed()).await;
    it.put_back();
    it.rig.until("a second snapshot", |script| finished(script).len() == 2).await;
    assert_eq!(it.rig.fake.script().creates.len(), 2);
    it.rig.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_audit_that_is_asked_for_after_one_failed_does_not_wait_for_that_of_the_schedule() {
    let it = Linked::start().await;
    it.take_away();
    it.rig.fake.script().commands = vec![scan_command("/", pb::ScanSource::Audit)];
    it.rig.until("it failed", |script| reports(script, pb::CommandState::Failed) > 0).await;
    it.put_back();
    it.rig.fake.script().commands = vec![scan_command("/", pb::ScanSource::Audit)];
    it.rig.until("an audit", |script| reports(script, pb::CommandState::Done) > 0).await;
    assert_eq!(it.rig.fake.script().creates.len(), 1);
    it.rig.end().await;
}
