//! Settings of views for tests: what otherwise takes minutes takes moments, because storage on this machine
//! has no cache that could be stale unless a test makes one.

/// `[view_defaults]` of a server; the values are written as in its configuration.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// How long what a host shows of the storage may be behind it.
    pub cache_horizon: &'static str,
    /// How long a session lives without a heartbeat.
    pub session_timeout: &'static str,
    /// From one audit to the next.
    pub audit_interval: &'static str,
    /// One in so many silent directories is listed in full by each audit (R9).
    pub deep_audit_one_in: u32,
}

impl Settings {
    /// Audits one after the other.
    pub const QUICK: Self = Self {
        cache_horizon: "200ms",
        session_timeout: "6s",
        audit_interval: "700ms",
        deep_audit_one_in: 4,
    };

    /// No audit while a test runs, but what is ordered.
    pub const NO_AUDITS: Self = Self { audit_interval: "1h", ..Self::QUICK };

    /// As a server's configuration.
    #[must_use]
    pub fn toml(&self) -> String {
        let Self { cache_horizon, session_timeout, audit_interval, deep_audit_one_in } = self;
        format!(
            "[view_defaults]\ncache_horizon = \"{cache_horizon}\"\nhot_threshold = \"100ms\"\n\
             session_timeout = \"{session_timeout}\"\naudit_interval = \"{audit_interval}\"\n\
             deep_audit_one_in = {deep_audit_one_in}\n"
        )
    }
}
