//! One lane of a session, from the agent's side.

use fusion_proto::pb;
use fusion_proto::pb::push_events_request::Message as Ask;
use fusion_proto::pb::push_events_response::Message as Told;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::harness::{TestServer, uuid};

pub(crate) struct Lane {
    out: Option<mpsc::Sender<pb::PushEventsRequest>>,
    told: Streaming<pb::PushEventsResponse>,
}

pub(crate) fn opening(lane: pb::Lane, session: &str, spool: &str) -> pb::PushOpening {
    let spool_id = if lane == pb::Lane::Realtime { uuid(spool) } else { String::new() };
    let session_id = session.to_owned();
    pb::PushOpening { session_id, lane: lane.into(), spool_id, first_held: 1, next: 1 }
}

impl Lane {
    /// Opens a lane; gives the number to go on after, too.
    pub(crate) async fn open(
        server: &mut TestServer,
        opening: pb::PushOpening,
    ) -> Result<(Self, u64), Status> {
        let mut lane = Self::begin(server, Ask::Opening(opening)).await;
        match lane.next().await? {
            Told::Opened(opened) => Ok((lane, opened.resume_after_sequence)),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn begin(server: &mut TestServer, first: Ask) -> Self {
        let (out, messages) = mpsc::channel(2_000);
        out.send(pb::PushEventsRequest { message: Some(first) }).await.unwrap();
        let told = server.events.push_events(ReceiverStream::new(messages)).await.unwrap();
        Self { out: Some(out), told: told.into_inner() }
    }

    pub(crate) async fn send(&self, batch: pb::EvidenceBatch) {
        self.ask(Ask::Batch(batch)).await;
    }

    pub(crate) async fn ask(&self, message: Ask) {
        let message = pb::PushEventsRequest { message: Some(message) };
        self.out.as_ref().unwrap().send(message).await.unwrap();
    }

    /// Says that no more batches come.
    pub(crate) fn close(&mut self) {
        self.out = None;
    }

    pub(crate) async fn next(&mut self) -> Result<Told, Status> {
        match self.told.message().await? {
            Some(message) => Ok(message.message.expect("a message")),
            None => Err(Status::ok("the stream has ended")),
        }
    }

    /// Waits for an acknowledgement of `sequence`; gives all rejected rows on the way.
    pub(crate) async fn acknowledged(
        &mut self,
        sequence: u64,
    ) -> Result<Vec<pb::RejectedRow>, Status> {
        let mut rejected = Vec::new();
        loop {
            if let Told::Acknowledgement(told) = self.next().await? {
                rejected.extend(told.rejected);
                if told.through_sequence >= sequence {
                    return Ok(rejected);
                }
            }
        }
    }

    /// Waits for a notice.
    pub(crate) async fn notice(&mut self) -> Result<pb::PushNotice, Status> {
        loop {
            if let Told::Notice(notice) = self.next().await? {
                return Ok(notice);
            }
        }
    }

    /// Waits for the end of the stream, and gives its status.
    pub(crate) async fn end(&mut self) -> Status {
        loop {
            if let Err(status) = self.next().await {
                return status;
            }
        }
    }
}
