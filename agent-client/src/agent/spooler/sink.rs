//! Where the watcher puts what it saw: into the spool, and what concerns others into their state.

use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

use fusion_core::evidence::RootState;

use super::{RootWord, SharedSpool, State};
use crate::link::frame::frames;
use crate::watch::{WatchEvidence, WatchSink};

/// The watcher's end of the spool.
pub(super) struct SpoolSink {
    spool: SharedSpool,
    /// Which of the sinks that there were.
    number: u64,
}

impl WatchSink for SpoolSink {
    /// Breaks off a watcher that was replaced: what it saw is among what its successor calls lost.
    fn put(&mut self, batch: Vec<WatchEvidence>) -> ControlFlow<()> {
        if self.spool.known().sinks != self.number {
            return ControlFlow::Break(());
        }
        self.spool.0.append(&frames(&batch));
        for evidence in batch {
            self.tell(evidence);
        }
        ControlFlow::Continue(())
    }
}

impl SpoolSink {
    pub(super) fn new(spool: SharedSpool) -> Self {
        let mut known = spool.known();
        known.sinks += 1;
        let number = known.sinks;
        drop(known);
        Self { spool, number }
    }

    /// Tells others what concerns them, while no other sink is made.
    fn tell(&self, evidence: WatchEvidence) {
        let mut known = self.spool.known();
        if known.sinks != self.number {
            return;
        }
        let state = &*self.spool.0.state;
        match evidence {
            WatchEvidence::Overflow { since, is_over, .. } => {
                // If it did not fit either, more is lost than what else did not.
                known.lost_since = known.lost_since.map(|before| before.min(since));
                overflow(state, is_over);
            }
            WatchEvidence::LeftOut(left_out) => state.left_out(left_out.dir),
            WatchEvidence::RootGone { .. } => {
                state.broken("root", Some("the root was moved, removed or unmounted".into()));
                state.root_found(RootState::Unavailable);
                // In case that this did not fit either.
                known.root = RootWord::Behind;
            }
            _ => {}
        }
    }
}

/// Events were lost, or that is over: the watcher has walked the whole tree.
fn overflow(state: &State, is_over: bool) {
    if is_over {
        state.placed.store(true, Ordering::Relaxed);
        tracing::info!("all is watched again");
    } else {
        tracing::warn!("events were lost: watches are placed anew");
    }
    state.healing.store(!is_over, Ordering::Relaxed);
    state.news.notify_one();
}
