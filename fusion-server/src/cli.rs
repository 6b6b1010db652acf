//! The command line: flags, and how a run ends.

mod store;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Parser, Subcommand};
use fusion_server::app::{self, Deps};
use fusion_server::config::{Config, ConfigFaults, ENV_PREFIX, Sources};
use fusion_server::listeners::HandedOver;
use fusion_server::ops::log_filter::LogFilter;
use fusion_server::ops::telemetry::Telemetry;
use tokio_util::sync::CancellationToken;

use crate::signals;

/// Refused, or a listener broke.
const FAILED: u8 = 1;
/// How long what runs on blocking threads may take when all else has ended.
const LEFT: Duration = Duration::from_secs(1);
/// Usage or configuration; what clap ends with too.
const USAGE: u8 = 2;

/// Keeps one live, trustworthy index of shared file trees, from what agents report.
///
/// Settings come from the configuration file, overridden by environment variables
/// (FUSION_SERVER__LISTEN__GRPC=...), overridden by these flags; where it listens is overridden by the sockets
/// that a service manager hands over.
#[derive(Debug, Parser)]
#[command(version = fusion_proto::version::version(), args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where to listen for gRPC; port 0 takes a free one [default: 127.0.0.1:7700]
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Where to listen for HTTP: /metrics, /livez, /readyz [default: 127.0.0.1:7701]
    #[arg(long, value_name = "ADDR")]
    http_listen: Option<String>,
    /// Where to serve only grpc.health.v1, in plaintext, for probes that know no TLS [default: nowhere]
    #[arg(long, value_name = "ADDR")]
    health_listen: Option<String>,
    /// Directory for data, made if it is not there; one server has it at a time [default:
    /// $STATE_DIRECTORY, else $XDG_STATE_HOME/fusion/server, else ~/.local/state/fusion/server]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// File to write the chosen addresses to, once both listen: `grpc=HOST:PORT` and
    /// `http=HOST:PORT`, a line each
    #[arg(long, value_name = "FILE")]
    address_file: Option<String>,
    /// Check the configuration, and do nothing else
    #[arg(long)]
    check_config: bool,
    /// Print the configuration in force, and do nothing else
    #[arg(long)]
    print_config: bool,
}

/// What else it does than to serve.
#[derive(Debug, Subcommand)]
enum Command {
    /// Look after a data directory that no server has
    #[command(subcommand)]
    Store(store::StoreCommand),
}

impl Cli {
    pub(crate) fn run(self) -> ExitCode {
        if let Some(Command::Store(command)) = self.command {
            return command.run();
        }
        // Before anything else opens a file.
        let sockets = match HandedOver::take() {
            Ok(sockets) => sockets,
            Err(fault) => return fail(USAGE, &fault),
        };
        let mut sources = self.sources();
        sources.flags.extend(sockets.settings());
        let config = match load(&sources) {
            Ok(config) => config,
            Err(faults) => return fail(USAGE, &faults),
        };
        if config.data_dir.is_none() {
            return fail(USAGE, &"there is no place for data: give --data-dir DIR, or set HOME");
        }
        if self.print_config {
            return print(&config.to_toml());
        }
        if self.check_config {
            return print("the configuration is in order\n");
        }
        let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return fail(FAILED, &format!("start the runtime: {error}")),
        };
        let code = runtime.block_on(serve(config, sources, sockets));
        // What hangs on a disk ends with the process.
        runtime.shutdown_timeout(LEFT);
        code
    }

    fn sources(&self) -> Sources {
        let flags = [
            ("listen.grpc", &self.listen),
            ("listen.http", &self.http_listen),
            ("listen.health", &self.health_listen),
            ("data_dir", &self.data_dir),
            ("address_file", &self.address_file),
        ];
        sources(self.config.clone(), &flags)
    }
}

/// A file, the environment, and those flags that were given.
fn sources(file: Option<PathBuf>, flags: &[(&'static str, &Option<String>)]) -> Sources {
    let given = |(key, value): &(_, &Option<String>)| (*value).clone().map(|value| (*key, value));
    let env = std::env::vars_os().filter_map(|(name, value)| {
        let name = name.into_string().ok().filter(|name| name.starts_with(ENV_PREFIX))?;
        Some((name, value.to_string_lossy().into_owned()))
    });
    Sources { file, env: env.collect(), flags: flags.iter().filter_map(given).collect() }
}

/// What the sources say, with the usual place for data where they say none.
fn load(sources: &Sources) -> Result<Config, ConfigFaults> {
    let config = Config::load(sources)?;
    Ok(Config { data_dir: config.data_dir.clone().or_else(usual_data_dir), ..config })
}

async fn serve(config: Config, sources: Sources, sockets: HandedOver) -> ExitCode {
    let telemetry = match Telemetry::init(&config.log, "fusion-server") {
        Ok(telemetry) => telemetry,
        Err(error) => return fail(FAILED, &error),
    };
    let served = serve_until_told(config, sources, sockets, telemetry.filter()).await;
    let _ = tokio::task::spawn_blocking(|| telemetry.shutdown()).await;
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(FAILED, &error),
    }
}

async fn serve_until_told(
    config: Config,
    sources: Sources,
    sockets: HandedOver,
    log: LogFilter,
) -> anyhow::Result<()> {
    let (told, mut reloads) = (signals::told_to_end()?, signals::told_to_reload()?);
    let reread = Arc::new(move || load(&sources));
    let deps = Deps { log, reread, ..Deps::bind_with(&config, sockets).await? };
    let server = app::build(config, deps)?;
    print(&server.addresses());
    let reloader = server.reloader();
    let going = CancellationToken::new();
    let goes = going.clone();
    let told = async move {
        told.await;
        goes.cancel();
    };
    // It holds what writes to the data directory: a server that waits for that waits for this.
    let reload = async move {
        let reloads_come = async {
            while reloads.recv().await.is_some() {
                reloader.reload_by_signal().await;
            }
        };
        going.run_until_cancelled(reloads_come).await;
        drop(reloader);
        std::future::pending::<()>().await;
    };
    tokio::select! {
        served = server.run(told) => Ok(served?),
        () = reload => Ok(()),
    }
}

/// Where data goes unless told otherwise: where systemd says, else the user's place for state.
fn usual_data_dir() -> Option<PathBuf> {
    let given = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(listed) = given("STATE_DIRECTORY") {
        // systemd lists several with colons between them; the first is ours.
        return std::env::split_paths(&listed).next();
    }
    let state = given("XDG_STATE_HOME").map(PathBuf::from);
    let state = state.or_else(|| Some(PathBuf::from(given("HOME")?).join(".local/state")))?;
    Some(state.join("fusion/server"))
}

/// Standard output may be closed; whoever closed it does not want to know.
fn print(text: &str) -> ExitCode {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    ExitCode::SUCCESS
}

fn fail(code: u8, error: &dyn std::fmt::Display) -> ExitCode {
    let _ = writeln!(std::io::stderr().lock(), "fusion-server: {error}");
    ExitCode::from(code)
}
