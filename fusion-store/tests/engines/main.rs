//! Adapters on engines outside of the server, each on real ones that the tests start themselves.
#![cfg(feature = "engines")]
#![allow(unreachable_pub, reason = "the servers are for the tests of other crates as well")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests: what fails is told by the panic"
)]

#[cfg(feature = "nats")]
#[allow(dead_code, reason = "each of the tests that take this file uses a part of it")]
mod faults;
#[cfg(feature = "nats")]
mod nats;
