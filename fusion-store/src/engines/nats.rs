//! The log, the blocks and the state on NATS JetStream, which orders, replicates and stores.
//!
//! Called by the server as every adapter is. One connection for all views, on a thread of its own.
//! A view has two streams, one of its log and one of its blocks, each with one writer that says
//! after which message its next one comes: so a server that no longer owns the view writes nothing.
//! The state of all servers is one key-value bucket.
//! Must never: append without saying after what, take silence for an answer, tell a credential.
//! Tested by the conformance suite and by faults of real servers in `tests/engines`.
//!
//! An acknowledgement of JetStream says that the message outlives the death of processes. It
//! outlives power only with `sync_interval: always` in the configuration of every server, which a
//! client cannot see; so the operator says it ([`NatsSync`]).

mod blocks;
mod connection;
mod log;
mod ownership;
mod state;
mod stream;

use std::path::PathBuf;
use std::time::Duration;

use uuid::Uuid;

use crate::error::StoreError;

pub use blocks::NatsBlocks;
pub use connection::Nats;
pub use log::NatsLog;
pub use ownership::NatsOwnership;
pub use state::NatsState;

/// How JetStream is reached, and what it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatsSettings {
    /// Its servers, such as `nats://host:4222` or `tls://host:4222`; one that answers is enough.
    pub servers: Vec<String>,
    /// The file with the credentials (JWT and key), if the servers ask for them.
    pub credentials: Option<PathBuf>,
    /// TLS, if the servers speak it.
    pub tls: Option<NatsTls>,
    /// What the names of streams and subjects begin with: letters, digits, `-` and `_`.
    pub prefix: String,
    /// On how many servers each message is kept: 1, 3 or 5.
    pub replicas: usize,
    /// Bytes that the log of one view may take before it refuses more; none for no bound but the
    /// servers'.
    pub log_max_bytes: Option<u64>,
    /// What the operator says of the servers' disks.
    pub sync: NatsSync,
    /// How long one call waits.
    pub timeout: Duration,
    /// Bytes of a message at most; the servers' `max_payload` bounds it too.
    pub message_bytes: usize,
    /// What the servers' own lists call this client.
    pub client: String,
}

/// Files for TLS, in PEM.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NatsTls {
    /// Who signs the servers' certificates; the system's if none is named.
    pub ca: Option<PathBuf>,
    /// The client's certificate and its key, if the servers ask for one.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// What an acknowledgement is worth when the power fails, as the operator says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NatsSync {
    /// The servers have `sync_interval: always`: what is acknowledged is on disk.
    Always,
    /// They sync now and then: what is acknowledged outlives processes, and power only as long as
    /// it does not fail at most of the replicas within the interval.
    #[default]
    Interval,
}

impl NatsSettings {
    /// Those for servers, with defaults for all else.
    #[must_use]
    pub fn new(servers: Vec<String>) -> Self {
        Self {
            servers,
            credentials: None,
            tls: None,
            prefix: "fusion".to_owned(),
            replicas: 1,
            log_max_bytes: None,
            sync: NatsSync::default(),
            timeout: Duration::from_secs(10),
            message_bytes: 512 << 10,
            client: "fusion-server".to_owned(),
        }
    }
}

/// An id that nobody else has drawn.
fn random() -> Result<Uuid, StoreError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| StoreError::Away {
        what: "write to",
        engine: "NATS".to_owned(),
        why: format!("the system gives no random bytes: {error}"),
    })?;
    Ok(Uuid::from_bytes(bytes))
}
