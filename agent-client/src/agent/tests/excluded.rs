//! Names that a view excludes, when it does so in the middle of it all.

use super::*;

/// How often a name stands in what was sent: in rows, in listings and in what roots are known by.
fn told(script: &Script, name: &str) -> usize {
    let count =
        |bytes: &[u8]| bytes.windows(name.len()).filter(|at| *at == name.as_bytes()).count();
    script.batches.iter().map(|(_, batch)| count(&prost::Message::encode_to_vec(batch))).sum()
}

/// What waits in the spool since before the pattern is not told either, and the rest of it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pattern_holds_for_what_waits_in_the_spool_and_for_the_next_scan() {
    let fill = |root: &Path| {
        small_tree(root);
        std::fs::write(root.join("top-hidden"), "").unwrap();
    };
    let mut rig = Rig::start(fill, |script| script.beats_fast = true).await;
    rig.phase(ScanPhase::Delivered).await;
    let hidden = told(&rig.fake.script(), "hidden");
    assert!(hidden >= 2, "control: it is listed, and the root is known by it: {hidden}");

    rig.fake.script().on_batch.extend((0..1_000).map(|_| OnBatch::Silent));
    let root = rig.folder.path().join("root");
    std::fs::write(root.join("a/late-hidden"), "x").unwrap();
    std::fs::create_dir(root.join("a/new")).unwrap();
    std::fs::write(root.join("a/new/in-hidden"), "x").unwrap();
    std::fs::write(root.join("a/open"), "x").unwrap();
    let written_at = rig.shared.clock.monotonic();
    rig.until("all sent", |script| {
        let mut realtime = script.batches.iter().filter(|(lane, _)| *lane == pb::Lane::Realtime);
        let last = realtime.next_back().map_or(0, |(_, batch)| batch.sequence);
        rig.shared.watch().unwrap().seen_through() >= written_at
            && last + 1 == rig.shared.spool.figures().next
    })
    .await;
    for name in ["late-hidden", "in-hidden", "a/open"] {
        assert!(told(&rig.fake.script(), name) > 0, "control: {name}");
    }
    assert!(rig.shared.spool.figures().batches > 0, "and not acknowledged");
    {
        let mut script = rig.fake.script();
        script.batches.clear();
        script.on_batch.clear();
        script.exclude = vec!["*-hidden".to_owned()];
        let refusal = Refusal::SessionObsolete {
            session: None,
            view: None,
            cause: fusion_core::session::ObsoleteCause::Evicted,
            retry_after: Duration::ZERO,
        };
        script.on_heartbeat.push_back(Answer::Refuse(refusal));
    }
    rig.until("a second session", |script| script.creates.len() == 2).await;
    std::fs::write(root.join("a/later-hidden"), "x").unwrap();
    std::fs::write(root.join("a/later"), "x").unwrap();
    rig.until("the rest", |script| told(script, "a/later") > 0 && told(script, "a/open") > 0).await;
    rig.until("a snapshot", |script| !finished(script).is_empty()).await;
    rig.until("acknowledged", |_| rig.shared.spool.figures().batches == 0).await;
    assert_eq!(told(&rig.fake.script(), "hidden"), 0);
    let fake = rig.end().await;
    assert_eq!(fake.script().creates.len(), 2);
}
