//! Reading the log of a view: from any place, beside the writer, up to where it ended when reading
//! began.
//!
//! Messages come in batches of a bounded size, from whoever of the engine is near. One that lags
//! behind is asked again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fusion_core::id::Revision;

use super::message::{Message, Part, take_record};
use super::view::{Bounds, Shared};
use crate::codec;
use crate::engines::nats::Nats;
use crate::error::{Malformed, StoreError};
use crate::ports::{LogPoint, Skip, StoredRecord};

/// Messages and bytes of a batch; it goes beyond the bytes by one message at most.
const BATCH: (usize, usize) = (256, 4 << 20);
/// The wait before somebody is asked again who has not got a message yet, and how often that is done.
const AGAIN: (Duration, u32) = (Duration::from_millis(10), 500);

/// Reads records.
#[derive(Debug)]
pub(super) struct LogReader {
    nats: Arc<Nats>,
    log: Arc<Shared>,
    skip: Skip,
    /// The number of the next message that is asked for, and of the last one.
    next: u64,
    last: u64,
    batch: VecDeque<Message>,
    /// Whole records that are left of the current message.
    body: Bytes,
    /// Pieces of a record so far.
    pieces: Option<Pieces>,
    /// The place after the last record; unknown before the first message.
    point: Option<LogPoint>,
    /// The number of the current message.
    sequence: u64,
    failed: bool,
}

#[derive(Debug)]
struct Pieces {
    next: u32,
    writer: uuid::Uuid,
    bytes: Vec<u8>,
}

impl LogReader {
    /// Reads from a message on that begins a record.
    pub(super) fn new(
        nats: Arc<Nats>,
        log: Arc<Shared>,
        skip: Skip,
        first: u64,
        bounds: Bounds,
    ) -> Self {
        Self {
            nats,
            log,
            skip,
            next: first,
            last: bounds.last,
            batch: VecDeque::new(),
            body: Bytes::new(),
            pieces: None,
            point: None,
            sequence: first,
            failed: false,
        }
    }

    /// The number of the last message that is read.
    pub(super) fn through(&self) -> u64 {
        self.last
    }

    /// There is more: reading goes on up to this message.
    pub(super) fn go_on(&mut self, last: u64) {
        self.last = self.last.max(last);
    }

    fn read(&mut self) -> Result<Option<StoredRecord>, StoreError> {
        loop {
            let record =
                match take_record(&mut self.body).map_err(self.log.corrupt(self.sequence))? {
                    Some(record) => record,
                    None => match self.message()? {
                        Some(message) => match self.enter(message)? {
                            Some(record) => record,
                            None => continue,
                        },
                        None => return Ok(None),
                    },
                };
            let corrupt = |why| self.log.corrupt(self.sequence)(why);
            let record = codec::decode(&record).map_err(corrupt)?;
            let before = LogPoint {
                record: record.point.record.wrapping_sub(1),
                revision: Revision(record.first().0.wrapping_sub(1)),
            };
            if self.point.replace(record.point) != Some(before) {
                return Err(corrupt(Malformed::Broken(
                    "a record is missing, or not where it says",
                )));
            }
            if self.skip.takes(record.point) {
                return Ok(Some(record));
            }
        }
    }

    /// Begins with a message: a record that it completes, if it does; whole ones are taken next.
    fn enter(&mut self, message: Message) -> Result<Option<Bytes>, StoreError> {
        self.sequence = message.sequence;
        let corrupt = |why| self.log.corrupt(message.sequence)(Malformed::Broken(why));
        if *self.point.get_or_insert(message.head.before) != message.head.before {
            return Err(corrupt("what comes before it is missing"));
        }
        let (number, is_last) = match message.head.part {
            // A record of which pieces came and nothing after them does not count.
            Part::Whole => {
                self.pieces = None;
                self.body = message.body();
                return Ok(None);
            }
            Part::Piece(number) => (number, false),
            Part::Last(number) => (number, true),
        };
        if number == 0 {
            let writer = message.head.writer;
            self.pieces = Some(Pieces { next: 0, writer, bytes: Vec::new() });
        }
        let pieces = self
            .pieces
            .as_mut()
            .filter(|pieces| pieces.next == number && pieces.writer == message.head.writer);
        let pieces = pieces.ok_or_else(|| corrupt("a piece of a record is missing before it"))?;
        pieces.next += 1;
        pieces.bytes.extend_from_slice(&message.body());
        Ok(if is_last { self.pieces.take().map(|pieces| pieces.bytes.into()) } else { None })
    }

    fn message(&mut self) -> Result<Option<Message>, StoreError> {
        if self.batch.is_empty() && self.next <= self.last {
            let (log, from) = (Arc::clone(&self.log), self.next);
            // The batch may ask again, each time within the limit of a call.
            let limit = self.nats.settings.timeout * 2 + AGAIN.0 * AGAIN.1;
            let batch =
                self.nats.bridge.run("read from", limit, async move { batch(&log, from).await })?;
            // What came since is read when reading goes on.
            self.batch =
                batch.into_iter().filter(|message| message.sequence <= self.last).collect();
            self.next += self.batch.len() as u64;
        }
        Ok(self.batch.pop_front())
    }
}

/// The next messages from a number on, without a hole; at least one.
async fn batch(log: &Shared, from: u64) -> Result<Vec<Message>, StoreError> {
    for _ in 0..AGAIN.1 {
        let stored = log.stream.batch(from, BATCH.0, BATCH.1, None).await?;
        let mut messages: Vec<Message> = Vec::with_capacity(stored.len());
        for (number, stored) in (from..).zip(stored) {
            if stored.sequence != number {
                return Err(hole(log, number).await?);
            }
            let message = Message::of(number, stored.payload, log.view.id);
            messages.push(message.map_err(log.corrupt(number))?);
        }
        if !messages.is_empty() {
            return Ok(messages);
        }
        tokio::time::sleep(AGAIN.0).await;
    }
    Err(log.stream.odd("read from", "it does not give out a message that it has"))
}

/// Why a message is not there.
async fn hole(log: &Shared, sequence: u64) -> Result<StoreError, StoreError> {
    // Its place is told if it was trimmed; what else is gone was removed by somebody.
    log.message(sequence).await?;
    let why = Malformed::Broken("messages come out of order");
    Ok(log.corrupt(sequence)(why))
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
