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
    Bench(bench::Options),
    /// Run the long form of a test; prints its seeds and result, and fails if anything failed.
    Soak(soak::Options),
    /// The yardstick of ingest: a server that decodes, acknowledges and forgets. Used by `bench`.
    #[command(hide = true)]
    Sink,
}

fn main() -> ExitCode {
    let done = match Args::parse().command {
        Command::Bench(options) => bench::run(&options),
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
