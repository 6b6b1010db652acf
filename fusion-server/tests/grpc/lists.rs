//! Suspects, blind spots and the trash: listed in pages, restored and purged, over a restart.

use std::sync::Arc;
use std::time::Duration;

use fusion_proto::pb;
use fusion_proto::pb::evidence::Evidence as Said;
use fusion_proto::status::Refusal;
use fusion_server::clock::RuntimeClock;
use fusion_server::stores::Stores;

use crate::evidence::{
    DIR, DIR_INODE, ROOT_INODE, batch, file, listing, root, row, scan_finished, scan_started, stat,
};
use crate::harness::{TestServer, VIEW, advance, config, refusal, start, start_in};
use crate::telling::{Lane, opening};

fn within(path: &str, page_size: i32, page_token: &str) -> pb::ListTrashRequest {
    let (view, path, page_token) = (VIEW.to_owned(), path.to_owned(), page_token.to_owned());
    pb::ListTrashRequest { view, path, page_size, page_token }
}

pub(crate) fn remove(path: &str, parent: u64) -> pb::Evidence {
    row(Said::Remove(pb::Remove {
        path: path.as_bytes().to_vec().into(),
        parent: Some(stat(DIR, 0, parent)),
    }))
}

fn not_closed(path: &str) -> pb::Evidence {
    let mut written = file(path, 5);
    if let Some(Said::Upsert(upsert)) = &mut written.evidence {
        upsert.atomic = false;
    }
    written
}

fn directory(path: &str) -> pb::Evidence {
    let mut made = file(path, 0);
    if let Some(Said::Upsert(upsert)) = &mut made.evidence {
        upsert.stat = Some(stat(DIR, 0, DIR_INODE));
    }
    made
}

/// A view with `/d` and files `/d/f0`… in it, told by agent `a`, whose lane comes back.
async fn filled(server: &mut TestServer, files: usize) -> Lane {
    let session = server.join("a").await.session_id;
    let mut lane = Lane::realtime(server, &session, "a").await;
    let mut rows = vec![root(), directory("/d")];
    rows.extend((0..files).map(|number| file(&format!("/d/f{number}"), 1)));
    lane.deliver(batch(1, rows)).await;
    lane
}

pub(crate) async fn trash(server: &mut TestServer, path: &str) -> Vec<pb::TrashRecord> {
    let (mut records, mut token) = (Vec::new(), String::new());
    loop {
        let page = server.views.list_trash(within(path, 2, &token)).await.unwrap().into_inner();
        assert!(page.records.len() <= 2 && page.freshness.is_some());
        records.extend(page.records);
        token = page.next_page_token;
        if token.is_empty() {
            return records;
        }
    }
}

fn paths(records: &[pb::TrashRecord]) -> Vec<&str> {
    records.iter().map(|record| record.path.as_str()).collect()
}

#[tokio::test]
async fn suspects_are_told_with_cause_and_witness_until_they_are_quiet() {
    let mut server = start().await;
    let mut lane = filled(&mut server, 3).await;
    lane.deliver(batch(2, vec![not_closed("/d/b"), not_closed("/d/a"), not_closed("/z")])).await;
    let ask = |path: &str, size: i32, token: &str| {
        let pb::ListTrashRequest { view, path, page_size, page_token } = within(path, size, token);
        pb::ListSuspectsRequest { view, path, page_size, page_token }
    };
    let (mut seen, mut token) = (Vec::new(), String::new());
    loop {
        let page = server.views.list_suspects(ask("/", 1, &token)).await.unwrap().into_inner();
        seen.extend(page.suspects);
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
        let other = server.views.list_suspects(ask("/d", 1, &token)).await;
        assert!(matches!(refusal(other), Refusal::InvalidArgument { .. }));
    }
    let told: Vec<_> = seen.iter().map(|it| it.entry.as_ref().unwrap().path.as_str()).collect();
    assert_eq!(told, ["/d/a", "/d/b", "/z"]);
    for suspect in &seen {
        assert_eq!(suspect.cause(), pb::SuspectCause::Written);
        assert_eq!(suspect.agent_id, "a");
        let (looked, quiet) = (suspect.confirmed_at.unwrap(), suspect.quiet_at.unwrap());
        assert!((quiet.seconds, quiet.nanos) > (looked.seconds, looked.nanos), "{suspect:?}");
        assert!(suspect.entry.as_ref().unwrap().suspect);
    }
    let below = server.views.list_suspects(ask("/d", 0, "")).await.unwrap().into_inner();
    assert_eq!(below.suspects.len(), 2);
    let one = server.views.list_suspects(ask("/d/a", 0, "")).await.unwrap().into_inner();
    assert_eq!(one.suspects.len(), 1);
    lane.send(batch(3, vec![file("/d/a", 5)])).await;
    lane.acknowledged(3).await.unwrap();
    let closed = server.views.list_suspects(ask("/d/a", 0, "")).await.unwrap().into_inner();
    assert_eq!(closed.suspects, []);
}

fn restore(record: &pb::TrashRecord) -> pb::RestoreTrashRequest {
    pb::RestoreTrashRequest { view: VIEW.to_owned(), trash_id: record.trash_id }
}

fn purge(record: &pb::TrashRecord) -> pb::PurgeTrashRequest {
    pb::PurgeTrashRequest { view: VIEW.to_owned(), trash_id: record.trash_id }
}

