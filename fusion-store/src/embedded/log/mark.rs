//! The mark: how far the log went when it was closed last.
//!
//! A segment that was cut off by somebody looks like one that ends there; the mark tells it from
//! one. 28 bytes: `FUSNEND1`, record, revision, CRC-32; the digit is its version. Written beside and
//! renamed, so it is whole.

use std::path::Path;

use fusion_core::id::Revision;

use super::frame::checksum;
use crate::disk::{Access, Disk};
use crate::error::{Malformed, StoreError};
use crate::ports::LogPoint;

const NAME: &str = "end";
const NEW: &str = "end.new";
const MAGIC: &[u8; 8] = b"FUSNEND1";
const BYTES: usize = 28;

fn encode(point: LogPoint) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..16].copy_from_slice(&point.record.to_le_bytes());
    bytes[16..24].copy_from_slice(&point.revision.0.to_le_bytes());
    let crc = checksum(0, &bytes[..24]);
    bytes[24..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Result<LogPoint, Malformed> {
    let digit = bytes.strip_prefix(&MAGIC[..7]).and_then(|rest| rest.first());
    if let Some(found) = digit.filter(|digit| digit.is_ascii_digit() && **digit > MAGIC[7]) {
        let (found, known) = (u32::from(found - b'0'), u32::from(MAGIC[7] - b'0'));
        return Err(Malformed::Future { what: "the mark of the log's end", found, known });
    }
    let word = |at: usize| bytes.get(at..)?.first_chunk().map(|b| u64::from_le_bytes(*b));
    let point = word(8).zip(word(16));
    let point = point.map(|(record, revision)| LogPoint { record, revision: Revision(revision) });
    match point {
        Some(point) if bytes == encode(point) => Ok(point),
        _ => Err(Malformed::Broken("the mark of the log's end is damaged")),
    }
}

/// Writes it.
pub(super) fn write(disk: &dyn Disk, dir: &Path, point: LogPoint) -> Result<(), StoreError> {
    let (new, path) = (dir.join(NEW), dir.join(NAME));
    let write = || {
        let file = disk.open(&new, Access::Create)?;
        file.write_at(&encode(point), 0)?;
        file.sync()?;
        disk.rename(&new, &path)?;
        disk.sync_dir(dir)
    };
    write().map_err(StoreError::io("write", &path))
}

/// Reads it; the beginning of the log if there is none.
pub(super) fn read(disk: &dyn Disk, dir: &Path) -> Result<LogPoint, StoreError> {
    let path = dir.join(NAME);
    let mut bytes = [0; BYTES + 1];
    let read = disk.open(&path, Access::Read).and_then(|file| file.read_at(&mut bytes, 0));
    match read {
        Ok(count) => decode(&bytes[..count]).map_err(StoreError::corrupt(path.display(), 0)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(LogPoint::default()),
        Err(error) => Err(StoreError::io("read", &path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The stored format of version 1. Other bytes are another version.
    #[test]
    fn version_1_is_as_it_was() {
        let point = LogPoint { record: 0x0102, revision: Revision(3) };
        let mut golden = b"FUSNEND1\x02\x01\0\0\0\0\0\0\x03\0\0\0\0\0\0\0".to_vec();
        golden.extend_from_slice(&crc32fast::hash(&golden).to_le_bytes());
        assert_eq!(encode(point).as_slice(), golden);
        assert_eq!(decode(&golden), Ok(point));
        for at in 0..BYTES {
            let mut damaged = golden.clone();
            damaged[at] ^= 1;
            assert!(decode(&damaged).is_err() && decode(&golden[..at]).is_err());
        }
        let future = decode(&[b"FUSNEND2", &golden[8..], b"more"].concat());
        assert!(matches!(future, Err(Malformed::Future { found: 2, known: 1, .. })));
    }
}
