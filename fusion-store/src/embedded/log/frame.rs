//! Frames: what a segment of the log consists of, format 1. All numbers are little-endian.
//!
//! | bytes | what |
//! |---|---|
//! | 4 | `FrC1` |
//! | 4 | CRC-32 (IEEE) of all that follows, begun with the one of the segment's header |
//! | 4 | length of the payload |
//! | 4 | kind: 1 a record, 2 a seal: all before it was durable when it was written |
//! | 8, 8 | record and revision of the place after it |
//! | 8 | time of the record, nanoseconds since 1970 |
//! | 8 | how many bytes of the segment were durable when it was written |
//! | … | payload: a record (see `codec`) |
//!
//! The checksum begins with that of the segment's header, so a frame that an earlier life of a
//! recycled file left behind is none. By how much was durable before, what is damaged at the end can
//! be told: torn, and never acknowledged, or corrupt.

use std::io;
use std::sync::Arc;

use fusion_core::id::Revision;

use crate::disk::DiskFile;
use crate::ports::LogPoint;

/// Bytes before the payload.
pub(super) const FRAME_HEAD: usize = 48;
/// Largest payload.
pub(super) const PAYLOAD_MAX: usize = 1 << 30;
pub(super) const MAGIC: &[u8; 4] = b"FrC1";
/// How much is read at a time.
const READ: usize = 1 << 20;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FrameKind {
    Record = 1,
    Seal = 2,
}

/// A frame without its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FrameHead {
    pub(super) kind: FrameKind,
    pub(super) length: usize,
    pub(super) point: LogPoint,
    pub(super) at: i64,
    pub(super) durable: u64,
}

impl FrameHead {
    /// Bytes of the whole frame.
    pub(super) fn bytes(&self) -> usize {
        FRAME_HEAD + self.length
    }

    /// Writes it before its payload, which is in place.
    pub(super) fn seal(&self, frame: &mut [u8], seed: u32) {
        frame[..4].copy_from_slice(MAGIC);
        frame[8..12].copy_from_slice(&(self.length as u32).to_le_bytes());
        frame[12..16].copy_from_slice(&(self.kind as u32).to_le_bytes());
        frame[16..24].copy_from_slice(&self.point.record.to_le_bytes());
        frame[24..32].copy_from_slice(&self.point.revision.0.to_le_bytes());
        frame[32..40].copy_from_slice(&self.at.to_le_bytes());
        frame[40..48].copy_from_slice(&self.durable.to_le_bytes());
        let crc = checksum(seed, &frame[8..]);
        frame[4..8].copy_from_slice(&crc.to_le_bytes());
    }

    /// Reads it; `None` if no frame begins so. The checksum is for [`FrameHead::verify`].
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let head = bytes.first_chunk::<FRAME_HEAD>()?;
        let word = |at: usize| head[at..].first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
        let long = |at: usize| head[at..].first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
        let kind = match word(12)? {
            1 => FrameKind::Record,
            2 => FrameKind::Seal,
            _ => return None,
        };
        let length = word(8)? as usize;
        let point = LogPoint { record: long(16)?, revision: Revision(long(24)?) };
        let frame = Self { kind, length, point, at: long(32)? as i64, durable: long(40)? };
        (head.starts_with(MAGIC) && length <= PAYLOAD_MAX).then_some(frame)
    }

    /// Whether the checksum of a whole frame is right.
    pub(super) fn verify(frame: &[u8], seed: u32) -> bool {
        let crc = frame.get(4..8).and_then(|crc| crc.first_chunk());
        frame.len() >= FRAME_HEAD
            && crc.is_some_and(|crc| u32::from_le_bytes(*crc) == checksum(seed, &frame[8..]))
    }
}

pub(super) fn checksum(seed: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(seed);
    hasher.update(bytes);
    hasher.finalize()
}

/// Reads the frames of a segment one after the other.
#[derive(Debug)]
pub(super) struct FrameReader {
    file: Arc<dyn DiskFile>,
    seed: u32,
    /// Where the next frame begins.
    at: u64,
    buffer: Vec<u8>,
    /// Where in the file the buffer begins.
    buffer_at: u64,
}

impl FrameReader {
    pub(super) fn new(file: Arc<dyn DiskFile>, seed: u32, at: u64) -> Self {
        Self { file, seed, at, buffer: Vec::new(), buffer_at: at }
    }

