//! Audits: what they list and what they go past, who asks for them, and under which number.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;

use fusion_core::path::TreePath;

use super::*;

/// What one scan told, by its rows and listings.
#[derive(Debug, Default)]
struct Told {
    scan: u64,
    listed: BTreeSet<Vec<u8>>,
    silent: BTreeSet<Vec<u8>>,
    correlation: String,
}

/// The audits that have ended.
fn audits(script: &Script) -> Vec<Told> {
    let (mut open, mut ended): (Vec<Told>, Vec<Told>) = (Vec::new(), Vec::new());
    for (_, batch) in &script.batches {
        for row in batch.rows.iter().filter_map(|row| row.evidence.as_ref()) {
            match row {
                Evidence::ScanStarted(it) if it.source() == pb::ScanSource::Audit => {
                    let correlation = batch.correlation_id.clone();
                    open.push(Told { scan: it.scan_id, correlation, ..Told::default() });
                }
                Evidence::Unchanged(it) => {
                    open.last_mut().unwrap().silent.insert(it.dir.to_vec());
                }
                Evidence::ScanFinished(it) => {
                    let at = open.iter().position(|told| told.scan == it.scan_id);
                    ended.extend(at.map(|at| open.remove(at)));
                }
                _ => {}
            }
        }
        for listings in &batch.listings {
            let Some(told) = open.iter_mut().find(|told| told.scan == listings.scan_id) else {
                continue;
            };
            let mut at = 0;
            for length in &listings.directory_path_lengths {
                let end = at + *length as usize;
                told.listed.insert(listings.directory_paths[at..end].to_vec());
                at = end;
            }
        }
    }
    ended
}

fn audit_command(number: u64) -> pb::Command {
    let mut command = scan_command("/", pb::ScanSource::Audit);
    if let Some(pb::command::Action::Scan(scan)) = &mut command.action {
        scan.audit_number = number;
    }
    command
}

/// Commands that were reported as done.
fn done(script: &Script) -> usize {
    let beats = script.heartbeats.iter().flat_map(|beat| &beat.command_reports);
    let done = beats.filter(|report| report.state() == pb::CommandState::Done);
    done.map(|report| report.command_id.clone()).collect::<BTreeSet<_>>().len()
}

fn forty_directories(root: &Path) {
    for number in 0..20 {
        std::fs::create_dir_all(root.join(format!("d{number}/below"))).unwrap();
        std::fs::write(root.join(format!("d{number}/file")), "").unwrap();
    }
}

