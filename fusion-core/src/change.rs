//! What the view yields: numbered physical changes.
//!
//! A change says what changed, from what, to what, and why; replaying the changes alone gives the
//! same view. Made by `view` only; told to watchers and written to the log by the server.

use crate::id::Revision;
use crate::path::TreePath;
use crate::stat::Stat;

/// Why the view changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// A kernel event (tier 1).
    Realtime,
    /// The first scan, or discovery (tier 2).
    Baseline,
    /// An audit, an on-demand scan or a relist (tier 3).
    Audit,
    /// A probe (tier 3).
    Probe,
    /// Something else was renamed over it.
    RenamedOver,
    /// Time passed: a suspect became quiet, a trash record expired.
    Expiry,
    /// An operator asked for it.
    Operator,
}

/// One physical change of a view.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Its number.
    pub revision: Revision,
    /// Why.
    pub cause: Cause,
    /// What.
    pub kind: ChangeKind,
}

/// What changed.
#[derive(Debug, Clone, PartialEq)]
pub enum ChangeKind {
    /// An entry is new.
    Created {
        /// Where.
        path: TreePath,
        /// Its stat.
        stat: Stat,
    },
    /// The stat of an entry changed.
    Modified {
        /// Where.
        path: TreePath,
        /// Its stat before.
        before: Stat,
        /// Its stat now.
        after: Stat,
    },
    /// An entry, and all below it, went.
    Removed {
        /// Where.
        path: TreePath,
        /// Its last stat.
        stat: Stat,
    },
    /// A subtree moved.
    Moved {
        /// From where.
        from: TreePath,
        /// To where.
        to: TreePath,
        /// Its stat now.
        stat: Stat,
    },
}
