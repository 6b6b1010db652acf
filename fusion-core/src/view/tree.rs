//! The tree: every known entry, one block per directory.
//!
//! Owns entries, their aggregates, and what the rules need per entry and directory. The rules (the
//! one writer, [`TreeWriter`]) change it; readers ([`Tree`], shared) look at it beside them. It knows
//! no rule: it does as it is told and keeps names, links and aggregates true to each other. Must
//! never: keep a lock between two calls, hold two locks at once as the writer, walk over siblings or
//! descendants for a change of one entry. Tested against a naive model by random edits with a
//! recount of all aggregates, and beside readers, in `tree/tests.rs`.
//!
//! *Layout.* A [`BlockId`] names a directory as long as it is known, wherever it moves. (block, name)
//! names an entry; it is the key that the rules use for tables of their own: moving or detaching a
//! directory changes the key of that one entry and of nothing below it. The root is the child with
//! the empty name of [`BlockId::ANCHOR`], so it is an entry like any other.
//!
//! *Locks.* Each block has a `RwLock` (in [`blocks`]); its justification stands there.
//!
//! *Checkpoints.* Whoever changes a block gets it from [`blocks`] by `write` (rows and all) or
//! `write_head` (anything but rows): so no change is missed by the next checkpoint ([`dirt`]).

mod account;
mod block;
mod blocks;
mod body;
mod dirt;
mod edit;
mod index;
mod lay;
mod load;
mod look;
mod memory;
mod merge;
mod needle;
mod owners;
mod page;
mod plan;
mod row;
mod segments;
mod small;
mod sparse;
mod subtree;
#[cfg(test)]
mod tests;
mod walk;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::id::Revision;
use crate::stat::Stat;
use crate::time::{ServerTime, StorageTime};

use blocks::Blocks;
use index::PathIndex;
use owners::{OwnerBook, Owners};

pub use block::{BlockImage, HeadImage, ImageContent};
pub use dirt::{Overrun, Stored, TreeCheckpoint};
pub use edit::{EditError, Entry, Put};
pub use load::{TreeError, TreeFrame, TreeLoader};
#[cfg(test)]
pub(in crate::view) use look::LOOKED_AT;
pub use look::Nearest;
pub use memory::TreeMemory;
pub use merge::{MergeAction, MergeCase, Merged, NameRange, TakenOut};
pub use needle::Needle;
pub use owners::Owner;
pub use page::PageImage;
pub use row::{Flags, Row};
pub use subtree::{Detached, Purge, Refused};
pub use walk::{Scope, Walk};

/// Names a directory as long as it is known, wherever it moves. Never given to another one: the
/// generation counts the uses of a slot. Deterministic: the same edits give the same ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockId {
    index: u32,
    generation: u32,
}

impl BlockId {
    /// Where the root is a child, under the empty name. It has no parent, and no entry of its own.
    pub const ANCHOR: Self = Self { index: 0, generation: 0 };
    /// No block.
    const NONE: Self = Self { index: u32::MAX, generation: u32::MAX };

    /// The number of its slot.
    #[must_use]
    pub const fn slot(self) -> u32 {
        self.index
    }

    /// What [`BlockId::as_u64`] made a number of.
    #[must_use]
    pub const fn from_u64(number: u64) -> Self {
        Self { index: number as u32, generation: (number >> 32) as u32 }
    }

    /// As one number, for tables of the rules.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        (self.generation as u64) << 32 | self.index as u64
    }
}

/// A version of a directory: what tells whether it changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Version {
    /// Inode number.
    pub inode: u64,
    /// Its ctime.
    pub ctime: StorageTime,
}

impl Version {
    /// The version that a directory's stat tells.
    #[must_use]
    pub const fn of(stat: &Stat) -> Self {
        Self { inode: stat.inode, ctime: stat.ctime }
    }

    /// `None` if it stands for "never seen".
    fn known(self) -> Option<Self> {
        (self != page::NEVER).then_some(self)
    }
}

/// An entry and all that is remembered of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Child {
    /// Its stat.
    pub stat: Stat,
    /// Its flags.
    pub flags: Flags,
    /// The version of its directory in which it was last seen.
    pub seen_in: Option<Version>,
    /// Its block, if it is a directory (and only then).
    pub block: Option<BlockId>,
}

/// What is remembered of a directory beside its entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DirMeta {
    /// When the last listing of it began.
    pub listed_at: Option<ServerTime>,
    /// The version that was listed.
    pub listed_in: Option<Version>,
    /// All parts of that listing came.
    pub complete: bool,
    /// That listing left no doubt (R4.4).
    pub settled: bool,
}

/// The tree as readers share it; every method takes at most one lock at a time.
#[derive(Debug)]
pub struct Tree {
    blocks: Blocks,
    owners: Owners,
    /// The number of the last change. An atomic, because it is told with every answer; a reader
    /// that loads it before it reads has an answer at least as new.
    revision: AtomicU64,
}

impl Tree {
    /// The number of the last change that is in the tree.
    #[must_use]
    pub fn revision(&self) -> Revision {
        Revision(self.revision.load(Ordering::Acquire))
    }
}

/// The one writer of a tree: all that changes it, and all of [`Tree`] to look.
#[derive(Debug)]
pub struct TreeWriter {
    tree: Arc<Tree>,
    /// Slots of blocks that were freed, the last one used first.
    free: Vec<u32>,
    /// Slots that were ever used.
    used: u32,
    /// No block that is made from now on has a lesser generation: those of slots that were freed
    /// before a restart are forgotten.
    floor: u32,
    book: OwnerBook,
    index: PathIndex,
    scratch: plan::Plan,
}

impl Default for TreeWriter {
    fn default() -> Self {
        Self::new()
    }
}

impl std::ops::Deref for TreeWriter {
    type Target = Tree;

    fn deref(&self) -> &Tree {
        &self.tree
    }
}

impl TreeWriter {
    /// An empty tree; not even its root is known.
    #[must_use]
    pub fn new() -> Self {
        let tree = Arc::new(Tree {
            blocks: Blocks::new(),
            owners: Owners::new(),
            revision: AtomicU64::new(0),
        });
        Self {
            tree,
            free: Vec::new(),
            used: 1,
            floor: 0,
            book: OwnerBook::default(),
            index: PathIndex::new(),
            scratch: plan::Plan::default(),
        }
    }

    /// The tree, for readers.
    #[must_use]
    pub fn share(&self) -> Arc<Tree> {
        Arc::clone(&self.tree)
    }

    /// Says that all changes up to this number are in the tree.
    pub fn set_revision(&mut self, revision: Revision) {
        self.tree.revision.store(revision.0, Ordering::Release);
    }
}
