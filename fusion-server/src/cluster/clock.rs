//! Server time of several servers: it goes on from where the last owner of a view was.
//!
//! Every server anchors server time to its own wall clock, and one may be an hour off. The rules never let the time of a
//! view go back, so a view whose owner was ahead would stand still for an hour. Who takes a view over therefore puts its
//! own server time forward to the view's; it never goes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use fusion_core::time::{Clock, Monotonic, ServerTime};

/// The clock of a server that is not alone.
pub(crate) struct SharedClock {
    inner: Arc<dyn Clock>,
    /// By how many nanoseconds server time is ahead of what `inner` says.
    ahead: AtomicI64,
}

impl SharedClock {
    pub(crate) fn new(inner: Arc<dyn Clock>) -> Self {
        Self { inner, ahead: AtomicI64::new(0) }
    }

    /// From now on it is at least so late.
    pub(crate) fn at_least(&self, time: ServerTime) {
        let behind = time.since(self.inner.now()).as_nanos();
        let behind = i64::try_from(behind).unwrap_or(i64::MAX);
        let before = self.ahead.fetch_max(behind, Ordering::AcqRel);
        if behind > before.saturating_add(1_000_000_000) {
            let by = Duration::from_nanos(behind.abs_diff(before));
            tracing::warn!(?by, "server time is put forward: the last owner of a view was ahead");
        }
    }
}

impl Clock for SharedClock {
    fn now(&self) -> ServerTime {
        let ahead = self.ahead.load(Ordering::Acquire);
        self.inner.now().plus(Duration::from_nanos(ahead.unsigned_abs()))
    }

    fn monotonic(&self) -> Monotonic {
        self.inner.monotonic()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Still;

    impl Clock for Still {
        fn now(&self) -> ServerTime {
            ServerTime::from_nanos(1_000)
        }

        fn monotonic(&self) -> Monotonic {
            Monotonic::default()
        }
    }

    #[test]
    fn it_is_put_forward_and_never_back() {
        let clock = SharedClock::new(Arc::new(Still));
        for (at_least, now) in [(500, 1_000), (5_000, 5_000), (3_000, 5_000), (7_000, 7_000)] {
            clock.at_least(ServerTime::from_nanos(at_least));
            assert_eq!(clock.now(), ServerTime::from_nanos(now));
        }
    }
}
