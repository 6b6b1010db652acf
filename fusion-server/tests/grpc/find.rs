//! `FindEntries`: globs on raw bytes, kinds, limits, large answers in messages.

use fusion_proto::pb;
use fusion_proto::status::Refusal;
use tonic::{Code, Status};

use crate::evidence::{DIR, DIR_INODE, FILE, batch, file, root, row, stat};
use crate::harness::{TestServer, refusal, start};
use crate::telling::Lane;
use crate::views::filled;

fn find(path: &str, name_glob: &str) -> pb::FindEntriesRequest {
    let (view, path, name_glob) = ("v".into(), path.into(), name_glob.into());
    pb::FindEntriesRequest { view, path, name_glob, ..Default::default() }
}

/// All that is found, and the number of messages.
async fn found(
    server: &mut TestServer,
    ask: pb::FindEntriesRequest,
) -> Result<(Vec<String>, usize), Status> {
    let mut stream = server.views.find_entries(ask).await?.into_inner();
    let (mut paths, mut messages, mut ended) = (Vec::new(), 0, false);
    while let Some(message) = stream.message().await? {
        assert!(!ended, "the freshness comes last");
        ended = message.freshness.is_some();
        messages += 1;
        paths.extend(message.entries.into_iter().map(|entry| entry.path));
    }
    assert!(ended);
    Ok((paths, messages))
}

#[tokio::test]
async fn globs_kinds_and_limits() {
    let mut server = filled().await;
    let cases: [(&str, &str, &[&str]); 6] = [
        ("/", "", &["/d", "/d/a", "/d/b", "/d/c", "/d/d", "/d/e", r"/d/n\xFF\x0A", "/z"]),
        ("/", "{a,z}", &["/d/a", "/z"]),
        ("/d", "[b-d]", &["/d/b", "/d/c", "/d/d"]),
        ("/", "n*", &[r"/d/n\xFF\x0A"]),
        ("/", "n??", &[r"/d/n\xFF\x0A"]),
        ("/z", "", &[]),
    ];
    for (path, glob, expected) in cases {
        assert_eq!(found(&mut server, find(path, glob)).await.unwrap().0, expected, "{glob}");
    }
    let mut dirs = find("/", "");
    dirs.kinds = vec![pb::EntryKind::Directory.into()];
    assert_eq!(found(&mut server, dirs).await.unwrap().0, ["/d"]);
    let mut some = find("/", "");
    some.limit = 2;
    assert_eq!(found(&mut server, some).await.unwrap().0, ["/d", "/d/a"]);
    for (path, glob, code) in [
        ("/", "[", Code::InvalidArgument),
        ("/no", "", Code::NotFound),
        ("x", "", Code::InvalidArgument),
    ] {
        assert_eq!(found(&mut server, find(path, glob)).await.unwrap_err().code(), code, "{glob}");
    }
}

#[tokio::test]
async fn a_large_answer_comes_in_messages() {
    let mut server = start().await;
    let session = server.join("a").await.session_id;
    let mut lane = Lane::realtime(&mut server, &session, "a").await;
    lane.send(batch(1, vec![root()])).await;
    for sequence in 2..=12 {
        let rows = (0..900).map(|i| file(&format!("/f-{sequence:03}-{i:04}"), 1)).collect();
        lane.send(batch(sequence, rows)).await;
    }
    lane.acknowledged(12).await.unwrap();
    let (paths, messages) = found(&mut server, find("/", "f-*")).await.unwrap();
    assert_eq!(paths.len(), 11 * 900);
    assert!(paths.is_sorted());
    assert!((11 * 900 / 512..60).contains(&messages), "{messages}");
}

/// An upsert of `path` with this stat.
pub(crate) fn upsert(path: &str, of: pb::Stat, parent: u64, atomic: bool) -> pb::Evidence {
    row(pb::evidence::Evidence::Upsert(pb::Upsert {
        path: path.as_bytes().to_vec().into(),
        stat: Some(of),
        parent: Some(stat(DIR, 0, parent)),
        atomic,
    }))
}

