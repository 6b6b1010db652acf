//! What survives a restart.
//!
//! Owns the ports ([`ports`]: `ChangeLog`, `Blocks`, `State`) and their adapters, the format of a
//! record of changes ([`codec`]), and one conformance suite for all. Called by the server from
//! threads that may wait. Must never: say that something is durable before it is, give out half of
//! a batch, skip over what is damaged, or name a wire type.

pub mod codec;
#[cfg(any(test, feature = "testing"))]
pub mod conformance;
pub mod disk;
pub mod embedded;
mod error;
#[cfg(any(test, feature = "testing"))]
pub mod flaky;
mod follow;
pub mod memory;
pub mod ports;

#[cfg(any(test, feature = "testing"))]
pub mod sample;

pub use error::{Malformed, StoreError};
pub use ports::*;
