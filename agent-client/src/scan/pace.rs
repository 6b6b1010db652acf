//! How fast a walk may go: asked before each group of looks, and after it.
//!
//! [`RateLimit`] spreads entries evenly, [`Latency`] lets others go first on storage that is slow, and
//! [`super::limits`] puts both together for all scans of an agent. Must never sleep itself: whoever
//! asks waits, so that a wait can be cancelled. Why and how: docs/scanning.md.

use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use fusion_core::time::Monotonic;

/// Says how long to wait, before and after looking at entries.
pub trait Pace: Sync {
    /// How long to wait before looking at so many entries. `now` is the asker's time; the answer
    /// counts from there.
    fn delay(&self, entries: usize, now: Monotonic) -> Duration;

    /// Most entries to ask for at once: whoever else has the same limit gets its turn after them.
    fn at_once(&self) -> usize {
        usize::MAX
    }

    /// How long to wait after so many calls of the storage that took so long in all.
    fn rest(&self, _calls: usize, _span: Duration) -> Duration {
        Duration::ZERO
    }

    /// After how long to ask again, while something more urgent is done.
    fn gives_way(&self) -> Option<Duration> {
        None
    }

    /// How many threads may read directories at once: asked before each directory.
    fn workers(&self) -> usize {
        usize::MAX
    }
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
    at_once: usize,
    /// When what was granted so far is used up. Held for a few instructions only.
    used_up_at: Mutex<Monotonic>,
}

impl RateLimit {
    const BURST: Duration = Duration::from_millis(100);

    /// At most `per_second` entries.
    #[must_use]
    pub fn new(per_second: NonZeroU32) -> Self {
        let nanos_per_entry = 1e9 / f64::from(per_second.get());
        let at_once = usize::try_from(per_second.get() / 20).unwrap_or(usize::MAX).max(1);
        Self { nanos_per_entry, at_once, used_up_at: Mutex::new(Monotonic::from_nanos(i64::MIN)) }
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

    fn at_once(&self) -> usize {
        self.at_once
    }
}

/// How long a call of the storage takes, and what that means for who makes many: above a limit the
/// share of the time in which calls are made is the limit by the latency.
#[derive(Debug)]
pub struct Latency {
    /// Absent: measured only.
    limit: Option<Duration>,
    /// Nanoseconds of a call, and of how many calls that is the mean. Held for a few instructions.
    mean: Mutex<(f64, f64)>,
}

impl Latency {
    /// The mean is over about so many of the last calls.
    const CALLS: f64 = 256.0;
    /// However slow the storage is, calls are made in one twentieth of the time: an audit that never
    /// ends is of use to nobody.
    const MOST: f64 = 19.0;
    /// Longest rest: after one call that hung for a minute nobody is served by twenty of silence.
    const LONGEST: Duration = Duration::from_secs(1);

    /// Rests if a call takes longer than `limit`; without one, it measures.
    #[must_use]
    pub fn new(limit: Option<Duration>) -> Self {
        Self { limit, mean: Mutex::new((0.0, 0.0)) }
    }

    /// What a call takes lately; zero before the first.
    #[must_use]
    pub fn mean(&self) -> Duration {
        Duration::from_nanos(self.mean.lock().unwrap_or_else(PoisonError::into_inner).0 as u64)
    }

    /// Takes in so many calls, and gives how long to rest after them.
    pub fn rest(&self, calls: usize, span: Duration) -> Duration {
        if calls == 0 {
            return Duration::ZERO;
        }
        let calls = calls as f64;
        let mean = {
            let mut mean = self.mean.lock().unwrap_or_else(PoisonError::into_inner);
            let of = (mean.1 + calls).min(Self::CALLS.max(calls));
            mean.0 += (span.as_nanos() as f64 / calls - mean.0) * (calls / of);
            mean.1 = of.min(Self::CALLS);
            mean.0
        };
        let Some(limit) = self.limit else { return Duration::ZERO };
        let excess = (mean / limit.as_nanos() as f64 - 1.0).clamp(0.0, Self::MOST);
        span.mul_f64(excess).min(Self::LONGEST)
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

    #[test]
    fn rests_grow_with_the_latency_and_end_with_it() {
        let latency = Latency::new(Some(Duration::from_millis(1)));
        let group = |each: u64| latency.rest(100, Duration::from_micros(each * 100));
        let millis = Duration::from_millis;
        for _ in 0..20 {
            assert_eq!(group(900), Duration::ZERO, "below the limit");
        }
        let settled = |each| (0..50).fold(Duration::ZERO, |_, _| group(each));
        // Twice the limit: half of the time; four times: a quarter.
        assert!((millis(199)..=millis(200)).contains(&settled(2_000)), "{:?}", settled(2_000));
        let rest = latency.rest(10, millis(40));
        assert!(rest > millis(40) && rest < millis(120), "{rest:?}: not at once");
        let rest = (0..200).fold(rest, |_, _| latency.rest(10, millis(40)));
        assert!((millis(119)..=millis(120)).contains(&rest), "{rest:?}");
        // Not for ever, however slow.
        assert_eq!(latency.rest(1, Duration::from_secs(3_600)), Latency::LONGEST);
        let rest = (0..500).fold(rest, |_, _| latency.rest(1, millis(50)));
        assert_eq!(rest, millis(50).mul_f64(Latency::MOST));
        assert_eq!(settled(500), Duration::ZERO, "over");
        assert!((Duration::from_micros(499)..Duration::from_micros(501)).contains(&latency.mean()));
    }

    #[test]
    fn without_a_limit_it_only_measures() {
        let latency = Latency::new(None);
        assert_eq!(latency.mean(), Duration::ZERO);
        assert_eq!(latency.rest(4, Duration::from_secs(8)), Duration::ZERO);
        assert_eq!(latency.mean(), Duration::from_secs(2), "the first counts whole");
        assert_eq!(latency.rest(0, Duration::from_secs(8)), Duration::ZERO);
    }
}
