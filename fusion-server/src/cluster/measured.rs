//! The gauges of what servers are to each other, and to their views; set when they are read.

use std::sync::Arc;
use std::time::Duration;

use fusion_proto::convert::view::ViewOwnership;

use super::conduct::Conductor;
use crate::ops::metrics::{Metrics, gauged, seconds};
use crate::task::view::ViewHandle;

impl Conductor {
    /// Sets them.
    pub(crate) fn measure(&self) {
        let metrics = &self.cluster.shared.metrics;
        let known = Arc::clone(&self.cluster.known().borrow());
        let live = known.members.keys().filter(|id| self.live(&known, **id).is_some()).count();
        for (state, count) in [("live", live), ("silent", known.members.len() - live)] {
            metrics.servers.with_label_values(&[state]).set(gauged(count as u64));
        }
        self.views.all().iter().for_each(|view| self.measure_view(metrics, view));
    }

    fn measure_view(&self, metrics: &Metrics, view: &ViewHandle) {
        let name = &[view.name().as_str()];
        let ViewOwnership { owner: _, epoch, owned, lag } = self.ownership(view);
        metrics.view_owned.with_label_values(name).set(i64::from(owned));
        metrics.view_owner_epoch.with_label_values(name).set(gauged(epoch));
        // What is not known any more is not said: it may not be there to be removed.
        match lag {
            Some(lag) => metrics.view_lag.with_label_values(name).set(gauged(lag)),
            None => drop(metrics.view_lag.remove_label_values(name)),
        }
        let heard = if owned { Some(Duration::ZERO) } else { self.heard(view) };
        match heard {
            Some(heard) => metrics.view_lag_seconds.with_label_values(name).set(seconds(heard)),
            None => drop(metrics.view_lag_seconds.remove_label_values(name)),
        }
        // They are there before there is anything to count.
        metrics.take_overs.with_label_values(name);
        metrics.hand_overs.with_label_values(name);
    }

    /// How long ago the owner said what has been replayed by now.
    fn heard(&self, view: &ViewHandle) -> Option<Duration> {
        view.heard(self.cluster.lease().good_for())
    }
}
