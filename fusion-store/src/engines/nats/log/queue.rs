//! What waits to be sent: between the thread of a view, which appends, and the task that writes.
//!
//! Owns the end of the log as the view knows it, and what messages are cut of what waits: as many
//! records as fit into one, so that many small ones cost one sync; a large one in pieces. Must
//! never: let the order change, hold more than the bound, or cut what was cut again otherwise.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use fusion_core::change::Change;
use tokio::sync::Notify;
use uuid::Uuid;

use super::message::{HEAD, Head, Part, put_record};
use crate::codec::Encoder;
use crate::error::StoreError;
use crate::ports::{LogPoint, RecordHead, ViewId};

/// Bytes that may wait while the engine does not keep up, or is away.
const WAITING_MAX: usize = 64 << 20;
/// Largest record.
const RECORD_MAX: usize = 1 << 30;

/// A record that waits.
#[derive(Debug)]
struct Record {
    bytes: Vec<u8>,
    point: LogPoint,
    at: i64,
}

/// A message with the number that it must have in the stream.
#[derive(Debug, Clone)]
pub(super) struct Outgoing {
    pub(super) sequence: u64,
    pub(super) head: Head,
    pub(super) payload: Bytes,
    /// Bytes of what waited that are in it.
    pub(super) waited: usize,
}

#[derive(Debug)]
struct Waiting {
    encoder: Encoder,
    records: VecDeque<Record>,
    /// Bytes that are not acknowledged, whether sent or not.
    bytes: usize,
    end: LogPoint,
    closed: Option<StoreError>,
}

/// What waits to be sent.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    /// Told when there is more, and when the log closes.
    pub(super) changed: Notify,
}

