//! What the view wants done by its leader: relists, probes of doubts, and sentinel checks of
//! suspects (R7).

use crate::path::TreePath;
use crate::time::ServerTime;
use crate::view::View;

/// Something that the view wants done by an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// List these directories, not below them (leader, as AUDIT).
    Relist(Vec<TreePath>),
    /// Look at these names (leader).
    Probe(Vec<TreePath>),
}

impl View {
    /// What the view wants done by its leader, at most `limit` paths; an order is repeated with
    /// back-off until evidence answers it. Without a leader nothing is ordered.
    pub fn orders(&mut self, now: ServerTime, limit: usize) -> Vec<Order> {
        let now = now.max(self.state.time);
        if self.leadership.is_none() {
            return Vec::new();
        }
        let ledger = &mut self.state.ledger;
        let relists = paths(ledger.relists.ask(now, limit));
        let left = limit.saturating_sub(relists.len());
        let mut probes = paths(ledger.probes.ask(now, left));
        let left = left.saturating_sub(probes.len());
        probes.extend(paths(ledger.suspects.ask(now, left)));
        let mut orders = Vec::new();
        if !relists.is_empty() {
            orders.push(Order::Relist(relists));
        }
        if !probes.is_empty() {
            orders.push(Order::Probe(probes));
        }
        orders
    }

    /// When the next order is due, if somebody leads.
    pub(super) fn next_order(&self) -> Option<ServerTime> {
        self.leadership?;
        let ledger = &self.state.ledger;
        [ledger.relists.first(), ledger.probes.first(), ledger.suspects.first_check()]
            .into_iter()
            .flatten()
            .min()
    }
}

fn paths(keys: Vec<Box<[u8]>>) -> Vec<TreePath> {
    keys.into_iter().filter_map(|key| TreePath::new(key).ok()).collect()
}
