//! Streams of evidence, there and back.

use super::*;
use crate::convert::arbitrary as any_of;
use proptest::prelude::*;
use prost::Message as _;
use uuid::Uuid;

fn batch(sequence: u64) -> WireBatch {
    WireBatch::from_message(pb::EvidenceBatch { sequence, ..Default::default() })
}

fn opening(realtime: bool, ids: (Uuid, Uuid), held: (u64, u64)) -> Opening {
    let spool = SpoolId::new(ids.1);
    let lane = if realtime { Lane::Realtime { spool } } else { Lane::Scan };
    let first_held = held.0.max(1);
    let next = first_held.saturating_add(held.1);
    Opening { session: SessionId::new(ids.0), lane, first_held, next }
}

proptest! {
    #[test]
    fn what_an_agent_sends_survives(
        realtime: bool,
        ids in (any_of::uuid(), any_of::uuid()),
        held: (u64, u64),
        sequence in 1..=u64::MAX,
    ) {
        let opening = opening(realtime, ids, held);
        for sent in [FromAgent::Opening(opening), FromAgent::Batch(batch(sequence))] {
            let message = pb::PushEventsRequest::from(sent.clone());
            prop_assert_eq!(FromAgent::try_from(message), Ok(sent));
        }
        let Opening { session, lane, .. } = opening;
        let sent = PushBatch { session, lane, batch: batch(sequence) };
        let message = pb::PushEventBatchRequest::from(sent.clone());
        prop_assert_eq!(PushBatch::try_from(message), Ok(sent));
    }

    #[test]
    fn random_bytes_never_panic(bytes: Vec<u8>) {
        let _ = pb::PushEventsRequest::decode(&*bytes).map(FromAgent::try_from);
        let _ = pb::PushEventsResponse::decode(&*bytes).map(HeardFromServer::try_from);
        let _ = pb::PushEventBatchRequest::decode(&*bytes).map(PushBatch::try_from);
    }
}

#[test]
fn what_a_server_sends_is_heard() {
    let hear = |sent: ToAgent| HeardFromServer::try_from(pb::PushEventsResponse::from(sent));
    let opened = hear(ToAgent::Opened { resume_after: 7 });
    assert_eq!(opened, Ok(HeardFromServer::Opened { resume_after: 7 }));

    let (role, leader_epoch) = (Role::Leader, LeaderEpoch(3));
    let noticed = hear(ToAgent::Notice { role, leader_epoch, commands: Vec::new() });
    let commands = ReceivedCommands::default();
    assert_eq!(noticed, Ok(HeardFromServer::Noticed { role, leader_epoch, commands }));
}

#[test]
fn every_reason_of_a_rejection_is_heard() {
    let rejected = Reason::ALL
        .iter()
        .map(|reason| (9, RejectedRow { row: Some(4), reason: *reason, message: "m".to_owned() }));
    let sent = Acknowledgement {
        through_sequence: 9,
        revision: Revision(11),
        rejected: rejected.collect(),
        traceparent: "t".to_owned(),
    };
    let heard = HeardAcknowledgement::from(pb::PushAcknowledgement::from(sent));
    let reasons: Vec<_> = heard.rejected.iter().filter_map(|row| row.reason).collect();
    assert_eq!(reasons, Reason::ALL);
    assert_eq!((heard.through_sequence, heard.revision), (9, Revision(11)));
}

#[test]
fn a_reason_of_a_newer_server_is_told_in_words() {
    let message = pb::PushAcknowledgement {
        rejected: vec![pb::RejectedRow {
            sequence: 1,
            row: None,
            reason: "NEWER".to_owned(),
            message: "no".to_owned(),
        }],
        ..Default::default()
    };
    let heard = HeardAcknowledgement::from(message);
    let expected =
        HeardRejection { sequence: 1, row: None, reason: None, message: "NEWER: no".to_owned() };
    assert_eq!(heard.rejected, [expected]);
}

#[test]
fn what_is_wrong_with_an_opening_is_named() {
    let good = pb::PushOpening {
        session_id: Uuid::nil().to_string(),
        lane: 1,
        spool_id: Uuid::nil().to_string(),
        first_held: 3,
        next: 3,
    };
    assert!(Opening::try_from(good.clone()).is_ok());
    for (field, bad) in [
        ("session_id", pb::PushOpening { session_id: String::new(), ..good.clone() }),
        ("lane", pb::PushOpening { lane: 0, ..good.clone() }),
        ("spool_id", pb::PushOpening { spool_id: String::new(), ..good.clone() }),
        ("spool_id", pb::PushOpening { lane: 2, ..good.clone() }),
        ("first_held", pb::PushOpening { first_held: 0, ..good.clone() }),
        ("next", pb::PushOpening { next: 2, ..good.clone() }),
    ] {
        assert_eq!(Opening::try_from(bad).unwrap_err().field, field);
    }
}
