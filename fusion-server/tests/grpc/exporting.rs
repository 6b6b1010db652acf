//! `ExportEntries`: formats, columns, and going on after any message.

use fusion_proto::pb;
use tonic::Code;

use crate::evidence::{batch, file, root};
use crate::find::varied;
use crate::harness::{TestServer, start};
use crate::telling::Lane;

fn ask(format: pb::ExportFormat, columns: &[pb::ExportColumn]) -> pb::ExportEntriesRequest {
    pb::ExportEntriesRequest {
        view: "v".into(),
        path: "/".into(),
        format: format.into(),
        columns: columns.iter().map(|column| (*column).into()).collect(),
        ..Default::default()
    }
}

async fn told(
    server: &mut TestServer,
    ask: pb::ExportEntriesRequest,
) -> Vec<pb::ExportEntriesResponse> {
    let mut stream = server.views.export_entries(ask).await.unwrap().into_inner();
    let mut messages = Vec::new();
    while let Some(message) = stream.message().await.unwrap() {
        messages.push(message);
    }
    let last = messages.last().expect("a last message");
    assert!(last.freshness.is_some() && last.resume_token.is_empty());
    messages
}

fn text(messages: &[pb::ExportEntriesResponse]) -> String {
    messages.iter().map(|message| std::str::from_utf8(&message.rows).unwrap()).collect()
}

#[tokio::test]
async fn rows_have_the_columns_that_are_asked_for() {
    let mut server = varied().await;
    let columns = [pb::ExportColumn::Size, pb::ExportColumn::Path, pb::ExportColumn::Uid];
    let csv = text(&told(&mut server, ask(pb::ExportFormat::Csv, &columns)).await);
    let expected = "size,path,uid\n5,/d,0\n10,/d/a.gz,1\n20,/d/b.TAR.GZ,2\n30,/d/c,1\n6,/e,0\n\
                    20,/e/c,3\n1,/e/open,3\n";
    assert_eq!(csv, expected);
    let files = pb::ExportEntriesRequest {
        kinds: vec![pb::EntryKind::File.into()],
        filter: Some(pb::EntryFilter { size_max: Some(10), ..Default::default() }),
        ..ask(pb::ExportFormat::Unspecified, &[pb::ExportColumn::Name, pb::ExportColumn::Suspect])
    };
    let lines = text(&told(&mut server, files).await);
    assert_eq!(
        lines,
        "{\"name\":\"a.gz\",\"suspect\":false}\n{\"name\":\"open\",\"suspect\":true}\n"
    );
    let all = text(&told(&mut server, ask(pb::ExportFormat::Ndjson, &[])).await);
    for line in all.lines() {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(row.as_object().unwrap().len(), 13);
    }
    assert_eq!(all.lines().count(), 7);
    let nowhere =
        pb::ExportEntriesRequest { path: "/no".into(), ..ask(pb::ExportFormat::Csv, &[]) };
    assert_eq!(server.views.export_entries(nowhere).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn an_export_goes_on_after_any_message_of_it() {
    let mut server = start().await;
    let session = server.join("a").await.session_id;
    let mut lane = Lane::realtime(&mut server, &session, "a").await;
    lane.send(batch(1, vec![root()])).await;
    for sequence in 2..=6 {
        let rows = (0..900).map(|i| file(&format!("/f-{sequence:03}-{i:04}"), 1)).collect();
        lane.send(batch(sequence, rows)).await;
    }
    lane.acknowledged(6).await.unwrap();
    let asked = ask(pb::ExportFormat::Csv, &[pb::ExportColumn::Path]);
    let whole = told(&mut server, asked.clone()).await;
    let count: u32 = whole.iter().map(|message| message.row_count).sum();
    assert_eq!((count, text(&whole).lines().count()), (4_500, 4_501));
    let mut resumed = 0;
    for (number, message) in whole.iter().enumerate() {
        if message.resume_token.is_empty() {
            continue;
        }
        resumed += 1;
        let again = pb::ExportEntriesRequest {
            resume_token: message.resume_token.clone(),
            ..asked.clone()
        };
        let rest = told(&mut server, again).await;
        assert_eq!(text(&whole[..=number]) + &text(&rest), text(&whole), "after {number}");
    }
    assert!(resumed > 3, "{resumed}");

    let token = whole[1].resume_token.clone();
    assert!(!token.is_empty());
    let of = |ask: pb::ExportEntriesRequest| pb::ExportEntriesRequest {
        resume_token: token.clone(),
        ..ask
    };
    let filter = Some(pb::EntryFilter { max_depth: 1, ..Default::default() });
    for stranger in [
        of(ask(pb::ExportFormat::Ndjson, &[pb::ExportColumn::Path])),
        of(ask(pb::ExportFormat::Csv, &[])),
        of(pb::ExportEntriesRequest { filter, ..asked.clone() }),
        pb::ExportEntriesRequest { resume_token: "00".into(), ..asked.clone() },
    ] {
        let refused = server.views.export_entries(stranger).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
    }
}
