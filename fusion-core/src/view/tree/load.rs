//! Making a tree of the images of its blocks.
//!
//! Owns what has to be true of images before they are believed: a corrupt store yields an error that
//! names the block, never a panic and never a tree that is wrong. Images may come in any order and
//! from many threads. Must never: be used while somebody reads the tree. Tested by
//! `checkpoint/tests.rs`.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crate::id::Revision;

use super::block::{Block, BlockImage, ImageContent, Sums};
use super::blocks::Blocks;
use super::body::Body;
use super::dirt::Dirt;
use super::index::PathIndex;
use super::owners::{Owner, OwnerBook, Owners};
use super::page::{Page, PageImage};
use super::plan::Plan;
use super::{BlockId, Tree, TreeWriter};

/// Why images do not make a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// One of them cannot be.
    #[error("block {slot} cannot be what was stored: {why}")]
    Block {
        /// Its slot.
        slot: u32,
        /// What is wrong with it.
        why: &'static str,
    },
    /// They do not fit together.
    #[error("the blocks do not make a tree: {0}")]
    Whole(&'static str),
}

/// What of a tree stands in no block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TreeFrame {
    /// The checkpoint.
    pub number: u32,
    /// Slots that were ever used.
    pub used: u32,
    /// Directories, and the anchor.
    pub live: u32,
    /// The least generation of blocks to come.
    pub floor: u32,
}

/// A tree that is being loaded.
#[derive(Debug)]
pub struct TreeLoader {
    blocks: Blocks,
    owners: Owners,
    book: OwnerBook,
    frame: TreeFrame,
}

impl TreeLoader {
    /// A tree of which all blocks are still to come. `owners` have the numbers from 1 on.
    ///
    /// # Errors
    /// An owner stands twice in the dictionary.
    pub fn new(frame: TreeFrame, owners: &[Owner]) -> Result<Self, TreeError> {
        let (table, mut book) = (Owners::new(), OwnerBook::default());
        for (number, owner) in (1..).zip(owners) {
            if book.number(&table, *owner) != number {
                return Err(TreeError::Whole("an owner stands twice in the dictionary"));
            }
        }
        let mut blocks = Blocks::new();
        if let Some(mut anchor) = blocks.lock_slot(BlockId::ANCHOR.index) {
            *anchor = Block::default();
        }
        blocks.dirt = Dirt::after(frame.number, book.count());
        Ok(Self { blocks, owners: table, book, frame })
    }

    /// Takes one image. From any thread, in any order; of two images of a slot each part is that of
    /// the later checkpoint.
    ///
    /// # Errors
    /// [`TreeError::Block`].
    pub fn put(&self, image: BlockImage) -> Result<(), TreeError> {
        let (slot, number) = (image.slot, image.number);
        let fail = |why| Err(TreeError::Block { slot, why });
        if slot >= self.frame.used {
            return fail("its slot was never used");
        }
        if number == 0 || number > self.frame.number {
            return fail("it belongs to no checkpoint up to the last one");
        }
        let (head, pages) = match image.content {
            ImageContent::Free => return fail("it is stored as free"),
            ImageContent::Head(head) => (head, None),
            ImageContent::Whole(head, pages) => (head, Some(pages)),
        };
        let body = match pages.map(|pages| self.body(slot, pages)).transpose() {
            Ok(body) => body,
            Err(why) => return fail(why),
        };
        self.blocks.grow(slot);
        let Some(mut block) = self.blocks.lock_slot(slot) else {
            return fail("there is no room for it");
        };
        if let Some(body) = body {
            if block.marks.body != 0 {
                return fail("its rows stand in the store twice");
            }
            block.body = body;
            block.marks.body = number;
        }
        if number > block.marks.head {
            block.set_head(&head);
            block.marks.head = number;
            block.live = true;
        }
        Ok(())
    }

