//! `[cluster]`: how the server takes part among several on one log and one state.

use std::time::Duration;

/// How the server takes part among several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterConfig {
    /// Where other servers and agents reach this one: `http://HOST:PORT`, or `https://HOST:PORT`.
    pub advertise: String,
    /// A view whose owner says nothing for so long is taken over.
    pub lease: Duration,
    /// Bytes of memory, the weight where views are placed; what the machine or its cgroup allows, if not set.
    pub memory: Option<u64>,
}

impl Default for ClusterConfig {
    fn default() -> Self {
        Self { advertise: String::new(), lease: Duration::from_secs(3), memory: None }
    }
}
