//! Segments: the files of which the log of a view consists, format 1.
//!
//! A header of 256 bytes, then frames, then whatever a recycled file had before. A segment gets its
//! name once its header is durable. What a segment begins after, its header says; so what an earlier
//! one holds beyond that does not count: it was never durable.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `FUSNLOG` and a zero |
//! | 4, 4 | version, zero |
//! | 16 | id of the view |
//! | 8 | number of the segment |
//! | 8, 8 | record and revision of the place before it |
//! | 8 | time of the last record before it |
//! | 1, 63 | length of the view's name, the name |
//! | … | zeros |
//! | 4 | CRC-32 (IEEE) of all before; the checksums of the frames begin with it |

use std::path::{Path, PathBuf};
use std::sync::Arc;

use fusion_core::id::{Revision, ViewName};
use uuid::Uuid;

use super::frame::checksum;
use crate::disk::{Access, Disk, DiskFile};
use crate::error::{Malformed, StoreError};
use crate::ports::{LogPoint, ViewId, ViewRef};

/// Bytes before the first frame.
pub(super) const SEGMENT_HEAD: usize = 256;
/// The version of a segment's format.
pub(super) const SEGMENT_VERSION: u32 = 1;
const MAGIC: &[u8; 8] = b"FUSNLOG\0";
const SUFFIX: &str = ".log";
/// A segment that has no name yet.
const NEW: &str = "new";

/// What a segment says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SegmentHead {
    pub(super) view: ViewRef,
    pub(super) number: u64,
    /// The place before it.
    pub(super) base: LogPoint,
    /// Time of the last record before it.
    pub(super) base_at: i64,
}

impl SegmentHead {
    pub(super) fn encode(&self) -> [u8; SEGMENT_HEAD] {
        let name = self.view.name.as_str().as_bytes();
        let mut bytes = [0; SEGMENT_HEAD];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&SEGMENT_VERSION.to_le_bytes());
        bytes[16..32].copy_from_slice(self.view.id.0.as_bytes());
        bytes[32..40].copy_from_slice(&self.number.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.base.record.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.base.revision.0.to_le_bytes());
        bytes[56..64].copy_from_slice(&self.base_at.to_le_bytes());
        bytes[64] = name.len() as u8;
        bytes[65..65 + name.len()].copy_from_slice(name);
        let crc = checksum(0, &bytes[..SEGMENT_HEAD - 4]);
        bytes[SEGMENT_HEAD - 4..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads it, and the checksum with which those of the frames begin.
    pub(super) fn decode(bytes: &[u8]) -> Result<(Self, u32), Malformed> {
        const SHORT: Malformed = Malformed::Broken("the header of the segment is not whole");
        let head = bytes.first_chunk::<SEGMENT_HEAD>().ok_or(SHORT)?;
        if !head.starts_with(MAGIC) {
            return Err(Malformed::Broken("it is no segment of a log"));
        }
        let long = |at: usize| head[at..].first_chunk().map_or(0, |b| u64::from_le_bytes(*b));
        let found = head[8..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
        if found > SEGMENT_VERSION {
            let known = SEGMENT_VERSION;
            return Err(Malformed::Future { what: "a segment of the log", found, known });
        }
        let crc = checksum(0, &head[..SEGMENT_HEAD - 4]);
        if head[SEGMENT_HEAD - 4..] != crc.to_le_bytes() {
            return Err(Malformed::Broken("the header of the segment has a wrong checksum"));
        }
        let name =
            head[65..].get(..usize::from(head[64])).and_then(|n| std::str::from_utf8(n).ok());
        let name = name.and_then(|name| ViewName::new(name).ok());
        let name = name.ok_or(Malformed::Broken("the view has no such name"))?;
        let id = ViewId(Uuid::from_slice(&head[16..32]).unwrap_or_default());
        let base = LogPoint { record: long(40), revision: Revision(long(48)) };
        let view = ViewRef { id, name };
        Ok((Self { view, number: long(32), base, base_at: long(56) as i64 }, crc))
    }
}

/// A segment that is on disk.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) head: SegmentHead,
    pub(super) seed: u32,
    pub(super) path: PathBuf,
}

impl Segment {
    /// Opens the segment with this name; `None` if the name is not one of a segment.
    pub(super) fn open(
        disk: &dyn Disk,
        dir: &Path,
        name: &str,
    ) -> Result<Option<Self>, StoreError> {
        if Self::number(name).is_none() {
            return Ok(None);
        }
        let path = dir.join(name);
        let read = || {
            let mut bytes = [0; SEGMENT_HEAD];
            let count = disk.open(&path, Access::Read)?.read_at(&mut bytes, 0)?;
            Ok((bytes, count))
        };
        let (bytes, count) = read().map_err(StoreError::io("read", &path))?;
        Self::of(&path, &bytes[..count]).map(Some)
    }

