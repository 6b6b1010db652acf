//! The view's side of the log: what its thread did goes there, and what rests on it is told when it
//! is durable, never before.
//!
//! The thread appends and goes on with the next batch; the store syncs beside it, many records at
//! once. Answers wait in the order of their records, in a task of their own.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use fusion_core::change::Change;
use fusion_core::id::{LeaderEpoch, Revision};
use fusion_core::time::{Clock, Monotonic, ServerTime};
use fusion_store::{
    Actor, Applied, ChangeLog, Health, Lane, LogPoint, Origin, RecordHead, StoreError,
    StoredRecord, Ticket, ViewId,
};
use prometheus::Histogram;
use tokio::sync::mpsc;

use super::apply::ViewMetrics;
use super::control::Control;
use super::feed::Feed;
use super::lanes::LaneKey;
use super::thread::Answer;
use super::{Push, ViewDeps};
use crate::ops::metrics::seconds;

/// Bytes that may wait for the disk before a view takes no more evidence.
const WAITING_MAX: usize = 16 << 20;

/// How far a view is durable: what answers about it say.
pub(super) type Durable = Arc<AtomicU64>;

/// The end of a view's log.
pub(super) struct Journal {
    log: Arc<dyn ChangeLog>,
    view: ViewId,
    end: LogPoint,
    last: Option<Ticket>,
    feed: Arc<Feed>,
    /// Something was appended in this turn.
    is_untold: bool,
    clock: Arc<dyn Clock>,
    waiting: mpsc::UnboundedSender<Waiting>,
    durable: Durable,
    fence: Fence,
}

/// That another server appended: set once, by whoever finds out.
pub(super) type Fence = Arc<OnceLock<StoreError>>;

/// A turn that waits for its records, and the answer that waits with it.
struct Waiting {
    ticket: Ticket,
    /// When it was appended; absent if it appended nothing.
    since: Option<Monotonic>,
    answer: Option<Answer>,
}

impl Journal {
    /// Goes on from the end of a log. The task that gives the answers ends with the journal.
    pub(super) fn begin(
        deps: &ViewDeps,
        view: ViewId,
        end: LogPoint,
        feed: Arc<Feed>,
        control: Arc<Control>,
        metrics: &ViewMetrics,
    ) -> (Self, Durable) {
        let (log, clock) = (Arc::clone(&deps.stores.log), Arc::clone(&deps.clock));
        let durable: Durable = Arc::new(AtomicU64::new(end.revision.0));
        // Unbounded, because the log bounds it: what may wait is what the log holds in memory.
        let (waiting, coming) = mpsc::unbounded_channel();
        let durations = metrics.commit_duration.clone();
        let fence = Fence::default();
        let teller = Teller {
            durable: Arc::clone(&durable),
            feed: Arc::clone(&feed),
            clock: Arc::clone(&clock),
            durations,
            fence: Arc::clone(&fence),
            control,
        };
        deps.tasks.spawn("view answers", teller.tell(coming));
        let (is_untold, told) = (false, Arc::clone(&durable));
        let last = None;
        (Self { log, view, end, last, feed, is_untold, clock, waiting, durable, fence }, told)
    }

    /// Whether a record of another server's is the one after those that were taken.
    ///
    /// # Errors
    /// It is not: what it changes was taken already, or is made of what was not.
    pub(super) fn is_next(&self, record: &StoredRecord) -> Result<(), StoreError> {
        if record.point.record == self.end.record + 1 && record.first().0 == self.end.revision.0 + 1
        {
            return Ok(());
        }
        Err(StoreError::Corrupt {
            place: format!("the log of view {}", self.view),
            at: record.point.record,
            why: format!("{} came after {}", record.point, self.end),
        })
    }

    /// Takes a record that another server appended; it is durable.
    pub(super) fn follow(&mut self, record: &StoredRecord) {
        self.feed.put(&record.head, record.first(), &record.changes);
        self.end = record.point;
        self.durable.fetch_max(record.point.revision.0, Ordering::AcqRel);
        self.feed.advance(record.point.revision);
    }

    /// This server appended the record with which it owns the view; it is durable.
    pub(super) fn owned(&mut self, ticket: Ticket) {
        self.end = ticket.point();
        self.last = Some(ticket);
    }

