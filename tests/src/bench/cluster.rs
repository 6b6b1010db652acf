//! Several servers: how long a fail-over takes, how far a follower is behind, how long joining takes:
//! `fusion-tests bench cluster`.
//!
//! Three servers, three NATS nodes that sync always and all else on one machine, which is said with every figure.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use fusion_core::id::{Revision, ViewName};
use fusion_proto::pb;

use super::load::{self, LoadSession};
use super::{ingest, raw};
use crate::faults::checks::until;
use crate::process::now;
use crate::storms::engines::StateOn;
use crate::storms::fleet::{Fleet, LEASE, SERVERS, Setup, client, url, view};
use crate::storms::witness::{self, ACKNOWLEDGED as LOAD, Answer};

/// Rows of a batch: small ones, because a batch is told at once.
const ROWS: u64 = 100;
/// Who was killed is started again after so long.
const STARTED_ANEW: Duration = Duration::from_secs(2);
/// Servers that came are given views when they have lived for five leases.
const MOVES: Duration = Duration::from_secs(6 * LEASE.as_secs());
/// Beyond this a follower is late.
const LATE: Duration = Duration::from_millis(100);

/// What to measure.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// What keeps the state.
    #[arg(long, value_enum, default_value_t = StateOn::Postgres)]
    state: StateOn,
    /// Owners that are killed, one after the other.
    #[arg(long, default_value_t = 5)]
    fail_overs: usize,
    /// Changes a second, one load after the other until a follower is late.
    #[arg(long, value_delimiter = ',', default_values_t = [5_000, 10_000, 20_000, 40_000, 80_000, 160_000])]
    rates: Vec<u64>,
    /// For how long each load is kept up, in seconds.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Entries of a view that a server joins, one after the other.
    #[arg(long, value_delimiter = ',', default_values_t = [1_000_000, 10_000_000])]
    joins: Vec<u64>,
}

/// Measures and prints.
///
/// # Errors
/// Something could not be started or filled.
pub fn run(options: &Options) -> Result<()> {
    if options.fail_overs > 0 {
        let fleet = fleet(options);
        runtime()?.block_on(fail_overs(options, fleet));
    }
    if !options.rates.is_empty() {
        let fleet = fleet(options);
        runtime()?.block_on(lags(options, &fleet))?;
    }
    for &entries in &options.joins {
        let mut fleet = fleet(options);
        runtime()?.block_on(join(&mut fleet, entries))?;
    }
    Ok(())
}

fn fleet(options: &Options) -> Fleet {
    Fleet::start(&Setup { agents: 0, ..Setup::on(options.state) })
}

/// Its threads are in the network of the fleet, if that was started before.
fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

/// The owner of what evidence is sent to is killed, again and again, and started anew 2 s later, as a supervisor does.
async fn fail_overs(options: &Options, mut fleet: Fleet) {
    tokio::time::sleep(MOVES).await;
    let witness = witness::begin(Revision(0));
    let (mut took, mut waits) = (Vec::new(), Vec::new());
    for _ in 0..options.fail_overs {
        tokio::time::sleep(LEASE).await;
        let (owner, _) = fleet.owning(LOAD).await;
        let killed = now();
        fleet.kill_server(owner);
        tokio::time::sleep(STARTED_ANEW).await;
        fleet.start_server(owner);
        let next = until("evidence is acknowledged", async || {
            let seen = witness.notes();
            seen.acknowledged.iter().find(|it| it.sent > killed).map(|it| it.at)
        })
        .await;
        took.push(next - killed);
        let is_meanwhile = |answer: &&Answer| answer.asked > killed && answer.answered < next;
        let seen = witness.notes();
        let meanwhile = seen.answers.iter().filter(is_meanwhile);
        let followers = meanwhile.filter(|answer| answer.server != owner);
        waits.extend(followers.map(|answer| answer.answered - answer.asked));
    }
    let seen = witness.end();
    assert!(seen.trouble.is_empty(), "{:?}", seen.trouble);
    took.sort_unstable();
    waits.sort_unstable();
    println!(
        "fail-over after kill -9, lease 3 s: evidence acknowledged after {:.1} s (median of {}), {:.1} s at most (goal: 5 s)",
        part(&took, 50).as_secs_f64(),
        took.len(),
        part(&took, 100).as_secs_f64(),
    );
    println!(
        "meanwhile followers answered {} questions, in {:.1?} (median), {:.1?} (99 %), {:.1?} at most",
        waits.len(),
        part(&waits, 50),
        part(&waits, 99),
        part(&waits, 100),
    );
}

/// Of sorted times, the one that so many of a hundred are not above.
fn part(sorted: &[Duration], percent: usize) -> Duration {
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or_default()
}

