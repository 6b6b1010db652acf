//! A session of our own making, and streams on which any bytes can be sent.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;

use bytes::{BufMut as _, Bytes};
use fusion_core::evidence::{Evidence, RootIdentity};
use fusion_core::id::{AgentId, InstanceId, SessionId, SpoolId, ViewName};
use fusion_core::path::PathRef;
use fusion_core::time::ServerTime;
use fusion_proto::codec::{ContiguousCodec, ContiguousDecoder};
use fusion_proto::convert::evidence::{BatchBudget, BatchBuilder, BatchHeader, Push, WireBatch};
use fusion_proto::convert::root::RootClaim;
use fusion_proto::convert::session::{ClientInfo, CreateSession, CreatedSession};
use fusion_proto::pb;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codec::{Codec, EncodeBuf, Encoder};
use tonic::{Request, Status, Streaming};
use uuid::Uuid;

use super::checks::client;
use crate::disk;
use crate::pair::World;

/// A session that nobody beats; it lives for its timeout.
#[derive(Debug)]
pub struct RawAgent {
    /// As it was created.
    pub created: CreatedSession,
    /// Its spool's id.
    pub spool: SpoolId,
}

impl RawAgent {
    /// Begins one, with the world's root.
    ///
    /// # Panics
    /// It is refused.
    pub async fn begin(world: &World, name: &str) -> Self {
        Self::begin_in(world, world.view(), name).await
    }

    /// The same in another view.
    ///
    /// # Panics
    /// It is refused.
    pub async fn begin_in(world: &World, view: &ViewName, name: &str) -> Self {
        let spool = SpoolId::new(Uuid::new_v4());
        let meta = fs::metadata(world.root()).expect("the root");
        let top = fs::read_dir(world.root()).expect("the root").flatten().take(64);
        let top = top
            .filter_map(|entry| {
                let inode = entry.metadata().ok()?.ino();
                Some((entry.file_name().as_bytes().to_vec(), inode))
            })
            .collect();
        let identity = RootIdentity { inode: meta.ino(), top, ..RootIdentity::default() };
        let ask = CreateSession {
            view: view.clone(),
            agent: AgentId::new(name).expect("a name"),
            instance: InstanceId::new(Uuid::new_v4()),
            spool,
            client: ClientInfo::default(),
            root: RootClaim { uri: "file://test/".into(), identity },
            capabilities: Vec::new(),
            proposed_timeout: None,
        };
        let created = client(world).sessions.create(&ask).await.expect("a session");
        Self { created, spool }
    }

    /// Its session.
    #[must_use]
    pub fn session(&self) -> SessionId {
        self.created.session
    }

    /// Opens its realtime lane.
    ///
    /// # Panics
    /// It is refused.
    pub async fn open(&self, world: &World, first_held: u64, next: u64) -> RawStream {
        let (sender, receiver) = mpsc::channel(16);
        let opening = pb::PushOpening {
            session_id: self.session().to_string(),
            lane: pb::Lane::Realtime.into(),
            spool_id: self.spool.to_string(),
            first_held,
            next,
        };
        let message = Some(pb::push_events_request::Message::Opening(opening));
        let opening = Sent::Message(pb::PushEventsRequest { message });
        sender.send(opening).await.expect("room");
        let channel = fusion_proto::client::lazy_channel(&world.url()).expect("a URL");
        let mut client = tonic::client::Grpc::new(channel);
        client.ready().await.expect("a connection");
        let path = "/fusion.v1.EventService/PushEvents".parse().expect("a path");
        let request = Request::new(ReceiverStream::new(receiver));
        let answers = client.streaming(request, path, Raw).await.expect("a stream").into_inner();
        let mut stream = RawStream { sender, answers };
        match stream.next().await {
            Ok(Some(pb::push_events_response::Message::Opened(_))) => stream,
            other => panic!("the lane was not opened: {other:?}"),
        }
    }
}

/// An open lane.
#[derive(Debug)]
pub struct RawStream {
    sender: mpsc::Sender<Sent>,
    answers: Streaming<pb::PushEventsResponse>,
}

