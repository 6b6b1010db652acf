//! Adapters on engines that run outside of the server, each behind a cargo feature of its own.
//!
//! Called as every adapter is: by threads that may wait. All of them reach their client over one
//! [`bridge`], so no call waits for longer than its limit. Must never: be named by the server (it
//! knows ports), put a secret into an error or a log line, take silence for an answer, or let a write
//! that was given up happen after one that was acknowledged.

pub(crate) mod bridge;
#[cfg(feature = "nats")]
pub mod nats;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "redis")]
pub mod redis;
mod settings;
#[cfg(feature = "testing")]
pub mod started;

pub use settings::{EngineSettings, Secret, TlsFiles};

use uuid::Uuid;

/// Whose state it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Whose {
    /// The server. There is one of an id at a time: what an earlier one had left under way is ended
    /// before the state is read.
    pub server: Uuid,
    /// The id that the state must have; none if the server has not had one yet.
    pub state: Option<Uuid>,
    /// The id that the state gets if the engine has none; drawn by the caller.
    pub new_state: Uuid,
}

/// The first bytes after all keys that begin with `prefix`.
#[cfg(any(feature = "postgres", feature = "redis"))]
fn key_end(prefix: &[u8]) -> Vec<u8> {
    match prefix.iter().rposition(|byte| *byte < 0xff) {
        Some(last) => {
            let mut end = prefix[..=last].to_vec();
            end[last] += 1;
            end
        }
        // Longer than any key, and nothing but the highest byte.
        None => vec![0xff; crate::ports::KEY_MAX + 1],
    }
}
