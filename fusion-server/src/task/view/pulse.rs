//! Whether the thread of a view turns: how long its turn already takes.
//!
//! A turn is microseconds to milliseconds of work. One that takes seconds hangs on the disk, or is a bug; nobody
//! else would see it, because who reads the tree does not wait for the thread.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use fusion_core::time::{Clock, Monotonic};

/// A turn that takes longer has stuck.
pub(crate) const STUCK: Duration = Duration::from_secs(10);

/// No turn is under way.
const NONE: i64 = i64::MIN;

/// Written by the thread at both ends of a turn.
pub(super) struct Pulse {
    clock: Arc<dyn Clock>,
    /// When the turn began, in nanoseconds.
    since: AtomicI64,
}

impl Pulse {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, since: AtomicI64::new(NONE) }
    }

    /// A turn begins.
    pub(super) fn begin(&self) {
        self.since.store(self.clock.monotonic().as_nanos(), Ordering::Relaxed);
    }

    /// It has ended.
    pub(super) fn end(&self) {
        self.since.store(NONE, Ordering::Relaxed);
    }

    /// Now, by the clock that turns are measured with.
    pub(super) fn now(&self) -> Monotonic {
        self.clock.monotonic()
    }

    /// How long the turn takes by now; nothing if none is under way.
    pub(super) fn turning_for(&self) -> Duration {
        match self.since.load(Ordering::Relaxed) {
            NONE => Duration::ZERO,
            since => self.clock.monotonic().since(Monotonic::from_nanos(since)),
        }
    }
}

impl fmt::Debug for Pulse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pulse").field(&self.turning_for()).finish()
    }
}
