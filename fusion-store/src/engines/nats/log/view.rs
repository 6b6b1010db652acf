//! The log of one view: its stream, its queue, and the task that writes.
//!
//! Owned by `NatsLog`. Knows from where to where the log goes, as far as this server has seen; a
//! server that only reads asks the engine each time. Must never: hold what appending and
//! [`ViewLog::status`] need while it waits for the engine.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_nats::jetstream::stream::Config;
use fusion_core::id::Revision;
use fusion_core::time::ServerTime;
use tokio::sync::oneshot;

use super::find;
use super::follow::Following;
use super::message::{Message, Part};
use super::queue::{Cutter, Outgoing, Queue};
use super::reader::LogReader;
use super::writer::Writer;
use crate::engines::nats::stream::{Extent, Stream};
use crate::engines::nats::{Nats, random};
use crate::error::{Malformed, StoreError};
use crate::ports::{
    Health, LogPoint, LogStatus, OpenedLog, Progress, ReadFrom, Retention, ViewId, ViewRef,
};

/// From where to where a log goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Bounds {
    /// The number of the first message.
    pub(super) first: u64,
    /// The place before it.
    pub(super) start: LogPoint,
    /// Bytes before it.
    pub(super) start_offset: u64,
    /// The number of the last message that is stored.
    pub(super) last: u64,
    /// The place after it.
    pub(super) end: LogPoint,
    /// Bytes up to its end.
    pub(super) end_offset: u64,
}

/// The log of one view.
#[derive(Debug)]
pub(super) struct ViewLog {
    pub(super) shared: Arc<Shared>,
    nats: Arc<Nats>,
    cut: Option<String>,
    done: Mutex<Option<oneshot::Receiver<()>>>,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) stream: Stream,
    pub(super) subject: String,
    pub(super) view: ViewRef,
    pub(super) queue: Queue,
    pub(super) progress: Arc<Progress>,
    pub(super) index: find::Index,
    /// As it was seen last.
    bounds: Mutex<Bounds>,
    /// The last message up to which all is stored that this server has sent, or found when it opened
    /// the log, and the place after it.
    written: Mutex<(u64, LogPoint)>,
    health: Mutex<Health>,
}

impl Shared {
    fn bounds(&self) -> Bounds {
        *self.lock_bounds()
    }

