//! The embedded adapter: one data directory on a local disk.

mod log;

pub use log::{EmbeddedLog, LogSettings};