    fn body(&self, slot: u32, pages: Vec<PageImage>) -> Result<Body, &'static str> {
        let anchor = slot == BlockId::ANCHOR.index;
        let owners = self.book.count();
        let mut made: Vec<Page> = Vec::with_capacity(pages.len());
        for image in pages {
            let page = Page::from_image(image, owners, anchor)?;
            if let Some(last) = made.last()
                && (page.len() == 0 || last.name(last.len() - 1) >= page.name(0))
            {
                return Err("its pages are not in order");
            }
            if made.len() == 1 && made[0].len() == 0 {
                return Err("it has an empty page");
            }
            made.push(page);
        }
        if anchor && made.iter().map(Page::len).sum::<usize>() > 1 {
            return Err("it has two roots");
        }
        Ok(match made.len() {
            0 | 1 => Body::One(made.pop().unwrap_or_default()),
            _ => Body::Many(made),
        })
    }

    /// All images came: checks that they make one tree. `detached` are the blocks that stand outside
    /// of it, in the trash or to be freed.
    ///
    /// # Errors
    /// [`TreeError`]; the first thing that is wrong.
    pub fn finish(self, revision: Revision, detached: &[BlockId]) -> Result<TreeWriter, TreeError> {
        let (mut free, mut live, mut linked) = (Vec::new(), 0, 0);
        for slot in 0..self.frame.used {
            self.blocks.grow(slot);
            let Some(mut block) = self.blocks.lock_slot(slot) else { continue };
            if block.live {
                live += 1;
                drop(block);
                linked += self.check(slot)?;
            } else {
                block.generation = self.frame.floor;
                free.push(slot);
            }
        }
        if live != self.frame.live {
            return Err(TreeError::Whole("blocks are missing, or there are too many"));
        }
        self.check_detached(detached)?;
        // The anchor is nobody's child.
        if linked + detached.len() + 1 != live as usize {
            return Err(TreeError::Whole("a directory is in no other one"));
        }
        free.reverse();
        let tree =
            Tree { blocks: self.blocks, owners: self.owners, revision: AtomicU64::new(revision.0) };
        Ok(TreeWriter {
            tree: Arc::new(tree),
            free,
            used: self.frame.used,
            floor: self.frame.floor,
            book: self.book,
            index: PathIndex::new(),
            scratch: Plan::default(),
        })
    }

    /// Checks a block against those of its directories; how many it links. Sums that are right in
    /// every block leave no room for a circle: each of its directories would be below itself.
    fn check(&self, slot: u32) -> Result<usize, TreeError> {
        let fail = |why| Err(TreeError::Block { slot, why });
        let Some(block) = self.blocks.read_slot(slot) else { return fail("it is missing") };
        if block.marks.body == 0 {
            return fail("its rows are missing");
        }
        let anchor = slot == BlockId::ANCHOR.index;
        if anchor && (block.generation != 0 || block.parent != BlockId::NONE) {
            return fail("the anchor is in another directory");
        }
        let id = BlockId::new(slot, block.generation);
        let (mut sums, mut newest, mut linked) = (Sums::default(), None, 0);
        for page in block.body.pages() {
            for row in page.rows() {
                sums.add(&Sums::of(row));
                newest = newest.max(Some(row.mtime()));
            }
            for (row, link) in page.links() {
                if link.slot() == slot {
                    return fail("it is in itself");
                }
                let Some(child) = self.blocks.read(link) else {
                    return fail("a directory in it is missing");
                };
                let same = child.parent == id
                    && *child.name == *page.name(row)
                    && child.inode == page.row(row).inode();
                if !same {
                    return fail("a directory in it says that it is elsewhere");
                }
                sums.add(&child.sums);
                newest = newest.max(child.newest().filter(|_| !child.newest_stale));
                linked += 1;
            }
        }
        if sums != block.sums {
            return fail("its totals are not those of its rows");
        }
        if block.newest() < newest {
            return fail("its newest mtime is older than a row");
        }
        Ok(linked)
    }

    /// What stands outside of the tree is known, and is in no directory.
    fn check_detached(&self, detached: &[BlockId]) -> Result<(), TreeError> {
        let mut seen = HashSet::with_capacity(detached.len());
        for id in detached {
            let fail = |why| Err(TreeError::Block { slot: id.slot(), why });
            let Some(block) = self.blocks.read(*id) else {
                return fail("it was taken out of the tree, and is missing");
            };
            let parent = block.parent;
            drop(block);
            if *id == BlockId::ANCHOR || self.blocks.read(parent).is_some() {
                return fail("it was taken out of the tree, and is in a directory");
            }
            if !seen.insert(*id) {
                return fail("it was taken out of the tree twice");
            }
        }
        Ok(())
    }
}
