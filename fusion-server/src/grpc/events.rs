//! `EventService`.
//!
//! A stream is one task with two halves: one reads batches, one tells acknowledgements and notices.
//! Whichever ends first ends the stream; the reader ends it through the queue between them, so that
//! what was applied is acknowledged before a refusal.

use fusion_core::session::Principal;
use fusion_proto::convert::push::{FromAgent, PushBatch, ToAgent};
use fusion_proto::convert::session::session_id;
use fusion_proto::pb;
use fusion_proto::pb::event_service_server::EventService;
use fusion_proto::status::Refusal;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status, Streaming};

use super::authenticate::caller;
use super::{Services, about};
use crate::service::ingest::{LaneIn, LaneOut, Told};

/// Messages of a stream that wait for the client.
const TOLD_QUEUE: usize = 16;

pub(super) struct Handler(pub(super) Services);

#[tonic::async_trait]
impl EventService for Handler {
    type PushEventsStream = ReceiverStream<Result<pb::PushEventsResponse, Status>>;

    async fn push_events(
        &self,
        request: Request<Streaming<pb::PushEventsRequest>>,
    ) -> Result<Response<Self::PushEventsStream>, Status> {
        let by = caller(&request).principal;
        let mut incoming = request.into_inner();
        let (out, answer) = mpsc::channel(TOLD_QUEUE);
        let services = self.0.clone();
        // The answer begins before the opening has come: a client may wait for headers first.
        self.0.tasks.spawn("push stream", async move {
            let ended = tokio::select! {
                ended = stream(&services, &by, &mut incoming, &out) => ended,
                // Nobody is told any more; where the answer was cut off, no more is to be taken either.
                () = out.closed() => return,
            };
            if let Err(status) = ended {
                let _ = out.send(Err(status)).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(answer)))
    }

    async fn push_event_batch(
        &self,
        request: Request<pb::PushEventBatchRequest>,
    ) -> Result<Response<pb::PushEventBatchResponse>, Status> {
        let by = caller(&request).principal;
        let request = request.into_inner();
        let session = self.0.sessions.check(session_id(&request.session_id)?, &by)?;
        about(Some(&session.view), Some(session.id));
        let told = self.0.ingest.push_one(PushBatch::try_from(request)?, &by).await?;
        let acknowledgement = Some(told.into());
        Ok(Response::new(pb::PushEventBatchResponse { acknowledgement }))
    }
}

type Out = mpsc::Sender<Result<pb::PushEventsResponse, Status>>;

/// One stream from its opening to its end.
async fn stream(
    services: &Services,
    by: &Principal,
    from: &mut Streaming<pb::PushEventsRequest>,
    out: &Out,
) -> Result<(), Status> {
    let first = tokio::select! {
        first = from.message() => first?,
        () = services.draining.cancelled() => return Err(super::draining().into()),
    };
    let Some(first) = first else { return Ok(()) };
    let opening = match FromAgent::try_from(first)? {
        FromAgent::Opening(opening) => opening,
        FromAgent::Batch(_) => {
            return Err(Refusal::invalid("opening", "must be the first message of a stream").into());
        }
    };
    about(None, Some(opening.session));
    let (resume_after, lane_in, mut lane_out) = services.ingest.open(&opening, by).await?;
    if out.send(Ok(ToAgent::Opened { resume_after }.into())).await.is_err() {
        return Ok(());
    }
    let mut tell = std::pin::pin!(tell(&mut lane_out, out));
    let told = tokio::select! {
        told = &mut tell => told,
        // The queue between the halves is closed when the reader is done: what is in it is told.
        () = read(lane_in, from) => tell.await,
    };
    told.map_err(Status::from)
}

/// Takes batches until the client has no more, or one of them ends the stream.
async fn read(lane: LaneIn, from: &mut Streaming<pb::PushEventsRequest>) {
    loop {
        let message = match from.message().await {
            Ok(Some(message)) => message,
            Ok(None) => return,
            Err(status) => return lane.refuse_broken(&status).await,
        };
        let batch = match FromAgent::try_from(message) {
            Ok(FromAgent::Batch(batch)) => batch,
            Ok(FromAgent::Opening(_)) => {
                return lane.refuse(Refusal::invalid("opening", "the lane is open already")).await;
            }
            Err(error) => return lane.refuse(error.into()).await,
        };
        if !lane.push(batch).await {
            return;
        }
    }
}

impl LaneIn {
    /// A message that cannot be read, and nobody knows which batch it was (where its sequence can be
    /// known, the codec hands it over). Whatever is under way is told first.
    async fn refuse_broken(&self, status: &Status) {
        // All else is a client that is gone.
        if let Code::OutOfRange | Code::Internal = status.code() {
            self.refuse(Refusal::invalid("message", status.message())).await;
        }
    }
}

/// Tells until all is told, or the stream is refused. A client that does not listen holds up only
/// itself: while it is waited for, the stream can still be replaced or drained.
async fn tell(lane: &mut LaneOut, out: &Out) -> Result<(), Refusal> {
    while let Some(told) = lane.next().await {
        let message = to_agent(told?).into();
        let (replaced, draining) = lane.interrupted();
        tokio::select! {
            sent = out.send(Ok(message)) => if sent.is_err() { return Ok(()) },
            () = replaced.cancelled() => {}
            () = draining.cancelled() => {}
        }
        if let Some(refusal) = lane.interruption() {
            return Err(refusal);
        }
    }
    Ok(())
}

fn to_agent(told: Told) -> ToAgent {
    match told {
        Told::Acknowledged(acknowledgement) => ToAgent::Acknowledgement(acknowledgement),
        Told::Notice(standing, commands) => {
            ToAgent::Notice { role: standing.role, leader_epoch: standing.epoch, commands }
        }
    }
}
