//! The blocks of one view: what is live in which message, and tidying up.
//!
//! What there is, is known from the indexes alone, which are read when they are needed first and then
//! as they come. Must never: count a checkpoint whose last message is not there, or drop a message
//! with something live in it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::message::{HEAD, Head, Index, Kind, Part};
use super::values::{self, TakeValue};
use super::writer::Writer;
use crate::embedded::blocks::contents::{Contents, FileRoom};
use crate::embedded::blocks::file::Entry;
use crate::engines::nats::Nats;
use crate::engines::nats::stream::{Extent, Stream};
use crate::error::{Malformed, StoreError};
use crate::ports::{BlocksFigures, Loaded, LogPoint, ViewId, ViewRef};

/// Bytes that may be stored in vain beside half of what is live.
const SLACK: u64 = 16 << 20;
/// Bytes of messages that are put together at a time.
const TOGETHER: u64 = 8 << 20;
/// Messages and bytes of the indexes that are read at a time.
const BATCH: (usize, usize) = (256, 8 << 20);

/// The blocks of one view.
#[derive(Debug)]
pub(super) struct ViewBlocks {
    pub(super) nats: Arc<Nats>,
    pub(super) stream: Stream,
    pub(super) subject: String,
    pub(super) id: ViewId,
    known: Mutex<Known>,
    /// Somebody here writes a checkpoint.
    busy: Mutex<bool>,
}

/// What is known of the stream.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) contents: Contents,
    /// What was done in each message with values.
    parts: Vec<Part>,
    /// The last message that was there when it was looked.
    last: u64,
    /// The parts of a checkpoint of which the last message has not come.
    pending: Vec<Part>,
    /// Of which checkpoint they are.
    of: uuid::Uuid,
    /// Messages before this one are of no more use, and are kept for those who load now.
    useless_before: u64,
}

impl Known {
    /// The number of the first message that is known.
    pub(super) fn first(&self) -> Option<u64> {
        self.contents.files.first().map(|file| file.number)
    }

    /// A checkpoint is complete with the message of this number.
    pub(super) fn complete(
        &mut self,
        parts: Vec<Part>,
        through: u64,
        stored: u64,
        first: u64,
        contains: (ViewRef, LogPoint),
    ) -> Result<(), Malformed> {
        let next = self.contents.files.last().map_or(first, |last| last.number + 1);
        // Messages before the first one that there is have nothing live.
        let mut parts = parts.into_iter().filter(|part| part.sequence >= next).peekable();
        for sequence in next..=through {
            match parts.next_if(|part| part.sequence == sequence) {
                Some(part) => {
                    self.contents.follow(sequence, part.stored, &part.index)?;
                    self.parts.push(part);
                }
                None if sequence == through => self.contents.follow(sequence, stored, &[])?,
                None => self.contents.follow(sequence, 0, &[])?,
            }
        }
        self.contents.contains = Some(contains);
        Ok(())
    }

    /// Messages before a number are gone.
    fn drop_before(&mut self, sequence: u64) {
        self.contents.files.retain(|file| file.number >= sequence);
        self.parts.retain(|part| part.sequence >= sequence);
    }

    /// What was done in a message.
    pub(super) fn part(&self, sequence: u64) -> Option<&Part> {
        let at = self.parts.binary_search_by_key(&sequence, |part| part.sequence);
        at.ok().and_then(|at| self.parts.get(at))
    }
}

impl ViewBlocks {
    pub(super) fn new(nats: Arc<Nats>, stream: Stream, subject: String, id: ViewId) -> Self {
        let (known, busy) = (Mutex::default(), Mutex::default());
        Self { nats, stream, subject, id, known, busy }
    }

    pub(super) fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For `map_err`: a message that is not what was written.
    pub(super) fn corrupt(&self, sequence: u64) -> impl Fn(Malformed) -> StoreError {
        let place = format!("message {sequence} of stream {}", self.stream.name());
        move |why| StoreError::corrupt(&place, 0)(why)
    }

