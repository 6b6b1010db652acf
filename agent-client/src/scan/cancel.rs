//! The one way to stop threads that scan or watch: at once, also in mid-directory or mid-wait.
//!
//! A flag that is asked per entry, and a bell for those who wait. Setting it is for good.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Whether to stop; clones share one answer.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    flag: AtomicBool,
    /// Guards nothing: it only makes setting and waiting exclude each other, so no ring is missed.
    lock: Mutex<()>,
    bell: Condvar,
}

impl Cancel {
    /// Not yet set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets it, and wakes those who wait.
    pub fn set(&self) {
        self.0.flag.store(true, Ordering::SeqCst);
        drop(self.0.lock.lock().unwrap_or_else(PoisonError::into_inner));
        self.0.bell.notify_all();
    }

    /// Whether it is set.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.flag.load(Ordering::Relaxed)
    }

    /// Waits for this long, or until it is set; gives whether it is.
    #[must_use]
    pub fn wait(&self, span: Duration) -> bool {
        let guard = self.0.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.0.bell.wait_timeout_while(guard, span, |()| !self.is_set());
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        self.is_set()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_is_woken() {
        let cancel = Cancel::new();
        assert!(!cancel.wait(Duration::ZERO));
        std::thread::scope(|scope| {
            let waiter = std::thread::Builder::new()
                .spawn_scoped(scope, || cancel.wait(Duration::from_secs(3600)))
                .unwrap();
            cancel.set();
            assert!(waiter.join().unwrap());
        });
        assert!(cancel.is_set());
    }
}
