//! Reading the log of a view: from any place, beside the writer, what was durable when it began.

use std::io::ErrorKind;
use std::sync::Arc;

use super::frame::{FrameKind, FrameReader};
use super::segment::{SEGMENT_HEAD, Segment};
use super::view::Shared;
use crate::codec;
use crate::disk::Access;
use crate::error::{Malformed, StoreError};
use crate::ports::{LogPoint, Skip, StoredRecord};

/// Reads records. A segment is not recycled while a reader holds it; one that it has not opened yet may
/// be trimmed, and then it ends with `Trimmed`.
#[derive(Debug)]
pub(super) struct LogReader {
    log: Arc<Shared>,
    /// Those that are left, the next one last.
    segments: Vec<Arc<Segment>>,
    current: Option<Current>,
    skip: Skip,
    /// Where reading ends.
    end: LogPoint,
    /// The place after the last record that was read.
    point: LogPoint,
    failed: bool,
}

#[derive(Debug)]
struct Current {
    segment: Arc<Segment>,
    frames: FrameReader,
    /// The place at which the next segment begins: what this one has beyond does not count.
    end: LogPoint,
}

impl LogReader {
    /// Reads these segments, oldest first, up to a place.
    pub(super) fn new(
        log: Arc<Shared>,
        segments: &[Arc<Segment>],
        skip: Skip,
        end: LogPoint,
    ) -> Self {
        // The last segment whose base is not taken holds the first record that is.
        let first = segments.iter().rposition(|segment| !skip.takes(segment.head.base));
        let segments: Vec<_> = segments[first.unwrap_or(0)..].iter().rev().cloned().collect();
        let point = segments.last().map_or(end, |segment| segment.head.base);
        Self { log, segments, current: None, skip, end, point, failed: false }
    }

    fn read(&mut self) -> Result<Option<StoredRecord>, StoreError> {
        while self.point.record < self.end.record {
            let Some(current) = &mut self.current else {
                self.open_next()?;
                continue;
            };
            if self.point.record >= current.end.record {
                self.current = None;
                continue;
            }
            let (path, at) = (&current.segment.path, current.frames.at());
            let corrupt = |why| StoreError::corrupt(path.display(), at)(why);
            let frame = current.frames.next().map_err(StoreError::io("read", path))?;
            let (head, payload) =
                frame.ok_or_else(|| corrupt(Malformed::Broken("a frame is damaged")))?;
            if head.kind == FrameKind::Seal {
                continue;
            }
            if head.point.record != self.point.record + 1 {
                return Err(corrupt(Malformed::Broken("a record is missing")));
            }
            self.point = head.point;
            if self.skip.takes(head.point) {
                let record = codec::decode(payload).map_err(corrupt)?;
                if record.point != head.point {
                    return Err(corrupt(Malformed::Broken("a record is not where it says")));
                }
                return Ok(Some(record));
            }
        }
        Ok(None)
    }

    fn open_next(&mut self) -> Result<(), StoreError> {
        let Some(segment) = self.segments.pop() else {
            let place = self.end.to_string();
            let why = "the log ends before it should".to_owned();
            return Err(StoreError::Corrupt { place, at: 0, why });
        };
        if segment.head.base != self.point {
            let why = Malformed::Broken("a segment is missing before it");
            return Err(StoreError::corrupt(segment.path.display(), 40)(why));
        }
        let file = self.log.disk().open(&segment.path, Access::Read).map_err(|error| {
            let trimmed = Some(error.kind()).filter(|kind| *kind == ErrorKind::NotFound);
            let trimmed = trimmed.and_then(|_| self.log.trimmed_after(self.point));
            trimmed.unwrap_or_else(|| StoreError::io("read", &segment.path)(error))
        })?;
        let frames = FrameReader::new(file, segment.seed, SEGMENT_HEAD as u64);
        let end = self.segments.last().map_or(self.end, |next| next.head.base);
        self.current = Some(Current { segment, frames, end });
        Ok(())
    }
}

impl Iterator for LogReader {
    type Item = Result<StoredRecord, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let record = self.read();
        self.failed = record.is_err();
        record.transpose()
    }
}
