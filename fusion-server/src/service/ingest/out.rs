//! The half of a lane that tells: acknowledgements, notices, and how the stream ends.

use std::sync::Arc;
use std::time::Duration;

use fusion_core::id::SessionId;
use fusion_core::session::{Role, Session};
use fusion_proto::convert::push::Acknowledgement;
use fusion_proto::convert::session::command::Command;
use fusion_proto::status::Refusal;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{Ingest, UnderWay, Waiting};
use crate::ops::metrics::seconds;
use crate::service::sessions::{DRAINING_RETRY, LaneName, Standing, StreamSeat};
use crate::task::view::{CommandDesk, PushOutcome, ViewGone};

/// Batches told in one acknowledgement at most.
const COALESCED: usize = 64;
/// Refused rows told in one acknowledgement, more only if one batch has more.
const COALESCED_ROWS: usize = 1_000;

/// Something to tell the agent.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Told {
    Acknowledged(Acknowledgement),
    /// Its role or the epoch changed, or there is something to do.
    Notice(Standing, Vec<Command>),
}

/// The half of a lane that tells.
pub(crate) struct LaneOut {
    ingest: Ingest,
    session: SessionId,
    view_session: Session,
    lane: LaneName,
    seat: StreamSeat,
    desk: Arc<CommandDesk>,
    commands: watch::Receiver<()>,
    errands: watch::Receiver<()>,
    coming: mpsc::Receiver<UnderWay>,
    first: Option<Waiting>,
    last_refusal: Option<Refusal>,
}

impl LaneOut {
    pub(super) fn new(
        ingest: Ingest,
        session: &Session,
        lane: LaneName,
        mut seat: StreamSeat,
        desk: Arc<CommandDesk>,
        coming: mpsc::Receiver<UnderWay>,
    ) -> Self {
        // What the session is now, its agent knows from its creation or last heartbeat only: a
        // change since then is told first.
        seat.standing.mark_changed();
        let mut commands = desk.changes();
        commands.mark_changed();
        let mut errands = desk.errand_changes();
        errands.mark_changed();
        ingest.metrics.push_streams.with_label_values(&[lane.label()]).inc();
        Self {
            ingest,
            session: session.id,
            view_session: session.clone(),
            lane,
            seat,
            desk,
            commands,
            errands,
            coming,
            first: None,
            last_refusal: None,
        }
    }

    /// Cancelled when another stream has taken the lane, or the server goes down: who waits for the
    /// client's attention while telling must stop waiting then.
    pub(crate) fn interrupted(&self) -> (CancellationToken, CancellationToken) {
        (self.seat.replaced.clone(), self.ingest.draining.clone())
    }

    /// The next thing to tell; `None` when the agent has closed the stream and all is told.
    pub(crate) async fn next(&mut self) -> Option<Result<Told, Refusal>> {
        if let Some(refusal) = self.last_refusal.take() {
            return Some(Err(refusal));
        }
        if let Some(refusal) = self.interruption() {
            return Some(Err(refusal));
        }
        loop {
            // Orders are the leader's alone: a follower is not woken by them.
            let leads = self.seat.standing.borrow().role == Role::Leader;
            return tokio::select! {
                biased;
                () = self.seat.replaced.cancelled() => Some(Err(replaced())),
                () = self.ingest.draining.cancelled() => Some(Err(draining())),
                changed = self.seat.standing.changed() => Some(self.standing(changed.is_ok())),
                changed = self.commands.changed(), if leads => match self.news(changed.is_ok()) {
                    Some(told) => Some(told),
                    None => continue,
                },
                changed = self.errands.changed() => match self.news(changed.is_ok()) {
                    Some(told) => Some(told),
                    None => continue,
                },
                outcome = next_outcome(&mut self.first, &mut self.coming) => {
                    self.outcome(outcome?)
                }
            };
        }
    }

    /// What ends the stream while it waits for the client.
    pub(crate) fn interruption(&self) -> Option<Refusal> {
        if self.seat.replaced.is_cancelled() {
            Some(replaced())
        } else if self.ingest.draining.is_cancelled() {
            Some(draining())
        } else {
            None
        }
    }

    /// What there is to do and was not told, if there is anything.
    fn news(&self, alive: bool) -> Option<Result<Told, Refusal>> {
        if !alive {
            return Some(Err(self.ingest.gone(self.session, &ViewGone)));
        }
        let commands = self.desk.news(self.session);
        let told = || Ok(Told::Notice(*self.seat.standing.borrow(), commands.clone()));
        (!commands.is_empty()).then(told)
    }

