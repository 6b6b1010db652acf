//! The watermark: storage time now, as the view reckons (4-consistency §2).
//!
//! Owns the samples of (`observed_at` − ctime) and their mode. Only applied realtime upserts feed
//! it, and only hotness (R7) and the settling of a listing (R4.4) read it: no clock but
//! `cache_horizon` decides life and death. Must never: follow mtime, which anybody can forge.
//! Tested below.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::time::{ServerTime, StorageTime};

use super::shared::Shared;

/// Samples that the mode is taken over.
const WINDOW: usize = 10_000;
/// Samples without which the clock is uncalibrated.
const ENOUGH: usize = 16;
/// Evidence that took longer than this to arrive is no sample: it may come out of a spool.
pub(super) const FRESH: Duration = Duration::from_secs(10);

const SECOND: i64 = 1_000_000_000;

/// The skew of the storage's clock.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Watermark {
    /// The last samples, oldest first: whole seconds that the storage is behind.
    samples: Shared<VecDeque<i64>>,
    /// How often each bucket stands in `samples`.
    buckets: BTreeMap<i64, u32>,
    /// The same, by frequency: the last one is the mode (of several the least bucket).
    ranks: BTreeSet<(u32, Reverse<i64>)>,
    /// The least of (time of looking − ctime) of all that was listed: the storage's clock is at
    /// most by so much behind.
    least: Option<i64>,
}

impl Watermark {
    /// Whether evidence that arrives `now` is a sample.
    pub(super) fn is_fresh(observed_at: ServerTime, now: ServerTime) -> bool {
        now.since(observed_at) <= FRESH
    }

    /// Takes a sample: a realtime upsert that arrived within [`FRESH`].
    pub(super) fn sample(&mut self, observed_at: ServerTime, ctime: StorageTime) {
        let behind = observed_at.as_nanos().saturating_sub(ctime.as_nanos()).div_euclid(SECOND);
        self.push(behind);
    }

    /// The last samples, to be held while they change.
    pub(super) fn shared(&self) -> &Shared<VecDeque<i64>> {
        &self.samples
    }

    /// Takes a sample: by how many whole seconds the storage is behind.
    pub(super) fn push(&mut self, behind: i64) {
        let samples = self.samples.edit();
        samples.push_back(behind);
        let old = if samples.len() > WINDOW { samples.pop_front() } else { None };
        if old == Some(behind) {
            return;
        }
        if let Some(old) = old {
            self.count(old, |count| count.saturating_sub(1));
        }
        self.count(behind, |count| count.saturating_add(1));
    }

    /// A directory was listed in a version.
    pub(super) fn listed(&mut self, looked_at: ServerTime, ctime: StorageTime) {
        let behind = looked_at.as_nanos().saturating_sub(ctime.as_nanos());
        self.least = Some(self.least.map_or(behind, |least| least.min(behind)));
    }

    /// The least that the storage's clock was behind the look at a directory, in nanoseconds.
    pub(super) fn least(&self) -> Option<i64> {
        self.least
    }

    /// Takes it back.
    pub(super) fn set_least(&mut self, least: Option<i64>) {
        self.least = least;
    }

    /// R4.4: whether a directory may have changed again in the tick of this ctime, or behind a cache,
    /// after it was looked at; `age` is how old the ctime must be. While uncalibrated only that is
    /// certain: what is `age` older than the newest that was ever listed is older than that.
    pub(super) fn is_young(
        &self,
        ctime: StorageTime,
        looked_at: ServerTime,
        age: Duration,
    ) -> bool {
        if self.is_calibrated() {
            return self.at(looked_at).minus(age) < ctime;
        }
        let behind = looked_at.as_nanos().saturating_sub(ctime.as_nanos());
        let least = self.least.map_or(behind, |least| least.min(behind));
        let age = i64::try_from(age.as_nanos()).unwrap_or(i64::MAX);
        behind < least.saturating_add(age)
    }

