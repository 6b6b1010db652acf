//! `GetBreakdown` and `CompareViews`.

use fusion_proto::pb;
use tonic::Code;

use crate::evidence::{DIR, batch, file, root, stat};
use crate::find::{upsert, varied};
use crate::harness::{TestServer, start};
use crate::telling::{Lane, opening};

fn ask(path: &str, top: u32) -> pb::GetBreakdownRequest {
    pb::GetBreakdownRequest { view: "v".into(), path: path.into(), read_class: 0, top }
}

async fn counted(
    server: &mut TestServer,
    ask: pb::GetBreakdownRequest,
) -> pb::GetBreakdownResponse {
    let mut stream = server.views.get_breakdown(ask).await.unwrap().into_inner();
    let mut last = None;
    while let Some(message) = stream.message().await.unwrap() {
        assert!(last.is_none(), "the whole comes last");
        last = message.breakdown.is_some().then_some(message);
    }
    last.expect("the whole")
}

fn tally(tally: Option<&pb::Tally>) -> (u64, u64) {
    tally.map_or((0, 0), |tally| (tally.files, tally.bytes))
}

fn paths(entries: &[pb::Entry]) -> String {
    entries.iter().map(|entry| &entry.path[..]).collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn files_are_counted_by_what_they_are() {
    let mut server = varied().await;
    let told = counted(&mut server, ask("/", 2)).await;
    assert_eq!((told.looked_at, told.expected), (7, 7));
    assert!(told.freshness.is_some());
    let of = told.breakdown.unwrap();
    assert_eq!(tally(of.all.as_ref()), (5, 81));
    let owners: Vec<_> = of.owners.iter().map(|row| (row.uid, tally(row.tally.as_ref()))).collect();
    assert_eq!(owners, [(1, (2, 40)), (3, (2, 21))]);
    assert_eq!(tally(of.other_owners.as_ref()), (1, 20));
    let extensions: Vec<_> =
        of.extensions.iter().map(|row| (&row.extension[..], tally(row.tally.as_ref()))).collect();
    assert_eq!(extensions, [("", (3, 51)), ("gz", (2, 30))]);
    assert_eq!((tally(of.other_extensions.as_ref()), of.others_mixed), ((0, 0), false));
    let sizes: Vec<_> =
        of.sizes.iter().map(|row| (row.least_size, tally(row.tally.as_ref()))).collect();
    assert_eq!(sizes, [(1, (5, 81))]);
    let aged: u64 = of.ages.iter().map(|row| tally(row.tally.as_ref()).0).sum();
    assert_eq!(aged, 5);
    assert_eq!(paths(&of.largest_files), "/d/c /d/b.TAR.GZ");
    let largest: Vec<_> = of
        .largest_directories
        .iter()
        .map(|row| (&row.entry.as_ref().unwrap().path[..], row.totals.as_ref().unwrap().bytes))
        .collect();
    assert_eq!(largest, [("/d", 60), ("/e", 21)]);
    assert_eq!(of.newest_directories.len(), 2);

    let below = counted(&mut server, ask("/e", 0)).await.breakdown.unwrap();
    assert_eq!(tally(below.all.as_ref()), (2, 21));
    assert_eq!(paths(&below.largest_files), "/e/c /e/open");
    let nothing = counted(&mut server, ask("/d/c", 0)).await.breakdown.unwrap();
    assert_eq!(tally(nothing.all.as_ref()), (0, 0));
    for (bad, code) in [(ask("/no", 0), Code::NotFound), (ask("/", 1_001), Code::InvalidArgument)] {
        assert_eq!(server.views.get_breakdown(bad).await.unwrap_err().code(), code);
    }
}

async fn views_of(server: &mut TestServer, ask: pb::CompareViewsRequest) -> String {
    let told = server.views.compare_views(ask).await.unwrap().into_inner();
    let row = |view: pb::ViewComparison| match (view.error, view.totals, view.freshness) {
        (None, Some(totals), Some(_)) => format!("{}:{}", view.view, totals.files),
        (Some(error), None, None) => format!("{}:{}", view.view, error.reason),
        other => panic!("{other:?}"),
    };
    told.views.into_iter().map(row).collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn views_stand_side_by_side_and_none_is_left_out() {
    let mut server = start().await;
    // More files in `few`, more bytes in `large`, a suspect in `open`; nothing at /d in `bare`.
    let views: [(&str, Vec<pb::Evidence>); 4] = [
        ("few", vec![file("/d/a", 1), file("/d/b", 1), file("/d/c", 1)]),
        ("large", vec![file("/d/a", 100), file("/d/b", 1)]),
        ("open", vec![upsert("/d/a", stat(1, 1, 7), 2, false), file("/d/b", 1)]),
        ("bare", vec![]),
    ];
    for (view, files) in views {
        let mut asks = crate::harness::asks(view);
        asks.view = view.into();
        let session = server.sessions.create_session(asks).await.unwrap().into_inner().session_id;
        let realtime = opening(pb::Lane::Realtime, &session, view);
        let (mut lane, _) = Lane::open(&mut server, realtime).await.unwrap();
        let mut rows = vec![root()];
        if !files.is_empty() {
            rows.push(upsert("/d", stat(DIR, 0, 2), 1, true));
            rows.extend(files);
        }
        lane.deliver(batch(1, rows)).await;
    }
    let ask = |rank: pb::ViewRank, views: &[&str]| pb::CompareViewsRequest {
        views: views.iter().map(|view| (*view).to_owned()).collect(),
        path: "/d".into(),
        read_class: 0,
        rank: rank.into(),
    };
    let all = |rank| ask(rank, &[]);
    assert_eq!(
        views_of(&mut server, all(pb::ViewRank::Files)).await,
        "few:3 large:2 open:2 bare:PATH_NOT_FOUND"
    );
    assert_eq!(
        views_of(&mut server, all(pb::ViewRank::Bytes)).await,
        "large:2 few:3 open:2 bare:PATH_NOT_FOUND"
    );
    assert_eq!(
        views_of(&mut server, all(pb::ViewRank::Unspecified)).await,
        "few:3 large:2 open:2 bare:PATH_NOT_FOUND"
    );
    assert_eq!(
        views_of(&mut server, ask(pb::ViewRank::Newest, &["zz", "open", "few"])).await,
        "few:3 open:2 zz:VIEW_NOT_FOUND"
    );
    let mut trusted = ask(pb::ViewRank::Files, &["few"]);
    trusted.read_class = pb::ReadClass::Trusted.into();
    assert_eq!(views_of(&mut server, trusted).await, "few:VIEW_NOT_READY");
    for bad in [
        ask(pb::ViewRank::Files, &["few", "few"]),
        ask(pb::ViewRank::Files, &["-"]),
        pb::CompareViewsRequest { rank: 9, ..all(pb::ViewRank::Files) },
        pb::CompareViewsRequest { path: "d".into(), ..all(pb::ViewRank::Files) },
    ] {
        let refused = server.views.compare_views(bad).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
    }
}

/// FRESH needs a scan, and nobody leads the view: no query answers from what is known instead.
#[tokio::test]
async fn no_query_falls_back_in_silence_from_fresh() {
    let mut server = varied().await;
    let sessions = server.sessions.list_sessions(pb::ListSessionsRequest::default()).await.unwrap();
    let session_id = sessions.into_inner().sessions[0].session_id.clone();
    let ends = pb::EndSessionRequest { session_id, allow_missing: false };
    server.sessions.end_session(ends).await.unwrap();
    let fresh = pb::ReadClass::Fresh.into();

    let asked = pb::GetBreakdownRequest { read_class: fresh, ..ask("/", 0) };
    let refused = server.views.get_breakdown(asked).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    let asked = pb::ExportEntriesRequest {
        view: "v".into(),
        path: "/".into(),
        read_class: fresh,
        ..Default::default()
    };
    assert_eq!(server.views.export_entries(asked).await.unwrap_err().code(), Code::Unavailable);
    let asked =
        pb::CompareViewsRequest { path: "/".into(), read_class: fresh, ..Default::default() };
    assert_eq!(views_of(&mut server, asked).await, "v:VIEW_NOT_READY");

    let mut asked = pb::FindEntriesRequest {
        view: "v".into(),
        path: "/".into(),
        read_class: fresh,
        ..Default::default()
    };
    let refused = server.views.find_entries(asked.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    asked.more_views = vec!["missing".into()];
    let mut stream = server.views.find_entries(asked).await.unwrap().into_inner();
    let mut told = Vec::new();
    while let Some(message) = stream.message().await.unwrap() {
        assert!(message.entries.is_empty());
        told.push((message.view, message.error.unwrap().reason));
    }
    let expected =
        [("v", "VIEW_NOT_READY"), ("missing", "VIEW_NOT_FOUND")].map(|(a, b)| (a.into(), b.into()));
    assert_eq!(told, expected);
}
