//! Performing a change: the only code that changes tree and ledger.
//!
//! Called by `View::commit` for every change as it is made, and by `View::replay` for every change
//! of a log: so both give the same view. Must never: decide; all that a rule decided is in the
//! change. Tested by comparing dumps of a view and of its replay.

use crate::change::{
    AgendaKind, Change, ChangeKind, Facts, Listed, NO_ROOM, Note, ROW_BLIND, ROW_SUSPECT,
    Tombstone, TrashId, WholeScan,
};
use crate::evidence::Source;
use crate::path::PathRef;
use crate::stat::{Kind, Stat};
use crate::time::ServerTime;

use super::confirm::{Confirmation, EntryKey};
use super::ledger::Ledger;
use super::state::State;
use super::trash::TrashRecord;
use super::tree::{BlockId, DirMeta, Entry, Flags, MergeAction, MergeCase, NameRange, Purge, Put};

impl State {
    /// Performs a change of which nothing is done yet.
    pub(super) fn perform(&mut self, change: &Change) {
        self.replay_rows(change);
        self.perform_rest(change);
    }

    /// Performs a change of which the rows of a listing are laid already.
    pub(super) fn perform_rest(&mut self, change: &Change) {
        self.time = self.time.max(change.at);
        match &change.kind {
            ChangeKind::Created { path, stat, facts }
            | ChangeKind::Modified { path, after: stat, facts, .. } => {
                self.put(change, path.as_ref(), stat, facts);
            }
            ChangeKind::Touched { path, facts } => {
                if let Some(child) = self.tree.entry(path.as_ref()) {
                    self.put(change, path.as_ref(), &child.stat, facts);
                }
            }
            ChangeKind::Removed { path, tombstone, blind, .. } => {
                self.remove(change, path.as_ref(), tombstone.as_ref(), *blind);
            }
            ChangeKind::Moved { from, to, stat, facts, tombstone, .. } => {
                self.rename(change, from.as_ref(), to.as_ref(), stat, facts, tombstone);
            }
            ChangeKind::Listed(listed) => self.listed(listed),
            ChangeKind::Buried { path, tombstone } => {
                let life = self.settings.tombstone_life();
                self.ledger.tombstones.put(path.as_ref(), *tombstone, life);
                self.ledger.trash.seen(path.as_ref());
            }
            ChangeKind::Restored { path, trash, suspect_until, .. } => {
                self.restore(change, path.as_ref(), *trash, *suspect_until);
            }
            ChangeKind::Purged { trash, .. } => {
                let subtree = self.ledger.trash.take(*trash, self.settings.trash_ttl);
                subtree.into_iter().for_each(|subtree| self.to_free.add(subtree));
            }
            ChangeKind::Noted(note) => self.noted(change, note),
            ChangeKind::Reset => self.reset(change.at),
        }
        self.revision = change.last_revision();
        self.tree.set_revision(self.revision);
    }

    /// An entry is as the change says.
    fn put(&mut self, change: &Change, path: PathRef<'_>, stat: &Stat, facts: &Facts) {
        let Some((dir, name)) = self.tree.slot(path) else { return };
        let was_confirmed =
            || self.tree.child(dir, name).is_some_and(|child| child.flags.has(Flags::CONFIRMED));
        let confirmed = facts.confirmed_at.is_some() || was_confirmed();
        let flags = Flags::NONE
            .set(Flags::SUSPECT, facts.suspect_until.is_some())
            .set(Flags::BLIND, facts.blind)
            .set(Flags::CONFIRMED, confirmed);
        let entry = Entry { stat: *stat, flags, seen_in: facts.seen_in };
        let Ok(put) = self.tree.put(dir, name, &entry, change.at) else { return };
        if let Put::Updated(known) = put
            && known.stat.inode != stat.inode
            && let Some(block) = known.block
        {
            // Another directory: nothing of it has been listed.
            self.tree.set_meta(block, &DirMeta::default());
        }
        self.confirm(change, dir, name, facts);
        self.set_suspect(path, facts.suspect_until);
        // What is new, or was seen by realtime evidence, passed the tombstones (R5).
        if facts.confirmed_at.is_some() || matches!(change.kind, ChangeKind::Created { .. }) {
            self.ledger.tombstones.remove(path);
            self.ledger.trash.seen(path);
            if stat.kind == Kind::Directory {
                self.ledger.tombstones.keep_those_of(path, stat.inode);
            }
        }
    }

