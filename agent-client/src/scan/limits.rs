//! The limits of all scans of an agent, and which of them goes first.
//!
//! Owns: the rate and the latency that an operator set, what is running by its urgency, and how long
//! scans waited for each reason. One for each agent, shared by its scans and its watcher: two scans
//! at once have one limit. The rate and the threads are those of the process ([`Budgets`]); latency and
//! precedence are the tree's own, so that storage which is slow or hangs slows down nothing else. Must
//! never: hold up what is told of events ([`Rank::Discovery`]), or starve anything, for whoever gives
//! way goes on a little all the same.

use std::num::{NonZeroU32, NonZeroUsize};
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

/// What the scans of all trees of a process have together. Clones share it.
#[derive(Debug, Clone)]
pub struct Budgets {
    rate: Option<Arc<RateLimit>>,
    /// Threads that read directories.
    workers: NonZeroUsize,
    /// Trees of which something is being scanned.
    scanning: Arc<AtomicUsize>,
}

impl Budgets {
    /// At most `rate` entries a second (absent: no such limit), read by so many threads.
    #[must_use]
    pub fn new(rate: Option<NonZeroU32>, workers: NonZeroUsize) -> Self {
        let rate = rate.map(|rate| Arc::new(RateLimit::new(rate)));
        Self { rate, workers, scanning: Arc::default() }
    }

    /// How many threads may read directories of one tree now: the same number for each that is being
    /// scanned, and never none.
    fn workers(&self) -> usize {
        let trees = self.scanning.load(Ordering::Relaxed).max(1);
        (self.workers.get() / trees).max(1)
    }
}

/// The limits that an operator set.
#[derive(Debug)]
pub struct Limits {
    budgets: Budgets,
    latency: Latency,
    precedence: Precedence,
    /// Scans of this tree that are running.
    running: Mutex<usize>,
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
    /// A part of what the process has, and rests where a call of the storage takes longer than
    /// `yield_above`; absent: no such limit.
    #[must_use]
    pub fn new(budgets: Budgets, yield_above: Option<Duration>) -> Self {
        Self {
            budgets,
            latency: Latency::new(yield_above),
            precedence: Precedence::default(),
            running: Mutex::new(0),
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
        let turn = Mutex::new(Some((self.precedence.begin(rank), self.scanning())));
        Paced { limits: self, rank, own_rate: None, turn }
    }

    fn scanning(&self) -> Scanning<'_> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if *running == 0 {
            self.budgets.scanning.fetch_add(1, Ordering::Relaxed);
        }
        *running += 1;
        Scanning(self)
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
    turn: Mutex<Option<(Turn, Scanning<'a>)>>,
}

/// That a scan of this tree is running, until it is dropped.
#[derive(Debug)]
struct Scanning<'a>(&'a Limits);

impl Drop for Scanning<'_> {
    fn drop(&mut self) {
        let mut running = self.0.running.lock().unwrap_or_else(PoisonError::into_inner);
        *running -= 1;
        if *running == 0 {
            self.0.budgets.scanning.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// How long whoever gives way waits before it asks again.
const STEP: Duration = Duration::from_millis(1);

impl Paced<'_> {
    /// It does not count as running any more, though threads of it may hang in the storage.
    pub fn end(&self) {
        *self.turn.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn rate(&self) -> Option<&RateLimit> {
        self.own_rate.as_ref().or(self.limits.budgets.rate.as_deref())
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

    fn workers(&self) -> usize {
        self.limits.budgets.workers()
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

    fn budgets(rate: Option<NonZeroU32>) -> Budgets {
        Budgets::new(rate, NonZeroUsize::new(4).unwrap())
    }

    #[test]
    fn trees_share_the_rate_and_the_threads_and_not_the_latency_nor_the_precedence() {
        let common = budgets(NonZeroU32::new(100));
        let one = Limits::new(common.clone(), Some(Duration::from_millis(1)));
        let other = Limits::new(common, Some(Duration::from_millis(1)));
        let audit = one.begin(Rank::Audit);
        let asked = one.begin(Rank::Asked);
        assert_eq!((audit.workers(), asked.workers()), (4, 4), "of one tree");
        let snapshot = other.begin(Rank::Snapshot);
        assert_eq!((audit.workers(), snapshot.workers()), (2, 2));
        assert!(audit.gives_way().is_some() && snapshot.gives_way().is_none());
        assert_eq!(audit.rest(1, Duration::from_millis(3)), Duration::from_millis(6));
        assert_eq!(snapshot.rest(1, Duration::from_micros(3)), Duration::ZERO);
        let now = Monotonic::from_nanos(0);
        assert_eq!(audit.delay(10, now), Duration::ZERO);
        assert_eq!(snapshot.delay(10, now), Duration::from_millis(100));
        audit.end();
        assert_eq!(snapshot.workers(), 2, "the other tree is scanned still");
        drop(asked);
        assert_eq!(snapshot.workers(), 4);
    }

    #[test]
    fn however_many_trees_are_scanned_each_has_a_thread() {
        let common = budgets(None);
        let trees: Vec<_> = (0..9).map(|_| Limits::new(common.clone(), None)).collect();
        let scans: Vec<_> = trees.iter().map(|tree| tree.begin(Rank::Snapshot)).collect();
        assert!(scans.iter().all(|scan| scan.workers() == 1));
    }

    #[test]
    fn what_is_more_urgent_goes_first_until_it_is_over() {
        let limits = Limits::new(budgets(None), None);
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
        let limits = Limits::new(budgets(Some(hundred)), None);
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
        let limits = Limits::new(budgets(None), Some(Duration::from_millis(1)));
        let scan = limits.begin(Rank::Audit);
        assert_eq!(scan.rest(1, Duration::from_millis(3)), Duration::from_millis(6));
        assert_eq!(limits.call_latency(), Duration::from_millis(3));
        assert_eq!(limits.paused().by_latency, Duration::from_millis(6));
    }
}
