//! Evidence out of nothing: sessions, batches and streams for the load generator.

use anyhow::{Context as _, Result, bail};
use fusion_proto::pb;
use fusion_proto::pb::session_service_client::SessionServiceClient;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::codec::Streaming;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use uuid::Uuid;

use super::raw::{Encoded, EncodedBatch, SendEncoded};

/// Children of every generated directory.
pub(super) const PER_DIRECTORY: u64 = 250;
/// Rows of a batch.
pub(super) const BATCH: u64 = 1_000;
/// Batches under way on a stream.
const WINDOW: usize = 32;

pub(crate) fn stat(kind: pb::EntryKind, inode: u64, change: i64) -> pb::Stat {
    pb::Stat {
        kind: kind.into(),
        size: inode % 100_000,
        mtime_time_ns: 1_700_000_000_000_000_000 + change,
        ctime_time_ns: 1_700_000_000_000_000_000 + change,
        inode,
        mode: 0o644,
        uid: 1000,
        gid: 1000,
        nlink: 1,
    }
}

/// Path of the `number`th generated directory.
pub(super) fn directory(number: u64) -> String {
    format!("/dir{number:06}")
}

/// Name of the `number`th child of a generated directory: 14 bytes.
pub(super) fn child(number: u64) -> String {
    format!("file-{number:09}")
}

/// What a new agent asks for a session with. It is told only what its view is; the longest timeout
/// lets it be silent.
pub(crate) fn asks(view: &str) -> pb::CreateSessionRequest {
    pb::CreateSessionRequest {
        view: view.to_owned(),
        agent_id: format!("load-{}", Uuid::new_v4().simple()),
        instance_id: Uuid::new_v4().to_string(),
        spool_id: Uuid::new_v4().to_string(),
        client: Some(pb::Client { name: "fusion-tests".into(), ..Default::default() }),
        root: Some(pb::Root {
            uri: "file://load/".into(),
            identity: Some(pb::RootIdentity {
                inode: 1,
                // Any view that has this entry takes the root.
                top: vec![pb::root_identity::TopEntry {
                    name: directory(0)[1..].to_owned().into_bytes().into(),
                    inode: 10,
                }],
                ..Default::default()
            }),
        }),
        capabilities: vec![pb::Capability::Realtime.into(), pb::Capability::Scan.into()],
        proposed_timeout: Some(prost_types_duration(600)),
    }
}

/// A session that beats itself.
pub(super) struct LoadSession {
    pub(super) channel: Channel,
    pub(super) session_id: String,
    pub(super) spool_id: String,
    pub(super) epoch: u64,
}

impl LoadSession {
    /// Begins a session of a new agent with a view.
    pub(super) async fn begin(url: &str, view: &str) -> Result<Self> {
        let channel = fusion_proto::client::lazy_channel(url).context("our own address")?;
        let request = asks(view);
        let spool_id = request.spool_id.clone();
        let answer = SessionServiceClient::new(channel.clone()).create_session(request).await?;
        let answer = answer.into_inner();
        let (session_id, epoch) = (answer.session_id, answer.leader_epoch);
        Ok(Self { channel, session_id, spool_id, epoch })
    }

    /// The same session at another server.
    pub(super) fn at(&self, url: &str) -> Result<Self> {
        let channel = fusion_proto::client::lazy_channel(url).context("our own address")?;
        let (session_id, spool_id) = (self.session_id.clone(), self.spool_id.clone());
        Ok(Self { channel, session_id, spool_id, epoch: self.epoch })
    }

    /// Says that it watches everything.
    pub(super) async fn beat(&self) -> Result<()> {
        let status = pb::AgentStatus {
            realtime_ready: true,
            root_state: pb::RootState::Available.into(),
            ..Default::default()
        };
        let request = pb::HeartbeatRequest {
            session_id: self.session_id.clone(),
            status: Some(status),
            ..Default::default()
        };
        SessionServiceClient::new(self.channel.clone()).heartbeat(request).await?;
        Ok(())
    }

    /// Opens a lane for the first time.
    pub(super) async fn open(&self, lane: pb::Lane) -> Result<LoadStream> {
        self.open_after(lane, 0).await
    }

    /// Opens a lane that has had so many batches.
    pub(super) async fn open_after(&self, lane: pb::Lane, sent: u64) -> Result<LoadStream> {
        let (sender, receiver) = mpsc::channel(WINDOW);
        let realtime = lane == pb::Lane::Realtime;
        let opening = pb::PushOpening {
            session_id: self.session_id.clone(),
            lane: lane.into(),
            spool_id: if realtime { self.spool_id.clone() } else { String::new() },
            first_held: sent + 1,
            next: sent + 1,
        };
        let message = pb::push_events_request::Message::Opening(opening);
        let opening = pb::PushEventsRequest { message: Some(message) };
        sender.send(Encoded::of(&opening)).await?;
        let mut client = Grpc::new(self.channel.clone());
        client.ready().await?;
        let path = PathAndQuery::from_static("/fusion.v1.EventService/PushEvents");
        let requests = tonic::Request::new(ReceiverStream::new(receiver));
        let answers = client.streaming(requests, path, SendEncoded::default()).await?.into_inner();
        let mut stream = LoadStream { sender, answers, sent, acknowledged: sent };
        match stream.answers.message().await?.and_then(|answer| answer.message) {
            Some(pb::push_events_response::Message::Opened(_)) => Ok(stream),
            other => bail!("the lane was not opened: {other:?}"),
        }
    }
}

