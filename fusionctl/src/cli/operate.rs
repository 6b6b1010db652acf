//! What whoever runs a server asks: suspects, trash, refreshes, sessions, status.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::{ExplainArgs, How, JobsCommand, RecordsArgs, TraceArgs, ViewArg};

/// What to do for whoever runs it.
#[derive(Debug, Subcommand)]
pub(crate) enum OperateCommand {
    /// List entries that may be unfinished: being written, or changed too recently.
    Suspects {
        /// Only what is at this path and below it.
        #[arg(default_value = "/")]
        path: String,
        #[command(flatten)]
        view: ViewArg,
    },
    /// List what happened where no agent watches, as far as scans have found it.
    BlindSpots {
        /// Only what is at this path and below it.
        #[arg(default_value = "/")]
        path: String,
        #[command(flatten)]
        view: ViewArg,
    },
    /// List, restore or drop what went and is kept for a while.
    Trash {
        #[command(subcommand)]
        command: TrashCommand,
    },
    /// Have an agent look at a path now, and wait until all that it finds is known.
    Refresh {
        /// The path in the view; it need not be known.
        path: String,
        /// List all below a directory too, not only the directory itself.
        #[arg(long, short)]
        recursive: bool,
        /// Who is to look; without a name the leader.
        #[arg(long, value_name = "AGENT")]
        agent: Option<String>,
        #[command(flatten)]
        view: ViewArg,
    },
    /// List, show, follow, make or call off jobs: long work as steps that agents do.
    Jobs {
        #[command(subcommand)]
        command: JobsCommand,
    },
    /// Have the leader audit a view now, and follow it.
    Audit {
        #[command(flatten)]
        how: How,
        #[command(flatten)]
        view: ViewArg,
    },
    /// List the agents that are connected, or end the session of one.
    Sessions {
        #[command(subcommand)]
        command: Option<SessionsCommand>,
        /// Only those of this view.
        #[arg(long = "view", value_name = "NAME")]
        view: Option<String>,
    },
    /// Make, list or revoke the tokens of a server, in its file.
    Token {
        #[command(subcommand)]
        command: TokenCommand,
    },
    /// List who asked for which change or administrative act, and what came of it, the newest first.
    Records(RecordsArgs),
    /// Say what changed a path lately, and for each change who asked for it and who looked, oldest first.
    Explain(ExplainArgs),
    /// Print everything that belongs to a chain of cause and effect: who asked, which job, which agent
    /// looked, what changed, oldest first.
    Trace(TraceArgs),
    /// Show the server, its views and their agents at a glance.
    Status,
    /// Ask about several servers on one log.
    Cluster {
        #[command(subcommand)]
        command: ClusterCommand,
    },
    /// Do something to a server of several.
    Server {
        #[command(subcommand)]
        command: ServerCommand,
    },
    /// Find what is wrong, and say what to do. Exit status 1 if anything is.
    Doctor,
    /// Show what the server logs, or change it until the server ends.
    LogFilter {
        /// A level, and levels of modules: `info,fusion_server=debug`.
        filter: Option<String>,
        /// Back to the configuration of the server.
        #[arg(long, conflicts_with = "filter")]
        reset: bool,
    },
    /// Have the server read its configuration anew, with tokens and certificates, and print what changed.
    /// A configuration with a fault changes nothing.
    Reload,
    /// Print the completions of a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Write the manual pages.
    Man {
        /// The directory to write to; it is made if need be.
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
    },
}

/// What to do with tokens. The server looks at its file every 5 s; one call at a time may write it.
#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token, put its hash into the file (made if it is not there) and print the token, once.
    Create(TokenCreate),
    /// List the tokens of the file.
    List {
        /// The server's token file.
        #[arg(long, value_name = "FILE")]
        file: PathBuf,
    },
    /// Take a token out of the file.
    Revoke {
        /// Its id, as `token list` shows it.
        id: String,
        /// The server's token file.
        #[arg(long, value_name = "FILE")]
        file: PathBuf,
    },
}