    /// Where the next frame begins.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// The next frame and its payload; `None` if none that is whole begins here.
    pub(super) fn next(&mut self) -> io::Result<Option<(FrameHead, &[u8])>> {
        let Some(head) = FrameHead::parse(self.window(FRAME_HEAD)?) else { return Ok(None) };
        let seed = self.seed;
        let bytes = head.bytes();
        if self.window(bytes)?.len() < bytes || !FrameHead::verify(self.window(bytes)?, seed) {
            return Ok(None);
        }
        let start = (self.at - self.buffer_at) as usize;
        self.at += bytes as u64;
        Ok(Some((head, &self.buffer[start + FRAME_HEAD..start + bytes])))
    }

    /// What begins here, whether or not it is whole.
    pub(super) fn torn_head(&mut self) -> io::Result<Option<FrameHead>> {
        Ok(FrameHead::parse(self.window(FRAME_HEAD)?))
    }

    /// The first whole frame that begins after here and belongs to a record after this number.
    pub(super) fn find_later(&mut self, record: u64) -> io::Result<Option<FrameHead>> {
        loop {
            self.at += 1;
            let window = self.window(READ)?;
            if window.len() < FRAME_HEAD {
                return Ok(None);
            }
            let found = window.windows(MAGIC.len()).position(|four| four == MAGIC);
            let Some(offset) = found else {
                self.at += (window.len() - MAGIC.len()) as u64;
                continue;
            };
            self.at += offset as u64;
            let Some(head) = FrameHead::parse(self.window(FRAME_HEAD)?) else { continue };
            let seed = self.seed;
            let is_later = head.point.record > record;
            if is_later && FrameHead::verify(self.window(head.bytes())?, seed) {
                return Ok(Some(head));
            }
        }
    }

    /// So many bytes from here, or all that there are.
    fn window(&mut self, bytes: usize) -> io::Result<&[u8]> {
        let start = (self.at - self.buffer_at) as usize;
        if start > self.buffer.len() || self.buffer.len() - start < bytes {
            self.buffer.drain(..start.min(self.buffer.len()));
            self.buffer_at = self.at;
            let kept = self.buffer.len();
            let wanted = bytes.max(READ);
            self.buffer.resize(wanted.max(kept), 0);
            let read = self.file.read_at(&mut self.buffer[kept..], self.at + kept as u64)?;
            self.buffer.truncate(kept + read);
        }
        let start = (self.at - self.buffer_at) as usize;
        Ok(&self.buffer[start..self.buffer.len().min(start + bytes)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: u32 = 0x0102_0304;

    /// A frame as format 1 has it: its fields are 1 to 5 in order, the kind excepted.
    fn golden(kind: u8, payload: &[u8]) -> Vec<u8> {
        let mut golden = vec![0; FRAME_HEAD];
        golden[..4].copy_from_slice(b"FrC1");
        (golden[8], golden[12]) = (payload.len() as u8, kind);
        (golden[16], golden[24], golden[32], golden[40]) = (2, 3, 4, 5);
        golden.extend_from_slice(payload);
        let mut crc = crc32fast::Hasher::new_with_initial(SEED);
        crc.update(&golden[8..]);
        golden[4..8].copy_from_slice(&crc.finalize().to_le_bytes());
        golden
    }

    /// The stored format of version 1. Other bytes are another version.
    #[test]
    fn version_1_is_as_it_was() {
        for (number, kind, payload) in
            [(1, FrameKind::Record, &b"payload"[..]), (2, FrameKind::Seal, b"")]
        {
            let point = LogPoint { record: 2, revision: Revision(3) };
            let head = FrameHead { kind, length: payload.len(), point, at: 4, durable: 5 };
            let mut frame = [&[0; FRAME_HEAD][..], payload].concat();
            head.seal(&mut frame, SEED);
            assert_eq!(frame, golden(number, payload));
            assert_eq!(FrameHead::parse(&frame), Some(head));
            assert!(FrameHead::verify(&frame, SEED));
        }
    }

    /// A frame has no version of its own: its first bytes and its kind are those of its format. What
    /// a later one writes is a segment of a later version, which is refused as such.
    #[test]
    fn damage_and_what_is_no_frame_are_found() {
        let frame = golden(1, b"payload");
        for at in 0..frame.len() {
            let mut damaged = frame.clone();
            damaged[at] ^= 1;
            let is_told = FrameHead::parse(&damaged).is_none_or(|head| head.bytes() > frame.len());
            assert!(is_told || !FrameHead::verify(&damaged, SEED), "byte {at}");
        }
        assert!(!FrameHead::verify(&frame, SEED + 1), "of an earlier life of the file");
        assert_eq!(FrameHead::parse(&golden(3, b"")), None);
        assert_eq!(FrameHead::parse(&frame[..FRAME_HEAD - 1]), None);
    }
}
