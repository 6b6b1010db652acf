//! Scans that somebody asked for: by whom they are done, what is reported of them, and what ends them.

use std::num::NonZeroU32;

use super::*;

/// The last report of a command.
fn report_of(script: &Script, command: &str) -> Option<pb::CommandReport> {
    let mut reports = script.heartbeats.iter().rev().flat_map(|beat| &beat.command_reports);
    reports.find(|report| report.command_id == command).cloned()
}

fn is(script: &Script, command: &str, state: pb::CommandState) -> bool {
    report_of(script, command).is_some_and(|report| report.state() == state)
}

fn text_in(report: &pb::CommandReport, name: &str) -> String {
    match report.result.as_ref().and_then(|result| result.fields.get(name)?.kind.as_ref()) {
        Some(prost_types::value::Kind::StringValue(text)) => text.clone(),
        other => panic!("{name}: {other:?} in {report:?}"),
    }
}

fn number_in(report: &pb::CommandReport, name: &str) -> f64 {
    match report.result.as_ref().and_then(|result| result.fields.get(name)?.kind.as_ref()) {
        Some(prost_types::value::Kind::NumberValue(number)) => *number,
        other => panic!("{name}: {other:?} in {report:?}"),
    }
}

fn on_demand(path: &str) -> (String, pb::Command) {
    let command = scan_command(path, pb::ScanSource::OnDemand);
    (command.command_id.clone(), command)
}

fn is_ready(script: &Script) -> bool {
    let status = script.heartbeats.last().and_then(|beat| beat.status.as_ref());
    status.is_some_and(|status| status.realtime_ready)
}

