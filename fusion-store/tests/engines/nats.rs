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

use std::sync::atomic::{AtomicUsize, Ordering};

use fusion_store::engines::nats::NatsSettings;

/// Settings with a prefix that no other store of these servers has.
fn settings(servers: Vec<String>) -> NatsSettings {
    static STORES: AtomicUsize = AtomicUsize::new(0);
    let prefix = format!("t{}", STORES.fetch_add(1, Ordering::Relaxed));
    NatsSettings { prefix, ..NatsSettings::new(servers) }
}
