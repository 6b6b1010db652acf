//! A file of blocks, format 2: a header, values back to back, an index, a trailer.
//!
//! Written once, then renamed to its name: under its name it is whole. All numbers are little-endian.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `FUSNBLK` and a zero |
//! | 4, 4 | version, zero |
//! | 16, 8 | id of the view, number of the file |
//! | 1, 63 | length of the view's name, the name |
//! | 8 | number of the oldest file that the checkpoint needs; zero in format 1, which does not tell |
//! | 12, 4 | zeros, CRC-32 (IEEE) of all before |
//! | … | values |
//! | … | index: what was done, in order (see [`Entry`]) |
//! | 8, 4 | trailer: where the index begins, CRC-32 of it |
//! | 4 | 1 if the checkpoint ends with this file, 0 if it goes on in the next |
//! | 8, 8 | record and revision that the checkpoint contains |
//! | 4 | CRC-32 of the trailer so far |

use std::path::{Path, PathBuf};

use fusion_core::id::{Revision, ViewName};
use uuid::Uuid;

use crate::codec::row::{RowReader, put_bytes, put_varint, unzigzag, zigzag};
use crate::disk::{Access, Disk};
use crate::error::{Malformed, StoreError};
use crate::ports::{BlockId, LogPoint, ViewId, ViewRef};

/// Bytes before the first value.
pub(super) const HEAD: usize = 128;
const TRAILER: usize = 36;
const MAGIC: &[u8; 8] = b"FUSNBLK\0";
/// The version of the format.
pub(super) const BLOCKS_VERSION: u32 = 2;
const SUFFIX: &str = ".blocks";

const PUT: u8 = 1;
const PUT_NAMED: u8 = 2;
const DELETE: u8 = 3;
const CLEAR: u8 = 4;

/// What a file says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileHead {
    pub(super) view: ViewRef,
    pub(super) number: u64,
    /// The oldest file that the checkpoint needs; format 1 does not tell.
    pub(super) oldest: Option<u64>,
}

/// What stands at the end of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Trailer {
    pub(super) index_at: u64,
    pub(super) index_crc: u32,
    /// The checkpoint ends with this file.
    pub(super) ends: bool,
    pub(super) contains: LogPoint,
}

impl FileHead {
    pub(super) fn encode(&self) -> [u8; HEAD] {
        let name = self.view.name.as_str().as_bytes();
        let mut bytes = [0; HEAD];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&BLOCKS_VERSION.to_le_bytes());
        bytes[16..32].copy_from_slice(self.view.id.0.as_bytes());
        bytes[32..40].copy_from_slice(&self.number.to_le_bytes());
        bytes[40] = name.len() as u8;
        bytes[41..41 + name.len()].copy_from_slice(name);
        bytes[104..112].copy_from_slice(&self.oldest.unwrap_or_default().to_le_bytes());
        let crc = crc32fast::hash(&bytes[..HEAD - 4]);
        bytes[HEAD - 4..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let head = bytes.first_chunk::<HEAD>().filter(|head| head.starts_with(MAGIC));
        let head = head.ok_or(Malformed::Broken("it is no file of blocks"))?;
        let found = head[8..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
        if found > BLOCKS_VERSION {
            let (what, known) = ("a file of blocks", BLOCKS_VERSION);
            return Err(Malformed::Future { what, found, known });
        }
        if head[HEAD - 4..] != crc32fast::hash(&head[..HEAD - 4]).to_le_bytes() {
            return Err(Malformed::Broken("the header has a wrong checksum"));
        }
        let name =
            head[41..].get(..usize::from(head[40])).and_then(|n| std::str::from_utf8(n).ok());
        let name = name.and_then(|name| ViewName::new(name).ok());
        let name = name.ok_or(Malformed::Broken("the view has no such name"))?;
        let id = ViewId(Uuid::from_slice(&head[16..32]).unwrap_or_default());
        let long = |at: usize| head[at..].first_chunk().map_or(0, |b| u64::from_le_bytes(*b));
        let oldest = Some(long(104)).filter(|_| found > 1);
        Ok(Self { view: ViewRef { id, name }, number: long(32), oldest })
    }
}

impl Trailer {
    pub(super) fn encode(&self) -> [u8; TRAILER] {
        let mut bytes = [0; TRAILER];
        bytes[..8].copy_from_slice(&self.index_at.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.index_crc.to_le_bytes());
        bytes[12..16].copy_from_slice(&u32::from(self.ends).to_le_bytes());
        bytes[16..24].copy_from_slice(&self.contains.record.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.contains.revision.0.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..TRAILER - 4]);
        bytes[TRAILER - 4..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        const SHORT: Malformed = Malformed::Broken("the end of the file is damaged or missing");
        let bytes = bytes.first_chunk::<TRAILER>().ok_or(SHORT)?;
        let word = |at: usize| bytes[at..].first_chunk().map_or(0, |b| u32::from_le_bytes(*b));
        let long = |at: usize| bytes[at..].first_chunk().map_or(0, |b| u64::from_le_bytes(*b));
        if word(TRAILER - 4) != crc32fast::hash(&bytes[..TRAILER - 4]) {
            return Err(SHORT);
        }
        let contains = LogPoint { record: long(16), revision: Revision(long(24)) };
        Ok(Self { index_at: long(0), index_crc: word(8), ends: word(12) == 1, contains })
    }
}

/// One line of the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry<'a> {
    /// A block was put: where its bytes begin in the file, how many, and their checksum.
    Put(BlockId, Span),
    /// A named value was put.
    PutNamed(&'a str, Span),
    /// A block went.
    Delete(BlockId),
    /// Everything before went.
    Clear,
}

/// Where bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) at: u64,
    pub(crate) bytes: u32,
    pub(crate) crc: u32,
}

