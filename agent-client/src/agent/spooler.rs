//! Between the watcher, which writes evidence into the spool, and the link, which reads it.
//!
//! Owns the open spool, and what happens when it is full: evidence is dropped and counts as lost,
//! and when there is room again one `Overflow` says since when. Readers of figures never wait for
//! the disk.

mod mend;
mod sink;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fusion_core::evidence::RootIdentity;
use fusion_core::id::SpoolId;
use fusion_core::time::Monotonic;
use tokio::sync::watch;

use super::open::OpenedSpool;
use super::shared::State;
use crate::clock::SharedClock;
use crate::ids::SharedIds;
use crate::link::frame::NewFrame;
use crate::scan::FileId;
use crate::spool::{BootId, Frame, Spool, SpoolError};
use crate::watch::WatchSink;

/// Bytes that are read from the spool at once.
const READ_AHEAD_BYTES: usize = 1 << 20;

/// Size of a spool without an agent around it.
const ALONE_BYTES: u64 = 1 << 20;

/// Least time between two looks at the oldest frame, while there is one.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// How long after it was full the spool takes evidence again, at the earliest.
const RECOVER_AFTER: Duration = Duration::from_millis(500);

/// The spool as all parts of the agent have it.
#[derive(Clone)]
pub struct SharedSpool(Arc<Inner>);

struct Inner {
    /// Held for one append, read or acknowledgement; taken only on threads that may block.
    spool: Mutex<Option<Spool>>,
    /// What is known without the disk. The lock is held for a copy.
    known: Mutex<Known>,
    /// The number that the next frame gets: tells readers that there is more.
    next: watch::Sender<u64>,
    state: Arc<State>,
    clock: SharedClock,
    ids: SharedIds,
    own_directories: Vec<FileId>,
    boot: BootId,
    max_bytes: u64,
}

struct Known {
    id: SpoolId,
    figures: SpoolFigures,
    /// The server can have no number from here on: it was neither there when the spool was opened nor
    /// read since.
    unread: u64,
    /// Evidence was lost, since then at the earliest, and that is not in the spool yet.
    lost_since: Option<Monotonic>,
    /// The frame that says so, while the server has not got it.
    saying_so: Option<u64>,
    /// Whether the spool has the last word on the root.
    root: RootWord,
    /// The frame that the disk failed to read, and how often in a row.
    unreadable: Option<(u64, u32)>,
    /// When an append last failed.
    failed_at: Option<Monotonic>,
    /// Counts the watchers that were given a sink: only the latest may write.
    sinks: u64,
    /// When the oldest frame was last looked at, after an acknowledgement.
    looked_at: Option<Monotonic>,
}

/// What the spool has of how the root is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RootWord {
    /// Nothing, and nobody asked for it.
    None,
    /// Not the last, or it may be among what was lost.
    Behind,
    /// The last.
    Last,
}

/// How full the spool is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpoolFigures {
    /// The oldest frame that is held; `next` if there is none.
    pub first_held: u64,
    /// The number of the next frame.
    pub next: u64,
    /// Frames held.
    pub batches: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// When the oldest evidence was looked at that is not acknowledged.
    pub oldest: Option<Monotonic>,
    /// How often it was full.
    pub times_full: u64,
}

impl SharedSpool {
    /// Shares an open spool.
    pub(super) fn new(
        opened: OpenedSpool,
        own_directories: Vec<FileId>,
        state: Arc<State>,
        clock: SharedClock,
        ids: SharedIds,
    ) -> Self {
        let OpenedSpool { mut spool, boot, max_bytes, lost, found: _ } = opened;
        let mut figures = read_figures(&spool, 0);
        figures.oldest = oldest(&mut spool);
        let lost_since = lost.then_some(Monotonic::from_nanos(0));
        let id = spool.identity().spool_id;
        let known = Known {
            id,
            figures,
            unread: spool.next(),
            lost_since,
            saying_so: None,
            root: RootWord::None,
            unreadable: None,
            failed_at: None,
            sinks: 0,
            looked_at: None,
        };
        Self(Arc::new(Inner {
            next: watch::Sender::new(spool.next()),
            spool: Mutex::new(Some(spool)),
            boot,
            max_bytes,
            known: Mutex::new(known),
            state,
            clock,
            ids,
            own_directories,
        }))
    }

    /// Who the spool is.
    pub(crate) fn id(&self) -> SpoolId {
        self.known().id
    }

    /// How full it is.
    pub(crate) fn figures(&self) -> SpoolFigures {
        let known = self.known();
        let oldest = [known.figures.oldest, known.lost_since].into_iter().flatten().min();
        SpoolFigures { oldest, ..known.figures }
    }