/// `/d` and `/e` with files of many kinds in them, one of them still being written.
pub(crate) async fn varied() -> TestServer {
    let mut server = start().await;
    let session = server.join("a").await.session_id;
    let mut lane = Lane::realtime(&mut server, &session, "a").await;
    let file = |size, mtime, ctime, uid, gid| pb::Stat {
        mtime_time_ns: mtime,
        ctime_time_ns: ctime,
        uid,
        gid,
        ..stat(FILE, size, 7)
    };
    let rows = vec![
        root(),
        upsert("/d", stat(DIR, 5, 2), 1, true),
        upsert("/e", stat(DIR, 6, 3), 1, true),
        upsert("/d/a.gz", file(10, 100, 5, 1, 9), 2, true),
        upsert("/d/b.TAR.GZ", file(20, 50, 6, 2, 9), 2, true),
        upsert("/d/c", file(30, 200, 7, 1, 8), 2, true),
        upsert("/e/c", file(20, 150, 8, 3, 8), 3, true),
        upsert("/e/open", file(1, 10, 9, 3, 8), 3, false),
    ];
    lane.deliver(batch(1, rows)).await;
    server
}

fn filtered(filter: pb::EntryFilter) -> pb::FindEntriesRequest {
    pb::FindEntriesRequest { filter: Some(filter), ..find("/", "") }
}

#[tokio::test]
async fn every_filter_leaves_what_passes_it() {
    let mut server = varied().await;
    let empty = pb::EntryFilter::default;
    let cases: Vec<(pb::EntryFilter, &str)> = vec![
        (pb::EntryFilter { name_regex: "^[ab]".into(), ..empty() }, "/d/a.gz /d/b.TAR.GZ"),
        (pb::EntryFilter { path_regex: "^/e/.".into(), ..empty() }, "/e/c /e/open"),
        (pb::EntryFilter { extensions: vec!["gz".into()], ..empty() }, "/d/a.gz /d/b.TAR.GZ"),
        (pb::EntryFilter { size_min: Some(20), ..empty() }, "/d/b.TAR.GZ /d/c /e/c"),
        (
            pb::EntryFilter { size_min: Some(2), size_max: Some(20), ..empty() },
            "/d/a.gz /d/b.TAR.GZ /e/c",
        ),
        (pb::EntryFilter { mtime_min_time_ns: Some(150), ..empty() }, "/d/c /e/c"),
        (
            pb::EntryFilter { mtime_min_time_ns: Some(10), mtime_max_time_ns: Some(50), ..empty() },
            "/d/b.TAR.GZ /e/open",
        ),
        (
            pb::EntryFilter { ctime_min_time_ns: Some(6), ctime_max_time_ns: Some(7), ..empty() },
            "/d/b.TAR.GZ /d/c",
        ),
        (pb::EntryFilter { uids: vec![1, 2], ..empty() }, "/d/a.gz /d/b.TAR.GZ /d/c"),
        (pb::EntryFilter { gids: vec![9], uids: vec![1], ..empty() }, "/d/a.gz"),
        (pb::EntryFilter { max_depth: 1, ..empty() }, "/d /e"),
        (pb::EntryFilter { min_depth: 2, size_max: Some(10), ..empty() }, "/d/a.gz /e/open"),
        (pb::EntryFilter { only_suspect: true, ..empty() }, "/e/open"),
        (pb::EntryFilter { only_blind: true, ..empty() }, ""),
    ];
    for (filter, expected) in cases {
        let (paths, _) = found(&mut server, filtered(filter.clone())).await.unwrap();
        assert_eq!(paths.join(" "), expected, "{filter:?}");
    }
    let deep = pb::EntryFilter { min_depth: 2, ..empty() };
    let below = pb::FindEntriesRequest { path: "/d".into(), ..filtered(deep) };
    assert_eq!(found(&mut server, below).await.unwrap().0, [""; 0]);
}