    /// The number of the segment with this name, if it is one of a segment.
    pub(super) fn number(name: &str) -> Option<u64> {
        let digits = name.strip_suffix(SUFFIX).filter(|digits| digits.len() == 16)?;
        u64::from_str_radix(digits, 16).ok()
    }

    /// The segment at a place, by its header.
    pub(super) fn of(path: &Path, bytes: &[u8]) -> Result<Self, StoreError> {
        let decoded = SegmentHead::decode(bytes);
        let (head, seed) = decoded.map_err(StoreError::corrupt(path.display(), 0))?;
        let name = path.file_name().and_then(|name| name.to_str());
        if name.and_then(Self::number) != Some(head.number) {
            let why = Malformed::Broken("the segment has another number than its name says");
            return Err(StoreError::corrupt(path.display(), 32)(why));
        }
        Ok(Self { head, seed, path: path.to_path_buf() })
    }

    /// Where the segment with this number is.
    pub(super) fn path(dir: &Path, number: u64) -> PathBuf {
        dir.join(format!("{number:016x}{SUFFIX}"))
    }

    /// Makes a segment, of a spare file if there is one. It has its name, durably, on return.
    pub(super) fn create(
        disk: &dyn Disk,
        dir: &Path,
        head: SegmentHead,
        spare: Option<&Path>,
    ) -> Result<(Self, Arc<dyn DiskFile>), StoreError> {
        let (new, path) = (dir.join(NEW), Self::path(dir, head.number));
        let make = || {
            let access = match spare {
                Some(spare) => disk.rename(spare, &new).map(|()| Access::Write)?,
                None => Access::Create,
            };
            let file = disk.open(&new, access)?;
            file.write_at(&head.encode(), 0)?;
            file.sync()?;
            disk.rename(&new, &path)?;
            disk.sync_dir(dir)?;
            Ok(file)
        };
        let file = make().map_err(StoreError::io("make the segment", &path))?;
        let seed = checksum(0, &head.encode()[..SEGMENT_HEAD - 4]);
        Ok((Self { head, seed, path }, file))
    }
}

/// Whether a file in the directory of a log is left over from a segment that was being made.
pub(super) fn is_left_over(name: &str) -> bool {
    name == NEW
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    fn head() -> SegmentHead {
        let base = LogPoint { record: 3, revision: Revision(5) };
        SegmentHead { view: sample::view(1), number: 9, base, base_at: -7 }
    }

    /// The stored format of version 1. Other bytes are another version.
    #[test]
    fn version_1_is_as_it_was() {
        let mut golden = vec![0; SEGMENT_HEAD];
        golden[..8].copy_from_slice(b"FUSNLOG\0");
        golden[8] = 1;
        golden[16..32].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 1]);
        golden[32] = 9;
        golden[40] = 3;
        golden[48] = 5;
        golden[56..64].copy_from_slice(&[0xf9, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
        golden[64..71].copy_from_slice(b"\x06view-1");
        let crc = crc32fast::hash(&golden[..252]);
        golden[252..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(head().encode().as_slice(), golden);
        assert_eq!(SegmentHead::decode(&golden).unwrap(), (head(), crc));
    }

    #[test]
    fn damage_and_the_future_are_found() {
        let bytes = head().encode();
        for at in 0..SEGMENT_HEAD {
            let mut damaged = bytes;
            damaged[at] ^= 4;
            assert!(SegmentHead::decode(&damaged).is_err(), "byte {at}");
        }
        assert!(SegmentHead::decode(&bytes[..255]).is_err());
        let mut future = bytes;
        future[8] = 2;
        let refused = SegmentHead::decode(&future);
        assert!(matches!(refused, Err(Malformed::Future { found: 2, known: 1, .. })));
    }
}