    pub(super) fn set_suspect(&mut self, path: PathRef<'_>, until: Option<ServerTime>) {
        match until {
            Some(end) => self.ledger.suspects.set(path, end),
            None => self.ledger.suspects.remove(path),
        }
    }

    fn confirm(&mut self, change: &Change, dir: BlockId, name: &[u8], facts: &Facts) {
        let (Some(at), Some(by)) = (facts.confirmed_at, &change.by) else { return };
        let agent = self.ledger.agents.number(&by.agent);
        let key = EntryKey::new(dir.as_u64(), name);
        let keep = self.settings.confirm_keep;
        self.ledger.confirmations.put(key, Confirmation { at, agent }, change.at, keep);
        if let Some(ctime) = facts.sample {
            self.ledger.clock.sample(at, ctime);
        }
    }

    /// An entry, and all below it, goes to the trash.
    fn remove(
        &mut self,
        change: &Change,
        path: PathRef<'_>,
        tombstone: Option<&Tombstone>,
        blind: bool,
    ) {
        let Some((dir, name)) = self.tree.slot(path) else { return };
        let Some(subtree) = self.tree.detach(dir, name, change.at) else { return };
        self.ledger.confirmations.forget(EntryKey::new(dir.as_u64(), name));
        self.ledger.drop_within(path);
        self.ledger.trash.seen(path);
        if let Some(tombstone) = tombstone {
            self.ledger.tombstones.put(path, *tombstone, self.settings.tombstone_life());
        }
        let record = TrashRecord {
            id: TrashId(change.revision.0),
            path: path.to_owned(),
            stat: subtree.stat,
            deleted_at: tombstone.map_or(change.at, |tombstone| tombstone.deleted_at),
            at: change.at,
            cause: change.cause,
            by: change.by.clone(),
            blind,
            weight: self.tree.weight(&subtree),
        };
        self.ledger.trash.put(record, subtree, self.settings.trash_ttl);
    }

    /// A subtree moves, with what waits in it.
    fn rename(
        &mut self,
        change: &Change,
        from: PathRef<'_>,
        to: PathRef<'_>,
        stat: &Stat,
        facts: &Facts,
        tombstone: &Tombstone,
    ) {
        let (Some(source), Some(target)) = (self.tree.slot(from), self.tree.slot(to)) else {
            return;
        };
        let flags = Flags::CONFIRMED.set(Flags::SUSPECT, facts.suspect_until.is_some());
        let entry = Entry { stat: *stat, flags, seen_in: facts.seen_in };
        let Ok(over) = self.tree.rename(source, target, &entry, change.at) else { return };
        // What stood there went to the trash by a change of its own.
        over.into_iter().for_each(|over| self.to_free.add(*over));
        self.ledger.confirmations.forget(EntryKey::new(source.0.as_u64(), source.1));
        self.ledger.move_within(from, to);
        self.ledger.tombstones.remove(to);
        self.ledger.tombstones.put(from, *tombstone, self.settings.tombstone_life());
        self.ledger.trash.seen(from);
        self.ledger.trash.seen(to);
        self.stand_again(to);
        self.confirm(change, target.0, target.1, facts);
        self.set_suspect(to, facts.suspect_until);
    }

