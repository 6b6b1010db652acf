//! Several servers in one process, on the same stores in memory, over real connections on loopback and in real time.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what helpers of tests do not get is a failed test"
)]

#[path = "../grpc/agent.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod agent;
#[path = "../grpc/certificates.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod certificates;
mod checkpoints;
mod commands;
mod cut;
mod durable_calls;
#[path = "../grpc/evidence.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod evidence;
mod fencing;
mod following;
mod forwarding;
#[path = "../grpc/harness.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod harness;
mod lost;
mod measured;
mod peers;
mod servers;
mod take_over;
#[path = "../grpc/telling.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod telling;
