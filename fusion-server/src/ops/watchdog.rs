//! Sees what is stuck: the threads of views, and the event loop itself.
//!
//! A view whose thread does not turn is told in the log and in its health, and of what its status says TRUSTED
//! reads are refused ([`crate::task::view::ViewHandle::status`]). Nothing is ended: a thread cannot be, and what
//! hangs on a disk goes on when that is back.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use fusion_core::id::ViewName;
use fusion_core::time::Clock;
use fusion_core::view::ViewState;

use super::metrics::{Metrics, seconds};
use crate::grpc::health::Health;
use crate::service::views::Views;
use crate::task::view::STUCK;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);

/// Looks for as long as the server lives.
pub(crate) async fn run(views: Views, health: Health, metrics: Metrics, clock: Arc<dyn Clock>) {
    let lag = metrics.event_loop_lag.with_label_values::<&str>(&[]);
    let mut stuck = BTreeSet::new();
    loop {
        let due = clock.monotonic().plus(LOOK);
        tokio::time::sleep(LOOK).await;
        lag.observe(seconds(clock.monotonic().since(due)));
        look(&views, &health, &mut stuck).await;
    }
}

async fn look(views: &Views, health: &Health, stuck: &mut BTreeSet<ViewName>) {
    for view in views.all() {
        let (name, turning_for) = (view.name(), view.turning_for());
        if turning_for >= STUCK {
            if stuck.insert(name.clone()) {
                tracing::error!(view = %name, ?turning_for, "the task of the view is stuck");
                health.set_view(name, false).await;
            }
        } else if stuck.remove(name) {
            tracing::warn!(view = %name, "the task of the view turns again");
            let is_ready = *view.state().borrow() == ViewState::Ready;
            health.set_view(name, is_ready).await;
        }
    }
}
