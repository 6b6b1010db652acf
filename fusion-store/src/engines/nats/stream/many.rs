//! Messages that are stored together or not at all.
//!
//! JetStream stages them (2.12 and later), and stores all of them when the last one has come, if all
//! that they expect is so. Those that were staged and never followed by a last one are dropped by it.

use std::error::Error as _;

use async_nats::HeaderMap;
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::{Error as ServerError, ErrorCode};
use bytes::Bytes;

use super::{RawMessageErrorKind, Stored, Stream};
use crate::error::StoreError;

/// A message that is to be stored.
#[derive(Debug, Clone, Default)]
pub(in crate::engines::nats) struct Outgoing {
    pub(in crate::engines::nats) subject: String,
    pub(in crate::engines::nats) headers: HeaderMap,
    pub(in crate::engines::nats) payload: Bytes,
    /// The number that the last message of a subject must have, 0 for none; of its own subject if
    /// none is named.
    pub(in crate::engines::nats) expect: Option<(u64, Option<String>)>,
}

/// What came of storing messages together.
#[derive(Debug, Clone)]
pub(in crate::engines::nats) enum Many {
    /// They are stored; the last one under this number, those before it under those before.
    Done(u64),
    /// Something is not as expected; nothing was stored.
    Other,
    /// Something that is expected may be otherwise in a moment; nothing was stored.
    Busy,
    /// The engine refused them for another reason, such as that it is full; nothing was stored.
    Refused(StoreError),
}

impl Stream {
    /// Stores messages together; `id` is drawn for this alone. After an error they may be stored, or
    /// be so later.
    pub(in crate::engines::nats) async fn put_many(
        &self,
        id: &str,
        mut messages: Vec<Outgoing>,
    ) -> Result<Many, StoreError> {
        let Some(last) = messages.pop() else { return Ok(Many::Done(0)) };
        let count = messages.len() + 1;
        let client = self.publisher.client();
        for (message, number) in messages.into_iter().zip(1_usize..) {
            let headers = self.headers(id, number, &message);
            let sent = client.publish_with_headers(message.subject, headers, message.payload).await;
            sent.map_err(self.away("write to"))?;
        }
        let mut headers = self.headers(id, count, &last);
        headers.insert("Nats-Batch-Commit", "1");
        let message = PublishMessage::build().payload(last.payload).headers(headers);
        let sent = self.publisher.send_publish(last.subject, message).await;
        match sent.map_err(self.away("write to"))?.await {
            Ok(told) => Ok(Many::Done(told.sequence)),
            Err(error) => self.refusal(error),
        }
    }

    fn headers(&self, id: &str, number: usize, message: &Outgoing) -> HeaderMap {
        let mut headers = message.headers.clone();
        headers.insert("Nats-Batch-Id", id);
        headers.insert("Nats-Batch-Sequence", number.to_string());
        headers.insert("Nats-Expected-Stream", self.name.as_str());
        if let Some((number, subject)) = &message.expect {
            headers.insert("Nats-Expected-Last-Subject-Sequence", number.to_string());
            if let Some(subject) = subject {
                headers.insert("Nats-Expected-Last-Subject-Sequence-Subject", subject.as_str());
            }
        }
        headers
    }

    /// The last message of a subject, as the leader has it.
    pub(in crate::engines::nats) async fn last_of(
        &self,
        subject: &str,
    ) -> Result<Option<Stored>, StoreError> {
        let stream = self.handle().await?;
        match stream.get_last_raw_message_by_subject(subject).await {
            Ok(found) => Ok(Some(Stored::of(found))),
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(self.away("read from")(error)),
        }
    }

    /// What the engine said against them; an error if it said nothing.
    fn refusal(&self, error: PublishError) -> Result<Many, StoreError> {
        let told = error.source().and_then(|source| source.downcast_ref::<ServerError>());
        let code = told.map(ServerError::error_code);
        if error.kind() == PublishErrorKind::WrongLastSequence {
            return Ok(Many::Other);
        }
        match code {
            Some(ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT) => Ok(Many::Busy),
            Some(_) => Ok(Many::Refused(self.away("write to")(error))),
            None => Err(self.away("write to")(error)),
        }
    }
}
