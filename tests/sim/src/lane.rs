//! A lane from an agent to the server: batches in order, sent, acknowledged, perhaps sent again.

use std::collections::VecDeque;
use std::rc::Rc;

use fusion_core::evidence::Witness;

use crate::dice::Stream;
use crate::row::{Batch, Row};
use crate::storage::Time;

/// Which lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Which {
    /// From the spool; survives the agent.
    Realtime = 0,
    /// From memory; lives as long as the session.
    Scan = 1,
}

/// One lane of one agent.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    /// Rows that are in no batch yet.
    pub(crate) open: VecDeque<Row>,
    /// Batches of this lane, from sequence 1; the unacknowledged ones are resent after a crash.
    pub(crate) batches: Vec<Rc<Batch>>,
    /// How many were sent.
    pub(crate) sent: usize,
    /// How many are durable at the server.
    pub(crate) acknowledged: usize,
    /// Nothing is sent before.
    pub(crate) blocked_until: Time,
    /// A delivery is on its way.
    pub(crate) scheduled: bool,
    /// Counts the lives of the lane, so that a delivery of a former one is known.
    pub(crate) life: u32,
}

impl Lane {
    /// Whether nothing waits to be sent.
    pub(crate) fn is_drained(&self) -> bool {
        self.open.is_empty() && self.sent == self.batches.len()
    }

    /// The next batch to send, made of at most so many waiting rows if need be.
    pub(crate) fn next(
        &mut self,
        chance: &mut Stream,
        most: usize,
        witness: &Rc<Witness>,
    ) -> Option<Rc<Batch>> {
        if self.sent == self.batches.len() {
            if self.open.is_empty() {
                return None;
            }
            let rows = 1 + chance.index(self.open.len().min(most));
            let rows = self.open.drain(..rows).collect();
            self.batches.push(Rc::new(Batch { rows, witness: Rc::clone(witness) }));
        }
        self.sent += 1;
        Some(Rc::clone(&self.batches[self.sent - 1]))
    }

    /// Forgets everything that is not acknowledged (the SCAN lane of a session that ended).
    pub(crate) fn clear(&mut self) {
        self.open.clear();
        self.batches.clear();
        (self.sent, self.acknowledged) = (0, 0);
        self.life += 1;
        self.scheduled = false;
    }

    /// The server lost what it had not acknowledged: it is sent again.
    pub(crate) fn rewind(&mut self) {
        self.sent = self.acknowledged;
    }
}