    /// Looks what has come since it was looked last; what the last checkpoint contains.
    pub(super) fn look(self: &Arc<Self>) -> Result<Option<(ViewRef, LogPoint)>, StoreError> {
        let (blocks, limit) = (Arc::clone(self), self.nats.settings.timeout * 2);
        self.nats.bridge.run("read from", limit, async move { blocks.catch_up().await })?;
        Ok(self.known().contents.contains.clone())
    }

    async fn catch_up(&self) -> Result<(), StoreError> {
        let extent = self.stream.extent().await?.unwrap_or_default();
        if extent.last < self.known().last {
            // It was removed, by another server.
            *self.known() = Known::default();
        }
        let mut from = self.known().last + 1;
        while from <= extent.last {
            let subject = format!("{}.i", self.subject);
            let mut read = self.stream.batch(from, BATCH.0, BATCH.1, Some(&subject)).await?;
            if read.is_empty() {
                // Whoever was asked may lag behind; the leader does not.
                read.extend(self.stream.next_of(from, &subject).await?);
            }
            read.retain(|message| message.sequence <= extent.last);
            let Some(last) = read.last().map(|message| message.sequence) else { break };
            from = last + 1;
            for message in read {
                let followed = self.follow(message.sequence, &message.payload, extent);
                followed.map_err(self.corrupt(message.sequence))?;
            }
        }
        let mut known = self.known();
        known.last = extent.last;
        if known.first().is_some_and(|first| first < extent.first) {
            known.drop_before(extent.first);
        }
        Ok(())
    }

    /// Takes a message of an index.
    fn follow(&self, sequence: u64, message: &[u8], extent: Extent) -> Result<(), Malformed> {
        let head = Head::read(message, self.id)?;
        let Kind::Index(ends) = head.kind else {
            return Err(Malformed::Broken("it is no index of blocks"));
        };
        let index = Index::decode(message, self.id)?;
        let mut known = self.known();
        if known.of != head.checkpoint {
            known.pending.clear();
        }
        known.of = head.checkpoint;
        known.pending.extend(index.parts);
        if ends {
            if extent.first > index.oldest && sequence == extent.last {
                return Err(Malformed::Broken("messages that the checkpoint needs are missing"));
            }
            let parts = std::mem::take(&mut known.pending);
            let (stored, contains) = (message.len() as u64, (index.view, index.contains));
            known.complete(parts, sequence, stored, extent.first, contains)?;
        }
        Ok(())
    }

    pub(super) fn figures(self: &Arc<Self>) -> Result<BlocksFigures, StoreError> {
        if self.known().last == 0 {
            self.look()?;
        }
        Ok(self.known().contents.figures())
    }

    /// Begins a checkpoint if nobody else here writes one.
    pub(super) fn begin(
        self: &Arc<Self>,
        view: &ViewRef,
        contains: LogPoint,
    ) -> Result<Writer, StoreError> {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        if *busy {
            let why = "another one is being written".to_owned();
            return Err(StoreError::Refused { what: "a checkpoint", why });
        }
        let config = self.nats.config(
            PURPOSE_OF,
            view,
            vec![format!("{}.v", self.subject), format!("{}.i", self.subject)],
        );
        let (stream, limit) = (self.stream.clone(), self.nats.settings.timeout * 2);
        self.nats.bridge.run("write to", limit, async move { stream.ensure(config).await })?;
        self.look()?;
        *busy = true;
        let known = self.known();
        let (next, oldest) = (known.last + 1, known.first().unwrap_or(known.last + 1));
        drop(known);
        Writer::new(Arc::clone(self), view.clone(), contains, next, oldest)
    }

    /// The turn to write is over.
    pub(super) fn end_writing(&self) {
        *self.busy.lock().unwrap_or_else(PoisonError::into_inner) = false;
    }

    /// A checkpoint of ours is stored.
    pub(super) fn committed(
        &self,
        parts: Vec<Part>,
        through: u64,
        stored: u64,
        contains: (ViewRef, LogPoint),
    ) -> Result<(), StoreError> {
        let mut known = self.known();
        let first = known.first().unwrap_or(known.last + 1);
        let completed = known.complete(parts, through, stored, first, contains);
        completed.map_err(self.corrupt(through))?;
        known.last = through;
        Ok(())
    }

