//! Checkpoints: a whole view as it stood at one revision, taken while it goes on.
//!
//! Owns the image of all that a view remembers beside its blocks, and the door through which a
//! flusher on another thread takes a checkpoint. Restart is: load the last checkpoint
//! ([`load::Loading`]), then [`View::replay`] the changes after its revision. The owner of the view
//! begins one ([`View::begin_checkpoint`]), the flusher takes the ledger and then block after block,
//! stores all of it as one, and hands the receipt back ([`View::end_checkpoint`]). Whatever goes wrong
//! between, nothing is lost: what was not stored belongs in the next checkpoint. Must never: wait, or
//! copy what did not change. Tested by `checkpoint/tests.rs` and the simulator.
//!
//! *What it costs.* To begin: the small lists of [`Frame`]; tables are shared and copied only if they
//! change while the flusher holds them. To take: the blocks that changed; of those whose totals alone
//! changed only the head; of the tables those that changed, each whole.

mod image;
pub mod kept;
pub mod load;
#[cfg(test)]
mod tests;

pub use image::{Confirmed, Frame, LedgerImage, Table};

use crate::id::Revision;

use super::View;
use super::tree::{self};
pub use super::tree::{
    BlockId, BlockImage, Detached, DirMeta, Flags, HeadImage, ImageContent, Overrun, Owner,
    PageImage, Row, TreeCheckpoint, TreeError, TreeFrame, TreeLoader,
};

use super::shared::{Mark, no_mark};

/// What the writer copies at most for a checkpoint before the flusher fetches it, in bytes. It is more
/// only for the one block that exceeds it.
pub const BACKLOG_MAX: usize = 256 << 20;

/// Which tables are in the last checkpoint as they are.
#[derive(Debug)]
pub(super) struct Tables {
    stored: [Mark; Table::ALL.len()],
    running: Option<[Mark; Table::ALL.len()]>,
}

impl Default for Tables {
    fn default() -> Self {
        Self { stored: std::array::from_fn(|_| no_mark()), running: None }
    }
}

/// A checkpoint that runs: the flusher's side. Dropped before it is stored, it is given up.
#[derive(Debug)]
pub struct Checkpoint {
    tree: TreeCheckpoint,
    revision: Revision,
    ledger: Option<LedgerImage>,
}

/// All of a checkpoint is stored. Dropped, it counts as not stored.
#[derive(Debug)]
#[must_use = "the view has to be told"]
pub struct Stored(tree::Stored);

impl Checkpoint {
    /// The last revision that it has.
    #[must_use]
    pub const fn revision(&self) -> Revision {
        self.revision
    }

    /// Its number; they grow by one, also from one process to the next.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.tree.number()
    }

    /// All but the blocks; once. To be encoded and dropped first: as long as it is held, the view
    /// has to copy each table that it changes.
    pub fn take_ledger(&mut self) -> Option<LedgerImage> {
        self.ledger.take()
    }

    /// The dictionary of owners, from number 1 on; `None` if the last checkpoint has it.
    #[must_use]
    pub fn owners(&self) -> Option<Vec<Owner>> {
        self.tree.owners()
    }

    /// The image of the next block that changed; `None` if there is none left.
    ///
    /// # Errors
    /// [`Overrun`]: the checkpoint was given up; it is to be dropped and nothing of it stored.
    pub fn next_block(&mut self) -> Result<Option<BlockImage>, Overrun> {
        self.tree.next_block()
    }

    /// Says that all of it was taken and is on disk, as one.
    ///
    /// # Errors
    /// [`Overrun`]: it was given up, or not taken to its end.
    pub fn stored(self) -> Result<Stored, Overrun> {
        self.tree.stored().map(Stored)
    }
}

impl View {
    /// Begins a checkpoint of the view as it stands now: all that is not in the last one that was
    /// stored. `backlog_max` bounds what the view has to copy because it changes it before the
    /// flusher took it ([`BACKLOG_MAX`]); beyond that the checkpoint is given up. `None` while one
    /// runs: it has to be stored or dropped first.
    pub fn begin_checkpoint(&mut self, backlog_max: usize) -> Option<Checkpoint> {
        let tree = self.state.tree.begin_checkpoint(backlog_max)?;
        Some(self.with_ledger(tree, false))
    }

    /// The same of all that there is, whatever was stored: for the first checkpoint of a view that was
    /// kept up by replay while another wrote its checkpoints. That one numbered its blocks otherwise, so
    /// what it stored has to be removed first.
    pub fn begin_whole_checkpoint(&mut self, backlog_max: usize) -> Option<Checkpoint> {
        let tree = self.state.tree.begin_whole_checkpoint(backlog_max)?;
        Some(self.with_ledger(tree, true))
    }

    fn with_ledger(&mut self, tree: TreeCheckpoint, whole: bool) -> Checkpoint {
        let nothing = Tables::default().stored;
        let stored = if whole { &nothing } else { &self.tables.stored };
        let ledger = LedgerImage::take(&self.state, tree.number(), stored);
        self.tables.running = Some(ledger.marks());
        Checkpoint { tree, revision: self.state.revision, ledger: Some(ledger) }
    }

    /// The checkpoint is stored: the next one need not have what it has. Whether it was this view's
    /// that ran.
    pub fn end_checkpoint(&mut self, stored: Stored) -> bool {
        if !self.state.tree.end_checkpoint(stored.0) {
            return false;
        }
        if let Some(running) = self.tables.running.take() {
            self.tables.stored = running;
        }
        true
    }

    /// Bytes that the view copied for the checkpoint that runs and that the flusher did not fetch yet.
    /// Who feeds the view slows down while it is large, or the checkpoint is given up.
    #[must_use]
    pub fn checkpoint_backlog(&self) -> usize {
        self.state.tree.checkpoint_backlog()
    }

    /// How many directories the next checkpoint would have, about.
    #[must_use]
    pub fn dirty_directories(&self) -> usize {
        self.state.tree.dirty_blocks()
    }
}
