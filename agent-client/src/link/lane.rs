//! One lane of a session: a stream that is opened, fed within a window, and opened again when it
//! ends, until the session is over.
//!
//! Owns what is on its way; what is not acknowledged is kept by the [`Source`]. Must never: call a
//! batch delivered because it was sent.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;

use fusion_core::id::{LeaderEpoch, SessionId};
use fusion_core::time::Monotonic;
use fusion_proto::client::{CallError, EventsClient, Heard};
use fusion_proto::convert::evidence::WireBatch;
use fusion_proto::convert::push::{
    FromAgent, HeardAcknowledgement, HeardFromServer, HeardRejection, Lane, Opening as PushOpening,
};
use fusion_proto::status::Reason;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tracing::{Instrument as _, Span};

use super::backoff::Backoff;
use super::board::{Board, Reports};
use super::reaction::{Reaction, Trouble};
use super::session::Ending;
use super::told::Told;
use super::ways::{Way, Ways};
use super::{CALL_LIMIT, LinkDeps};
use crate::ops::metrics::gauge;
use crate::ops::telemetry::traceparent;

/// Batches on their way at most. What a slow server makes an agent hold is bounded by it.
const WINDOW: usize = 32;
/// Batches between us and the library; more would only hide that the connection is slow.
const HANDED_OVER: usize = 2;

/// Where the batches of a lane come from, and where they stay until they are acknowledged.
pub(crate) trait Source: Send + 'static {
    /// For metrics and logs.
    const NAME: &'static str;
    /// What the stream is opened with.
    fn opening(&self) -> impl Future<Output = Result<Opening, Trouble>> + Send;
    /// The server has everything up to `after`: go on with the next.
    fn resume(&mut self, after: u64) -> impl Future<Output = Result<(), Trouble>> + Send;
    /// The next batch, waiting for one. May be dropped while it waits.
    fn next(&mut self) -> impl Future<Output = Result<Outgoing, Trouble>> + Send;
    /// The server has everything up to `through`.
    fn acknowledge(&mut self, through: u64) -> impl Future<Output = Result<(), Trouble>> + Send;
}

/// How a lane is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Opening {
    pub(crate) lane: Lane,
    pub(crate) first_held: u64,
    pub(crate) next: u64,
}

/// A batch on its way out.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) batch: WireBatch,
    /// It was sent before.
    pub(crate) again: bool,
    /// What it belongs to.
    pub(crate) parent: Option<Span>,
}

/// A batch that was sent and not acknowledged.
struct Sent {
    sequence: u64,
    epoch: LeaderEpoch,
    at: Monotonic,
    /// From sending to acknowledgement.
    _span: Span,
}

/// Which connection of a way a lane takes.
pub(crate) type OfWay = fn(&Way) -> &EventsClient;

/// One lane at work.
pub(crate) struct LaneTask<S> {
    pub(crate) session: SessionId,
    pub(crate) ways: Arc<Ways>,
    pub(crate) client: OfWay,
    pub(crate) source: S,
    pub(crate) deps: LinkDeps,
    pub(crate) board: Arc<Board>,
    pub(crate) reports: Arc<Reports>,
    pub(crate) sent: SentBatches,
}

/// What is on its way.
#[derive(Default)]
pub(crate) struct SentBatches(VecDeque<Sent>);