/// An index that is being written.
#[derive(Debug, Default)]
pub(crate) struct IndexOut {
    pub(crate) bytes: Vec<u8>,
    last: u64,
}

impl IndexOut {
    /// Adds a line; those of values in the order in which the values stand in the file.
    pub(crate) fn add(&mut self, entry: Entry<'_>) {
        let mut id = |out: &mut Vec<u8>, id: BlockId| {
            put_varint(out, zigzag(id.0.wrapping_sub(self.last) as i64));
            self.last = id.0;
        };
        let out = &mut self.bytes;
        let span = match entry {
            Entry::Put(block, span) => {
                out.push(PUT);
                id(out, block);
                span
            }
            Entry::PutNamed(name, span) => {
                out.push(PUT_NAMED);
                put_bytes(out, name.as_bytes());
                span
            }
            Entry::Delete(block) => {
                out.push(DELETE);
                return id(out, block);
            }
            Entry::Clear => return out.push(CLEAR),
        };
        put_varint(out, u64::from(span.bytes));
        out.extend_from_slice(&span.crc.to_le_bytes());
    }
}

/// Reads an index line by line.
#[derive(Debug)]
pub(crate) struct IndexIn<'a> {
    reader: RowReader<'a>,
    last: u64,
    at: u64,
}

impl<'a> IndexIn<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self::of_values_at(bytes, HEAD as u64)
    }

    /// One of which the values begin there.
    pub(crate) fn of_values_at(bytes: &'a [u8], at: u64) -> Self {
        Self { reader: RowReader::new(bytes), last: 0, at }
    }

    /// The next line; `None` after the last.
    pub(crate) fn next(&mut self) -> Result<Option<Entry<'a>>, Malformed> {
        if self.reader.left() == 0 {
            return Ok(None);
        }
        Ok(Some(match self.reader.u8()? {
            PUT => Entry::Put(self.id()?, self.span()?),
            PUT_NAMED => Entry::PutNamed(self.reader.text()?, self.span()?),
            DELETE => Entry::Delete(self.id()?),
            CLEAR => Entry::Clear,
            _ => return Err(Malformed::Broken("the index has an unknown line")),
        }))
    }

    fn id(&mut self) -> Result<BlockId, Malformed> {
        self.last = self.last.wrapping_add(unzigzag(self.reader.varint()?) as u64);
        Ok(BlockId(self.last))
    }

    fn span(&mut self) -> Result<Span, Malformed> {
        let bytes = u32::try_from(self.reader.varint()?);
        let bytes = bytes.map_err(|_| Malformed::Broken("a value is too long"))?;
        let span = Span { at: self.at, bytes, crc: u32::from_le_bytes(self.reader.array()?) };
        self.at += u64::from(bytes);
        Ok(span)
    }
}

/// Where the file with this number is.
pub(super) fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:016x}{SUFFIX}"))
}

/// The number of the file with this name, if it is a file of blocks.
pub(super) fn number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SUFFIX).filter(|digits| digits.len() == 16)?;
    u64::from_str_radix(digits, 16).ok()
}

/// A file that was read but for its values.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) head: FileHead,
    pub(super) trailer: Trailer,
    pub(super) index: Vec<u8>,
    pub(super) length: u64,
}

