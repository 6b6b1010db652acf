//! The commands about jobs: `jobs`, `audit`.

use clap::{Args, Subcommand, ValueEnum};

use super::ViewArg;

/// What to do with jobs.
#[derive(Debug, Subcommand)]
pub(crate) enum JobsCommand {
    /// List jobs, the newest first: those that somebody made, and of refreshes and of what the server and its
    /// agents scan by themselves what is under way or failed.
    List {
        /// Also what nobody made as a job and is complete.
        #[arg(long, short)]
        all: bool,
        /// Only those of this origin, complete ones too.
        #[arg(long, value_enum)]
        origin: Option<Origin>,
        /// Only those in this state.
        #[arg(long, value_enum)]
        state: Option<State>,
        /// At most so many.
        #[arg(short = 'n', long, value_name = "N", default_value_t = 50,
            value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
    },
    /// Show one job, with its steps and what came of them.
    Show {
        /// Its id.
        id: String,
    },
    /// Follow a job until it is over. Exit status 0 means complete.
    Watch {
        /// Its id.
        id: String,
    },
    /// Call a job off.
    Cancel {
        /// Its id.
        id: String,
        /// Only if it has this version.
        #[arg(long, value_name = "VERSION", value_parser = clap::value_parser!(u64).range(1..))]
        if_version: Option<u64>,
    },
    /// Make a new job of the steps of one that did not complete, and follow it.
    Retry {
        /// The job that is over.
        id: String,
        #[command(flatten)]
        how: How,
    },
    /// Make a job of one step, and follow it.
    Run {
        /// What to do.
        #[arg(value_enum)]
        kind: Kind,
        /// Where; for a scan or a look at suspects.
        #[arg(default_value = "/")]
        path: String,
        /// Have a scan go down.
        #[arg(long, short)]
        recursive: bool,
        /// Who may do it, the first that is there; without a name the leader.
        #[arg(long = "agent", value_name = "AGENT")]
        agents: Vec<String>,
        /// Of jobs that wait those with the larger number go first.
        #[arg(long, default_value_t = 0, allow_hyphen_values = true)]
        priority: i32,
        #[command(flatten)]
        how: How,
        #[command(flatten)]
        view: ViewArg,
    },
}

/// Whose wish a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Origin {
    /// Somebody made it as a job.
    Request,
    /// Somebody waits for the answer.
    Refresh,
    /// The server wants it: an audit after events were lost.
    Server,
    /// An agent does it of itself: its first scan, its hourly audit.
    Agent,
}

/// How a job that was made is followed.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct How {
    /// Print the job's id and do not wait for it.
    #[arg(long)]
    pub(crate) detach: bool,
}

/// What a step does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Scan a path.
    Scan,
    /// Scan the whole tree anew.
    Snapshot,
    /// Audit the whole tree.
    Audit,
    /// Look at the suspects at and below a path.
    ProbeSuspects,
}

/// Where a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum State {
    /// Nothing of it was begun.
    Pending,
    /// A step was begun.
    Running,
    /// Every step is complete.
    Completed,
    /// It is over, and some steps are complete.
    PartialFailure,
    /// It is over, and no step is complete.
    Failed,
    /// Somebody called it off.
    Cancelled,
}
