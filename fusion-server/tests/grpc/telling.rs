//! One lane of a session, from the agent's side.

use fusion_proto::pb;
use fusion_proto::pb::push_events_request::Message as Ask;
use fusion_proto::pb::push_events_response::Message as Told;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::evidence::{batch, file, root};
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

/// Agent `a` joins and tells of the root and of `/f` in batch 1, acknowledged: its session and its lane.
pub(crate) async fn with_a_file(server: &mut TestServer) -> (pb::CreateSessionResponse, Lane) {
    let session = server.join("a").await;
    let mut lane = Lane::realtime(server, &session.session_id, "a").await;
    lane.send(batch(1, vec![root(), file("/f", 1)])).await;
    lane.acknowledged(1).await.unwrap();
    (session, lane)
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

    /// Opens the realtime lane of a new session, whose spool has this name.
    pub(crate) async fn realtime(server: &mut TestServer, session: &str, spool: &str) -> Self {
        let ask = opening(pb::Lane::Realtime, session, spool);
        Self::open(server, ask).await.unwrap().0
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

    /// Sends a batch and waits until all of it is taken.
    pub(crate) async fn deliver(&mut self, batch: pb::EvidenceBatch) {
        let sequence = batch.sequence;
        self.send(batch).await;
        assert_eq!(self.acknowledged(sequence).await.unwrap(), []);
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
