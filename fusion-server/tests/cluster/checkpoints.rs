//! Checkpoints in the blocks that all servers share: of one owner, and of the next, which numbers its blocks otherwise.

use fusion_proto::pb;
use fusion_proto::pb::evidence::Evidence as Said;

use crate::evidence::{
    DIR, DIR_INODE, ROOT_INODE, batch, file, listing, row, scan_finished, scan_started, stat,
};
use crate::following::beat_well;
use crate::harness::VIEW;
use crate::servers::{Engine, One, eventually};
use crate::telling::{Lane, opening};

/// More changes than a checkpoint waits for.
const FILES: u64 = 270_000;
const PART: u64 = 900;

/// The agent lists the root, which has so many files.
async fn list(one: &mut One, session: &pb::CreateSessionResponse) {
    let ask = opening(pb::Lane::Scan, &session.session_id, "a");
    let (mut lane, _) = Lane::open(&mut one.server, ask).await.unwrap();
    let framed = |sequence, rows| pb::EvidenceBatch {
        leader_epoch: session.leader_epoch,
        ..batch(sequence, rows)
    };
    lane.deliver(framed(1, vec![scan_started()])).await;
    let parts = FILES / PART;
    for part in 0..parts {
        let names = (part * PART..(part + 1) * PART).map(|number| format!("old-{number:08}"));
        let names: Vec<String> = names.collect();
        let listings = vec![listing("/", &names, part as u32, part + 1 == parts)];
        lane.deliver(pb::EvidenceBatch { listings, ..framed(2 + part, vec![]) }).await;
    }
    lane.deliver(framed(2 + parts, vec![scan_finished()])).await;
}

/// A directory, each of which is a block.
fn directory(path: &str) -> pb::Evidence {
    row(Said::Upsert(pb::Upsert {
        path: path.as_bytes().to_vec().into(),
        stat: Some(stat(DIR, 0, DIR_INODE)),
        parent: Some(stat(DIR, 0, ROOT_INODE)),
        atomic: true,
    }))
}

/// Kernel events from batch `next` on.
async fn tell(one: &mut One, session: &str, next: u64, batches: Vec<Vec<pb::Evidence>>) {
    let ask = opening(pb::Lane::Realtime, session, "a");
    let ask = pb::PushOpening { first_held: next, next, ..ask };
    let (mut lane, _) = Lane::open(&mut one.server, ask).await.unwrap();
    for (sequence, rows) in (next..).zip(batches) {
        lane.deliver(batch(sequence, rows)).await;
    }
}

async fn files(one: &One) -> u64 {
    let asked = pb::GetViewRequest { view: VIEW.into() };
    let view = one.server.views.clone().get_view(asked).await.unwrap().into_inner().view;
    view.unwrap().totals.unwrap().files
}

fn remove(path: &str) -> pb::Evidence {
    let (path, parent) = (path.as_bytes().to_vec().into(), Some(stat(DIR, 0, ROOT_INODE)));
    row(Said::Remove(pb::Remove { path, parent }))
}

/// So many files, told of one by one.
fn files_told(name: &str) -> Vec<Vec<pb::Evidence>> {
    let one = |number| file(&format!("/{name}-{number:08}"), 1);
    (0..FILES / PART).map(|part| (part * PART..(part + 1) * PART).map(one).collect()).collect()
}

async fn purge_all(one: &One) {
    let mut views = one.server.views.clone();
    let all = pb::ListTrashRequest { view: VIEW.into(), path: "/".into(), ..Default::default() };
    for record in views.list_trash(all).await.unwrap().into_inner().records {
        let purge = pb::PurgeTrashRequest { view: VIEW.into(), trash_id: record.trash_id };
        views.purge_trash(purge).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_owner_writes_all_and_the_next_server_loads_it() {
    let engine = Engine::new();
    let mut owner = engine.start_many(1).await.remove(0);
    let session = owner.server.join("a").await;
    let agent = &session.session_id;
    beat_well(&mut owner, agent).await;
    list(&mut owner, &session).await;
    let view = engine.log.views().unwrap()[0].id;
    let contains = || engine.blocks.contains(view).unwrap();
    eventually("the owner writes a checkpoint", async || contains().is_some()).await;
    let first = contains();
    // This one goes on from it. The owner frees a block and uses it again, which nobody can replay: from here on they
    // number blocks otherwise.
    let mut other = engine.start_one().await;
    eventually("it loads and follows", async || files(&other).await == FILES).await;
    let made = vec![directory("/a"), file("/a/f", 1), directory("/b"), file("/b/f", 1)];
    tell(&mut owner, agent, 1, vec![made, vec![remove("/a")]]).await;
    purge_all(&owner).await;
    let made = vec![directory("/c"), file("/c/f", 1), directory("/d"), file("/d/f", 1)];
    let mut batches = vec![made];
    batches.extend(files_told("mid"));
    let next = 3 + batches.len() as u64;
    tell(&mut owner, agent, 3, batches).await;
    eventually("the owner writes another", async || contains() != first).await;
    let second = contains();
    let last = owner.freshness().await.revision;
    eventually("the other has all", async || other.freshness().await.revision == last).await;
    drop(owner);
    eventually("it takes over", async || {
        let beat = pb::HeartbeatRequest { session_id: agent.clone(), ..Default::default() };
        engine.owner().as_deref() == Some(&other.address)
            && other.server.sessions.clone().heartbeat(beat).await.is_ok()
    })
    .await;
    beat_well(&mut other, agent).await;
    let mut batches = vec![vec![directory("/e"), file("/e/f", 1), remove("/b")]];
    batches.extend(files_told("new"));
    tell(&mut other, agent, next, batches).await;
    eventually("the new owner writes one", async || contains() != second).await;
    // What a server loads that was not there.
    let late = engine.start_one().await;
    let all = FILES * 3 + 3;
    assert_eq!(files(&other).await, all);
    eventually("it loads and follows", async || files(&late).await == all).await;
    for path in ["/old-00000000", "/c/f", "/d", "/e/f", "/mid-00000000", "/new-00000000", "/"] {
        let (ours, theirs) = (late.entry(path).await.unwrap(), other.entry(path).await.unwrap());
        assert_eq!((ours.entry, ours.totals), (theirs.entry, theirs.totals), "{path}");
    }
    assert!(!late.has("/a").await && !late.has("/b").await);
    // Somebody removes the log: the view is what the blocks have, and goes on after that.
    late.server.ended().await;
    other.server.ended().await;
    let contains = contains().unwrap();
    engine.log.remove(view).unwrap();
    let next = engine.start_one().await;
    assert_eq!(next.freshness().await.revision, contains.revision.0);
    assert!(next.has("/mid-00000000").await);
    assert_eq!(engine.log.status(view).unwrap().start, contains, "no revision is given twice");
}
