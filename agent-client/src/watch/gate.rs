//! Between the kernel's queue and the interpreter: how many events wait, and up to when nothing does.
//!
//! Invariant behind [`Gate::is_drained`]: the reader says that it is busy before it takes events out
//! of the kernel's queue, and that it is not only after they are counted in `queued`. So who finds,
//! in this order, the kernel's queue empty, the reader not busy, and nothing queued, knows that
//! every event from before he looked has been interpreted.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};

use fusion_core::time::Monotonic;
use rustix::fd::OwnedFd;

/// Shared by reader, interpreter and whoever asks.
#[derive(Debug)]
pub(super) struct Gate {
    /// A second descriptor of the inotify instance, only to ask how much waits in it.
    kernel: OwnedFd,
    reader_is_busy: AtomicBool,
    /// Events taken from the kernel and not yet interpreted.
    queued: AtomicUsize,
    /// Up to here all events are interpreted.
    interpreted_through: AtomicI64,
    /// Since when the oldest look waits that an event gave reason for; `i64::MAX` if none does.
    oldest_pending: AtomicI64,
}

impl Gate {
    pub(super) fn new(kernel: OwnedFd, now: Monotonic) -> Self {
        Self {
            kernel,
            reader_is_busy: AtomicBool::new(false),
            queued: AtomicUsize::new(0),
            interpreted_through: AtomicI64::new(now.as_nanos()),
            oldest_pending: AtomicI64::new(i64::MAX),
        }
    }

    pub(super) fn set_busy(&self, is_busy: bool) {
        self.reader_is_busy.store(is_busy, Ordering::SeqCst);
    }

    pub(super) fn queued(&self) -> usize {
        self.queued.load(Ordering::SeqCst)
    }

    pub(super) fn add_queued(&self, events: usize) {
        self.queued.fetch_add(events, Ordering::SeqCst);
    }

    /// Evidence of these events is in the sink, or waits since `oldest_pending`.
    pub(super) fn interpreted(
        &self,
        events: usize,
        through: Monotonic,
        oldest_pending: Option<Monotonic>,
    ) {
        let oldest = oldest_pending.map_or(i64::MAX, Monotonic::as_nanos);
        self.oldest_pending.store(oldest, Ordering::SeqCst);
        self.interpreted_through.fetch_max(through.as_nanos(), Ordering::SeqCst);
        self.queued.fetch_sub(events, Ordering::SeqCst);
    }

    /// Whether every event from before this call has been taken in, save `in_hand` events that the
    /// asker itself is working on.
    pub(super) fn is_drained(&self, in_hand: usize) -> bool {
        let waiting = rustix::io::ioctl_fionread(&self.kernel);
        waiting == Ok(0) && !self.reader_is_busy.load(Ordering::SeqCst) && self.queued() <= in_hand
    }

    /// Up to when everything that the kernel told of is in the sink.
    pub(super) fn seen_through(&self, now: Monotonic) -> Monotonic {
        let through = if self.is_drained(0) {
            now
        } else {
            Monotonic::from_nanos(self.interpreted_through.load(Ordering::SeqCst))
        };
        through.min(Monotonic::from_nanos(self.oldest_pending.load(Ordering::SeqCst)))
    }
}