/// Loads one after the other, until a follower is late.
async fn lags(options: &Options, fleet: &Fleet) -> Result<()> {
    let resident = 20_000;
    let session = begin().await?;
    load::fill(&session, resident).await?;
    let (owner, follower) = settled(fleet).await;
    let mut sent = 0;
    for (round, &rate) in (1..).zip(&options.rates) {
        let batches = ingest::upserts_of(ROWS, resident, options.seconds * rate / ROWS, round);
        let told = tell((owner, follower), &session, rate, &batches, sent).await?;
        sent += batches.len() as u64;
        let late = part(&told.lags, 99) > LATE;
        println!(
            "follower behind the owner at {rate} changes/s ({:.0} applied): {:.1?} (median), {:.1?} (99 %), {:.1?} at most{}",
            told.applied,
            part(&told.lags, 50),
            part(&told.lags, 99),
            part(&told.lags, 100),
            if late { ": late" } else { "" },
        );
        if late {
            break;
        }
    }
    Ok(())
}

/// A session of a view that every server is told of, when views are no longer moved to servers that came.
async fn begin() -> Result<LoadSession> {
    tokio::time::sleep(MOVES).await;
    let began = now();
    loop {
        match LoadSession::begin(&url(0), LOAD).await {
            Ok(session) => return Ok(session),
            // Nobody owns anything in the first moments.
            Err(error) if began.elapsed() > Duration::from_secs(30) => return Err(error),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// The owner and a follower of the view, when both are at one revision.
async fn settled(fleet: &Fleet) -> (usize, usize) {
    let (owner, _) = fleet.owning(LOAD).await;
    let follower = (owner + 1) % SERVERS;
    until("the follower has it all", async || at_one(&view(LOAD), owner, follower).await).await;
    (owner, follower)
}

async fn at_one(view: &ViewName, owner: usize, follower: usize) -> Option<u64> {
    let of = async |server| Some(client(server).view(view).await.ok()?.freshness.revision);
    let revision = of(follower).await?;
    (of(owner).await? == revision).then_some(revision)
}

struct Lags {
    lags: Vec<Duration>,
    applied: f64,
}

/// Each message that the owner's watcher is told, against when the follower's was told as much.
async fn tell(
    (owner, follower): (usize, usize),
    session: &LoadSession,
    rate: u64,
    batches: &[raw::EncodedBatch],
    sent: u64,
) -> Result<Lags> {
    let changes = batches.len() as u64 * ROWS;
    let (first, second) = (watch(owner, changes).await?, watch(follower, changes).await?);
    let direct = session.at(&url(owner))?;
    let mut lane = direct.open_after(pb::Lane::Realtime, sent).await?;
    let began = now();
    for (number, batch) in batches.iter().enumerate() {
        let due = Duration::from_micros(number as u64 * ROWS * 1_000_000 / rate);
        tokio::time::sleep_until((began + due).into()).await;
        lane.push(batch).await?;
    }
    lane.drain().await?;
    let applied = changes as f64 / began.elapsed().as_secs_f64();
    let (first, second) = (first.await??, second.await??);
    let mut lags: Vec<_> = first
        .iter()
        .filter_map(|(at, revision)| {
            let place = second.partition_point(|(_, told)| told < revision);
            Some(second.get(place)?.0.saturating_duration_since(*at))
        })
        .collect();
    ensure!(lags.len() == first.len(), "the follower was not told all");
    lags.sort_unstable();
    Ok(Lags { lags, applied })
}

type Watching = tokio::task::JoinHandle<Result<Vec<(Instant, u64)>>>;

#[expect(clippy::disallowed_methods, reason = "the load generator owns its watchers")]
async fn watch(server: usize, changes: u64) -> Result<Watching> {
    let channel = fusion_proto::client::lazy_channel(&url(server)).context("our address")?;
    let (view, path) = (LOAD.to_owned(), "/".to_owned());
    let asked = pb::WatchViewRequest { view, path, after_revision: None, filter: None };
    let mut stream = raw::watch(channel, &asked).await?;
    Ok(tokio::spawn(async move {
        let (mut told, mut taken) = (Vec::new(), 0);
        while taken < changes {
            let (count, revision) = stream.message().await?.context("the watch ended")?;
            taken += count;
            if count > 0 {
                told.push((now(), revision));
            }
        }
        Ok(told)
    }))
}

/// A server without anything comes to a view of so many entries.
async fn join(fleet: &mut Fleet, entries: u64) -> Result<()> {
    let session = begin().await?;
    load::fill(&session, entries).await?;
    let (owner, follower) = settled(fleet).await;
    fleet.kill_server(follower);
    std::fs::remove_dir_all(fleet.path(&format!("server{follower}")))?;
    let began = now();
    fleet.start_server(follower);
    let up = began.elapsed();
    let limit = Duration::from_secs(600);
    while at_one(&view(LOAD), owner, follower).await.is_none() {
        ensure!(began.elapsed() < limit, "not joined after {limit:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!(
        "joining a view of {entries} entries: {:.1} s until it answers as the owner does, {:.1} s of it until it listens (goal: 20 s for 10,000,000)",
        began.elapsed().as_secs_f64(),
        up.as_secs_f64()
    );
    Ok(())
}
