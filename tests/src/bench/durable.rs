//! Rows 9 and 17: what durability costs those who ask: a restart with all that is known, in front of a
//! command that follows the view, and blocks that are written while listings are read.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Lines, Read as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use fusion_proto::pb;
use fusion_proto::pb::view_service_client::ViewServiceClient;
use tonic::transport::Channel;

use crate::binaries;
use crate::pair::{World, counter};
use crate::process::now;

use super::ingest::upserts;
use super::load::{self, LoadSession, PER_DIRECTORY};
use super::raw::EncodedBatch;
use super::sessions::push;
use super::{Line, Options, median, part, raw};

/// How long the server may take to write everything and go, and to come back.
const LIMIT: Duration = Duration::from_secs(120);
/// How often row 17 looks whether blocks were written.
const STEP: Duration = Duration::from_millis(10);
/// Random changes per second of row 17: a checkpoint is due of 250,000.
const RATE: f64 = 100_000.0;
/// As long at least: blocks are written some times in it.
const SPAN: Duration = Duration::from_secs(10);
/// Connections that list in row 17, and how long each rests between two calls.
const CALLERS: u64 = 20;
const PAUSE: Duration = Duration::from_millis(5);

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

/// Row 17: listings while the blocks of random changes are written, beside the same when none are. Changes
/// and listings come at a fixed rate all the time, so nothing but the writing is between the two.
pub(super) async fn flush(options: &Options) -> Result<Line> {
    let world = World::start();
    let session = LoadSession::begin(&world.url(), "load").await?;
    drop(load::fill(&session, options.resident).await?);
    let span = (options.span() * u32::try_from(options.rounds)?).max(SPAN);
    let batches = (RATE * span.as_secs_f64()) as u64 / load::BATCH + 1;
    let batches = upserts(options.resident, batches, 0);
    let mut realtime = session.open(pb::Lane::Realtime).await?;
    let over = AtomicBool::new(false);
    let pushing = push(&mut realtime, &batches, span, Some(RATE), &over);
    let listing = async {
        let windows = Windows::begin(world.http().to_owned())?;
        let calls = list_at_a_rate(&world, options.resident, span).await;
        over.store(true, Ordering::Relaxed);
        Ok((calls?, windows.end()?))
    };
    let (pushed, (calls, windows)) = futures_util::future::try_join(pushing, listing).await?;
    ensure!(!windows.is_empty(), "no blocks were written in {span:?}");
    let is_beside = |call: &Call| windows.iter().any(|window| call.is_in(window));
    let (beside, alone): (Vec<_>, Vec<_>) = calls.into_iter().partition(is_beside);
    let [beside, alone] = [beside, alone].map(|calls| {
        let mut times: Vec<_> = calls.into_iter().map(|call| call.took).collect();
        times.sort_unstable();
        times
    });
    let lasted = windows.iter().map(|(from, to)| to.duration_since(*from).as_secs_f64()).collect();
    Ok(Line {
        row: 17,
        what: "p99 of listings while blocks are written",
        ours: part(&beside, 99),
        yardstick: "the same when none are",
        theirs: part(&alone, 99),
        unit: "ms",
        note: format!(
            "{} entries, {pushed:.0} random changes/s all the time; {} times, {:.2} s each; {} calls \
             then of {}; goal ≤ 2.00",
            options.resident,
            windows.len(),
            median(lasted),
            beside.len(),
            beside.len() + alone.len()
        ),
    })
}

/// A call that was answered.
struct Call {
    ended: Instant,
    took: Duration,
}

impl Call {
    fn is_in(&self, (from, to): &(Instant, Instant)) -> bool {
        self.ended >= *from && self.ended.checked_sub(self.took).is_some_and(|began| began <= *to)
    }
}

/// Lists one directory after the other on [`CALLERS`] connections, with a pause after each.
async fn list_at_a_rate(world: &World, resident: u64, span: Duration) -> Result<Vec<Call>> {
    let directories = resident.div_ceil(PER_DIRECTORY);
    let caller = async |number: u64| {
        let channel = fusion_proto::client::lazy_channel(&world.url()).context("our address")?;
        let (began, mut calls) = (now(), Vec::new());
        while began.elapsed() < span {
            let turn = number * 131 + calls.len() as u64 * 7;
            let path = load::directory(turn % directories);
            let request =
                pb::ListEntriesRequest { view: "load".into(), path, ..Default::default() };
            let asked = now();
            raw::list(channel.clone(), &request).await?;
            calls.push(Call { ended: now(), took: asked.elapsed() });
            tokio::time::sleep(PAUSE).await;
        }
        anyhow::Ok(calls)
    };
    let done = futures_util::future::try_join_all((0..CALLERS).map(caller)).await?;
    Ok(done.into_iter().flatten().collect())
}

/// When blocks were written, as the server's metrics say: each time one ended, and how long it took.
struct Windows {
    over: Arc<AtomicBool>,
    watching: JoinHandle<Vec<(Instant, Instant)>>,
}

impl Windows {
    fn begin(http: String) -> Result<Self> {
        let over = Arc::<AtomicBool>::default();
        let ended = Arc::clone(&over);
        let figures = move || {
            let [count, sum] = ["count", "sum"].map(|part| {
                counter(&http, &format!("fusion_store_checkpoint_duration_seconds_{part}"))
            });
            (count, sum)
        };
        let watch = move || {
            let (mut before, mut windows) = (figures(), Vec::new());
            while !ended.load(Ordering::Relaxed) {
                std::thread::sleep(STEP);
                let after = figures();
                if after.0 > before.0 {
                    let lasted = Duration::from_secs_f64(after.1 - before.1) + STEP;
                    windows.extend(now().checked_sub(lasted).map(|from| (from, now())));
                }
                before = after;
            }
            windows
        };
        let watching = std::thread::Builder::new().name("checkpoints".to_owned()).spawn(watch)?;
        Ok(Self { over, watching })
    }

    fn end(self) -> Result<Vec<(Instant, Instant)>> {
        self.over.store(true, Ordering::Relaxed);
        self.watching.join().ok().context("metrics were not to be had")
    }
}
