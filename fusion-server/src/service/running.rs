//! Work that goes on for a client, in slices on the blocking pool: counted while it goes on, and ended
//! when the client goes.
//!
//! Who asks holds the [`Running`], the work holds a [`StillWanted`] of it. When who asks goes, the work sees it
//! before its next step. Must never: end the count while a slice is still under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fusion_core::id::ViewName;
use prometheus::{IntCounter, IntGauge};

use crate::ops::metrics::Metrics;

/// The side of who asks: dropped when nobody wants the work any more.
#[derive(Debug)]
pub(crate) struct Running {
    work: Arc<Work>,
}

/// The side of the work.
#[derive(Debug, Clone)]
pub(crate) struct StillWanted {
    work: Arc<Work>,
}

#[derive(Debug)]
struct Work {
    gone: AtomicBool,
    running: IntGauge,
    looked_at: IntCounter,
}

impl Running {
    /// Begins to count work on a view by the name of its call.
    pub(crate) fn begin(metrics: &Metrics, view: &ViewName, call: &str) -> Self {
        let running = metrics.searches.with_label_values(&[view.as_str(), call]);
        let looked_at = metrics.searched_entries.with_label_values(&[view.as_str()]);
        running.inc();
        Self { work: Arc::new(Work { gone: AtomicBool::new(false), running, looked_at }) }
    }

    /// A side for the work.
    pub(crate) fn wanted(&self) -> StillWanted {
        StillWanted { work: Arc::clone(&self.work) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.work.gone.store(true, Ordering::Release);
    }
}

impl StillWanted {
    /// Whether it is still wanted: to be asked before each step of so many entries, which it counts.
    pub(crate) fn step(&self, entries: usize) -> bool {
        let wanted = !self.work.gone.load(Ordering::Acquire);
        if wanted {
            self.work.looked_at.inc_by(entries as u64);
        }
        wanted
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.running.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_counted_until_its_last_step_is_over() {
        let metrics = Metrics::new().unwrap();
        let view = ViewName::new("v").unwrap();
        let count = || metrics.searches.with_label_values(&["v", "find"]).get();
        let running = Running::begin(&metrics, &view, "find");
        let wanted = running.wanted();
        assert!(wanted.step(5));
        drop(running);
        assert_eq!(count(), 1, "a step is under way");
        assert!(!wanted.step(5), "nobody wants the next");
        drop(wanted);
        assert_eq!(count(), 0);
        assert_eq!(metrics.searched_entries.with_label_values(&["v"]).get(), 5);
    }
}
