//! The table of blocks, each behind its own lock.
//!
//! Owns the slots. Readers and the writer reach a block by number through here and nowhere else. Must
//! never: hand out two guards to the writer at a time. Tested with the tree.
//!
//! *The lock.* One `RwLock` per block guards that block alone, against the one writer. A task of its
//! own will not do, because half a million listings a second are read beside it; a lock over the tree
//! was measured at a hundredth of that. Longest hold: one slice of a read, or one part of a listing
//! applied by the writer (a few pages). Order: the writer never holds two, save read locks that it
//! tries for and does not wait for ([`super::TreeWriter::warm`]). A reader never holds two, either, save
//! to mark a newest mtime that it found (the write lock of one block), and calls back only what its caller promised to be short and not to read the view.
//! Never across an await: nothing in this crate awaits. A poisoned lock is taken as it is: a panic
//! in a reader's callback cannot have left a block half changed.

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::BlockId;
use super::block::Block;
use super::dirt::{Dirt, Part};
use super::segments::Segments;

/// Blocks by number.
#[derive(Debug)]
pub(super) struct Blocks {
    table: Segments<RwLock<Block>>,
    pub(super) dirt: Dirt,
}

impl Blocks {
    /// A table with the anchor in it.
    pub(super) fn new() -> Self {
        let blocks = Self { table: Segments::new(), dirt: Dirt::new() };
        blocks.grow(BlockId::ANCHOR.index);
        if let Some(mut anchor) = blocks.write_slot(BlockId::ANCHOR.index) {
            anchor.live = true;
        }
        blocks
    }

    pub(super) fn grow(&self, index: u32) {
        self.table.grow(index);
    }

    /// The block in a slot, whichever it is.
    #[inline]
    pub(super) fn read_slot(&self, index: u32) -> Option<RwLockReadGuard<'_, Block>> {
        Some(self.table.get(index)?.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The block in a slot, to make it another one.
    #[inline]
    pub(super) fn write_slot(&self, index: u32) -> Option<RwLockWriteGuard<'_, Block>> {
        let mut block = self.lock_slot(index)?;
        self.dirt.note(index, &mut block, Part::Whole);
        Some(block)
    }

    /// The block in a slot, to change what no checkpoint needs to know; and to load one.
    #[inline]
    pub(super) fn lock_slot(&self, index: u32) -> Option<RwLockWriteGuard<'_, Block>> {
        Some(self.table.get(index)?.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// This very block, if it still lives.
    #[inline]
    pub(super) fn read(&self, id: BlockId) -> Option<RwLockReadGuard<'_, Block>> {
        self.read_slot(id.index).filter(|block| block.is(id))
    }

    /// This very block to change it, if it still lives.
    #[inline]
    pub(super) fn write(&self, id: BlockId) -> Option<RwLockWriteGuard<'_, Block>> {
        let mut block = self.mend(id)?;
        self.dirt.note(id.index, &mut block, Part::Whole);
        Some(block)
    }

    /// This very block to change anything of it but its rows, if it still lives: a checkpoint then
    /// has to write a hundred bytes and not its rows.
    #[inline]
    pub(super) fn write_head(&self, id: BlockId) -> Option<RwLockWriteGuard<'_, Block>> {
        let mut block = self.mend(id)?;
        self.dirt.note(id.index, &mut block, Part::Head);
        Some(block)
    }

    /// This very block, if it still lives, to write down what was found out by looking at it: no
    /// checkpoint needs to know. The only lock for change that a reader may take.
    #[inline]
    pub(super) fn mend(&self, id: BlockId) -> Option<RwLockWriteGuard<'_, Block>> {
        self.lock_slot(id.index).filter(|block| block.is(id))
    }

    /// Brings the head of a block near, without its lock: a load, nothing more.
    #[inline]
    pub(super) fn touch(&self, index: u32) {
        if let Some(slot) = self.table.get(index) {
            std::hint::black_box(slot.is_poisoned());
        }
    }

    /// The block in a slot, if its lock is free.
    #[inline]
    pub(super) fn try_read_slot(&self, index: u32) -> Option<RwLockReadGuard<'_, Block>> {
        self.table.get(index)?.try_read().ok()
    }

    pub(super) fn bytes(&self) -> usize {
        self.table.bytes() + self.dirt.bytes()
    }
}
