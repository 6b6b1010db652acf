//! What operators do, with the real binaries: a path refreshed behind a mount, the trash over a restart
//! of the server, what `status` and `doctor` say, and paths of this machine by a profile.
//!
//! The mount is bindfs: what is done beside it, no event of it tells, and the next audit is an hour away.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use fusion_core::path::TreePath;
use fusion_proto::convert::view::ReadClass;
use fusion_tests::mounts::Bind;
use fusion_tests::pair::{READY, World, text};
use fusion_tests::settings::Settings;
use fusion_tests::{binaries, compare};
use serde_json::Value;

fn path(text: &str) -> TreePath {
    TreePath::new(text.as_bytes()).unwrap()
}

fn known(world: &World, path: &str) -> bool {
    world.fusionctl(&["stat", path]).status.success()
}

#[tokio::test]
async fn what_no_event_tells_is_found_by_a_refresh_and_by_a_fresh_read() {
    let world = World::start_with(&Settings::NO_AUDITS);
    fs::create_dir_all(world.root().join("in/run")).unwrap();
    fs::write(world.root().join("in/old"), "1").unwrap();
    let mount = Bind::of(world.root(), &world.path("mount"), Duration::ZERO);
    // What is young when it is listed is looked at once more, which may find the file before the refresh.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let _leader = world.launch("leader").root(mount.at()).start();
    compare::until_ready(&mut world.client(), world.view(), READY).await;
    let _follower = world.launch("follower").root(mount.at()).start();
    until(&world, "two agents", |world| world.json(&["sessions"]).len() == 2).await;

    // A file, by the leader.
    fs::write(world.root().join("in/new"), "12345").unwrap();
    assert!(!known(&world, "/in/new"), "no event tells of it");
    let refresh = ["refresh", "/in/new", "--correlation-id", "ticket:4711"];
    let found = world.json(&refresh).remove(0);
    assert_eq!((&found["agent_id"], &found["complete"]), (&"leader".into(), &true.into()));
    assert_eq!((&found["entry"]["size"], &found["entry"]["blind"]), (&5.into(), &true.into()));
    assert!(known(&world, "/in/new"));
    its_chain(&world);

    // Directories that nobody knows, by a follower that is named.
    fs::create_dir_all(world.root().join("a/b/c")).unwrap();
    fs::write(world.root().join("a/b/c/deep"), "x").unwrap();
    fs::write(world.root().join("a/beside"), "x").unwrap();
    let found = world.json(&["refresh", "/a/b/c", "--agent", "follower"]).remove(0);
    assert_eq!((&found["agent_id"], &found["totals"]["files"]), (&"follower".into(), &1.into()));
    assert!(known(&world, "/a/b/c/deep"));
    // Nobody saw it appear. What is in it is told of by all agents, which are told to watch it, and is blind
    // only until then.
    let blind = world.json(&["blind-spots", "/a"]);
    assert!(blind.iter().any(|row| row["path"] == "/a"), "{blind:?}");

    // A whole subtree that changed in every way, and what went from it.
    tokio::time::sleep(Duration::from_millis(500)).await;
    fs::remove_file(world.root().join("in/old")).unwrap();
    fs::write(world.root().join("in/run/part"), "123").unwrap();
    let found = world.json(&["refresh", "-r", "/in"]).remove(0);
    assert_eq!((&found["totals"]["files"], &found["errors"]), (&2.into(), &0.into()), "{found}");
    assert!(!known(&world, "/in/old"));
    let gone = world.json(&["blind-spots", "/in/old"]);
    assert_eq!((&gone[0]["what"], &gone[0]["cause"]), (&"deletion".into(), &"AUDIT".into()));

    // A read that demands it is fresh by itself.
    fs::write(world.root().join("in/run/more"), "1234567").unwrap();
    let mut fresh = world.client().demanding(ReadClass::Fresh);
    let totals = fresh.totals(world.view(), &path("/in")).await.unwrap().totals;
    assert_eq!((totals.files, totals.bytes), (3, 15));

    // What is nowhere is answered too; who is not there is refused.
    let nothing = world.json(&["refresh", "/no/such/path"]).remove(0);
    assert_eq!(nothing["entry"], Value::Null);
    let nobody = world.fusionctl(&["refresh", "/in", "--agent", "nobody"]);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(text(&nobody).contains("nobody") && text(&nobody).contains("fusionctl sessions"));
}

