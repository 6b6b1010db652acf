//! Checkpoints as bytes: a value for each block that changed, and a named value for each table.
//!
//! Owns the format of both, and how a checkpoint of the core goes into the port of the blocks and
//! comes back. Called by the flusher's thread and at the start. Must never: panic on what is read, or
//! read a block of the future as if it were of now. Tested by golden files, by arbitrary evidence
//! stored and loaded, and by damaged bytes.
//!
//! A block has two numbers in the store: twice its slot for everything, and one more for a head that
//! changed after that. Of both heads the one of the later checkpoint counts, so that a directory of
//! which only the totals changed costs a hundred bytes.

mod block;
mod ledger;
mod load;
mod page;
mod tables;
#[cfg(test)]
#[path = "blocks/tests.rs"]
mod tests;
mod write;

pub use block::{BlockDecoder, BlockEncoder};
pub use load::{LoadedView, load};
pub use write::{WriteError, Written, write};

use fusion_core::view::checkpoint::{BlockImage, ImageContent};

use crate::ports::BlockId;

/// The version of the format of blocks.
pub const BLOCK_VERSION: u16 = 1;
/// The version of the format of named values. Since 2 several agents' roots can be in doubt, where
/// 1 knew of one at most, told in the same way; and calls of operators are told. Since 3 suspects are
/// told from the one before.
pub const TABLE_VERSION: u16 = 3;

/// The name of what is small.
const FRAME: &str = "frame";
/// The name of the dictionary of owners.
const OWNERS: &str = "owners";

/// Where everything of a slot is stored.
fn whole_id(slot: u32) -> BlockId {
    BlockId(u64::from(slot) << 1)
}

/// Where a head is stored that changed after that.
fn head_id(slot: u32) -> BlockId {
    BlockId(u64::from(slot) << 1 | 1)
}

/// Where an image is stored; `None` if it says that nothing is.
#[must_use]
pub fn id_of(image: &BlockImage) -> Option<BlockId> {
    match image.content {
        ImageContent::Free => None,
        ImageContent::Head(_) => Some(head_id(image.slot)),
        ImageContent::Whole(..) => Some(whole_id(image.slot)),
    }
}
