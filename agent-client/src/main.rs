//! The binary: flags, configuration, logs, signals, exit code. All else is in the library.

use std::io::Write as _;
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use agent_client::agent::Deps;
use agent_client::cli::Cli;
use agent_client::config::{self, Environment, ProcessConfig};
use agent_client::ops::telemetry;
use agent_client::process;
use clap::Parser as _;
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let environment = Environment::of_process();
    let config = match config::load(cli.config.as_deref(), &environment, cli.raw()) {
        Ok(config) => config,
        Err(error) => return fail(&format!("configuration:\n{error}"), 2),
    };
    if cli.print_config {
        return print(&config.to_toml());
    }
    if cli.check_config {
        return ExitCode::SUCCESS;
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("runtime: {error}"), 1),
    };
    let code = runtime.block_on(run(config, environment.exports_traces()));
    // A thread that hangs in the storage must not hold up the end.
    runtime.shutdown_timeout(Duration::from_millis(100));
    code
}

async fn run(config: ProcessConfig, export: bool) -> ExitCode {
    let telemetry = match telemetry::init(&config.log, export) {
        Ok(telemetry) => telemetry,
        Err(error) => return fail(&error.to_string(), 1),
    };
    let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    let (Ok(mut terminate), Ok(mut interrupt)) = signals else {
        return fail("signals cannot be handled", 1);
    };
    let shutdown = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("told to end");
    };
    let mut shutdown = pin!(shutdown);
    // The root or the spool may hang with its storage before there is anything to run.
    let built = tokio::select! {
        built = process::build(config, Deps::default()) => built.map(Some),
        () = &mut shutdown => Ok(None),
    };
    let ended = match built {
        Ok(Some(process)) => process.run(shutdown).await,
        Ok(None) => Ok(()),
        Err(error) => Err(error),
    };
    // The exporter may block for as long as its limit.
    let _ = tokio::task::spawn_blocking(move || telemetry.shutdown()).await;
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error.to_string(), error.exit_code()),
    }
}

fn print(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn fail(why: &str, code: u8) -> ExitCode {
    // Standard error may be closed; the exit code says it as well.
    let _ = writeln!(std::io::stderr(), "agent-client: {why}");
    ExitCode::from(code)
}
