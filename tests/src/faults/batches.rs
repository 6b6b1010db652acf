//! Batches that cannot be read, are over the limits, or have a bad row, in the middle of a stream.

use std::fs;

use bytes::Bytes;
use fusion_core::evidence::Evidence;
use fusion_core::path::PathRef;
use fusion_core::time::ServerTime;
use fusion_proto::client::CallError;
use fusion_proto::convert::evidence::{WireBatch, evidence_to_pb};
use fusion_proto::convert::push::{FromAgent, Lane, Opening};
use fusion_proto::convert::session::EndSession;
use fusion_proto::limits::{BATCH_BYTES, BATCH_ROWS, MESSAGE_BYTES};
use fusion_proto::pb;
use fusion_proto::status::Refusal;

use super::checks::{client, leads_alone, recovered, session_of};
use super::raw::{RawAgent, framed, message, upserts};
use crate::pair::{World, counter};

const APPLIED: &str = "fusion_batches_total{lane=\"realtime\",outcome=\"applied\",view=\"tree\"}";

/// A batch that is no protobuf, one with too many rows, one with too many bytes and one with a bad
/// row: each is acknowledged and refused in `rejected`, and what stands before and after it in the
/// stream is applied. The agent beside it is not disturbed.
///
/// # Panics
/// Something of this does not hold.
pub async fn that_cannot_be_taken() {
    let world = World::start_impatient();
    for name in ["a", "b", "c"] {
        fs::write(world.root().join(name), name).expect("a file");
    }
    let agent = world.start_ready_agent("one").await;
    recovered(&world).await;
    let (session, _) = session_of(&world, "one").await.expect("its session");
    let raw = RawAgent::begin(&world, "raw").await;
    let applied = counter(world.http(), APPLIED);
    let refused = rejected_rows(&world);

    let mut stream = raw.open(&world, 1, 1).await;
    stream.send(upserts(&world, 1, &["/a"])).await;
    let mut torn = upserts(&world, 2, &["/b"]);
    torn.truncate(torn.len() - 3);
    stream.send(torn).await;
    stream.send(message(3, many_rows(BATCH_ROWS + 1))).await;
    stream.send(message(4, long_names(BATCH_BYTES + 1))).await;
    stream.send(one_bad_row(5)).await;
    stream.send(upserts(&world, 6, &["/a", "/b", "/c"])).await;
    let heard = stream.hear(6).await;
    assert_eq!((heard.through, heard.status.map(|status| status.code())), (6, None));
    let told: Vec<_> = heard.rejected.iter().map(|row| (row.sequence, row.row)).collect();
    assert_eq!(told, [(2, None), (3, None), (4, None), (5, Some(0))], "{:?}", heard.rejected);
    assert!(heard.rejected.iter().all(|row| row.reason == "INVALID_ARGUMENT"));
    assert_eq!(counter(world.http(), APPLIED) - applied, 6.0, "their sequences are consumed");
    assert!(rejected_rows(&world) - refused >= 1.0 + (BATCH_ROWS + 1) as f64);

    drop(stream);
    let end = EndSession { session: raw.session(), allow_missing: false };
    client(&world).sessions.end(&end).await.expect("its end");
    recovered(&world).await;
    leads_alone(&world, &agent, "one").await;
    let (same, _) = session_of(&world, "one").await.expect("its session");
    assert_eq!(same, session, "the agent beside it was not disturbed");
}

/// A message above the limit of the contract is none that arrived: it is refused by its announced
/// length, unread. What was before it is acknowledged, the stream ends with what was wrong, and a
/// new stream goes on with the same sequence. A client of the library is told the same; an agent never
/// makes one (`agent-client/src/link/frame.rs`).
///
/// # Panics
/// Something of this does not hold.
pub async fn above_the_limit_of_a_message() {
    let world = World::start_impatient();
    fs::write(world.root().join("a"), "a").expect("a file");
    let agent = world.start_ready_agent("one").await;
    let raw = RawAgent::begin(&world, "raw").await;
    let mut stream = raw.open(&world, 1, 1).await;
    stream.send(upserts(&world, 1, &["/a"])).await;
    stream.send(framed(&Bytes::from(vec![0; MESSAGE_BYTES + 1]))).await;
    let heard = stream.hear(2).await;
    assert_eq!((heard.through, heard.rejected), (1, Vec::new()));
    names_the_limit(&Refusal::from_status(&heard.status.expect("a refusal")).expect("one of ours"));
    let mut stream = raw.open(&world, 2, 3).await;
    stream.send(upserts(&world, 2, &["/a"])).await;
    assert_eq!(stream.hear(2).await.through, 2);
    drop(stream);

    let opening = Opening {
        session: raw.session(),
        lane: Lane::Realtime { spool: raw.spool },
        first_held: 3,
        next: 4,
    };
    let batch = FromAgent::Batch(long_names(MESSAGE_BYTES + 1));
    let sent = tokio_stream::iter([FromAgent::Opening(opening), batch]);
    let mut heard = client(&world).events.push(sent).await.expect("a stream");
    let error = loop {
        match heard.next().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the batch was taken"),
            Err(error) => break error,
        }
    };
    match error {
        CallError::Refused(refusal) => names_the_limit(&refusal),
        other => panic!("{other:?}"),
    }

    let end = EndSession { session: raw.session(), allow_missing: false };
    client(&world).sessions.end(&end).await.expect("its end");
    recovered(&world).await;
    leads_alone(&world, &agent, "one").await;
}

fn names_the_limit(refusal: &Refusal) {
    let Refusal::InvalidArgument { violations } = refusal else { panic!("{refusal:?}") };
    assert_eq!(violations[0].field, "message");
    let text = &violations[0].description;
    assert!(text.contains(&MESSAGE_BYTES.to_string()), "names the limit: {text}");
}

fn rejected_rows(world: &World) -> f64 {
    let name = |tier| {
        format!("fusion_evidence_rows_total{{outcome=\"rejected\",tier=\"{tier}\",view=\"tree\"}}")
    };
    counter(world.http(), &name("report"))
}

/// A remove of what never was.
fn remove(path: &'static str) -> pb::Evidence {
    let path = PathRef::new(path.as_bytes()).expect("a path");
    let remove = Evidence::Remove { path, parent: None, observed_at: ServerTime::from_nanos(1) };
    evidence_to_pb(&remove).expect("a row")
}

fn many_rows(rows: usize) -> WireBatch {
    let batch = pb::EvidenceBatch { rows: vec![remove("/none"); rows], ..Default::default() };
    WireBatch::from_message(batch)
}

/// A listing whose names are together so long.
fn long_names(bytes: usize) -> WireBatch {
    let listings = pb::Listings { names: vec![b'n'; bytes].into(), ..Default::default() };
    WireBatch::from_message(pb::EvidenceBatch { listings: vec![listings], ..Default::default() })
}

/// A row whose path is none, and a good one after it.
fn one_bad_row(sequence: u64) -> Vec<u8> {
    let mut bad = remove("/none");
    if let Some(pb::evidence::Evidence::Remove(remove)) = &mut bad.evidence {
        remove.path = b"no/slash".to_vec().into();
    }
    let rows = vec![bad, remove("/none")];
    message(sequence, WireBatch::from_message(pb::EvidenceBatch { rows, ..Default::default() }))
}
