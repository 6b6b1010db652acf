//! What the view wants done by its leader: relists, probes of doubts, and sentinel checks of
//! suspects (R7).

use std::time::Duration;

use crate::path::TreePath;
use crate::time::ServerTime;
use crate::view::View;
use crate::view::path_map::Key;

/// Something that the view wants done by an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// List these directories, not below them (leader, as AUDIT).
    Relist(Vec<TreePath>),
    /// Look at these names (leader).
    Probe(Vec<TreePath>),
    /// Audit the whole tree, under this number (R9): events were lost (R10).
    Audit {
        /// The number of the audit.
        number: u64,
    },
}

/// How often the leader was asked for an audit, and when next. Not durable.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::view) struct AuditAsk {
    times: u32,
    next: Option<ServerTime>,
}

/// An audit that does not begin is asked for again after this time, then after twice that, and so on.
const AUDIT_REPEAT: Duration = Duration::from_secs(60);
/// The longest time between two repetitions is `AUDIT_REPEAT` times two to the power of this.
const AUDIT_DOUBLINGS: u32 = 4;

impl View {
    /// What the view wants done by its leader, at most `limit` paths; an order is repeated with
    /// back-off until evidence answers it. Without a leader nothing is ordered.
    pub fn orders(&mut self, now: ServerTime, limit: usize) -> Vec<Order> {
        let now = now.max(self.state.time);
        if self.leadership.is_none() {
            return Vec::new();
        }
        let quiet = self.state.settings.hot_threshold;
        let ledger = &mut self.state.ledger;
        let relists = paths(ledger.relists.ask(now, limit));
        let left = limit.saturating_sub(relists.len());
        let mut probes = paths(ledger.probes.ask(now, left));
        let left = left.saturating_sub(probes.len());
        probes.extend(paths(ledger.suspects.ask(now, left, quiet)));
        let mut orders: Vec<Order> = self.ask_for_audit(now).into_iter().collect();
        if !relists.is_empty() {
            orders.push(Order::Relist(relists));
        }
        if !probes.is_empty() {
            orders.push(Order::Probe(probes));
        }
        orders
    }

    /// R10: "the leader audits": once the losses are over long enough.
    fn ask_for_audit(&mut self, now: ServerTime) -> Option<Order> {
        if self.audit_due()? > now {
            return None;
        }
        let pause = AUDIT_REPEAT.saturating_mul(1 << self.audit_ask.times.min(AUDIT_DOUBLINGS));
        self.audit_ask.times = self.audit_ask.times.saturating_add(1);
        self.audit_ask.next = Some(now.plus(pause));
        Some(Order::Audit { number: self.state.ledger.audits })
    }

    /// When an audit is to be asked for next; `None` if none is wanted.
    fn audit_due(&self) -> Option<ServerTime> {
        let from = self.audit_wanted()?;
        Some(self.audit_ask.next.map_or(from, |next| next.max(from)))
    }

    /// When the next order is due, if somebody leads.
    pub(super) fn next_order(&self) -> Option<ServerTime> {
        self.leadership?;
        let ledger = &self.state.ledger;
        let (relists, probes) = (ledger.relists.first(), ledger.probes.first());
        let checks = ledger.suspects.first_check(self.state.settings.hot_threshold);
        [self.audit_due(), relists, probes, checks].into_iter().flatten().min()
    }
}

fn paths(keys: Vec<Key>) -> Vec<TreePath> {
    keys.iter().filter_map(|key| TreePath::new(&**key).ok()).collect()
}
