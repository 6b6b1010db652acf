//! What a scan counts while it runs: read by heartbeats and metrics, written by the workers.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of one scan; shared by reference, never reset.
#[derive(Debug, Default)]
pub struct ScanCounters {
    pub(crate) directories: AtomicU64,
    /// Directories that are or will be read, as far as they are known.
    pub(crate) found: AtomicU64,
    pub(crate) silent: AtomicU64,
    pub(crate) entries: AtomicU64,
    pub(crate) errors: AtomicU64,
    pub(crate) file_stats: AtomicU64,
    pub(crate) saturated_times: AtomicU64,
}

/// A reading of [`ScanCounters`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ScanCounts {
    /// Directories read, or found silent.
    pub directories: u64,
    /// Those of them that were found silent and not read.
    pub silent: u64,
    /// Entries seen, the start itself not among them.
    pub entries: u64,
    /// Directories that could not be read, and soft errors.
    pub errors: u64,
    /// Entries whose stat was taken; none in a names-only walk.
    pub file_stats: u64,
    /// Times outside i64 nanoseconds, which were saturated.
    pub saturated_times: u64,
}

impl ScanCounters {
    /// The counts of this moment.
    #[must_use]
    pub fn read(&self) -> ScanCounts {
        ScanCounts {
            directories: self.directories.load(Ordering::Relaxed),
            silent: self.silent.load(Ordering::Relaxed),
            entries: self.entries.load(Ordering::Relaxed),
            errors: self.errors.load(Ordering::Relaxed),
            file_stats: self.file_stats.load(Ordering::Relaxed),
            saturated_times: self.saturated_times.load(Ordering::Relaxed),
        }
    }

    /// How much of what is known so far has been read, 0 to 99: a directory may hold any number of
    /// others, so this may go back.
    #[must_use]
    pub fn percent(&self) -> u8 {
        let found = self.found.load(Ordering::Relaxed);
        let read = self.directories.load(Ordering::Relaxed);
        let percent = (read * 100).checked_div(found).unwrap_or(0);
        u8::try_from(percent.min(99)).unwrap_or(99)
    }

    pub(crate) fn add(counter: &AtomicU64, number: usize) {
        counter.fetch_add(number as u64, Ordering::Relaxed);
    }
}
