//! Soaks: the long forms of tests, by name. What was seen is kept in docs/soak.md.

use anyhow::{Result, ensure};
use fusion_sim::Settings;

use crate::process::now;

/// Which soak, and how long.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Which one.
    #[arg(value_enum)]
    name: Name,
    /// How many schedules.
    #[arg(long, default_value_t = 1_000_000)]
    schedules: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
}

/// The soaks that there are.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Name {
    /// Random schedules of the simulator, over all its settings (docs/simulator.md).
    Sim,
}

/// Runs one.
///
/// # Errors
/// Something failed; the report that was printed names the seeds.
pub fn run(options: &Options) -> Result<()> {
    match options.name {
        Name::Sim => sim(options),
    }
}

fn sim(options: &Options) -> Result<()> {
    let started = now();
    let seeds = options.from..options.from + options.schedules;
    println!("seeds {} to {}", seeds.start, seeds.end);
    let report = fusion_sim::run(&Settings::all(), seeds);
    println!("{report}");
    let took = started.elapsed().as_secs_f64();
    println!("{:.0} schedules a second", report.schedules as f64 / took);
    ensure!(report.failures.is_empty(), "{} schedules failed", report.failures.len());
    Ok(())
}
