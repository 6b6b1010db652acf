//! The lease of a server: whether it may act as the owner of anything, by its own monotonic clock.
//!
//! Written by the member's thread with each renewal, asked by everybody else. One that lapsed does not come back: what
//! was owned under it was lost, whoever has it by now, so a renewal after a lapse begins another *term*.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use fusion_core::time::{Clock, Monotonic};

/// A time in which the lease was never in doubt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Term(u64);

/// The lease; a cheap handle.
#[derive(Clone)]
pub(crate) struct Lease {
    shared: Arc<Shared>,
}

struct Shared {
    clock: Arc<dyn Clock>,
    /// For how long a renewal counts after it was begun.
    good_for: Duration,
    /// Until when it is good, in nanoseconds.
    until: AtomicI64,
    term: AtomicU64,
}

impl Lease {
    /// One that is not good yet. Others take a server for dead that says nothing for `lease`; this ends before.
    pub(super) fn new(lease: Duration, clock: Arc<dyn Clock>) -> Self {
        let (until, term) = (AtomicI64::new(i64::MIN), AtomicU64::new(0));
        Self { shared: Arc::new(Shared { clock, good_for: lease / 4 * 3, until, term }) }
    }

    /// A renewal succeeded that was begun then: nobody has seen it before.
    pub(super) fn renewed(&self, begun: Monotonic) {
        let Shared { clock, good_for, until, term } = &*self.shared;
        if clock.monotonic().as_nanos() >= until.load(Ordering::Acquire) {
            // In this order: who asks in between finds neither the old term nor the new one good.
            term.fetch_add(1, Ordering::AcqRel);
        }
        until.store(begun.plus(*good_for).as_nanos(), Ordering::Release);
    }

    /// The term of now; nothing while the lease has lapsed.
    pub(crate) fn term(&self) -> Option<Term> {
        let term = Term(self.shared.term.load(Ordering::Acquire));
        self.holds(term).then_some(term)
    }

    /// Whether what was owned in a term still is, as far as the lease goes.
    pub(crate) fn holds(&self, term: Term) -> bool {
        let Shared { clock, until, term: now, .. } = &*self.shared;
        clock.monotonic().as_nanos() < until.load(Ordering::Acquire)
            && now.load(Ordering::Acquire) == term.0
    }

    /// How often it has lapsed by now.
    pub(super) fn lapses(&self) -> u64 {
        let terms = self.shared.term.load(Ordering::Acquire);
        let has_lapsed = terms > 0 && !self.holds(Term(terms));
        terms.saturating_sub(1) + u64::from(has_lapsed)
    }

    /// For how long what others say of themselves is believed.
    pub(crate) fn good_for(&self) -> Duration {
        self.shared.good_for
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lease").field(&self.term()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicI64;

    use fusion_core::time::ServerTime;

    use super::*;

    struct Hand(AtomicI64);

    impl Clock for Hand {
        fn now(&self) -> ServerTime {
            ServerTime::default()
        }

        fn monotonic(&self) -> Monotonic {
            Monotonic::from_nanos(self.0.load(Ordering::SeqCst))
        }
    }

    #[test]
    fn what_lapsed_does_not_come_back() {
        let hand = Arc::new(Hand(AtomicI64::new(0)));
        let lease = Lease::new(Duration::from_nanos(400), Arc::clone(&hand) as _);
        let at = |nanos| hand.0.store(nanos, Ordering::SeqCst);
        assert_eq!((lease.term(), lease.lapses()), (None, 0), "it was never renewed");
        lease.renewed(Monotonic::from_nanos(0));
        let first = lease.term().unwrap();
        at(299);
        assert!(lease.holds(first));
        lease.renewed(Monotonic::from_nanos(200));
        at(499);
        assert_eq!((lease.term(), lease.lapses()), (Some(first), 0), "it was renewed in time");
        at(500);
        assert_eq!((lease.term(), lease.lapses()), (None, 1));
        lease.renewed(Monotonic::from_nanos(499));
        assert!(!lease.holds(first) && lease.term().is_some_and(|term| term != first));
        assert_eq!(lease.lapses(), 1, "the same one");
    }
}
