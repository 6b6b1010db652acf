//! `FindEntries`: globs on raw bytes, kinds, limits, large answers in messages.

use fusion_proto::pb;
use tonic::{Code, Status};

use crate::evidence::{batch, file, root};
use crate::harness::{TestServer, start};
use crate::telling::{Lane, opening};
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
    let realtime = opening(pb::Lane::Realtime, &session, "a");
    let (mut lane, _) = Lane::open(&mut server, realtime).await.unwrap();
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
