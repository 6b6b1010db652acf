//! The limits of all scans of an agent, and which of them goes first.
//!
//! Owns: the rate and the latency that an operator set, what is running by its urgency, and how long
//! scans waited for each reason. One for each agent, shared by its scans and its watcher: two scans
//! at once have one limit. Must never: hold up what is told of events ([`Rank::Discovery`]), or
//! starve anything, for whoever gives way goes on a little all the same.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fusion_core::time::Monotonic;

use super::pace::{Latency, Pace, RateLimit};

/// Kinds of work, the most urgent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rank {
    /// Directories that appeared by an event: realtime evidence waits for them.
    Discovery,
    /// What somebody asked for: relists and on-demand scans.
    Asked,
    /// The periodic scan of the whole tree.
    Audit,
    /// The first scan of the whole tree, and a follower's walk.
    Snapshot,
}

/// What is running, by rank. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Precedence(Arc<[AtomicUsize; 4]>);

/// That something of a rank is running, until it is dropped.
#[derive(Debug)]
pub struct Turn(Precedence, Rank);

impl Precedence {
    /// Something begins.
    #[must_use]
    pub fn begin(&self, rank: Rank) -> Turn {
        self.0[rank as usize].fetch_add(1, Ordering::Relaxed);
        Turn(self.clone(), rank)
    }

    /// Whether something more urgent is running.
    #[must_use]
    pub fn is_behind(&self, rank: Rank) -> bool {
        self.0[..rank as usize].iter().any(|running| running.load(Ordering::Relaxed) > 0)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.0[self.1 as usize].fetch_sub(1, Ordering::Relaxed);
    }
}

/// The limits that an operator set.
#[derive(Debug)]
pub struct Limits {
    rate: Option<RateLimit>,
    latency: Latency,
    precedence: Precedence,
    waited: Waited,
}

/// Nanoseconds that workers were told to wait.
#[derive(Debug, Default)]
struct Waited {
    rate: AtomicU64,
    latency: AtomicU64,
    precedence: AtomicU64,
}

/// How long scans waited since the start, by why; summed over their workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Paused {
    /// For the rate.
    pub by_rate: Duration,
    /// Because the storage is slow.
    pub by_latency: Duration,
    /// For something more urgent.
    pub by_precedence: Duration,
}

impl Paused {
    /// For all reasons.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.by_rate + self.by_latency + self.by_precedence
    }
}

impl Limits {
    /// At most `rate` entries a second, and rests where a call of the storage takes longer than
    /// `yield_above`; absent: no such limit.
    #[must_use]
    pub fn new(rate: Option<NonZeroU32>, yield_above: Option<Duration>) -> Self {
        Self {
            rate: rate.map(RateLimit::new),
            latency: Latency::new(yield_above),
            precedence: Precedence::default(),
            waited: Waited::default(),
        }
    }

    /// What is running.
    #[must_use]
    pub fn precedence(&self) -> &Precedence {
        &self.precedence
    }

    /// How long scans waited.
    #[must_use]
    pub fn paused(&self) -> Paused {
        let read = |nanos: &AtomicU64| Duration::from_nanos(nanos.load(Ordering::Relaxed));
        let Waited { rate, latency, precedence } = &self.waited;
        Paused { by_rate: read(rate), by_latency: read(latency), by_precedence: read(precedence) }
    }

    /// What a call of the storage takes lately; zero before the first.
    #[must_use]
    pub fn call_latency(&self) -> Duration {
        self.latency.mean()
    }

    /// The pace of one scan; it counts as running until it is ended or dropped.
    #[must_use]
    pub fn begin(&self, rank: Rank) -> Paced<'_> {
        let turn = Mutex::new(Some(self.precedence.begin(rank)));
        Paced { limits: self, rank, own_rate: None, turn }
    }

    /// The pace of a walk that has a rate of its own and not the scans'.
    #[must_use]
    pub fn begin_at(&self, rank: Rank, rate: NonZeroU32) -> Paced<'_> {
        Paced { own_rate: Some(RateLimit::new(rate)), ..self.begin(rank) }
    }
}

/// The pace of one scan under the limits of all.
#[derive(Debug)]
pub struct Paced<'a> {
    limits: &'a Limits,
    rank: Rank,
    own_rate: Option<RateLimit>,
    turn: Mutex<Option<Turn>>,
}

/// How long whoever gives way waits before it asks again.
const STEP: Duration = Duration::from_millis(1);

impl Paced<'_> {
    /// It does not count as running any more, though threads of it may hang in the storage.
    pub fn end(&self) {
        *self.turn.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn rate(&self) -> Option<&RateLimit> {
        self.own_rate.as_ref().or(self.limits.rate.as_ref())
    }
}

impl Pace for Paced<'_> {
    fn delay(&self, entries: usize, now: Monotonic) -> Duration {
        let delay = self.rate().map_or(Duration::ZERO, |rate| rate.delay(entries, now));
        count(&self.limits.waited.rate, delay)
    }

    fn at_once(&self) -> usize {
        self.rate().map_or(usize::MAX, Pace::at_once)
    }

    fn rest(&self, calls: usize, span: Duration) -> Duration {
        count(&self.limits.waited.latency, self.limits.latency.rest(calls, span))
    }

    fn gives_way(&self) -> Option<Duration> {
        let behind = self.limits.precedence.is_behind(self.rank);
        behind.then(|| count(&self.limits.waited.precedence, STEP))
    }
}

fn count(waited: &AtomicU64, span: Duration) -> Duration {
    if !span.is_zero() {
        waited.fetch_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
    span
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_more_urgent_goes_first_until_it_is_over() {
        let limits = Limits::new(None, None);
        let snapshot = limits.begin(Rank::Snapshot);
        assert_eq!(snapshot.gives_way(), None, "not to itself");
        let audit = limits.begin(Rank::Audit);
        assert_eq!((snapshot.gives_way(), audit.gives_way()), (Some(STEP), None));
        let discovery = limits.precedence().begin(Rank::Discovery);
        let asked = limits.begin(Rank::Asked);
        assert!(asked.gives_way().is_some() && audit.gives_way().is_some());
        drop(discovery);
        assert!(asked.gives_way().is_none() && audit.gives_way().is_some());
        drop(asked);
        assert!(audit.gives_way().is_none() && snapshot.gives_way().is_some());
        drop(audit);
        assert!(snapshot.gives_way().is_none());
        assert_eq!(limits.paused().by_precedence, 5 * STEP);
    }

    #[test]
    fn two_scans_share_a_rate_and_a_walk_has_its_own() {
        let hundred = NonZeroU32::new(100).unwrap();
        let limits = Limits::new(Some(hundred), None);
        let (one, two) = (limits.begin(Rank::Audit), limits.begin(Rank::Asked));
        let now = Monotonic::from_nanos(0);
        assert_eq!(one.delay(10, now), Duration::ZERO);
        assert_eq!(two.delay(10, now), Duration::from_millis(100));
        assert_eq!(limits.begin_at(Rank::Snapshot, hundred).delay(10, now), Duration::ZERO);
        assert_eq!(one.delay(10, now), Duration::from_millis(200));
        assert_eq!(limits.paused().total(), Duration::from_millis(300));
    }

    #[test]
    fn the_latency_is_of_all_scans() {
        let limits = Limits::new(None, Some(Duration::from_millis(1)));
        let scan = limits.begin(Rank::Audit);
        assert_eq!(scan.rest(1, Duration::from_millis(3)), Duration::from_millis(6));
        assert_eq!(limits.call_latency(), Duration::from_millis(3));
        assert_eq!(limits.paused().by_latency, Duration::from_millis(6));
    }
}
