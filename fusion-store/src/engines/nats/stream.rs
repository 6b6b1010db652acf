//! A stream of JetStream, as far as logs and blocks need it. All here runs on the bridge's thread.
//!
//! What must not be stale is asked of the stream's leader; what cannot change any more, a message by
//! its number, of whoever is near. While a leader is elected nobody answers and what was asked is lost,
//! so everything is asked again until its limit; all of it may be done twice.

mod many;

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::Error as ServerError;
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use async_nats::jetstream::context::{
    Context, DeleteStreamErrorKind, PublishAckFuture, PublishError, PublishErrorKind,
};
use async_nats::jetstream::message::{PublishMessage, StreamMessage};
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::{
    Config, DirectGetErrorKind, DiscardPolicy, Info, RawMessageErrorKind, StorageType,
};
use async_nats::{HeaderMap, Request, StatusCode};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::engines::bridge::causes;
use crate::error::StoreError;

pub(super) use many::{Many, Outgoing};

/// The code of JetStream for a stream that is not there.
const NO_STREAM: u64 = 10_059;

/// How long one question waits before it is asked again.
pub(super) const ASK: Duration = Duration::from_secs(1);
/// How long an acknowledgement is waited for before it is looked whether the message is there.
pub(super) const ACKNOWLEDGE: Duration = Duration::from_secs(2);
/// The pause before hints are asked for again.
const HINTS_AGAIN: Duration = Duration::from_millis(200);
/// The pause before something is asked again.
const PAUSE: Duration = Duration::from_millis(50);

/// A stream.
#[derive(Debug, Clone)]
pub(super) struct Stream {
    /// Asks; waits [`ASK`] for one answer.
    context: Context,
    /// Publishes; waits [`ACKNOWLEDGE`] for one acknowledgement.
    publisher: Context,
    name: String,
    engine: Arc<str>,
    limit: Duration,
}

/// A message that is stored.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) sequence: u64,
    pub(super) subject: String,
    pub(super) headers: HeaderMap,
    pub(super) payload: Bytes,
}

impl Stored {
    fn of(message: StreamMessage) -> Self {
        let StreamMessage { subject, sequence, headers, payload, .. } = message;
        Self { sequence, subject: subject.to_string(), headers, payload }
    }

    /// What a header of it says.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.as_str())
    }
}

/// What came of putting a message in the place of the last one of its subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Put {
    /// It is stored under this number.
    Done(u64),
    /// The last one is another.
    Other,
}

/// From where to where a stream goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Extent {
    /// The number of the first message; after `last` if there is none.
    pub(super) first: u64,
    /// The number of the last message that was ever stored; 0 if none was.
    pub(super) last: u64,
    /// When it was made, in nanoseconds, by the engine's clock: another one is another stream.
    pub(super) made: i128,
}

impl Extent {
    fn of(info: &Info) -> Self {
        let made = info.created.unix_timestamp_nanos();
        Self { first: info.state.first_sequence.max(1), last: info.state.last_sequence, made }
    }
}

impl Stream {
    pub(super) fn new(
        contexts: (Context, Context),
        name: String,
        engine: &str,
        limit: Duration,
    ) -> Self {
        let (context, publisher) = contexts;
        Self { context, publisher, name, engine: engine.into(), limit }
    }

    /// The same, but asked for no longer than this.
    pub(super) fn within(&self, limit: Duration) -> Self {
        Self { limit, ..self.clone() }
    }

