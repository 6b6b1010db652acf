//! Benchmarks: rows of 6-quality's table, each beside its yardstick in the same run.

mod answers;
pub mod arrivals;
pub mod cluster;
mod cost;
mod durable;
mod ingest;
mod jobs;
mod latency;
pub(crate) mod load;
mod queries;
mod raw;
mod sessions;
pub mod sink;
mod snapshot;
mod tree;
pub mod watch;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;

/// What to measure, and how much of it.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Files of the tree of the first row.
    #[arg(long, default_value_t = 1_000_000)]
    files: u64,
    /// A tree of yours for the first row, in place of one that is made.
    #[arg(long)]
    tree: Option<PathBuf>,
    /// Entries resident in the view that ingest and queries run against.
    #[arg(long, default_value_t = 1_000_000)]
    resident: u64,
    /// For how long each kind of load is kept up, in seconds.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Jobs that are kept when they are listed.
    #[arg(long, default_value_t = 100_000)]
    jobs: u64,
    /// Repeat each row so often and give the median.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Only these rows, by number.
    #[arg(long, value_delimiter = ',')]
    rows: Vec<u32>,
}

impl Options {
    fn wants(&self, row: u32) -> bool {
        self.rows.is_empty() || self.rows.contains(&row)
    }

    fn span(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}

/// One line of the table.
#[derive(Default)]
struct Line {
    row: u32,
    what: &'static str,
    ours: f64,
    yardstick: &'static str,
    theirs: f64,
    unit: &'static str,
    note: String,
}

/// Measures and prints.
///
/// # Errors
/// Something could not be started or answered with an error: then there is no figure.
pub fn run(options: &Options) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    println!(
        "{:>3}  {:<44} {:>14}  {:<30} {:>14} {:>7}  note",
        "row", "what", "ours", "yardstick", "theirs", "ratio"
    );
    if options.wants(1) {
        print(&snapshot::row(options)?);
    }
    if options.wants(2) {
        print(&runtime.block_on(ingest::realtime(options))?);
    }
    if options.wants(3) {
        print(&runtime.block_on(ingest::listings(options))?);
    }
    if options.wants(5) {
        print(&runtime.block_on(latency::row(options))?);
    }
    if [6, 8, 13].iter().any(|&row| options.wants(row)) {
        runtime.block_on(answers(options))?;
    }
    if options.wants(7) {
        print(&runtime.block_on(queries::listings(options))?);
    }
    if options.wants(9) {
        print(&runtime.block_on(durable::restart(options))?);
    }
    if options.wants(10) {
        print(&runtime.block_on(queries::heartbeats(options))?);
        print(&runtime.block_on(sessions::heartbeats(options))?);
    }
    if [11, 18].iter().any(|&row| options.wants(row)) {
        runtime.block_on(silent(options))?;
    }
    if options.wants(17) {
        print(&runtime.block_on(durable::flush(options))?);
    }
    if options.wants(19) {
        print(&runtime.block_on(tree::live(options))?);
    }
    if (14..=16).any(|row| options.wants(row)) {
        runtime.block_on(jobs(options))?;
    }
    Ok(())
}

/// The rows on a tree that nobody touches.
async fn silent(options: &Options) -> Result<()> {
    let mut silent = tree::Silent::begin(options).await?;
    if options.wants(11) {
        print(&silent.idle(options).await?);
    }
    if options.wants(18) {
        print(&silent.audit(options)?);
    }
    Ok(())
}

/// The rows on jobs, one server for all: the kept ones are those that the first row made, and more.
async fn jobs(options: &Options) -> Result<()> {
    let mut pair = jobs::Pair::begin().await;
    if options.wants(14) {
        print(&pair.done(options).await?);
    }
    if options.wants(15) {
        pair.keys(options).await?.iter().for_each(print);
    }
    if options.wants(16) {
        print(&pair.listed(options).await?);
    }
    Ok(())
}

/// The rows on one filled view.
async fn answers(options: &Options) -> Result<()> {
    let filled = answers::Filled::begin(options).await?;
    if options.wants(6) {
        print(&filled.totals(options).await?);
    }
    if options.wants(8) {
        filled.find(options).await?.iter().for_each(print);
    }
    if options.wants(13) {
        print(&filled.command_line(options)?);
    }
    Ok(())
}

fn print(line: &Line) {
    let ratio = line.ours / line.theirs;
    println!(
        "{:>3}  {:<44} {:>14}  {:<30} {:>14} {ratio:>7.2}  {}",
        line.row,
        line.what,
        figure(line.ours, line.unit),
        line.yardstick,
        figure(line.theirs, line.unit),
        line.note
    );
}

fn figure(value: f64, unit: &str) -> String {
    if matches!(unit, "s" | "ms" | "%") {
        format!("{value:.2} {unit}")
    } else {
        format!("{value:.0} {unit}")
    }
}

/// So many hundredths of sorted times are at most this, in milliseconds.
fn part(sorted: &[Duration], hundredths: usize) -> f64 {
    sorted.get(sorted.len() * hundredths / 100).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
}

/// The middle one.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
