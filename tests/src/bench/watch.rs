//! Watchers: how fast changes are told to one, to fifty and to a thousand of them, and out of the log.
//!
//! All are told every change of the view. The load takes messages apart no further than to count.

use std::time::Duration;

use anyhow::{Context as _, Result};
use fusion_proto::pb;
use fusion_proto::pb::view_service_client::ViewServiceClient;
use tonic::codec::Streaming;

use super::cost::{Count, Speed};
use super::load::{self, BATCH, LoadSession};
use super::{ingest, median, raw};
use crate::pair::World;
use crate::process::now;

/// What to measure.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Entries resident in the view.
    #[arg(long, default_value_t = 20_000)]
    resident: u64,
    /// For how long each load is kept up, in seconds.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Repeat each so often and give the median.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

/// So many watchers, and so many changes a second (0: as many as there can be).
const LOADS: [(usize, u64); 5] = [(0, 0), (1, 0), (50, 20_000), (1_000, 1_000), (1_000, 0)];
/// Watchers on one connection.
const PER_CONNECTION: usize = 50;
/// Batches of an unbounded load for each second.
const UNBOUNDED: u64 = 400;

/// Measures and prints.
///
/// # Errors
/// Something could not be started, or a watcher was ended: then there is no figure.
pub fn run(options: &Options) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    for (watchers, rate) in LOADS {
        // With a thousand of them all is told a thousand times.
        let share = if watchers >= 1_000 && rate == 0 { 20 } else { 1 };
        let mut told = Vec::new();
        for round in 0..options.rounds as u64 {
            told.push(runtime.block_on(one(options, watchers, rate, round, share))?);
        }
        let middle = |of: fn(&Told) -> f64| median(told.iter().map(of).collect());
        let speeds: Vec<Speed> = told.iter().map(|told| told.speed).collect();
        println!(
            "{watchers:>5} watchers, changes applied {:>9.0}/s, told to each {:>9.0}/s, to all {:>10.0}/s, last told {:>6.1} ms after the last acknowledgement; for each change {}",
            middle(|told| told.applied),
            middle(|told| told.each),
            middle(|told| told.each) * watchers as f64,
            middle(|told| told.behind.as_secs_f64() * 1e3),
            Speed::cost(&speeds),
        );
    }
    let rates = (0..options.rounds).map(|_| runtime.block_on(history(options)));
    let rates = rates.collect::<Result<Vec<_>>>()?;
    println!("out of the log, one watcher: {:.0} changes/s", median(rates));
    Ok(())
}

/// What came of one load.
struct Told {
    /// Changes per second until the last acknowledgement.
    applied: f64,
    /// Changes per second told to each watcher.
    each: f64,
    /// From the last acknowledgement until the last watcher was told.
    behind: Duration,
    /// Of all, per change.
    speed: Speed,
}

async fn one(
    options: &Options,
    watchers: usize,
    rate: u64,
    round: u64,
    share: u64,
) -> Result<Told> {
    let mut world = World::start();
    let (url, pid) = (world.url(), world.server().id());
    let session = LoadSession::begin(&url, "load").await?;
    load::fill(&session, options.resident).await?;
    let batches = if rate == 0 { UNBOUNDED / share } else { rate / BATCH };
    let batches = ingest::upserts(options.resident, options.seconds * batches, round);
    let changes = batches.len() as u64 * BATCH;
    let mut lane = session.open(pb::Lane::Realtime).await?;
    let mut streams = Vec::new();
    for group in 0..watchers.div_ceil(PER_CONNECTION) {
        let channel = fusion_proto::client::lazy_channel(&url).context("our address")?;
        for _ in 0..PER_CONNECTION.min(watchers - group * PER_CONNECTION) {
            streams.push(raw::watch(channel.clone(), &asked(None)).await?);
        }
    }
    let watching: Vec<_> = streams.into_iter().map(|stream| begin(take(stream, changes))).collect();
    let (count, began) = (Count::begin(pid), now());
    for (number, batch) in batches.iter().enumerate() {
        if let Some(due) = (number as u64 * BATCH * 1_000_000).checked_div(rate) {
            tokio::time::sleep_until((began + Duration::from_micros(due)).into()).await;
        }
        lane.push(batch).await?;
    }
    lane.drain().await?;
    let acknowledged = began.elapsed();
    for watcher in watching {
        watcher.await??;
    }
    let told = began.elapsed();
    Ok(Told {
        applied: changes as f64 / acknowledged.as_secs_f64(),
        each: if watchers == 0 { 0.0 } else { changes as f64 / told.as_secs_f64() },
        behind: told.saturating_sub(acknowledged),
        speed: count.end(changes),
    })
}

#[expect(clippy::disallowed_methods, reason = "the load generator owns its watchers")]
fn begin<F>(work: F) -> tokio::task::JoinHandle<Result<()>>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    tokio::spawn(work)
}

fn asked(after_revision: Option<u64>) -> pb::WatchViewRequest {
    let (view, path) = ("load".to_owned(), "/".to_owned());
    pb::WatchViewRequest { view, path, after_revision, filter: None }
}

/// Reads until so many changes were told.
async fn take(mut stream: Streaming<(u64, u64)>, changes: u64) -> Result<()> {
    let mut taken = 0;
    while taken < changes {
        let (count, _) = stream.message().await?.context("the watch ended")?;
        taken += count;
    }
    anyhow::ensure!(taken == changes, "{taken} changes told, {changes} made");
    Ok(())
}

/// Changes per second to one watcher that begins with the first revision.
async fn history(options: &Options) -> Result<f64> {
    let world = World::start();
    let url = world.url();
    let session = LoadSession::begin(&url, "load").await?;
    load::fill(&session, options.resident).await?;
    let mut lane = session.open(pb::Lane::Realtime).await?;
    let batches = ingest::upserts(options.resident, options.seconds * UNBOUNDED, 0);
    for batch in &batches {
        lane.push(batch).await?;
    }
    lane.drain().await?;
    let channel = fusion_proto::client::lazy_channel(&url).context("our address")?;
    let view = pb::GetViewRequest { view: "load".to_owned() };
    let view = ViewServiceClient::new(channel.clone()).get_view(view).await?.into_inner().view;
    let latest = view.and_then(|view| view.freshness).context("a freshness")?.revision;
    let (began, mut told) = (now(), 0);
    let mut stream = raw::watch(channel, &asked(Some(0))).await?;
    loop {
        let (count, revision) = stream.message().await?.context("the watch ended")?;
        told += count;
        if revision >= latest {
            return Ok(told as f64 / began.elapsed().as_secs_f64());
        }
    }
}
