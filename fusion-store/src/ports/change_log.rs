//! The port of the log: appended in order, read from anywhere, trimmed from the front.
//!
//! One writer per view, the view's thread, which applies the next batch while the last one becomes
//! durable; any number of readers. Who acknowledges waits for the [`Ticket`] first.

use std::time::Duration;

use fusion_core::change::Change;
use fusion_core::id::Revision;
use fusion_core::time::ServerTime;

use super::{Guarantee, LogPoint, RecordHead, StoredRecord, Ticket, ViewId, ViewRef};
use crate::error::StoreError;

/// Records in order, each read when it is asked for. After an error nothing comes any more.
pub type Records = Box<dyn Iterator<Item = Result<StoredRecord, StoreError>> + Send>;

/// The log of all views.
pub trait ChangeLog: Send + Sync {
    /// All views that have a log, by id.
    ///
    /// # Errors
    /// They cannot be read.
    fn views(&self) -> Result<Vec<ViewRef>, StoreError>;

    /// Opens the log of a view, makes it if there is none, and finds its end. Opening it again
    /// changes nothing.
    ///
    /// # Errors
    /// It cannot be read or made, is corrupt, or is from the future.
    fn open(&self, view: &ViewRef) -> Result<OpenedLog, StoreError> {
        self.open_at(view, LogPoint::default())
    }

    /// The same; a log that is made begins after a place, and not before the first record: for what goes on where
    /// a log in another store ends. That it was made may be forgotten until something is appended.
    ///
    /// # Errors
    /// As for [`ChangeLog::open`].
    fn open_at(&self, view: &ViewRef, begin: LogPoint) -> Result<OpenedLog, StoreError>;

    /// Appends one record after `after`, which must be the end of the log: so a writer that is
    /// not the only one learns of it. Does not wait for the disk; durable is what the ticket says.
    /// A failing disk is no error here: what was appended is kept in memory and written once the
    /// disk is well again, see [`ChangeLog::status`].
    ///
    /// The changes must be numbered without a hole from the revision after `after`.
    ///
    /// # Errors
    /// `NotNext` if the log ends elsewhere, `Refused` if the changes are numbered otherwise or are
    /// too many, `Behind` if too much waits to be written, `NoView`, `Closed`.
    fn append(
        &self,
        view: ViewId,
        after: LogPoint,
        head: &RecordHead,
        changes: &[Change],
    ) -> Result<Ticket, StoreError>;

    /// Reads what is durable now, from a place on.
    ///
    /// # Errors
    /// `Trimmed` or `Unknown` if the place is not within the log; what cannot be read is told by
    /// the reading.
    fn read(&self, view: ViewId, from: ReadFrom) -> Result<Records, StoreError>;

    /// Reads what is after a place, and then each record as it becomes durable: how a server follows a view that
    /// another owns.
    ///
    /// # Errors
    /// As for [`ChangeLog::read`].
    fn follow(&self, view: ViewId, after: LogPoint) -> Result<Box<dyn Follow>, StoreError>;

    /// Drops records from the front: those up to `through` (what the blocks contain) that are not
    /// to be kept. May keep more. Tells the place after which the log now begins.
    ///
    /// # Errors
    /// They cannot be dropped.
    fn trim(
        &self,
        view: ViewId,
        through: LogPoint,
        keep: &Retention,
        now: ServerTime,
    ) -> Result<LogPoint, StoreError>;

    /// How the log of a view is.
    ///
    /// # Errors
    /// `NoView`.
    fn status(&self, view: ViewId) -> Result<LogStatus, StoreError>;

    /// What an acknowledged record outlives, as the engine is set up; never guessed.
    fn guarantee(&self) -> Guarantee;

    /// Removes the log of a view and all that is in it.
    ///
    /// # Errors
    /// It cannot be removed.
    fn remove(&self, view: ViewId) -> Result<(), StoreError>;
}

