//! Rows 2 and 3: evidence applied and acknowledged, beside a sink that only decodes.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use fusion_proto::pb;

use crate::pair::World;
use crate::process::now;

use super::load::{self, BATCH, LoadSession, LoadStream, PER_DIRECTORY};
use super::{Line, Options, median};

/// Different batches that a run goes round in.
const BATCHES: u64 = 400;

pub(super) async fn realtime(options: &Options) -> Result<Line> {
    let batches = upserts(options.resident);
    let measure = async |url: &str, fill: bool| {
        let session = LoadSession::begin(url, "load").await?;
        if fill {
            load::fill(&session, options.resident).await?;
        }
        let stream = session.open(pb::Lane::Realtime).await?;
        push_for(stream, &batches, BATCH, options.span()).await
    };
    let (ours, theirs) = beside(options, measure).await?;
    Ok(Line {
        row: 2,
        what: "realtime upserts at random paths, applied",
        ours,
        yardstick: "decode-only sink",
        theirs,
        unit: "/s",
        note: format!("{} resident, goal ≥ 1,000,000/s, not durable", options.resident),
    })
}

pub(super) async fn listings(options: &Options) -> Result<Line> {
    let measure = async |url: &str, _fill: bool| {
        let session = LoadSession::begin(url, "load").await?;
        let stream = load::fill(&session, options.resident).await?;
        let directories = options.resident.div_ceil(PER_DIRECTORY);
        let batches = load::listing_batches(session.epoch, 0..directories, 1);
        let rows = options.resident / batches.len().max(1) as u64;
        push_for(stream, &batches, rows, options.span()).await
    };
    let (ours, theirs) = beside(options, measure).await?;
    Ok(Line {
        row: 3,
        what: "listing rows seen again, applied",
        ours,
        yardstick: "decode-only sink",
        theirs,
        unit: "/s",
        note: "goal ≥ 5,000,000/s, not durable".to_owned(),
    })
}

/// Medians of ours and of the sink's, measured in turns.
async fn beside(
    options: &Options,
    measure: impl AsyncFn(&str, bool) -> Result<f64>,
) -> Result<(f64, f64)> {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        let sink = SinkProcess::start()?;
        theirs.push(measure(&sink.url, false).await?);
        drop(sink);
        let world = World::start();
        ours.push(measure(&world.url(), true).await?);
    }
    Ok((median(ours), median(theirs)))
}

/// Pushes batches round and round for a while; rows per second from the first to the last
/// acknowledgement.
async fn push_for(
    mut stream: LoadStream,
    batches: &[pb::EvidenceBatch],
    rows: u64,
    span: Duration,
) -> Result<f64> {
    let started = now();
    let mut pushed = 0;
    for batch in batches.iter().cycle() {
        if started.elapsed() >= span {
            break;
        }
        stream.push(batch.clone()).await?;
        pushed += rows;
    }
    stream.drain().await?;
    Ok(pushed as f64 / started.elapsed().as_secs_f64())
}

/// Batches of upserts at random paths of the resident entries, each a change.
pub(super) fn upserts(resident: u64) -> Vec<pb::EvidenceBatch> {
    let directories = resident.div_ceil(PER_DIRECTORY);
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    let mut draw = |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    (0..BATCHES)
        .map(|round| {
            let rows = (0..BATCH)
                .map(|row| {
                    let (number, file) = (draw(directories), draw(PER_DIRECTORY));
                    let path = format!("{}/{}", load::directory(number), load::child(file));
                    let inode = 1_000_000 + (10 + number) * PER_DIRECTORY + file;
                    let change = i64::try_from(1 + round * BATCH + row).unwrap_or_default();
                    load::evidence(pb::evidence::Evidence::Upsert(pb::Upsert {
                        path: path.into_bytes().into(),
                        stat: Some(load::stat(pb::EntryKind::File, inode, change)),
                        parent: Some(load::stat(pb::EntryKind::Directory, 10 + number, 0)),
                        atomic: true,
                    }))
                })
                .collect();
            pb::EvidenceBatch { rows, ..Default::default() }
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
