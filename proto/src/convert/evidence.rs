//! Evidence batches: from the wire into the core without an allocation per row, and back.
//!
//! Owns the rule *a batch that arrived never stands in the way*: a row that breaks a rule is
//! rejected alone, with its number, its reason and a message, and the rest goes on. Only a batch
//! over the contract's limits, or whose envelope is malformed, is rejected as a whole. Of a listing
//! with a bad child the child alone is rejected; the rest of it is used, but no longer counts as
//! complete, so that nothing is judged missing on account of the child.
//!
//! Called by whoever receives batches ([`WireBatch::decode`], [`decode_batch`]) and by whoever
//! makes them ([`BatchBuilder`]). Must never: judge evidence, or copy a row that is in order.

mod builder;
mod decode;
mod listing;
mod row;
mod stat_columns;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use fusion_core::evidence::{Evidence, Source};
use fusion_core::id::{CorrelationId, LeaderEpoch};
use prost::Message as _;

pub use builder::{BatchBudget, BatchBuilder, ListingFeed, NotTaken, Push};
pub use decode::{DecodedBatch, decode_batch};
pub use row::{evidence_from_pb, evidence_to_pb};

use super::{ConvertError, Problem};
use crate::pb;
use crate::status::Reason;

/// A row, or a whole batch, that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedRow {
    /// The row's number from 0 among all rows of its batch; `None` for the whole batch.
    pub row: Option<u32>,
    /// Why.
    pub reason: Reason,
    /// For people.
    pub message: String,
}

impl RejectedRow {
    /// Rejects a row, or the batch, because it breaks a rule of the contract.
    pub(super) fn malformed(row: Option<u32>, error: &ConvertError) -> Self {
        Self { row, reason: Reason::InvalidArgument, message: error.to_string() }
    }
}

/// A piece of evidence and its number in its batch. A listing has the number of its directory.
#[derive(Debug, Clone, PartialEq)]
pub struct Row<'a> {
    /// Counts from 0 among all rows of the batch.
    pub number: u32,
    /// What it says.
    pub evidence: Evidence<'a>,
}

/// What stands on a batch beside its evidence.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BatchHeader {
    /// The batch's number in its lane.
    pub sequence: u64,
    /// The leadership under which the agent looked; 0 if it did not lead.
    pub epoch: LeaderEpoch,
    /// The chain of cause and effect that it belongs to.
    pub correlation: Option<CorrelationId>,
    /// What caused it: a command's id, for one.
    pub causation: Option<CorrelationId>,
    /// W3C trace context of the push; empty if there is none.
    pub traceparent: String,
}

/// A batch as it travels, for whoever keeps or hands on batches and has no business with what the
/// wire looks like. Nothing in it is checked before [`WireBatch::decode`].
#[derive(Debug, Clone, PartialEq, Default)]
pub struct WireBatch(pb::EvidenceBatch);

impl WireBatch {
    /// Takes a message as it came.
    #[must_use]
    pub const fn from_message(message: pb::EvidenceBatch) -> Self {
        Self(message)
    }

    /// The message to send.
    #[must_use]
    pub fn into_message(self) -> pb::EvidenceBatch {
        self.0
    }

    /// Reads a batch from bytes that [`WireBatch::to_bytes`] gave.
    ///
    /// # Errors
    /// The bytes are no batch.
    pub fn from_bytes(bytes: Bytes) -> Result<Self, ConvertError> {
        pb::EvidenceBatch::decode(bytes).map(Self).map_err(|error| ConvertError {
            field: "batch".into(),
            problem: Problem::Invalid(error.to_string().into()),
        })
    }

    /// The batch as bytes, as they are sent.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        self.0.encode_to_vec().into()
    }

    /// How many bytes [`WireBatch::to_bytes`] gives. Takes a pass over all columns.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        self.0.encoded_len()
    }

    /// The batch's number in its lane.
    #[must_use]
    pub const fn sequence(&self) -> u64 {
        self.0.sequence
    }

    /// How many rows it has, as the contract counts them: evidence, directories and children.
    #[must_use]
    pub fn rows(&self) -> usize {
        decode::count(&self.0)
    }

    /// What stands on it. Ids of a chain that are none, and a trace context of no sensible length, are
    /// left out here; that an id is none rejects the batch in [`WireBatch::decode`].
    #[must_use]
    pub fn header(&self) -> BatchHeader {
        let pb::EvidenceBatch { sequence, leader_epoch, traceparent, .. } = &self.0;
        let traceparent = if traceparent.len() <= crate::limits::TRACEPARENT_MAX {
            traceparent.clone()
        } else {
            String::new()
        };
        BatchHeader {
            sequence: *sequence,
            epoch: LeaderEpoch(*leader_epoch),
            correlation: CorrelationId::new(&self.0.correlation_id).ok(),
            causation: CorrelationId::new(&self.0.causation_id).ok(),
            traceparent,
        }
    }

    /// The leadership under which the agent looked; 0 if it did not lead.
    #[must_use]
    pub const fn epoch(&self) -> LeaderEpoch {
        LeaderEpoch(self.0.leader_epoch)
    }

    /// Writes the trace context of the push; empty if there is none.
    pub fn set_traceparent(&mut self, traceparent: String) {
        self.0.traceparent = traceparent;
    }

    /// Writes the header; whatever stood there before goes.
    pub fn set_header(&mut self, header: &BatchHeader) {
        let BatchHeader { sequence, epoch, correlation, causation, traceparent } = header;
        let text = |id: &Option<CorrelationId>| {
            id.as_ref().map(CorrelationId::to_string).unwrap_or_default()
        };
        self.0.sequence = *sequence;
        self.0.leader_epoch = epoch.0;
        self.0.correlation_id = text(correlation);
        self.0.causation_id = text(causation);
        self.0.traceparent.clone_from(traceparent);
    }

    /// Checks the batch and makes its evidence readable; see [`decode_batch`].
    ///
    /// # Errors
    /// The rejection of the whole batch.
    pub fn decode(&self) -> Result<DecodedBatch<'_>, RejectedRow> {
        decode_batch(&self.0)
    }
}

/// The kind of a scan on the wire.
#[must_use]
pub const fn source_to_pb(source: Source) -> pb::ScanSource {
    match source {
        Source::Snapshot => pb::ScanSource::Snapshot,
        Source::Audit => pb::ScanSource::Audit,
        Source::OnDemand => pb::ScanSource::OnDemand,
        Source::Discovery => pb::ScanSource::Discovery,
    }
}

/// The kind of a scan from the wire.
///
/// # Errors
/// A number that is no kind of scan, 0 included.
pub fn source_from_pb(number: i32) -> Result<Source, ConvertError> {
    match pb::ScanSource::try_from(number) {
        Ok(pb::ScanSource::Snapshot) => Ok(Source::Snapshot),
        Ok(pb::ScanSource::Audit) => Ok(Source::Audit),
        Ok(pb::ScanSource::OnDemand) => Ok(Source::OnDemand),
        Ok(pb::ScanSource::Discovery) => Ok(Source::Discovery),
        Ok(pb::ScanSource::Unspecified) | Err(_) => Err(ConvertError::unknown("source", number)),
    }
}