    fn count(&mut self, bucket: i64, change: impl Fn(u32) -> u32) {
        let before = self.buckets.get(&bucket).copied().unwrap_or(0);
        let after = change(before);
        self.ranks.remove(&(before, Reverse(bucket)));
        if after == 0 {
            self.buckets.remove(&bucket);
        } else {
            self.buckets.insert(bucket, after);
            self.ranks.insert((after, Reverse(bucket)));
        }
    }

    fn mode(&self) -> i64 {
        self.ranks.last().map_or(0, |(_, Reverse(bucket))| *bucket)
    }

    /// Whether the watermark rests on enough samples.
    pub(super) fn is_calibrated(&self) -> bool {
        self.samples.len() >= ENOUGH
    }

    /// By how many nanoseconds the storage's clock is behind the server's; 0 if uncalibrated.
    pub(super) fn skew_nanos(&self) -> i64 {
        if self.is_calibrated() { self.mode().saturating_mul(SECOND) } else { 0 }
    }

    /// Storage time at a server time.
    pub(super) fn at(&self, time: ServerTime) -> StorageTime {
        StorageTime::from_nanos(time.as_nanos().saturating_sub(self.skew_nanos()))
    }

    /// R7: whether an entry changed so lately that it may be half visible.
    pub(super) fn is_hot(&self, ctime: StorageTime, now: ServerTime, threshold: Duration) -> bool {
        self.at(now).minus(threshold) < ctime
    }

    /// How many samples there are, their mode in seconds, and the least age of what was listed: what a
    /// dump tells.
    pub(super) fn figures(&self) -> (usize, i64, Option<i64>) {
        (self.samples.len(), self.mode(), self.least)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(seconds: i64) -> ServerTime {
        ServerTime::from_nanos(seconds * SECOND)
    }

    fn storage(seconds: i64) -> StorageTime {
        StorageTime::from_nanos(seconds * SECOND)
    }

    #[test]
    fn sixteen_samples_calibrate() {
        let mut clock = Watermark::default();
        for number in 0..15 {
            clock.sample(server(100 + number), storage(90 + number));
        }
        assert!(!clock.is_calibrated());
        assert_eq!(clock.at(server(200)), storage(200));
        clock.sample(server(200), storage(190));
        assert!(clock.is_calibrated());
        assert_eq!(clock.at(server(200)), storage(190));
    }

    #[test]
    fn without_samples_only_what_is_older_than_the_newest_listed_is_old() {
        let age = Duration::from_secs(62);
        let mut clock = Watermark::default();
        // The storage's clock may be a thousand seconds behind: this may have changed just now.
        assert!(clock.is_young(storage(9_000), server(10_000), age));
        clock.listed(server(10_000), storage(9_000));
        assert!(clock.is_young(storage(8_939), server(10_000), age));
        assert!(!clock.is_young(storage(8_938), server(10_000), age));
        assert!(clock.is_young(storage(9_000), server(10_061), age));
        assert!(!clock.is_young(storage(9_000), server(10_062), age));
    }

    #[test]
    fn a_minority_of_wrong_clocks_changes_nothing() {
        let mut clock = Watermark::default();
        for number in 0..300 {
            let wrong = if number % 3 == 0 { 7200 } else { 0 };
            clock.sample(server(100_000 + number), storage(100_000 + number - wrong));
        }
        assert_eq!(clock.at(server(200_000)), storage(200_000));
    }

    #[test]
    fn only_the_last_ten_thousand_count() {
        let mut clock = Watermark::default();
        for number in 0..10_000 {
            clock.sample(server(number), storage(number - 5));
        }
        for number in 0..6_000 {
            clock.sample(server(number), storage(number - 9));
        }
        assert_eq!(clock.skew_nanos(), 9 * SECOND);
        assert_eq!(clock.figures(), (10_000, 9, None));
    }

    #[test]
    fn times_at_the_ends_saturate() {
        let mut clock = Watermark::default();
        for _ in 0..20 {
            clock.sample(ServerTime::MAX, StorageTime::from_nanos(i64::MIN));
        }
        let _ = clock.at(ServerTime::from_nanos(i64::MIN));
        assert!(!clock.is_hot(StorageTime::from_nanos(i64::MIN), server(0), FRESH));
    }
}
