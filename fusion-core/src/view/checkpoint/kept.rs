//! Checkpoints kept in memory: what a store would hold, without its bytes.
//!
//! Used by tests and by the simulator in place of a store. Owns what a store has to do: to keep a
//! checkpoint whole or not at all, and of every table and block what was written last. Must never: be
//! taken for durable.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::change::Change;
use crate::id::Revision;
use crate::path::PathRef;
use crate::view::{View, ViewSettings};

use super::load::{LoadError, Loading};
use super::{BlockImage, Checkpoint, Frame, ImageContent, LedgerImage, Overrun, Owner, Table};

/// The last checkpoint, as a store holds it.
#[derive(Debug, Default)]
pub struct Kept {
    pub(super) frame: Option<Frame>,
    owners: Vec<Owner>,
    tables: BTreeMap<Table, Arc<LedgerImage>>,
    /// By slot, and whether it has the rows.
    pub(super) blocks: BTreeMap<(u32, bool), BlockImage>,
}

/// A checkpoint that is being taken, step by step.
#[derive(Debug)]
pub struct Taking {
    checkpoint: Checkpoint,
    pub(super) ledger: Option<LedgerImage>,
    pub(super) images: Vec<BlockImage>,
}

impl Taking {
    /// Begins one; `None` while another runs.
    pub fn begin(view: &mut View, backlog_max: usize) -> Option<Self> {
        view.begin_checkpoint(backlog_max).map(Self::of)
    }

    /// Begins one of all that there is; `None` while another runs.
    pub fn begin_whole(view: &mut View, backlog_max: usize) -> Option<Self> {
        view.begin_whole_checkpoint(backlog_max).map(Self::of)
    }

    fn of(mut checkpoint: Checkpoint) -> Self {
        let ledger = checkpoint.take_ledger();
        Self { checkpoint, ledger, images: Vec::new() }
    }

    /// Takes one block more; whether there may be others.
    ///
    /// # Errors
    /// [`Overrun`].
    pub fn step(&mut self) -> Result<bool, Overrun> {
        let image = self.checkpoint.next_block()?;
        let more = image.is_some();
        self.images.extend(image);
        Ok(more)
    }

    /// How many blocks were taken so far.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.images.len()
    }

    /// Takes the rest, keeps all of it and tells the view.
    ///
    /// # Errors
    /// [`Overrun`].
    pub fn keep(mut self, kept: &mut Kept, view: &mut View) -> Result<(), Overrun> {
        while self.step()? {}
        let owners = self.checkpoint.owners();
        let stored = self.checkpoint.stored()?;
        kept.put(self.ledger, owners, self.images);
        view.end_checkpoint(stored);
        Ok(())
    }
}

impl Kept {
    /// The last revision that it has.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.frame.as_ref().map_or(Revision(0), |frame| frame.revision)
    }

    fn put(
        &mut self,
        ledger: Option<LedgerImage>,
        owners: Option<Vec<Owner>>,
        images: Vec<BlockImage>,
    ) {
        if let Some(ledger) = ledger.map(Arc::new) {
            self.frame = Some(ledger.frame().clone());
            for table in ledger.changed() {
                self.tables.insert(*table, Arc::clone(&ledger));
            }
        }
        self.owners = owners.unwrap_or_else(|| std::mem::take(&mut self.owners));
        for image in images {
            match &image.content {
                ImageContent::Free => {
                    self.blocks.remove(&(image.slot, false));
                    self.blocks.remove(&(image.slot, true));
                }
                ImageContent::Head(_) => drop(self.blocks.insert((image.slot, false), image)),
                ImageContent::Whole(..) => drop(self.blocks.insert((image.slot, true), image)),
            }
        }
    }

    /// The view as it stood; an empty one if there is no checkpoint.
    ///
    /// # Errors
    /// [`LoadError`]: what was kept is not what was taken.
    pub fn load(&self, settings: ViewSettings) -> Result<View, LoadError> {
        let Some(frame) = &self.frame else { return Ok(View::new(settings)) };
        let mut loading = Loading::new(settings, frame.clone(), &self.owners)?;
        for (table, image) in &self.tables {
            copy(*table, image, &mut loading)?;
        }
        for image in self.blocks.values() {
            loading.blocks().put(image.clone())?;
        }
        loading.finish()
    }

    /// The view as it stood, and the changes after that.
    ///
    /// # Errors
    /// [`LoadError`].
    pub fn restart(&self, settings: ViewSettings, changes: &[Change]) -> Result<View, LoadError> {
        let mut view = self.load(settings)?;
        let tail = changes.iter().filter(|change| change.revision > self.revision());
        tail.for_each(|change| view.replay(change));
        Ok(view)
    }
}

fn copy(table: Table, from: &LedgerImage, to: &mut Loading) -> Result<(), LoadError> {
    let path = |bytes| {
        PathRef::new(bytes).map_err(|_| LoadError::Row { table, why: "its path is no path" })
    };
    match table {
        Table::Tombstones => {
            for (dir, name, tombstone) in from.tombstones() {
                to.tombstone(path(dir)?, name, *tombstone)?;
            }
        }
        Table::Trash => {
            for (record, subtree) in from.trash() {
                to.trash(record.clone(), subtree.clone())?;
            }
        }
        Table::Relists => {
            for (dir, waiting) in from.relists() {
                to.relist(path(dir)?, waiting);
            }
        }
        Table::Probes => {
            for (name, waiting) in from.probes() {
                to.probe(path(name)?, waiting);
            }
        }
        Table::Suspects => {
            for (name, end) in from.suspects() {
                to.suspect(path(name)?, end);
            }
        }
        Table::Unreadable => {
            for (dir, errno) in from.unreadable() {
                to.unreadable(path(dir)?, errno);
            }
        }
        Table::Parts => {
            for (dir, parts) in from.parts() {
                to.parts(path(dir)?, parts.clone());
            }
        }
        Table::Held => from.held().for_each(|(number, row)| to.held(number, row.clone())),
        Table::Clock => from.clock().for_each(|behind| to.clock(behind)),
        Table::Confirmed | Table::ConfirmedBefore => {
            let young = table == Table::Confirmed;
            from.confirmed(young).iter().for_each(|row| to.confirmed(young, row));
        }
    }
    Ok(())
}
