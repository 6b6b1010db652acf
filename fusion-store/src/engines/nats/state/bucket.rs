//! The bucket: reading on, and writing so that what was given up does not come after what followed.
//!
//! Every write of a server is a batch of which the first message takes the place of the server's
//! message before, by its number. So of all that a server, or an earlier life of it, has left under way
//! nothing lands after a later write, and a write of that message alone is enough to end it: which is
//! done before anything else whenever it is not known what came of a write. Must never: answer before
//! that, or with less than the stream's leader said it has. All here runs on the bridge's thread.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::RwLock;
use uuid::Uuid;

use super::image::Image;
use super::message::{self, Write};
use super::names::Names;
use crate::engines::Whose;
use crate::engines::nats::stream::{Extent, Many, Outgoing, Stream};
use crate::error::StoreError;

/// Messages and bytes that are read at a time.
const READ: (usize, usize) = (1_000, 8 << 20);
/// Messages of a batch, as JetStream allows them, without the one of the writer.
pub(super) const BATCH: usize = 999;
/// The pause before what is not there yet is asked for again.
const PAUSE: Duration = Duration::from_millis(10);
/// How often a write that was lost is sent anew.
const AGAIN: u32 = 3;

#[derive(Debug)]
pub(super) struct Bucket {
    pub(super) stream: Stream,
    pub(super) names: Names,
    pub(super) whose: Whose,
    /// Bytes of ours in a message.
    pub(super) message_bytes: usize,
    engine: String,
    /// The id that the state must have.
    wanted: Mutex<Option<Uuid>>,
    image: Mutex<Image>,
    pub(super) turn: RwLock<Turn>,
    /// The last look at the stream that ended, and the last that began.
    looked: tokio::sync::Mutex<u64>,
    looks: AtomicU64,
}

/// The right to write, which one call has at a time.
#[derive(Debug)]
pub(super) struct Turn {
    /// Drawn for this handle.
    life: Uuid,
    /// The number of the last message of the writer.
    own: u64,
    /// Writes so far.
    writes: u64,
    /// The write of which it is not known whether it happened.
    doubted: Option<u64>,
}

impl Bucket {
    pub(super) fn new(
        stream: Stream,
        names: Names,
        whose: Whose,
        message_bytes: usize,
        engine: &str,
        life: Uuid,
    ) -> Self {
        let image = Mutex::new(Image::new(names.clone(), whose.server, 0));
        let turn = RwLock::new(Turn { life, own: 0, writes: 0, doubted: None });
        let (engine, wanted) = (engine.to_owned(), Mutex::new(whose.state));
        let (looked, looks) = (tokio::sync::Mutex::new(0), AtomicU64::new(0));
        Self { stream, names, whose, message_bytes, engine, wanted, image, turn, looked, looks }
    }

