//! One block as bytes.
//!
//! | bytes | what |
//! |---|---|
//! | 2 | version, little-endian |
//! | varint | number of the checkpoint |
//! | 2 | which of what follows there is, and yes and no |
//! | … | head: generation, parent, name, totals, inode, what is remembered of it |
//! | varint, … | how many pages, and the pages (see `page`), if it is everything |

use fusion_core::time::{ServerTime, StorageTime};
use fusion_core::view::Version;
use fusion_core::view::checkpoint::{
    BlockId as TreeBlock, BlockImage, DirMeta, HeadImage, ImageContent,
};

use super::super::encode::from;
use super::super::row::{RowReader, put_bytes, put_varint, zigzag};
use super::page::{PageDecoder, PageEncoder};
use super::{BLOCK_VERSION, id_of};
use crate::error::Malformed;
use crate::ports::BlockId;

const PARENT: u16 = 1;
const STALE: u16 = 1 << 1;
const COMPLETE: u16 = 1 << 2;
const SETTLED: u16 = 1 << 3;
const NEWEST: u16 = 1 << 4;
const CHANGED: u16 = 1 << 5;
const LISTED_AT: u16 = 1 << 6;
const LISTED_IN: u16 = 1 << 7;
/// Its inode is that of the version that was listed.
const SAME_INODE: u16 = 1 << 8;
/// Flags that there are.
const KNOWN: u16 = (1 << 9) - 1;

/// Pages of a block at most: more entries than a directory can have.
const PAGES_MAX: u64 = 1 << 24;

/// Writes blocks; kept from one to the next for its memory.
#[derive(Debug, Default)]
pub struct BlockEncoder {
    pages: PageEncoder,
}

impl BlockEncoder {
    /// Adds a block; `None`, and nothing, if the image says that nothing is in the slot.
    pub fn encode(&mut self, image: &BlockImage, out: &mut Vec<u8>) -> Option<BlockId> {
        let id = id_of(image)?;
        let (head, pages) = match &image.content {
            ImageContent::Free => return None,
            ImageContent::Head(head) => (head, None),
            ImageContent::Whole(head, pages) => (head, Some(pages)),
        };
        out.extend_from_slice(&BLOCK_VERSION.to_le_bytes());
        put_varint(out, u64::from(image.number));
        put_head(out, head);
        if let Some(pages) = pages {
            put_varint(out, pages.len() as u64);
            pages.iter().for_each(|page| self.pages.put(page, head.meta.listed_in, out));
        }
        Some(id)
    }
}

fn put_head(out: &mut Vec<u8>, head: &HeadImage) {
    let (totals, meta) = (&head.totals, &head.meta);
    let same_inode = meta.listed_in.is_some_and(|version| version.inode == head.inode);
    let flags = [
        (PARENT, head.parent.is_some()),
        (STALE, head.newest_stale),
        (COMPLETE, meta.complete),
        (SETTLED, meta.settled),
        (NEWEST, totals.newest_mtime.is_some()),
        (CHANGED, totals.last_change.is_some()),
        (LISTED_AT, meta.listed_at.is_some()),
        (LISTED_IN, meta.listed_in.is_some()),
        (SAME_INODE, same_inode),
    ];
    let flags = flags.iter().filter(|(_, on)| *on).fold(0, |all, (flag, _)| all | flag);
    out.extend_from_slice(&u16::to_le_bytes(flags));
    put_varint(out, u64::from(head.generation));
    head.parent.iter().for_each(|parent| put_block(out, *parent));
    put_bytes(out, &head.name);
    for sum in [
        totals.files,
        totals.directories,
        totals.others,
        totals.bytes,
        totals.suspects,
        totals.blind,
        head.inode,
    ] {
        put_varint(out, sum);
    }
    let changed = totals.last_change.map_or(0, ServerTime::as_nanos);
    totals.newest_mtime.iter().for_each(|time| put_varint(out, zigzag(time.as_nanos())));
    totals.last_change.iter().for_each(|time| put_varint(out, zigzag(time.as_nanos())));
    meta.listed_at.iter().for_each(|time| put_varint(out, from(changed, time.as_nanos())));
    if let Some(version) = meta.listed_in {
        if !same_inode {
            put_varint(out, version.inode);
        }
        put_varint(out, from(changed, version.ctime.as_nanos()));
    }
}

/// Adds the id of a block of the tree.
pub(super) fn put_block(out: &mut Vec<u8>, block: TreeBlock) {
    put_varint(out, u64::from(block.slot()));
    put_varint(out, block.as_u64() >> 32);
}

