//! `fusionctl`: asks a Fusion server what `find` and `du` would take hours to find out.
//!
//! Owns the command line, what it prints and its exit codes; asks through `fusion_proto`'s client
//! and, for `dev`, runs the server and an agent in this process. Must never: print anything but the
//! answer on standard output. Tested by `tests/cli.rs` and by the system tests.

mod cli;
mod commands;
mod exit;
mod output;
mod profile;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let args = match cli::Args::try_parse() {
        Ok(args) => args,
        Err(error) => return exit::from_clap(&error),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            return exit::Failure::refused(format!("start the runtime: {error}")).report();
        }
    };
    let done = runtime.block_on(commands::run(args));
    // What is still running after Ctrl-C must not hold up the end.
    runtime.shutdown_timeout(std::time::Duration::from_millis(100));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