    pub(super) fn image(&self) -> MutexGuard<'_, Image> {
        self.image.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The id that the state must have, once that is known.
    pub(super) fn wanted(&self) -> Option<Uuid> {
        *self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// That the state is another one.
    pub(super) fn other(&self, found: Option<Uuid>) -> StoreError {
        let found = found.map_or("no state of Fusion".to_owned(), |found| format!("state {found}"));
        let wanted = self.wanted().map(|id| id.to_string()).unwrap_or_default();
        let engine = format!("{} (stream {})", self.engine, self.stream.name());
        StoreError::OtherState { engine, found, wanted }
    }

    /// Takes the bucket over: from now on nothing that an earlier life of the server sent is stored.
    pub(super) async fn take_over(&self) -> Result<Uuid, StoreError> {
        self.catch_up().await?;
        let id = loop {
            let found = self.image().about;
            match found {
                Some(id) => break id,
                None if self.wanted().is_some() => return Err(self.other(None)),
                None => {
                    let (payload, expect) = (message::about(self.whose.new_state), Some((0, None)));
                    let subject = self.names.about();
                    let about = Outgoing { subject, payload, expect, ..Outgoing::default() };
                    let id = format!("about-{}", self.whose.new_state.simple());
                    // Another server may have been first.
                    self.settled(self.stream.put_many(&id, vec![about]).await).await?;
                    self.catch_up().await?;
                }
            }
        };
        *self.wanted.lock().unwrap_or_else(PoisonError::into_inner) = Some(id);
        let mut turn = self.turn.write().await;
        loop {
            turn.own = self.image().writer.map_or(0, |(own, _)| own);
            let write = turn.next();
            let only = vec![self.writer(turn.own, write)];
            if let Some(own) = self.settled(self.stream.put_many(&write.id(), only).await).await? {
                turn.own = own;
                break;
            }
            // What an earlier life has sent came first.
            self.catch_up().await?;
        }
        drop(turn);
        self.catch_up().await?;
        Ok(id)
    }

    /// The number under which something is stored; none if it is to be looked and tried again. A bucket that
    /// another server has just made takes nothing until its leader is there.
    async fn settled(&self, outcome: Result<Many, StoreError>) -> Result<Option<u64>, StoreError> {
        match outcome {
            Ok(Many::Done(own)) => Ok(Some(own)),
            Ok(Many::Other | Many::Busy) => Ok(None),
            Ok(Many::Refused(error)) => Err(error),
            Err(error) if error.is_of_the_engine() => {
                tokio::time::sleep(PAUSE).await;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// All that was stored before this was called is known after it.
    pub(super) async fn fresh(&self) -> Result<(), StoreError> {
        if self.turn.read().await.doubted.is_some() {
            let mut turn = self.turn.write().await;
            self.end_doubt(&mut turn).await?;
        }
        self.catch_up().await
    }

    /// Reads on to what the leader says is the end. Who waits for a look that began later than the call
    /// needs none of its own.
    pub(super) async fn catch_up(&self) -> Result<(), StoreError> {
        let begun = self.looks.load(Ordering::SeqCst);
        let mut looked = self.looked.lock().await;
        if *looked > begun {
            return Ok(());
        }
        let own = self.looks.fetch_add(1, Ordering::SeqCst) + 1;
        let extent = match self.wanted() {
            Some(_) => self.stream.extent().await?.ok_or_else(|| self.other(None))?,
            // It was just made.
            None => self.stream.extent_of_known().await?,
        };
        match self.read_to(extent).await {
            // Of a value that was replaced meanwhile a part was read: from the beginning it is whole.
            Err(StoreError::Corrupt { .. }) => {
                self.forget();
                self.read_to(extent).await?;
            }
            read => read?,
        }
        *looked = own;
        let found = self.image().about;
        match self.wanted() {
            Some(wanted) if found != Some(wanted) => Err(self.other(found)),
            _ => Ok(()),
        }
    }

    async fn read_to(&self, extent: Extent) -> Result<(), StoreError> {
        if self.image().made != extent.made {
            let anew = self.image().anew(extent.made);
            *self.image() = anew;
        }
        let known = {
            let image = self.image();
            image.known.max(image.last)
        };
        if extent.last < known {
            let why = format!("it ends at message {}, and had {known}", extent.last);
            return Err(self.stream.odd("read from", &why));
        }
        loop {
            let from = self.image().last + 1;
            if from > extent.last {
                return Ok(());
            }
            let read = self.stream.batch(from, READ.0, READ.1, None).await?;
            if read.is_empty() {
                // Whoever was asked lags behind.
                tokio::time::sleep(PAUSE).await;
            }
            let mut image = self.image();
            for message in read {
                let sequence = message.sequence;
                let place = || format!("message {sequence} of stream {}", self.stream.name());
                image.take(message).map_err(|why| StoreError::corrupt(place(), 0)(why))?;
            }
        }
    }

    /// What was read is read again by the next look.
    pub(super) fn forget(&self) {
        let anew = {
            let image = self.image();
            image.anew(image.made)
        };
        *self.image() = anew;
    }

    /// Stores messages together; the number of the one of the writer, which is before them. `None` if
    /// something is not as they expect it.
    pub(super) async fn write(
        &self,
        turn: &mut Turn,
        messages: &[Outgoing],
    ) -> Result<Option<u64>, StoreError> {
        self.end_doubt(turn).await?;
        let mut tries = 0;
        loop {
            let write = turn.next();
            let mut batch = vec![self.writer(turn.own, write)];
            batch.extend(messages.iter().cloned());
            // Known from here on, because the call may be given up at any moment.
            turn.doubted = Some(write.number);
            let outcome = self.stream.put_many(&write.id(), batch).await;
            if outcome.is_ok() {
                turn.doubted = None;
            }
            let error = match outcome {
                Ok(Many::Done(last)) => {
                    turn.own = last - messages.len() as u64;
                    return Ok(Some(turn.own));
                }
                Ok(Many::Other) => {
                    self.catch_up().await?;
                    if self.find_own(turn)? {
                        return Ok(None);
                    }
                    continue;
                }
                Ok(Many::Busy) => {
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
                Ok(Many::Refused(error)) => error,
                Err(error) => match self.end_doubt(turn).await? {
                    Some(own) => return Ok(Some(own)),
                    None => error,
                },
            };
            tries += 1;
            if tries == AGAIN {
                return Err(error);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Finds out whether the write that is doubted happened; if not it never will. The number of its
    /// message if it did.
    async fn end_doubt(&self, turn: &mut Turn) -> Result<Option<u64>, StoreError> {
        while let Some(doubted) = turn.doubted {
            self.catch_up().await?;
            self.find_own(turn)?;
            let last = self.image().writer.map(|(_, write)| write.number);
            if last.is_some_and(|last| last >= doubted) {
                turn.doubted = None;
                return Ok((last == Some(doubted)).then_some(turn.own));
            }
            let write = turn.next();
            let only = vec![self.writer(turn.own, write)];
            match self.stream.put_many(&write.id(), only).await? {
                Many::Done(_) | Many::Other => {}
                Many::Busy => tokio::time::sleep(PAUSE).await,
                Many::Refused(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Takes the number of the writer from what was read; whether it was known.
    fn find_own(&self, turn: &mut Turn) -> Result<bool, StoreError> {
        let found = self.image().writer;
        if let Some((_, write)) = found
            && write.life != turn.life
        {
            let why = "another process has taken over as this server; two have one data directory, or a copy of it";
            return Err(self.stream.odd("write to", why));
        }
        let found = found.map_or(0, |(own, _)| own);
        Ok(std::mem::replace(&mut turn.own, found) == found)
    }

    fn writer(&self, own: u64, write: Write) -> Outgoing {
        let (subject, payload) = (self.names.writer(self.whose.server), write.encode());
        Outgoing { subject, payload, expect: Some((own, None)), ..Outgoing::default() }
    }
}

impl Turn {
    fn next(&mut self) -> Write {
        self.writes += 1;
        Write { life: self.life, number: self.writes }
    }
}
