//! Taking a subtree out, keeping it, putting it back, and freeing it in slices.
//!
//! Owns what a detached entry still is; the rules keep it in their trash. Taking out and putting back
//! cost one entry and the parent chain, whatever is below. Must never: free a block that is still
//! linked, or visit a subtree but to free it. Tested in `tree/tests.rs`.

use crate::stat::Stat;
use crate::time::ServerTime;

use super::block::{Block, Delta, Sums};
use super::edit::{self, EditError};
use super::page::NEVER;
use super::row::Flags;
use super::{BlockId, TreeWriter, Version};
use crate::view::read::Totals;

/// An entry that was taken out, with all below it. It is not freed by being dropped: hand it to
/// [`TreeWriter::attach`] or to [`TreeWriter::purge`]. A copy is for an image alone: only one of both
/// may be handed over.
#[derive(Debug, Clone)]
#[must_use = "what is below stays in memory until it is attached or purged"]
pub struct Detached {
    /// Its last stat.
    pub stat: Stat,
    /// Its flags.
    pub flags: Flags,
    /// The version of its directory in which it was last seen.
    pub seen_in: Option<Version>,
    pub(super) block: Option<BlockId>,
}

impl Detached {
    /// Its block, if it is a directory: to look at what is below it ([`super::Tree::children`],
    /// [`super::Walk`], [`super::Tree::totals`] work as in the tree).
    #[must_use]
    pub fn block(&self) -> Option<BlockId> {
        self.block
    }

    /// What an image says of an entry that was taken out.
    pub fn from_image(
        stat: Stat,
        flags: Flags,
        seen_in: Option<Version>,
        block: Option<BlockId>,
    ) -> Self {
        Self { stat, flags, seen_in, block }
    }

    /// Hands it over to be freed.
    #[must_use]
    pub fn into_purge(self) -> Purge {
        Purge { todo: self.block.into_iter().collect() }
    }
}

/// Blocks that are to be freed.
#[derive(Debug, Default)]
pub struct Purge {
    todo: Vec<BlockId>,
}

impl Purge {
    /// Adds another.
    pub fn add(&mut self, detached: Detached) {
        self.todo.extend(detached.block);
    }

    /// The blocks, for an image.
    pub(in crate::view) fn blocks(&self) -> &[BlockId] {
        &self.todo
    }

    /// From the blocks of an image.
    pub(in crate::view) fn from_blocks(todo: Vec<BlockId>) -> Self {
        Self { todo }
    }

    /// Whether nothing is left to free.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.todo.is_empty()
    }
}

/// Why something could not be put back; it is handed back.
#[derive(Debug)]
pub struct Refused {
    /// Why.
    pub why: EditError,
    /// What was to be put back.
    pub detached: Box<Detached>,
}

impl TreeWriter {
    /// Takes an entry out, with all below it, in one step.
    pub fn detach(&mut self, dir: BlockId, name: &[u8], now: ServerTime) -> Option<Detached> {
        let link = self.link(dir, name);
        let mut delta = Delta { changed: Some(now), ..Delta::default() };
        if let Some(id) = link {
            self.cut(id, &mut delta);
        }
        let (detached, parent) = {
            let mut block = self.tree.blocks.write(dir)?;
            let at = block.body.find(name)?;
            let child = self.tree.child_at(&block, at);
            delta.row_went(block.body.page(at).row(at.row));
            block.body.remove(at);
            block.account(&delta);
            let detached = Detached {
                stat: child.stat,
                flags: child.flags,
                seen_in: child.seen_in,
                block: link,
            };
            (detached, block.parent)
        };
        self.tree.propagate(parent, &delta);
        Some(detached)
    }

    /// Cuts a block off from its parent, which is about to lose the entry.
    pub(super) fn cut(&mut self, id: BlockId, delta: &mut Delta) {
        self.index.forget_last();
        if let Some(mut block) = self.tree.blocks.write_head(id) {
            block.parent = BlockId::NONE;
            delta.below_went(&block.sums, block.newest());
        }
    }

