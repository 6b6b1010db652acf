//! Changing one entry: put, flags, take out, put back, move.
//!
//! Owns how names, links and aggregates stay true to each other when one entry changes. Called by
//! the rules, which have decided. Must never: hold two locks, or touch what is below an entry.
//! Tested against a naive model in `tree/tests.rs`.

use crate::stat::{Kind, Stat};
use crate::time::ServerTime;

use super::block::{Block, Delta, Sums};
use super::body::At;
use super::owners::Owner;
use super::page::NEVER;
use super::row::{Flags, Row};
use super::subtree::Detached;
use super::{BlockId, Child, DirMeta, TreeWriter, Version};

/// What to put at a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Its stat.
    pub stat: Stat,
    /// All its flags.
    pub flags: Flags,
    /// The version of its directory in which it was seen.
    pub seen_in: Option<Version>,
}

/// What [`TreeWriter::put`] did.
#[derive(Debug)]
pub enum Put {
    /// It is new; its block, if it is a directory.
    Inserted(Option<BlockId>),
    /// It was known; this is what was known. What is below a directory stayed.
    Updated(Child),
    /// Another kind stood there; it and what was below it was taken out.
    Replaced(Box<Detached>),
}

/// Why the tree cannot do as it is told; nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// The directory is not known.
    #[error("the directory is not known")]
    NoDirectory,
    /// Nothing has that name.
    #[error("no entry has that name")]
    NoEntry,
    /// Something has that name already.
    #[error("the name is taken")]
    Taken,
    /// The entry is of another kind.
    #[error("the entry is of another kind")]
    OtherKind,
    /// A directory would lie inside itself.
    #[error("a directory cannot lie inside itself")]
    IntoItself,
}

impl TreeWriter {
    /// Puts an entry at a name, new or in place of what is known there. `now` becomes the
    /// `last_change` above it if its stat changed.
    ///
    /// # Errors
    /// [`EditError::NoDirectory`].
    pub fn put(
        &mut self,
        dir: BlockId,
        name: &[u8],
        entry: &Entry,
        now: ServerTime,
    ) -> Result<Put, EditError> {
        let row = self.pack(&entry.stat, entry.flags);
        let seen = entry.seen_in.unwrap_or(NEVER);
        let known = {
            let mut block = self.tree.blocks.write(dir).ok_or(EditError::NoDirectory)?;
            match block.body.find(name) {
                Some(at) if block.body.page(at).row(at.row).kind() != row.kind() => Known::Other,
                Some(at) => {
                    let before = self.tree.child_at(&block, at);
                    let delta = update(&mut block, at, row, seen, now);
                    Known::Same(before, delta, block.parent)
                }
                None if row.kind() == Kind::Directory => Known::New,
                None => {
                    let delta = insert(&mut block, name, row, seen, None, now);
                    Known::Inserted(delta, block.parent)
                }
            }
        };
        match known {
            Known::Inserted(delta, parent) => {
                self.tree.propagate(parent, &delta);
                Ok(Put::Inserted(None))
            }
            Known::Same(before, delta, parent) => {
                self.tree.propagate(parent, &delta);
                self.set_inode(before.block, &before.stat, entry.stat.inode);
                Ok(Put::Updated(before))
            }
            Known::New => self.put_directory(dir, name, row, seen, now),
            Known::Other => {
                let old = self.detach(dir, name, now).ok_or(EditError::NoEntry)?;
                self.put(dir, name, entry, now)?;
                Ok(Put::Replaced(Box::new(old)))
            }
        }
    }

    fn put_directory(
        &mut self,
        dir: BlockId,
        name: &[u8],
        row: Row,
        seen: Version,
        now: ServerTime,
    ) -> Result<Put, EditError> {
        let id = self.allot(dir, name, row.inode());
        let (delta, parent) = {
            let mut block = self.tree.blocks.write(dir).ok_or(EditError::NoDirectory)?;
            (insert(&mut block, name, row, seen, Some(id), now), block.parent)
        };
        self.tree.propagate(parent, &delta);
        Ok(Put::Inserted(Some(id)))
    }

    /// Sets the flags of an entry; what they were. `last_change` does not move.
    pub fn set_flags(&mut self, dir: BlockId, name: &[u8], flags: Flags) -> Option<Flags> {
        let (before, delta, parent) = {
            let mut block = self.tree.blocks.write(dir)?;
            let at = block.body.find(name)?;
            let row = block.body.page_mut(at).row_mut(at.row);
            let before = row.flags();
            let mut delta = Delta::default();
            delta.sums.sub(&Sums::of(row));
            row.set_flags(flags);
            delta.sums.add(&Sums::of(row));
            if !delta.is_nothing() {
                block.account(&delta);
            }
            (before, delta, block.parent)
        };
        self.tree.propagate(parent, &delta);
        Some(before)
    }

