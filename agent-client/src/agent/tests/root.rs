//! What the root is known by is what stands at its top when it is told (R11).

use super::*;

fn obsolete() -> Answer {
    Answer::Refuse(Refusal::SessionObsolete {
        session: None,
        view: None,
        cause: fusion_core::session::ObsoleteCause::Evicted,
        retry_after: Duration::ZERO,
    })
}

fn another_tree() -> Answer {
    Answer::Refuse(Refusal::RootMismatch { known: "new".into(), found: "an empty root".into() })
}

/// The names in an identity, sorted.
fn names(root: Option<&pb::RootIdentity>) -> Vec<String> {
    let top = root.expect("an identity").top.iter();
    let mut names: Vec<_> =
        top.map(|top| String::from_utf8_lossy(&top.name).into_owned()).collect();
    names.sort_unstable();
    names
}

/// As the latest session was asked for.
fn claimed(script: &Script) -> Vec<String> {
    names(script.creates.last().unwrap().1.root.as_ref().unwrap().identity.as_ref())
}

/// As the latest scan of the whole tree began.
fn scanned(script: &Script) -> Vec<String> {
    names(started(script).last().unwrap().root.as_ref())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_root_is_known_by_what_stands_there_when_it_is_told() {
    let none = Vec::<String>::new();
    let mut rig = Rig::start(
        |_| {},
        |script| {
            script.beats_fast = true;
            script.exclude = vec!["hidden*".to_owned()];
        },
    )
    .await;
    rig.phase(ScanPhase::Delivered).await;
    assert_eq!(claimed(&rig.fake.script()), none);
    assert_eq!(scanned(&rig.fake.script()), none);
    let root = rig.folder.path().join("root");

    // An audit in the same session.
    std::fs::write(root.join("first"), "").unwrap();
    std::fs::write(root.join("hidden-1"), "").unwrap();
    rig.fake.script().commands.push(scan_command("/", pb::ScanSource::Audit));
    rig.until("an audit", |script| finished(script).len() == 2).await;
    assert_eq!(scanned(&rig.fake.script()), ["first"]);

    // The next session, and its snapshot. Nothing of what was there before is left.
    std::fs::remove_file(root.join("first")).unwrap();
    std::fs::write(root.join("second"), "").unwrap();
    std::fs::write(root.join("hidden-2"), "").unwrap();
    rig.fake.script().on_heartbeat.push_back(obsolete());
    rig.until("a second snapshot", |script| finished(script).len() == 3).await;
    assert_eq!(claimed(&rig.fake.script()), ["second"]);
    assert_eq!(scanned(&rig.fake.script()), ["second"]);
    let fake = rig.end().await;
    assert_eq!(fake.script().creates.len(), 2);
}

/// A look that hangs is not joined by a second, and what the root was before is no reason to stop.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_whose_root_does_not_answer_is_not_stopped_for_what_it_was() {
    let mut rig = Rig::start(|_| {}, |script| script.beats_fast = true).await;
    rig.phase(ScanPhase::Delivered).await;
    let hangs = Arc::clone(&rig.shared.state.looking).lock_owned().await;
    std::fs::write(rig.folder.path().join("root/new"), "").unwrap();
    {
        let mut script = rig.fake.script();
        script.on_create.extend([another_tree(), another_tree()]);
        script.on_heartbeat.push_back(obsolete());
    }
    rig.until("it tries again", |script| script.creates.len() >= 3).await;
    drop(hangs);
    rig.until("a second snapshot", |script| finished(script).len() == 2).await;

    // One that answers is another tree if the server says so.
    rig.fake.script().on_create.push_back(another_tree());
    rig.fake.script().on_heartbeat.push_back(obsolete());
    let ended = tokio::time::timeout(PATIENCE, rig.agent).await.expect("the end").unwrap();
    assert!(matches!(ended, Err(AgentError::Link(LinkError::OtherTree { .. }))), "{ended:?}");
    assert_eq!(claimed(&rig.fake.script()), ["new"]);
}

/// What was told of the root, in order: its state, and whether it came with what the root is.
fn told_of_the_root(script: &Script) -> Vec<(pb::RootState, bool)> {
    let rows = script.batches.iter().flat_map(|(_, batch)| &batch.rows);
    rows.filter_map(|row| match &row.evidence {
        Some(Evidence::Root(root)) => Some((root.state(), root.identity.is_some())),
        _ => None,
    })
    .collect()
}

/// What a scan looks at while the root is away is no evidence, so the view must know since when.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scan_that_finds_the_root_away_tells_it_and_its_return_is_told_with_what_it_is() {
    // Of a link that goes the watcher hears nothing.
    let link_to = |root: &Path| {
        let link = root.with_file_name("link");
        std::os::unix::fs::symlink(root, &link).unwrap();
        link
    };
    let mut rig = Rig::configured(
        small_tree,
        |script| script.beats_fast = true,
        |config| config.root = link_to(&config.root),
    )
    .await;
    rig.phase(ScanPhase::Delivered).await;
    let root = rig.folder.path().join("root");
    std::fs::remove_file(root.with_file_name("link")).unwrap();
    rig.fake.script().commands.push(scan_command("/a", pb::ScanSource::OnDemand));
    rig.until("it failed", |script| reports(script, pb::CommandState::Failed) > 0).await;
    rig.until("it is told", |script| told_of_the_root(script).len() > 1).await;
    link_to(&root);
    rig.until("its return", |script| told_of_the_root(script).len() > 2).await;
    let fake = rig.end().await;
    let script = fake.script();
    // When it began, that it is away, and that it is back.
    let there = (pb::RootState::Available, true);
    let expected = [there, (pb::RootState::Unavailable, false), there];
    assert_eq!(told_of_the_root(&script), expected);
    assert_eq!(finished(&script).len(), 1, "of the scan on a root that was away nothing is told");
}
