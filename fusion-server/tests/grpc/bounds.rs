//! Requests at and beyond their bounds: served within them, or refused by name.

use fusion_proto::pb;
use fusion_proto::status::Refusal;
use tonic::Status;

use crate::evidence::{batch, file, root};
use crate::find::varied;
use crate::harness::{TestServer, asks, refusal};
use crate::telling::Lane;

fn find() -> pb::FindEntriesRequest {
    pb::FindEntriesRequest { view: "v".into(), path: "/".into(), ..Default::default() }
}

async fn count(server: &mut TestServer, asked: pb::FindEntriesRequest) -> Result<usize, Status> {
    let mut found = server.views.find_entries(asked).await?.into_inner();
    let mut count = 0;
    while let Some(message) = found.message().await? {
        count += message.entries.len();
    }
    Ok(count)
}

/// The field that a call was refused for.
fn field<T: std::fmt::Debug>(answer: Result<T, Status>) -> String {
    match refusal(answer) {
        Refusal::InvalidArgument { violations } => violations[0].field.clone(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn limits_of_nothing_and_of_more_than_there_can_be() {
    let mut server = varied().await;
    for limit in [0, 7, 1 << 63, u64::MAX] {
        assert_eq!(
            count(&mut server, pb::FindEntriesRequest { limit, ..find() }).await.unwrap(),
            7
        );
        let sort = pb::EntrySort::Size.into();
        let sorted = count(&mut server, pb::FindEntriesRequest { limit, sort, ..find() }).await;
        if limit == 7 {
            assert_eq!(sorted.unwrap(), 7);
        } else {
            // What is kept until the end is bounded.
            assert_eq!(field(sorted), "limit");
        }
    }
    for (page_size, served) in [(0, true), (i32::MAX, true), (-1, false), (i32::MIN, false)] {
        let (view, path) = ("v".to_owned(), "/".to_owned());
        let asked = pb::ListEntriesRequest { view, path, page_size, ..Default::default() };
        let listed = server.views.list_entries(asked).await;
        if served {
            assert_eq!(listed.unwrap().into_inner().entries.len(), 2, "{page_size}");
        } else {
            assert_eq!(field(listed), "page_size");
        }
    }
    let top = |top| pb::GetBreakdownRequest {
        view: "v".into(),
        path: "/".into(),
        top,
        ..Default::default()
    };
    assert!(server.views.get_breakdown(top(0)).await.is_ok());
    assert_eq!(field(server.views.get_breakdown(top(u32::MAX)).await), "top");
}

#[tokio::test]
async fn ranges_that_nothing_can_pass_and_patterns_without_end() {
    let mut server = varied().await;
    let none = pb::EntryFilter::default;
    let filters = [
        (pb::EntryFilter { size_min: Some(2), size_max: Some(1), ..none() }, "filter.size_max"),
        (
            pb::EntryFilter { mtime_min_time_ns: Some(1), mtime_max_time_ns: Some(0), ..none() },
            "filter.mtime_max_time_ns",
        ),
        (pb::EntryFilter { min_depth: 2, max_depth: 1, ..none() }, "filter.max_depth"),
        (pb::EntryFilter { path_regex: "a".repeat(1_025), ..none() }, "filter.path_regex"),
    ];
    for (filter, expected) in filters {
        let asked = pb::FindEntriesRequest { filter: Some(filter), ..find() };
        assert_eq!(field(server.views.find_entries(asked).await), expected);
    }
    let long = pb::FindEntriesRequest { name_glob: "*".repeat(1_025), ..find() };
    assert_eq!(field(server.views.find_entries(long).await), "name_glob");
    // Of those that are short enough none takes long, whatever it says.
    for path_regex in ["^(((a*)*)*)*$", "(.*.*.*.*.*.*)*x", "^(a|aa)+$", "(?:/?.?){200}[^/]$"] {
        let filter = Some(pb::EntryFilter { path_regex: path_regex.into(), ..none() });
        let asked = pb::FindEntriesRequest { filter, ..find() };
        assert!(count(&mut server, asked).await.unwrap() <= 7, "{path_regex}");
    }
    let stars = pb::FindEntriesRequest { name_glob: "*a".repeat(512), ..find() };
    assert_eq!(count(&mut server, stars).await.unwrap(), 0);
}

#[tokio::test]
async fn a_token_is_refused_by_every_other_list() {
    let mut server = varied().await;
    let other = pb::CreateSessionRequest { view: "w".into(), ..asks("b") };
    let session = server.sessions.create_session(other).await.unwrap().into_inner().session_id;
    let mut lane = Lane::realtime(&mut server, &session, "b").await;
    lane.send(batch(1, vec![root(), file("/x", 1), file("/y", 1)])).await;
    lane.acknowledged(1).await.unwrap();
    let page = |view: &str, path: &str, token: &str| pb::ListEntriesRequest {
        view: view.into(),
        path: path.into(),
        page_size: 1,
        page_token: token.into(),
        ..Default::default()
    };
    let first = server.views.list_entries(page("v", "/", "")).await.unwrap().into_inner();
    let token = first.next_page_token;
    assert!(server.views.list_entries(page("v", "/", &token)).await.is_ok());
    let sort = pb::EntrySort::Size.into();
    for stranger in [
        page("w", "/", &token),
        page("v", "/d", &token),
        pb::ListEntriesRequest { sort, ..page("v", "/", &token) },
        page("v", "/", &"0".repeat(20_000)),
        page("v", "/", "\u{fffd}"),
    ] {
        assert_eq!(field(server.views.list_entries(stranger).await), "page_token");
    }
    let (view, path, page_token) = ("v".to_owned(), "/".to_owned(), token.clone());
    let suspects = pb::ListSuspectsRequest { view, path, page_size: 1, page_token };
    assert_eq!(field(server.views.list_suspects(suspects).await), "page_token");
    let views = pb::ListViewsRequest { page_size: 1, page_token: token };
    assert_eq!(field(server.views.list_views(views).await), "page_token");
}
