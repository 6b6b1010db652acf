//! The SCAN lane's batches: kept in memory until acknowledged, numbered from 1 per session.
//!
//! A new session takes nothing over: a scan that was cut off is begun again.

use std::collections::VecDeque;

use fusion_proto::convert::evidence::WireBatch;
use fusion_proto::convert::push::Lane;
use fusion_proto::convert::session::Withheld;
use fusion_proto::pb;
use tokio::sync::mpsc;

use super::batch::ScanBatch;
use super::lane::{Opening, Outgoing, Source};
use super::reaction::Trouble;
use super::withhold::withhold;

/// What scans found in one session.
pub(crate) struct ScanSource {
    arriving: mpsc::Receiver<ScanBatch>,
    withheld: Withheld,
    /// Not acknowledged, oldest first; the first has number `first_held`.
    held: VecDeque<ScanBatch>,
    first_held: u64,
    /// How many of `held` were sent on this stream, and how many ever.
    sent: usize,
    sent_before: usize,
}

impl ScanSource {
    /// Nothing yet.
    pub(crate) fn new(arriving: mpsc::Receiver<ScanBatch>, withheld: Withheld) -> Self {
        Self { arriving, withheld, held: VecDeque::new(), first_held: 1, sent: 0, sent_before: 0 }
    }

    fn forget(&mut self, through: u64) {
        while self.first_held <= through {
            let Some(batch) = self.held.pop_front() else { break };
            batch.delivered();
            self.first_held += 1;
            self.sent = self.sent.saturating_sub(1);
            self.sent_before = self.sent_before.saturating_sub(1);
        }
    }
}

impl Source for ScanSource {
    const NAME: &'static str = "scan";

    async fn opening(&self) -> Result<Opening, Trouble> {
        Ok(Opening {
            lane: Lane::Scan,
            first_held: self.first_held,
            next: self.first_held + self.held.len() as u64,
        })
    }

    async fn resume(&mut self, after: u64) -> Result<(), Trouble> {
        self.forget(after);
        self.sent_before = self.sent_before.max(self.sent);
        self.sent = 0;
        Ok(())
    }

    async fn next(&mut self) -> Result<Outgoing, Trouble> {
        if self.sent == self.held.len() {
            match self.arriving.recv().await {
                Some(mut batch) => {
                    withhold(&mut batch.evidence, self.withheld);
                    self.held.push_back(batch);
                }
                // Nobody scans any more; the lane stays open for notices.
                None => std::future::pending().await,
            }
        }
        let sequence = self.first_held + self.sent as u64;
        let Some(batch) = self.held.get(self.sent) else {
            return Err(Trouble::unexpected("a scan batch is missing"));
        };
        let outgoing = Outgoing {
            batch: WireBatch::from_message(pb::EvidenceBatch {
                sequence,
                ..batch.evidence.clone()
            }),
            again: self.sent < self.sent_before,
            parent: Some(batch.span.clone()),
        };
        self.sent += 1;
        Ok(outgoing)
    }

    async fn acknowledge(&mut self, through: u64) -> Result<(), Trouble> {
        self.forget(through);
        Ok(())
    }
}
