//! A whole batch from the wire: its envelope, then its rows in order.

use std::slice;

use fusion_core::id::{CorrelationId, LeaderEpoch};

use super::listing::{CheckedListings, ListingRows};
use super::row::evidence_from_pb;
use super::{RejectedRow, Row};
use crate::convert::{ConvertError, InField as _};
use crate::{limits, pb};

/// A batch whose envelope is in order; borrows the message.
#[derive(Debug)]
pub struct DecodedBatch<'a> {
    /// The batch's number in its lane.
    pub sequence: u64,
    /// The leadership under which the agent looked; 0 if it did not lead.
    pub epoch: LeaderEpoch,
    /// The chain of cause and effect that it belongs to.
    pub correlation: Option<CorrelationId>,
    /// What caused it.
    pub causation: Option<CorrelationId>,
    /// W3C trace context of the push; empty if there is none, or none of a sensible length.
    pub traceparent: &'a str,
    rows: &'a [pb::Evidence],
    listings: Vec<CheckedListings<'a>>,
    count: u32,
}

/// Checks a batch and makes its evidence readable. Costs nothing per row of `rows` until it is
/// read, and per child of a listing one look at its name, kind and mode.
///
/// # Errors
/// The rejection of the whole batch: more rows than [`limits::BATCH_ROWS`], paths and names of
/// listings that are together longer than [`limits::BATCH_BYTES`] (the encoded batch then is too;
/// to measure it would cost more than to decode it), or a correlation or causation id that is none.
pub fn decode_batch(batch: &pb::EvidenceBatch) -> Result<DecodedBatch<'_>, RejectedRow> {
    envelope(batch).map_err(|error| RejectedRow::malformed(None, &error))
}

fn envelope(batch: &pb::EvidenceBatch) -> Result<DecodedBatch<'_>, ConvertError> {
    let pb::EvidenceBatch {
        sequence,
        leader_epoch,
        rows,
        listings,
        correlation_id,
        causation_id,
        traceparent,
    } = batch;
    let count = within_limits(batch)?;
    // Both fit: there are at most as many as the limit allows.
    let mut first = u32::try_from(rows.len()).unwrap_or(u32::MAX);
    let checked = listings.iter().map(|listings| {
        let checked = CheckedListings::new(listings, first);
        first = first.saturating_add(checked.rows());
        checked
    });
    Ok(DecodedBatch {
        sequence: *sequence,
        epoch: LeaderEpoch(*leader_epoch),
        correlation: chain_id("correlation_id", correlation_id)?,
        causation: chain_id("causation_id", causation_id)?,
        traceparent: if traceparent.len() <= limits::TRACEPARENT_MAX { traceparent } else { "" },
        rows,
        listings: checked.collect(),
        count,
    })
}

impl DecodedBatch<'_> {
    /// How many rows it has: evidence, directories and children.
    #[must_use]
    pub const fn len(&self) -> u32 {
        self.count
    }

    /// Whether it has no row.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The evidence in the order in which it applies, and in its place what is rejected.
    ///
    /// A listing comes as one row, its bad children after it.
    pub fn rows(&self) -> impl Iterator<Item = Result<Row<'_>, RejectedRow>> {
        Rows { number: 0, single: self.rows.iter(), listings: self.listings.iter(), current: None }
    }
}

/// Walks a batch. By hand: a chain of adapters would move each large row several times.
struct Rows<'a> {
    /// Number of the next single row.
    number: u32,
    single: slice::Iter<'a, pb::Evidence>,
    listings: slice::Iter<'a, CheckedListings<'a>>,
    current: Option<ListingRows<'a>>,
}

impl<'a> Iterator for Rows<'a> {
    type Item = Result<Row<'a>, RejectedRow>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(row) = self.single.next() {
            let number = self.number;
            self.number += 1;
            return Some(match evidence_from_pb(row) {
                Ok(evidence) => Ok(Row { number, evidence }),
                Err(error) => Err(RejectedRow::malformed(Some(number), &error)),
            });
        }
        loop {
            if let Some(current) = &mut self.current
                && let found @ Some(_) = current.next()
            {
                return found;
            }
            self.current = Some(self.listings.next()?.iter());
        }
    }
}

/// How many rows a batch has.
pub(super) fn count(batch: &pb::EvidenceBatch) -> usize {
    let listed = |listings: &pb::Listings| {
        listings.directory_path_lengths.len() + listings.name_lengths.len()
    };
    batch.rows.len() + batch.listings.iter().map(listed).sum::<usize>()
}

/// The number of rows, if it and the bytes are within the contract.
fn within_limits(batch: &pb::EvidenceBatch) -> Result<u32, ConvertError> {
    let (rows, max) = (count(batch), limits::BATCH_ROWS);
    let counted = match u32::try_from(rows) {
        Ok(counted) if rows <= max => counted,
        _ => {
            let why = format!("has {rows} rows, at most {max} may be");
            return Err(ConvertError::invalid("batch", why));
        }
    };
    // An element without rows would cost time and count for nothing.
    if batch.listings.len() > max {
        let why = format!("has {} elements, at most {max} may be", batch.listings.len());
        return Err(ConvertError::invalid("listings", why));
    }
    let texts: usize =
        batch.listings.iter().map(|each| each.directory_paths.len() + each.names.len()).sum();
    if texts > limits::BATCH_BYTES {
        let why = format!("has more than {} bytes", limits::BATCH_BYTES);
        return Err(ConvertError::invalid("batch", why));
    }
    Ok(counted)
}

fn chain_id(field: &'static str, text: &str) -> Result<Option<CorrelationId>, ConvertError> {
    if text.is_empty() {
        return Ok(None);
    }
    CorrelationId::new(text).map(Some).in_field(field)
}
