//! Where the watcher puts what it saw: into the spool, and what concerns others into their state.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use fusion_core::evidence::RootState;
use fusion_core::time::Monotonic;

use super::SharedSpool;
use crate::link::frame::frames;
use crate::watch::{WatchEvidence, WatchSink};

/// The watcher's end of the spool.
pub(super) struct SpoolSink {
    spool: SharedSpool,
    /// The loss that the watcher is mending.
    lost_since: Option<Monotonic>,
}

impl WatchSink for SpoolSink {
    fn put(&mut self, batch: Vec<WatchEvidence>) -> ControlFlow<()> {
        self.spool.0.append(&frames(&batch));
        let state = Arc::clone(&self.spool.0.state);
        for evidence in batch {
            match evidence {
                WatchEvidence::Overflow { since, .. } => self.overflow(since),
                WatchEvidence::LeftOut(left_out) => state.left_out(left_out.dir),
                WatchEvidence::RootGone { .. } => {
                    state.broken("root", Some("the root was moved, removed or unmounted".into()));
                    state.root_found(RootState::Unavailable, None);
                }
                _ => {}
            }
        }
        ControlFlow::Continue(())
    }
}

impl SpoolSink {
    pub(super) fn new(spool: SharedSpool) -> Self {
        Self { spool, lost_since: None }
    }

    /// It comes twice: when events were lost, and when all is watched again.
    fn overflow(&mut self, since: Monotonic) {
        let state = &self.spool.0.state;
        if self.lost_since == Some(since) {
            self.lost_since = None;
            state.healing.store(false, Ordering::Relaxed);
            state.news.notify_one();
            tracing::info!("all is watched again");
        } else {
            self.lost_since = Some(since);
            state.healing.store(true, Ordering::Relaxed);
            state.news.notify_one();
            tracing::warn!("events were lost: watches are placed anew");
        }
    }
}