    /// What a stream is opened with: the oldest number that is held, and the one after the last that
    /// the server can have. Not the next to be written: where a crash of the machine cut off what the
    /// server has, new frames soon have its numbers, and it is to say SPOOL_ROLLED_BACK all the same.
    pub(crate) fn opening(&self) -> (u64, u64) {
        let known = self.known();
        let first_held = known.figures.first_held;
        (first_held, known.unread.max(first_held))
    }

    /// Evidence was lost and the server does not know that yet, or still is being lost.
    pub(crate) fn is_losing(&self) -> bool {
        let known = self.known();
        let told = known.saying_so.is_none_or(|frame| frame < known.figures.first_held);
        known.lost_since.is_some() || !told
    }

    /// The directories that are neither watched nor scanned.
    pub(crate) fn own_directories(&self) -> Vec<FileId> {
        self.0.own_directories.clone()
    }

    /// Waits until the frame with this number is there.
    pub(crate) async fn holds(&self, sequence: u64) {
        let mut next = self.0.next.subscribe();
        // The sender lives as long as we do.
        let _ = next.wait_for(|next| sequence < *next).await;
    }

    /// Reads frames from this number on, off the async threads. One that is damaged is an error once:
    /// it is forgotten, and its events count as lost. One that the disk fails to read is asked for a few
    /// times, and then counts as damaged: a bad sector must not stand in the way of what comes later.
    pub(crate) async fn read(&self, from: u64) -> Result<Vec<Frame>, SpoolError> {
        self.blocking(move |inner| {
            let mut guard = inner.spool();
            let Some(spool) = &mut *guard else { return Ok(Vec::new()) };
            let frames = match spool.read_from(from, READ_AHEAD_BYTES) {
                Err(error) if inner.is_beyond_reading(from, &error) => {
                    inner.give_up(spool, from)?;
                    return Err(error);
                }
                read => read?,
            };
            let mut known = inner.known();
            known.unreadable = None;
            known.unread = frames.last().map_or(0, |last| last.sequence + 1).max(known.unread);
            Ok(frames)
        })
        .await
    }

    /// Forgets what the server has.
    pub(crate) async fn acknowledge(&self, through: u64) -> Result<(), SpoolError> {
        if through < self.figures().first_held {
            return Ok(());
        }
        self.blocking(move |inner| {
            let mut guard = inner.spool();
            let Some(spool) = &mut *guard else { return Ok(()) };
            let acknowledged = spool.acknowledge(through);
            inner.show_acknowledged(spool);
            inner.recover(spool);
            acknowledged
        })
        .await
    }

    /// Takes a new id, because the server knows more of the old one than we do; and says so.
    pub(crate) async fn renew(&self) -> Result<(), SpoolError> {
        self.blocking(|inner| {
            let mut guard = inner.spool();
            let Some(spool) = &mut *guard else { return Ok(()) };
            spool.renumber(&mut || inner.ids.uuid())?;
            let mut known = inner.known();
            // Nobody has anything of the new one.
            (known.id, known.unread) = (spool.identity().spool_id, 1);
            drop(known);
            inner.show_anew(spool);
            tracing::warn!(spool = %spool.identity().spool_id, "the spool was rolled back: it has a new id");
            inner.lost(Monotonic::from_nanos(0));
            inner.recover(spool);
            Ok(())
        })
        .await
    }

    /// Says how the root is found, as it is known when that is written; with the next room, if there is
    /// none now.
    pub(crate) fn root(&self) {
        let mut guard = self.0.spool();
        let Some(spool) = &mut *guard else { return };
        self.0.known().root = RootWord::Behind;
        self.0.recover(spool);
    }

    /// Evidence was lost, it is not known which: said with the next room.
    pub(crate) fn events_lost(&self) {
        self.0.lost(Monotonic::from_nanos(0));
    }

    /// If there is something to be said that did not fit, and room again, says it. For a timer: it may be that nothing
    /// happens any more.
    pub(crate) async fn mend(&self) {
        let is_whole = {
            let known = self.known();
            known.lost_since.is_none() && known.root != RootWord::Behind
        };
        if is_whole {
            return;
        }
        let mended = self.blocking(|inner| {
            if let Some(spool) = &mut *inner.spool() {
                inner.recover(spool);
            }
            Ok(())
        });
        // It cannot fail otherwise than by a panic, which is told where it happens.
        let _ = mended.await;
    }

    /// Gives the spool back to the disk; nothing can be read or written afterwards.
    pub(crate) fn release(&self) {
        let spool = self.0.spool().take();
        if let Some(Err(error)) = spool.map(Spool::close) {
            tracing::warn!("spool not closed well: {error}");
        }
    }