    /// Puts back what was taken out, at a name that is free, with the stat, flags and version that
    /// it has now (they may be changed before).
    ///
    /// # Errors
    /// [`Refused`], with what was to be put back.
    pub fn attach(
        &mut self,
        dir: BlockId,
        name: &[u8],
        detached: Detached,
        now: ServerTime,
    ) -> Result<Option<BlockId>, Refused> {
        let why = match detached.block {
            _ if !self.is_known(dir) => Some(EditError::NoDirectory),
            Some(block) if self.is_within(dir, block) => Some(EditError::IntoItself),
            _ if self.child(dir, name).is_some() => Some(EditError::Taken),
            block if block.is_some() != (detached.stat.kind == crate::stat::Kind::Directory) => {
                Some(EditError::OtherKind)
            }
            _ => None,
        };
        if let Some(why) = why {
            return Err(Refused { why, detached: Box::new(detached) });
        }
        let mut delta = Delta { changed: Some(now), ..Delta::default() };
        if let Some(id) = detached.block {
            self.tie(id, dir, name, detached.stat.inode, &mut delta);
        }
        let row = self.pack(&detached.stat, detached.flags);
        delta.row_came(&row);
        let Some(parent) = self.tree.blocks.write(dir).map(|mut block| {
            edit::place(&mut block, name, row, detached.seen_in.unwrap_or(NEVER), detached.block);
            block.account(&delta);
            block.parent
        }) else {
            return Ok(None);
        };
        self.tree.propagate(parent, &delta);
        Ok(detached.block)
    }

    /// Gives a block a new parent, which is about to get the entry.
    fn tie(&self, id: BlockId, dir: BlockId, name: &[u8], inode: u64, delta: &mut Delta) {
        // An upper bound must not pass for the newest mtime above: it is found first.
        if self.tree.blocks.read(id).is_some_and(|block| block.newest_stale) {
            let _ = self.tree.newest(id);
        }
        if let Some(mut block) = self.tree.blocks.write_head(id) {
            (block.parent, block.inode) = (dir, inode);
            if *block.name != *name {
                block.name = name.into();
            }
            delta.below_came(&block.sums, block.newest());
        }
    }

    /// Frees what was taken out, about `budget` entries of it. Whether all is freed.
    pub fn purge(&mut self, purge: &mut Purge, budget: usize) -> bool {
        let mut left = budget;
        while let Some(id) = purge.todo.pop() {
            let Some(freed) = self.release(id) else { continue };
            let links = freed.body.pages().iter().flat_map(|page| page.links());
            purge.todo.extend(links.map(|(_, link)| link));
            let entries: usize = freed.body.pages().iter().map(|page| page.len()).sum();
            left = left.saturating_sub(entries + 1);
            if left == 0 {
                break;
            }
        }
        purge.todo.is_empty()
    }

    fn release(&mut self, id: BlockId) -> Option<Block> {
        let mut block = self.tree.blocks.write(id)?;
        let marks = std::mem::take(&mut block.marks);
        let freed = std::mem::take(&mut *block);
        (block.generation, block.marks) = (id.generation.wrapping_add(1), marks);
        self.floor = self.floor.max(block.generation);
        self.free.push(id.index);
        Some(freed)
    }

    /// What an entry that was taken out counts for, itself included.
    #[must_use]
    pub fn weight(&self, detached: &Detached) -> Totals {
        let below = detached.block.and_then(|block| self.totals(block)).unwrap_or_default();
        let own = super::row::Row::pack(&detached.stat, detached.flags, 0);
        let own = Sums::of(&own);
        Totals {
            files: below.files.wrapping_add(own.files),
            directories: below.directories.wrapping_add(own.directories),
            others: below.others.wrapping_add(own.others),
            bytes: below.bytes.wrapping_add(own.bytes),
            suspects: below.suspects.wrapping_add(own.suspects),
            blind: below.blind.wrapping_add(own.blind),
            newest_mtime: below.newest_mtime.max(Some(detached.stat.mtime)),
            last_change: below.last_change,
        }
    }
}