/// Reads header, index and trailer of a file.
pub(super) fn open(disk: &dyn Disk, path: &Path) -> Result<Opened, StoreError> {
    let io = || StoreError::io("read", path);
    let file = disk.open(path, Access::Read).map_err(io())?;
    let length = file.length().map_err(io())?;
    let mut head = [0; HEAD];
    let count = file.read_at(&mut head, 0).map_err(io())?;
    let head = FileHead::decode(&head[..count]).map_err(StoreError::corrupt(path.display(), 0))?;
    if path.file_name().and_then(|name| number(name.to_str()?)) != Some(head.number) {
        let why = Malformed::Broken("the file has another number than its name says");
        return Err(StoreError::corrupt(path.display(), 32)(why));
    }
    let end = length.saturating_sub(TRAILER as u64);
    let corrupt = |why| StoreError::corrupt(path.display(), end)(why);
    let mut trailer = [0; TRAILER];
    let count = file.read_at(&mut trailer, end).map_err(io())?;
    let trailer = Trailer::decode(&trailer[..count]).map_err(corrupt)?;
    let bytes = end.checked_sub(trailer.index_at).filter(|_| trailer.index_at >= HEAD as u64);
    let bytes = bytes.ok_or_else(|| corrupt(Malformed::Broken("it has no room for its index")))?;
    let mut index = vec![0; bytes as usize];
    let count = file.read_at(&mut index, trailer.index_at).map_err(io())?;
    if count < index.len() || crc32fast::hash(&index) != trailer.index_crc {
        return Err(corrupt(Malformed::Broken("the index is damaged")));
    }
    Ok(Opened { head, trailer, index, length })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    /// A header as this version of the format has it; the oldest file is 3 if it tells.
    fn golden(version: u8) -> Vec<u8> {
        let mut golden = vec![0; HEAD];
        golden[..8].copy_from_slice(b"FUSNBLK\0");
        golden[8] = version;
        golden[16..32].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 1]);
        golden[32] = 9;
        golden[40..47].copy_from_slice(b"\x06view-1");
        golden[104] = if version > 1 { 3 } else { 0 };
        let crc = crc32fast::hash(&golden[..124]).to_le_bytes();
        golden[124..].copy_from_slice(&crc);
        golden
    }

    /// The stored formats. Other bytes are another version.
    #[test]
    fn both_versions_are_as_they_were() {
        let head = FileHead { view: sample::view(1), number: 9, oldest: Some(3) };
        assert_eq!(head.encode().as_slice(), golden(2));
        assert_eq!(FileHead::decode(&golden(2)), Ok(head.clone()));
        assert_eq!(FileHead::decode(&golden(1)), Ok(FileHead { oldest: None, ..head }));

        let contains = LogPoint { record: 3, revision: Revision(4) };
        let trailer = Trailer { index_at: 5, index_crc: 6, ends: true, contains };
        let mut golden = vec![0; 32];
        (golden[0], golden[8], golden[12], golden[16], golden[24]) = (5, 6, 1, 3, 4);
        golden.extend_from_slice(&crc32fast::hash(&golden).to_le_bytes());
        assert_eq!(trailer.encode().as_slice(), golden);
        assert_eq!(Trailer::decode(&golden), Ok(trailer));

        let mut index = IndexOut::default();
        let span = |at, bytes| Span { at, bytes, crc: 0x0403_0201 };
        let entries = [
            Entry::Put(BlockId(7), span(128, 300)),
            Entry::PutNamed("n", span(428, 1)),
            Entry::Put(BlockId(5), span(429, 0)),
            Entry::Delete(BlockId(6)),
            Entry::Clear,
        ];
        entries.iter().for_each(|entry| index.add(*entry));
        let golden = b"\x01\x0e\xac\x02\x01\x02\x03\x04\x02\x01n\x01\x01\x02\x03\x04\
            \x01\x03\x00\x01\x02\x03\x04\x03\x02\x04";
        assert_eq!(index.bytes, golden);
        let mut reader = IndexIn::new(golden);
        for entry in entries {
            assert_eq!(reader.next(), Ok(Some(entry)));
        }
        assert_eq!(reader.next(), Ok(None));
    }

    #[test]
    fn damage_and_the_future_are_found() {
        let mut bytes = golden(2);
        bytes[50] ^= 1;
        assert!(FileHead::decode(&bytes).is_err() && FileHead::decode(&bytes[..9]).is_err());
        bytes[8] = 3;
        let refused = FileHead::decode(&bytes);
        assert!(matches!(refused, Err(Malformed::Future { found: 3, known: 2, .. })));
        assert!(IndexIn::new(&[9]).next().is_err() && IndexIn::new(&[PUT, 1, 1]).next().is_err());
        assert!(Trailer::decode(&[0; TRAILER - 1]).is_err());
    }
}
