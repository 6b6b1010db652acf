//! Sweeping the store.

use std::sync::Arc;
use std::time::Duration;

use fusion_core::time::Clock;

use crate::stores::Stores;

/// Between two sweeps of the store.
const SWEEP: Duration = Duration::from_secs(60);
/// Values swept at once at most.
const SWEPT: usize = 10_000;

/// Takes what has expired out of the store, for as long as the server lives.
pub(super) async fn run(stores: Stores, clock: Arc<dyn Clock>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        // As many expire as were written, which may be more than one sweep takes.
        while sweep_once(&stores, &*clock).await == SWEPT {}
    }
}

/// How many values went.
async fn sweep_once(stores: &Stores, clock: &dyn Clock) -> usize {
    let (state, now) = (Arc::clone(&stores.state), clock.now());
    match tokio::task::spawn_blocking(move || state.expire(now, SWEPT)).await {
        Ok(Ok(swept)) => swept,
        Ok(Err(error)) => {
            tracing::warn!(%error, "what has expired cannot be removed; it is tried again");
            0
        }
        Err(_) => 0,
    }
}