fn all_directories() -> BTreeSet<Vec<u8>> {
    let below = (0..20).flat_map(|n| [format!("/d{n}"), format!("/d{n}/below")]);
    below.map(String::into_bytes).chain([b"/".to_vec()]).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_audit_lists_its_share_of_what_is_silent_and_all_that_is_not() {
    let mut rig = Rig::start(forty_directories, |script| script.beats_fast = true).await;
    rig.phase(ScanPhase::Delivered).await;
    for number in 5..9 {
        // What was rewritten in place leaves no trace in its directory; a new name does.
        let path = format!("d{number}/new");
        std::fs::write(rig.folder.path().join("root").join(path), "x").unwrap();
        rig.fake.script().commands.push(audit_command(number));
        let ended = (number - 4) as usize;
        rig.until("an audit", |script| audits(script).len() == ended).await;
    }
    let fake = rig.end().await;
    let mut in_full = BTreeSet::new();
    for (number, told) in (5..9).zip(audits(&fake.script())) {
        let is_due = |path: &&Vec<u8>| {
            let path = TreePath::new(path.as_slice()).unwrap();
            lists_in_full(path.as_ref(), number, 4)
                || path.as_bytes() == format!("/d{number}").as_bytes()
        };
        let all = all_directories();
        let expected: BTreeSet<Vec<u8>> = all.iter().filter(is_due).cloned().collect();
        assert_eq!(told.listed, expected, "audit {number}");
        assert_eq!(&all - &told.listed, told.silent);
        assert!(!told.silent.is_empty());
        in_full.extend(told.listed);
    }
    assert_eq!(in_full, all_directories(), "after K audits every directory has been listed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_leadership_forgets_what_was_listed() {
    let mut rig = Rig::start(forty_directories, |script| script.beats_fast = true).await;
    rig.phase(ScanPhase::Delivered).await;
    let refusal = Refusal::SessionObsolete {
        session: None,
        view: None,
        cause: fusion_core::session::ObsoleteCause::Unknown,
        retry_after: Duration::ZERO,
    };
    rig.fake.script().on_heartbeat.push_back(Answer::Refuse(refusal));
    rig.until("a second snapshot", |script| finished(script).len() == 2).await;
    let fake = rig.end().await;
    let script = fake.script();
    assert!(!frames(&script).iter().any(|row| matches!(row, Evidence::Unchanged(_))));
    assert_eq!(finished(&script)[1].directories, 41);
    assert_eq!(rows_listed(&script), 2 * 60);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scheduled_audits_follow_each_other_and_no_number_is_used_twice() {
    let rig = Rig::start(forty_directories, |script| {
        script.beats_fast = true;
        script.audit_interval_ms = Some(20);
    })
    .await;
    rig.until("audits", |script| audits(script).len() >= 8).await;
    let fake = rig.end().await;
    for (number, told) in (0..8).zip(audits(&fake.script())) {
        for path in all_directories() {
            let path = TreePath::new(path.as_slice()).unwrap();
            let in_full = told.listed.contains(path.as_bytes());
            assert_eq!(in_full, lists_in_full(path.as_ref(), number, 4), "audit {number}: {path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn audits_that_are_asked_for_while_one_runs_are_answered_by_it() {
    let mut rig = Rig::start(forty_directories, |script| script.beats_fast = true).await;
    rig.phase(ScanPhase::Delivered).await;
    {
        let mut script = rig.fake.script();
        script.commands.extend([audit_command(1), audit_command(1), audit_command(1)]);
    }
    rig.until("all reported", |script| done(script) == 3).await;
    let fake = rig.end().await;
    let script = fake.script();
    let told = audits(&script);
    assert!(told.len() < 3, "{} audits", told.len());
    assert_eq!(told[0].correlation, "corr-1");
}

/// A scan tells nothing of what was lost after it began (R10).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_audit_that_is_asked_for_while_a_scan_is_delivered_is_not_answered_by_that_scan() {
    let (acknowledge, withheld) = tokio::sync::oneshot::channel();
    let mut rig = Rig::start(forty_directories, |script| {
        script.beats_fast = true;
        script.on_scan_batch.push_back(OnBatch::Late(withheld));
    })
    .await;
    rig.phase(ScanPhase::Delivering).await;
    rig.fake.script().commands.push(audit_command(0));
    rig.until("the order is taken", |script| reports(script, pb::CommandState::Running) > 0).await;
    acknowledge.send(()).unwrap();
    rig.until("an answer", |script| done(script) == 1).await;
    let fake = rig.end().await;
    assert_eq!(audits(&fake.script()).len(), 1, "it was answered by an audit");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_that_changed_a_moment_ago_is_listed_again() {
    let probe = tempfile::tempdir().unwrap();
    let now = std::fs::metadata(probe.path()).unwrap().ctime();
    for (clock, is_settled) in [(now, false), (now + 3_600, true)] {
        let mut rig = Rig::start(forty_directories, |script| {
            script.beats_fast = true;
            script.clock = Some(clock);
        })
        .await;
        rig.phase(ScanPhase::Delivered).await;
        rig.fake.script().commands.push(audit_command(0));
        rig.until("an audit", |script| audits(script).len() == 1).await;
        let fake = rig.end().await;
        let told = audits(&fake.script()).remove(0);
        assert_eq!(told.silent.is_empty(), !is_settled, "{told:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_events_are_told_and_the_audit_is_left_to_the_view_to_order() {
    let mut rig = Rig::start(small_tree, |script| script.beats_fast = true).await;
    rig.phase(ScanPhase::Delivered).await;
    let mut sink = rig.shared.spool.sink();
    let now = rig.shared.clock.monotonic();
    let lost = |watching_since, is_over| {
        vec![WatchEvidence::Overflow { since: now, watching_since, is_over }]
    };
    let ready =
        |beat: &pb::HeartbeatRequest| beat.status.as_ref().is_some_and(|s| s.realtime_ready);
    assert!(sink.put(lost(now, false)).is_continue());
    rig.until("not ready", |script| script.heartbeats.last().is_some_and(|b| !ready(b))).await;
    assert!(sink.put(lost(rig.shared.clock.monotonic(), true)).is_continue());
    rig.until("ready", |script| script.heartbeats.last().is_some_and(ready)).await;
    // It would end no loss: one that does begins `cache_horizon` later (R10).
    assert_eq!(finished(&rig.fake.script()).len(), 1);
    rig.fake.script().commands.push(audit_command(0));
    rig.until("an audit", |script| audits(script).len() == 1).await;
    let fake = rig.end().await;
    let script = fake.script();
    let overflows = script
        .batches
        .iter()
        .flat_map(|(_, batch)| &batch.rows)
        .filter(|row| matches!(row.evidence, Some(Evidence::Overflow(_))));
    assert_eq!(overflows.count(), 2);
}