/// An open lane.
pub(super) struct LoadStream {
    sender: mpsc::Sender<Encoded>,
    answers: Streaming<pb::PushEventsResponse>,
    sent: u64,
    acknowledged: u64,
}

impl LoadStream {
    /// Sends a batch under the next sequence, waiting for acknowledgements when the window is full.
    pub(super) async fn push(&mut self, batch: &EncodedBatch) -> Result<()> {
        while self.sent - self.acknowledged >= WINDOW as u64 {
            self.hear().await?;
        }
        self.sent += 1;
        if self.sender.send(batch.numbered(self.sent)).await.is_err() {
            // What ended it is said by the answers.
            while self.acknowledged < self.sent {
                self.hear().await?;
            }
        }
        Ok(())
    }

    /// Waits until everything is acknowledged.
    pub(super) async fn drain(&mut self) -> Result<()> {
        while self.acknowledged < self.sent {
            self.hear().await?;
        }
        Ok(())
    }

    async fn hear(&mut self) -> Result<()> {
        let answer = self.answers.message().await?.context("the stream ended")?;
        if let Some(pb::push_events_response::Message::Acknowledgement(done)) = answer.message {
            if let Some(row) = done.rejected.first() {
                bail!("a row was refused: {row:?}");
            }
            self.acknowledged = done.through_sequence;
        }
        Ok(())
    }
}

/// A first scan that makes `entries` files in directories of [`PER_DIRECTORY`], with its frame.
pub(super) async fn fill(session: &LoadSession, entries: u64) -> Result<LoadStream> {
    let mut stream = session.open(pb::Lane::Scan).await?;
    let directories = entries.div_ceil(PER_DIRECTORY);
    let mut first = listing_batch(session.epoch, &[("/".to_owned(), 1)], |_| {
        (0..directories)
            .map(|number| {
                let name = directory(number)[1..].to_owned();
                (name, stat(pb::EntryKind::Directory, 10 + number, 0))
            })
            .collect()
    });
    first.rows.push(scan_started());
    // The root has more directories than a batch has rows: it goes in parts.
    for part in in_parts(first) {
        stream.push(&EncodedBatch::of(&part)).await?;
    }
    // Some at a time: a hundred million rows have no room in memory.
    for first in (0..directories).step_by(1_000) {
        let some = first..directories.min(first + 1_000);
        for batch in listing_batches(session.epoch, some, 0) {
            stream.push(&EncodedBatch::of(&batch)).await?;
        }
    }
    let finished = evidence(pb::evidence::Evidence::ScanFinished(pb::ScanFinished {
        scan_id: 1,
        complete: true,
        directories,
        entries,
        errors: 0,
    }));
    let batch = pb::EvidenceBatch {
        leader_epoch: session.epoch,
        rows: vec![finished],
        ..Default::default()
    };
    stream.push(&EncodedBatch::of(&batch)).await?;
    stream.drain().await?;
    Ok(stream)
}

/// Listings of these directories, several to a batch; `change` is added to all times.
pub(super) fn listing_batches(
    epoch: u64,
    directories: std::ops::Range<u64>,
    change: i64,
) -> Vec<pb::EvidenceBatch> {
    let per_batch = (BATCH / (PER_DIRECTORY + 1)).max(1);
    let numbers: Vec<u64> = directories.collect();
    numbers
        .chunks(usize::try_from(per_batch).unwrap_or(1))
        .map(|chunk| {
            let dirs: Vec<_> =
                chunk.iter().map(|&number| (directory(number), 10 + number)).collect();
            listing_batch(epoch, &dirs, |inode| {
                let base = 1_000_000 + inode * PER_DIRECTORY;
                (0..PER_DIRECTORY)
                    .map(|file| (child(file), stat(pb::EntryKind::File, base + file, change)))
                    .collect()
            })
        })
        .collect()
}

/// One evidence row of now.
pub(crate) fn evidence(evidence: pb::evidence::Evidence) -> pb::Evidence {
    pb::Evidence { observed_at: Some(now_pb()), evidence: Some(evidence) }
}

fn scan_started() -> pb::Evidence {
    evidence(pb::evidence::Evidence::ScanStarted(pb::ScanStarted {
        scan_id: 1,
        source: pb::ScanSource::Snapshot.into(),
        path: b"/".to_vec().into(),
        root: Some(pb::RootIdentity { inode: 1, ..Default::default() }),
    }))
}

