//! How much memory a tree takes, counted exactly.
//!
//! Owns nothing; for the bench, the metrics and tests. A pass over all directories. Must never: be
//! called for every event.

use super::{BlockId, Tree, TreeWriter};

/// Bytes of a tree, without what the allocator adds to each piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TreeMemory {
    /// Entries in the tree and in detached subtrees.
    pub entries: usize,
    /// Directories among them.
    pub directories: usize,
    /// The table of blocks, its reserve included.
    pub table: usize,
    /// Rows, names and links.
    pub rows: usize,
    /// Dictionary of owners, index of paths.
    pub indexes: usize,
}

impl TreeMemory {
    /// All together.
    #[must_use]
    pub const fn total(&self) -> usize {
        self.table + self.rows + self.indexes
    }
}

impl TreeWriter {
    /// Counts the memory of the tree.
    #[must_use]
    pub fn memory(&self) -> TreeMemory {
        let mut memory = Tree::memory(self, self.used);
        memory.indexes += self.index.bytes() + self.book.bytes() + self.free.capacity() * 4;
        memory
    }
}

impl Tree {
    fn memory(&self, used: u32) -> TreeMemory {
        let mut memory = TreeMemory {
            table: self.blocks.bytes(),
            indexes: self.owners.bytes(),
            ..TreeMemory::default()
        };
        for slot in 0..used {
            let Some(block) = self.blocks.read_slot(slot).filter(|block| block.live) else {
                continue;
            };
            memory.directories += usize::from(slot != BlockId::ANCHOR.index);
            memory.entries += block.body.pages().iter().map(|page| page.len()).sum::<usize>();
            memory.rows += block.bytes();
        }
        memory
    }
}
