//! Rows 2 and 3: evidence applied and acknowledged, beside a sink that only decodes.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use fusion_proto::pb;

use crate::pair::World;

use super::cost::{Count, Speed};
use super::load::{self, BATCH, LoadSession, LoadStream, PER_DIRECTORY};
use super::raw::EncodedBatch;
use super::{Line, Options, median};

/// Batches of new changes for each second that is asked for.
pub(super) const BATCHES: u64 = 500;

pub(super) async fn realtime(options: &Options) -> Result<Line> {
    let measure = async |url: &str, pid: u32, batches: &[EncodedBatch], fill: bool| {
        let session = LoadSession::begin(url, "load").await?;
        if fill {
            load::fill(&session, options.resident).await?;
        }
        let stream = session.open(pb::Lane::Realtime).await?;
        // Each row is news, so every batch is sent once.
        push_all(stream, pid, batches.iter(), BATCH, Duration::MAX).await
    };
    let mut speeds = Speeds::default();
    for round in 0..options.rounds as u64 {
        // Looked at just now, as evidence is that did not wait in a spool.
        let batches = upserts(options.resident, options.seconds * BATCHES, round);
        let sink = SinkProcess::start()?;
        speeds.theirs.push(measure(&sink.url, sink.child.id(), &batches, false).await?);
        drop(sink);
        let mut world = World::start();
        let (url, pid) = (world.url(), world.server().id());
        speeds.ours.push(measure(&url, pid, &batches, true).await?);
    }
    Ok(speeds.line(Line {
        row: 2,
        what: "realtime upserts at random paths, applied",
        yardstick: "decode-only sink",
        unit: "/s",
        note: format!("{} resident, goal ≥ 1,000,000/s", options.resident),
        ..Line::default()
    }))
}

pub(super) async fn listings(options: &Options) -> Result<Line> {
    let measure = async |url: &str, pid: u32| {
        let session = LoadSession::begin(url, "load").await?;
        let stream = load::fill(&session, options.resident).await?;
        let directories = options.resident.div_ceil(PER_DIRECTORY);
        let batches = load::listing_batches(session.epoch, 0..directories, 1);
        let batches: Vec<_> = batches.iter().map(EncodedBatch::of).collect();
        let rows = options.resident / batches.len().max(1) as u64;
        push_all(stream, pid, batches.iter().cycle(), rows, options.span()).await
    };
    let mut speeds = Speeds::default();
    for _ in 0..options.rounds {
        let sink = SinkProcess::start()?;
        speeds.theirs.push(measure(&sink.url, sink.child.id()).await?);
        drop(sink);
        let mut world = World::start();
        let (url, pid) = (world.url(), world.server().id());
        speeds.ours.push(measure(&url, pid).await?);
    }
    Ok(speeds.line(Line {
        row: 3,
        what: "listing rows seen again, applied",
        yardstick: "decode-only sink",
        unit: "/s",
        note: "goal ≥ 5,000,000/s".to_owned(),
        ..Line::default()
    }))
}

/// What was measured in turns.
#[derive(Default)]
struct Speeds {
    ours: Vec<Speed>,
    theirs: Vec<Speed>,
}

impl Speeds {
    /// The line with the medians.
    fn line(self, mut line: Line) -> Line {
        let cost = Speed::cost(&self.ours);
        line.note = format!("{cost}; {}", line.note);
        line.ours = median(self.ours.iter().map(|speed| speed.rate).collect());
        line.theirs = median(self.theirs.iter().map(|speed| speed.rate).collect());
        line
    }
}

/// Pushes batches for a while, or until there are no more; rows per second from the first to the
/// last acknowledgement.
async fn push_all(
    mut stream: LoadStream,
    server: u32,
    batches: impl Iterator<Item = &EncodedBatch>,
    rows: u64,
    span: Duration,
) -> Result<Speed> {
    let (count, mut pushed) = (Count::begin(server), 0);
    for batch in batches {
        if count.elapsed() >= span {
            break;
        }
        stream.push(batch).await?;
        pushed += rows;
    }
    stream.drain().await?;
    Ok(count.end(pushed))
}

/// Batches of upserts at random paths of the resident entries, each a change.
pub(super) fn upserts(resident: u64, batches: u64, round: u64) -> Vec<EncodedBatch> {
    upserts_of(BATCH, resident, batches, round)
}

/// The same in batches of so many rows.
pub(super) fn upserts_of(
    batch_rows: u64,
    resident: u64,
    batches: u64,
    round: u64,
) -> Vec<EncodedBatch> {
    let directories = resident.div_ceil(PER_DIRECTORY);
    let mut random = 0x9E37_79B9_7F4A_7C15_u64.wrapping_add(round);
    let mut draw = |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    (0..batches)
        .map(|number| {
            let rows = (0..batch_rows).map(|row| {
                let (directory, file) = (draw(directories), draw(PER_DIRECTORY));
                let path = format!("{}/{}", load::directory(directory), load::child(file));
                let inode = 1_000_000 + (10 + directory) * PER_DIRECTORY + file;
                // Later than all of the rounds before: what is older than what is known is no change.
                let change = (round << 30) + 1 + number * batch_rows + row;
                let change = i64::try_from(change).unwrap_or_default();
                load::evidence(pb::evidence::Evidence::Upsert(pb::Upsert {
                    path: path.into_bytes().into(),
                    stat: Some(load::stat(pb::EntryKind::File, inode, change)),
                    parent: Some(load::stat(pb::EntryKind::Directory, 10 + directory, 0)),
                    atomic: true,
                }))
            });
            EncodedBatch::of(&pb::EvidenceBatch { rows: rows.collect(), ..Default::default() })
        })
        .collect()
}

/// The sink in a process of its own, as the server is.
struct SinkProcess {
    child: Child,
    url: String,
}

impl SinkProcess {
    fn start() -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("sink")
            .stdout(Stdio::piped())
            .spawn()
            .context("start the sink")?;
        let mut line = String::new();
        let output = child.stdout.as_mut().context("the sink's output")?;
        BufReader::new(output).read_line(&mut line)?;
        let address = line.trim().strip_prefix("grpc=").context("the sink's address")?;
        Ok(Self { url: format!("http://{address}"), child })
    }
}

impl Drop for SinkProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
