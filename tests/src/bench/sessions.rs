//! Row 10, at scale: 10,000 live sessions beating beside ingest at half its measured maximum.
//!
//! The beats come as they would: each session at its own interval with jitter, whatever the others do,
//! so that a server that falls behind is not spared. The yardstick is an empty call, a hundredth as
//! often, at the same time on the same connections: what this machine does to any call then.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use fusion_proto::pb;
use fusion_proto::pb::session_service_client::SessionServiceClient;
use futures_util::StreamExt as _;
use futures_util::future::try_join_all;
use futures_util::stream;
use tonic::transport::Channel;
use uuid::Uuid;

use crate::pair::World;
use crate::process::now;

use super::ingest::{BATCHES, upserts};
use super::load::{self, BATCH, LoadSession, LoadStream};
use super::raw::EncodedBatch;
use super::{Line, Options};

/// Live sessions.
const SESSIONS: usize = 10_000;
/// Connections that they share: few enough for any machine, many enough that none is a bottleneck.
const CONNECTIONS: usize = 100;
/// How often each beats: a third of the default timeout.
const INTERVAL: Duration = Duration::from_secs(10);
/// Sessions that are made at the same time.
const AT_ONCE: usize = 64;
/// One empty call for so many heartbeats.
const BEATS_PER_EMPTY: u64 = 100;

pub(super) async fn heartbeats(options: &Options) -> Result<Line> {
    let world = World::start();
    let session = LoadSession::begin(&world.url(), "load").await?;
    load::fill(&session, options.resident).await?;
    let batches = upserts(options.resident, options.seconds * BATCHES, 0);
    let mut ingest = session.open(pb::Lane::Realtime).await?;
    let maximum =
        push(&mut ingest, &batches, options.span(), None, &AtomicBool::new(false)).await?;

    let channels = (0..CONNECTIONS)
        .map(|_| fusion_proto::client::lazy_channel(&world.url()).context("our own address"))
        .collect::<Result<Vec<_>>>()?;
    let sessions = Arc::new(create(&channels).await?);

    // Two intervals at least: every session beats once and is beaten upon again.
    let span = options.span().max(INTERVAL * 2);
    let over = AtomicBool::new(false);
    let pushing = push(&mut ingest, &batches, span, Some(maximum / 2.0), &over);
    let beating = async {
        let told = beat_all(&channels, &sessions, span).await;
        over.store(true, Ordering::Relaxed);
        told
    };
    let (pushed, told) = futures_util::future::try_join(pushing, beating).await?;
    let Told { mut beats, mut empty } = told;
    beats.sort_unstable();
    empty.sort_unstable();
    let at = |times: &[Duration], share: usize| {
        times.get(times.len() * share / 1000).map_or(f64::NAN, |took| took.as_secs_f64() * 1e3)
    };
    Ok(Line {
        row: 10,
        what: "p99 of heartbeats of 10,000 live sessions",
        ours: at(&beats, 990),
        yardstick: "p99 of empty calls then",
        theirs: at(&empty, 990),
        unit: "ms",
        note: format!(
            "{:.0} beats/s, p50 {:.2} ms, p99.9 {:.1} ms; beside ingest of {pushed:.0} rows/s of \
             {maximum:.0}; goal ≤ 10 ms",
            beats.len() as f64 / span.as_secs_f64(),
            at(&beats, 500),
            at(&beats, 999),
        ),
    })
}

/// What calls took.
#[derive(Default)]
struct Told {
    beats: Vec<Duration>,
    empty: Vec<Duration>,
}

