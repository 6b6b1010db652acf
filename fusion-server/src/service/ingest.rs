//! Evidence from agents, by stream and by single batch.
//!
//! A lane is opened, then batches go one way ([`LaneIn`]) and acknowledgements and notices the other
//! ([`LaneOut`]); the two halves meet in a short queue of outcomes, so that batches travel while
//! earlier ones are applied, and what is told keeps their order. Everything here is bounded: who
//! sends faster than the view applies waits in [`LaneIn::push`].

mod out;

use std::sync::Arc;

use fusion_core::evidence::Witness;
use fusion_core::id::{LeaderEpoch, SessionId};
use fusion_core::session::{Principal, Session};
use fusion_core::time::{Clock, Monotonic};
use fusion_core::view::Reject;
use fusion_proto::convert::evidence::{BatchHeader, WireBatch};
use fusion_proto::convert::push::{Acknowledgement, Lane, Opening, PushBatch};
use fusion_proto::status::Refusal;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::sessions::{DRAINING_RETRY, LaneName, Sessions};
use super::views::Views;
use crate::ops::metrics::Metrics;
use crate::ops::telemetry;
use crate::task::view::{
    LaneKey, OpenRefused, Opened, Push, PushOutcome, ViewGone, ViewHandle, leadership,
};

pub(crate) use out::{LaneOut, Told};

/// Batches of one stream that are under way between its two halves.
const IN_FLIGHT: usize = 64;

/// Takes evidence; a cheap handle.
#[derive(Clone)]
pub(crate) struct Ingest {
    sessions: Sessions,
    views: Views,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    /// Cancelled when the server goes down.
    draining: CancellationToken,
}

/// A batch under way: its outcome, or why the stream ends with it.
type UnderWay = Result<Waiting, Refusal>;

#[derive(Debug)]
struct Waiting {
    sequence: u64,
    arrived: Monotonic,
    traceparent: String,
    outcome: oneshot::Receiver<PushOutcome>,
}

/// The half of a lane that takes batches.
pub(crate) struct LaneIn {
    ingest: Ingest,
    session: Session,
    view: ViewHandle,
    key: LaneKey,
    under_way: mpsc::Sender<UnderWay>,
}

impl Ingest {
    pub(crate) fn new(
        sessions: Sessions,
        views: Views,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
        draining: CancellationToken,
    ) -> Self {
        Self { sessions, views, clock, metrics, draining }
    }

    /// Opens a lane; a stream that had it is replaced. The number is that of the last batch that is
    /// part of the view.
    pub(crate) async fn open(
        &self,
        opening: &Opening,
        by: &Principal,
    ) -> Result<(u64, LaneIn, LaneOut), Refusal> {
        if self.draining.is_cancelled() {
            return Err(Refusal::ServerDraining { retry_after: DRAINING_RETRY });
        }
        let lane = lane_name(opening.lane);
        let (session, seat) = self.sessions.take_seat(opening.session, lane, by)?;
        let view = self.views.get(&session.view)?;
        let key = key(&session, opening.lane);
        let opened = view.open(key.clone(), opening.first_held, opening.next).await;
        let Opened { resume_after, .. } = opened
            .map_err(|gone| self.gone(session.id, &gone))?
            .map_err(|refused| match refused {
                OpenRefused::RolledBack { applied } => rolled_back(&key, applied, opening.next),
                OpenRefused::Gap { expected } => Refusal::SequenceGap { expected },
                OpenRefused::Over => self.over(&session),
            })?;
        let (under_way, coming) = mpsc::channel(IN_FLIGHT);
        let out =
            LaneOut::new(self.clone(), &session, lane, seat, Arc::clone(view.commands()), coming);
        Ok((resume_after, LaneIn { ingest: self.clone(), session, view, key, under_way }, out))
    }