impl<S: Source> LaneTask<S> {
    /// Keeps the lane open until the session is over.
    pub(crate) async fn run(mut self) -> Ending {
        let mut backoff = Backoff::default();
        let mut told = Told::default();
        loop {
            let way = self.ways.now();
            let Err(trouble) = self.stream(&way, &mut backoff).await;
            self.ways.failed(&way, &trouble);
            self.sent.0.clear();
            self.show_unacknowledged();
            let now = self.deps.clock.monotonic();
            let patience = backoff.failed(now, &*self.deps.ids);
            let wait = match &trouble.reaction {
                Reaction::NewSession { cause, after } => {
                    let why = format!("{} at {}: {}", S::NAME, way.server, trouble.text);
                    return Ending::Obsolete { cause: *cause, after: *after, why };
                }
                Reaction::Superseded => return Ending::Superseded,
                Reaction::RenewSpool => return Ending::RenewSpool,
                Reaction::Reconnect { after }
                | Reaction::GoToOwner { after, .. }
                | Reaction::SlowDown { after } => patience.max(*after),
                // The opening says where we are, and its answer where to go on.
                Reaction::ResumeFrom { .. } => patience,
                Reaction::StopScanning => {
                    self.demote(None);
                    patience
                }
                Reaction::WaitForOther { .. }
                | Reaction::OtherTree { .. }
                | Reaction::BackOff
                | Reaction::Report => patience,
            };
            if told.is_news(&trouble.text, now) {
                tracing::warn!(lane = S::NAME, "stream ended: {}", trouble.text);
            }
            self.board.trouble(Some(&trouble.text));
            self.count_reconnect();
            tokio::time::sleep(wait).await;
        }
    }

    /// One stream from its opening to its end.
    async fn stream(
        &mut self,
        way: &Way,
        backoff: &mut Backoff,
    ) -> Result<std::convert::Infallible, Trouble> {
        let (up, handed_over) = mpsc::channel(HANDED_OVER);
        let Opening { lane, first_held, next } = self.source.opening().await?;
        let opening = PushOpening { session: self.session, lane, first_held, next };
        // There is room: nothing was sent yet.
        let _ = up.try_send(FromAgent::Opening(opening));
        let opened = async {
            let mut down =
                (self.client)(way).clone().push(ReceiverStream::new(handed_over)).await?;
            let first = down.next().await?;
            Ok::<_, CallError>((down, first))
        };
        let span = tracing::info_span!("open lane", otel.kind = "client", lane = S::NAME);
        let opened = tokio::time::timeout(CALL_LIMIT, opened.instrument(span)).await;
        let opened = opened.map_err(|_| Trouble::unexpected("no answer to an opening"))?;
        let (down, first) = opened.map_err(|error| Trouble::of(error).of_opening(first_held))?;
        let Some(HeardFromServer::Opened { resume_after }) = first else {
            return Err(Trouble::unexpected("the stream did not begin with its opening"));
        };
        tracing::debug!(lane = S::NAME, after = resume_after, "lane open");
        self.source.resume(resume_after).await?;
        backoff.healthy(self.deps.clock.monotonic());
        self.pump(way, &up, down).await
    }

    /// Feeds the stream and hears what comes back.
    async fn pump(
        &mut self,
        way: &Way,
        up: &mpsc::Sender<FromAgent>,
        mut down: Heard,
    ) -> Result<std::convert::Infallible, Trouble> {
        let mut waiting: Option<Outgoing> = None;
        let ways = Arc::clone(&self.ways);
        let mut moved = pin!(ways.moved(way));
        loop {
            let has_room = self.sent.0.len() < WINDOW && waiting.is_none();
            tokio::select! {
                heard = down.next() => match heard {
                    Ok(Some(heard)) => self.hear(heard).await?,
                    Ok(None) => return Err(Trouble::unexpected("the server ended the stream")),
                    // A newer server may say what we do not know yet.
                    Err(CallError::Answer(error)) => {
                        tracing::warn!(lane = S::NAME, "message of the server: {error}");
                    }
                    Err(error) => return Err(Trouble::of(error)),
                },
                () = &mut moved => return Err(Trouble::moved()),
                next = self.source.next(), if has_room => waiting = Some(next?),
                permit = up.reserve(), if waiting.is_some() => {
                    let permit = permit.map_err(|_| Trouble::unexpected("the stream broke"))?;
                    if let Some(outgoing) = waiting.take() {
                        permit.send(self.send(outgoing));
                    }
                }
            }
        }
    }

