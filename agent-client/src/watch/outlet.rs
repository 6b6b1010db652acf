//! Evidence on its way out: gathered into batches, in the order of looking.

use std::num::NonZeroUsize;
use std::ops::ControlFlow;

use super::{WatchEvidence, WatchSink};

/// Gathers evidence and hands it to the sink.
pub(super) struct Outlet {
    sink: Box<dyn WatchSink>,
    batch: Vec<WatchEvidence>,
    rows: usize,
    max_rows: NonZeroUsize,
    /// The sink broke off: nothing more is wanted.
    is_broken: bool,
}

impl Outlet {
    pub(super) fn new(sink: Box<dyn WatchSink>, max_rows: NonZeroUsize) -> Self {
        Self { sink, batch: Vec::new(), rows: 0, max_rows, is_broken: false }
    }

    /// Adds one piece.
    pub(super) fn emit(&mut self, evidence: WatchEvidence) {
        let rows = match &evidence {
            WatchEvidence::Listing(listed) => 1 + listed.children.len(),
            _ => 1,
        };
        if self.rows + rows > self.max_rows.get() {
            self.flush();
        }
        self.rows += rows;
        self.batch.push(evidence);
    }

    /// Hands over what there is.
    pub(super) fn flush(&mut self) {
        self.rows = 0;
        if self.batch.is_empty() || self.is_broken {
            self.batch.clear();
            return;
        }
        let flow = self.sink.put(std::mem::take(&mut self.batch));
        self.is_broken = flow == ControlFlow::Break(());
    }

    /// Whether nothing more is wanted.
    pub(super) fn is_broken(&self) -> bool {
        self.is_broken
    }
}
