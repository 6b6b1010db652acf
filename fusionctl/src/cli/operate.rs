//! What `trash`, `views` and `sessions` take.

use clap::Subcommand;

use super::ViewArg;

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
