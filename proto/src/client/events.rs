//! A client of `EventService` in plain types.

use futures_util::{Stream, StreamExt as _};
use tonic::codec::Streaming;
use tonic::transport::Channel;

use super::{CallError, CallHook, HookedChannel};
use crate::convert::push::{FromAgent, HeardAcknowledgement, HeardFromServer, PushBatch};
use crate::pb::event_service_client::EventServiceClient;
use crate::{limits, pb};

/// Pushes evidence.
#[derive(Debug, Clone)]
pub struct EventsClient(EventServiceClient<HookedChannel>);

/// What comes back on a stream of evidence; dropping it ends the stream.
#[derive(Debug)]
pub struct Heard(Streaming<pb::PushEventsResponse>);

impl Heard {
    /// The next message; `None` when the server has ended the stream in good order.
    ///
    /// # Errors
    /// The stream broke or was refused; batches that were not acknowledged may be lost.
    pub async fn next(&mut self) -> Result<Option<HeardFromServer>, CallError> {
        match self.0.message().await? {
            Some(message) => Ok(Some(message.try_into()?)),
            None => Ok(None),
        }
    }
}

impl EventsClient {
    /// A client on a channel.
    #[must_use]
    pub fn on(channel: Channel, hook: CallHook) -> Self {
        let client = EventServiceClient::with_interceptor(channel, hook);
        Self(client.max_decoding_message_size(limits::MESSAGE_BYTES))
    }

    /// Opens a lane: `sent` begins with an opening, batches follow. What was taken from `sent` is
    /// not delivered before it is acknowledged.
    ///
    /// # Errors
    /// SESSION_OBSOLETE, SEQUENCE_GAP, SPOOL_ROLLED_BACK, or no server.
    pub async fn push(
        &mut self,
        sent: impl Stream<Item = FromAgent> + Send + 'static,
    ) -> Result<Heard, CallError> {
        let sent = sent.map(pb::PushEventsRequest::from);
        Ok(Heard(self.0.push_events(sent).await?.into_inner()))
    }

    /// Pushes one batch.
    ///
    /// # Errors
    /// SESSION_OBSOLETE, SEQUENCE_GAP, NOT_LEADER or LEADER_EPOCH_STALE if every row was refused for
    /// it, or no server.
    pub async fn push_batch(
        &mut self,
        pushed: PushBatch,
    ) -> Result<HeardAcknowledgement, CallError> {
        let request = pb::PushEventBatchRequest::from(pushed);
        let pb::PushEventBatchResponse { acknowledgement } =
            self.0.push_event_batch(request).await?.into_inner();
        Ok(acknowledgement.ok_or(CallError::missing("acknowledgement"))?.into())
    }
}