/// Who asked, who looked and what changed are found by the id, and by the path.
fn its_chain(world: &World) {
    let trace = world.json(&["trace", "ticket:4711"]);
    // The directory changed with it.
    let [asked, job, looked, .., changed] = trace.as_slice() else { panic!("{trace:?}") };
    assert_eq!((&job["link"], &job["origin"]), (&"job".into(), &"REFRESH".into()));
    assert_eq!((&looked["link"], &looked["agent_id"]), (&"looked".into(), &"leader".into()));
    assert_eq!((&asked["link"], &changed["link"]), (&"asked".into(), &"changed".into()));
    assert_eq!((&asked["principal"], &asked["code"]), (&"anonymous".into(), &"OK".into()));
    assert_eq!(asked["method"], "fusion.v1.ViewService/RefreshPath");
    assert_eq!(
        (&changed["event_type"], &changed["path"]),
        (&"ENTRY_CREATED".into(), &"/in/new".into())
    );
    assert_eq!((&changed["agent_id"], &changed["blind"]), (&"leader".into(), &true.into()));
    assert_ne!(changed["causation_id"], Value::Null, "the command");
    let chain = [asked, job, looked, changed].map(Value::clone);
    assert_eq!(world.json(&["explain", "/in/new"]), chain);
    let nothing = world.fusionctl(&["trace", "ticket:4712"]);
    assert_eq!(nothing.status.code(), Some(1), "{}", text(&nothing));
}

