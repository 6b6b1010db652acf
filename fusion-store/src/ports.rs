//! The ports: what the server needs of a store, in plain core types.
//!
//! [`ChangeLog`] keeps what happened, [`Blocks`] what a view is, [`State`] all else; where several servers share
//! them, [`Ownership`] says which has which view. Called by the
//! server from its own threads; every call but [`ChangeLog::append`] may wait for the disk. An adapter
//! passes the one conformance suite. Must never: name an engine, a wire type or a runtime.

mod blocks;
mod change_log;
mod ownership;
mod record;
mod state;
mod ticket;

use std::fmt;

use fusion_core::id::{Revision, ViewName};
use uuid::Uuid;

pub(crate) use blocks::check_name;
pub use blocks::{BlockId, Blocks, BlocksFigures, CheckpointWriter, Loaded};
pub(crate) use change_log::Skip;
pub use change_log::{
    ChangeLog, Follow, Health, LogStatus, OpenedLog, ReadFrom, Records, Retention,
};
pub(crate) use ownership::check_member;
pub use ownership::{
    Claim, Claimed, Member, OwnerEpoch, Ownership, Roll, SAID_MAX, ServerId, Stamp, Stamped,
    WORD_MAX,
};
pub use record::{Actor, Applied, Lane, Origin, RecordHead, StoredRecord};
pub(crate) use state::check;

pub use state::{Expect, Item, KEY_MAX, Page, Put, Space, State, Swap, VALUE_MAX, Version};
pub use ticket::{Progress, Ticket};

/// A view for as long as it lives, whatever it is called: drawn when it is made, never used again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ViewId(pub Uuid);

impl fmt::Display for ViewId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl fmt::Debug for ViewId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A view and what people call it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewRef {
    /// Tells it from all others, also from one of the same name before or after it.
    pub id: ViewId,
    /// Its name.
    pub name: ViewName,
}

/// A place in the log of a view: after so many records, which together hold all revisions up to
/// this one. A record without changes moves the first number and not the second, so it takes both
/// to know whether somebody else has appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct LogPoint {
    /// Number of the last record before this place; records count from 1 without a hole.
    pub record: u64,
    /// The last revision before this place.
    pub revision: Revision,
}

impl LogPoint {
    /// The place after one more record with this many revisions.
    #[must_use]
    pub fn after(self, revisions: u64) -> Self {
        Self {
            record: self.record.saturating_add(1),
            revision: Revision(self.revision.0.saturating_add(revisions)),
        }
    }
}

impl fmt::Display for LogPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "record {} (revision {})", self.record, self.revision.0)
    }
}