    /// Whether nobody else has appended.
    ///
    /// # Errors
    /// Somebody has: what is not durable by now never will be.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        self.fence.get().map_or(Ok(()), |error| Err(error.clone()))
    }

    /// Appends a record. Nothing is lost if the disk fails: it is written when the disk is well.
    ///
    /// # Errors
    /// The view and its log do not belong together any more: the view must be loaded anew.
    pub(super) fn append(
        &mut self,
        head: &RecordHead,
        changes: &[Change],
    ) -> Result<(), StoreError> {
        let ticket = self.log.append(self.view, self.end, head, changes)?;
        self.feed.put(head, Revision(self.end.revision.0 + 1), changes);
        self.end = ticket.point();
        self.last = Some(ticket);
        self.is_untold = true;
        Ok(())
    }

    /// Where the log ends, and the ticket of its last record; none if all was there before.
    pub(super) fn end(&self) -> (LogPoint, Option<Ticket>) {
        (self.end, self.last.clone())
    }

    /// Ends a turn: its answer is given when all that was appended so far is durable.
    pub(super) fn tell(&mut self, answer: Option<Answer>) {
        let is_untold = std::mem::take(&mut self.is_untold);
        match (&self.last, answer) {
            (Some(ticket), answer) if is_untold || answer.is_some() => {
                let since = is_untold.then(|| self.clock.monotonic());
                let ticket = ticket.clone();
                // The task ends after this sender does, so there is somebody to take it.
                let _ = self.waiting.send(Waiting { ticket, since, answer });
            }
            (None, Some(answer)) => answer.give(),
            (_, None) | (Some(_), Some(_)) => {}
        }
    }

    /// Waits until all that was appended is durable, or never will be because the server ends.
    pub(super) fn settle(&self) {
        if let Some(ticket) = &self.last {
            let _ = ticket.wait();
        }
    }

    /// Why no evidence can be taken now; `None` if it can.
    pub(super) fn trouble(&self) -> Option<String> {
        match self.log.status(self.view) {
            Ok(status) => match status.health {
                Health::Failing(error) => Some(format!("the store cannot be written: {error}")),
                Health::Well if status.waiting > WAITING_MAX => {
                    Some("the store is behind: the disk is slower than the evidence".to_owned())
                }
                Health::Well => None,
            },
            Err(error) => Some(format!("the store cannot be used: {error}")),
        }
    }
}

/// Gives answers as their records become durable.
struct Teller {
    durable: Durable,
    feed: Arc<Feed>,
    clock: Arc<dyn Clock>,
    durations: Histogram,
    fence: Fence,
    control: Arc<Control>,
}

impl Teller {
    async fn tell(self, mut coming: mpsc::UnboundedReceiver<Waiting>) {
        while let Some(Waiting { ticket, since, answer }) = coming.recv().await {
            let point = match ticket.await {
                Ok(point) => point,
                // A store that was closed says nothing any more, nor does one that another server writes by now:
                // who waits learns that the view is gone.
                Err(error) => {
                    if let StoreError::NotNext { .. } = error {
                        let _ = self.fence.set(error);
                        self.control.news.notify_one();
                    }
                    return;
                }
            };
            self.durable.fetch_max(point.revision.0, Ordering::AcqRel);
            self.feed.advance(point.revision);
            if let Some(since) = since {
                self.durations.observe(seconds(self.clock.monotonic().since(since)));
            }
            if let Some(answer) = answer {
                answer.give();
            }
        }
    }
}

/// The last durable revision.
pub(super) fn revision(durable: &Durable) -> Revision {
    Revision(durable.load(Ordering::Acquire))
}

/// The head of the record of a batch.
pub(super) fn head_of(push: &Push, origin: Origin, at: ServerTime) -> RecordHead {
    RecordHead {
        applied: Some(Applied { lane: lane(&push.lane), sequence: push.batch.sequence() }),
        actor: Some(Actor::Agent(push.witness.agent.clone(), push.witness.session)),
        correlation: push.correlation.clone(),
        causation: push.causation.clone(),
        ..RecordHead::new(at, origin)
    }
}

/// The head of a record which says that a lane is further than any batch in the log.
pub(super) fn head_of_lane(key: &LaneKey, sequence: u64, at: ServerTime) -> RecordHead {
    let applied = Some(Applied { lane: lane(key), sequence });
    RecordHead { applied, ..RecordHead::new(at, Origin::Report) }
}

/// The head of the record of an election.
pub(super) fn head_of_election(epoch: LeaderEpoch, at: ServerTime) -> RecordHead {
    RecordHead { leader_epoch: Some(epoch), ..RecordHead::new(at, Origin::Election) }
}

/// A lane as the store knows it.
pub(super) fn lane(key: &LaneKey) -> Lane {
    match key {
        LaneKey::Realtime(agent, spool) => Lane::Realtime(agent.clone(), *spool),
        LaneKey::Scan(session) => Lane::Scan(*session),
    }
}

/// A lane as the store knows it, back.
pub(super) fn lane_key(lane: Lane) -> LaneKey {
    match lane {
        Lane::Realtime(agent, spool) => LaneKey::Realtime(agent, spool),
        Lane::Scan(session) => LaneKey::Scan(session),
    }
}
