//! Rows 6 and 8: totals and searches over the wire.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use fusion_proto::pb;
use fusion_proto::pb::view_service_client::ViewServiceClient;
use tonic::transport::Channel;

use crate::pair::World;
use crate::process::now;

use super::cost::{Count, Speed};
use super::load::{self, LoadSession, PER_DIRECTORY};
use super::queries::{empty, one_caller};
use super::{Line, Options, median};

/// What stands beside searches: a tree that every machine has.
const YARDSTICK: &str = "/usr";
/// Searches whose first result is waited for, in each round.
const FIRSTS: u64 = 200;

pub(super) async fn totals(options: &Options) -> Result<Line> {
    let (world, _session, channel) = filled(options).await?;
    let directories = options.resident.div_ceil(PER_DIRECTORY);
    let ask = move |channel: Channel, call: u64| async move {
        let view = "load".to_owned();
        let path = load::directory(call % directories);
        let request = pb::GetStatsRequest { view, path, read_class: 0 };
        let totals = ViewServiceClient::new(channel).get_stats(request).await?.into_inner();
        let files = totals.totals.context("totals")?.files;
        anyhow::ensure!(files == PER_DIRECTORY, "totals of {files} files");
        Ok(())
    };
    let (mut ours, mut middle, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        let mut empty = one_caller(channel.clone(), 1, options.span(), empty).await?;
        let mut totals = one_caller(channel.clone(), 1, options.span(), ask).await?;
        theirs.push(part(&mut empty, 99));
        ours.push(part(&mut totals, 99));
        middle.push(part(&mut totals, 50));
    }
    drop(world);
    Ok(Line {
        row: 6,
        what: "totals of any directory, p99 of one caller",
        ours: median(ours),
        yardstick: "empty unary RPC",
        theirs: median(theirs),
        unit: "ms",
        note: format!("p50 {:.3} ms; goal ≤ 0.2 ms", median(middle)),
    })
}

pub(super) async fn searches(options: &Options) -> Result<Line> {
    let (mut world, _session, channel) = filled(options).await?;
    let pid = world.server().id();
    let (mut scanned, mut streamed, mut first) = (Vec::new(), Vec::new(), Vec::new());
    let mut theirs = Vec::new();
    for _ in 0..options.rounds {
        theirs.push(yardstick()?);
        let count = Count::begin(pid);
        let found = all(channel.clone(), "*no-such-name*").await?;
        anyhow::ensure!(found == 0, "{found} of a name that is not there");
        scanned.push(count.end(options.resident));
        let count = Count::begin(pid);
        let found = all(channel.clone(), "file-*").await?;
        anyhow::ensure!(found == options.resident, "{found} of {}", options.resident);
        streamed.push(count.end(found));
        for _ in 0..FIRSTS {
            first.push(first_result(channel.clone()).await?);
        }
    }
    let rate = |speeds: &[Speed]| median(speeds.iter().map(|speed| speed.rate).collect());
    Ok(Line {
        row: 8,
        what: "find by a glob with a literal, entries",
        ours: rate(&scanned),
        yardstick: "find /usr -name",
        theirs: median(theirs),
        unit: "/s",
        note: format!(
            "{}; first result p50 {:.2}, p99 {:.2} ms; all as rows {:.2} M/s, {}; \
             goal ≥ 60 M/s, ≤ 5 ms, ≥ 5 M/s",
            Speed::cost(&scanned),
            part(&mut first.clone(), 50),
            part(&mut first, 99),
            rate(&streamed) / 1e6,
            Speed::cost(&streamed),
        ),
    })
}

async fn filled(options: &Options) -> Result<(World, LoadSession, Channel)> {
    let world = World::start();
    let session = LoadSession::begin(&world.url(), "load").await?;
    load::fill(&session, options.resident).await?;
    let channel = fusion_proto::client::lazy_channel(&world.url()).context("our address")?;
    Ok((world, session, channel))
}

fn search(name_glob: &str) -> pb::FindEntriesRequest {
    pb::FindEntriesRequest {
        view: "load".into(),
        path: "/".into(),
        name_glob: name_glob.into(),
        kinds: vec![pb::EntryKind::File.into()],
        ..Default::default()
    }
}

/// Searches to the end; how many were found.
async fn all(channel: Channel, name_glob: &str) -> Result<u64> {
    let mut client = ViewServiceClient::new(channel)
        .max_decoding_message_size(fusion_proto::limits::MESSAGE_BYTES);
    let mut stream = client.find_entries(search(name_glob)).await?.into_inner();
    let (mut found, mut whole) = (0, false);
    while let Some(message) = stream.message().await? {
        found += message.entries.len() as u64;
        whole = message.freshness.is_some();
    }
    anyhow::ensure!(whole, "the search broke off");
    Ok(found)
}

/// Searches until something is found, and goes.
async fn first_result(channel: Channel) -> Result<Duration> {
    let asked = now();
    let mut stream =
        ViewServiceClient::new(channel).find_entries(search("file-*")).await?.into_inner();
    let message = stream.message().await?.context("a message")?;
    anyhow::ensure!(!message.entries.is_empty(), "nothing was found");
    Ok(asked.elapsed())
}

/// Entries a second that `find` looks at, of a tree that is warm by then.
fn yardstick() -> Result<f64> {
    let run = |words: &[&str]| {
        Command::new("find").arg(YARDSTICK).args(words).output().context("find runs")
    };
    let entries = run(&["-printf", "x"])?.stdout.len();
    let began = now();
    run(&["-name", "*no-such-name*"])?;
    Ok(entries as f64 / began.elapsed().as_secs_f64())
}

/// A part of some times in hundredths, in milliseconds.
fn part(times: &mut [Duration], hundredths: usize) -> f64 {
    times.sort_unstable();
    times.get(times.len() * hundredths / 100).copied().unwrap_or_default().as_secs_f64() * 1e3
}
