//! The server in process, over real connections on loopback, on driven time: what a client of
//! `fusion.v1` is told in every case.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what helpers of tests do not get is a failed test"
)]

mod access;
mod admin;
mod agent;
mod audit;
mod bounds;
mod breakage;
mod certificates;
mod changes;
mod counting;
mod events;
mod evidence;
mod exporting;
mod failing;
mod find;
mod full;
mod harness;
mod hostile;
mod idempotency;
mod job_faults;
mod jobs;
mod kills;
mod listing;
mod lists;
mod observed;
mod offline;
mod ops;
mod paths;
mod quotas;
mod refresh;
mod refusals;
mod reloading;
mod restart;
mod revoking;
mod running;
mod sessions;
mod stuck;
mod telling;
mod tenants;
mod tls;
mod unseen;
mod views;
mod wait;
mod watch;