    /// Opens a small spool for a link without an agent around it: tests of the link, and whoever
    /// makes the load of many agents. Blocks on the disk.
    ///
    /// # Errors
    /// The spool cannot be had: another process holds it, or the disk fails.
    pub fn alone(folder: &Path, clock: SharedClock, ids: SharedIds) -> Result<Self, SpoolError> {
        let claim = crate::spool::Claim {
            host: "nobody".into(),
            instance_id: fusion_core::id::InstanceId::new(ids.uuid()),
            since: clock.wall(),
        };
        let boot = BootId::of_this_boot()
            .map_err(|source| SpoolError::Io { doing: "read the boot id".into(), source })?;
        let options = crate::spool::SpoolOptions::with_max_bytes(ALONE_BYTES);
        let spool = Spool::open(folder, options, &claim, &mut || ids.uuid())?.spool;
        let (max_bytes, lost, found) = (ALONE_BYTES, false, Vec::new());
        let opened = OpenedSpool { spool, boot, max_bytes, lost, found };
        let state = Arc::new(State::new(RootIdentity::default()));
        Ok(Self::new(opened, Vec::new(), state, clock, ids))
    }

    /// Holds the spool, as a call that hangs with its disk would, until the channel says so or is closed.
    /// `hangs` is called once it does.
    #[cfg(test)]
    pub(crate) fn hang_for_test(
        &self,
        until: &std::sync::mpsc::Receiver<()>,
        hangs: impl FnOnce(),
    ) {
        let _held = self.0.spool();
        hangs();
        let _ = until.recv();
    }

    /// Appends evidence as the watcher does.
    #[cfg(test)]
    pub(crate) fn put_for_test(&self, evidence: &[crate::watch::WatchEvidence]) {
        self.0.append(&crate::link::frame::frames(evidence));
    }

    /// Where a watcher puts its evidence, until the next is given a sink.
    pub(crate) fn sink(&self) -> Box<dyn WatchSink> {
        Box::new(sink::SpoolSink::new(self.clone()))
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, SpoolError> + Send + 'static,
    ) -> Result<T, SpoolError> {
        let inner = Arc::clone(&self.0);
        let done = tokio::task::spawn_blocking(move || work(&inner)).await;
        done.unwrap_or_else(|error| {
            Err(SpoolError::Io {
                doing: "work on the spool".into(),
                source: std::io::Error::other(error),
            })
        })
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.known()
    }
}

impl Inner {
    /// Appends what fits. What does not is dropped, and said later.
    fn append(&self, frames: &[NewFrame]) {
        let mut guard = self.spool();
        let Some(spool) = &mut *guard else { return };
        self.recover(spool);
        for frame in frames {
            if self.known().lost_since.is_some() {
                return;
            }
            match spool.append(frame.stamp, self.boot, &frame.payload) {
                Ok(_) => self.appended(spool, frame.stamp),
                Err(error) => self.full(frame.stamp, &error),
            }
        }
    }

    fn appended(&self, spool: &Spool, stamp: Monotonic) {
        let oldest = self.known().figures.oldest.or(Some(stamp));
        self.show(spool, oldest);
    }

    /// Makes figures known after frames went.
    fn show_anew(&self, spool: &mut Spool) {
        let oldest = oldest(spool);
        self.show(spool, oldest);
    }

    /// Makes the figures known after an acknowledgement. To find the oldest frame costs a search in
    /// its segment, and acknowledgements come by the thousand: until the next look it is told as
    /// older than it is.
    fn show_acknowledged(&self, spool: &mut Spool) {
        let now = self.clock.monotonic();
        let (oldest, looked_at) = {
            let known = self.known();
            (known.figures.oldest, known.looked_at)
        };
        let is_due = looked_at.is_none_or(|at| now.since(at) >= LOOK_AGAIN);
        if spool.first_held() < spool.next() && !is_due && oldest.is_some() {
            self.show(spool, oldest);
            return;
        }
        self.known().looked_at = Some(now);
        self.show_anew(spool);
    }

    /// Makes figures known.
    fn show(&self, spool: &Spool, oldest: Option<Monotonic>) {
        let mut known = self.known();
        let times_full = known.figures.times_full;
        known.figures = SpoolFigures { oldest, ..read_figures(spool, times_full) };
        drop(known);
        self.next.send_if_modified(|next| std::mem::replace(next, spool.next()) != spool.next());
    }

    fn spool(&self) -> MutexGuard<'_, Option<Spool>> {
        self.spool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read_figures(spool: &Spool, times_full: u64) -> SpoolFigures {
    SpoolFigures {
        first_held: spool.first_held(),
        next: spool.next(),
        batches: spool.next() - spool.first_held(),
        bytes: spool.bytes(),
        oldest: None,
        times_full,
    }
}

/// When the oldest evidence was looked at that is still held; the earliest time if that cannot be read,
/// for nothing is known to be delivered then.
fn oldest(spool: &mut Spool) -> Option<Monotonic> {
    match spool.read_from(spool.first_held(), 0) {
        Ok(frames) => frames.first().map(|frame| frame.stamp),
        Err(_) => Some(Monotonic::from_nanos(0)),
    }
}
