//! Who may watch: a seat for each call, bounded over all views.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fusion_core::id::ViewName;
use fusion_proto::status::Refusal;
use prometheus::IntGauge;

use crate::access::quotas::used_up;
use crate::config::InForce;
use crate::ops::metrics::Metrics;

/// When to try again where all seats are taken.
const FULL_RETRY: Duration = Duration::from_secs(5);

/// The seats of a server.
#[derive(Debug)]
pub(crate) struct Seats {
    config: InForce,
    taken: Arc<AtomicUsize>,
}

/// A seat, for as long as this lives.
#[derive(Debug)]
pub(crate) struct Seat {
    taken: Arc<AtomicUsize>,
    gauge: IntGauge,
}

impl Seats {
    pub(crate) fn new(config: InForce) -> Self {
        Self { config, taken: Arc::default() }
    }

    /// Takes a seat for a call on a view.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED: all are taken.
    pub(crate) fn take(
        &self,
        metrics: &Metrics,
        view: &ViewName,
        call: &str,
    ) -> Result<Seat, Refusal> {
        let limit = self.config.now().max_watchers;
        let more = |taken: usize| (taken < limit).then_some(taken + 1);
        if self.taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_err() {
            return Err(used_up(metrics, "max_watchers", limit, FULL_RETRY));
        }
        let gauge = metrics.watchers.with_label_values(&[view.as_str(), call]);
        gauge.inc();
        Ok(Seat { taken: Arc::clone(&self.taken), gauge })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.taken.fetch_sub(1, Ordering::AcqRel);
        self.gauge.dec();
    }
}
