//! Applying evidence, and holding every change against reality (4-consistency §6).

use std::rc::Rc;

use fusion_core::change::{Cause, Change, ChangeKind, Note};
use fusion_core::evidence::{ScanId, Witness};
use fusion_core::path::TreePath;
use fusion_core::stat::Stat;
use fusion_core::view::Verdict;

use crate::dice::Tag;
use crate::lane::Which;
use crate::oracle::{Replay, bound_since, is_tied, recount};
use crate::report::{Failure, Property};
use crate::row::{Batch, Brief, Row, seconds};
use crate::storage::{MS, SEC, Time};
use crate::world::{Event, World};

/// The horizon of every view here.
pub(crate) const HORIZON: Time = 60 * SEC;

impl World {
    /// A property did not hold; the first failure counts.
    pub(crate) fn fail(&mut self, property: Property, what: String) {
        self.note(|| format!("!! {property:?}: {what}"));
        if self.failure.is_none() {
            self.failure = Some(Failure { property, at: seconds(self.now), what });
        }
    }

    /// The server takes a batch. `number` is its place in its lane, 0 if it has none any more.
    pub(crate) fn apply_batch(
        &mut self,
        agent: usize,
        lane: Which,
        number: usize,
        batch: &Rc<Batch>,
        witness: &Rc<Witness>,
    ) {
        let mut chance = self.dice.stream(Tag::Duplicate, agent as u64, self.now.unsigned_abs());
        let twice = self.plan.duplicates && chance.percent(10);
        for row in 0..batch.rows.len() {
            let verdict = self.server.apply(batch, row, witness, self.clock());
            if self.trace.is_some() {
                let line = format!("   -> agent {agent}: {} => {verdict:?}", batch.row(row));
                self.note(|| line);
            }
            self.check_changes(Some(batch.row(row)));
            self.check_authority(batch.row(row), witness, verdict);
            // What was held back and has its turn by now may make the second look worth more.
            if twice && !self.server.history[self.server.fresh.clone()].iter().any(is_released) {
                self.apply_again(batch, row, witness);
            }
            match batch.row(row) {
                Row::ScanFinished { scan, .. } => {
                    self.scan_applied(agent, witness, *scan, verdict);
                }
                Row::Upsert { path, stat, at, .. } | Row::Rename { to: path, stat, at, .. } => {
                    let known = self.server.reader().entry(path.as_ref());
                    if known.is_some_and(|entry| entry.stat.inode == stat.inode) {
                        self.confirmed.insert(path.clone(), at.as_nanos());
                    }
                }
                _ => {}
            }
        }
        if self.trace.is_some() || chance.percent(self.plan.check_percent) {
            self.check_state();
        }
        if number > 0 {
            let life = self.agents[agent].as_ref().map_or(0, |who| who.lanes[lane as usize].life);
            self.server.uncommitted.push((agent, lane as usize, number, life));
            if self.server.uncommitted.len() == 1 {
                let delay = if self.plan.delays { chance.between(0, 300 * MS) } else { MS };
                self.after(delay, Event::Commit);
            }
        }
    }

    /// What only the leader may say is refused from anybody else.
    fn check_authority(&mut self, row: &Row, witness: &Witness, verdict: Verdict) {
        let leader = self.server.leader.and_then(|leader| self.agents[leader].as_ref());
        let leads = leader.is_some_and(|who| who.witness.session == witness.session);
        if !leads && row.is_leader_only() && !matches!(verdict, Verdict::Rejected(_)) {
            self.fail(Property::Authority, format!("{row} of no leader was {verdict:?}"));
        }
    }

    /// The same row once more: it has to change nothing. (A whole batch that comes twice never gets
    /// here twice: its sequence tells.)
    fn apply_again(&mut self, batch: &Rc<Batch>, row: usize, witness: &Rc<Witness>) {
        self.server.apply(batch, row, witness, self.clock());
        let fresh = self.server.fresh.clone();
        let seen = self.server.history[fresh].iter().find_map(|change| change.entries().next());
        self.check_changes(Some(batch.row(row)));
        if let Some(change) = seen {
            let what = format!("{} again gave {}", batch.row(row), told(&change));
            self.fail(Property::Duplicates, what);
        }
    }

    fn scan_applied(&mut self, agent: usize, witness: &Witness, scan: ScanId, verdict: Verdict) {
        let Some(who) = self.agents[agent].as_mut() else { return };
        let current = who.witness.session == witness.session && who.leads();
        if current && who.whole_scan == scan.0 && !matches!(verdict, Verdict::Rejected(_)) {
            who.whole_pending = false;
            self.snapshot_done = true;
        }
    }

    /// Invariants, aggregates, and the changes replayed, against what the view shows.
    pub(crate) fn check_state(&mut self) {
        if let Err(why) = self.server.view().check_invariants() {
            self.fail(Property::Invariants, why.to_string());
        }
        if let Err(why) = recount(self.server.reader()) {
            self.fail(Property::Aggregates, why);
        }
        if let Err(why) = self.replay.check(self.server.reader()) {
            self.fail(Property::Changes, why);
        }
    }

    /// After a crash: the changes from the first on.
    pub(crate) fn reload_changes(&mut self) {
        self.replay = Replay::default();
        let history = std::mem::take(&mut self.server.history);
        let wrong = history.iter().find_map(|change| self.replay.apply(change).err());
        self.server.history = history;
        if let Some(why) = wrong {
            return self.fail(Property::Changes, why);
        }
        self.check_state();
    }

