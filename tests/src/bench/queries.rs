//! Rows 7 and 10: listings and heartbeats, beside an empty unary call on the same connections.

use std::time::Duration;

use anyhow::{Context as _, Result};
use fusion_proto::pb;
use fusion_proto::pb::session_service_client::SessionServiceClient;
use tonic::transport::Channel;

use crate::pair::World;
use crate::process::now;

use super::cost::{Count, Speed};
use super::load::{self, LoadSession, PER_DIRECTORY};
use super::{Line, Options, median, part, raw};

const CONNECTIONS: usize = 20;
/// Calls under way on each connection, for heartbeats and jobs: about 64 in all.
pub(super) const IN_FLIGHT: usize = 3;

pub(super) async fn listings(options: &Options) -> Result<Line> {
    let mut world = World::start();
    let pid = world.server().id();
    let session = LoadSession::begin(&world.url(), "load").await?;
    load::fill(&session, options.resident).await?;
    let directories = options.resident.div_ceil(PER_DIRECTORY);
    let list = move |channel: Channel, call: u64| async move {
        let request = pb::ListEntriesRequest {
            view: "load".into(),
            path: load::directory(call % directories),
            ..Default::default()
        };
        let listed = raw::list(channel, &request).await?;
        anyhow::ensure!(listed == PER_DIRECTORY, "a listing of 250");
        Ok(())
    };
    let (mut ours, mut theirs, mut worst) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        theirs.push(load_all(&world, pid, options.span(), 1, empty).await?.0.rate);
        let (speed, times) = load_all(&world, pid, options.span(), 1, list).await?;
        ours.push(speed);
        worst.push(part(&times, 99));
    }
    let cost = Speed::cost(&ours);
    Ok(Line {
        row: 7,
        what: "listings of 250 entries, 20 connections",
        ours: median(ours.iter().map(|speed| speed.rate).collect()),
        yardstick: "empty unary RPC",
        theirs: median(theirs),
        unit: "/s",
        note: format!("p99 {:.2} ms; {cost}; goal ≥ 22,000/s, p99 ≤ 2.5 ms", median(worst)),
    })
}

pub(super) async fn heartbeats(options: &Options) -> Result<Line> {
    let mut world = World::start();
    let pid = world.server().id();
    let session = LoadSession::begin(&world.url(), "load").await?;
    let beat = |channel: Channel, _| {
        let request = pb::HeartbeatRequest {
            session_id: session.session_id.clone(),
            agent_time: None,
            delivered_through: None,
            status: Some(pb::AgentStatus {
                realtime_ready: true,
                root_state: pb::RootState::Available.into(),
                ..Default::default()
            }),
            command_reports: Vec::new(),
        };
        async move {
            SessionServiceClient::new(channel).heartbeat(request).await?;
            Ok(())
        }
    };
    let (mut ours, mut theirs, mut worst) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        theirs.push(load_all(&world, pid, options.span(), IN_FLIGHT, empty).await?.0.rate);
        let (speed, times) = load_all(&world, pid, options.span(), IN_FLIGHT, beat).await?;
        ours.push(speed);
        worst.push(part(&times, 99));
    }
    let cost = Speed::cost(&ours);
    Ok(Line {
        row: 10,
        what: "heartbeats with a status, 60 in flight",
        ours: median(ours.iter().map(|speed| speed.rate).collect()),
        yardstick: "empty unary RPC",
        theirs: median(theirs),
        unit: "/s",
        note: format!("p99 {:.2} ms; {cost}; goal ≥ 0.60 of it", median(worst)),
    })
}

/// `EndSession` of a session that is not there: a call that does nothing.
pub(super) async fn empty(channel: Channel, _: u64) -> Result<()> {
    let session_id = uuid::Uuid::nil().to_string();
    let request = pb::EndSessionRequest { session_id, allow_missing: true };
    SessionServiceClient::new(channel).end_session(request).await?;
    Ok(())
}

/// Calls as fast as it goes on [`CONNECTIONS`] connections; calls per second, and what each took, sorted.
pub(super) async fn load_all<F: Future<Output = Result<()>>>(
    world: &World,
    server: u32,
    span: Duration,
    in_flight: usize,
    call: impl Fn(Channel, u64) -> F + Copy,
) -> Result<(Speed, Vec<Duration>)> {
    let count = Count::begin(server);
    let mut callers = Vec::new();
    for number in 0..CONNECTIONS {
        let channel = fusion_proto::client::lazy_channel(&world.url()).context("our address")?;
        for turn in 0..in_flight {
            let (channel, seed) = (channel.clone(), (number * 131 + turn * 17) as u64);
            callers.push(one_caller(channel, seed, span, call));
        }
    }
    let done = futures_util::future::try_join_all(callers).await?;
    let mut times: Vec<Duration> = done.into_iter().flatten().collect();
    let speed = count.end(times.len() as u64);
    times.sort_unstable();
    Ok((speed, times))
}

async fn one_caller<F: Future<Output = Result<()>>>(
    channel: Channel,
    seed: u64,
    span: Duration,
    call: impl Fn(Channel, u64) -> F,
) -> Result<Vec<Duration>> {
    let (mut times, mut number) = (Vec::new(), seed);
    let started = now();
    while started.elapsed() < span {
        number = number.wrapping_add(7);
        let asked = now();
        call(channel.clone(), number).await?;
        times.push(asked.elapsed());
    }
    Ok(times)
}
