//! Operating it: metrics, probes, telemetry.

pub mod http;
pub mod metrics;
pub mod telemetry;