    fn standing(&mut self, alive: bool) -> Result<Told, Refusal> {
        let standing = *self.seat.standing.borrow_and_update();
        if !alive || standing.over.is_some() {
            return Err(self.ingest.over(&self.view_session));
        }
        Ok(Told::Notice(standing, Vec::new()))
    }

    fn outcome(&mut self, first: Settled) -> Option<Result<Told, Refusal>> {
        let mut told = Acknowledgement::default();
        if let Err(refusal) = self.merge(&mut told, first) {
            return Some(Err(refusal));
        }
        for _ in 1..COALESCED {
            if told.rejected.len() >= COALESCED_ROWS {
                break;
            }
            let Some(settled) = self.ready() else { break };
            if let Err(refusal) = self.merge(&mut told, settled) {
                self.last_refusal = Some(refusal);
                break;
            }
        }
        Some(Ok(Told::Acknowledged(told)))
    }

    /// The next outcome, if it is there already.
    fn ready(&mut self) -> Option<Settled> {
        let mut waiting = match self.first.take() {
            Some(waiting) => waiting,
            None => match self.coming.try_recv().ok()? {
                Ok(waiting) => waiting,
                Err(refusal) => return Some(Settled::Refused(refusal)),
            },
        };
        match waiting.outcome.try_recv() {
            Ok(outcome) => Some(Settled::Done(waiting, outcome)),
            Err(tokio::sync::oneshot::error::TryRecvError::Empty) => {
                self.first = Some(waiting);
                None
            }
            Err(tokio::sync::oneshot::error::TryRecvError::Closed) => Some(Settled::Gone),
        }
    }

    fn merge(&self, told: &mut Acknowledgement, settled: Settled) -> Result<(), Refusal> {
        let (waiting, outcome) = match settled {
            Settled::Done(waiting, outcome) => (waiting, outcome),
            Settled::Refused(refusal) => return Err(refusal),
            Settled::Gone => return Err(self.ingest.gone(self.session, &ViewGone)),
        };
        let sequence = waiting.sequence;
        match outcome {
            PushOutcome::Applied { revision, rejected, all_rejected: _ } => {
                told.revision = revision;
                told.rejected.extend(rejected.into_iter().map(|row| (sequence, row)));
            }
            PushOutcome::Repeated { revision } => told.revision = revision,
            PushOutcome::Gap { expected } => return Err(Refusal::SequenceGap { expected }),
            PushOutcome::Over => return Err(self.ingest.over(&self.view_session)),
        }
        told.through_sequence = told.through_sequence.max(sequence);
        told.traceparent = waiting.traceparent;
        let took: Duration = self.ingest.clock.monotonic().since(waiting.arrived);
        let metric = &self.ingest.metrics.ack_duration;
        metric.with_label_values(&[self.lane.label()]).observe(seconds(took));
        Ok(())
    }
}

impl Drop for LaneOut {
    fn drop(&mut self) {
        self.ingest.metrics.push_streams.with_label_values(&[self.lane.label()]).dec();
        tracing::debug!(session = %self.session, lane = self.lane.label(), "stream over");
    }
}

/// A batch that is no longer under way.
enum Settled {
    Done(Waiting, PushOutcome),
    Refused(Refusal),
    Gone,
}

/// Waits for the oldest batch under way; `None` if there is none and none will come.
async fn next_outcome(
    first: &mut Option<Waiting>,
    coming: &mut mpsc::Receiver<UnderWay>,
) -> Option<Settled> {
    if first.is_none() {
        match coming.recv().await? {
            Ok(waiting) => *first = Some(waiting),
            Err(refusal) => return Some(Settled::Refused(refusal)),
        }
    }
    // Only looked at until it is settled: this future may be dropped at any await.
    let outcome = (&mut first.as_mut()?.outcome).await;
    let waiting = first.take()?;
    Some(match outcome {
        Ok(outcome) => Settled::Done(waiting, outcome),
        Err(_) => Settled::Gone,
    })
}

fn replaced() -> Refusal {
    Refusal::StreamReplaced { retry_after: Duration::ZERO }
}

fn draining() -> Refusal {
    Refusal::ServerDraining { retry_after: DRAINING_RETRY }
}