    /// Up to where all is stored that this server has sent, or found when it opened the log.
    pub(super) fn written(&self) -> (u64, LogPoint) {
        *self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_bounds(&self) -> MutexGuard<'_, Bounds> {
        self.bounds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_health(&self, health: Health) {
        *self.health.lock().unwrap_or_else(PoisonError::into_inner) = health;
    }

    /// A message of ours is stored.
    pub(super) fn stored(&self, message: &Outgoing) {
        let (last, end) = (message.sequence, message.head.after);
        let end_offset = message.head.offset + message.payload.len() as u64;
        let mut bounds = self.lock_bounds();
        if bounds.last < last {
            *bounds = Bounds { first: bounds.first.max(1), last, end, end_offset, ..*bounds };
        }
        drop(bounds);
        *self.written.lock().unwrap_or_else(PoisonError::into_inner) = (last, end);
        self.index.note(message.sequence, message.head.after);
        self.queue.stored(message.waited);
        self.progress.advance(message.head.after);
    }

    /// Somebody else writes this log: nothing more is appended here.
    pub(super) fn fence(&self, why: StoreError) {
        tracing::warn!(view = %self.view.name, error = %why, "the log is closed here");
        self.set_health(Health::Failing(why.clone()));
        self.queue.close(why.clone());
        self.progress.close(why);
    }

    /// For `map_err`: a message that is not what was written.
    pub(super) fn corrupt(&self, sequence: u64) -> impl FnOnce(Malformed) -> StoreError {
        let place = format!("message {sequence} of stream {}", self.stream.name());
        move |why| StoreError::corrupt(place, 0)(why)
    }

    /// The message with this number, as whoever is near has it.
    pub(super) async fn message(&self, sequence: u64) -> Result<Message, StoreError> {
        let stored = self.stream.near(sequence).await?;
        let Some(stored) = stored else {
            // It was there when its number was learnt, so it was trimmed meanwhile.
            let start = self.look().await?.start.revision;
            let (view, first) = (self.view.id, Revision(start.0 + 1));
            return Err(StoreError::Trimmed { view, asked: start, first });
        };
        let message = Message::of(stored.sequence, stored.payload, self.view.id);
        let message = message.map_err(self.corrupt(sequence))?;
        self.index.note(sequence, message.head.after);
        Ok(message)
    }

    /// Looks from where to where the log goes now.
    async fn look(&self) -> Result<Bounds, StoreError> {
        let extent = self.stream.extent_of_known().await?;
        let known = self.bounds();
        let found = look(&self.stream, self.view.id, extent, known).await?.0;
        let mut bounds = self.lock_bounds();
        if (found.first, found.last) >= (bounds.first, bounds.last) {
            *bounds = found;
        }
        Ok(found)
    }
}

/// From where to where a stream's log goes, and the half record at its end if there is one.
async fn look(
    stream: &Stream,
    view: ViewId,
    extent: Extent,
    known: Bounds,
) -> Result<(Bounds, Option<String>), StoreError> {
    if extent.last == 0 {
        // Nothing was ever appended; or the stream is not the one that was known.
        let begun = if known.last == 0 { known } else { Bounds::default() };
        return Ok((begun, None));
    }
    let get = async |sequence: u64| {
        let place = || format!("message {sequence} of stream {}", stream.name());
        let stored = stream.get(sequence).await?;
        let gone = Malformed::Broken("it is gone, and was not removed by a server of Fusion");
        let stored = stored.ok_or_else(|| StoreError::corrupt(place(), 0)(gone))?;
        let message = Message::of(stored.sequence, stored.payload, view);
        message.map_err(StoreError::corrupt(place(), 0))
    };
    let mut bounds = known;
    if extent.first != known.first {
        let first = get(extent.first.min(extent.last)).await?;
        (bounds.first, bounds.start) = (first.sequence, first.head.before);
        bounds.start_offset = first.head.offset;
    }
    let mut cut = None;
    if extent.last != known.last {
        let last = get(extent.last).await?;
        (bounds.last, bounds.end) = (last.sequence, last.head.after);
        bounds.end_offset = last.end_offset();
        if let Part::Piece(piece) = last.head.part {
            let pieces = piece + 1;
            cut = Some(format!("{pieces} pieces of a record whose last piece never came"));
        }
    }
    Ok((bounds, cut))
}

impl ViewLog {
    /// Opens the log of a view; makes it if there is none, so that its first message follows a place.
    pub(super) async fn open(
        nats: Arc<Nats>,
        stream: Stream,
        subject: String,
        (view, begin): (ViewRef, LogPoint),
    ) -> Result<Self, StoreError> {
        let max_bytes = nats.settings.log_max_bytes;
        let config = Config {
            max_bytes: max_bytes.map_or(-1, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
            ..nats.config("the log", &view, vec![subject.clone()])
        };
        let extent = stream.ensure(config).await?;
        let begun = Bounds { start: begin, end: begin, ..Bounds::default() };
        let (bounds, cut) = look(&stream, view.id, extent, begun).await?;
        let cutter = Cutter {
            view: view.id,
            writer: random()?,
            sequence: bounds.last + 1,
            point: bounds.end,
            offset: bounds.end_offset,
        };
        let shared = Arc::new(Shared {
            stream,
            subject,
            view,
            queue: Queue::new(bounds.end),
            progress: Progress::new(bounds.end),
            index: find::Index::default(),
            bounds: Mutex::new(bounds),
            written: Mutex::new((bounds.last, bounds.end)),
            health: Mutex::default(),
        });
        let writer = Writer::new(Arc::clone(&nats), Arc::clone(&shared), cutter);
        let (told, done) = oneshot::channel();
        nats.bridge.spawn(async move {
            writer.run().await;
            // Nobody waits for it if the handle is gone.
            let _ = told.send(());
        })?;
        Ok(Self { shared, nats, cut, done: Mutex::new(Some(done)) })
    }

    /// What there is now; `None` if the log has to be opened anew: it is closed, or somebody else
    /// has appended since.
    pub(super) async fn opened(&self) -> Result<Option<OpenedLog>, StoreError> {
        let shared = &self.shared;
        if shared.queue.closed().is_some() {
            return Ok(None);
        }
        let before = shared.queue.end();
        if before.1 == 0 {
            let now = shared.look().await?;
            if now.last != shared.written().0 && shared.queue.end() == before {
                return Ok(None);
            }
        }
        let (start, cut) = (shared.bounds().start, self.cut.clone());
        Ok(Some(OpenedLog { start, end: shared.queue.end().0, cut }))
    }

    /// What was found when it was opened.
    pub(super) fn just_opened(&self) -> OpenedLog {
        let bounds = self.shared.bounds();
        OpenedLog { start: bounds.start, end: bounds.end, cut: self.cut.clone() }
    }

    pub(super) fn status(&self) -> LogStatus {
        let (end, waiting) = self.shared.queue.end();
        let bounds = self.shared.bounds();
        let health = self.shared.health.lock().unwrap_or_else(PoisonError::into_inner);
        LogStatus {
            start: bounds.start,
            end,
            durable: self.shared.progress.durable(),
            bytes: bounds.end_offset.saturating_sub(bounds.start_offset),
            waiting,
            health: health.clone(),
        }
    }

    pub(super) async fn read(&self, from: ReadFrom) -> Result<LogReader, StoreError> {
        let shared = Arc::clone(&self.shared);
        let bounds = shared.look().await?;
        let skip = from.check(shared.view.id, bounds.start, bounds.end)?;
        let first = find::first_taken(&shared, skip, bounds).await?;
        Ok(LogReader::new(Arc::clone(&self.nats), shared, skip, first, bounds))
    }

    /// Reads what is after a place, and goes on.
    pub(super) async fn follow(&self, after: LogPoint) -> Result<Following, StoreError> {
        let shared = Arc::clone(&self.shared);
        let bounds = shared.look().await?;
        let skip = ReadFrom::After(after).check(shared.view.id, bounds.start, bounds.end)?;
        let mut first = find::first_taken(&shared, skip, bounds).await?;
        if first > bounds.last && bounds.last > 0 {
            // A record may be on its way of which pieces are there.
            if let Part::Piece(piece) = shared.message(bounds.last).await?.head.part {
                first = bounds.last - u64::from(piece);
            }
        }
        let reader =
            LogReader::new(Arc::clone(&self.nats), Arc::clone(&shared), skip, first, bounds);
        Following::begin(Arc::clone(&self.nats), shared, reader)
    }

    pub(super) async fn trim(
        &self,
        through: LogPoint,
        keep: Retention,
        now: ServerTime,
    ) -> Result<LogPoint, StoreError> {
        let bounds = self.shared.look().await?;
        let keep_from = find::first_kept(&self.shared, bounds, through, &keep, now).await?;
        if keep_from > bounds.first {
            self.shared.stream.purge_before(keep_from).await?;
            return Ok(self.shared.look().await?.start);
        }
        Ok(bounds.start)
    }

    /// Sends what waits and ends the task, if the engine lets it within the limit.
    pub(super) fn close(&self, why: StoreError) {
        self.shared.queue.close(why.clone());
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(done) = done {
            let limit = self.nats.settings.timeout;
            let ended = self.nats.bridge.run("write to", limit, async move {
                // An error says that the task is gone, which is what is waited for.
                let _ = done.await;
                Ok(())
            });
            if let Err(error) = ended {
                tracing::warn!(view = %self.shared.view.name, %error, "the log was not written to its end");
            }
        }
        self.shared.progress.close(why);
    }
}

impl Drop for ViewLog {
    /// Ends the task, and waits for nothing: this may be the bridge's own thread.
    fn drop(&mut self) {
        self.shared.queue.close(StoreError::Closed);
    }
}