#[tokio::test]
async fn what_was_asked_for_while_the_server_was_away_is_done_once() {
    let mut world = World::start_with(&Settings::NO_AUDITS);
    let _agent = world.start_ready_agent("one").await;
    world.kill_server();
    let mut asking = Command::new(binaries::path("fusionctl"))
        .args(["--server", &world.url(), "--correlation-id", "c:1"])
        .args(["audit", "--view", world.view().as_str(), "--detach"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = BufReader::new(asking.stderr.take().unwrap()).lines();
    let again = told.find(|line| line.as_ref().unwrap().contains("under the same key"));
    assert!(again.is_some(), "it says that it tries again");
    world.start_server();
    // Whatever else it says: it must not wait for who reads that.
    let rest: Vec<String> = told.map(Result::unwrap).collect();
    assert!(asking.wait().unwrap().success(), "{rest:?}");
    assert_eq!(world.json(&["jobs", "list"]).len(), 1);
    let records = world.json(&["records", "--chain", "c:1"]);
    let [record] = records.as_slice() else { panic!("{records:?}") };
    assert_eq!(record["method"], "fusion.v1.JobService/CreateJob");
    assert_eq!(record["key_digest"].as_str().map(str::len), Some(16));
}

#[tokio::test]
async fn the_trash_is_restored_and_purged_and_a_restart_keeps_it_so() {
    let mut world = World::start_with(&Settings::NO_AUDITS);
    fs::create_dir(world.root().join("d")).unwrap();
    for name in ["keep", "back", "drop"] {
        fs::write(world.root().join("d").join(name), name).unwrap();
    }
    let agent = world.start_ready_agent("one").await;
    world.settle().await;
    for name in ["back", "drop"] {
        fs::remove_file(world.root().join("d").join(name)).unwrap();
    }
    world.settle().await;
    let records = world.json(&["trash", "list", "/d"]);
    let id = |path: &str| {
        let record = records.iter().find(|record| record["path"] == path);
        let record = record.unwrap_or_else(|| panic!("{path} is not in {records:?}"));
        assert_eq!((&record["cause"], &record["agent_id"]), (&"REALTIME".into(), &"one".into()));
        record["trash_id"].to_string()
    };
    let (back, dropped) = (id("/d/back"), id("/d/drop"));
    // Nobody is there to look whether it is: it stays as it was restored.
    drop(agent);
    let restored = world.json(&["trash", "restore", &back]).remove(0);
    assert_eq!((&restored["done"], &restored["path"]), (&"restored".into(), &"/d/back".into()));
    let purged = world.json(&["trash", "purge", &dropped]).remove(0);
    assert_eq!(purged["done"], "purged");

    world.kill_server();
    world.start_server();
    assert!(known(&world, "/d/back"));
    assert!(!known(&world, "/d/drop"));
    assert_eq!(world.json(&["trash", "list"]), Vec::<Value>::new());
    for id in [&back, &dropped] {
        let again = world.fusionctl(&["trash", "restore", id]);
        assert_eq!(again.status.code(), Some(1));
        assert!(text(&again).contains("fusionctl trash list"), "{}", text(&again));
    }
    // An agent looks, and it is not there.
    let _agent = world.start_agent("one", &[]);
    world.settle().await;
    assert!(!known(&world, "/d/back"));
}

#[tokio::test]
async fn a_view_is_reset_and_its_agent_lists_the_tree_anew() {
    let world = World::start_with(&Settings::NO_AUDITS);
    fs::write(world.root().join("file"), "x").unwrap();
    let _agent = world.start_ready_agent("one").await;
    world.settle().await;
    let name = world.view().as_str();
    let before = world.json(&["views"]).remove(0);
    let refused = world.fusionctl(&["views", "reset", name]);
    assert_eq!(refused.status.code(), Some(2), "{}", text(&refused));
    let reset = world.json(&["views", "reset", name, "--yes"]).remove(0);
    assert_eq!(reset["sessions_ended"], 1);
    compare::until_ready(&mut world.client(), world.view(), READY).await;
    world.settle().await;
    let after = world.json(&["views"]).remove(0);
    let number = |view: &Value, of: &str| view[of].as_u64().unwrap();
    assert!(number(&after, "leader_epoch") > number(&before, "leader_epoch"));
    let revision = |view: &Value| view["freshness"]["revision"].as_u64().unwrap();
    assert!(revision(&after) > revision(&before));
}

#[tokio::test]
async fn status_and_doctor_tell_what_is_wrong_and_what_to_do() {
    let world = World::start_with(&Settings::NO_AUDITS);
    fs::write(world.root().join("file"), "x").unwrap();
    let empty = world.fusionctl(&["doctor"]);
    assert_eq!(empty.status.code(), Some(1));
    assert!(text(&empty).contains("agent-client"), "{}", text(&empty));

    let agent = world.start_ready_agent("one").await;
    world.settle().await;
    let status = world.json(&["status"]).remove(0);
    let view = &status["views"][0];
    assert_eq!((&view["view"], &view["freshness"]["state"]), (&"tree".into(), &"READY".into()));
    assert_eq!(view["agents"][0]["status"]["realtime_ready"], true);
    assert!(status["data_bytes"].as_u64().unwrap() > 0, "{status}");
    let shown = world.fusionctl(&["status"]);
    assert_eq!(shown.status.code(), Some(0));
    for word in ["fusion-server", "view tree: READY", "leader", "1 files", "horizon"] {
        assert!(text(&shown).contains(word), "{word}: {}", text(&shown));
    }
    until(&world, "all is well", |world| world.fusionctl(&["doctor"]).status.success()).await;

    let session = world.json(&["sessions"]).remove(0);
    let id = session["session_id"].as_str().unwrap().to_owned();
    drop(agent);
    let _ = world.fusionctl(&["sessions", "evict", &id]);
    until(&world, "nobody leads", |world| {
        let sick = world.fusionctl(&["doctor"]);
        sick.status.code() == Some(1) && text(&sick).contains("start an agent of this view")
    })
    .await;
}

#[tokio::test]
async fn paths_of_this_machine_are_the_views_by_a_profile() {
    let world = World::start_with(&Settings::NO_AUDITS);
    fs::create_dir(world.root().join("d")).unwrap();
    fs::write(world.root().join("d/file"), "123").unwrap();
    let _agent = world.start_ready_agent("one").await;
    world.settle().await;
    let (file, root) = (world.path("profile.toml"), world.root().display().to_string());
    let profile = format!(
        "server = \"{}\"\nview = \"tree\"\nmounts = [{{ mount = \"{root}\", view = \"tree\" }}]\n",
        world.url()
    );
    fs::write(&file, profile).unwrap();
    let run = |args: &[&str]| -> Output {
        Command::new(fusion_tests::binaries::path("fusionctl"))
            .arg("--profile")
            .arg(&file)
            .args(args)
            .env_remove("FUSION_SERVER")
            .output()
            .unwrap()
    };
    let at = |path: &Path| path.to_str().unwrap().to_owned();
    for given in [at(&world.root().join("d/file")), "/d/file".to_owned()] {
        let stat = run(&["--output", "json", "stat", &given]);
        let document: Value = serde_json::from_slice(&stat.stdout).unwrap_or_default();
        assert_eq!(document["path"], "/d/file", "{given}: {}", text(&stat));
    }
    assert!(text(&run(&["ls", &format!("{root}/d/")])).contains("file"));
    assert_eq!(run(&["refresh", &root]).status.code(), Some(0));
}

/// Waits for something, for as long as evidence may be under way.
async fn until(world: &World, what: &str, mut is: impl FnMut(&World) -> bool) {
    let began = compare::clock();
    while !is(world) {
        let status = text(&world.fusionctl(&["status"]));
        assert!(began.elapsed() < READY, "never: {what}\n{status}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
