//! `ListChanges`: pages of what changed, filtered; the same changes as a watcher is told.

use std::time::Duration;

use fusion_proto::pb;
use fusion_proto::status::Refusal;
use tonic::Code;

use crate::evidence::{batch, file, root};
use crate::harness::{TestServer, VIEW, advance, config, refusal, start_with};
use crate::telling::Lane;

fn ask(path: &str) -> pb::ListChangesRequest {
    pb::ListChangesRequest { view: VIEW.to_owned(), path: path.to_owned(), ..Default::default() }
}

/// All pages of a request.
async fn all(server: &mut TestServer, mut ask: pb::ListChangesRequest) -> Vec<pb::EventEnvelope> {
    let mut events = Vec::new();
    loop {
        let page = server.views.list_changes(ask.clone()).await.unwrap().into_inner();
        assert!(page.freshness.is_some());
        assert_eq!(page.oldest_revision, 1);
        events.extend(page.events);
        if page.next_page_token.is_empty() {
            return events;
        }
        ask.page_token = page.next_page_token;
    }
}

fn paths(events: &[pb::EventEnvelope]) -> Vec<&str> {
    events.iter().map(|event| event.target.as_ref().unwrap().path.as_str()).collect()
}

/// `/f0` to `/f9`, a batch and ten seconds each; the odd ones of a chain.
async fn filled() -> TestServer {
    let mut config = config();
    config.view_defaults.session_timeout = Duration::from_secs(600);
    let mut server = start_with(config).await;
    let session = server.join("a").await.session_id;
    let mut lane = Lane::realtime(&mut server, &session, "a").await;
    lane.send(batch(1, vec![root()])).await;
    lane.acknowledged(1).await.unwrap();
    for number in 0..10 {
        advance(Duration::from_secs(10)).await;
        let correlation_id = if number % 2 == 1 { "odd".to_owned() } else { String::new() };
        let rows = vec![file(&format!("/f{number}"), 1)];
        lane.send(pb::EvidenceBatch { correlation_id, ..batch(number + 2, rows) }).await;
        lane.acknowledged(number + 2).await.unwrap();
    }
    server
}

#[tokio::test(start_paused = true)]
async fn changes_of_a_path_itself_are_not_those_below_it() {
    let mut server = filled().await;
    let itself = |path: &str| pb::ListChangesRequest { itself: true, ..ask(path) };
    assert_eq!(paths(&all(&mut server, itself("/")).await), ["/"]);
    assert_eq!(paths(&all(&mut server, itself("/f3")).await), ["/f3"]);
    assert!(all(&mut server, itself("/f")).await.is_empty());
    assert!(all(&mut server, itself("/f3/x")).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn pages_of_any_size_give_each_change_once() {
    let mut server = filled().await;
    let whole = all(&mut server, ask("/")).await;
    assert_eq!(whole.len(), 11);
    assert!(whole.is_sorted_by_key(|event| event.version));
    for page_size in [1, 2, 3, 11, 12] {
        let paged = all(&mut server, pb::ListChangesRequest { page_size, ..ask("/") }).await;
        assert_eq!(paged, whole, "{page_size}");
    }
    let watch = pb::WatchViewRequest {
        view: VIEW.to_owned(),
        path: "/".to_owned(),
        after_revision: Some(0),
        filter: None,
    };
    let mut told = server.views.watch_view(watch).await.unwrap().into_inner();
    let mut watched = Vec::new();
    while watched.len() < whole.len() {
        watched.extend(told.message().await.unwrap().unwrap().events);
    }
    assert_eq!(watched, whole);
}

#[tokio::test(start_paused = true)]
async fn path_revision_time_type_and_chain_choose() {
    let mut server = filled().await;
    let whole = all(&mut server, ask("/")).await;
    assert_eq!(paths(&all(&mut server, ask("/f3")).await), ["/f3"]);
    let odd = pb::ListChangesRequest { correlation_id: "odd".into(), ..ask("/") };
    let odd = all(&mut server, odd).await;
    assert_eq!(paths(&odd), ["/f1", "/f3", "/f5", "/f7", "/f9"]);
    let bounds = pb::ListChangesRequest {
        after_revision: whole[2].version,
        through_revision: whole[5].version,
        ..ask("/")
    };
    assert_eq!(all(&mut server, bounds).await, whole[3..=5]);
    let (since, until) = (whole[4].time, whole[7].time);
    let times = pb::ListChangesRequest { since, until, ..ask("/") };
    assert_eq!(all(&mut server, times).await, whole[4..7]);
    let filter = |event_types, kinds| Some(pb::EventFilter { event_types, kinds });
    let removed = filter(vec![pb::EventType::NodeSoftDeleted.into()], vec![]);
    assert_eq!(all(&mut server, pb::ListChangesRequest { filter: removed, ..ask("/") }).await, []);
    let directories = filter(vec![], vec![pb::EntryKind::Directory.into()]);
    let directories = pb::ListChangesRequest { filter: directories, ..ask("/") };
    assert_eq!(paths(&all(&mut server, directories).await), ["/"]);
}

#[tokio::test(start_paused = true)]
async fn strange_tokens_and_revisions_are_refused() {
    let mut server = filled().await;
    let page = pb::ListChangesRequest { page_size: 2, ..ask("/") };
    let token = server.views.list_changes(page).await.unwrap().into_inner().next_page_token;
    for (path, page_token) in
        [("/f1", token.clone()), ("/", format!("{token}00")), ("/", "x".into())]
    {
        let strange = pb::ListChangesRequest { page_token, ..ask(path) };
        let refused = server.views.list_changes(strange).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
    }
    let future = pb::ListChangesRequest { after_revision: 1_000_000, ..ask("/") };
    match refusal(server.views.list_changes(future).await) {
        Refusal::RevisionUnknown { .. } => {}
        other => panic!("{other:?}"),
    }
    let missing = pb::ListChangesRequest { view: "w".into(), ..ask("/") };
    assert_eq!(server.views.list_changes(missing).await.unwrap_err().code(), Code::NotFound);
}