    /// Sets the version of its directory in which an entry was seen. Whether there is such an entry.
    pub fn set_seen(&mut self, dir: BlockId, name: &[u8], version: Version) -> bool {
        let Some(mut block) = self.tree.blocks.write(dir) else { return false };
        let Some(at) = block.body.find(name) else { return false };
        block.body.page_mut(at).set_seen(at.row, version);
        true
    }

    /// Sets what is remembered of a directory. Whether it is known.
    pub fn set_meta(&mut self, dir: BlockId, meta: &DirMeta) -> bool {
        let Some(mut block) = self.tree.blocks.write_head(dir) else { return false };
        block.set_meta(meta);
        true
    }

    /// Moves an entry, and all below it, to another name, and gives it a new stat there. What stood
    /// there is taken out and returned. Costs the two parent chains.
    ///
    /// # Errors
    /// [`EditError`], all but `Taken`. Either name must not lie inside the other.
    pub fn rename(
        &mut self,
        from: (BlockId, &[u8]),
        to: (BlockId, &[u8]),
        entry: &Entry,
        now: ServerTime,
    ) -> Result<Option<Box<Detached>>, EditError> {
        let moved = self.child(from.0, from.1).ok_or(EditError::NoEntry)?;
        if moved.stat.kind != entry.stat.kind {
            return Err(EditError::OtherKind);
        }
        if from == to {
            return self.put(to.0, to.1, entry, now).map(|_| None);
        }
        if !self.is_known(to.0) {
            return Err(EditError::NoDirectory);
        }
        let over = self.link(to.0, to.1);
        if moved.block.is_some_and(|block| self.is_within(to.0, block))
            || over.is_some_and(|block| self.is_within(from.0, block))
        {
            return Err(EditError::IntoItself);
        }
        let over = self.detach(to.0, to.1, now).map(Box::new);
        let mut moved = self.detach(from.0, from.1, now).ok_or(EditError::NoEntry)?;
        (moved.stat, moved.flags, moved.seen_in) = (entry.stat, entry.flags, entry.seen_in);
        let attached = self.attach(to.0, to.1, moved, now);
        debug_assert!(attached.is_ok(), "all was checked before");
        Ok(over)
    }

    /// A new block, for a directory that is about to get an entry.
    pub(super) fn allot(&mut self, parent: BlockId, name: &[u8], inode: u64) -> BlockId {
        let index = self.free.pop().unwrap_or_else(|| {
            let index = self.used;
            self.used = self.used.saturating_add(1);
            index
        });
        self.tree.blocks.grow(index);
        let Some(mut block) = self.tree.blocks.write_slot(index) else { return BlockId::NONE };
        block.generation = block.generation.max(self.floor);
        (block.parent, block.name, block.inode) = (parent, name.into(), inode);
        block.live = true;
        BlockId { index, generation: block.generation }
    }

    /// Keeps the inode in a directory's block true to its entry.
    pub(super) fn set_inode(&self, block: Option<BlockId>, before: &Stat, inode: u64) {
        if before.inode != inode
            && let Some(mut block) = block.and_then(|id| self.tree.blocks.write_head(id))
        {
            block.inode = inode;
        }
    }

    #[inline]
    pub(super) fn pack(&mut self, stat: &Stat, flags: Flags) -> Row {
        Row::pack(stat, flags, self.book.number(&self.tree.owners, Owner::of(stat)))
    }
}

/// What stands at a name, and what was done to it.
enum Known {
    New,
    Other,
    Inserted(Delta, BlockId),
    Same(Child, Delta, BlockId),
}

fn update(block: &mut Block, at: At, row: Row, seen: Version, now: ServerTime) -> Delta {
    let page = block.body.page_mut(at);
    let before = std::mem::replace(page.row_mut(at.row), row);
    page.set_seen(at.row, seen);
    if before == row {
        return Delta::default();
    }
    let mut delta = Delta::default();
    delta.sums.sub(&Sums::of(&before));
    delta.sums.add(&Sums::of(&row));
    if before.mtime() != row.mtime() {
        (delta.gone, delta.came) = (Some(before.mtime()), Some(row.mtime()));
    }
    delta.changed = (!before.same_stat(&row)).then_some(now);
    block.account(&delta);
    delta
}

/// Puts a row in that is not there; `link` is the block of a directory that has nothing below it.
pub(super) fn insert(
    block: &mut Block,
    name: &[u8],
    row: Row,
    seen: Version,
    link: Option<BlockId>,
    now: ServerTime,
) -> Delta {
    let mut delta = Delta { changed: Some(now), ..Delta::default() };
    delta.row_came(&row);
    place(block, name, row, seen, link);
    block.account(&delta);
    delta
}

pub(super) fn place(
    block: &mut Block,
    name: &[u8],
    row: Row,
    seen: Version,
    link: Option<BlockId>,
) {
    let at = block.body.insert(name, row);
    let page = block.body.page_mut(at);
    if page.len() == 1 {
        // Alone in its page: its version is the page's, and nothing has to be kept beside.
        page.set_all_seen(seen, &[]);
    }
    page.set_seen(at.row, seen);
    page.set_link(at.row, link);
}
