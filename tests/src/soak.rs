//! Soaks: the long forms of tests, by name. What was seen is kept in docs/soak.md and docs/faults.md.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use fusion_sim::Settings;

use crate::faults::rolling::Listening;
use crate::process::now;
use crate::storms::engines::StateOn;
use crate::storms::plan::Schedule;
use crate::witnesses::{self, Caches};
use crate::{blind, bursts, faults, storms, unpacked};

/// Which soak, and how long.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Which one.
    #[arg(value_enum)]
    name: Name,
    /// How many schedules of the simulator, or of `cluster`; 1,000,000 or 100 unless given.
    #[arg(long)]
    schedules: Option<u64>,
    /// How often a fault is done.
    #[arg(long, default_value_t = 100)]
    rounds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// How the server listens in `rolling`.
    #[arg(long, value_enum, default_value = "itself")]
    listening: Listening,
    /// What keeps the state in `cluster`; drawn for each schedule unless given.
    #[arg(long, value_enum)]
    state: Option<StateOn>,
    /// A file for the time line of a fail-over, in place of the schedules of `cluster`.
    #[arg(long)]
    timeline: Option<PathBuf>,
}

/// The soaks that there are.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Name {
    /// Random schedules of the simulator, over all its settings (docs/simulator.md).
    Sim,
    /// kill -9 of agent, server or both at random moments.
    Kill,
    /// The same with two agents.
    KillTwo,
    /// SIGSTOP of a leader past its timeout, in the middle of a scan.
    Pause,
    /// Batches that cannot be taken, and a message above the limit.
    Batches,
    /// The server away for longer than the timeout while 100,000 files are made.
    Away,
    /// The leader behind a wire that goes dead.
    Partition,
    /// The last frame of the spool torn, delivered or not.
    Torn,
    /// The spool full, by its bound or its disk; the server's disk full.
    Full,
    /// The server restarted by SIGTERM again and again under load.
    Rolling,
    /// Two agents with one id.
    Twins,
    /// The clock of an agent off and jumping.
    Clock,
    /// The four losses of memory.
    Memory,
    /// Promotion by a notice.
    Promote,
    /// A heartbeat while a part of the agent is broken.
    Broken,
    /// A directory that answers with EIO, ESTALE or another error.
    Errors,
    /// Two agents on two mounts of one tree and a blind third, with 20,000 random operations; without caches and with.
    Witnesses,
    /// Agents on one, both or none of two mounts of one tree, without caches and with caches of 30 s.
    Blind,
    /// Debian's linux-source-6.1 unpacked, moved, removed and unpacked again, 1,000,000 files, and 20,000 random
    /// operations on mounts with caches.
    Trees,
    /// 100,000 files, a tree of 100,000, two versions of a repository, 50,000 temporary files.
    Bursts,
    /// Random faults over three servers, their engines and five agents (docs/storms.md).
    Cluster,
    /// All faults, one after the other.
    Faults,
}

/// The faults, in the order of docs/faults.md.
const FAULTS: [Name; 15] = [
    Name::Kill,
    Name::KillTwo,
    Name::Pause,
    Name::Batches,
    Name::Away,
    Name::Partition,
    Name::Torn,
    Name::Full,
    Name::Twins,
    Name::Clock,
    Name::Memory,
    Name::Promote,
    Name::Broken,
    Name::Errors,
    Name::Rolling,
];

/// Runs one.
///
/// # Errors
/// Something failed; the report that was printed names the seeds.
///
/// # Panics
/// After a fault something did not hold; the seed was printed before.
pub fn run(options: &Options) -> Result<()> {
    match options.name {
        Name::Sim => sim(options),
        Name::Cluster => cluster(options),
        Name::Faults => {
            for name in FAULTS {
                rounds(name, options)?;
            }
            Ok(())
        }
        name => rounds(name, options),
    }
}

fn sim(options: &Options) -> Result<()> {
    let started = now();
    let seeds = options.from..options.from + options.schedules.unwrap_or(1_000_000);
    println!("seeds {} to {}", seeds.start, seeds.end);
    let report = fusion_sim::run(&Settings::all(), seeds);
    println!("{report}");
    let took = started.elapsed().as_secs_f64();
    println!("{:.0} schedules a second", report.schedules as f64 / took);
    ensure!(report.failures.is_empty(), "{} schedules failed", report.failures.len());
    Ok(())
}

