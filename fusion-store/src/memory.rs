//! The adapter that keeps all in memory: for tests, and for `fusionctl dev` on a whim.
//!
//! Durable at once, for as long as the process lives; passes the same conformance suite as all.

mod blocks;
mod log;
mod ownership;
mod state;
#[cfg(test)]
mod tests;

pub use blocks::MemoryBlocks;
pub use log::MemoryLog;
pub use ownership::MemoryOwnership;
pub use state::MemoryState;
