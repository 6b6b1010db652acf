//! The two directions of an evidence stream, and the unary push.

#[cfg(test)]
mod tests;

use fusion_core::id::{LeaderEpoch, Revision, SessionId, SpoolId};
use fusion_core::session::Role;

use super::evidence::{RejectedRow, WireBatch};
use super::session::command::{Command, ReceivedCommands, command_to_pb};
use super::session::{role_from_pb, role_to_pb, session_id};
use super::{ConvertError, InField as _};
use crate::pb;
use crate::pb::push_events_request::Message as PbFromAgent;
use crate::pb::push_events_response::Message as PbToAgent;
use crate::status::Reason;

/// One of the two independent streams of a session; order holds within one only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lane {
    /// What kernel events told; numbered per (view, agent, spool), over restarts.
    Realtime {
        /// Where the batches come from.
        spool: SpoolId,
    },
    /// What scans found; numbered per session.
    Scan,
}

/// What an agent sends on a stream.
#[derive(Debug, Clone, PartialEq)]
pub enum FromAgent {
    /// The first message.
    Opening(Opening),
    /// Evidence; not yet checked save that it has a number.
    Batch(WireBatch),
}

/// Opens a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opening {
    /// The session.
    pub session: SessionId,
    /// The lane.
    pub lane: Lane,
    /// Sequence of the oldest batch that the agent still holds; `next` if it holds none. At least 1.
    pub first_held: u64,
    /// Sequence after the last batch that the server can have; not below `first_held`.
    pub next: u64,
}

/// What the server sends on a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToAgent {
    /// The lane is open.
    Opened {
        /// Everything up to this sequence is part of the view; go on with the next.
        resume_after: u64,
    },
    /// Batches are part of the view.
    Acknowledgement(Acknowledgement),
    /// Something that the agent should know before its next heartbeat.
    Notice {
        /// The session's role now.
        role: Role,
        /// The number of the current leadership; 0 if there is none.
        leader_epoch: LeaderEpoch,
        /// Commands, the same as in the heartbeat's answer.
        commands: Vec<Command>,
    },
}

/// Batches are part of the view: the agent may forget them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Acknowledgement {
    /// All batches up to this sequence.
    pub through_sequence: u64,
    /// The view's revision after them.
    pub revision: Revision,
    /// Rows that were refused since the acknowledgement before, each with the sequence of its batch.
    pub rejected: Vec<(u64, RejectedRow)>,
    /// W3C trace context of the apply; empty if there is none.
    pub traceparent: String,
}

/// What an agent heard from the server on a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeardFromServer {
    /// The lane is open.
    Opened {
        /// Everything up to this sequence is part of the view; go on with the next.
        resume_after: u64,
    },
    /// Batches are part of the view.
    Acknowledged(HeardAcknowledgement),
    /// Something that the agent should know before its next heartbeat.
    Noticed {
        /// The session's role now.
        role: Role,
        /// The number of the current leadership; 0 if there is none.
        leader_epoch: LeaderEpoch,
        /// Commands, the same as in the heartbeat's answer.
        commands: ReceivedCommands,
    },
}

/// An acknowledgement as an agent hears it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HeardAcknowledgement {
    /// All batches up to this sequence are part of the view.
    pub through_sequence: u64,
    /// The view's revision after them.
    pub revision: Revision,
    /// Rows that were refused.
    pub rejected: Vec<HeardRejection>,
    /// W3C trace context of the apply; empty if there is none.
    pub traceparent: String,
}

/// A refused row as an agent hears of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeardRejection {
    /// The batch.
    pub sequence: u64,
    /// The row; `None` for the whole batch.
    pub row: Option<u32>,
    /// Why; `None` if this version does not know the reason, which the message then begins with.
    pub reason: Option<Reason>,
    /// For people.
    pub message: String,
}

/// What `PushEventBatch` asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct PushBatch {
    /// The session.
    pub session: SessionId,
    /// The lane.
    pub lane: Lane,
    /// The evidence; not yet checked save that it has a number.
    pub batch: WireBatch,
}

/// A lane on the wire: its number and its spool.
fn lane_to_pb(lane: Lane) -> (i32, String) {
    match lane {
        Lane::Realtime { spool } => (pb::Lane::Realtime.into(), spool.to_string()),
        Lane::Scan => (pb::Lane::Scan.into(), String::new()),
    }
}

/// A lane from the wire: a realtime lane has a spool, a scan lane has none.
fn lane_from_pb(number: i32, spool: &str) -> Result<Lane, ConvertError> {
    match pb::Lane::try_from(number) {
        Ok(pb::Lane::Realtime) => {
            Ok(Lane::Realtime { spool: SpoolId::parse(spool).in_field("spool_id")? })
        }
        Ok(pb::Lane::Scan) if spool.is_empty() => Ok(Lane::Scan),
        Ok(pb::Lane::Scan) => {
            Err(ConvertError::invalid("spool_id", "must be empty in the SCAN lane"))
        }
        Ok(pb::Lane::Unspecified) | Err(_) => Err(ConvertError::unknown("lane", number)),
    }
}

/// What is in a batch is looked at later, by whom it cannot stop; without a number it has no place.
fn numbered(batch: pb::EvidenceBatch) -> Result<WireBatch, ConvertError> {
    if batch.sequence == 0 {
        return Err(ConvertError::invalid("batch.sequence", "sequences count from 1"));
    }
    Ok(WireBatch::from_message(batch))
}

