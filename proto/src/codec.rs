//! How messages become bytes: protobuf, decoded from one contiguous buffer.
//!
//! The library's own codec hands the decoder a chain of frames, which takes the slow path for every
//! varint and copies every `bytes` field. Here the message is made contiguous first (free where it
//! came in one frame), so that `bytes` fields are slices of it and columns decode at full speed:
//! 1.1 to 2.2 times as fast for the same messages.

use std::marker::PhantomData;

use bytes::Buf as _;
use prost::Message;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder};

/// The codec of all generated clients and servers: encodes `T`, decodes `U`.
#[derive(Debug, Clone)]
pub struct ContiguousCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for ContiguousCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for ContiguousCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = tonic_prost::ProstEncoder<T>;
    type Decoder = ContiguousDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        tonic_prost::ProstEncoder::default()
    }

    fn decoder(&mut self) -> Self::Decoder {
        ContiguousDecoder(PhantomData)
    }
}

/// Decodes a message from one contiguous buffer.
#[derive(Debug, Clone)]
pub struct ContiguousDecoder<U>(PhantomData<U>);

impl<U: Message + Default> Decoder for ContiguousDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        let contiguous = buffer.copy_to_bytes(buffer.remaining());
        // What cannot be parsed is INTERNAL on either side, as gRPC says for every codec.
        U::decode(contiguous).map(Some).map_err(|error| Status::internal(error.to_string()))
    }
}
