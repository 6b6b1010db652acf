//! What time alone changes: suspects become quiet (R7), records and tombstones expire (R12), and
//! what was said of agents and leaders becomes durable (R10).

use crate::change::{Cause, Change, ChangeKind, Note};
use crate::evidence::Witness;
use crate::path::PathRef;
use crate::time::ServerTime;
use crate::view::View;

use super::Act;

/// Changes of one kind in one tick at most; the rest waits for the next one, which is due at once.
const SLICE: usize = 10_000;
/// Entries of purged subtrees that are freed in one tick.
const FREED: usize = 50_000;

impl View {
    /// Lets time pass: suspects become quiet, records expire. Changes are added to `changes`.
    pub fn tick(&mut self, now: ServerTime, changes: &mut Vec<Change>) {
        let mut act = self.act(None, now, changes);
        self.take_pending(&mut act);
        self.end_suspects(&mut act);
        self.expire_trash(&mut act);
        self.expire_tombstones(&mut act);
        self.release_ripe(&mut act);
        self.state.free(FREED);
        debug_assert_eq!(self.check_cheap(), Ok(()));
    }

    /// When [`View::tick`] or [`View::orders`] next has something to do; `None` if nothing waits.
    #[must_use]
    pub fn next_wake_up(&self) -> Option<ServerTime> {
        let pending =
            self.standing.has_pending() || self.leader_changed || self.state.has_to_free();
        let at_once = pending.then_some(self.state.time);
        [at_once, self.state.ledger.next_change(), self.next_order()].into_iter().flatten().min()
    }

    /// What goes along with evidence, or with an act of nobody. A view's time never goes back.
    pub(in crate::view) fn act<'a>(
        &mut self,
        by: Option<&Witness>,
        now: ServerTime,
        changes: &'a mut Vec<Change>,
    ) -> Act<'a> {
        Act { by: by.cloned(), now: now.max(self.state.time), changes }
    }

    /// Makes durable what was said since the last change: losses (R10), and scans that cannot end
    /// any more.
    pub(in crate::view) fn take_pending(&mut self, act: &mut Act<'_>) {
        if !self.standing.has_pending() && !self.leader_changed {
            return;
        }
        let by = act.by.take();
        self.leader_changed = false;
        let (losses, gone) = self.standing.take_pending();
        for loss in losses {
            self.lost(act, &loss);
        }
        self.end_lost_scans(act, &gone);
        act.by = by;
    }

    /// R7: "It stops being suspect … when its stat has not changed for a whole quiet period".
    fn end_suspects(&mut self, act: &mut Act<'_>) {
        for key in self.state.ledger.suspects.over(act.now, SLICE) {
            let Ok(path) = PathRef::new(&key) else { continue };
            let Some(found) = self.state.find(path) else { continue };
            let facts = found.facts(None);
            let path = path.to_owned();
            self.commit(act, Cause::Expiry, ChangeKind::Touched { path, facts });
        }
    }

    /// R12: "for `trash_ttl`".
    fn expire_trash(&mut self, act: &mut Act<'_>) {
        if self.state.ledger.trash.first_expiry().is_none_or(|at| at > act.now) {
            return;
        }
        let ttl = self.state.settings.trash_ttl;
        for id in self.state.ledger.trash.expired(act.now, ttl, SLICE) {
            self.purge_record(act, Cause::Expiry, id);
        }
    }

    /// R12: "(at most `tombstone_ttl`)", and §3: what was confirmed is kept for `confirm_keep`.
    fn expire_tombstones(&mut self, act: &mut Act<'_>) {
        let ledger = &self.state.ledger;
        let sweep = ledger.tombstones.next_sweep().is_some_and(|at| at <= act.now);
        let turn = ledger.confirmations.next_turn().is_some_and(|at| at <= act.now);
        if sweep {
            self.note(act, Cause::Expiry, Note::TombstonesExpired);
        }
        if turn {
            self.note(act, Cause::Expiry, Note::ConfirmationsForgotten);
        }
    }
}