    /// Does something until the engine answers, within the limit.
    async fn again<'a, T>(
        &self,
        act: impl Fn() -> BoxFuture<'a, Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let mut last = None;
        let tries = async {
            loop {
                match act().await {
                    Err(error) if error.is_of_the_engine() => last = Some(error),
                    outcome => return outcome,
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        let outcome = tokio::time::timeout(self.limit, tries).await;
        outcome.unwrap_or_else(|_| Err(last.unwrap_or_else(|| self.odd("reach", "no answer"))))
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The client's own, for what is not here; asks nothing.
    pub(super) async fn handle(
        &self,
    ) -> Result<async_nats::jetstream::stream::Stream<()>, StoreError> {
        let stream = self.context.get_stream_no_info(&self.name).await;
        stream.map_err(self.away("read from"))
    }

    /// For `map_err`.
    pub(super) fn away<E: std::error::Error>(
        &self,
        what: &'static str,
    ) -> impl Fn(E) -> StoreError {
        let (engine, name) = (Arc::clone(&self.engine), self.name.clone());
        move |error| {
            let why = format!("stream {name}: {}", causes(&error));
            StoreError::Away { what, engine: engine.to_string(), why }
        }
    }

    /// Something that the engine said and should not have.
    pub(super) fn odd(&self, what: &'static str, why: &str) -> StoreError {
        let why = format!("stream {}: {why}", self.name);
        StoreError::Away { what, engine: self.engine.to_string(), why }
    }

    /// Makes the stream if it is not there, and gives it the settings that it should have.
    pub(super) async fn ensure(&self, wanted: Config) -> Result<Extent, StoreError> {
        let wanted = Config {
            name: self.name.clone(),
            storage: StorageType::File,
            discard: DiscardPolicy::New,
            allow_direct: true,
            ..wanted
        };
        self.again(|| self.ensure_once(&wanted).boxed()).await
    }

    async fn ensure_once(&self, wanted: &Config) -> Result<Extent, StoreError> {
        let there = self.context.get_or_create_stream(wanted.clone()).await;
        let there = there.map_err(self.away("make a stream at"))?;
        let info = there.cached_info();
        let is = &info.config;
        let bytes = |config: &Config| config.max_bytes.max(0);
        let renamed =
            wanted.metadata.iter().any(|(key, value)| is.metadata.get(key) != Some(value));
        let batches = |config: &Config| config.allow_atomic_publish && config.allow_message_ttl;
        let is_able = batches(is) || !batches(wanted);
        if is.num_replicas == wanted.num_replicas
            && bytes(is) == bytes(wanted)
            && !renamed
            && is_able
        {
            return Ok(Extent::of(info));
        }
        let info = self.context.update_stream(wanted).await;
        let info = info.map_err(self.away("change a stream at"))?;
        if batches(wanted) && !batches(&info.config) {
            let why =
                "its servers know no batches; they must be of version 2.12 or later".to_owned();
            return Err(StoreError::Refused { what: "the state", why });
        }
        Ok(Extent::of(&info))
    }

    /// From where to where it goes now; `None` if there is no such stream.
    pub(super) async fn extent(&self) -> Result<Option<Extent>, StoreError> {
        self.again(|| self.extent_once().boxed()).await
    }

    /// The same of a stream that was there. One that has just been made is not known everywhere at once, so that it
    /// is gone is believed at the limit only.
    pub(super) async fn extent_of_known(&self) -> Result<Extent, StoreError> {
        let known = || async {
            let extent = self.extent_once().await?;
            extent.ok_or_else(|| self.odd("read from", "it is not there, and was"))
        };
        self.again(|| known().boxed()).await
    }

    async fn extent_once(&self) -> Result<Option<Extent>, StoreError> {
        let asked: Result<Response<Info>, _> =
            self.context.request(format!("STREAM.INFO.{}", self.name), &()).await;
        match asked.map_err(self.away("read from"))? {
            Response::Ok(info) => Ok(Some(Extent::of(&info))),
            Response::Err { error } if error.error_code().0 == NO_STREAM => Ok(None),
            Response::Err { error } => Err(self.away("read from")(error)),
        }
    }

    /// A message as the leader has it; `None` if it is not there.
    pub(super) async fn get(&self, sequence: u64) -> Result<Option<Stored>, StoreError> {
        self.again(|| self.get_once(sequence).boxed()).await
    }

    async fn get_once(&self, sequence: u64) -> Result<Option<Stored>, StoreError> {
        let stream = self.handle().await?;
        match stream.get_raw_message(sequence).await {
            Ok(found) => Ok(Some(Stored::of(found))),
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(self.away("read from")(error)),
        }
    }

    /// A message as whoever is near has it, or else the leader.
    pub(super) async fn near(&self, sequence: u64) -> Result<Option<Stored>, StoreError> {
        self.again(|| self.near_once(sequence).boxed()).await
    }

    async fn near_once(&self, sequence: u64) -> Result<Option<Stored>, StoreError> {
        let stream = self.handle().await?;
        match stream.direct_get(sequence).await {
            Ok(found) => Ok(Some(Stored::of(found))),
            Err(error) if error.kind() == DirectGetErrorKind::NotFound => {
                self.get_once(sequence).await
            }
            Err(error) => Err(self.away("read from")(error)),
        }
    }

    /// The first message of a subject from a number on, as the leader has it.
    pub(super) async fn next_of(
        &self,
        from: u64,
        subject: &str,
    ) -> Result<Option<Stored>, StoreError> {
        self.again(|| self.next_of_once(from, subject).boxed()).await
    }

    async fn next_of_once(&self, from: u64, subject: &str) -> Result<Option<Stored>, StoreError> {
        let stream = self.handle().await?;
        let asked = stream.raw_message_builder().sequence(from).next_by_subject(subject).send();
        match asked.await {
            Ok(found) => Ok(Some(Stored::of(found))),
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(self.away("read from")(error)),
        }
    }

    /// Messages from a number on, in order, at most so many and about so many bytes, of one subject
    /// if one is named; those that whoever is near has, which may be none.
    pub(super) async fn batch(
        &self,
        from: u64,
        count: usize,
        bytes: usize,
        subject: Option<&str>,
    ) -> Result<Vec<Stored>, StoreError> {
        self.again(|| self.batch_once(from, count, bytes, subject).boxed()).await
    }

    async fn batch_once(
        &self,
        from: u64,
        count: usize,
        bytes: usize,
        subject: Option<&str>,
    ) -> Result<Vec<Stored>, StoreError> {
        let client = self.context.client();
        let inbox = client.new_inbox();
        let answers = client.subscribe(inbox.clone()).await;
        let mut answers = answers.map_err(self.away("read from"))?;
        let mut asked = json!({ "seq": from, "batch": count, "max_bytes": bytes });
        if let Some(subject) = subject {
            asked["next_by_subj"] = subject.into();
        }
        let request = Request::new().payload(asked.to_string().into()).inbox(inbox);
        let sent = self.context.send_request(format!("DIRECT.GET.{}", self.name), request).await;
        sent.map_err(self.away("read from"))?;
        let mut found = Vec::new();
        loop {
            let next = tokio::time::timeout(ASK, answers.next()).await;
            let next = next.ok().flatten();
            let next = next.ok_or_else(|| self.odd("read from", "it stopped in the middle"))?;
            match next.status {
                None => {}
                Some(StatusCode::NO_RESPONDERS) => {
                    return Err(self.odd("read from", "nobody answers for it"));
                }
                Some(_) => return Ok(found),
            }
            let header = |name: &str| Some(next.headers.as_ref()?.get(name)?.as_str().to_owned());
            let sequence = header("Nats-Sequence").and_then(|sequence| sequence.parse().ok());
            let told = sequence.zip(header("Nats-Subject"));
            let (sequence, subject) =
                told.ok_or_else(|| self.odd("read from", "a message has no number"))?;
            let headers = next.headers.unwrap_or_default();
            found.push(Stored { sequence, subject, headers, payload: next.payload });
        }
    }

    /// Sends a message that is stored only if it becomes number `sequence`. The acknowledgement is
    /// waited for apart from this.
    pub(super) async fn publish(
        &self,
        subject: &str,
        sequence: u64,
        payload: Bytes,
    ) -> Result<PublishAckFuture, StoreError> {
        let message = PublishMessage::build().payload(payload).expected_last_sequence(sequence - 1);
        let message = message.expected_stream(&self.name);
        let sent = self.publisher.send_publish(subject.to_owned(), message).await;
        sent.map_err(self.away("write to"))
    }

    /// Puts a message in the place of the last one of its subject: whatever that is, or only if it has
    /// this number, 0 for none. An empty one is a mark that there is none any more.
    pub(super) async fn put(
        &self,
        subject: &str,
        payload: Bytes,
        replaces: Option<u64>,
    ) -> Result<Put, StoreError> {
        let mut message = PublishMessage::build().expected_stream(&self.name);
        if payload.is_empty() {
            message = message.header("KV-Operation", "DEL");
        }
        if let Some(replaces) = replaces {
            message = message.expected_last_subject_sequence(replaces);
        }
        let sent = self.publisher.send_publish(subject.to_owned(), message.payload(payload)).await;
        match sent.map_err(self.away("write to"))?.await {
            Ok(told) => Ok(Put::Done(told.sequence)),
            Err(error) if is_other(&error) => Ok(Put::Other),
            Err(error) => Err(self.away("write to")(error)),
        }
    }

    /// Waits for the acknowledgement of a message that was to become number `sequence`.
    pub(super) async fn acknowledged(
        &self,
        sequence: u64,
        acknowledgement: PublishAckFuture,
    ) -> Result<(), StoreError> {
        let told = acknowledgement.await.map_err(self.away("write to"))?;
        if told.sequence != sequence {
            let why = format!("a message became number {}, not {sequence}", told.sequence);
            return Err(self.odd("write to", &why));
        }
        Ok(())
    }

    /// Removes all messages before a number.
    pub(super) async fn purge_before(&self, sequence: u64) -> Result<(), StoreError> {
        let stream = self.handle().await?;
        let purge = || stream.purge().sequence(sequence).into_future();
        let purged = || purge().map(|purged| purged.map(drop).map_err(self.away("write to")));
        self.again(|| purged().boxed()).await
    }

    /// Removes the stream, if it is there.
    pub(super) async fn delete(&self) -> Result<(), StoreError> {
        self.again(|| self.delete_once().boxed()).await
    }

    async fn delete_once(&self) -> Result<(), StoreError> {
        match self.context.delete_stream(&self.name).await {
            Err(error) if !matches!(error.kind(), DeleteStreamErrorKind::JetStream(told) if told.error_code().0 == NO_STREAM) => {
                Err(self.away("write to")(error))
            }
            _ => Ok(()),
        }
    }

    /// The metadata of all streams with subjects of this pattern.
    pub(super) async fn list(&self, subjects: &str) -> Result<Vec<Value>, StoreError> {
        self.again(|| self.list_once(subjects).boxed()).await
    }

    async fn list_once(&self, subjects: &str) -> Result<Vec<Value>, StoreError> {
        let mut found: Vec<Value> = Vec::new();
        loop {
            let asked = json!({ "subject": subjects, "offset": found.len() });
            let page: Result<Response<Value>, _> =
                self.context.request("STREAM.LIST", &asked).await;
            let page = match page.map_err(self.away("read from"))? {
                Response::Ok(page) => page,
                Response::Err { error } => return Err(self.away("read from")(error)),
            };
            let streams = page["streams"].as_array().map_or(&[][..], Vec::as_slice);
            found.extend(streams.iter().map(|stream| stream["config"]["metadata"].clone()));
            if streams.is_empty() || found.len() as u64 >= page["total"].as_u64().unwrap_or(0) {
                return Ok(found);
            }
        }
    }
}

/// Whether a message was refused because the last one of its subject is another, or may become one.
fn is_other(error: &PublishError) -> bool {
    let told = error.source().and_then(|source| source.downcast_ref::<ServerError>());
    let code = told.map(ServerError::error_code);
    error.kind() == PublishErrorKind::WrongLastSequence
        || code == Some(ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT)
}

/// Tells of messages of a subject as they are stored, by their heads alone, until nobody listens.
pub(super) async fn hints(stream: Stream, subject: String, tell: watch::Sender<u64>) {
    let listen = async {
        loop {
            if let Err(error) = listen(&stream, &subject, &tell).await {
                tracing::debug!(stream = stream.name, %error, "no news; asked again");
            }
            tokio::time::sleep(HINTS_AGAIN).await;
        }
    };
    tokio::select! {
        () = listen => {}
        () = tell.closed() => {}
    }
}

async fn listen(
    stream: &Stream,
    subject: &str,
    tell: &watch::Sender<u64>,
) -> Result<(), async_nats::Error> {
    let config = pull::OrderedConfig {
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: *tell.borrow() + 1 },
        filter_subject: subject.to_owned(),
        headers_only: true,
        ..pull::OrderedConfig::default()
    };
    let consumer = stream.handle().await?.create_consumer(config).await?;
    let mut messages = consumer.messages().await?;
    while let Some(message) = messages.next().await {
        let sequence = message?.info()?.stream_sequence;
        tell.send_if_modified(|told| {
            let is_more = sequence > *told;
            *told = sequence.max(*told);
            is_more
        });
    }
    Ok(())
}
