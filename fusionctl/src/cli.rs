//! The command line as typed.

mod jobs;
mod live;
mod operate;
mod quantity;
pub(crate) mod reads;
mod records;

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use fusion_core::id::CorrelationId;

pub(crate) use jobs::{
    How, JobsCommand, Kind as JobKind, Origin as JobOriginArg, State as JobStateArg,
};
pub(crate) use live::{ChangesArgs, LiveCommand, WaitArgs, WatchArgs};
pub(crate) use operate::{
    ClusterCommand, OperateCommand, ServerCommand, SessionsCommand, TokenCommand, TokenCreate,
    TrashCommand, ViewsCommand, WaitArg,
};
pub(crate) use records::{ExplainArgs, RecordsArgs, TraceArgs};

/// Ask a Fusion server about a file tree, or try Fusion on a directory of your own.
#[derive(Debug, Parser)]
#[command(name = "fusionctl", version = fusion_proto::version::version(), after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The server; without one that of the profile, else `http://127.0.0.1:7700`.
    #[arg(long, global = true, value_name = "URL", env = "FUSION_SERVER", hide_env_values = true)]
    pub(crate) server: Option<String>,
    #[command(flatten)]
    pub(crate) access: AccessArgs,
    /// The profile; without one `fusion/profile.toml` in `$XDG_CONFIG_HOME` or `~/.config`.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "FUSION_PROFILE",
        hide_env_values = true
    )]
    pub(crate) profile: Option<PathBuf>,
    /// How to print the answer.
    #[arg(long, global = true, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,
    /// The chain of cause and effect that what is done belongs to, to be found again by `trace` and
    /// `records`: 1 to 128 of A-Z, a-z, 0-9, `.`, `_`, `:` and `-`. Not given: one is drawn.
    #[arg(long, global = true, value_name = "ID", value_parser = CorrelationId::new)]
    pub(crate) correlation_id: Option<CorrelationId>,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What `https://` needs; each goes before what the profile says of its own server.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct AccessArgs {
    /// Certificates (PEM) of who may sign the server's; needed with `https://`.
    #[arg(long, global = true, value_name = "FILE", env = "FUSION_CA", hide_env_values = true)]
    pub(crate) ca: Option<PathBuf>,
    /// Your own certificate (PEM), if the server wants one.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "FUSION_CLIENT_CERTIFICATE",
        hide_env_values = true
    )]
    pub(crate) client_certificate: Option<PathBuf>,
    /// Its private key (PEM).
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "FUSION_CLIENT_KEY",
        hide_env_values = true
    )]
    pub(crate) client_key: Option<PathBuf>,
    /// The file of your token, if the server wants one.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "FUSION_TOKEN_FILE",
        hide_env_values = true
    )]
    pub(crate) token_file: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  fusionctl dev ~/data                      a live view of a directory, until Ctrl-C
  fusionctl ls -l -t /incoming              what is in a directory, newest first
  fusionctl du /incoming                    where the bytes below it are, at once
  fusionctl find '*.bam' /incoming -S +1G   what lies below it, is called so and is large
  fusionctl find -e log --changed-within 2d --sort size -n 20
  fusionctl top /incoming                   largest files and directories, newest directories
  fusionctl compare /incoming               the same path on every view of the server
  fusionctl watch /incoming                 what happens below it, as it happens
  fusionctl wait /incoming/run42 --quiet 30s && process
  fusionctl explain /incoming/run42         what changed it lately, and who asked for that

Paths are paths in the view and begin with `/`, its root. Bytes that cannot be printed are written
`\\xHH`, a backslash `\\\\`. A path below a mount of the profile is mapped to its view.

The profile is a TOML file: server = URL, ca, client_certificate, client_key and token_file = FILE,
view = NAME (where --view is left out), and
mounts = [{ mount = \"/mnt/share\", view = NAME, path = \"/\" }].

Exit status: 0 done, 1 refused, not found, unreachable or incomplete, 2 wrong usage.";

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// Tables for people.
    Table,
    /// JSON for programs: one object per line for lists, one document for all else.
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a server and an agent on a directory, in this process, until Ctrl-C.
    Dev {
        /// The directory.
        dir: PathBuf,
        /// Name of the view; by default made of the directory's name.
        #[arg(long, value_name = "NAME")]
        view: Option<String>,
        /// Where to keep state; by default a temporary directory that goes with the end.
        #[arg(long, value_name = "DIR")]
        data_dir: Option<PathBuf>,
        /// So many servers, on one server of NATS that is started beside them: 1 to 5. More than one need a
        /// `nats-server` on the PATH.
        #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=5))]
        servers: u8,
    },
    /// List the views of the server, or do something to one.
    Views {
        #[command(subcommand)]
        command: Option<ViewsCommand>,
    },
    /// Questions about what is in a view.
    #[command(flatten)]
    Read(Box<reads::Read>),
    /// What happens.
    #[command(flatten)]
    Live(LiveCommand),
    /// For whoever runs it.
    #[command(flatten)]
    Operate(OperateCommand),
}

/// Which view.
#[derive(Debug, clap::Args)]
pub(crate) struct ViewArg {
    /// The view; may be left out while the server has one.
    #[arg(long = "view", value_name = "NAME")]
    pub(crate) name: Option<String>,
}

#[cfg(test)]
mod documented;

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }
}
