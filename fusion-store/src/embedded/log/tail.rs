//! The tail: the segment that is appended to.
//!
//! Owned by the writer thread. Writes what has gathered, syncs once, and says how far it is durable.
//! A file is lengthened by zeros ahead of small writes, because a write within a file that is there
//! syncs many times faster than one that lengthens it. After any error the file is left as it is and
//! never written again. Must never: say that something is durable before a sync that followed it.

use std::io;
use std::sync::Arc;

use super::frame::{FRAME_HEAD, FrameHead, FrameKind, FrameReader};
use super::queue::Gathered;
use super::segment::{SEGMENT_HEAD, Segment};
use crate::disk::{Access, Disk, DiskFile};
use crate::error::{Malformed, StoreError};
use crate::ports::LogPoint;

/// A file is lengthened by this much ahead of writes that are smaller than a quarter of it.
const AHEAD: u64 = 1 << 20;
/// And in pieces of this. The page cache keeps what one write brought in one folio, and what is written
/// later into a corner of a folio makes all of it dirty again: with pieces of a MiB the kernel counts
/// (and may write) seventy times the bytes of small writes, with pages 1.3 times.
const PAGE: u64 = 4096;

/// The segment that is appended to.
#[derive(Debug)]
pub(super) struct Tail {
    pub(super) segment: Arc<Segment>,
    file: Arc<dyn DiskFile>,
    /// Where the next frame goes.
    at: u64,
    /// All before was synced.
    synced: u64,
    /// The file has so many bytes.
    length: u64,
    /// The place after the last frame.
    pub(super) point: LogPoint,
    /// The time of the last record.
    pub(super) last_at: i64,
}

/// What was found at the end of a log.
pub(super) struct Found {
    pub(super) tail: Tail,
    /// What was torn, in words.
    pub(super) cut: Option<String>,
    /// Whole frames lie beyond the end, so it cannot be appended to: they would come back.
    pub(super) dirty: bool,
}

impl Tail {
    /// A segment that was just made.
    pub(super) fn new(segment: Segment, file: Arc<dyn DiskFile>) -> Result<Self, StoreError> {
        let length = file.length().map_err(StoreError::io("read", &segment.path))?;
        let (point, last_at) = (segment.head.base, segment.head.base_at);
        let at = SEGMENT_HEAD as u64;
        Ok(Self { segment: Arc::new(segment), file, at, synced: at, length, point, last_at })
    }

    /// Finds the end of the last segment.
    pub(super) fn find(disk: &dyn Disk, segment: Segment) -> Result<Found, StoreError> {
        let path = segment.path.clone();
        let io = || StoreError::io("read", &path);
        let file = disk.open(&path, Access::Write).map_err(io())?;
        let mut tail = Self::new(segment, Arc::clone(&file))?;
        let mut reader = FrameReader::new(file, tail.segment.seed, tail.at);
        while let Some((head, _)) = reader.next().map_err(io())? {
            tail.follow(&head, reader.at())?;
        }
        let torn = reader.torn_head().map_err(io())?;
        let torn = torn.filter(|head| head.point.record == tail.point.record + 1);
        let later = reader.find_later(tail.point.record).map_err(io())?;
        if later.is_some_and(|later| later.durable > tail.at) {
            let why = Malformed::Broken("a frame is damaged that was durable");
            return Err(StoreError::corrupt(path.display(), tail.at)(why));
        }
        let dirty = later.is_some();
        // A process that was killed leaves frames that only the kernel has: they count from here on.
        tail.file.sync().map_err(StoreError::io("sync", &path))?;
        let cut = (torn.is_some() || dirty).then(|| {
            let what = format!("`{}` at byte {}", path.display(), tail.at);
            format!("{what}: what follows {} was not written whole", tail.point)
        });
        Ok(Found { tail, cut, dirty })
    }

    /// Takes a frame that was read into account.
    fn follow(&mut self, head: &FrameHead, end: u64) -> Result<(), StoreError> {
        let follows = match head.kind {
            FrameKind::Record => head.point.record == self.point.record + 1,
            FrameKind::Seal => head.point.record == self.point.record,
        };
        if !follows || head.point.revision < self.point.revision {
            let why = Malformed::Broken("a frame does not follow the one before");
            return Err(StoreError::corrupt(self.segment.path.display(), self.at)(why));
        }
        (self.point, self.at, self.synced) = (head.point, end, end);
        if head.kind == FrameKind::Record {
            self.last_at = head.at;
        }
        Ok(())
    }

    /// How many bytes of frames it holds.
    pub(super) fn bytes(&self) -> u64 {
        self.at - SEGMENT_HEAD as u64
    }

    /// Bytes that the file takes.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Writes and syncs as many of the gathered records as fit into a segment of this size, at
    /// least one. Those are gone from `gathered` on return.
    pub(super) fn write(&mut self, gathered: &mut Gathered, size: u64) -> Result<(), StoreError> {
        let (mut bytes, mut count) = (0, 0);
        for mark in gathered.marks() {
            if bytes > 0 && self.at + (bytes + mark.bytes) as u64 > size {
                break;
            }
            bytes += mark.bytes;
            count += 1;
        }
        let mut start = 0;
        let Some(last) = gathered.marks().get(..count).and_then(|marks| marks.last()).copied()
        else {
            return Ok(());
        };
        for number in 0..count {
            let mark = gathered.marks()[number];
            let head = FrameHead {
                kind: FrameKind::Record,
                length: mark.bytes - FRAME_HEAD,
                point: mark.point,
                at: mark.at,
                durable: self.synced,
            };
            head.seal(&mut gathered.bytes_mut()[start..start + mark.bytes], self.segment.seed);
            start += mark.bytes;
        }
        self.put(&gathered.bytes_mut()[..bytes], size)?;
        (self.point, self.last_at) = (last.point, last.at);
        gathered.drop_front(count, bytes);
        Ok(())
    }

    /// Writes that all before is durable.
    pub(super) fn seal(&mut self) -> Result<(), StoreError> {
        let mut frame = [0; FRAME_HEAD];
        let head = FrameHead {
            kind: FrameKind::Seal,
            length: 0,
            point: self.point,
            at: self.last_at,
            durable: self.synced,
        };
        head.seal(&mut frame, self.segment.seed);
        self.put(&frame, u64::MAX)
    }

    fn put(&mut self, bytes: &[u8], size: u64) -> Result<(), StoreError> {
        let (path, end) = (&self.segment.path, self.at + bytes.len() as u64);
        let ahead = (end + AHEAD).min(size);
        let is_ahead = end > self.length && (bytes.len() as u64) < AHEAD / 4 && ahead > end;
        let mut written = self.file.write_at(bytes, self.at);
        let mut length = end;
        if is_ahead {
            let longer = written.and_then(|()| lengthen(&*self.file, end, ahead));
            written = longer.map(|longer| length = longer);
        }
        written.map_err(StoreError::io("append to", path))?;
        self.file.sync().map_err(StoreError::io("sync", path))?;
        self.length = self.length.max(length);
        (self.at, self.synced) = (end, end);
        Ok(())
    }
}

/// Writes zeros from one place to another, or as far as there is room: without them what is written
/// next is slower. How far.
fn lengthen(file: &dyn DiskFile, from: u64, to: u64) -> io::Result<u64> {
    let zeros = [0; PAGE as usize];
    let mut at = from;
    while at < to {
        let next = ((at / PAGE + 1) * PAGE).min(to);
        match file.write_at(&zeros[..(next - at) as usize], at) {
            Ok(()) => at = next,
            Err(error) if is_full(&error) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(at)
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