/// An agent that needs minutes to list `large`, and nothing at all for its first scan.
async fn slow(follows: bool) -> Rig {
    let rig = Rig::configured(
        |root| std::fs::create_dir(root.join("large")).unwrap(),
        |script| (script.follows, script.beats_fast) = (follows, true),
        |config| config.scan_rate = NonZeroU32::new(200),
    )
    .await;
    rig.until("ready", is_ready).await;
    if !follows {
        rig.until("a snapshot", |script| finished(script).len() == 1).await;
    }
    for directory in 0..200 {
        let at = rig.folder.path().join(format!("root/large/d{directory}"));
        std::fs::create_dir(&at).unwrap();
        for file in 0..100 {
            std::fs::File::create(at.join(format!("f{file}"))).unwrap();
        }
    }
    rig
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leader_and_follower_do_it_and_say_what_came_of_it() {
    for follows in [false, true] {
        let rig = Rig::start(small_tree, |script| {
            (script.follows, script.beats_fast) = (follows, true);
        })
        .await;
        rig.until("ready", is_ready).await;
        let (id, command) = on_demand("/a");
        rig.fake.script().commands.push(command);
        rig.until("done", |script| is(script, &id, pb::CommandState::Done)).await;
        let fake = rig.end().await;
        let script = fake.script();
        let report = report_of(&script, &id).unwrap();
        assert_eq!((report.progress, &*report.lease_id), (100, "lease-1"));
        assert_eq!(text_in(&report, "start"), "directory");
        let figures = ["directories", "entries", "errors"].map(|name| number_in(&report, name));
        assert_eq!(figures, [2.0, 3.0, 0.0]);
        // A scan that is nobody's duty as leader is under no leadership.
        let asked = script.batches.iter().filter(|(_, batch)| batch.causation_id == id);
        let epochs: Vec<u64> = asked.map(|(_, batch)| batch.leader_epoch).collect();
        assert!(!epochs.is_empty() && epochs.iter().all(|epoch| *epoch == 0), "{epochs:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_directory_is_said_and_what_is_excluded_is_refused() {
    let rig = Rig::start(small_tree, |script| {
        (script.follows, script.beats_fast) = (true, true);
        script.exclude = vec!["b".to_owned()];
    })
    .await;
    let (file, gone, hidden) = (on_demand("/one"), on_demand("/gone"), on_demand("/a/b"));
    let ids = [&file.0, &gone.0, &hidden.0].map(String::clone);
    rig.fake.script().commands.extend([file.1, gone.1, hidden.1]);
    rig.until("all done", |script| {
        ids[..2].iter().all(|id| is(script, id, pb::CommandState::Done))
            && is(script, &ids[2], pb::CommandState::Failed)
    })
    .await;
    let fake = rig.end().await;
    let script = fake.script();
    for id in &ids[..2] {
        assert_eq!(text_in(&report_of(&script, id).unwrap(), "start"), "no_directory");
    }
    let error = text_in(&report_of(&script, &ids[2]).unwrap(), "error");
    assert!(error.contains("excludes"), "{error}");
    let found = frames(&script).into_iter().filter_map(|row| match row {
        Evidence::Probe(probe) => Some((probe.path.to_vec(), probe.found.is_some())),
        _ => None,
    });
    let expected = [(b"/one".to_vec(), true), (b"/gone".to_vec(), false)];
    assert_eq!(found.collect::<Vec<_>>(), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_says_how_far_it_is_and_can_be_cut_off() {
    let rig = slow(true).await;
    let (id, command) = on_demand("/large");
    rig.fake.script().commands.push(command);
    rig.until("progress", |script| {
        report_of(script, &id)
            .is_some_and(|report| report.progress > 0 && number_in(&report, "entries") > 200.0)
    })
    .await;
    let restart = pb::Command {
        action: Some(pb::command::Action::Restart(pb::RestartCommand {
            part: pb::AgentPart::Scan.into(),
        })),
        ..scan_command("/", pb::ScanSource::OnDemand)
    };
    rig.fake.script().commands.push(restart);
    rig.until("its end", |script| is(script, &id, pb::CommandState::Failed)).await;
    let fake = rig.end().await;
    let script = fake.script();
    let error = text_in(&report_of(&script, &id).unwrap(), "error");
    assert!(error.starts_with("cut off"), "{error}");
    assert!(finished(&script).is_empty(), "half of it is not said to be all");
    let told = script.heartbeats.iter().flat_map(|beat| &beat.command_reports);
    let told: Vec<u32> =
        told.filter(|it| it.command_id == id).map(|report| report.progress).collect();
    assert!(told.is_sorted(), "{told:?}");
}

/// It is not the leader's, so a turn of the leadership is nothing to it; and a relist, which is, does
/// not wait for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_goes_on_over_a_turn_of_the_leadership_and_holds_up_no_relist() {
    let rig = slow(false).await;
    let (id, command) = on_demand("/large");
    let mut relist = scan_command("/", pb::ScanSource::Audit);
    if let Some(pb::command::Action::Scan(scan)) = &mut relist.action {
        scan.recursive = false;
    }
    let relist_id = relist.command_id.clone();
    rig.fake.script().commands.push(command);
    rig.until("it runs", |script| report_of(script, &id).is_some_and(|report| report.progress > 0))
        .await;
    rig.fake.script().commands.push(relist);
    rig.until("a relist", |script| is(script, &relist_id, pb::CommandState::Done)).await;
    assert!(is(&rig.fake.script(), &id, pb::CommandState::Running));
    rig.fake.script().follows = true;
    let mut progress = rig.progress.clone();
    let follows = |progress: &Progress| progress.link == LinkState::Following;
    tokio::time::timeout(PATIENCE, progress.wait_for(follows)).await.unwrap().unwrap();
    let at = number_in(&report_of(&rig.fake.script(), &id).unwrap(), "entries");
    rig.until("it goes on", |script| {
        report_of(script, &id).is_some_and(|report| number_in(&report, "entries") > at + 100.0)
    })
    .await;
    let fake = rig.end().await;
    assert_eq!(reports(&fake.script(), pb::CommandState::Failed), 0);
}