/// Every schedule in a runtime and a network of its own; one that does not hold ends it, having printed its seed.
fn cluster(options: &Options) -> Result<()> {
    let started = now();
    if let Some(file) = &options.timeline {
        return timeline(file, options);
    }
    let schedules = options.schedules.unwrap_or(100);
    for seed in options.from..options.from + schedules {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(storms::run(&Schedule::draw(seed, options.state)));
    }
    println!("{schedules} schedules from seed {} in {:.0?}", options.from, started.elapsed());
    Ok(())
}

/// Two fail-overs as they were seen, drawn.
fn timeline(file: &Path, options: &Options) -> Result<()> {
    let state = options.state.unwrap_or(StateOn::Postgres);
    let schedule = Schedule::short(options.from, state);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let story = runtime.block_on(storms::run(&schedule));
    std::fs::write(file, storms::timeline::svg(&story))?;
    println!("drawn in {}", file.display());
    Ok(())
}

fn rounds(name: Name, options: &Options) -> Result<()> {
    let Options { rounds, from, .. } = *options;
    let started = now();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match name {
            // One pair for all rounds.
            Name::Kill => faults::kill::rounds(from, rounds).await,
            Name::KillTwo => faults::kill::rounds_of_two(from, rounds).await,
            Name::Rolling => {
                let load = faults::rolling::Load { sessions: 500, readers: 8 };
                faults::rolling::restarts(from, rounds, load, options.listening).await;
            }
            _ => {
                for seed in from..from + rounds {
                    println!("{name:?}: seed {seed}");
                    fault(name, seed).await;
                }
            }
        }
    });
    println!("{name:?}: {rounds} rounds from seed {from} in {:.0?}", started.elapsed());
    Ok(())
}

/// One round in its long form.
async fn fault(name: Name, seed: u64) {
    match name {
        Name::Sim | Name::Cluster | Name::Kill | Name::KillTwo | Name::Rolling | Name::Faults => {}
        Name::Pause => {
            faults::pause::leader_past_its_timeout(2_000).await;
            faults::pause::only_agent_past_its_timeout(seed).await;
        }
        Name::Batches => {
            faults::batches::that_cannot_be_taken().await;
            faults::batches::above_the_limit_of_a_message().await;
        }
        Name::Away => faults::away::while_files_are_made(100_000).await,
        Name::Partition => faults::partition::of_the_leader(seed).await,
        Name::Torn => {
            faults::torn::not_delivered(seed, 5).await;
            faults::torn::delivered().await;
        }
        Name::Full => {
            faults::full::by_its_bound().await;
            faults::full::by_its_disk().await;
            faults::full::of_the_server().await;
        }
        Name::Twins => faults::twins::with_one_id().await,
        Name::Clock => faults::clock::off_and_jumping(seed, 10).await,
        Name::Memory => faults::memory::all_four().await,
        Name::Promote => {
            let took = faults::promote::by_notice(20).await;
            let median = took[took.len() / 2];
            assert!(median < faults::promote::SOON, "median {median:?}");
        }
        Name::Errors => {
            for error in ["EIO", "ESTALE", "EACCES", "ENOMEM", "ETIMEDOUT"] {
                faults::errors::of_a_known_directory(error).await;
                faults::errors::of_an_unknown_directory(error).await;
            }
        }
        Name::Witnesses => {
            witnesses::of_one_tree(seed, 100_000, Caches::None).await;
            witnesses::of_one_tree(seed, 100_000, Caches::Some).await;
        }
        Name::Blind => blind::long().await,
        Name::Trees => {
            unpacked::long().await;
            witnesses::of_one_tree(seed, 100_000, Caches::Some).await;
        }
        Name::Bursts => {
            bursts::one_directory(100_000).await;
            bursts::moved_tree(100_000).await;
            bursts::checkout(60_000).await;
            bursts::build(50_000).await;
        }
        Name::Broken => {
            faults::broken::watcher().await;
            faults::broken::storage().await;
            faults::broken::storage_gone().await;
        }
    }
}
