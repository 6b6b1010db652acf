//! How fast a walk may go: asked before each group of looks.
//!
//! [`RateLimit`] spreads entries evenly; a limit by latency ("yield to others") fits the same trait.
//! Must never sleep itself: whoever asks waits, so that a wait can be cancelled.

use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use fusion_core::time::Monotonic;

/// Says how long to wait before looking at so many entries.
pub trait Pace: Sync {
    /// `now` is the asker's time; the answer counts from there.
    fn delay(&self, entries: usize, now: Monotonic) -> Duration;
}

/// No limit.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unlimited;

impl Pace for Unlimited {
    fn delay(&self, _entries: usize, _now: Monotonic) -> Duration {
        Duration::ZERO
    }
}

/// At most so many entries per second, with a burst of a tenth of a second.
#[derive(Debug)]
pub struct RateLimit {
    nanos_per_entry: f64,
    /// When what was granted so far is used up. Held for a few instructions only.
    used_up_at: Mutex<Monotonic>,
}

impl RateLimit {
    const BURST: Duration = Duration::from_millis(100);

    /// At most `per_second` entries.
    #[must_use]
    pub fn new(per_second: NonZeroU32) -> Self {
        let nanos_per_entry = 1e9 / f64::from(per_second.get());
        Self { nanos_per_entry, used_up_at: Mutex::new(Monotonic::from_nanos(i64::MIN)) }
    }
}

impl Pace for RateLimit {
    fn delay(&self, entries: usize, now: Monotonic) -> Duration {
        let cost = Duration::from_nanos((entries as f64 * self.nanos_per_entry) as u64);
        let mut used_up_at = self.used_up_at.lock().unwrap_or_else(PoisonError::into_inner);
        let from = (*used_up_at).max(now.minus(Self::BURST));
        *used_up_at = from.plus(cost);
        used_up_at.since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_holds_after_its_burst() {
        let limit = RateLimit::new(NonZeroU32::new(1_000).unwrap());
        let mut now = Monotonic::from_nanos(5);
        assert_eq!(limit.delay(100, now), Duration::ZERO);
        assert_eq!(limit.delay(10, now), Duration::from_millis(10));
        now = now.plus(Duration::from_millis(10));
        assert_eq!(limit.delay(1, now), Duration::from_millis(1));
        // Long unused, it gives one burst and not more.
        now = now.plus(Duration::from_secs(100));
        assert_eq!(limit.delay(100, now), Duration::ZERO);
        assert_eq!(limit.delay(1, now), Duration::from_millis(1));
    }
}
