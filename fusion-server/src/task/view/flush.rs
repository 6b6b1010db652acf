//! Checkpoints of a view: when one is due, the thread that writes it, and what goes of the log
//! behind it.
//!
//! The view's thread begins a checkpoint between two turns, which costs it small lists; a thread that
//! lasts as long as the checkpoint takes block after block and writes them, beside writers and
//! readers. It counts when the log is durable up to what it contains, never before. Where it fails
//! the one before counts, and what was not stored belongs in the next. Between blocks the thread rests,
//! so that readers find a processor, unless the view changes faster than it is written. Must never: be
//! waited for by the view's thread, save at its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use fusion_core::time::{Clock, Monotonic};
use fusion_core::view::View;
use fusion_core::view::checkpoint::{BACKLOG_MAX, Checkpoint, Stored};
use fusion_store::codec::blocks::{WriteError, Written, write};
use fusion_store::{BlockId, CheckpointWriter, LogPoint, Retention, StoreError, Ticket, ViewRef};
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

use super::beside;
use super::control::Control;
use crate::ops::metrics::seconds;
use crate::stores::Stores;

/// Changes after which a checkpoint is due: about what a restart replays in a tenth of a second.
const DUE_CHANGES: u64 = 250_000;
/// When one is due if anything happened at all.
const DUE_AFTER: Duration = Duration::from_secs(60);
/// Least time from one to the next.
const PAUSE: Duration = Duration::from_secs(5);
/// The same, in times of what the last one took without its rests: it has a fifth of a thread and of the disk at most.
const PAUSE_RATIO: u32 = 4;
/// Bytes copied for a checkpoint at which the view takes no more evidence until it is further.
const BACKLOG_HIGH: usize = BACKLOG_MAX / 2;
/// Bytes copied for a checkpoint from which its thread does not rest any more.
const BACKLOG_LOW: usize = BACKLOG_HIGH / 4;
/// Work after which the thread of a checkpoint rests: less than the turn that the kernel gives a thread.
const WORK: Duration = Duration::from_micros(300);
/// How long it rests, in times of what it worked, and how long at most.
const REST_RATIO: u32 = 2;
const REST_MAX: Duration = Duration::from_millis(10);
/// Between two looks at a log that is not durable yet.
const LOOK: Duration = Duration::from_millis(2);

/// Takes the checkpoints of a view; owned by its thread.
pub(super) struct Flusher {
    stores: Stores,
    view: ViewRef,
    retention: Retention,
    clock: Arc<dyn Clock>,
    control: Arc<Control>,
    metrics: FlushMetrics,
    /// What the last checkpoint contains.
    contains: LogPoint,
    /// When that was begun, or the view.
    last_at: Monotonic,
    not_before: Monotonic,
    running: Option<Running>,
    /// Where several servers write: what the last checkpoint in the store contains, if there is one.
    follows: Option<Option<LogPoint>>,
    /// The next one has all, and nothing stays of those before it.
    is_whole: bool,
}

/// What is counted.
#[derive(Clone)]
pub(super) struct FlushMetrics {
    pub(super) duration: prometheus::Histogram,
    pub(super) bytes: prometheus::IntCounter,
    pub(super) failures: prometheus::IntCounter,
}

struct Running {
    contains: LogPoint,
    since: Monotonic,
    done: oneshot::Receiver<Result<Done, WriteError>>,
    stop: Arc<AtomicBool>,
    /// The view copies much for it: no rests.
    hurry: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

/// A checkpoint that is written.
struct Done {
    stored: Stored,
    written: Written,
    /// How long its thread rested.
    rested: Duration,
}

/// What goes into a checkpoint, as of now.
pub(super) struct Moment<'a> {
    pub(super) end: LogPoint,
    /// Durable when all before `end` is; absent if that was so when the view was loaded.
    pub(super) ticket: Option<Ticket>,
    /// What is stored beside the view.
    pub(super) beside: &'a dyn Fn() -> Vec<u8>,
}

impl Flusher {
    pub(super) fn new(
        stores: Stores,
        view: ViewRef,
        contains: LogPoint,
        retention: Retention,
        clock: Arc<dyn Clock>,
        control: Arc<Control>,
        metrics: FlushMetrics,
    ) -> Self {
        let now = clock.monotonic();
        let (last_at, not_before, running) = (now, now, None);
        Self {
            stores,
            view,
            retention,
            clock,
            control,
            metrics,
            contains,
            last_at,
            not_before,
            running,
            follows: None,
            is_whole: false,
        }
    }

