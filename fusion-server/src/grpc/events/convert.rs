//! Messages of `EventService` that only a server reads or writes.

use fusion_core::id::{CorrelationId, LeaderEpoch, SpoolId};
use fusion_proto::convert::ConvertError;
use fusion_proto::convert::evidence::{BatchHeader, RejectedRow, WireBatch};
use fusion_proto::convert::session::command::command_to_pb;
use fusion_proto::convert::session::{role_to_pb, session_id};
use fusion_proto::pb::push_events_request::Message as Asked;
use fusion_proto::pb::push_events_response::Message as Answer;
use fusion_proto::{limits, pb};

use crate::service::ingest::{Acknowledged, Arrived, LaneOf, Opening, PushBatch, Told};
use crate::service::sessions::Standing;

/// A message of a stream.
#[derive(Debug)]
pub(super) enum Incoming {
    Opening(Opening),
    Batch(Arrived),
}

pub(super) fn incoming(message: pb::PushEventsRequest) -> Result<Incoming, ConvertError> {
    let pb::PushEventsRequest { message } = message;
    match message.ok_or(ConvertError::missing("message"))? {
        Asked::Opening(opening) => self::opening(&opening).map(Incoming::Opening),
        Asked::Batch(batch) => arrived(batch).map(Incoming::Batch),
    }
}

pub(super) fn push_batch(request: pb::PushEventBatchRequest) -> Result<PushBatch, ConvertError> {
    let pb::PushEventBatchRequest { session_id: session, lane, spool_id, batch } = request;
    Ok(PushBatch {
        session: session_id(&session)?,
        lane: self::lane(lane, &spool_id)?,
        batch: arrived(batch.ok_or(ConvertError::missing("batch"))?)?,
    })
}

fn opening(opening: &pb::PushOpening) -> Result<Opening, ConvertError> {
    let pb::PushOpening { session_id: session, lane, spool_id, first_held, next } = opening;
    let session = session_id(session)?;
    let lane = self::lane(*lane, spool_id)?;
    if *first_held == 0 {
        return Err(ConvertError::invalid("first_held", "sequences count from 1"));
    }
    if next < first_held {
        return Err(ConvertError::invalid("next", "must not be below first_held"));
    }
    Ok(Opening { session, lane, first_held: *first_held, next: *next })
}

fn lane(number: i32, spool: &str) -> Result<LaneOf, ConvertError> {
    match pb::Lane::try_from(number) {
        Ok(pb::Lane::Realtime) => match SpoolId::parse(spool) {
            Ok(spool) => Ok(LaneOf::Realtime { spool }),
            Err(error) => Err(ConvertError::invalid("spool_id", error.to_string())),
        },
        Ok(pb::Lane::Scan) if spool.is_empty() => Ok(LaneOf::Scan),
        Ok(pb::Lane::Scan) => {
            Err(ConvertError::invalid("spool_id", "must be empty in the SCAN lane"))
        }
        Ok(pb::Lane::Unspecified) | Err(_) => Err(ConvertError::unknown("lane", number)),
    }
}

/// What stands on a batch. Ids that are none reject the batch when the view looks into it.
fn arrived(batch: pb::EvidenceBatch) -> Result<Arrived, ConvertError> {
    if batch.sequence == 0 {
        return Err(ConvertError::invalid("batch.sequence", "sequences count from 1"));
    }
    let traceparent = &batch.traceparent;
    let header = BatchHeader {
        sequence: batch.sequence,
        epoch: LeaderEpoch(batch.leader_epoch),
        correlation: CorrelationId::new(&batch.correlation_id).ok(),
        causation: CorrelationId::new(&batch.causation_id).ok(),
        traceparent: if traceparent.len() <= limits::TRACEPARENT_MAX {
            traceparent.clone()
        } else {
            String::new()
        },
    };
    Ok(Arrived { header, batch: WireBatch::from_message(batch) })
}

pub(super) fn opened_to_pb(resume_after_sequence: u64) -> pb::PushEventsResponse {
    response(Answer::Opened(pb::PushOpened { resume_after_sequence }))
}

pub(super) fn told_to_pb(told: Told) -> pb::PushEventsResponse {
    response(match told {
        Told::Acknowledged(acknowledged) => {
            Answer::Acknowledgement(acknowledgement_to_pb(acknowledged))
        }
        Told::Notice(Standing { role, epoch, over: _ }, commands) => {
            Answer::Notice(pb::PushNotice {
                role: role_to_pb(role).into(),
                leader_epoch: epoch.0,
                commands: commands.iter().map(command_to_pb).collect(),
            })
        }
    })
}

pub(super) fn acknowledgement_to_pb(acknowledged: Acknowledged) -> pb::PushAcknowledgement {
    let Acknowledged { through, revision, rejected, traceparent } = acknowledged;
    pb::PushAcknowledgement {
        through_sequence: through,
        revision: revision.0,
        rejected: rejected
            .into_iter()
            .map(|(sequence, row)| rejected_to_pb(sequence, row))
            .collect(),
        traceparent,
    }
}

fn rejected_to_pb(sequence: u64, rejected: RejectedRow) -> pb::RejectedRow {
    let RejectedRow { row, reason, message } = rejected;
    pb::RejectedRow { sequence, row, reason: reason.as_str().to_owned(), message }
}

fn response(message: Answer) -> pb::PushEventsResponse {
    pb::PushEventsResponse { message: Some(message) }
}