    /// Takes one batch and waits until it is part of the view.
    pub(crate) async fn push_one(
        &self,
        request: PushBatch,
        by: &Principal,
    ) -> Result<Acknowledgement, Refusal> {
        let session = self.sessions.check(request.session, by)?;
        let view = self.views.get(&session.view)?;
        let key = key(&session, request.lane);
        let (through_sequence, claimed) = (request.batch.sequence(), request.batch.epoch());
        let waiting = self.send(&session, &view, &key, request.batch).await?;
        let traceparent = waiting.traceparent;
        let gone = |_| self.gone(session.id, &ViewGone);
        match waiting.outcome.await.map_err(gone)? {
            PushOutcome::Applied { revision, rejected, all_rejected } => {
                let reject = rejected.first().and_then(leadership);
                match reject {
                    Some(reject) if all_rejected => {
                        Err(self.not_leading(&session, reject, claimed))
                    }
                    _ => {
                        let rejected =
                            rejected.into_iter().map(|row| (through_sequence, row)).collect();
                        Ok(Acknowledgement { through_sequence, revision, rejected, traceparent })
                    }
                }
            }
            PushOutcome::Repeated { revision } => {
                let rejected = Vec::new();
                Ok(Acknowledgement { through_sequence, revision, rejected, traceparent })
            }
            PushOutcome::Gap { expected } => Err(Refusal::SequenceGap { expected }),
            PushOutcome::Over => Err(self.over(&session)),
        }
    }

    async fn send(
        &self,
        session: &Session,
        view: &ViewHandle,
        key: &LaneKey,
        batch: WireBatch,
    ) -> Result<Waiting, Refusal> {
        let header = batch.header();
        let span = telemetry::apply_span(session, key.label(), &header, batch.rows());
        let (sequence, arrived) = (header.sequence, self.clock.monotonic());
        let traceparent = telemetry::traceparent(&span);
        let witness =
            Witness { agent: session.agent.clone(), session: session.id, epoch: header.epoch };
        let BatchHeader { correlation, causation, .. } = header;
        let lane = key.clone();
        let push = Push { lane, witness, batch, correlation, causation, span };
        let outcome = view.push(push).await.map_err(|gone| self.gone(session.id, &gone))?;
        Ok(Waiting { sequence, arrived, traceparent, outcome })
    }

    fn not_leading(&self, session: &Session, reject: Reject, claimed: LeaderEpoch) -> Refusal {
        let current = self.sessions.leader_epoch(&session.view);
        match reject {
            Reject::LeaderEpochStale => Refusal::LeaderEpochStale { claimed, current },
            Reject::NotLeader
            | Reject::NotAssigned
            | Reject::Malformed
            | Reject::RootMismatch
            | Reject::RootAway => Refusal::NotLeader { current },
        }
    }

    /// The view says that the session is over; the table knows why.
    fn over(&self, session: &Session) -> Refusal {
        match self.sessions.check_on(session.id) {
            Err(refusal) => refusal,
            // It was known a moment ago, and the view is told of a session before its agent is.
            Ok(session) => self.views.gone(&session.view, &ViewGone),
        }
    }

    /// The view has no task any more. Its sessions have ended by then, if there was time.
    fn gone(&self, session: SessionId, gone: &ViewGone) -> Refusal {
        if self.draining.is_cancelled() {
            return Refusal::ServerDraining { retry_after: DRAINING_RETRY };
        }
        match self.sessions.check_on(session) {
            Err(refusal) => refusal,
            Ok(session) => self.views.gone(&session.view, gone),
        }
    }
}

impl LaneIn {
    /// Takes a batch, waiting while there is no room for it. `false` if the stream is over.
    pub(crate) async fn push(&self, batch: WireBatch) -> bool {
        let sent = self.ingest.send(&self.session, &self.view, &self.key, batch).await;
        let go_on = sent.is_ok();
        self.under_way.send(sent).await.is_ok() && go_on
    }

    /// Ends the stream with a refusal, after what was under way is told.
    pub(crate) async fn refuse(&self, refusal: Refusal) {
        let _ = self.under_way.send(Err(refusal)).await;
    }
}

fn lane_name(lane: Lane) -> LaneName {
    match lane {
        Lane::Realtime { .. } => LaneName::Realtime,
        Lane::Scan => LaneName::Scan,
    }
}

fn key(session: &Session, lane: Lane) -> LaneKey {
    match lane {
        Lane::Realtime { spool } => LaneKey::Realtime(session.agent.clone(), spool),
        Lane::Scan => LaneKey::Scan(session.id),
    }
}

fn rolled_back(key: &LaneKey, applied: u64, next: u64) -> Refusal {
    match key {
        LaneKey::Realtime(..) => Refusal::SpoolRolledBack { applied, next },
        LaneKey::Scan(_) => Refusal::invalid(
            "opening.next",
            format!("is {next}, but batch {applied} of this session is part of the view"),
        ),
    }
}
