//! A block as a checkpoint has it.
//!
//! Owns the vocabulary between the tree and the codec of stored blocks. Must never: hold a reference
//! into the tree, for an image is encoded without its lock. Tested by `checkpoint/tests.rs`.

use crate::time::{ServerTime, StorageTime};
use crate::view::read::Totals;

use super::super::page::PageImage;
use super::super::{BlockId, DirMeta};
use super::{Block, NO_TIME, Sums};

/// The image of one slot of the table of blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockImage {
    /// The slot; 0 is the anchor's.
    pub slot: u32,
    /// The checkpoint that it belongs to. Of two images of a head the later one counts.
    pub number: u32,
    /// What is in it.
    pub content: ImageContent,
}

/// What an image has of a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageContent {
    /// No directory: what is stored of the slot goes.
    Free,
    /// The rows did not change since the last checkpoint.
    Head(HeadImage),
    /// Everything.
    Whole(HeadImage, Vec<PageImage>),
}

/// All of a block but its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadImage {
    /// The number of uses of the slot.
    pub generation: u32,
    /// The directory that it is in; absent if it is detached (and for the anchor).
    pub parent: Option<BlockId>,
    /// Its name there.
    pub name: Box<[u8]>,
    /// What lies below it; of the newest mtime only an upper bound while `newest_stale`.
    pub totals: Totals,
    /// The newest mtime has to be found again.
    pub newest_stale: bool,
    /// Inode of the directory.
    pub inode: u64,
    /// What is remembered of it beside its entry.
    pub meta: DirMeta,
}

impl BlockImage {
    /// The image of a slot; `whole`: the last checkpoint does not have its rows.
    pub(in super::super) fn take(slot: u32, block: &Block, number: u32, whole: bool) -> Self {
        let content = match (block.live, whole) {
            (false, _) => ImageContent::Free,
            (true, false) => ImageContent::Head(block.head_image()),
            (true, true) => {
                let pages = block.body.pages().iter().map(|page| page.image()).collect();
                ImageContent::Whole(block.head_image(), pages)
            }
        };
        Self { slot, number, content }
    }

    /// Bytes in memory, about; never 0.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let pages = match &self.content {
            ImageContent::Free | ImageContent::Head(_) => 0,
            ImageContent::Whole(_, pages) => pages.iter().map(PageImage::bytes).sum(),
        };
        size_of::<Self>() + pages
    }

    /// How many entries it has.
    #[must_use]
    pub fn entries(&self) -> usize {
        match &self.content {
            ImageContent::Free | ImageContent::Head(_) => 0,
            ImageContent::Whole(_, pages) => pages.iter().map(|page| page.rows.len()).sum(),
        }
    }
}

impl Block {
    fn head_image(&self) -> HeadImage {
        HeadImage {
            generation: self.generation,
            parent: (self.parent != BlockId::NONE).then_some(self.parent),
            name: self.name.to_vec().into(),
            totals: self.totals(),
            newest_stale: self.newest_stale,
            inode: self.inode,
            meta: self.meta(),
        }
    }

    /// Takes everything but rows and marks from an image.
    pub(in super::super) fn set_head(&mut self, head: &HeadImage) {
        let totals = &head.totals;
        self.generation = head.generation;
        self.parent = head.parent.unwrap_or(BlockId::NONE);
        if *self.name != *head.name {
            self.name = (&*head.name).into();
        }
        self.sums = Sums {
            files: totals.files,
            directories: totals.directories,
            others: totals.others,
            bytes: totals.bytes,
            suspects: totals.suspects,
            blind: totals.blind,
        };
        self.newest = totals.newest_mtime.map_or(NO_TIME, StorageTime::as_nanos);
        self.newest_stale = head.newest_stale;
        self.last_change = totals.last_change.map_or(NO_TIME, ServerTime::as_nanos);
        self.inode = head.inode;
        self.set_meta(&head.meta);
    }
}