#[tokio::test]
async fn in_an_order_the_first_so_many_come() {
    let mut server = varied().await;
    let asks = |sort: pb::EntrySort, descending, limit| pb::FindEntriesRequest {
        kinds: vec![pb::EntryKind::File.into()],
        sort: sort.into(),
        descending,
        limit,
        ..find("/", "")
    };
    let cases = [
        (asks(pb::EntrySort::Size, true, 3), "/d/c /d/b.TAR.GZ /e/c"),
        (asks(pb::EntrySort::Size, false, 2), "/e/open /d/a.gz"),
        (asks(pb::EntrySort::Mtime, true, 10_000), "/d/c /e/c /d/a.gz /d/b.TAR.GZ /e/open"),
        (asks(pb::EntrySort::Mtime, false, 1), "/e/open"),
        (asks(pb::EntrySort::Name, false, 4), "/d/a.gz /d/b.TAR.GZ /d/c /e/c"),
        (asks(pb::EntrySort::Name, true, 2), "/e/open /d/c"),
    ];
    for (ask, expected) in cases {
        let (paths, _) = found(&mut server, ask.clone()).await.unwrap();
        assert_eq!(paths.join(" "), expected, "{ask:?}");
    }
}

#[tokio::test]
async fn patterns_that_cannot_be_read_or_explode_are_refused_by_name() {
    let mut server = varied().await;
    let name =
        |name_regex: &str| pb::EntryFilter { name_regex: name_regex.into(), ..Default::default() };
    let path =
        |path_regex: &str| pb::EntryFilter { path_regex: path_regex.into(), ..Default::default() };
    for (filter, field) in [
        (name("("), "filter.name_regex"),
        (name("(x{1000}){1000}"), "filter.name_regex"),
        (path(r"(\w{500}){500}"), "filter.path_regex"),
    ] {
        match refusal(server.views.find_entries(filtered(filter)).await) {
            Refusal::InvalidArgument { violations } => assert_eq!(violations[0].field, field),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn of_several_views_each_has_an_answer_or_an_error() {
    let mut server = varied().await;
    let mut other = crate::harness::asks("b");
    other.view = "w".into();
    let session = server.sessions.create_session(other).await.unwrap().into_inner().session_id;
    let mut lane = Lane::realtime(&mut server, &session, "b").await;
    lane.send(batch(
        1,
        vec![root(), upsert("/d", stat(DIR, 0, DIR_INODE), 1, true), file("/d/w", 3)],
    ))
    .await;
    lane.acknowledged(1).await.unwrap();

    let ask = |path: &str| pb::FindEntriesRequest {
        more_views: vec!["missing".into(), "w".into()],
        with_totals: true,
        ..find(path, "")
    };
    let told = |messages: Vec<pb::FindEntriesResponse>| {
        let mut lines = Vec::new();
        for message in messages {
            let end = match (&message.error, &message.freshness) {
                (Some(error), None) => error.reason.clone(),
                (None, Some(_)) => "whole".to_owned(),
                (None, None) => String::new(),
                both => panic!("{both:?}"),
            };
            let bytes: u64 = message.totals.iter().map(|totals| totals.bytes).sum();
            assert_eq!(message.totals.len(), message.entries.len());
            lines.push(format!("{} {} {bytes} {end}", message.view, message.entries.len()));
        }
        lines
    };
    let all = collect(&mut server, ask("/")).await;
    assert_eq!(
        told(all),
        ["v 7 81 ", "v 0 0 whole", "missing 0 0 VIEW_NOT_FOUND", "w 2 3 ", "w 0 0 whole"]
    );
    let only = collect(&mut server, ask("/e")).await;
    assert_eq!(
        told(only),
        ["v 2 0 ", "v 0 0 whole", "missing 0 0 VIEW_NOT_FOUND", "w 0 0 PATH_NOT_FOUND"]
    );
    let first = pb::FindEntriesRequest {
        view: "missing".into(),
        more_views: vec!["w".into()],
        ..find("/", "")
    };
    assert_eq!(
        told(collect(&mut server, pb::FindEntriesRequest { with_totals: true, ..first }).await),
        ["missing 0 0 VIEW_NOT_FOUND", "w 2 3 ", "w 0 0 whole"]
    );
}

async fn collect(
    server: &mut TestServer,
    ask: pb::FindEntriesRequest,
) -> Vec<pb::FindEntriesResponse> {
    let mut stream = server.views.find_entries(ask).await.unwrap().into_inner();
    let mut messages = Vec::new();
    while let Some(message) = stream.message().await.unwrap() {
        messages.push(message);
    }
    messages
}
