//! Finding messages of a log by what they hold: by halving, for the places only go forward.
//!
//! A message is 20 steps away in a log of a million. What was seen is kept, so the steps of those
//! who follow the end of a log are few.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use fusion_core::time::ServerTime;

use super::message::{Message, Part};
use super::view::{Bounds, Shared};
use crate::error::StoreError;
use crate::ports::{LogPoint, Retention, Skip};

/// Messages that are kept in mind; half of them are forgotten when there are more.
const KNOWN_MAX: usize = 4096;

/// Places after messages that were seen.
#[derive(Debug, Default)]
pub(super) struct Index {
    known: Mutex<BTreeMap<u64, LogPoint>>,
}

impl Index {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, LogPoint>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A message is followed by a place.
    pub(super) fn note(&self, sequence: u64, after: LogPoint) {
        let mut known = self.lock();
        known.insert(sequence, after);
        if known.len() > KNOWN_MAX {
            let mut keep = false;
            known.retain(|_, _| {
                keep = !keep;
                keep
            });
        }
    }

    /// Narrows the numbers among which the first message is that is taken: the first one and the one
    /// after the last.
    fn narrow(&self, skip: Skip, first: u64, end: u64) -> (u64, u64) {
        let mut known = self.lock();
        *known = known.split_off(&first);
        let left =
            known.iter().rev().find(|(sequence, point)| **sequence < end && !skip.takes(**point));
        let first = left.map_or(first, |(sequence, _)| sequence + 1);
        let taken = known.range(first..end).find(|(_, point)| skip.takes(**point));
        (first, taken.map_or(end, |(sequence, _)| *sequence))
    }
}

/// The number of the message with which reading begins; the one after the last if there is nothing to
/// read.
pub(super) async fn first_taken(
    log: &Shared,
    skip: Skip,
    bounds: Bounds,
) -> Result<u64, StoreError> {
    if !skip.takes(bounds.end) || bounds.last == 0 {
        return Ok(bounds.last + 1);
    }
    let (mut low, mut high) = log.index.narrow(skip, bounds.first, bounds.last);
    while low < high {
        let middle = low + (high - low) / 2;
        if skip.takes(log.message(middle).await?.head.after) {
            high = middle
        } else {
            low = middle + 1
        }
    }
    let found = log.message(low).await?;
    // The record begins with its first piece.
    Ok(match found.head.part {
        Part::Last(piece) => low - u64::from(piece),
        Part::Whole | Part::Piece(_) => low,
    })
}

/// The number of the first message that is to be kept; never more than the last one, which tells
/// where the log ends.
///
/// The time of a record counts as if those before it were older, which they are if the server's
/// clock was never set back.
pub(super) async fn first_kept(
    log: &Shared,
    bounds: Bounds,
    through: LogPoint,
    keep: &Retention,
    now: ServerTime,
) -> Result<u64, StoreError> {
    let is_dropped = |message: &Message| {
        let head = &message.head;
        let old = now.since(ServerTime::from_nanos(head.at)) > keep.age
            && bounds.end.revision.0 - head.after.revision.0 >= keep.changes;
        let much = bounds.end_offset - head.offset > keep.bytes;
        head.after.record <= through.record && (old || much)
    };
    let (mut low, mut high) = (bounds.first, bounds.last);
    while low < high {
        let middle = low + (high - low) / 2;
        if is_dropped(&log.message(middle).await?) { low = middle + 1 } else { high = middle }
    }
    if low == bounds.first {
        return Ok(low);
    }
    // What is kept begins with a whole record, or its first piece.
    let kept = log.message(low).await?;
    Ok(match kept.head.part {
        Part::Piece(piece) | Part::Last(piece) => low - u64::from(piece),
        Part::Whole => low,
    })
}