    /// The rows of a listing, in a replay: as they were decided.
    fn replay_rows(&mut self, change: &Change) {
        let ChangeKind::Listed(listed) = &change.kind else { return };
        let Some(block) = self.tree.dir(listed.dir.as_ref()) else { return };
        let range =
            NameRange { after: listed.after.as_deref(), through: listed.through.as_deref() };
        let unseen =
            |name: &[u8]| listed.unseen.binary_search_by(|other| (**other).cmp(name)).is_ok();
        let is_open =
            |name: &[u8]| listed.open.binary_search_by(|other| (**other).cmp(name)).is_ok();
        let mut seen_later = Vec::new();
        let decide = |case: MergeCase<'_>| match case {
            MergeCase::New { row, .. } => MergeAction::Take(flags_of(listed, row)),
            MergeCase::Known { name, row, known, .. } => {
                if let Some(seen_in) = known.seen_in.filter(|_| unseen(name)) {
                    seen_later.push((Box::<[u8]>::from(name), seen_in));
                }
                let confirmed = known.flags.has(Flags::CONFIRMED);
                MergeAction::Take(flags_of(listed, row).set(Flags::CONFIRMED, confirmed))
            }
            MergeCase::Missing { name, known } if listed.sees && !unseen(name) => {
                MergeAction::Seen(known.flags.without(Flags::MARK))
            }
            MergeCase::Missing { name, known } if is_open(name) => {
                MergeAction::Flag(known.flags.with(Flags::MARK))
            }
            MergeCase::Missing { .. } => MergeAction::Skip,
        };
        let rows = listed.rows.as_children();
        let merged = self.tree.merge(block, &rows, range, listed.version, change.at, decide);
        debug_assert!(merged.is_some_and(|merged| merged.taken_out.is_empty()));
        for (name, seen_in) in &seen_later {
            self.tree.set_seen(block, name, *seen_in);
        }
    }

    /// What a listing means beside its rows.
    fn listed(&mut self, listed: &Listed) {
        let dir = listed.dir.as_ref();
        let tombstones = self.ledger.tombstones.in_dir(dir).is_some();
        let blind = self.ledger.trash.blind_len() > 0;
        let suspects = listed.flags.iter().any(|flags| flags & ROW_SUSPECT != 0);
        let below = self.ledger.tombstones.len() > 0;
        if tombstones || blind || suspects || below {
            self.listed_names(listed);
        }
        self.forget_replaced(listed);
        let Some(outcome) = listed.outcome else { return };
        self.ledger.clock.listed(listed.started_at, listed.version.ctime);
        if let Some(block) = self.tree.dir(dir) {
            let (listed_at, listed_in) = (Some(listed.started_at), Some(listed.version));
            let (complete, settled) = (outcome.complete, outcome.settled);
            self.tree.set_meta(block, &DirMeta { listed_at, listed_in, complete, settled });
        }
        if outcome.complete && !outcome.behind {
            let horizon = self.settings.cache_horizon;
            self.ledger.tombstones.listed(dir, listed.started_at, horizon);
        }
        // What was left out of it is in it now; of one that is behind, that is not known.
        if !self.ledger.unreadable.is_short(dir) || (outcome.complete && !outcome.behind) {
            self.ledger.unreadable.remove(dir);
        }
    }

    /// Directories among the rows whose inode changed are other directories.
    fn forget_replaced(&mut self, listed: &Listed) {
        for (row, before) in &listed.before {
            let inode = listed.rows.inodes.get(*row as usize);
            if before.kind == Kind::Directory
                && inode.is_some_and(|inode| *inode != before.inode)
                && let Some(name) = listed.name(*row as usize)
                && let Some(dir) = self.tree.dir(listed.dir.as_ref())
                && let Some(block) = self.tree.child(dir, name).and_then(|child| child.block)
            {
                self.tree.set_meta(block, &DirMeta::default());
            }
        }
    }

    fn listed_names(&mut self, listed: &Listed) {
        let mut path = listed.dir.as_bytes().to_vec();
        if path.len() > 1 {
            path.push(b'/');
        }
        let stem = path.len();
        for (row, (name, stat)) in listed.rows.as_children().iter().enumerate() {
            path.truncate(stem);
            path.extend_from_slice(name);
            let Ok(path) = PathRef::new(&path) else { continue };
            self.ledger.tombstones.remove(path);
            if stat.kind == Kind::Directory {
                self.ledger.tombstones.keep_those_of(path, stat.inode);
            }
            self.ledger.trash.seen(path);
            let suspect = listed.flags.get(row).is_some_and(|flags| flags & ROW_SUSPECT != 0);
            self.set_suspect(path, suspect.then_some(listed.suspect_until));
        }
    }

    fn noted(&mut self, change: &Change, note: &Note) {
        let (life, keep) = (self.settings.tombstone_life(), self.settings.confirm_keep);
        match note {
            Note::TombstonesExpired => self.ledger.tombstones.sweep(change.at, life),
            Note::ConfirmationsForgotten => self.ledger.confirmations.turn(change.at, keep),
            Note::ScanEnded { session, scan, whole } => {
                self.ledger.scans.end(*session, *scan);
                if let Some(whole) = whole {
                    self.scanned_whole(whole);
                }
            }
            Note::Unreadable { dir, errno: Some(errno) } => {
                self.ledger.unreadable.insert(dir.as_ref(), *errno);
                self.unsettle(dir.as_ref(), *errno != NO_ROOM);
            }
            note => self.ledger.noted(note),
        }
    }

    /// What is known of a directory is in doubt; `complete`: not that all its names are known.
    fn unsettle(&mut self, dir: PathRef<'_>, complete: bool) {
        let Some(block) = self.tree.dir(dir) else { return };
        let meta = self.tree.meta(block).unwrap_or_default();
        let complete = meta.complete && complete;
        self.tree.set_meta(block, &DirMeta { settled: false, complete, ..meta });
    }

    /// §5, R9, R10: the whole tree was read to its end.
    fn scanned_whole(&mut self, whole: &WholeScan) {
        let ledger = &mut self.ledger;
        match whole.source {
            Source::Audit => {
                ledger.last_audit = Some(whole.finished_at);
                ledger.audits += 1;
            }
            _ => ledger.last_snapshot = Some(whole.finished_at),
        }
        ledger.last_whole_began = ledger.last_whole_began.max(Some(whole.started_at));
        ledger.losses.audited(whole.started_at, self.settings.cache_horizon);
        ledger.root.accepted = false;
    }

    /// Everything goes, save what numbers and clocks are made of.
    fn reset(&mut self, at: ServerTime) {
        if let Some(root) = self.tree.detach(BlockId::ANCHOR, b"", at) {
            self.to_free.add(root);
        }
        let mut old = std::mem::take(&mut self.ledger);
        old.trash.take_all().into_iter().for_each(|subtree| self.to_free.add(subtree));
        self.ledger = Ledger {
            agents: old.agents,
            clock: old.clock,
            losses: old.losses,
            audits: old.audits,
            reset_at: Some(at),
            operated: old.operated,
            ..Ledger::default()
        };
    }

    /// Frees what was purged, about `budget` entries of it.
    pub(super) fn free(&mut self, budget: usize) {
        if !self.to_free.is_empty() {
            self.tree.purge(&mut self.to_free, budget);
        }
    }

    /// Whether [`State::free`] has something to do.
    pub(super) fn has_to_free(&self) -> bool {
        !Purge::is_empty(&self.to_free)
    }
}

