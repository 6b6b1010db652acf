//! How long to wait before the next try.
//!
//! The jitter is applied after the cap, so that a thousand agents at the cap do not beat as one; and
//! the count starts anew only after a healthy while, so that a session that is obsolete as soon as
//! it is made does not turn into a tight loop.

use std::time::Duration;

use fusion_core::time::Monotonic;

use crate::ids::Ids;

const BASE: Duration = Duration::from_millis(100);
const CAP: Duration = Duration::from_secs(5);
/// What must have gone well for this long is not the same trouble when it fails again.
const HEALTHY_WHILE: Duration = Duration::from_secs(30);

/// Counts failures in a row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Backoff {
    base: Duration,
    cap: Duration,
    failures: u32,
    healthy_since: Option<Monotonic>,
}

impl Default for Backoff {
    fn default() -> Self {
        Self::between(BASE, CAP)
    }
}

impl Backoff {
    /// One whose waits grow from `base` to `cap`, the jitter aside.
    pub(crate) fn between(base: Duration, cap: Duration) -> Self {
        Self { base, cap, failures: 0, healthy_since: None }
    }

    /// It works, at least for now.
    pub(crate) fn healthy(&mut self, now: Monotonic) {
        self.healthy_since.get_or_insert(now);
    }

    /// It failed; how long to wait. The first failure after a healthy while costs nothing.
    pub(crate) fn failed(&mut self, now: Monotonic, ids: &dyn Ids) -> Duration {
        let healthy = self.healthy_since.take().map_or(Duration::ZERO, |since| now.since(since));
        if healthy >= HEALTHY_WHILE {
            self.failures = 0;
        }
        let doublings = self.failures.checked_sub(1);
        self.failures = self.failures.saturating_add(1);
        doublings.map_or(Duration::ZERO, |doublings| {
            let wait = self.base.saturating_mul(1_u32.checked_shl(doublings).unwrap_or(u32::MAX));
            ids.jitter(wait.min(self.cap), 0.5)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::RandomIds;

    fn at(seconds: u64) -> Monotonic {
        Monotonic::from_nanos(0).plus(Duration::from_secs(seconds))
    }

    #[test]
    fn grows_to_the_cap_and_the_jitter_comes_after_it() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.failed(at(0), &RandomIds), Duration::ZERO);
        let first = backoff.failed(at(0), &RandomIds);
        assert!((50..=150).contains(&first.as_millis()), "{first:?}");
        let late: Vec<_> = (0..100).map(|_| backoff.failed(at(0), &RandomIds)).skip(10).collect();
        assert!(late.iter().all(|wait| (2_500..=7_500).contains(&wait.as_millis())), "{late:?}");
        assert!(late.iter().any(|wait| *wait > CAP) && late.iter().any(|wait| *wait < CAP));
    }

    #[test]
    fn only_a_healthy_while_starts_it_anew() {
        let mut backoff = Backoff::default();
        for _ in 0..20 {
            backoff.failed(at(0), &RandomIds);
        }
        backoff.healthy(at(0));
        assert!(backoff.failed(at(1), &RandomIds) > Duration::from_secs(2));
        backoff.healthy(at(10));
        backoff.healthy(at(20));
        assert_eq!(backoff.failed(at(40), &RandomIds), Duration::ZERO);
    }
}