#[tokio::test]
async fn trash_is_listed_restored_and_purged_and_a_restart_keeps_it_so() {
    let stores = Stores::memory();
    let clock = Arc::new(RuntimeClock::new());
    let mut server = start_in(config(), clock.clone(), stores.clone()).await;
    let mut lane = filled(&mut server, 5).await;
    let gone = (0..5).map(|number| remove(&format!("/d/f{number}"), DIR_INODE)).collect();
    lane.send(batch(2, gone)).await;
    lane.acknowledged(2).await.unwrap();
    let records = trash(&mut server, "/").await;
    assert_eq!(paths(&records), ["/d/f0", "/d/f1", "/d/f2", "/d/f3", "/d/f4"]);
    assert_eq!(paths(&trash(&mut server, "/d/f3").await), ["/d/f3"]);
    assert_eq!(trash(&mut server, "/e").await, []);
    let first = &records[0];
    assert_eq!((first.cause(), first.agent_id.as_str()), (pb::TrashCause::Realtime, "a"));
    assert_eq!((first.blind, first.totals.unwrap().bytes), (false, 1));
    let kept = first.expires_at.unwrap().seconds - first.learned_at.unwrap().seconds;
    assert_eq!(kept, 24 * 3600);

    let back = server.views.restore_trash(restore(first)).await.unwrap().into_inner();
    assert_eq!(back.record.as_ref(), Some(first));
    server.views.purge_trash(purge(&records[1])).await.unwrap();
    for again in [first, &records[1]] {
        let refused = refusal(server.views.purge_trash(purge(again)).await);
        assert!(matches!(refused, Refusal::TrashNotFound { .. }), "{refused:?}");
    }
    // It is told and found again; its record is still there.
    let mut again = file("/d/f2", 9);
    if let Some(Said::Upsert(upsert)) = &mut again.evidence {
        upsert.parent.as_mut().unwrap().ctime_time_ns = 2;
    }
    lane.send(batch(3, vec![again])).await;
    lane.acknowledged(3).await.unwrap();
    match refusal(server.views.restore_trash(restore(&records[2])).await) {
        Refusal::PathTaken { path, kind, inode, .. } => {
            assert_eq!((path.as_str(), kind.as_str(), inode), ("/d/f2", "file", 7));
        }
        other => panic!("{other:?}"),
    }
    // Its directory goes: there is nothing to put it into.
    lane.send(batch(4, vec![remove("/d", ROOT_INODE)])).await;
    lane.acknowledged(4).await.unwrap();
    match refusal(server.views.restore_trash(restore(&records[3])).await) {
        Refusal::PathNotFound { path, .. } => assert_eq!(path, "/d"),
        other => panic!("{other:?}"),
    }
    let directory = trash(&mut server, "/").await.pop().unwrap();
    assert_eq!((directory.path.as_str(), directory.totals.unwrap().files), ("/d", 2));
    server.views.restore_trash(restore(&directory)).await.unwrap();
    let before = trash(&mut server, "/").await;
    drop(lane);
    server.ended().await;

    let mut server = start_in(config(), clock, stores).await;
    assert_eq!(trash(&mut server, "/").await, before);
    let entry = |path: &str| pb::GetEntryRequest {
        view: VIEW.to_owned(),
        path: path.to_owned(),
        read_class: 0,
    };
    let put_back = server.views.get_entry(entry("/d/f0")).await.unwrap().into_inner();
    assert!(put_back.entry.unwrap().suspect, "until somebody looked");
    for gone in ["/d/f1", "/d/f4"] {
        let missing = refusal(server.views.get_entry(entry(gone)).await);
        assert!(matches!(missing, Refusal::PathNotFound { .. }), "{missing:?}");
    }
}

/// Listings of a view that nobody watches: what they find is blind, and what they miss.
#[tokio::test(start_paused = true)]
async fn blind_spots_are_entries_first_and_then_deletions() {
    let mut server = start().await;
    let session = server.join("a").await;
    let ask = opening(pb::Lane::Scan, &session.session_id, "a");
    let (mut lane, _) = Lane::open(&mut server, ask).await.unwrap();
    let epoch = session.leader_epoch;
    let framed =
        |sequence, frame| pb::EvidenceBatch { leader_epoch: epoch, ..batch(sequence, vec![frame]) };
    let listed = |sequence, names: &[&str], source: pb::ScanSource| {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let listing = pb::Listings { source: source.into(), ..listing("/", &names, 0, true) };
        pb::EvidenceBatch {
            listings: vec![listing],
            leader_epoch: epoch,
            ..batch(sequence, vec![])
        }
    };
    lane.send(framed(1, scan_started())).await;
    lane.send(listed(2, &["a", "b"], pb::ScanSource::Snapshot)).await;
    lane.deliver(framed(3, scan_finished())).await;
    for _ in 0..20 {
        advance(Duration::from_secs(10)).await;
        server.beat(&session.session_id).await.unwrap();
    }
    lane.deliver(listed(4, &["aa", "b", "c"], pb::ScanSource::Audit)).await;

    let (mut seen, mut token) = (Vec::new(), String::new());
    loop {
        let pb::ListTrashRequest { view, path, page_size, page_token } = within("/", 1, &token);
        let asked = pb::ListBlindSpotsRequest { view, path, page_size, page_token };
        let page = server.views.list_blind_spots(asked).await.unwrap().into_inner();
        assert!(page.blind_spots.len() <= 1);
        seen.extend(page.blind_spots);
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    use pb::blind_spot::Spot;
    let told: Vec<String> = seen
        .into_iter()
        .map(|blind| match blind.spot.unwrap() {
            Spot::Entry(entry) => {
                assert!(entry.listed_at.is_some());
                let entry = entry.entry.unwrap();
                assert!(entry.blind);
                entry.path
            }
            Spot::Deletion(record) => {
                assert!(record.blind && record.cause() == pb::TrashCause::Audit);
                format!("- {}", record.path)
            }
        })
        .collect();
    assert_eq!(told, ["/aa", "/c", "- /a"]);
}
