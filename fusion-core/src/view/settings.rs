//! The settings of a view.

use std::time::Duration;

/// What an operator can set about a view; defaults are those of 5-operations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewSettings {
    /// How stale a listing of the storage may be.
    pub cache_horizon: Duration,
    /// How long an entry counts as hot after it changed.
    pub hot_threshold: Duration,
    /// An audit lists one in this many silent directories in full (R9).
    pub deep_audit_one_in: u32,
    /// How long what was trashed can be restored.
    pub trash_ttl: Duration,
    /// How long a tombstone lives at most; never below 10 × `cache_horizon`.
    pub tombstone_ttl: Duration,
    /// How long it is remembered who confirmed an entry.
    pub confirm_keep: Duration,
    /// A relist that is unanswered for longer makes the view DEGRADED.
    pub relist_overdue: Duration,
    /// How many pieces of evidence are held back at most while a scan runs (R1).
    pub held_max: usize,
    /// How many entries the view has at most, its root among them; what would be one more is left out.
    pub max_entries: u64,
    /// Another root is taken without asking an operator (R11).
    pub accept_root: bool,
}

impl Default for ViewSettings {
    fn default() -> Self {
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        Self {
            cache_horizon: Duration::from_secs(60),
            hot_threshold: Duration::from_secs(30),
            deep_audit_one_in: 4,
            trash_ttl: hours(24),
            tombstone_ttl: hours(24),
            confirm_keep: Duration::from_secs(600),
            relist_overdue: Duration::from_secs(600),
            held_max: 100_000,
            max_entries: 100_000_000,
            accept_root: false,
        }
    }
}

impl ViewSettings {
    /// The life of a tombstone, never below ten times `cache_horizon`.
    pub(super) fn tombstone_life(&self) -> Duration {
        self.tombstone_ttl.max(self.cache_horizon.saturating_mul(10))
    }
}
