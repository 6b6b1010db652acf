//! Realtime evidence as it lies in the spool, and as it leaves it.
//!
//! A frame is one version byte and a batch as it is sent, save that its times are readings of the
//! agent's monotonic clock: what the server's clock showed is known only once there is a session.
//! [`restamp`] puts that right when the batch is sent. Must never: change the order of evidence; a
//! listing of discovery stands in it where it was looked at.

use bytes::Bytes;
use fusion_core::evidence::{Evidence, Listing, RootIdentity, RootState, ScanId, Source};
use fusion_core::time::{Monotonic, ServerTime};
use fusion_proto::convert::evidence::{BatchBudget, BatchBuilder, ListingFeed, Push, WireBatch};
use fusion_proto::convert::time::{server_time_from_pb, server_time_to_pb};
use fusion_proto::limits::BATCH_BYTES;
use fusion_proto::pb;
use fusion_proto::pb::evidence::Evidence as PbEvidence;

use super::TimeExchange;
use super::exchange::Monotone;
use crate::watch::WatchEvidence;

/// The format of frames.
const VERSION: u8 = 1;

/// What discovery lists belongs to no scan that was begun.
const NO_SCAN: ScanId = ScanId(0);

/// One frame in the making: its stamp is the time of its earliest look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewFrame {
    pub(crate) stamp: Monotonic,
    pub(crate) payload: Vec<u8>,
}

/// A frame cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a frame of the spool {0}")]
pub(crate) struct FrameError(String);

/// Makes frames of evidence, in its order.
pub(crate) fn frames(evidence: &[WatchEvidence]) -> Vec<NewFrame> {
    let mut frames = Frames {
        builder: BatchBuilder::new(BatchBudget::default()),
        earliest: Monotonic::MAX,
        done: Vec::new(),
    };
    for each in evidence {
        frames.add(each);
    }
    frames.close();
    frames.done
}

/// The frame that says how the root is found.
pub(crate) fn root_frame(
    state: RootState,
    identity: Option<RootIdentity>,
    looked_at: Monotonic,
) -> Vec<NewFrame> {
    let mut frames = Frames {
        builder: BatchBuilder::new(BatchBudget::default()),
        earliest: Monotonic::MAX,
        done: Vec::new(),
    };
    frames.row(&Evidence::Root { state, identity, observed_at: unstamped(looked_at) }, looked_at);
    frames.close();
    frames.done
}

struct Frames {
    builder: BatchBuilder,
    earliest: Monotonic,
    done: Vec<NewFrame>,
}

impl Frames {
    fn add(&mut self, evidence: &WatchEvidence) {
        match evidence {
            WatchEvidence::Upsert { path, stat, parent, atomic, looked_at } => {
                let (path, observed_at) = (path.as_ref(), unstamped(*looked_at));
                let (stat, parent, atomic) = (*stat, *parent, *atomic);
                let row = Evidence::Upsert { path, stat, parent, atomic, observed_at };
                self.row(&row, *looked_at);
            }
            WatchEvidence::Remove { path, parent, looked_at } => {
                let (path, observed_at) = (path.as_ref(), unstamped(*looked_at));
                self.row(&Evidence::Remove { path, parent: *parent, observed_at }, *looked_at);
            }
            WatchEvidence::Rename { from, to, stat, from_parent, to_parent, looked_at } => {
                let row = Evidence::Rename {
                    from: from.as_ref(),
                    to: to.as_ref(),
                    stat: *stat,
                    from_parent: *from_parent,
                    to_parent: *to_parent,
                    observed_at: unstamped(*looked_at),
                };
                self.row(&row, *looked_at);
            }
            WatchEvidence::Listing(listed) => self.listing(listed),
            WatchEvidence::Unreadable(unreadable) => {
                let observed_at = unstamped(unreadable.looked_at);
                let (dir, errno) = (unreadable.dir.as_ref(), unreadable.errno);
                self.row(&Evidence::Unreadable { dir, errno, observed_at }, unreadable.looked_at);
            }
            WatchEvidence::Overflow { since, watching_since, .. } => {
                let (since, observed_at) = (unstamped(*since), unstamped(*watching_since));
                self.row(&Evidence::Overflow { since, observed_at }, *watching_since);
            }
            WatchEvidence::RootGone { looked_at } => {
                let (state, observed_at) = (RootState::Unavailable, unstamped(*looked_at));
                self.row(&Evidence::Root { state, identity: None, observed_at }, *looked_at);
            }
            // Coverage, and no evidence.
            WatchEvidence::LeftOut(_) => {}
        }
    }

