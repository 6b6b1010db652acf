//! The port of the blocks: what a view is, as of one place in its log.
//!
//! A checkpoint writes what changed since the one before, all of it or nothing, beside the running
//! view; loading gives the sum of all checkpoints. Blocks and named values are bytes here; their
//! format is the caller's.

use super::{LogPoint, ViewId, ViewRef};
use crate::error::StoreError;

/// The number of a block, the caller's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockId(pub u64);

/// The blocks of all views.
pub trait Blocks: Send + Sync {
    /// All views that have a checkpoint, by id.
    ///
    /// # Errors
    /// They cannot be read.
    fn views(&self) -> Result<Vec<ViewRef>, StoreError>;

    /// Begins a checkpoint. One at a time for each view; dropping it unfinished leaves what was.
    ///
    /// `contains` is the place in the log up to which all is in the blocks; the log must be durable
    /// up to it before the checkpoint is committed.
    ///
    /// # Errors
    /// It cannot be begun.
    fn begin(
        &self,
        view: &ViewRef,
        contains: LogPoint,
    ) -> Result<Box<dyn CheckpointWriter>, StoreError>;

    /// The place that the last checkpoint contains; `None` if there is none.
    ///
    /// # Errors
    /// It cannot be read, is corrupt, or is from the future.
    fn contains(&self, view: ViewId) -> Result<Option<LogPoint>, StoreError>;

    /// Loads the last checkpoint: every block and named value once, in no order, each handed to
    /// `take`. Tells what it contains; `None` if there is none.
    ///
    /// # Errors
    /// It cannot be read, is corrupt, or `take` gave an error, which ends it.
    fn load(
        &self,
        view: ViewId,
        take: &mut dyn FnMut(Loaded<'_>) -> Result<(), StoreError>,
    ) -> Result<Option<LogPoint>, StoreError>;

    /// How much there is. Known without the disk, so that metrics are answered while that hangs.
    ///
    /// # Errors
    /// The view's blocks could not be opened.
    fn figures(&self, view: ViewId) -> Result<BlocksFigures, StoreError>;

    /// Gives back what later checkpoints made useless, as far as it goes.
    ///
    /// # Errors
    /// It cannot be written.
    fn compact(&self, view: ViewId) -> Result<(), StoreError>;

    /// Removes all checkpoints of a view.
    ///
    /// # Errors
    /// It cannot be removed.
    fn remove(&self, view: ViewId) -> Result<(), StoreError>;
}

/// A checkpoint that is being written.
pub trait CheckpointWriter: Send {
    /// Says which checkpoint this one follows, by what that contains; `None` if there is to be none. If another
    /// one is the last, now or when this is committed, it is refused: where several servers write, one that has
    /// lost the view must not put its blocks among those of the next.
    ///
    /// # Errors
    /// `Overtaken`; it cannot be read.
    fn follows(&mut self, last: Option<LogPoint>) -> Result<(), StoreError>;

    /// Puts a block in the place of the one with the same number.
    ///
    /// # Errors
    /// It cannot be written, or is larger than 1 GiB.
    fn put(&mut self, id: BlockId, bytes: &[u8]) -> Result<(), StoreError>;

    /// Removes a block; nothing happens if there is none.
    ///
    /// # Errors
    /// It cannot be written.
    fn delete(&mut self, id: BlockId) -> Result<(), StoreError>;

    /// Puts a value in the place of the one with the same name; a name has 1 to 255 bytes.
    ///
    /// # Errors
    /// It cannot be written.
    fn put_named(&mut self, name: &str, bytes: &[u8]) -> Result<(), StoreError>;

    /// Removes everything that earlier checkpoints put, and what this one has put so far.
    ///
    /// # Errors
    /// It cannot be written.
    fn clear(&mut self) -> Result<(), StoreError>;

    /// Makes all of it count at once. Durable when it returns.
    ///
    /// # Errors
    /// It cannot be written: the checkpoint before counts, and what was put must be put again. Of an engine that went
    /// away in the middle it is not known: all of it may count later, until another checkpoint does. `Overtaken`, see
    /// [`CheckpointWriter::follows`].
    fn commit(self: Box<Self>) -> Result<(), StoreError>;
}

/// A part of a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loaded<'a> {
    /// A block.
    Block(BlockId, &'a [u8]),
    /// A named value.
    Named(&'a str, &'a [u8]),
}

/// How much the blocks of a view are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BlocksFigures {
    /// Blocks and named values.
    pub values: u64,
    /// Their bytes.
    pub live_bytes: u64,
    /// Bytes that they take in the store.
    pub stored_bytes: u64,
}

/// Whether a name is one.
pub(crate) fn check_name(name: &str) -> Result<(), StoreError> {
    if (1..=255).contains(&name.len()) {
        return Ok(());
    }
    let why = format!("its name has {} bytes, 1 to 255 are allowed", name.len());
    Err(StoreError::Refused { what: "a named value", why })
}
