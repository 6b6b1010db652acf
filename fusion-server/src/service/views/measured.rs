//! The gauges of what a view's thread has to do, and of what it keeps beside its entries.

use crate::ops::metrics::{Metrics, gauged, seconds};
use crate::task::view::{ViewHandle, Waiting};

/// Sets them.
pub(super) fn measure(metrics: &Metrics, view: &ViewHandle) {
    let (name, figures) = (view.name().as_str(), view.figures());
    for (lane, Waiting { count, oldest }) in ["realtime", "scan"].into_iter().zip(view.queued()) {
        metrics.queue_batches.with_label_values(&[name, lane]).set(gauged(count as u64));
        metrics.queue_age.with_label_values(&[name, lane]).set(seconds(oldest));
    }
    metrics.view_turn.with_label_values(&[name]).set(seconds(view.turning_for()));
    let remembered = [
        ("suspects", figures.suspects),
        ("tombstones", figures.tombstones),
        ("trash", figures.trash),
        ("blind_deletions", figures.blind_deletions),
        ("losses", figures.losses),
        ("short", figures.short),
        ("relists", figures.relists),
        ("probes", figures.probes),
        ("held", figures.held),
    ];
    for (what, count) in remembered {
        metrics.view_remembered.with_label_values(&[name, what]).set(gauged(count as u64));
    }
    let max_entries = view.config().settings.max_entries;
    metrics.view_entries_limit.with_label_values(&[name]).set(gauged(max_entries));
    let skew = figures.skew_nanos as f64 / 1e9;
    metrics.view_skew.with_label_values(&[name]).set(skew);
}
