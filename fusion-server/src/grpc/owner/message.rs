//! The first message of a call, read ahead: what of it says which view the call is about.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use fusion_proto::limits;
use fusion_proto::pb::ReadClass;
use fusion_proto::status::Refusal;
use http_body::Frame;
use http_body_util::BodyExt as _;
use prost::Message;
use tonic::Status;
use tonic::body::Body;

use crate::grpc::idempotency::FRAME_HEAD;

/// A request of which field 1 names something.
#[derive(Message)]
pub(super) struct Named {
    #[prost(string, tag = "1")]
    pub(super) id: String,
}

/// The first message of a stream of evidence.
#[derive(Message)]
pub(super) struct Opens {
    #[prost(message, optional, tag = "1")]
    pub(super) opening: Option<Named>,
}

#[derive(Message)]
pub(super) struct Plans {
    #[prost(message, repeated, tag = "1")]
    pub(super) steps: Vec<Step>,
}

#[derive(Message)]
pub(super) struct Step {
    #[prost(string, tag = "3")]
    pub(super) view: String,
}

/// The class of a read, in the field that its method has it in.
pub(super) fn class_of(message: &[u8], field: u32) -> ReadClass {
    #[derive(Message)]
    struct In3 {
        #[prost(enumeration = "ReadClass", tag = "3")]
        class: i32,
    }
    #[derive(Message)]
    struct In5 {
        #[prost(enumeration = "ReadClass", tag = "5")]
        class: i32,
    }
    #[derive(Message)]
    struct In6 {
        #[prost(enumeration = "ReadClass", tag = "6")]
        class: i32,
    }
    let class = match field {
        3 => In3::decode(message).map(|it| it.class()),
        5 => In5::decode(message).map(|it| it.class()),
        _ => In6::decode(message).map(|it| it.class()),
    };
    // Its handler says what is wrong with it.
    class.unwrap_or(ReadClass::Unspecified)
}

/// The first message of a call, and the body as it was.
pub(super) async fn first_message(mut body: Body) -> Result<(Bytes, Body), Refusal> {
    let mut read = BytesMut::new();
    let broken = |why: &str| Refusal::invalid("request", why);
    let end = loop {
        if let Some(head) = read.first_chunk::<FRAME_HEAD>() {
            let [_, length @ ..] = *head;
            let length = u32::from_be_bytes(length) as usize;
            if length > limits::MESSAGE_BYTES {
                // Its handler refuses it.
                break FRAME_HEAD;
            }
            if read.len() >= FRAME_HEAD + length {
                break FRAME_HEAD + length;
            }
        }
        match body.frame().await {
            None => break read.len().min(FRAME_HEAD),
            Some(Err(error)) => return Err(broken(error.message())),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => read.extend_from_slice(&data),
                Err(_) => break read.len().min(FRAME_HEAD),
            },
        }
    };
    let read = read.freeze();
    let message = match read.first() {
        Some(0) if end > FRAME_HEAD => read.slice(FRAME_HEAD..end),
        _ => Bytes::new(),
    };
    Ok((message, Body::new(Prefixed { first: Some(read), rest: body })))
}

/// A body of which the beginning was read.
struct Prefixed {
    first: Option<Bytes>,
    rest: Body,
}

impl http_body::Body for Prefixed {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match self.first.take().filter(|first| !first.is_empty()) {
            Some(first) => Poll::Ready(Some(Ok(Frame::data(first)))),
            None => Pin::new(&mut self.rest).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.as_ref().is_none_or(Bytes::is_empty) && self.rest.is_end_stream()
    }
}
