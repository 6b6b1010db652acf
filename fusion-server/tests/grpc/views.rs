//! Reads: entries, listings in pages, totals, classes of reads.

use fusion_proto::pb;
use fusion_proto::status::Refusal;
use tonic::Code;

use crate::evidence::{DIR, DIR_INODE, batch, file, root, row, stat};
use crate::harness::{TestServer, refusal, start};
use crate::telling::{Lane, opening};

/// A view with `/d`, `/d/a` to `/d/e`, `/d/n\xFF\n` and `/z`.
pub(crate) async fn filled() -> TestServer {
    let mut server = start().await;
    let session = server.join("a").await.session_id;
    let mut lane = Lane::realtime(&mut server, &session, "a").await;
    let mut odd = file("/d/n", 10);
    let mut dir = file("/d", 0);
    if let Some(pb::evidence::Evidence::Upsert(upsert)) = &mut odd.evidence {
        upsert.path = b"/d/n\xff\n".to_vec().into();
    }
    if let Some(pb::evidence::Evidence::Upsert(upsert)) = &mut dir.evidence {
        upsert.stat = Some(stat(DIR, 0, DIR_INODE));
    }
    let mut rows = vec![root(), dir, odd, file("/z", 1)];
    rows.extend(["a", "b", "c", "d", "e"].map(|name| file(&format!("/d/{name}"), 1)));
    lane.deliver(batch(1, rows)).await;
    server
}

pub(crate) fn list(path: &str, page_size: i32, page_token: &str) -> pb::ListEntriesRequest {
    let (view, path, page_token) = ("v".into(), path.into(), page_token.into());
    pb::ListEntriesRequest { view, path, page_size, page_token, ..Default::default() }
}

#[tokio::test]
async fn a_listing_in_pages_gives_each_entry_once() {
    let mut server = filled().await;
    let (mut seen, mut token) = (Vec::new(), String::new());
    loop {
        let page = server.views.list_entries(list("/d", 2, &token)).await.unwrap().into_inner();
        assert!(page.freshness.is_some());
        seen.extend(page.entries.into_iter().map(|entry| entry.path));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
        for (path, token) in [("/", token.clone()), ("/d", format!("{token}0")), ("/d", "x".into())]
        {
            let refused = server.views.list_entries(list(path, 2, &token)).await.unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArgument);
        }
    }
    let names = ["a", "b", "c", "d", "e", r"n\xFF\x0A"];
    assert_eq!(seen, names.map(|name| format!("/d/{name}")));
    assert_eq!(
        server.views.list_entries(list("/d", -1, "")).await.unwrap_err().code(),
        Code::InvalidArgument
    );
    let all = server.views.list_entries(list("/d", 0, "")).await.unwrap().into_inner();
    assert_eq!((all.entries.len(), all.next_page_token.as_str()), (6, ""));
    let top = server.views.list_entries(list("/", 0, "")).await.unwrap().into_inner();
    assert_eq!(top.entries.iter().map(|entry| &entry.path[..]).collect::<Vec<_>>(), ["/d", "/z"]);
}

#[tokio::test]
async fn what_is_not_there_and_what_is_no_directory() {
    let mut server = filled().await;
    let missing = refusal(server.views.list_entries(list("/no", 0, "")).await);
    assert!(matches!(missing, Refusal::PathNotFound { .. }), "{missing:?}");
    let file = refusal(server.views.list_entries(list("/z", 0, "")).await);
    assert!(matches!(file, Refusal::NotADirectory { .. }), "{file:?}");
    let mut stranger = list("/", 0, "");
    stranger.view = "w".into();
    let stranger = refusal(server.views.list_entries(stranger).await);
    assert!(matches!(stranger, Refusal::ViewNotFound { .. }), "{stranger:?}");
    for bad in ["", "d", "/d/", "/../d", r"/\x41", "/a\nb"] {
        let refused = server.views.list_entries(list(bad, 0, "")).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{bad}");
    }
}

#[tokio::test]
async fn totals_and_entries_agree_with_what_was_told() {
    let mut server = filled().await;
    let ask =
        |path: &str| pb::GetStatsRequest { view: "v".into(), path: path.into(), read_class: 0 };
    let totals = server.views.get_stats(ask("/")).await.unwrap().into_inner().totals.unwrap();
    assert_eq!((totals.files, totals.directories, totals.bytes), (7, 1, 16));
    let totals = server.views.get_stats(ask("/z")).await.unwrap().into_inner().totals.unwrap();
    assert_eq!((totals.files, totals.bytes), (0, 0));

    let ask = pb::GetEntryRequest { view: "v".into(), path: r"/d/n\xFF\x0A".into(), read_class: 0 };
    let odd = server.views.get_entry(ask).await.unwrap().into_inner();
    assert_eq!((odd.entry.unwrap().stat.unwrap().size, odd.totals), (10, None));

    let gone = row(pb::evidence::Evidence::Remove(pb::Remove { path: "/d".into(), parent: None }));
    let mut again = crate::harness::asks("a");
    let known = pb::root_identity::TopEntry { name: "z".into(), inode: 7 };
    again.root.as_mut().unwrap().identity.as_mut().unwrap().top = vec![known];
    let session = server.sessions.create_session(again).await.unwrap().into_inner().session_id;
    let mut realtime = opening(pb::Lane::Realtime, &session, "a");
    (realtime.first_held, realtime.next) = (2, 2);
    let (mut lane, _) = Lane::open(&mut server, realtime).await.unwrap();
    lane.send(batch(2, vec![gone])).await;
    lane.acknowledged(2).await.unwrap();
    let view = pb::GetViewRequest { view: "v".into() };
    let view = server.views.get_view(view).await.unwrap().into_inner().view.unwrap();
    assert_eq!(view.totals.unwrap().files, 1);
    assert_eq!((view.leader_agent_id.as_str(), view.sessions), ("a", 1));
    assert_eq!(view.ownership, None, "there is no other server");
}

#[tokio::test]
async fn a_trusted_read_of_a_view_that_is_not_ready_is_refused() {
    let mut server = filled().await;
    let mut ask = list("/", 0, "");
    ask.read_class = pb::ReadClass::Trusted.into();
    match refusal(server.views.list_entries(ask).await) {
        Refusal::ViewNotReady { reasons, retry_after, .. } => {
            assert!(!reasons.is_empty());
            assert!(retry_after >= std::time::Duration::from_secs(1));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn views_are_listed_in_pages() {
    let mut server = start().await;
    for view in ["c", "a", "b"] {
        let mut asks = crate::harness::asks("x");
        asks.view = view.into();
        server.sessions.create_session(asks).await.unwrap();
    }
    let ask =
        |page_token: &str| pb::ListViewsRequest { page_size: 2, page_token: page_token.into() };
    let first = server.views.list_views(ask("")).await.unwrap().into_inner();
    let rest = server.views.list_views(ask(&first.next_page_token)).await.unwrap().into_inner();
    let names: Vec<_> = first.views.into_iter().chain(rest.views).map(|view| view.name).collect();
    assert_eq!((names.concat().as_str(), rest.next_page_token.as_str()), ("abc", ""));
}