impl Queue {
    pub(super) fn new(end: LogPoint) -> Self {
        let waiting = Waiting {
            encoder: Encoder::default(),
            records: VecDeque::new(),
            bytes: 0,
            end,
            closed: None,
        };
        Self { waiting: Mutex::new(waiting), changed: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The end of the log, and how many bytes wait.
    pub(super) fn end(&self) -> (LogPoint, usize) {
        let waiting = self.lock();
        (waiting.end, waiting.bytes)
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
        if let Some(why) = &waiting.closed {
            return Err(why.clone());
        }
        if after != waiting.end {
            return Err(StoreError::NotNext { view, after, end: waiting.end });
        }
        if waiting.bytes > WAITING_MAX {
            return Err(StoreError::Behind { view, bytes: waiting.bytes });
        }
        let mut bytes = Vec::new();
        let point = waiting.encoder.encode(after, head, changes, &mut bytes)?;
        if bytes.len() > RECORD_MAX {
            let why = format!("it takes {} bytes, {RECORD_MAX} are allowed", bytes.len());
            return Err(StoreError::Refused { what: "a record", why });
        }
        waiting.bytes += bytes.len();
        waiting.end = point;
        waiting.records.push_back(Record { bytes, point, at: head.at.as_nanos() });
        drop(waiting);
        self.changed.notify_one();
        Ok(point)
    }

    /// So many bytes of what waited are stored.
    pub(super) fn stored(&self, bytes: usize) {
        self.lock().bytes -= bytes;
    }

    /// Nothing more is appended, and whoever tries is told why. What waits is sent still.
    pub(super) fn close(&self, why: StoreError) {
        self.lock().closed.get_or_insert(why);
        self.changed.notify_one();
    }

    /// Why nothing more is appended, if that is so.
    pub(super) fn closed(&self) -> Option<StoreError> {
        self.lock().closed.clone()
    }

    /// Takes records that fit into one message, or one record that does not.
    fn take(&self, room: usize) -> Vec<Record> {
        let mut waiting = self.lock();
        let mut size = 0;
        let fits = |record: &&Record| {
            size += record.bytes.len() + 4;
            size <= room
        };
        let count = waiting.records.iter().take_while(fits).count();
        let count = count.max(1).min(waiting.records.len());
        waiting.records.drain(..count).collect()
    }
}

/// Makes messages of what waits.
#[derive(Debug)]
pub(super) struct Cutter {
    pub(super) view: ViewId,
    pub(super) writer: Uuid,
    /// The number of the next message.
    pub(super) sequence: u64,
    /// The place before it.
    pub(super) point: LogPoint,
    /// Bytes of the log before it.
    pub(super) offset: u64,
}

impl Cutter {
    /// The next messages: one, or all pieces of one record. None if nothing waits.
    pub(super) fn cut(&mut self, queue: &Queue, bytes: usize) -> Vec<Outgoing> {
        let room = bytes - HEAD;
        let records = queue.take(room);
        let Some(last) = records.last() else { return Vec::new() };
        let (point, at) = (last.point, last.at);
        if let [large] = &*records
            && large.bytes.len() + 4 > room
        {
            return self.pieces(large, room);
        }
        let waited: usize = records.iter().map(|record| record.bytes.len()).sum();
        let mut message = Vec::with_capacity(HEAD + waited + 4 * records.len());
        message.resize(HEAD, 0);
        records.iter().for_each(|record| put_record(&mut message, &record.bytes));
        vec![self.seal(message, Part::Whole, point, at, waited)]
    }

    fn pieces(&mut self, record: &Record, room: usize) -> Vec<Outgoing> {
        let pieces: Vec<_> = record.bytes.chunks(room).collect();
        let last = pieces.len() - 1;
        let seal = |(number, piece): (usize, &&[u8])| {
            let message = [&[0; HEAD][..], piece].concat();
            let (part, point) = if number == last {
                (Part::Last(number as u32), record.point)
            } else {
                (Part::Piece(number as u32), self.point)
            };
            self.seal(message, part, point, record.at, piece.len())
        };
        pieces.iter().enumerate().map(seal).collect()
    }

    fn seal(
        &mut self,
        mut message: Vec<u8>,
        part: Part,
        after: LogPoint,
        at: i64,
        waited: usize,
    ) -> Outgoing {
        let (view, writer, before, offset) = (self.view, self.writer, self.point, self.offset);
        let head = Head { part, view, writer, before, after, at, offset };
        head.seal(&mut message);
        let outgoing = Outgoing { sequence: self.sequence, head, payload: message.into(), waited };
        self.sequence += 1;
        self.point = after;
        self.offset += outgoing.payload.len() as u64;
        outgoing
    }
}

#[cfg(test)]
mod tests {
    use fusion_core::id::Revision;

    use super::super::message::take_record;
    use super::*;
    use crate::codec;
    use crate::sample;

    fn cutter(view: ViewId) -> Cutter {
        let (writer, point) = (Uuid::nil(), LogPoint::default());
        Cutter { view, writer, sequence: 1, point, offset: 0 }
    }

    /// What comes out of the messages, put together as a reader does, is what was appended.
    #[test]
    fn records_are_joined_or_cut_and_nothing_is_lost() {
        let view = sample::view(1).id;
        for bytes in [HEAD + 64, HEAD + 700, HEAD + 100_000] {
            let (queue, mut cutter) = (Queue::new(LogPoint::default()), cutter(view));
            let mut after = LogPoint::default();
            let sizes = [1, 0, 40, 2, 0, 0, 7, 300, 1];
            for size in sizes {
                let changes = sample::batch(after, size);
                after = queue.append(view, after, &sample::full_head(), &changes).unwrap();
            }
            let (mut sent, mut record, mut read) = (Vec::new(), Vec::new(), Vec::new());
            loop {
                let cut = cutter.cut(&queue, bytes);
                if cut.is_empty() {
                    break;
                }
                sent.extend(cut);
            }
            let mut point = LogPoint::default();
            for (number, message) in sent.iter().enumerate() {
                assert_eq!(message.sequence, number as u64 + 1);
                assert!(message.payload.len() <= bytes && message.head.before == point);
                point = message.head.after;
                let mut body = message.payload.slice(HEAD..);
                match message.head.part {
                    Part::Whole => {
                        while let Some(bytes) = take_record(&mut body).unwrap() {
                            read.push(codec::decode(&bytes).unwrap());
                        }
                    }
                    Part::Piece(_) => record.extend_from_slice(&body),
                    Part::Last(_) => {
                        record.extend_from_slice(&body);
                        read.push(codec::decode(&std::mem::take(&mut record)).unwrap());
                    }
                }
                queue.stored(message.waited);
            }
            assert_eq!(read.iter().map(|record| record.width()).collect::<Vec<_>>(), sizes);
            assert_eq!((read.last().unwrap().point, queue.end()), (after, (after, 0)));
            assert_eq!(point.revision, Revision(351));
        }
    }

    #[test]
    fn what_waits_has_a_bound() {
        let view = sample::view(1).id;
        let queue = Queue::new(LogPoint::default());
        let mut after = LogPoint::default();
        let behind = loop {
            let changes = sample::batch(after, 20_000);
            match queue.append(view, after, &sample::full_head(), &changes) {
                Ok(point) => after = point,
                Err(error) => break error,
            }
        };
        assert!(matches!(behind, StoreError::Behind { bytes, .. } if bytes < 2 * WAITING_MAX));
        queue.close(StoreError::Closed);
        let closed = queue.append(view, after, &sample::full_head(), &[]);
        assert!(matches!(closed, Err(StoreError::Closed)));
    }
}