    /// Notes a batch as being on its way.
    fn send(&mut self, outgoing: Outgoing) -> FromAgent {
        let Outgoing { mut batch, again, parent } = outgoing;
        let span = tracing::info_span!(
            parent: parent.as_ref().and_then(Span::id),
            "push",
            otel.kind = "client",
            rpc.system.name = "grpc",
            rpc.method = "fusion.v1.EventService/PushEvents",
            lane = S::NAME,
            sequence = batch.sequence(),
        );
        batch.set_traceparent(traceparent(&span).unwrap_or_default());
        self.deps.metrics.batches_sent.with_label_values(&[S::NAME]).inc();
        if again {
            self.deps.metrics.batches_resent.with_label_values(&[S::NAME]).inc();
        }
        self.sent.0.push_back(Sent {
            sequence: batch.sequence(),
            epoch: batch.epoch(),
            at: self.deps.clock.monotonic(),
            _span: span,
        });
        self.show_unacknowledged();
        FromAgent::Batch(batch)
    }

    async fn hear(&mut self, heard: HeardFromServer) -> Result<(), Trouble> {
        match heard {
            HeardFromServer::Acknowledged(acknowledgement) => {
                self.acknowledged(acknowledgement).await
            }
            HeardFromServer::Noticed { role, leader_epoch, commands } => {
                self.board.hear(self.session, role, leader_epoch);
                self.board.commands(commands, &self.reports);
                Ok(())
            }
            // An answer to the opening comes once.
            HeardFromServer::Opened { resume_after: _ } => Ok(()),
        }
    }

    async fn acknowledged(&mut self, acknowledgement: HeardAcknowledgement) -> Result<(), Trouble> {
        let now = self.deps.clock.monotonic();
        // Before the batches are forgotten: a refusal is judged by the leadership of its batch.
        self.refused(&acknowledgement.rejected);
        while self.sent.0.front().is_some_and(|s| s.sequence <= acknowledgement.through_sequence) {
            if let Some(sent) = self.sent.0.pop_front() {
                let took = now.since(sent.at).as_secs_f64();
                let metrics = &self.deps.metrics;
                metrics.acknowledgement.with_label_values(&[S::NAME]).observe(took);
                metrics.batches_acknowledged.with_label_values(&[S::NAME]).inc();
            }
        }
        self.show_unacknowledged();
        self.source.acknowledge(acknowledgement.through_sequence).await
    }

    /// Rows that the server refused: counted and told, never sent again.
    fn refused(&self, rejected: &[HeardRejection]) {
        let Some(first) = rejected.first() else { return };
        let number = rejected.len() as u64;
        self.deps.metrics.rows_rejected.with_label_values(&[S::NAME]).inc_by(number);
        let over = rejected
            .iter()
            .find(|row| matches!(row.reason, Some(Reason::NotLeader | Reason::LeaderEpochStale)));
        if let Some(over) = over {
            self.demote(Some(over.sequence));
        } else {
            tracing::warn!(
                lane = S::NAME,
                number,
                sequence = first.sequence,
                reason = first.reason.map(Reason::as_str),
                "the server refused rows: {}",
                first.message
            );
        }
    }

    /// The leadership of a batch is over (of the latest one, if none is named).
    fn demote(&self, sequence: Option<u64>) {
        let mut sent = self.sent.0.iter().rev();
        let batch = sent.find(|sent| sequence.is_none_or(|sequence| sent.sequence == sequence));
        if let Some(batch) = batch {
            self.board.demoted(self.session, batch.epoch);
        }
    }

    fn show_unacknowledged(&self) {
        let number = gauge(self.sent.0.len() as u64);
        self.deps.metrics.unacknowledged.with_label_values(&[S::NAME]).set(number);
    }

    fn count_reconnect(&self) {
        self.deps.metrics.reconnects.with_label_values(&[S::NAME]).inc();
    }
}
