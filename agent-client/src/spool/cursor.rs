//! The cursor: up to which sequence everything is acknowledged.
//!
//! Written in place and not synced: if the machine stops, an older value only means that frames are
//! offered again which the server already has. A value that cannot be read counts as 0; one of a later
//! format is refused.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use fusion_core::id::SpoolId;

use super::SpoolError;
use super::error::must_be_known;

const NAME: &str = "cursor";
const MAGIC: &[u8; 8] = b"FUSNCUR1";
/// Magic, spool id, acknowledged, CRC-32.
const BYTES: usize = 36;

/// An open cursor.
pub(super) struct Cursor {
    file: File,
    spool: SpoolId,
    acknowledged: u64,
    is_known: bool,
}

impl Cursor {
    /// Reads the cursor of this spool; begins at 0 if there is none, or that of another spool.
    pub(super) fn load(dir: &Path, spool: SpoolId) -> Result<Self, SpoolError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let path = dir.join(NAME);
        let file = options.open(&path).map_err(SpoolError::io("open the cursor"))?;
        let mut cursor = Self { file, spool, acknowledged: 0, is_known: true };
        let mut bytes = [0; BYTES];
        let read = cursor.file.read_exact_at(&mut bytes, 0);
        must_be_known("the cursor of the spool", &path, MAGIC, &bytes)?;
        match read {
            Ok(()) if bytes[..24] == encode(spool, 0)[..24] => match decode(&bytes, spool) {
                Some(acknowledged) => cursor.acknowledged = acknowledged,
                None => cursor.is_known = false,
            },
            _ => cursor.set(0)?,
        }
        Ok(cursor)
    }

    /// Whether it could be read; if not, it stands at 0 and says nothing.
    pub(super) fn is_known(&self) -> bool {
        self.is_known
    }

    /// Takes another value for as long as it is open, and does not write it.
    pub(super) fn believe(&mut self, acknowledged: u64) {
        self.acknowledged = acknowledged;
    }

    /// Up to which sequence everything is acknowledged; 0 for nothing.
    pub(super) fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Moves it on; in memory in any case.
    pub(super) fn set(&mut self, acknowledged: u64) -> Result<(), SpoolError> {
        self.acknowledged = acknowledged;
        let written = self.file.write_all_at(&encode(self.spool, acknowledged), 0);
        written.map_err(SpoolError::io("write the cursor"))
    }

    /// Makes it survive the machine.
    pub(super) fn sync(&self) -> Result<(), SpoolError> {
        self.file.sync_data().map_err(SpoolError::io("sync the cursor"))
    }
}

fn encode(spool: SpoolId, acknowledged: u64) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..24].copy_from_slice(spool.uuid().as_bytes());
    bytes[24..32].copy_from_slice(&acknowledged.to_le_bytes());
    let crc = crc32fast::hash(&bytes[..32]).to_le_bytes();
    bytes[32..].copy_from_slice(&crc);
    bytes
}

fn decode(bytes: &[u8; BYTES], spool: SpoolId) -> Option<u64> {
    let acknowledged = u64::from_le_bytes(*bytes[24..].first_chunk()?);
    (*bytes == encode(spool, acknowledged)).then_some(acknowledged)
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    /// The stored format of version 1. Other bytes are another version.
    #[test]
    fn version_1_is_as_it_was() {
        let spool = SpoolId::new(Uuid::from_u64_pair(1, 2));
        let mut golden = b"FUSNCUR1\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02".to_vec();
        golden.extend_from_slice(b"\x05\x04\0\0\0\0\0\0");
        golden.extend_from_slice(&crc32fast::hash(&golden).to_le_bytes());
        assert_eq!(encode(spool, 0x0405).as_slice(), golden);
        assert_eq!(decode(golden.first_chunk().unwrap(), spool), Some(0x0405));
    }
}