/// Pushes batches round and round, as fast as it goes or at a rate, until the time or `over`; rows per
/// second.
pub(super) async fn push(
    stream: &mut LoadStream,
    batches: &[EncodedBatch],
    span: Duration,
    rate: Option<f64>,
    over: &AtomicBool,
) -> Result<f64> {
    let (started, mut rows) = (now(), 0_u64);
    for batch in batches.iter().cycle() {
        if over.load(Ordering::Relaxed) || (rate.is_none() && started.elapsed() >= span) {
            break;
        }
        if let Some(rate) = rate {
            let due = Duration::from_secs_f64(rows as f64 / rate);
            tokio::time::sleep(due.saturating_sub(started.elapsed())).await;
        }
        stream.push(batch).await?;
        rows += BATCH;
    }
    stream.drain().await?;
    Ok(rows as f64 / started.elapsed().as_secs_f64())
}

/// Makes the sessions; their ids.
async fn create(channels: &[Channel]) -> Result<Vec<String>> {
    let made = stream::iter(0..SESSIONS).map(async |number| {
        let request = pb::CreateSessionRequest {
            agent_id: format!("beater-{number}"),
            spool_id: Uuid::new_v4().to_string(),
            proposed_timeout: None,
            ..load::asks("load")
        };
        let channel = channels[number % CONNECTIONS].clone();
        let answer = SessionServiceClient::new(channel).create_session(request).await?;
        Ok::<_, anyhow::Error>(answer.into_inner().session_id)
    });
    made.buffer_unordered(AT_ONCE).collect::<Vec<_>>().await.into_iter().collect()
}

/// All of them beat for a while, each at its own times.
async fn beat_all(channels: &[Channel], sessions: &[String], span: Duration) -> Result<Told> {
    let calls = AtomicU64::new(0);
    let beaters = sessions.iter().enumerate().map(|(number, session)| {
        beat_one(channels[number % CONNECTIONS].clone(), session, number, span, &calls)
    });
    let mut all = Told::default();
    for told in try_join_all(beaters).await? {
        all.beats.extend(told.beats);
        all.empty.extend(told.empty);
    }
    Ok(all)
}

async fn beat_one(
    channel: Channel,
    session: &str,
    number: usize,
    span: Duration,
    calls: &AtomicU64,
) -> Result<Told> {
    let mut told = Told::default();
    let started = now();
    // Spread over the first interval, in an order that has nothing to do with connections.
    let mut random = number as u64;
    let mut due = INTERVAL.mul_f64(draw(&mut random));
    while due < span {
        tokio::time::sleep(due.saturating_sub(started.elapsed())).await;
        let request = pb::HeartbeatRequest {
            session_id: session.to_owned(),
            status: Some(full_status()),
            ..Default::default()
        };
        let asked = now();
        SessionServiceClient::new(channel.clone()).heartbeat(request).await?;
        told.beats.push(asked.elapsed());
        if calls.fetch_add(1, Ordering::Relaxed).is_multiple_of(BEATS_PER_EMPTY) {
            let asked = now();
            super::queries::empty(channel.clone(), 0).await?;
            told.empty.push(asked.elapsed());
        }
        due += INTERVAL.mul_f64(0.9 + 0.2 * draw(&mut random));
    }
    Ok(told)
}

/// Between 0 and 1.
fn draw(random: &mut u64) -> f64 {
    *random = random.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut mixed = *random;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (mixed >> 32) as f64 / f64::from(u32::MAX)
}

/// A status with everything in it that an agent at work has to say.
fn full_status() -> pb::AgentStatus {
    pb::AgentStatus {
        realtime_ready: true,
        watched_directories: 12_345,
        watch_limit: 65_536,
        spool_bytes: 4_096,
        oldest_unacknowledged: Some(prost_types::Duration { seconds: 0, nanos: 5_000_000 }),
        root_state: pb::RootState::Available.into(),
        scan: Some(pb::ScanProgress {
            source: pb::ScanSource::Audit.into(),
            started_at: Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 0 }),
            directories: 1_000,
            entries: 100_000,
            errors: 0,
            ..Default::default()
        }),
        file_stats: 1_000_000,
        left_out: vec!["/spool".to_owned()],
        ..Default::default()
    }
}
