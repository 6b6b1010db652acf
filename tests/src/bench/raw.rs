//! Messages as bytes: encoded before the clock starts, and answers that are only passed over.
//!
//! The load generator shares two cores with what it measures, so what it does itself must cost next
//! to nothing; server and yardstick get the very same bytes.

use std::marker::PhantomData;

use anyhow::Result;
use fusion_proto::codec::{ContiguousCodec, ContiguousDecoder};
use fusion_proto::pb;
use prost::Message;
use prost::bytes::{Buf as _, BufMut as _, Bytes};
use prost::encoding::{decode_varint, encode_varint};
use tonic::Status;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder, Streaming};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;

/// A message that is encoded already, in two pieces.
#[derive(Debug)]
pub(super) struct Encoded {
    head: Vec<u8>,
    body: Bytes,
}

impl Encoded {
    pub(super) fn of(message: &impl Message) -> Self {
        Self { head: Vec::new(), body: message.encode_to_vec().into() }
    }
}

/// A batch that is encoded but for its sequence.
#[derive(Debug, Clone)]
pub(super) struct EncodedBatch(Bytes);

impl EncodedBatch {
    pub(super) fn of(batch: &pb::EvidenceBatch) -> Self {
        debug_assert_eq!(batch.sequence, 0);
        Self(batch.encode_to_vec().into())
    }

    /// The message of a stream that carries it: `batch` (2) of a `PushEventsRequest`, and in it
    /// first `sequence` (1).
    pub(super) fn numbered(&self, sequence: u64) -> Encoded {
        let mut number = vec![0x08];
        encode_varint(sequence, &mut number);
        let mut head = vec![0x12];
        encode_varint((number.len() + self.0.len()) as u64, &mut head);
        head.extend_from_slice(&number);
        Encoded { head, body: self.0.clone() }
    }
}

/// Sends encoded messages, and decodes answers as ever.
pub(super) struct SendEncoded<U>(PhantomData<U>);

impl<U> Default for SendEncoded<U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<U: Message + Default + Send + 'static> Codec for SendEncoded<U> {
    type Encode = Encoded;
    type Decode = U;
    type Encoder = Copier;
    type Decoder = ContiguousDecoder<U>;

    fn encoder(&mut self) -> Copier {
        Copier
    }

    fn decoder(&mut self) -> ContiguousDecoder<U> {
        ContiguousCodec::<U, U>::default().decoder()
    }
}

/// Sends encoded messages, and of an answer counts the elements of its first field.
#[derive(Default)]
struct CountElements;

impl Codec for CountElements {
    type Encode = Encoded;
    type Decode = u64;
    type Encoder = Copier;
    type Decoder = Counter;

    fn encoder(&mut self) -> Copier {
        Copier
    }

    fn decoder(&mut self) -> Counter {
        Counter
    }
}

pub(super) struct Copier;

impl Encoder for Copier {
    type Item = Encoded;
    type Error = Status;

    fn encode(&mut self, item: Encoded, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.reserve(item.head.len() + item.body.len());
        buffer.put_slice(&item.head);
        buffer.put_slice(&item.body);
        Ok(())
    }
}

struct Counter;

impl Decoder for Counter {
    type Item = u64;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<u64>, Status> {
        let bytes = buffer.copy_to_bytes(buffer.remaining());
        count_elements(&bytes).map(Some).ok_or_else(|| Status::internal("not such an answer"))
    }
}

/// How many elements of field 1 a message has whose fields all have a length.
fn count_elements(mut bytes: &[u8]) -> Option<u64> {
    let mut count = 0;
    while let Some((&tag, rest)) = bytes.split_first() {
        bytes = rest;
        let length = usize::try_from(decode_varint(&mut bytes).ok()?).ok()?;
        bytes = (tag & 7 == 2).then(|| bytes.get(length..)).flatten()?;
        count += u64::from(tag == 0x0a);
    }
    Some(count)
}

/// Sends encoded messages, and of a message of a watch gives the number of its changes and its revision.
#[derive(Default)]
struct CountChanges;