/// Reads the id of a block of the tree.
pub(super) fn take_block(reader: &mut RowReader<'_>) -> Result<TreeBlock, Malformed> {
    let (slot, generation) = (small(reader)?, small(reader)?);
    Ok(TreeBlock::from_u64(u64::from(generation) << 32 | u64::from(slot)))
}

/// Reads a number of 32 bits.
pub(super) fn small(reader: &mut RowReader<'_>) -> Result<u32, Malformed> {
    u32::try_from(reader.varint()?).map_err(|_| Malformed::Broken("a value is out of its range"))
}

/// Reads blocks; kept from one to the next for its memory.
#[derive(Debug, Default)]
pub struct BlockDecoder {
    pages: PageDecoder,
}

impl BlockDecoder {
    /// Reads what is stored under a number.
    ///
    /// # Errors
    /// It is not what was written, or of a later version.
    pub fn decode(&mut self, id: BlockId, bytes: &[u8]) -> Result<BlockImage, Malformed> {
        decode(&mut self.pages, id, bytes)
    }
}

fn decode(decoder: &mut PageDecoder, id: BlockId, bytes: &[u8]) -> Result<BlockImage, Malformed> {
    let mut reader = RowReader::new(bytes);
    let version = u16::from_le_bytes(reader.array()?);
    if version > BLOCK_VERSION {
        let (found, known) = (u32::from(version), u32::from(BLOCK_VERSION));
        return Err(Malformed::Future { what: "a block", found, known });
    }
    if version == 0 {
        return Err(Malformed::Broken("it has no version"));
    }
    let slot = u32::try_from(id.0 >> 1).map_err(|_| Malformed::Broken("no such slot"))?;
    let number = small(&mut reader)?;
    let head = take_head(&mut reader)?;
    let content = if id.0 & 1 == 1 {
        ImageContent::Head(head)
    } else {
        let count = reader.varint()?;
        if count > PAGES_MAX {
            return Err(Malformed::Broken("it has too many pages"));
        }
        // A count that lies ends before it costs memory: a page takes 20 bytes at least.
        let mut pages = Vec::with_capacity((count as usize).min(reader.left() / 20 + 1));
        for _ in 0..count {
            pages.push(decoder.take(&mut reader, head.meta.listed_in)?);
        }
        ImageContent::Whole(head, pages)
    };
    if reader.left() > 0 {
        return Err(Malformed::Broken("more is stored than the block takes"));
    }
    Ok(BlockImage { slot, number, content })
}

fn take_head(reader: &mut RowReader<'_>) -> Result<HeadImage, Malformed> {
    let flags = u16::from_le_bytes(reader.array()?);
    if flags & !KNOWN != 0 {
        return Err(Malformed::Broken("it has a flag that is not known"));
    }
    let has = |flag| flags & flag != 0;
    let generation = small(reader)?;
    let parent = has(PARENT).then(|| take_block(reader)).transpose()?;
    let name = reader.lengthy()?.into();
    let mut totals = fusion_core::view::Totals {
        files: reader.varint()?,
        directories: reader.varint()?,
        others: reader.varint()?,
        bytes: reader.varint()?,
        suspects: reader.varint()?,
        blind: reader.varint()?,
        newest_mtime: None,
        last_change: None,
    };
    let inode = reader.varint()?;
    let newest = has(NEWEST).then(|| reader.signed()).transpose()?;
    totals.newest_mtime = newest.map(StorageTime::from_nanos);
    let changed = has(CHANGED).then(|| reader.signed()).transpose()?;
    totals.last_change = changed.map(ServerTime::from_nanos);
    let changed = changed.unwrap_or(0);
    let listed_at = has(LISTED_AT).then(|| reader.signed()).transpose()?;
    let mut meta = DirMeta {
        listed_at: listed_at.map(|at| ServerTime::from_nanos(changed.wrapping_add(at))),
        listed_in: None,
        complete: has(COMPLETE),
        settled: has(SETTLED),
    };
    if has(LISTED_IN) {
        let inode = if has(SAME_INODE) { inode } else { reader.varint()? };
        let ctime = changed.wrapping_add(reader.signed()?);
        meta.listed_in = Some(Version { inode, ctime: StorageTime::from_nanos(ctime) });
    }
    Ok(HeadImage { generation, parent, name, totals, newest_stale: has(STALE), inode, meta })
}
