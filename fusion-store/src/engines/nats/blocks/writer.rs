//! Writing a checkpoint: values in messages, some under way at once, and then their index, whose
//! last message is the commit.
//!
//! Each message says its number, and the last one is sent when all before it are known to be there; so if
//! anybody else wrote meanwhile nothing of this counts. When the
//! acknowledgement of the last one is lost, it is read whether it is there. A checkpoint that fails
//! leaves messages that count for nothing; they go with the oldest ones. What was sent to an engine that
//! went away may arrive when it is back: all of it, or what arrived counts for nothing.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use uuid::Uuid;

use super::message::{HEAD, Head, Index, Kind, Part};
use super::view::ViewBlocks;
use crate::embedded::blocks::file::{Entry, IndexOut, Span};
use crate::engines::nats::random;
use crate::error::StoreError;
use crate::ports::{BlockId, CheckpointWriter, LogPoint, ViewRef, check_name};

/// Largest value.
const VALUE_MAX: usize = 1 << 30;
/// Messages under way at most.
const UNDER_WAY: usize = 8;

/// What comes of a message that was sent.
type Acknowledgement = BoxFuture<'static, Result<(), StoreError>>;

/// A checkpoint that is being written.
pub(super) struct Writer {
    blocks: Arc<ViewBlocks>,
    view: ViewRef,
    contains: LogPoint,
    id: Uuid,
    /// The number of the next message.
    next: u64,
    /// The number of the oldest message that is needed with it.
    oldest: u64,
    /// What the checkpoint before contains, as it was when this one was begun.
    before: Option<LogPoint>,
    buffer: Vec<u8>,
    index: IndexOut,
    parts: Vec<Part>,
    under_way: VecDeque<Acknowledgement>,
    /// Bytes of a message at most.
    room: usize,
}

impl Writer {
    /// The caller has the turn to write; it ends when this is dropped.
    pub(super) fn new(
        blocks: Arc<ViewBlocks>,
        view: ViewRef,
        contains: LogPoint,
        next: u64,
        oldest: u64,
    ) -> Result<Self, StoreError> {
        let before = blocks.known().contents.contains.as_ref().map(|(_, contains)| *contains);
        let room = blocks.nats.message_bytes();
        let id = random().inspect_err(|_| blocks.end_writing())?;
        let (parts, under_way) = (Vec::new(), VecDeque::new());
        let (buffer, index) = (vec![0; HEAD], IndexOut::default());
        Ok(Self {
            blocks,
            view,
            contains,
            id,
            next,
            oldest,
            before,
            buffer,
            index,
            parts,
            under_way,
            room,
        })
    }

    /// Messages before this one are not needed any longer; to be said before anything is put.
    pub(super) fn replaces_before(&mut self, oldest: u64) {
        self.oldest = oldest;
    }

    /// Sees that the last checkpoint contains this.
    pub(super) fn follows_what_is_there(&self, last: LogPoint) -> Result<(), StoreError> {
        self.check_follows(Some(last))
    }

    fn check_follows(&self, last: Option<LogPoint>) -> Result<(), StoreError> {
        if self.before == last {
            return Ok(());
        }
        let (view, found) = (self.view.id, self.before);
        Err(StoreError::Overtaken { view, expected: last, found })
    }

    /// Adds a line of another message's index with its value.
    pub(super) fn copy(&mut self, entry: &Entry<'_>, bytes: &[u8]) -> Result<(), StoreError> {
        match entry {
            Entry::Put(id, _) => self.put(*id, bytes),
            Entry::PutNamed(name, _) => self.put_named(name, bytes),
            Entry::Delete(_) | Entry::Clear => Ok(()),
        }
    }

