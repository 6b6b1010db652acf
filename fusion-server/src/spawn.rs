//! The one place where tasks begin: each has a name and an end.
//!
//! A task ends by itself or when the [`Tasks`] that own it are closed and dropped. A task that
//! panics takes nothing else with it; it is told in the log.

use std::future::Future;
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

/// The tasks of one owner; a cheap handle.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tasks {
    tracker: TaskTracker,
    end: CancellationToken,
}

impl Tasks {
    /// Begins a task that ends when its work does, or when its owner ends.
    pub(crate) fn spawn(
        &self,
        name: &'static str,
        work: impl Future<Output = ()> + Send + 'static,
    ) {
        let end = self.end.clone();
        let work = async move {
            let panicked = tokio::select! {
                biased;
                () = end.cancelled() => false,
                outcome = AssertUnwindSafe(work).catch_unwind() => outcome.is_err(),
            };
            if panicked {
                tracing::error!(task = name, "task panicked");
            }
        };
        self.tracker.spawn(work.instrument(tracing::Span::current()));
    }

    /// Ends all tasks of this owner, and waits until they have ended.
    pub(crate) async fn end(&self) {
        self.end.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}
