//! What a watcher counts, shared between its threads and whoever asks.

use std::sync::atomic::{AtomicU64, Ordering};

use super::failed::FailedLooks;
use crate::scan::ScanCounters;

/// See [`WatchCounts`](super::WatchCounts) for what each one means.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) events: AtomicU64,
    pub(super) file_stats: AtomicU64,
    /// Of the directories that appeared and were listed; its file stats are the watcher's too.
    pub(super) discovery: ScanCounters,
    pub(super) discovered: AtomicU64,
    pub(super) overflows: AtomicU64,
    pub(super) dropped_watches: AtomicU64,
    pub(super) failed_looks: FailedLooks,
}

/// How many directories are watched, as it was when the table was last let go of: who asks for it must
/// not wait for the table, which is held during calls that may hang with the storage.
#[derive(Debug, Default)]
pub(super) struct Gauges {
    pub(super) watched: AtomicU64,
    pub(super) unwatched: AtomicU64,
    pub(super) limit: AtomicU64,
}

pub(super) fn add(counter: &AtomicU64, number: usize) {
    counter.fetch_add(number as u64, Ordering::Relaxed);
}

pub(super) fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