    /// Hands out all values.
    pub(super) fn load(
        self: &Arc<Self>,
        take: &mut dyn FnMut(Loaded<'_>) -> Result<(), StoreError>,
    ) -> Result<Option<LogPoint>, StoreError> {
        let contains = self.look()?.map(|(_, contains)| contains);
        let live = |known: &Known| -> Vec<u64> {
            let files = known.contents.files.iter().filter(|file| file.values > 0);
            files.map(|file| file.number).collect()
        };
        let sequences = live(&self.known());
        values::read(self, sequences, &mut |entry, bytes| match entry {
            Entry::Put(id, _) => take(Loaded::Block(*id, bytes)),
            Entry::PutNamed(name, _) => take(Loaded::Named(name, bytes)),
            Entry::Delete(_) | Entry::Clear => Ok(()),
        })?;
        Ok(contains)
    }

    /// Drops old messages while more than half as much again is stored as is live. They are removed
    /// with the next checkpoint: a server that loads meanwhile needs them.
    pub(super) fn tidy(self: &Arc<Self>) -> Result<(), StoreError> {
        self.purge()?;
        self.drop_while(|figures| figures.stored_bytes > figures.live_bytes / 2 * 3 + SLACK)
    }

    /// Drops old messages while there is more than a little that is not live.
    pub(super) fn compact(self: &Arc<Self>) -> Result<(), StoreError> {
        self.look()?;
        self.drop_while(|figures| figures.stored_bytes > figures.live_bytes / 16 * 17)?;
        self.purge()
    }

    /// Drops the messages that are there now, the oldest first, for as long as it is worth it.
    fn drop_while(
        self: &Arc<Self>,
        worth: impl Fn(BlocksFigures) -> bool,
    ) -> Result<(), StoreError> {
        let last = self.known().contents.next();
        loop {
            let known = self.known();
            let oldest = oldest(&known.contents, last);
            let Some((view, contains)) = known.contents.contains.clone() else { return Ok(()) };
            if oldest.is_empty() || !worth(known.contents.figures()) {
                return Ok(());
            }
            drop(known);
            self.drop_oldest(&oldest, &view, contains)?;
        }
    }

    /// Puts what is live in the oldest messages at the end, and drops the messages.
    fn drop_oldest(
        self: &Arc<Self>,
        oldest: &[FileRoom],
        view: &ViewRef,
        contains: LogPoint,
    ) -> Result<(), StoreError> {
        let Some(before) = oldest.last().map(|last| last.number + 1) else { return Ok(()) };
        let mut writer = self.begin(view, contains)?;
        writer.follows_what_is_there(contains)?;
        writer.replaces_before(before);
        let live = oldest.iter().filter(|file| file.values > 0).map(|file| file.number).collect();
        let copy: &mut TakeValue<'_> = &mut |entry, bytes| writer.copy(entry, bytes);
        values::read(self, live, copy)?;
        writer.complete()?;
        let mut known = self.known();
        known.drop_before(before);
        known.useless_before = before;
        Ok(())
    }

    /// Removes the messages that were dropped.
    fn purge(&self) -> Result<(), StoreError> {
        let before = std::mem::take(&mut self.known().useless_before);
        if before == 0 {
            return Ok(());
        }
        let (stream, limit) = (self.stream.clone(), self.nats.settings.timeout * 2);
        let purge = async move { stream.purge_before(before).await };
        self.nats.bridge.run("write to", limit, purge)
    }

    pub(super) fn remove(&self) -> Result<(), StoreError> {
        let (stream, limit) = (self.stream.clone(), self.nats.settings.timeout * 2);
        self.nats.bridge.run("write to", limit, async move { stream.delete().await })
    }
}

/// What its stream is called among people.
const PURPOSE_OF: &str = "the blocks";

/// The oldest messages, as many as are put together at a time.
fn oldest(contents: &Contents, before: u64) -> Vec<FileRoom> {
    let mut live = 0;
    let files = contents.files.iter().take_while(|file| file.number < before);
    let fits = |file: &&FileRoom| {
        let is_first = live == 0;
        live += file.live + HEAD as u64;
        is_first || live <= TOGETHER
    };
    files.take_while(fits).copied().collect()
}