impl From<FromAgent> for pb::PushEventsRequest {
    fn from(sent: FromAgent) -> Self {
        let message = match sent {
            FromAgent::Opening(Opening { session, lane, first_held, next }) => {
                let (lane, spool_id) = lane_to_pb(lane);
                let session_id = session.to_string();
                let opening = pb::PushOpening { session_id, lane, spool_id, first_held, next };
                PbFromAgent::Opening(opening)
            }
            FromAgent::Batch(batch) => PbFromAgent::Batch(batch.into_message()),
        };
        Self { message: Some(message) }
    }
}

impl TryFrom<pb::PushEventsRequest> for FromAgent {
    type Error = ConvertError;

    fn try_from(request: pb::PushEventsRequest) -> Result<Self, ConvertError> {
        let pb::PushEventsRequest { message } = request;
        match message.ok_or(ConvertError::missing("message"))? {
            PbFromAgent::Batch(batch) => numbered(batch).map(Self::Batch),
            PbFromAgent::Opening(opening) => opening
                .try_into()
                .map(Self::Opening)
                .map_err(|error: ConvertError| error.within("opening")),
        }
    }
}

impl TryFrom<pb::PushOpening> for Opening {
    type Error = ConvertError;

    fn try_from(opening: pb::PushOpening) -> Result<Self, ConvertError> {
        let pb::PushOpening { session_id: session, lane, spool_id, first_held, next } = opening;
        let session = session_id(&session)?;
        let lane = lane_from_pb(lane, &spool_id)?;
        if first_held == 0 {
            return Err(ConvertError::invalid("first_held", "sequences count from 1"));
        }
        if next < first_held {
            return Err(ConvertError::invalid("next", "must not be below `first_held`"));
        }
        Ok(Self { session, lane, first_held, next })
    }
}

impl From<ToAgent> for pb::PushEventsResponse {
    fn from(sent: ToAgent) -> Self {
        let message = match sent {
            ToAgent::Opened { resume_after } => {
                PbToAgent::Opened(pb::PushOpened { resume_after_sequence: resume_after })
            }
            ToAgent::Acknowledgement(acknowledgement) => {
                PbToAgent::Acknowledgement(acknowledgement.into())
            }
            ToAgent::Notice { role, leader_epoch, commands } => PbToAgent::Notice(pb::PushNotice {
                role: role_to_pb(role).into(),
                leader_epoch: leader_epoch.0,
                commands: commands.iter().map(command_to_pb).collect(),
            }),
        };
        Self { message: Some(message) }
    }
}

impl TryFrom<pb::PushEventsResponse> for HeardFromServer {
    type Error = ConvertError;

    fn try_from(response: pb::PushEventsResponse) -> Result<Self, ConvertError> {
        let pb::PushEventsResponse { message } = response;
        Ok(match message.ok_or(ConvertError::missing("message"))? {
            PbToAgent::Opened(pb::PushOpened { resume_after_sequence }) => {
                Self::Opened { resume_after: resume_after_sequence }
            }
            PbToAgent::Acknowledgement(acknowledgement) => {
                Self::Acknowledged(acknowledgement.into())
            }
            PbToAgent::Notice(pb::PushNotice { role, leader_epoch, commands }) => Self::Noticed {
                role: role_from_pb(role)?,
                leader_epoch: LeaderEpoch(leader_epoch),
                commands: ReceivedCommands::from_pb(commands),
            },
        })
    }
}

impl From<Acknowledgement> for pb::PushAcknowledgement {
    fn from(acknowledgement: Acknowledgement) -> Self {
        let Acknowledgement { through_sequence, revision, rejected, traceparent } = acknowledgement;
        let rejected = rejected.into_iter().map(|(sequence, rejected)| {
            let RejectedRow { row, reason, message } = rejected;
            pb::RejectedRow { sequence, row, reason: reason.as_str().to_owned(), message }
        });
        Self { through_sequence, revision: revision.0, rejected: rejected.collect(), traceparent }
    }
}

impl From<pb::PushAcknowledgement> for HeardAcknowledgement {
    fn from(acknowledgement: pb::PushAcknowledgement) -> Self {
        let pb::PushAcknowledgement { through_sequence, revision, rejected, traceparent } =
            acknowledgement;
        let rejected = rejected.into_iter().map(|rejected| {
            let pb::RejectedRow { sequence, row, reason: text, message } = rejected;
            let reason = Reason::parse(&text);
            let message = if reason.is_some() { message } else { format!("{text}: {message}") };
            HeardRejection { sequence, row, reason, message }
        });
        Self {
            through_sequence,
            revision: Revision(revision),
            rejected: rejected.collect(),
            traceparent,
        }
    }
}

impl From<PushBatch> for pb::PushEventBatchRequest {
    fn from(pushed: PushBatch) -> Self {
        let PushBatch { session, lane, batch } = pushed;
        let (lane, spool_id) = lane_to_pb(lane);
        let (session_id, batch) = (session.to_string(), Some(batch.into_message()));
        Self { session_id, lane, spool_id, batch }
    }
}

impl TryFrom<pb::PushEventBatchRequest> for PushBatch {
    type Error = ConvertError;

    fn try_from(request: pb::PushEventBatchRequest) -> Result<Self, ConvertError> {
        let pb::PushEventBatchRequest { session_id: session, lane, spool_id, batch } = request;
        let session = session_id(&session)?;
        let lane = lane_from_pb(lane, &spool_id)?;
        let batch = numbered(batch.ok_or(ConvertError::missing("batch"))?)?;
        Ok(Self { session, lane, batch })
    }
}
