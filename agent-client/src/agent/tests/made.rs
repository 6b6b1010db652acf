//! Directories that another host made: read when they are there, and reported when that is acknowledged.

use super::*;

fn watch_command(paths: &[&str]) -> pb::Command {
    let paths = paths.iter().map(|path| path.as_bytes().to_vec().into()).collect();
    let action = Some(pb::command::Action::Watch(pb::WatchCommand { paths }));
    pb::Command { action, ..scan_command("/", pb::ScanSource::OnDemand) }
}

fn is(script: &Script, id: &str, state: pb::CommandState) -> bool {
    let mut reports = script.heartbeats.iter().flat_map(|beat| &beat.command_reports);
    reports.any(|report| report.command_id == id && report.state() == state)
}

/// Directories that were listed because they appeared.
fn discovered(script: &Script) -> Vec<String> {
    let batches = script.batches.iter().filter(|(lane, _)| *lane == pb::Lane::Realtime);
    let listings = batches.flat_map(|(_, batch)| &batch.listings);
    let listings = listings.filter(|it| it.source() == pb::ScanSource::Discovery);
    let mut found = Vec::new();
    for listing in listings {
        let mut rest = &*listing.directory_paths;
        for length in &listing.directory_path_lengths {
            let (path, others) = rest.split_at(*length as usize);
            found.push(String::from_utf8(path.to_vec()).unwrap());
            rest = others;
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_read_whole_and_reported_when_all_of_it_is_acknowledged() {
    let rig = Rig::start(small_tree, |script| {
        script.follows = true;
        script.beats_fast = true;
    })
    .await;
    let mut progress = rig.progress.clone();
    let ready = progress.wait_for(|progress| progress.realtime_ready);
    tokio::time::timeout(PATIENCE, ready).await.unwrap().unwrap();
    assert_eq!(discovered(&rig.fake.script()), [""; 0]);

    let command = watch_command(&["/a", "/later"]);
    let id = command.command_id.clone();
    rig.fake.script().commands.push(command);
    rig.until("what is there", |script| discovered(script) == ["/a", "/a/b"]).await;
    rig.until("it goes on", |script| is(script, &id, pb::CommandState::Running)).await;
    assert!(!is(&rig.fake.script(), &id, pb::CommandState::Done), "one is not there yet");
    std::fs::create_dir(rig.folder.path().join("root/later")).unwrap();
    rig.until("all", |script| is(script, &id, pb::CommandState::Done)).await;
    assert!(discovered(&rig.fake.script()).contains(&"/later".to_owned()));
    let script = rig.end().await;
    let script = script.script();
    let mut reports = script.heartbeats.iter().flat_map(|beat| &beat.command_reports);
    let done = reports.rfind(|it| it.command_id == id).unwrap();
    let figure = |name: &str| done.result.as_ref().unwrap().fields[name].kind.clone().unwrap();
    use prost_types::value::Kind::NumberValue;
    assert_eq!((figure("read"), figure("missing")), (NumberValue(2.0), NumberValue(0.0)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_command_takes_its_place() {
    let rig = Rig::start(small_tree, |script| {
        script.follows = true;
        script.beats_fast = true;
    })
    .await;
    let (first, second) = (watch_command(&["/never"]), watch_command(&["/a"]));
    let ids = [&first, &second].map(|command| command.command_id.clone());
    rig.fake.script().commands.push(first);
    rig.until("the first", |script| is(script, &ids[0], pb::CommandState::Running)).await;
    rig.fake.script().commands.push(second);
    rig.until("the second", |script| is(script, &ids[1], pb::CommandState::Done)).await;
    rig.until("the end of the first", |script| is(script, &ids[0], pb::CommandState::Failed)).await;
    rig.end().await;
}