    /// The view is this server's from now on; what the last checkpoint contains that is stored. If that is another one
    /// than the view was loaded from, its blocks are numbered otherwise.
    pub(super) fn own(&mut self, stored: Option<LogPoint>) {
        self.follows = Some(stored);
        self.is_whole = stored.unwrap_or_default() != self.contains;
        self.last_at = self.clock.monotonic();
    }

    /// Gives a checkpoint that runs up, without waiting for its thread: the store may hang, and takes no
    /// commit of it any more if the view is another's.
    pub(super) fn abandon(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop.store(true, Ordering::Relaxed);
        }
    }

    /// Ends a checkpoint that is written, and begins one that is due.
    pub(super) fn turn(&mut self, view: &mut View, moment: &Moment<'_>) {
        self.end_written(view);
        if let Some(running) = &self.running {
            running.hurry.store(view.checkpoint_backlog() > BACKLOG_LOW, Ordering::Relaxed);
        }
        let now = self.clock.monotonic();
        if self.due_at(moment.end).is_some_and(|at| at <= now) {
            self.begin(view, moment, now);
        }
    }

    /// When a checkpoint is due of a log that ends there; `None` while one runs or nothing is new.
    pub(super) fn due_at(&self, end: LogPoint) -> Option<Monotonic> {
        if self.running.is_some() || end == self.contains {
            return None;
        }
        let many = end.revision.0 - self.contains.revision.0 >= DUE_CHANGES;
        let due = if many { self.not_before } else { self.last_at.plus(DUE_AFTER) };
        Some(due.max(self.not_before))
    }

    /// Whether the view changes faster than the checkpoint that runs is written.
    pub(super) fn is_behind(&self, view: &View) -> bool {
        self.running.is_some() && view.checkpoint_backlog() > BACKLOG_HIGH
    }

    /// Ends a checkpoint that runs, unfinished. Waits for its thread, which ends with its next block.
    pub(super) fn end(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop.store(true, Ordering::Relaxed);
            // A panic of it was told where it happened, and is over with it.
            let _ = running.thread.join();
        }
    }

    fn begin(&mut self, view: &mut View, moment: &Moment<'_>, now: Monotonic) {
        let begun = match self.is_whole {
            true => view.begin_whole_checkpoint(BACKLOG_MAX),
            false => view.begin_checkpoint(BACKLOG_MAX),
        };
        let Some(checkpoint) = begun else { return };
        let (told, done) = oneshot::channel();
        let (stop, contains) = (Arc::<AtomicBool>::default(), moment.end);
        let hurry = Arc::<AtomicBool>::default();
        let job = Job {
            stores: self.stores.clone(),
            view: self.view.clone(),
            contains,
            ticket: moment.ticket.clone(),
            checkpoint,
            beside: (moment.beside)(),
            retention: self.retention,
            stop: Arc::clone(&stop),
            hurry: Arc::clone(&hurry),
            follows: self.follows,
            is_whole: self.is_whole,
        };
        let (clock, control) = (Arc::clone(&self.clock), Arc::clone(&self.control));
        let thread = std::thread::Builder::new().name(format!("checkpoint {}", self.view.name));
        let thread = thread.spawn(move || {
            // Nobody listens any more if the view ended meanwhile.
            let _ = told.send(job.run(&*clock));
            control.news.notify_one();
        });
        match thread {
            Ok(thread) => {
                self.running = Some(Running { contains, since: now, done, stop, hurry, thread });
            }
            Err(error) => {
                tracing::error!(view = %self.view.name, %error, "no thread for a checkpoint");
                self.not_before = now.plus(PAUSE);
            }
        }
    }

    fn end_written(&mut self, view: &mut View) {
        let Some(running) = &mut self.running else { return };
        let outcome = match running.done.try_recv() {
            Err(TryRecvError::Empty) => return,
            Err(TryRecvError::Closed) => Err("its thread panicked".to_owned()),
            Ok(outcome) => outcome.map_err(|error| error.to_string()),
        };
        let (since, contains) = (running.since, running.contains);
        self.running = None;
        let now = self.clock.monotonic();
        let took = now.since(since);
        let rested = outcome.as_ref().map_or(Duration::ZERO, |done| done.rested);
        let worked = took.saturating_sub(rested);
        self.not_before = now.plus(PAUSE.max(worked.saturating_mul(PAUSE_RATIO)));
        match outcome {
            Ok(Done { stored, written, .. }) => {
                view.end_checkpoint(stored);
                (self.contains, self.last_at) = (contains, since);
                (self.follows, self.is_whole) = (self.follows.map(|_| Some(contains)), false);
                self.metrics.duration.observe(seconds(took));
                self.metrics.bytes.inc_by(written.block_bytes + written.named_bytes);
                tracing::debug!(view = %self.view.name, %contains, ?written, ?took, "checkpoint");
            }
            Err(error) => {
                self.metrics.failures.inc();
                if self.follows.is_some() {
                    let stored = self.stores.blocks.contains(self.view.id);
                    self.own(stored.unwrap_or_default());
                }
                tracing::warn!(view = %self.view.name, error, "a checkpoint was not stored; it is tried again");
            }
        }
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        self.end();
    }
}