impl Ledger {
    fn noted(&mut self, note: &Note) {
        match note {
            Note::Waits { agenda, path, waiting } => {
                self.agenda(*agenda).set(path.as_ref(), *waiting)
            }
            Note::Done { agenda, path } => drop(self.agenda(*agenda).remove(path.as_ref())),
            Note::Held { number, row, sample } => {
                if *sample {
                    self.clock.sample(row.observed_at, row.stat.ctime);
                }
                self.held.put(*number, (**row).clone());
            }
            Note::Released { number } => drop(self.held.take(*number)),
            Note::ScanBegan(scan) => self.scans.begin((**scan).clone()),
            Note::Parts { dir, parts } => {
                self.parts.set(dir.as_ref(), parts.as_ref().map(|parts| (**parts).clone()));
            }
            Note::Lost(loss) => self.losses.put(loss.clone()),
            Note::RootAway { agent, away } => match away {
                Some(away) => drop(self.root.away.insert(agent.clone(), *away)),
                None => drop(self.root.away.remove(agent)),
            },
            Note::RootDoubt(Some(doubt)) => {
                // What its scans have found from now on is not taken: they are no whole ones any more.
                self.scans.doubt(&doubt.agent);
                drop(self.root.doubts.insert(doubt.agent.clone(), doubt.clone()));
            }
            Note::RootDoubt(None) => self.root.doubts.clear(),
            Note::RootAgreed { agent } => drop(self.root.doubts.remove(agent)),
            Note::Operated { call } => self.operated(*call),
            Note::RootAccepted(accepted) => self.root.accepted = *accepted,
            Note::Unreadable { dir, errno: None } => self.unreadable.remove(dir.as_ref()),
            Note::Unreadable { .. }
            | Note::ScanEnded { .. }
            | Note::TombstonesExpired
            | Note::ConfirmationsForgotten => {}
        }
    }

    fn agenda(&mut self, kind: AgendaKind) -> &mut super::agenda::Agenda {
        match kind {
            AgendaKind::Relist => &mut self.relists,
            AgendaKind::Probe => &mut self.probes,
        }
    }
}

fn flags_of(listed: &Listed, row: usize) -> Flags {
    let flags = listed.flags.get(row).copied().unwrap_or(0);
    Flags::NONE
        .set(Flags::SUSPECT, flags & ROW_SUSPECT != 0)
        .set(Flags::BLIND, flags & ROW_BLIND != 0)
}