    fn listing(&mut self, listed: &crate::scan::ListedDir) {
        let mut feed = ListingFeed::new(Listing {
            dir: listed.path.as_ref(),
            dir_stat: listed.dir_stat,
            scan: NO_SCAN,
            source: Source::Discovery,
            started_at: unstamped(listed.started_at),
            finished_at: unstamped(listed.finished_at),
            part: listed.part,
            last: listed.last,
            complete: listed.complete,
            children: listed.children.as_children(),
        });
        while self.builder.push_listing(&mut feed) == Push::Full {
            self.earliest = self.earliest.min(listed.started_at);
            self.close();
        }
        self.earliest = self.earliest.min(listed.started_at);
    }

    fn row(&mut self, row: &Evidence<'_>, looked_at: Monotonic) {
        while self.builder.push(row) == Ok(Push::Full) {
            self.close();
        }
        self.earliest = self.earliest.min(looked_at);
    }

    fn close(&mut self) {
        if self.builder.is_empty() {
            return;
        }
        let batch = self.builder.take().to_bytes();
        let mut payload = Vec::with_capacity(batch.len() + 1);
        payload.push(VERSION);
        payload.extend_from_slice(&batch);
        self.done.push(NewFrame { stamp: self.earliest, payload });
        self.earliest = Monotonic::MAX;
    }
}

/// Reads a frame and turns its times into the server's; `None` if those are not known yet.
pub(crate) fn restamp(
    payload: Vec<u8>,
    exchange: &TimeExchange,
    lane: &mut Monotone,
) -> Result<Option<pb::EvidenceBatch>, FrameError> {
    // No frame of ours is: it would be sent again for ever, since a message above the limit is refused
    // before its sequence can be known.
    if payload.len() > BATCH_BYTES + 1 {
        return Err(FrameError(format!("has {} bytes, more than a batch may", payload.len())));
    }
    let payload = Bytes::from(payload);
    match payload.first() {
        Some(&VERSION) => {}
        Some(other) => return Err(FrameError(format!("has format {other}"))),
        None => return Err(FrameError("is empty".into())),
    }
    let batch =
        WireBatch::from_bytes(payload.slice(1..)).map_err(|error| FrameError(error.to_string()))?;
    let mut batch = batch.into_message();
    let server_time = |nanos| exchange.server_time(Monotonic::from_nanos(nanos));
    for row in &mut batch.rows {
        let Some(looked_at) = time_of(row.observed_at.as_ref()) else {
            return Err(FrameError("has a row without a time".into()));
        };
        let Some(at) = server_time(looked_at) else { return Ok(None) };
        row.observed_at = Some(server_time_to_pb(lane.stamp(at)));
        if let Some(PbEvidence::Overflow(overflow)) = &mut row.evidence {
            let since = time_of(overflow.since.as_ref()).and_then(server_time);
            overflow.since = since.map(server_time_to_pb);
        }
    }
    for listings in &mut batch.listings {
        let times = listings.started_at_time_ns.iter_mut();
        for time in times.chain(&mut listings.finished_at_time_ns) {
            let Some(at) = server_time(*time) else { return Ok(None) };
            *time = at.as_nanos();
        }
    }
    Ok(Some(batch))
}

/// A reading of our clock where the wire has a time of the server's.
fn unstamped(at: Monotonic) -> ServerTime {
    ServerTime::from_nanos(at.as_nanos())
}

fn time_of(time: Option<&prost_types::Timestamp>) -> Option<i64> {
    server_time_from_pb(time?).ok().map(ServerTime::as_nanos)
}

#[cfg(test)]
mod tests;