/// A checkpoint on its way to the disk.
struct Job {
    stores: Stores,
    view: ViewRef,
    contains: LogPoint,
    ticket: Option<Ticket>,
    checkpoint: Checkpoint,
    beside: Vec<u8>,
    retention: Retention,
    stop: Arc<AtomicBool>,
    hurry: Arc<AtomicBool>,
    follows: Option<Option<LogPoint>>,
    is_whole: bool,
}

impl Job {
    fn run(mut self, clock: &dyn Clock) -> Result<Done, WriteError> {
        let writer = self.stores.blocks.begin(&self.view, self.contains)?;
        let (stop, hurry) = (Arc::clone(&self.stop), Arc::clone(&self.hurry));
        let (since, rested) = (clock.monotonic(), Duration::ZERO);
        let mut writer = Stoppable { writer, stop, hurry, clock, since, rested };
        if let Some(last) = self.follows {
            writer.follows(last)?;
        }
        if self.is_whole {
            writer.clear()?;
        }
        let written = write(&mut self.checkpoint, &mut writer)?;
        writer.put_named(beside::NAME, &self.beside)?;
        // Blocks that have more than the log would be of a history that was never told.
        while self.ticket.as_ref().is_some_and(|ticket| !ticket.is_durable()) {
            writer.check()?;
            std::thread::sleep(LOOK);
        }
        let rested = writer.rested;
        writer.writer.commit()?;
        let stored = self.checkpoint.stored()?;
        let trimmed =
            self.stores.log.trim(self.view.id, self.contains, &self.retention, clock.now());
        if let Err(error) = trimmed {
            tracing::warn!(view = %self.view.name, %error, "the log was not trimmed");
        }
        Ok(Done { stored, written, rested })
    }
}

/// A writer that ends early when the view does, and rests while there is time.
struct Stoppable<'a> {
    writer: Box<dyn CheckpointWriter>,
    stop: Arc<AtomicBool>,
    hurry: Arc<AtomicBool>,
    clock: &'a dyn Clock,
    /// When it last rested.
    since: Monotonic,
    /// How long it did so far.
    rested: Duration,
}

impl Stoppable<'_> {
    /// Rests if it worked for long enough. No block is locked then, so nobody waits for it.
    fn rest(&mut self) {
        let worked = self.clock.monotonic().since(self.since);
        if worked < WORK {
            return;
        }
        if !self.hurry.load(Ordering::Relaxed) {
            let rest = worked.saturating_mul(REST_RATIO).min(REST_MAX);
            std::thread::sleep(rest);
            self.rested += rest;
        }
        self.since = self.clock.monotonic();
    }

    fn check(&self) -> Result<(), StoreError> {
        if self.stop.load(Ordering::Relaxed) { Err(StoreError::Closed) } else { Ok(()) }
    }
}

impl CheckpointWriter for Stoppable<'_> {
    fn follows(&mut self, last: Option<LogPoint>) -> Result<(), StoreError> {
        self.check()?;
        self.writer.follows(last)
    }

    fn put(&mut self, id: BlockId, bytes: &[u8]) -> Result<(), StoreError> {
        self.check()?;
        self.writer.put(id, bytes)?;
        self.rest();
        Ok(())
    }

    fn delete(&mut self, id: BlockId) -> Result<(), StoreError> {
        self.check()?;
        self.writer.delete(id)
    }

    fn put_named(&mut self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.check()?;
        self.writer.put_named(name, bytes)
    }

    fn clear(&mut self) -> Result<(), StoreError> {
        self.check()?;
        self.writer.clear()
    }

    fn commit(self: Box<Self>) -> Result<(), StoreError> {
        self.check()?;
        self.writer.commit()
    }
}