impl Codec for CountChanges {
    type Encode = Encoded;
    type Decode = (u64, u64);
    type Encoder = Copier;
    type Decoder = ChangesCounter;

    fn encoder(&mut self) -> Copier {
        Copier
    }

    fn decoder(&mut self) -> ChangesCounter {
        ChangesCounter
    }
}

pub(super) struct ChangesCounter;

impl Decoder for ChangesCounter {
    type Item = (u64, u64);
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<(u64, u64)>, Status> {
        let bytes = buffer.copy_to_bytes(buffer.remaining());
        count_changes(&bytes).map(Some).ok_or_else(|| Status::internal("not such an answer"))
    }
}

/// How many changes a message of a watch has, and its revision.
fn count_changes(mut bytes: &[u8]) -> Option<(u64, u64)> {
    let (mut count, mut revision) = (0, 0);
    while let Some((&tag, rest)) = bytes.split_first() {
        bytes = rest;
        let number = decode_varint(&mut bytes).ok()?;
        if tag == 0x10 {
            revision = number;
        } else {
            bytes = bytes.get(usize::try_from(number).ok()?..)?;
            count += 1;
        }
    }
    Some((count, revision))
}

/// Watches; of each message come the number of its changes and its revision.
pub(super) async fn watch(
    channel: Channel,
    request: &pb::WatchViewRequest,
) -> Result<Streaming<(u64, u64)>> {
    let mut client = Grpc::new(channel);
    client.ready().await?;
    let path = PathAndQuery::from_static("/fusion.v1.ViewService/WatchView");
    let request = tonic::Request::new(Encoded::of(request));
    Ok(client.server_streaming(request, path, CountChanges).await?.into_inner())
}

/// Lists a directory; how many entries came.
pub(super) async fn list(channel: Channel, request: &pb::ListEntriesRequest) -> Result<u64> {
    let mut client = Grpc::new(channel);
    client.ready().await?;
    let path = PathAndQuery::from_static("/fusion.v1.ViewService/ListEntries");
    let request = tonic::Request::new(Encoded::of(request));
    Ok(client.unary(request, path, CountElements).await?.into_inner())
}

/// Searches; of each message comes the number of its entries.
pub(super) async fn find(
    channel: Channel,
    request: &pb::FindEntriesRequest,
) -> Result<Streaming<u64>> {
    let mut client = Grpc::new(channel);
    client.ready().await?;
    let path = PathAndQuery::from_static("/fusion.v1.ViewService/FindEntries");
    let request = tonic::Request::new(Encoded::of(request));
    Ok(client.server_streaming(request, path, CountElements).await?.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_numbered_batch_is_the_message_with_that_number() {
        let mut batch = pb::EvidenceBatch { leader_epoch: 7, ..Default::default() };
        let encoded = EncodedBatch::of(&batch).numbered(300);
        let bytes = [&*encoded.head, &*encoded.body].concat();
        batch.sequence = 300;
        let message = Some(pb::push_events_request::Message::Batch(batch));
        assert_eq!(pb::PushEventsRequest::decode(&*bytes), Ok(pb::PushEventsRequest { message }));
    }

    #[test]
    fn elements_are_counted() {
        let entries = vec![pb::Entry { path: "/a".into(), ..Default::default() }; 3];
        let freshness = Some(pb::Freshness::default());
        let next_page_token = "token".into();
        let answer =
            pb::ListEntriesResponse { entries, freshness, next_page_token, ..Default::default() };
        assert_eq!(count_elements(&answer.encode_to_vec()), Some(3));
        assert_eq!(count_elements(&[0x0a, 200, 1]), None);
        let events = vec![pb::EventEnvelope { version: 9, ..Default::default() }; 2];
        let told = pb::WatchViewResponse { events, revision: 300, ..Default::default() };
        assert_eq!(count_changes(&told.encode_to_vec()), Some((2, 300)));
        assert_eq!(count_changes(&[0x0a, 200, 1]), None);
    }
}
