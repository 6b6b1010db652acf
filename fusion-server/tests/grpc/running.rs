//! Searches, counts and exports whose client goes, or does not read: they end, or wait in bounds.

use fusion_proto::pb;
use fusion_proto::pb::view_service_client::ViewServiceClient;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};

use crate::evidence::{batch, file, root};
use crate::harness::{TestServer, start};
use crate::telling::Lane;

const FILES: u64 = 90_000;
/// Bytes that a client takes unread.
const WINDOW: u32 = 65_535;

/// A view of that many files.
async fn large() -> TestServer {
    large_with_a_lane().await.0
}

/// A view of that many files, the lane of its agent and the number of its next batch.
async fn large_with_a_lane() -> (TestServer, Lane, u64) {
    let mut server = start().await;
    let session = server.join("a").await.session_id;
    let mut lane = Lane::realtime(&mut server, &session, "a").await;
    lane.send(batch(1, vec![root()])).await;
    let batches = FILES / 900;
    for sequence in 2..batches + 2 {
        let rows = (0..900).map(|i| file(&format!("/{sequence:03}-{i:04}"), 1)).collect();
        lane.send(batch(sequence, rows)).await;
    }
    lane.acknowledged(batches + 1).await.unwrap();
    (server, lane, batches + 2)
}

/// A client with a connection of its own that takes little unread.
async fn narrow(server: &TestServer) -> ViewServiceClient<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{}", server.grpc)).unwrap();
    let endpoint =
        endpoint.initial_stream_window_size(WINDOW).initial_connection_window_size(WINDOW);
    ViewServiceClient::new(endpoint.connect().await.unwrap())
}

fn find(filter: pb::EntryFilter) -> pb::FindEntriesRequest {
    let filter = Some(filter);
    pb::FindEntriesRequest { view: "v".into(), path: "/".into(), filter, ..Default::default() }
}

/// A search that takes long for each entry, and tells nothing on the way.
fn slow() -> pb::FindEntriesRequest {
    // What it has to keep in mind is another for nearly every path.
    let path_regex = "^/(?-u:[0-4]?[3-9]?[0-25-9]?-?){900}x$".to_owned();
    find(pb::EntryFilter { path_regex, ..Default::default() })
}

fn export() -> pb::ExportEntriesRequest {
    pb::ExportEntriesRequest { view: "v".into(), path: "/".into(), ..Default::default() }
}

async fn running(server: &TestServer, call: &str) -> u64 {
    server.metric(&format!("fusion_searches{{call=\"{call}\",view=\"v\"}}")).await
}

async fn looked_at(server: &TestServer) -> u64 {
    server.metric("fusion_searched_entries_total{view=\"v\"}").await
}

#[tokio::test]
async fn a_search_whose_client_goes_ends_with_its_step() {
    let mut server = large().await;
    let search = server.views.find_entries(slow()).await.unwrap();
    while looked_at(&server).await == 0 {}
    drop(search);
    while running(&server, "find").await > 0 {}
    let looked_at = looked_at(&server).await;
    assert!((1..FILES / 2).contains(&looked_at), "{looked_at} of {FILES}");
}

#[tokio::test]
async fn who_does_not_read_holds_up_nobody_and_is_forgotten_when_it_goes() {
    let mut server = large().await;
    let mut client = narrow(&server).await;
    let found = client.find_entries(find(pb::EntryFilter::default())).await.unwrap().into_inner();
    let mut exported = client.export_entries(export()).await.unwrap().into_inner();
    let before = looked_at(&server).await;

    // Others are answered in whole meanwhile, also on more than the two could wait for.
    let all = find(pb::EntryFilter::default());
    assert_eq!(read(server.views.find_entries(all).await.unwrap().into_inner()).await, FILES);
    let counted =
        pb::GetBreakdownRequest { view: "v".into(), path: "/".into(), ..Default::default() };
    let mut counted = server.views.get_breakdown(counted).await.unwrap().into_inner();
    while counted.message().await.unwrap().is_some() {}
    assert_eq!((running(&server, "find").await, running(&server, "export").await), (1, 1));
    let by_them = looked_at(&server).await - before - 2 * FILES.next_multiple_of(2_048);
    assert!(by_them < FILES / 2, "{by_them}");

    drop(found);
    while running(&server, "find").await > 0 {}
    // Who reads on at last has it all.
    let mut rows = 0;
    while let Some(message) = exported.message().await.unwrap() {
        rows += u64::from(message.row_count);
    }
    assert_eq!(rows, FILES);
    while running(&server, "export").await + running(&server, "breakdown").await > 0 {}

    let exported = client.export_entries(export()).await.unwrap();
    assert_eq!(running(&server, "export").await, 1);
    drop(exported);
    while running(&server, "export").await > 0 {}
}

/// All entries of an answer.
async fn read(mut found: Streaming<pb::FindEntriesResponse>) -> u64 {
    let mut entries = 0;
    while let Some(message) = found.message().await.unwrap() {
        entries += message.entries.len() as u64;
    }
    entries
}

#[tokio::test]
async fn an_answer_that_the_end_of_the_server_cuts_off_says_so() {
    let mut server = large().await;
    // Each on its own connection: what one does not read takes the room of the other.
    let exported = narrow(&server).await.export_entries(export()).await.unwrap().into_inner();
    let everything = find(pb::EntryFilter::default());
    let found = narrow(&server).await.find_entries(everything).await.unwrap().into_inner();
    server.stop();
    assert_eq!(cut_off(exported).await.code(), tonic::Code::Unavailable);
    assert_eq!(cut_off(found).await.code(), tonic::Code::Unavailable);
}

/// How an answer ends that is cut off.
async fn cut_off<T>(mut answer: Streaming<T>) -> tonic::Status {
    loop {
        match answer.message().await {
            Ok(message) => assert!(message.is_some(), "a part was told as the whole"),
            Err(status) => return status,
        }
    }
}

/// An export to its end: the first token, and the revision that it names.
async fn exported(mut answer: Streaming<pb::ExportEntriesResponse>) -> (String, u64) {
    let (mut token, mut revision) = (None, 0);
    while let Some(message) = answer.message().await.unwrap() {
        token = token.or(Some(message.resume_token));
        revision = message.freshness.map_or(revision, |freshness| freshness.revision);
    }
    (token.unwrap(), revision)
}

#[tokio::test]
async fn what_came_while_an_answer_was_told_is_not_promised() {
    let (mut server, mut lane, next) = large_with_a_lane().await;
    let stats = pb::GetStatsRequest { view: "v".into(), path: "/".into(), ..Default::default() };
    let before = server.views.get_stats(stats).await.unwrap().into_inner();
    let before = before.freshness.unwrap().revision;
    let mut client = narrow(&server).await;
    let answer = client.export_entries(export()).await.unwrap().into_inner();
    // It stands before all others, where the export has been.
    lane.send(batch(next, vec![file("/000", 1)])).await;
    lane.acknowledged(next).await.unwrap();
    let (resume_token, revision) = exported(answer).await;
    assert_eq!(revision, before);
    let again = pb::ExportEntriesRequest { resume_token, ..export() };
    let (_, revision) = exported(client.export_entries(again).await.unwrap().into_inner()).await;
    assert_eq!(revision, before, "nor by who goes on");
}
