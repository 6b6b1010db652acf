//! The yardstick of ingest: a gRPC server that decodes every batch, acknowledges it and forgets it.

use std::pin::Pin;

use anyhow::Result;
use fusion_proto::pb;
use fusion_proto::pb::event_service_server::{EventService, EventServiceServer};
use fusion_proto::pb::session_service_server::{SessionService, SessionServiceServer};
use futures_util::StreamExt as _;
use tokio_stream::Stream;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, Streaming};

/// Serves on a free port, which it prints as `grpc=HOST:PORT`, until it is killed.
///
/// # Errors
/// It cannot listen.
pub fn run() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        println!("grpc={}", listener.local_addr()?);
        let limits = fusion_proto::limits::MESSAGE_BYTES;
        tonic::transport::Server::builder()
            .initial_stream_window_size(fusion_proto::limits::STREAM_WINDOW_BYTES)
            .initial_connection_window_size(fusion_proto::limits::CONNECTION_WINDOW_BYTES)
            .add_service(EventServiceServer::new(Sink).max_decoding_message_size(limits))
            .add_service(SessionServiceServer::new(Sink))
            .serve_with_incoming(TcpListenerStream::new(listener))
            .await?;
        Ok(())
    })
}

struct Sink;

type Answers = Pin<Box<dyn Stream<Item = Result<pb::PushEventsResponse, Status>> + Send>>;

#[tonic::async_trait]
impl EventService for Sink {
    type PushEventsStream = Answers;

    async fn push_events(
        &self,
        request: Request<Streaming<pb::PushEventsRequest>>,
    ) -> Result<Response<Answers>, Status> {
        let answers = request.into_inner().map(|message| {
            let message = match message?.message {
                Some(pb::push_events_request::Message::Batch(batch)) => {
                    pb::push_events_response::Message::Acknowledgement(pb::PushAcknowledgement {
                        through_sequence: batch.sequence,
                        ..Default::default()
                    })
                }
                _ => pb::push_events_response::Message::Opened(pb::PushOpened::default()),
            };
            Ok(pb::PushEventsResponse { message: Some(message) })
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn push_event_batch(
        &self,
        _: Request<pb::PushEventBatchRequest>,
    ) -> Result<Response<pb::PushEventBatchResponse>, Status> {
        Ok(Response::new(Default::default()))
    }
}

#[tonic::async_trait]
impl SessionService for Sink {
    async fn create_session(
        &self,
        _: Request<pb::CreateSessionRequest>,
    ) -> Result<Response<pb::CreateSessionResponse>, Status> {
        Ok(Response::new(pb::CreateSessionResponse {
            session_id: uuid::Uuid::new_v4().to_string(),
            leader_epoch: 1,
            ..Default::default()
        }))
    }

    async fn heartbeat(
        &self,
        _: Request<pb::HeartbeatRequest>,
    ) -> Result<Response<pb::HeartbeatResponse>, Status> {
        Ok(Response::new(Default::default()))
    }

    async fn end_session(
        &self,
        _: Request<pb::EndSessionRequest>,
    ) -> Result<Response<pb::EndSessionResponse>, Status> {
        Ok(Response::new(Default::default()))
    }

    async fn get_session(
        &self,
        _: Request<pb::GetSessionRequest>,
    ) -> Result<Response<pb::GetSessionResponse>, Status> {
        Ok(Response::new(Default::default()))
    }

    async fn list_sessions(
        &self,
        _: Request<pb::ListSessionsRequest>,
    ) -> Result<Response<pb::ListSessionsResponse>, Status> {
        Ok(Response::new(Default::default()))
    }
}