    /// Adds the line of a value and the value, which may go on in other messages.
    fn value<'a>(
        &mut self,
        bytes: &[u8],
        line: impl FnOnce(Span) -> Entry<'a>,
    ) -> Result<(), StoreError> {
        if bytes.len() > VALUE_MAX {
            let why = format!("it has {} bytes, {VALUE_MAX} are allowed", bytes.len());
            return Err(StoreError::Refused { what: "a block", why });
        }
        // What fits into one message is not cut.
        if self.buffer.len() + bytes.len() > self.room && bytes.len() <= self.room - HEAD {
            self.flush()?;
        }
        let at = self.buffer.len() as u64;
        let span = Span { at, bytes: bytes.len() as u32, crc: crc32fast::hash(bytes) };
        self.index.add(line(span));
        // Values of a message begin where its head ends, so what comes after a cut one is in another.
        let is_cut = self.buffer.len() + bytes.len() > self.room;
        let mut rest = bytes;
        loop {
            let (now, later) = rest.split_at(rest.len().min(self.room - self.buffer.len()));
            self.buffer.extend_from_slice(now);
            rest = later;
            match rest.is_empty() {
                true if is_cut => return self.flush(),
                true => return self.flush_if_full(),
                false => self.flush()?,
            }
        }
    }

    /// Sends the message if it has no room for more lines or values.
    fn flush_if_full(&mut self) -> Result<(), StoreError> {
        if self.index.bytes.len() > self.room / 2 || self.buffer.len() >= self.room {
            return self.flush();
        }
        Ok(())
    }

    /// Sends what was gathered.
    fn flush(&mut self) -> Result<(), StoreError> {
        if self.buffer.len() == HEAD && self.index.bytes.is_empty() {
            return Ok(());
        }
        let message = std::mem::replace(&mut self.buffer, vec![0; HEAD]);
        let index = std::mem::take(&mut self.index).bytes;
        self.parts.push(Part { sequence: self.next, stored: message.len() as u64, index });
        let message = self.head(Kind::Values).seal(message);
        self.send(".v", message)
    }

    fn head(&self, kind: Kind) -> Head {
        Head { kind, view: self.view.id, checkpoint: self.id }
    }

    /// Sends a message; waits for the first ones if there are too many under way.
    fn send(&mut self, subject: &str, message: Bytes) -> Result<(), StoreError> {
        let (stream, sequence) = (self.blocks.stream.clone(), self.next);
        let subject = format!("{}{subject}", self.blocks.subject);
        let mut under_way = std::mem::take(&mut self.under_way);
        self.next += 1;
        self.under_way = self.run(async move {
            while under_way.len() >= UNDER_WAY {
                if let Some(first) = under_way.pop_front() {
                    first.await?;
                }
            }
            let sent = stream.publish(&subject, sequence, message).await?;
            let told = async move { stream.acknowledged(sequence, sent).await };
            under_way.push_back(told.boxed());
            Ok(under_way)
        })?;
        Ok(())
    }

    fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let limit = self.blocks.nats.settings.timeout * 2;
        let outcome = self.blocks.nats.bridge.run("write to", limit, work);
        outcome.map_err(|error| self.overtaken().unwrap_or(error))
    }

    /// Whether another checkpoint was committed meanwhile.
    fn overtaken(&self) -> Option<StoreError> {
        let found = self.blocks.look().ok()?.map(|(_, contains)| contains);
        let (view, expected) = (self.view.id, self.before);
        (found != expected).then_some(StoreError::Overtaken { view, expected, found })
    }

    /// Makes all of it count, and ends the turn to write.
    pub(super) fn complete(mut self) -> Result<(), StoreError> {
        self.flush()?;
        let parts = std::mem::take(&mut self.parts);
        let messages = self.indexes(&parts);
        let last = messages.len() - 1;
        let mut stored = 0;
        for (number, index) in messages.into_iter().enumerate() {
            if number == last {
                // Of several under way the first can be refused, and those after it be taken behind
                // somebody else's.
                self.settle().map_err(|error| self.overtaken().unwrap_or(error))?;
            }
            stored = index.len() as u64;
            let message = self.head(Kind::Index(number == last)).seal(index);
            self.send(".i", message)?;
        }
        if let Err(error) = self.settle() {
            return self.is_there(error);
        }
        let contains = (self.view.clone(), self.contains);
        self.blocks.committed(parts, self.next - 1, stored, contains)
    }

    /// Waits until all that was sent is there, each message under its number.
    fn settle(&mut self) -> Result<(), StoreError> {
        let under_way = std::mem::take(&mut self.under_way);
        let told = async move {
            for told in under_way {
                told.await?;
            }
            Ok(())
        };
        let limit = self.blocks.nats.settings.timeout * 2;
        self.blocks.nats.bridge.run("write to", limit, told)
    }

    /// The messages of the index.
    fn indexes(&self, parts: &[Part]) -> Vec<Vec<u8>> {
        let index = |parts: &[Part]| {
            let (view, contains, oldest) = (self.view.clone(), self.contains, self.oldest);
            Index { view, contains, oldest, parts: parts.to_vec() }.encode()
        };
        let (mut messages, mut begin, mut size) = (Vec::new(), 0, 0);
        for (number, part) in parts.iter().enumerate() {
            // A number takes 10 bytes at most; the name of the view and the rest 256.
            let more = part.index.len() + 30;
            if size + more + HEAD + 256 > self.room && number > begin {
                messages.push(index(&parts[begin..number]));
                (begin, size) = (number, 0);
            }
            size += more;
        }
        messages.push(index(&parts[begin..]));
        messages
    }

    /// An acknowledgement did not come: whether the checkpoint is the last one all the same.
    fn is_there(&self, error: StoreError) -> Result<(), StoreError> {
        let (last, blocks) = (self.next - 1, Arc::clone(&self.blocks));
        let limit = self.blocks.nats.settings.timeout * 2;
        let found = self
            .blocks
            .nats
            .bridge
            .run("read from", limit, async move { blocks.stream.get(last).await });
        let head = found.ok().flatten().map(|found| Head::read(&found.payload, self.view.id));
        let is_ours = head.and_then(Result::ok).is_some_and(|head| head.checkpoint == self.id);
        if is_ours {
            return self.blocks.look().map(drop);
        }
        Err(self.overtaken().unwrap_or(error))
    }
}

impl CheckpointWriter for Writer {
    fn follows(&mut self, last: Option<LogPoint>) -> Result<(), StoreError> {
        // What comes after it was begun is found by the numbers of the messages.
        self.check_follows(last)
    }

    fn put(&mut self, id: BlockId, bytes: &[u8]) -> Result<(), StoreError> {
        self.value(bytes, |span| Entry::Put(id, span))
    }

    fn delete(&mut self, id: BlockId) -> Result<(), StoreError> {
        self.index.add(Entry::Delete(id));
        self.flush_if_full()
    }

    fn put_named(&mut self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        check_name(name)?;
        self.value(bytes, |span| Entry::PutNamed(name, span))
    }

    fn clear(&mut self) -> Result<(), StoreError> {
        self.index.add(Entry::Clear);
        self.flush_if_full()
    }

    fn commit(self: Box<Self>) -> Result<(), StoreError> {
        let blocks = Arc::clone(&self.blocks);
        self.complete()?;
        // What is committed stays, whatever becomes of this.
        drop(blocks.tidy());
        Ok(())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.blocks.end_writing();
    }
}
