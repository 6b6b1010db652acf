//! A checkpoint on its way into the store.

use fusion_core::view::checkpoint::{Checkpoint, ImageContent, Overrun};

use super::block::BlockEncoder;
use super::ledger::{put_frame, put_owners};
use super::tables::put_table;
use super::{FRAME, OWNERS, head_id, whole_id};
use crate::error::StoreError;
use crate::ports::CheckpointWriter;

/// How much a checkpoint was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Written {
    /// Blocks with their rows.
    pub blocks: u64,
    /// Heads alone.
    pub heads: u64,
    /// Blocks that went.
    pub gone: u64,
    /// Entries in the blocks.
    pub entries: u64,
    /// Bytes of blocks and heads.
    pub block_bytes: u64,
    /// Bytes of named values.
    pub named_bytes: u64,
}

/// Why a checkpoint was not written.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WriteError {
    /// The view gave it up.
    #[error(transparent)]
    Overrun(#[from] Overrun),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Writes all of a checkpoint; to be committed by the caller, who then tells the view
/// ([`Checkpoint::stored`]). For a thread that may wait: it runs beside the view.
///
/// # Errors
/// [`WriteError`]; then neither is to be committed or stored.
pub fn write(
    checkpoint: &mut Checkpoint,
    writer: &mut dyn CheckpointWriter,
) -> Result<Written, WriteError> {
    let (mut written, mut bytes) = (Written::default(), Vec::new());
    // First, and dropped at once: while it is held the view copies each table that it changes.
    if let Some(ledger) = checkpoint.take_ledger() {
        put_frame(ledger.frame(), &mut bytes);
        writer.put_named(FRAME, &bytes)?;
        written.named_bytes += bytes.len() as u64;
        for table in ledger.changed() {
            bytes.clear();
            put_table(*table, &ledger, &mut bytes);
            writer.put_named(table.as_str(), &bytes)?;
            written.named_bytes += bytes.len() as u64;
        }
    }
    if let Some(owners) = checkpoint.owners() {
        bytes.clear();
        put_owners(&owners, &mut bytes);
        writer.put_named(OWNERS, &bytes)?;
        written.named_bytes += bytes.len() as u64;
    }
    let mut encoder = BlockEncoder::default();
    while let Some(image) = checkpoint.next_block()? {
        bytes.clear();
        match (encoder.encode(&image, &mut bytes), &image.content) {
            (Some(id), content) => {
                let whole = matches!(content, ImageContent::Whole(..));
                *(if whole { &mut written.blocks } else { &mut written.heads }) += 1;
                written.entries += image.entries() as u64;
                written.block_bytes += bytes.len() as u64;
                writer.put(id, &bytes)?;
            }
            (None, _) => {
                written.gone += 1;
                writer.delete(whole_id(image.slot))?;
                writer.delete(head_id(image.slot))?;
            }
        }
    }
    Ok(written)
}
