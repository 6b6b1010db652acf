//! NATS JetStream: the conformance suite, and what real servers do when they fail.

mod checkpoints;
mod conforms;
mod faults;
mod feed;
mod fencing;
mod full;
mod proxy;
mod schedules;
mod server;
mod state;

use std::sync::atomic::{AtomicUsize, Ordering};

use fusion_store::engines::Whose;
use fusion_store::engines::nats::NatsSettings;
use uuid::Uuid;

/// Settings with a prefix that no other store of these servers has.
fn settings(servers: Vec<String>) -> NatsSettings {
    static STORES: AtomicUsize = AtomicUsize::new(0);
    let prefix = format!("t{}", STORES.fetch_add(1, Ordering::Relaxed));
    NatsSettings { prefix, ..NatsSettings::new(servers) }
}

/// A server that has had no state yet.
fn whose(number: u128) -> Whose {
    Whose { server: Uuid::from_u128(number), state: None, new_state: Uuid::from_u128(100 + number) }
}