/// What was acknowledged, and what of it was refused, until a sequence or the end of the stream.
#[derive(Debug, Default)]
pub struct Heard {
    /// All batches up to this one.
    pub through: u64,
    /// Refused rows and batches.
    pub rejected: Vec<pb::RejectedRow>,
    /// How the stream ended, if it did with an error.
    pub status: Option<Status>,
}

impl RawStream {
    /// Sends these bytes as one message.
    pub async fn send(&self, bytes: Vec<u8>) {
        // A stream that is over says so in its answers.
        let _ = self.sender.send(Sent::Bytes(bytes)).await;
    }

    /// Hears until `through` is acknowledged or the stream ends.
    pub async fn hear(&mut self, through: u64) -> Heard {
        let mut heard = Heard::default();
        while heard.through < through {
            match self.next().await {
                Ok(Some(pb::push_events_response::Message::Acknowledgement(told))) => {
                    heard.through = told.through_sequence;
                    heard.rejected.extend(told.rejected);
                }
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(status) => {
                    heard.status = Some(status);
                    break;
                }
            }
        }
        heard
    }

    async fn next(&mut self) -> Result<Option<pb::push_events_response::Message>, Status> {
        Ok(self.answers.message().await?.and_then(|answer| answer.message))
    }
}

/// A batch of true upserts of what stands at these paths of the world, as the bytes of a message.
///
/// # Panics
/// Nothing stands there, or the batch is full.
#[must_use]
pub fn upserts(world: &World, sequence: u64, paths: &[&str]) -> Vec<u8> {
    let tree = disk::walk(world.root());
    let mut builder = BatchBuilder::new(BatchBudget::default());
    for path in paths {
        let parent = path.rsplit_once('/').map(|(parent, _)| parent).filter(|it| !it.is_empty());
        let upsert = Evidence::Upsert {
            path: PathRef::new(path.as_bytes()).expect("a path"),
            stat: tree[*path],
            parent: Some(tree[parent.unwrap_or("/")]),
            atomic: true,
            observed_at: server_time(),
        };
        assert_eq!(builder.push(&upsert), Ok(Push::Taken));
    }
    message(sequence, builder.take())
}

/// A batch as the bytes of a message: `batch`, its length, and it.
#[must_use]
pub fn message(sequence: u64, mut batch: WireBatch) -> Vec<u8> {
    batch.set_header(&BatchHeader { sequence, ..BatchHeader::default() });
    framed(&batch.to_bytes())
}

/// These bytes as the `batch` of a message.
#[must_use]
pub fn framed(batch: &Bytes) -> Vec<u8> {
    let mut bytes = vec![0x12];
    let mut length = batch.len();
    while length >= 0x80 {
        bytes.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    bytes.extend_from_slice(batch);
    bytes
}

/// Now; the server is on this machine.
fn server_time() -> ServerTime {
    ServerTime::from_nanos(crate::process::wall_clock_nanos())
}

/// A message of the contract, or any bytes in its place.
#[derive(Debug)]
enum Sent {
    Message(pb::PushEventsRequest),
    Bytes(Vec<u8>),
}

/// The contract's codec, save that bytes can be sent as they are.
#[derive(Debug, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Sent;
    type Decode = pb::PushEventsResponse;
    type Encoder = Self;
    type Decoder = ContiguousDecoder<pb::PushEventsResponse>;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self::Decoder {
        ContiguousCodec::<pb::PushEventsRequest, _>::default().decoder()
    }
}

impl Encoder for Raw {
    type Item = Sent;
    type Error = Status;

    fn encode(&mut self, sent: Sent, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        match sent {
            Sent::Message(message) => {
                let mut codec =
                    ContiguousCodec::<pb::PushEventsRequest, pb::PushEventsResponse>::default();
                codec.encoder().encode(message, into)
            }
            Sent::Bytes(bytes) => {
                into.put_slice(&bytes);
                Ok(())
            }
        }
    }
}
