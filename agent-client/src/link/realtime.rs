//! The REALTIME lane's batches: from the spool, which keeps them until they are acknowledged.

use std::collections::VecDeque;
use std::sync::Arc;

use fusion_proto::convert::evidence::WireBatch;
use fusion_proto::convert::push::Lane;
use fusion_proto::convert::session::Withheld;
use fusion_proto::pb;

use super::exchange::Monotone;
use super::frame::restamp;
use super::lane::{Opening, Outgoing, Source};
use super::reaction::Trouble;
use super::withhold::{Hidden, hide, withhold};
use super::{LinkDeps, Reporter, TimeExchange};
use crate::agent::spooler::SharedSpool;
use crate::spool::Frame;

/// What waits in the spool.
pub(crate) struct RealtimeSource {
    spool: SharedSpool,
    reporter: Arc<dyn Reporter>,
    withheld: Withheld,
    exchange: Arc<TimeExchange>,
    stamps: Monotone,
    /// The next to send, and what of it is read already.
    next: u64,
    read: VecDeque<Frame>,
    /// The last that was ever sent.
    sent: u64,
}

impl RealtimeSource {
    pub(crate) fn new(deps: &LinkDeps, exchange: Arc<TimeExchange>, withheld: Withheld) -> Self {
        Self {
            spool: deps.spool.clone(),
            reporter: Arc::clone(&deps.reporter),
            withheld,
            exchange,
            stamps: Monotone::default(),
            next: 1,
            read: VecDeque::new(),
            sent: 0,
        }
    }

    async fn fill(&mut self) -> Result<(), Trouble> {
        while self.read.is_empty() {
            self.spool.holds(self.next).await;
            let frames = self.spool.read(self.next).await;
            self.read.extend(frames.map_err(|error| Trouble::unexpected(error.to_string()))?);
        }
        Ok(())
    }
}

impl Source for RealtimeSource {
    const NAME: &'static str = "realtime";

    async fn opening(&self) -> Result<Opening, Trouble> {
        let (first_held, next) = self.spool.opening();
        Ok(Opening { lane: Lane::Realtime { spool: self.spool.id() }, first_held, next })
    }

    async fn resume(&mut self, after: u64) -> Result<(), Trouble> {
        self.read.clear();
        self.next = after + 1;
        self.acknowledge(after).await
    }

    async fn next(&mut self) -> Result<Outgoing, Trouble> {
        self.fill().await?;
        let Some(frame) = self.read.front() else {
            return Err(Trouble::unexpected("a frame of the spool is missing"));
        };
        let sequence = frame.sequence;
        let batch = match restamp(frame.payload.clone(), &self.exchange, &mut self.stamps) {
            Ok(Some(mut batch)) => {
                if hide(&mut batch, &self.reporter.exclusion()) == Hidden::Lost {
                    tracing::info!(sequence, "listings from before the patterns count as lost");
                    self.spool.events_lost();
                }
                withhold(&mut batch, self.withheld);
                batch
            }
            Ok(None) => return Err(Trouble::unexpected("the server's time is not known")),
            // What cannot be read must not stand in the way: its number is used up by nothing.
            Err(error) => {
                tracing::error!(sequence, "{error}: its events count as lost");
                self.spool.events_lost();
                pb::EvidenceBatch::default()
            }
        };
        self.read.pop_front();
        self.next = sequence + 1;
        let again = sequence <= self.sent;
        self.sent = self.sent.max(sequence);
        let batch = WireBatch::from_message(pb::EvidenceBatch { sequence, ..batch });
        Ok(Outgoing { batch, again, parent: None })
    }

    async fn acknowledge(&mut self, through: u64) -> Result<(), Trouble> {
        let acknowledged = self.spool.acknowledge(through).await;
        acknowledged.map_err(|error| Trouble::unexpected(error.to_string()))
    }
}