/// A token to be made.
#[derive(Debug, clap::Args)]
pub(crate) struct TokenCreate {
    /// Its id: 1 to 64 of A-Z, a-z, 0-9, `_` and `-`.
    pub(crate) id: String,
    /// The server's token file.
    #[arg(long, value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// agent: pushes, and reads nothing. reader: reads. operator: also jobs, refreshes and the trash.
    /// admin: everything.
    #[arg(long, value_name = "ROLE", value_parser = ["agent", "reader", "operator", "admin"])]
    pub(crate) role: String,
    /// Whose it is; without a name the token's id. Sessions and idempotency keys belong to it.
    #[arg(long, value_name = "NAME")]
    pub(crate) principal: Option<String>,
    /// A view that it is good for, once for each; '*' is all, and what role admin has.
    #[arg(long = "for-view", value_name = "NAME")]
    pub(crate) views: Vec<String>,
    /// An agent id that it is good for, once for each; '*' is all. For role agent, which needs it.
    #[arg(long = "for-agent", value_name = "ID")]
    pub(crate) agents: Vec<String>,
    /// In each view only what lies at this path and below it; for roles reader and operator. Without one: all.
    #[arg(long = "for-path", value_name = "PATH")]
    pub(crate) path: Option<String>,
    /// How long it is good, such as `90d`; without a span until it is revoked.
    #[arg(long, value_name = "SPAN", value_parser = super::quantity::span)]
    pub(crate) expires_in: Option<Duration>,
}

/// What to do with the trash.
#[derive(Debug, Subcommand)]
pub(crate) enum TrashCommand {
    /// List what can be restored, the oldest first.
    List {
        /// Only what stood at this path and below it.
        #[arg(default_value = "/")]
        path: String,
        #[command(flatten)]
        view: ViewArg,
    },
    /// Put records back into the view (not onto the storage); the leader looks whether they are there.
    Restore {
        /// Their numbers, as `trash list` shows them.
        #[arg(required = true, value_name = "ID")]
        ids: Vec<u64>,
        #[command(flatten)]
        view: ViewArg,
    },
    /// Drop records for good.
    Purge {
        /// Their numbers, as `trash list` shows them.
        #[arg(required = true, value_name = "ID")]
        ids: Vec<u64>,
        #[command(flatten)]
        view: ViewArg,
    },
}

/// What to do with a view.
#[derive(Debug, Subcommand)]
pub(crate) enum ViewsCommand {
    /// Forget all that a view knows; its agents list the tree anew. The storage is not touched.
    Reset {
        /// The view.
        name: String,
        /// It is meant.
        #[arg(long)]
        yes: bool,
    },
    /// Accept the root that the agents of a view find, whatever it is, until it was scanned once.
    AcceptRoot {
        /// The view.
        name: String,
    },
    /// Hand a view over to another server, where it stays until that one ends or drains; waits until it is there.
    Move {
        /// The view.
        name: String,
        /// The server, as `cluster status` shows it: its address, or its id or the beginning of it. Without
        /// one the view may move by itself again.
        server: Option<String>,
        #[command(flatten)]
        wait: WaitArg,
    },
}

/// What to ask of several servers.
#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// List the servers, when each was last heard, and which owns which view.
    Status,
}

/// What to do with a server of several.
#[derive(Debug, Subcommand)]
pub(crate) enum ServerCommand {
    /// Have a server give its views to others and take none, until it ends; waits until it has none.
    Drain {
        /// The server, as `cluster status` shows it: its address, or its id or the beginning of it.
        server: String,
        /// It is to take views again.
        #[arg(long)]
        lift: bool,
        #[command(flatten)]
        wait: WaitArg,
    },
}

/// How long a view may take to another server.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct WaitArg {
    /// Wait no longer than this, and then end with exit status 1; what was asked for holds all the same.
    #[arg(long, value_name = "SPAN", value_parser = super::quantity::span, default_value = "1min")]
    pub(crate) wait: Duration,
}

/// What to do with a session.
#[derive(Debug, Subcommand)]
pub(crate) enum SessionsCommand {
    /// End a session at once. Its agent begins a new one by itself: to keep it away, stop it.
    Evict {
        /// The session's id, as `sessions` shows it.
        id: String,
    },
}
