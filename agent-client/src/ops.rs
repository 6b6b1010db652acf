//! How the agent is watched itself: metrics, the HTTP endpoints that show them, logs and traces.
//!
//! Owns no state of the agent: `metrics` is written by whoever does the work. Must never: keep the
//! agent from its work; an exporter or a scraper that is gone costs nothing.

pub mod http;
pub mod metrics;
pub mod telemetry;
