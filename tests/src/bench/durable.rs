//! Rows 9 and 17: what durability costs those who ask: a restart with all that is known, in front of a
//! command that follows the view, and blocks that are written while listings are read.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Lines, Read as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fusion_proto::pb;
use fusion_proto::pb::view_service_client::ViewServiceClient;
use tonic::transport::Channel;

use crate::binaries;
use crate::pair::{World, counter};
use crate::process::now;

use super::ingest::upserts;
use super::load::{self, LoadSession, PER_DIRECTORY};
use super::queries::load_all;
use super::raw::EncodedBatch;
use super::{Line, Options, median, part, raw};

/// How long the server may take to write everything and go, and to come back.
const LIMIT: Duration = Duration::from_secs(120);
/// Without a checkpoint for so long, none is due.
const CALM: Duration = Duration::from_secs(20);
const STEP: Duration = Duration::from_millis(200);
/// Random changes that make a checkpoint due.
const CHANGES: u64 = 500_000;

/// Row 9: from the start of a server until a TRUSTED read is answered, beside reading its files.
pub(super) async fn restart(options: &Options) -> Result<Line> {
    let mut world = World::start();
    let session = LoadSession::begin(&world.url(), "load").await?;
    drop(load::fill(&session, options.resident).await?);
    session.beat().await?;
    let files = options.resident.div_ceil(PER_DIRECTORY) * PER_DIRECTORY;
    let revision = until_trusted(&session.channel, files).await?;

    let mut watch = Watching::begin(&world.url(), revision)?;
    watch.sees(&session, 0, "before").await?;
    let stopped = now();
    let ended = world.server().terminate(LIMIT);
    ensure!(ended.success(), "the server ended with {ended}");
    let stopping = stopped.elapsed().as_secs_f64();
    let theirs = cat(&world.path("server"))?;
    let started = now();
    world.start_server();
    until_trusted(&session.channel, files).await?;
    let ours = started.elapsed().as_secs_f64();
    watch.sees(&session, 1, "after").await?;
    let seen = stopped.elapsed().as_secs_f64();
    Ok(Line {
        row: 9,
        what: "restart until TRUSTED reads are answered",
        ours,
        yardstick: "cat of the store's files",
        theirs,
        unit: "s",
        note: format!(
            "{} entries; ended in {stopping:.2} s; `fusionctl watch` had the next change {seen:.2} s \
             after the signal; goal ≤ 1 s at 10 M, ≤ 12 s at 100 M",
            options.resident
        ),
    })
}

/// `fusionctl watch` of the view.
struct Watching {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Watching {
    /// Of what comes after this revision.
    fn begin(url: &str, revision: u64) -> Result<Self> {
        let mut process = Command::new(binaries::path("fusionctl"))
            .args(["--server", url, "watch", "/", "--view", "load"])
            .args(["--from", &revision.to_string()])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let output = process.stdout.take().context("its output")?;
        Ok(Self { process, lines: BufReader::new(output).lines() })
    }

    /// A file appears, and is told of.
    async fn sees(&mut self, session: &LoadSession, sent: u64, name: &str) -> Result<()> {
        let path = format!("{}/{name}", load::directory(0));
        let upsert = load::evidence(pb::evidence::Evidence::Upsert(pb::Upsert {
            path: path.clone().into_bytes().into(),
            stat: Some(load::stat(pb::EntryKind::File, 5 + sent, 1)),
            parent: Some(load::stat(pb::EntryKind::Directory, 10, 1)),
            atomic: true,
        }));
        let batch = pb::EvidenceBatch { rows: vec![upsert], ..Default::default() };
        let mut lane = session.open_after(pb::Lane::Realtime, sent).await?;
        lane.push(&EncodedBatch::of(&batch)).await?;
        lane.drain().await?;
        loop {
            let line = self.lines.next().with_context(|| format!("{path} was not told of"))??;
            if line.contains(&path) {
                return Ok(());
            }
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Asks until the view is trusted, and has all its files; its revision then.
async fn until_trusted(channel: &Channel, files: u64) -> Result<u64> {
    let mut views = ViewServiceClient::new(channel.clone());
    let began = now();
    loop {
        let read_class = pb::ReadClass::Trusted.into();
        let asked = pb::GetStatsRequest { view: "load".into(), path: "/".into(), read_class };
        match views.get_stats(asked).await {
            Ok(told) => {
                let told = told.into_inner();
                let found = told.totals.context("totals")?.files;
                ensure!(found >= files, "{found} files of {files}");
                return Ok(told.freshness.context("how fresh it is")?.revision);
            }
            Err(status) => ensure!(began.elapsed() < LIMIT, "{status}"),
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Reads every file of a directory; seconds.
fn cat(dir: &Path) -> Result<f64> {
    let started = now();
    let mut all = vec![dir.to_path_buf()];
    let mut buffer = vec![0; 1 << 20];
    while let Some(path) = all.pop() {
        if path.is_dir() {
            for entry in path.read_dir()? {
                all.push(entry?.path());
            }
            continue;
        }
        let mut file = File::open(&path)?;
        while file.read(&mut buffer)? > 0 {}
    }
    Ok(started.elapsed().as_secs_f64())
}

/// Row 17: listings while the blocks of random changes are written, beside the same when nothing is.
pub(super) async fn flush(options: &Options) -> Result<Line> {
    let mut world = World::start();
    let pid = world.server().id();
    let session = LoadSession::begin(&world.url(), "load").await?;
    drop(load::fill(&session, options.resident).await?);
    let directories = options.resident.div_ceil(PER_DIRECTORY);
    let list = move |channel: Channel, call: u64| async move {
        let request = pb::ListEntriesRequest {
            view: "load".into(),
            path: load::directory(call % directories),
            ..Default::default()
        };
        raw::list(channel, &request).await.map(drop)
    };
    let checkpoints = || {
        let name = "fusion_store_checkpoint_duration_seconds_count{view=\"load\"}";
        counter(world.http(), name) as u64
    };
    let mut realtime = session.open(pb::Lane::Realtime).await?;
    let (mut ours, mut theirs, mut took) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..options.rounds as u64 {
        quiet(&checkpoints).await;
        theirs.extend(load_all(&world, pid, options.span(), 1, list).await?.1);
        let before = checkpoints();
        for batch in upserts(options.resident, CHANGES / load::BATCH, round) {
            realtime.push(&batch).await?;
        }
        realtime.drain().await?;
        let began = now();
        loop {
            ours.extend(load_all(&world, pid, STEP, 1, list).await?.1);
            if checkpoints() != before {
                break;
            }
            ensure!(began.elapsed() < LIMIT, "no checkpoint is written");
        }
        took.push(began.elapsed().as_secs_f64());
    }
    ours.sort_unstable();
    theirs.sort_unstable();
    Ok(Line {
        row: 17,
        what: "p99 of listings while blocks are written",
        ours: part(&ours, 99),
        yardstick: "the same when none are",
        theirs: part(&theirs, 99),
        unit: "ms",
        note: format!(
            "{} entries, {CHANGES} random changes, {:.1} s until they were written; {} calls then; \
             goal ≤ 2.00",
            options.resident,
            median(took),
            ours.len()
        ),
    })
}

/// Waits until no checkpoint was written for a while: longer than from one to the next.
async fn quiet(checkpoints: &impl Fn() -> u64) {
    let mut last = checkpoints();
    let mut since = now();
    while since.elapsed() < CALM {
        tokio::time::sleep(STEP).await;
        let count = checkpoints();
        if count != last {
            (last, since) = (count, now());
        }
    }
}
