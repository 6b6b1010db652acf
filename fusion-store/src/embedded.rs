//! The embedded adapter: one data directory on a local disk.

mod backup;
pub(crate) mod blocks;
mod log;
mod state;
mod store;
#[cfg(test)]
mod tests;

pub use backup::{BackedUp, back_up};
pub use blocks::{BlocksSettings, EmbeddedBlocks};
pub use log::{EmbeddedLog, LogSettings};
pub use state::EmbeddedState;
pub use store::{STORE_VERSION, Store, StoreOptions, StoredView};
