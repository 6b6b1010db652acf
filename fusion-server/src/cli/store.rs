//! `fusion-server store`: commands on a data directory, most of them on one that no server has.

use std::io::{BufWriter, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use fusion_core::time::Clock as _;
use fusion_server::clock::RuntimeClock;
use fusion_server::config::Config;
use fusion_server::offline::{Offline, OfflineError, back_up};

use super::{FAILED, USAGE, fail, print, sources, usual_data_dir};

/// Looks after a data directory.
#[derive(Debug, Subcommand)]
pub(super) enum StoreCommand {
    /// Copy a data directory, also one that a server is writing, to another one; all that the server
    /// has acknowledged is in the copy
    Backup {
        #[command(flatten)]
        place: Place,
        /// Where to: a directory that is empty or not there
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
    },
    #[command(flatten)]
    Alone(Alone),
}

/// What needs the directory for itself.
#[derive(Debug, Subcommand)]
pub(super) enum Alone {
    /// Read everything in a data directory that no server has, rebuild every view from it, and say
    /// what is wrong; exits 1 if anything is
    Check {
        #[command(flatten)]
        place: Place,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Give back space that a data directory does not need: useless blocks, log beyond its
    /// retention, and views that are named
    Compact {
        #[command(flatten)]
        place: Place,
        /// Remove a view, by name or id, with all that is stored of it; it must not be in the
        /// configuration
        #[arg(long, value_name = "VIEW")]
        remove_view: Vec<String>,
    },
    /// Copy everything to the engines of another configuration, which must be empty: how a server comes to keep its
    /// logs and its state outside, and back; sessions go on there
    Move {
        #[command(flatten)]
        place: Place,
        /// The configuration of the server that is to go on: its `data_dir`, `[change_log]` and `[state]`
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
    },
    /// Print what is stored of a view as JSON, a line for each change or entry
    Export {
        #[command(flatten)]
        place: Place,
        /// The view, by name or id
        #[arg(long)]
        view: String,
        /// Begin with the change of this revision, and not with the first that is kept
        #[arg(long, value_name = "REVISION", conflicts_with = "entries")]
        from: Option<u64>,
        /// Print the entries of the view instead of its changes
        #[arg(long)]
        entries: bool,
    },
}

/// Which directory.
#[derive(Debug, Args)]
pub(super) struct Place {
    /// Configuration file (TOML) of the server: its `data_dir`, and the settings of its views
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The data directory [default: the one that the server would take]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
}

impl Place {
    /// The configuration and the directory, or that the command was called wrongly.
    fn find(&self) -> Result<(Config, PathBuf), ExitCode> {
        let sources = sources(self.config.clone(), &[("data_dir", &self.data_dir)]);
        let config = Config::load(&sources).map_err(|faults| fail(USAGE, &faults))?;
        let dir = config.data_dir.clone().or_else(usual_data_dir);
        let dir = dir.ok_or_else(|| {
            fail(USAGE, &"there is no data directory: give --data-dir DIR, or set HOME")
        });
        dir.map(|dir| (config, dir))
    }
}

impl StoreCommand {
    pub(super) fn run(self) -> ExitCode {
        let (Self::Backup { place, .. }
        | Self::Alone(
            Alone::Check { place, .. }
            | Alone::Compact { place, .. }
            | Alone::Move { place, .. }
            | Alone::Export { place, .. },
        )) = &self;
        let (config, dir) = match place.find() {
            Ok(found) => found,
            Err(code) => return code,
        };
        match self {
            Self::Alone(command) => command.run(&config, &dir),
            Self::Backup { to, .. } => match back_up(&dir, &to) {
                Ok(done) => print(&format!("{done}\n")),
                Err(error) => fail(FAILED, &error),
            },
        }
    }
}

impl Alone {
    fn run(self, config: &Config, dir: &Path) -> ExitCode {
        // The clock is read within a runtime, as the server does it.
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_time().build() {
            Ok(runtime) => runtime,
            Err(error) => return fail(FAILED, &format!("start the runtime: {error}")),
        };
        let now = runtime.block_on(async { RuntimeClock::new().now() });
        let ran = Offline::open(dir, &config.state, self.name(), now)
            .and_then(|dir| self.act(&dir, config));
        match ran {
            Ok(code) => code,
            // Whoever read the output has seen enough.
            Err(OfflineError::Write(error)) if error.kind() == ErrorKind::BrokenPipe => {
                ExitCode::SUCCESS
            }
            Err(error) => fail(FAILED, &error),
        }
    }

    /// What is told to a server that finds its directory taken.
    fn name(&self) -> &'static str {
        match self {
            Self::Check { .. } => "`store check`",
            Self::Compact { .. } => "`store compact`",
            Self::Move { .. } => "`store move`",
            Self::Export { .. } => "`store export`",
        }
    }

    fn act(self, dir: &Offline, config: &Config) -> Result<ExitCode, OfflineError> {
        match self {
            Self::Check { json, .. } => {
                let report = dir.check(config)?;
                // Of such a value `serde_json` refuses nothing.
                let text = if json {
                    serde_json::to_string_pretty(&report).unwrap_or_default() + "\n"
                } else {
                    report.to_string()
                };
                print(&text);
                Ok(if report.in_order { ExitCode::SUCCESS } else { FAILED.into() })
            }
            Self::Compact { remove_view, .. } => {
                let compacted = dir.compact(config, &remove_view)?;
                print(&compacted.to_string());
                Ok(if compacted.is_whole() { ExitCode::SUCCESS } else { FAILED.into() })
            }
            Self::Move { to, .. } => match Config::load(&sources(Some(to), &[])) {
                Ok(to) => Ok(print(&dir.move_to(config, &to)?.to_string())),
                Err(faults) => Ok(fail(USAGE, &faults)),
            },
            Self::Export { view, from, entries, .. } => {
                let mut out = BufWriter::with_capacity(1 << 16, std::io::stdout().lock());
                if entries {
                    dir.export_entries(&view, config, &mut out)?;
                } else {
                    dir.export_changes(&view, from, &mut out)?;
                }
                out.flush().map_err(OfflineError::Write)?;
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}
