//! R1 *Held back*, the other half: held evidence is "tried again when its directory becomes known or
//! the scan ends".

use crate::change::{Cause, Note};
use crate::path::PathRef;
use crate::stat::Stat;
use crate::view::View;
use crate::view::held::HeldUpsert;
use crate::view::state::Way;

use super::realtime::Upsert;
use super::{Act, is_directory};

impl View {
    /// A directory became known, or another one: what waits for it is ripe. It is tried when the
    /// evidence at hand is done with, so that a deep path costs no deep stack.
    pub(super) fn release_below(&mut self, dir: PathRef<'_>, stat: &Stat) {
        if is_directory(stat) && self.state.ledger.held.waits_for(dir) {
            self.ripe.push_back(dir.to_owned());
        }
    }

    /// Tries what is ripe, and what becomes ripe by it.
    pub(in crate::view) fn release_ripe(&mut self, act: &mut Act<'_>) {
        while let Some(dir) = self.ripe.pop_front() {
            for number in self.state.ledger.held.waiting_for(dir.as_ref()) {
                let Some(row) = self.state.ledger.held.get(number) else { continue };
                let (path, inode) = (row.path.clone(), row.parent.inode);
                if matches!(self.state.way(path.as_ref(), Some(inode)), Way::Known(_)) {
                    self.release(act, number);
                }
            }
        }
    }

    /// A scan ended: what it covered and no other scan does is tried, and not held any longer.
    pub(super) fn release_within(&mut self, act: &mut Act<'_>, path: PathRef<'_>) {
        if self.state.ledger.held.is_empty() {
            return;
        }
        for number in self.state.ledger.held.within(path) {
            let covered = self
                .state
                .ledger
                .held
                .get(number)
                .is_none_or(|row| self.state.ledger.may_come(row.path.as_ref()));
            if !covered {
                self.release(act, number);
            }
        }
    }

    fn release(&mut self, act: &mut Act<'_>, number: u64) {
        let Some(row) = self.state.ledger.held.get(number).cloned() else { return };
        self.note(act, Cause::Realtime, Note::Released { number });
        let by = act.by.replace(row.by.clone());
        self.try_again(act, &row);
        act.by = by;
    }

    fn try_again(&mut self, act: &mut Act<'_>, row: &HeldUpsert) {
        let up = Upsert {
            path: row.path.as_ref(),
            stat: row.stat,
            parent: Some(row.parent),
            atomic: row.atomic,
            at: row.observed_at,
            // It was a sample when it came, if it was one.
            fresh: false,
            moved_in: row.moved_in,
            held: true,
        };
        let verdict = self.upsert(act, &row.by, &up);
        self.counts.count(crate::view::verdict::EvidenceKind::Upsert, verdict);
    }
}
