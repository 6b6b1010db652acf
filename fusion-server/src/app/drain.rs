//! How a server goes down: it says so, waits for the calls under way, and ends what runs beside them.
//!
//! Each step has a limit of its own within the grace; [`super::Server::run`] says which.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::grpc::Services;
use crate::grpc::health::Health;

/// How long a connection without a call may stay when the server goes down.
const LINGER: Duration = Duration::from_millis(300);
/// Says that the server goes down, to all who ask and to who waits.
pub(super) async fn begin_drain(services: &Services, health: &Health) {
    tracing::info!("draining");
    services.sessions.drain();
    health.set_not_serving(&services.views).await;
    services.draining.cancel();
}

/// Ends what runs beside the calls, the views last.
pub(super) async fn end(services: &Services, end_views: &CancellationToken, end_at: Instant) {
    let end = async {
        services.tasks.end().await;
        end_views.cancel();
        services.views.ended().await;
    };
    if tokio::time::timeout_at(end_at, end).await.is_err() {
        tracing::warn!("the grace is over; what is not durable by now is cut off");
    }
}

/// Waits until no call runs, and a moment for what was answered last to go out, and for what a client asked before it
/// heard that the server goes. What stays open then (a health watch, an idle connection whose client does not go) would
/// stay for ever.
pub(super) async fn quiet(busy: &watch::Sender<usize>, cut_at: Instant) {
    let mut calls = busy.subscribe();
    loop {
        let none = calls.wait_for(|calls| *calls == 0);
        if tokio::time::timeout_at(cut_at, none).await.is_err() {
            tracing::warn!(calls = *busy.borrow(), "the grace is nearly over; open calls are cut");
            return;
        }
        let linger = cut_at.min(Instant::now() + LINGER);
        if tokio::time::timeout_at(linger, calls.changed()).await.is_err() {
            return;
        }
    }
}
