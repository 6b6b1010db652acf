//! A wrapper that makes a store fail: refuse, hang, or break off, by a seed.
//!
//! For tests of whoever uses a store. What fails did not happen; what hangs happens after that. For
//! what a disk does to the store itself see `disk::simulated`. Must never: lose what was
//! acknowledged, or say that something failed that happened.

mod blocks;
mod log;
mod state;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use crate::disk::simulated::Seeded;
use crate::error::StoreError;

pub use blocks::FlakyBlocks;
pub use log::FlakyLog;
pub use state::FlakyState;

/// How a store fails. Clones are the same.
#[derive(Debug, Clone)]
pub struct Moods {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    random: Mutex<Seeded>,
    /// Of a thousand calls so many fail.
    failing: AtomicU64,
    /// After so many calls more all fail.
    left: AtomicU64,
    hanging: Mutex<bool>,
    /// Calls that hang now.
    held: AtomicU64,
    changed: Condvar,
    failures: AtomicU64,
}

impl Moods {
    /// All is well, for now.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let shared = Shared {
            random: Mutex::new(Seeded::new(seed)),
            failing: AtomicU64::new(0),
            left: AtomicU64::new(u64::MAX),
            hanging: Mutex::new(false),
            held: AtomicU64::new(0),
            changed: Condvar::new(),
            failures: AtomicU64::new(0),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Of a thousand calls so many fail from now on.
    pub fn fail(&self, per_thousand: u64) {
        self.shared.failing.store(per_thousand, Ordering::SeqCst);
    }

    /// After so many calls more all fail: what the disk of a server is like to others from its death on.
    pub fn die_after(&self, calls: u64) {
        self.shared.left.store(calls, Ordering::SeqCst);
    }

    /// Whether all fail.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.shared.left.load(Ordering::SeqCst) == 0
    }

    /// Calls hang from now on, or go on.
    pub fn hang(&self, hanging: bool) {
        *self.shared.hanging.lock().unwrap_or_else(PoisonError::into_inner) = hanging;
        self.shared.changed.notify_all();
    }

    /// How many calls hang now.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.shared.held.load(Ordering::SeqCst)
    }

    /// How many calls failed.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.shared.failures.load(Ordering::SeqCst)
    }

    /// Whether calls hang.
    pub(crate) fn is_hanging(&self) -> bool {
        *self.shared.hanging.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this is one that fails.
    pub(crate) fn fails(&self) -> bool {
        let one_less = |left: u64| left.checked_sub(u64::from(left != u64::MAX));
        let mut random = self.shared.random.lock().unwrap_or_else(PoisonError::into_inner);
        let dead = self.shared.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less);
        let failing = self.shared.failing.load(Ordering::SeqCst);
        let fails = dead.is_err() || random.below(1000) < failing;
        self.shared.failures.fetch_add(u64::from(fails), Ordering::SeqCst);
        fails
    }

    /// A call begins: it hangs, then it may fail.
    pub(crate) fn call(&self, what: &'static str) -> Result<(), StoreError> {
        let hanging = self.shared.hanging.lock().unwrap_or_else(PoisonError::into_inner);
        self.shared.held.fetch_add(1, Ordering::SeqCst);
        let waited = self.shared.changed.wait_while(hanging, |hanging| *hanging);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        self.shared.held.fetch_sub(1, Ordering::SeqCst);
        if self.fails() { Err(failure(what)) } else { Ok(()) }
    }
}

pub(crate) fn failure(what: &'static str) -> StoreError {
    let error = std::io::Error::other("this store is flaky");
    StoreError::io(what, std::path::Path::new("flaky"))(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::{self, Reopen};
    use crate::memory::{MemoryBlocks, MemoryLog, MemoryState};
    use crate::ports::{Blocks, ChangeLog, State};

    struct Well<T>(T);

    macro_rules! well {
        ($port:path, $adapter:ty) => {
            impl Reopen<dyn $port> for Well<$adapter> {
                fn port(&self) -> &(dyn $port + 'static) {
                    &self.0
                }

                fn reopen(&mut self) {}
            }
        };
    }

    well!(ChangeLog, FlakyLog<MemoryLog>);
    well!(Blocks, FlakyBlocks<MemoryBlocks>);
    well!(State, FlakyState<MemoryState>);

    #[test]
    fn it_conforms_while_all_is_well() {
        let moods = || Moods::new(1);
        conformance::change_log(&mut || {
            Box::new(Well(FlakyLog::new(Arc::new(MemoryLog::default()), moods())))
        });
        conformance::blocks(&mut || {
            Box::new(Well(FlakyBlocks::new(Arc::new(MemoryBlocks::default()), moods())))
        });
        conformance::state(&mut || {
            Box::new(Well(FlakyState::new(Arc::new(MemoryState::default()), moods())))
        });
    }
}