    /// Holds the changes of the last call against reality. `row` is what caused them, if any.
    pub(crate) fn check_changes(&mut self, row: Option<&Row>) {
        let history = std::mem::take(&mut self.server.history);
        for change in &history[self.server.fresh.clone()] {
            if self.trace.is_some() {
                let line = format!("        r{} {}", change.revision.0, told(change));
                self.note(|| line);
            }
            if let Err(why) = self.replay.apply(change) {
                self.fail(Property::Changes, why);
            }
            let Some(row) = row else { continue };
            for entry in change.entries() {
                if self.calm { self.check_calm(&entry) } else { self.check_live(&entry, row) }
            }
        }
        self.server.history = history;
    }

    /// The view had converged and nothing has happened since: nothing wrong may enter it now.
    fn check_calm(&mut self, change: &Change) {
        let wrong = |what: &str, path: &TreePath| format!("{what} {path} by {:?}", change.cause);
        let truth = |path: &TreePath| {
            bound_since(&self.storage, path).map(|(_, ino)| *self.storage.stat(ino))
        };
        let (property, path, what) = match &change.kind {
            ChangeKind::Created { path, .. } | ChangeKind::Moved { to: path, .. }
                if truth(path).is_none() =>
            {
                (Property::NoGhost, path, "a late ghost")
            }
            ChangeKind::Removed { path, .. } if truth(path).is_some() => {
                (Property::NoFalseDeath, path, "a late death of")
            }
            ChangeKind::Modified { path, after, .. } if truth(path) != Some(*after) => {
                (Property::LateSpool, path, "late evidence changed")
            }
            _ => return,
        };
        if is_tied(&self.storage, path) {
            self.tied = true;
            return self
                .note(|| format!("{path}: changed twice in one tick, may be wrong a while"));
        }
        self.fail(property, wrong(what, path));
    }

    /// While things happen, evidence may be wrong within the horizon, but not beyond it. What is wrong
    /// within it is counted.
    fn check_live(&mut self, change: &Change, row: &Row) {
        let looked = row.looked_at().as_nanos();
        match &change.kind {
            ChangeKind::Removed { path, stat, .. } => {
                self.check_death(path, stat, looked, row, kills(change, row));
            }
            ChangeKind::Created { path, stat, .. } => {
                self.check_ghost(path, stat, looked, row);
                self.count_invented(path, stat);
            }
            ChangeKind::Moved { to, stat, .. } => self.count_invented(to, stat),
            _ => {}
        }
    }

    fn count_invented(&mut self, path: &TreePath, stat: &Stat) {
        let truth = bound_since(&self.storage, path);
        let there = truth.is_some_and(|(_, ino)| self.storage.stat(ino).inode == stat.inode);
        self.invented += u64::from(!there);
    }

    fn check_death(&mut self, path: &TreePath, stat: &Stat, looked: Time, row: &Row, kills: bool) {
        let Some((since, ino)) = bound_since(&self.storage, path) else {
            self.gone.insert(path.clone(), (stat.inode, looked));
            return;
        };
        let same = self.storage.stat(ino).inode == stat.inode;
        let confirmed = self.confirmed.get(path).is_some_and(|at| *at > since);
        if !(same && confirmed && kills) {
            return;
        }
        self.killed += 1;
        if looked + HORIZON + 2 * SEC < since {
            let what = format!("{path}, there since {}, by {row}", seconds(since));
            self.fail(Property::NoFalseDeath, what);
        }
    }

    fn check_ghost(&mut self, path: &TreePath, stat: &Stat, looked: Time, row: &Row) {
        let Some((inode, removed)) = self.gone.remove(path) else { return };
        let older = looked + 2 * HORIZON < removed;
        if older && inode == stat.inode && bound_since(&self.storage, path).is_none() {
            let what = format!("{path}, seen gone at {}, by {row}", seconds(removed));
            self.fail(Property::NoGhost, what);
        }
    }
}

/// Whether this is a death and not the making of room for something else.
fn kills(change: &Change, row: &Row) -> bool {
    change.cause != Cause::RenamedOver
        && matches!(row, Row::Remove { .. } | Row::Listing(_) | Row::Probe { found: None, .. })
}

fn told(change: &Change) -> String {
    let entry = |entry: Change| match &entry.kind {
        ChangeKind::Created { path, stat, .. } => format!("created {path} {}", Brief(stat)),
        ChangeKind::Modified { path, after, .. } => format!("modified {path} {}", Brief(after)),
        ChangeKind::Removed { path, .. } => format!("removed {path}"),
        ChangeKind::Moved { from, to, .. } => format!("moved {from} to {to}"),
        other => format!("{other:?}"),
    };
    let text: Vec<String> = change.entries().map(entry).collect();
    match &change.kind {
        ChangeKind::Noted(note) => format!("noted {note:?}"),
        ChangeKind::Touched { .. } | ChangeKind::Buried { .. } => format!("{:?}", change.kind),
        ChangeKind::Listed(listed) => {
            let outcome = &listed.outcome;
            format!("listed {}: {} ({outcome:?})", listed.dir, text.join("; "))
        }
        _ => format!("{} ({:?})", text.join("; "), change.cause),
    }
}

fn is_released(change: &Change) -> bool {
    matches!(change.kind, ChangeKind::Noted(Note::Released { .. }))
}
