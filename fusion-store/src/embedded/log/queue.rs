//! What waits to be written: between the thread of a view, which appends, and the writer's.
//!
//! Owns the end of the log as the view knows it. Appending encodes into memory and returns; the
//! writer takes all that has gathered at once (group commit). Must never: let the order change, or
//! hold more than the bound.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fusion_core::change::Change;

use super::frame::{FRAME_HEAD, PAYLOAD_MAX};
use crate::codec::Encoder;
use crate::error::StoreError;
use crate::ports::{LogPoint, RecordHead, ViewId};

/// Bytes that may wait while the disk does not keep up, or fails.
const WAITING_MAX: usize = 256 << 20;

/// Memory that is kept for the next batch.
const KEPT: usize = 8 << 20;

/// A record that waits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    /// Bytes of its frame.
    pub(super) bytes: usize,
    pub(super) point: LogPoint,
    pub(super) at: i64,
}

/// Records that were appended and are not written: room for a frame's head before each.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    bytes: Vec<u8>,
    marks: Vec<Mark>,
    /// So many of the bytes and marks are written.
    done: (usize, usize),
}

impl Gathered {
    pub(super) fn marks(&self) -> &[Mark] {
        &self.marks[self.done.1..]
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.done.0..]
    }

    pub(super) fn is_empty(&self) -> bool {
        self.marks().is_empty()
    }

    pub(super) fn drop_front(&mut self, marks: usize, bytes: usize) {
        self.done = (self.done.0 + bytes, self.done.1 + marks);
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(KEPT);
        self.marks.clear();
        self.done = (0, 0);
    }
}

#[derive(Debug)]
struct Waiting {
    gathered: Gathered,
    encoder: Encoder,
    end: LogPoint,
    /// Bytes that the writer has taken and not written.
    in_flight: usize,
    closing: bool,
}

/// What waits to be written.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

impl Queue {
    pub(super) fn new(end: LogPoint) -> Self {
        let waiting = Waiting {
            gathered: Gathered::default(),
            encoder: Encoder::default(),
            end,
            in_flight: 0,
            closing: false,
        };
        Self { waiting: Mutex::new(waiting), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The end of the log, and how many bytes wait.
    pub(super) fn end(&self) -> (LogPoint, usize) {
        let waiting = self.lock();
        (waiting.end, waiting.gathered.bytes.len() + waiting.in_flight)
    }

    /// Adds a record; tells the place after it.
    pub(super) fn append(
        &self,
        view: ViewId,
        after: LogPoint,
        head: &RecordHead,
        changes: &[Change],
    ) -> Result<LogPoint, StoreError> {
        let mut waiting = self.lock();
        let Waiting { gathered, encoder, end, in_flight, closing } = &mut *waiting;
        if *closing {
            return Err(StoreError::Closed);
        }
        if after != *end {
            return Err(StoreError::NotNext { view, after, end: *end });
        }
        let bytes = gathered.bytes.len() + *in_flight;
        if bytes > WAITING_MAX {
            return Err(StoreError::Behind { view, bytes });
        }
        let start = gathered.bytes.len();
        gathered.bytes.resize(start + FRAME_HEAD, 0);
        let encoded = encoder.encode(after, head, changes, &mut gathered.bytes);
        let size = gathered.bytes.len() - start;
        let encoded = encoded.and_then(|point| match size - FRAME_HEAD {
            0..=PAYLOAD_MAX => Ok(point),
            bytes => {
                let why = format!("it takes {bytes} bytes, {PAYLOAD_MAX} are allowed");
                Err(StoreError::Refused { what: "a record", why })
            }
        });
        let point = encoded.inspect_err(|_| gathered.bytes.truncate(start))?;
        gathered.marks.push(Mark { bytes: size, point, at: head.at.as_nanos() });
        *end = point;
        drop(waiting);
        self.changed.notify_one();
        Ok(point)
    }

    /// Waits for records and takes all that have gathered, in exchange for memory that is done with;
    /// `false` when the log closes and nothing is left.
    pub(super) fn take(&self, gathered: &mut Gathered) -> bool {
        gathered.clear();
        let mut waiting = self.lock();
        waiting.in_flight = 0;
        while waiting.gathered.is_empty() && !waiting.closing {
            waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        std::mem::swap(&mut waiting.gathered, gathered);
        waiting.in_flight = gathered.bytes.len();
        !gathered.is_empty()
    }

    /// Waits for a while, or until the log closes; whether it does.
    pub(super) fn pause(&self, span: Duration) -> bool {
        let waiting = self.lock();
        let paused = self.changed.wait_timeout_while(waiting, span, |waiting| !waiting.closing);
        paused.unwrap_or_else(PoisonError::into_inner).0.closing
    }

    /// Nothing more is appended; what waits is written still.
    pub(super) fn close(&self) {
        self.lock().closing = true;
        self.changed.notify_all();
    }
}
