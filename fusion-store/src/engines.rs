//! Adapters on engines that run outside of the server, each behind a cargo feature of its own.
//!
//! Called as every adapter is: by threads that may wait. All of them reach their client over one
//! [`bridge`], so no call waits for longer than its limit. Must never: be named by the server (it
//! knows ports), put a secret into an error or a log line, or take silence for an answer.

pub(crate) mod bridge;
#[cfg(feature = "nats")]
pub mod nats;