/// Records as they become durable, one after the other.
pub trait Follow: Send {
    /// The next record; `None` if none came within `limit`, which is no end: ask again.
    ///
    /// # Errors
    /// It cannot be read, or is trimmed by now (`Trimmed`): who follows was too slow, and loads the view anew.
    /// After an error this is of no more use.
    fn next(&mut self, limit: Duration) -> Result<Option<StoredRecord>, StoreError>;
}

/// From where to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadFrom {
    /// From the first that is kept.
    Start,
    /// After a place: how a restart goes on from the blocks.
    After(LogPoint),
    /// From the record that holds this revision: how a watcher goes on. The revision after the last
    /// one yields nothing, and no error.
    Revision(Revision),
}

impl ReadFrom {
    /// Where reading begins in a log that begins and ends so.
    pub(crate) fn check(
        self,
        view: ViewId,
        start: LogPoint,
        end: LogPoint,
    ) -> Result<Skip, StoreError> {
        let trimmed = |asked| {
            let first = Revision(start.revision.0 + 1);
            Err(StoreError::Trimmed { view, asked, first })
        };
        match self {
            Self::Start => Ok(Skip::Records(start.record)),
            Self::After(point) if point.record < start.record => {
                trimmed(Revision(point.revision.0 + 1))
            }
            Self::After(point) if point > end || point.revision > end.revision => {
                Err(StoreError::Unknown { view, asked: point, end })
            }
            Self::After(point) => Ok(Skip::Records(point.record)),
            Self::Revision(revision) if revision <= start.revision => trimmed(revision),
            Self::Revision(revision) if revision.0 > end.revision.0 + 1 => {
                let asked = LogPoint { record: end.record, revision };
                Err(StoreError::Unknown { view, asked, end })
            }
            Self::Revision(revision) => Ok(Skip::Revisions(revision)),
        }
    }
}

/// What reading leaves out at the front.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Skip {
    /// The records up to this number.
    Records(u64),
    /// The records that end before this revision.
    Revisions(Revision),
}

impl Skip {
    /// Whether a record that ends at a place is read.
    pub(crate) fn takes(self, point: LogPoint) -> bool {
        match self {
            Self::Records(through) => point.record > through,
            Self::Revisions(from) => point.revision >= from,
        }
    }
}

/// What was found when a log was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenedLog {
    /// The place after which it begins.
    pub start: LogPoint,
    /// Where it ends: with what waits to be written, if it was open before.
    pub end: LogPoint,
    /// What was cut off its end because it was not whole, in words; it was never acknowledged.
    pub cut: Option<String>,
}

/// How long records are kept that the blocks contain: until they are older than `age` and more
/// than `changes` came after them, or until the log has more than `bytes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Kept at least for this time.
    pub age: Duration,
    /// Kept at least while no more revisions than these came after.
    pub changes: u64,
    /// Dropped in any case above this size.
    pub bytes: u64,
}

impl Default for Retention {
    /// What 5-operations says: 1 h, at least 100,000 changes, at most 4 GiB.
    fn default() -> Self {
        Self { age: Duration::from_secs(3600), changes: 100_000, bytes: 4 << 30 }
    }
}

/// How the log of a view is.
#[derive(Debug, Clone)]
pub struct LogStatus {
    /// The place after which it begins.
    pub start: LogPoint,
    /// Its end.
    pub end: LogPoint,
    /// All before is on disk.
    pub durable: LogPoint,
    /// Bytes that it takes.
    pub bytes: u64,
    /// Bytes that wait to be written.
    pub waiting: usize,
    /// Whether it can be written.
    pub health: Health,
}

/// Whether a store can be written.
#[derive(Debug, Clone, Default)]
pub enum Health {
    /// It can.
    #[default]
    Well,
    /// It cannot now, and is tried again by itself. Take no evidence meanwhile.
    Failing(StoreError),
}

impl Health {
    /// Whether it can be written.
    #[must_use]
    pub fn is_well(&self) -> bool {
        matches!(self, Self::Well)
    }
}
