//! Operating it: metrics, probes, telemetry.

pub mod http;
pub mod log_filter;
pub mod metrics;
pub mod telemetry;
pub(crate) mod watchdog;
