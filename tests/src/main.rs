//! The load generator and the soaks: `fusion-tests bench` and `fusion-tests soak NAME`.
//!
//! Benchmarks print a table of figures beside their yardsticks and judge nothing; docs/performance.md
//! keeps what was seen. Soaks are the long forms of what the tests run in short.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use fusion_tests::{bench, soak};

/// Load generator and soaks of Fusion. Build with --release.
#[derive(Debug, Parser)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print a table of figures beside their yardsticks.
    Bench(Bench),
    /// Run the long form of a test; prints its seeds and result, and fails if anything failed.
    Soak(soak::Options),
    /// The yardstick of ingest: a server that decodes, acknowledges and forgets. Used by `bench`.
    #[command(hide = true)]
    Sink,
}

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
struct Bench {
    #[command(subcommand)]
    only: Option<BenchOf>,
    #[command(flatten)]
    table: bench::Options,
}

#[derive(Debug, Subcommand)]
enum BenchOf {
    /// How many agents come back whose sessions are lost in one moment.
    Arrivals(bench::arrivals::Options),
    /// How long a fail-over takes, how far a follower is behind, how long joining takes.
    Cluster(bench::cluster::Options),
    /// How fast changes are told to those who watch.
    Watch(bench::watch::Options),
}

fn main() -> ExitCode {
    let done = match Args::parse().command {
        Command::Bench(Bench { only: Some(BenchOf::Arrivals(options)), .. }) => {
            bench::arrivals::run(&options)
        }
        Command::Bench(Bench { only: Some(BenchOf::Cluster(options)), .. }) => {
            bench::cluster::run(&options)
        }
        Command::Bench(Bench { only: Some(BenchOf::Watch(options)), .. }) => {
            bench::watch::run(&options)
        }
        Command::Bench(Bench { only: None, table }) => bench::run(&table),
        Command::Soak(options) => soak::run(&options),
        Command::Sink => bench::sink::run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fusion-tests: {error:#}");
            ExitCode::FAILURE
        }
    }
}