fn listing_batch(
    epoch: u64,
    directories: &[(String, u64)],
    children: impl Fn(u64) -> Vec<(String, pb::Stat)>,
) -> pb::EvidenceBatch {
    let mut listings = pb::Listings {
        scan_id: 1,
        source: pb::ScanSource::Snapshot.into(),
        directory_stats: Some(pb::StatColumns::default()),
        stats: Some(pb::StatColumns::default()),
        ..Default::default()
    };
    let (mut paths, mut names, mut flags) = (Vec::new(), Vec::new(), Vec::new());
    let (mut directory_stats, mut stats) = (Columns::default(), Columns::default());
    for (path, inode) in directories {
        let rows = children(*inode);
        paths.extend_from_slice(path.as_bytes());
        listings.directory_path_lengths.push(path.len() as u32);
        directory_stats.push(&stat(pb::EntryKind::Directory, *inode, 0));
        listings.started_at_time_ns.push(now_ns());
        listings.finished_at_time_ns.push(now_ns());
        listings.directory_rows.push(rows.len() as u32);
        listings.parts.push(0);
        flags.push(3);
        for (name, stat) in rows {
            names.extend_from_slice(name.as_bytes());
            listings.name_lengths.push(name.len() as u32);
            stats.push(&stat);
        }
    }
    listings.directory_paths = paths.into();
    listings.directory_flags = flags.into();
    listings.names = names.into();
    listings.directory_stats = Some(directory_stats.done());
    listings.stats = Some(stats.done());
    pb::EvidenceBatch { leader_epoch: epoch, listings: vec![listings], ..Default::default() }
}

/// Stat columns while they grow.
#[derive(Default)]
struct Columns {
    kinds: Vec<u8>,
    rest: pb::StatColumns,
}

impl Columns {
    fn push(&mut self, stat: &pb::Stat) {
        self.kinds.push(u8::try_from(stat.kind).unwrap_or_default());
        self.rest.sizes.push(stat.size);
        self.rest.mtimes_time_ns.push(stat.mtime_time_ns);
        self.rest.ctimes_time_ns.push(stat.ctime_time_ns);
        self.rest.inodes.push(stat.inode);
        self.rest.modes.push(stat.mode);
        self.rest.uids.push(stat.uid);
        self.rest.gids.push(stat.gid);
        self.rest.nlinks.push(stat.nlink);
    }

    fn done(self) -> pb::StatColumns {
        pb::StatColumns { kinds: self.kinds.into(), ..self.rest }
    }
}

/// Cuts the one directory of a batch into parts that keep the limit.
fn in_parts(batch: pb::EvidenceBatch) -> Vec<pb::EvidenceBatch> {
    let Some(whole) = batch.listings.first() else { return vec![batch] };
    let stats = whole.stats.clone().unwrap_or_default();
    let (total, step) = (whole.name_lengths.len(), BATCH as usize - 2);
    let mut parts = Vec::new();
    let mut from = 0;
    let mut bytes = 0;
    while from < total || parts.is_empty() {
        let to = (from + step).min(total);
        let length: usize = whole.name_lengths[from..to].iter().map(|&one| one as usize).sum();
        let mut part = whole.clone();
        part.names = whole.names.slice(bytes..bytes + length);
        part.name_lengths = whole.name_lengths[from..to].to_vec();
        part.directory_rows = vec![(to - from) as u32];
        part.parts = vec![parts.len() as u32];
        part.directory_flags = vec![if to == total { 3 } else { 2 }].into();
        part.stats = Some(pb::StatColumns {
            kinds: stats.kinds.slice(from..to),
            sizes: stats.sizes[from..to].to_vec(),
            mtimes_time_ns: stats.mtimes_time_ns[from..to].to_vec(),
            ctimes_time_ns: stats.ctimes_time_ns[from..to].to_vec(),
            inodes: stats.inodes[from..to].to_vec(),
            modes: stats.modes[from..to].to_vec(),
            uids: stats.uids[from..to].to_vec(),
            gids: stats.gids[from..to].to_vec(),
            nlinks: stats.nlinks[from..to].to_vec(),
        });
        let rows = if parts.is_empty() { batch.rows.clone() } else { Vec::new() };
        parts.push(pb::EvidenceBatch { rows, listings: vec![part], ..batch.clone() });
        from = to;
        bytes += length;
    }
    parts
}

#[expect(clippy::disallowed_methods, reason = "the load generator is an agent of its own")]
pub(super) fn now_ns() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |span| i64::try_from(span.as_nanos()).unwrap_or(i64::MAX))
}

fn now_pb() -> prost_types::Timestamp {
    fusion_proto::convert::time::server_time_to_pb(fusion_core::time::ServerTime::from_nanos(
        now_ns(),
    ))
}

fn prost_types_duration(seconds: i64) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos: 0 }
}
