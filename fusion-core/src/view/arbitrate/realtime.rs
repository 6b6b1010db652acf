//! R1: realtime upserts.

use crate::change::{Cause, ChangeKind, Facts, Note, Version};
use crate::evidence::Witness;
use crate::path::PathRef;
use crate::stat::{Kind, Stat};
use crate::time::ServerTime;
use crate::view::View;
use crate::view::held::HeldUpsert;
use crate::view::state::{Found, NoWay, Way};
use crate::view::tree::{DirMeta, Flags};
use crate::view::verdict::{Reject, Verdict};
use crate::view::version::{DirOrder, Look, Order, dir_order, order};

use super::{Act, is_directory};

/// A realtime upsert, its time clamped.
#[derive(Debug, Clone, Copy)]
pub(in crate::view) struct Upsert<'a> {
    pub(super) path: PathRef<'a>,
    pub(super) stat: Stat,
    pub(super) parent: Option<Stat>,
    pub(super) atomic: bool,
    pub(super) at: ServerTime,
    /// It arrived soon enough to be a sample of the storage's clock.
    pub(super) fresh: bool,
    /// It came by a rename: a directory has to be listed (R3).
    pub(super) moved_in: bool,
    /// It was held back until now.
    pub(super) held: bool,
}

/// What R1 makes of an upsert.
pub(super) enum Ruling<'a> {
    /// It contradicts itself.
    Malformed,
    /// A tombstone covers it, and would not any more after this time (R5).
    Ghost(ServerTime),
    /// The entry is known in a newer version.
    Older(Found),
    /// The way to it is not known.
    NoWay(NoWay<'a>),
    /// Its directory was listed completely, much later, and it was not there.
    TooLate,
    /// It is known just so.
    Same(Found),
    /// It is new.
    Insert,
    /// It is newer than what is known; or nobody can say, and somebody has to look again after that
    /// time (§3).
    Refresh(Found, Option<ServerTime>),
}

impl View {
    /// R1: decides, and changes nothing. R3 asks it whether "R1 would apply `to`".
    ///
    /// The order of the tests is that of the rule. The root has no parent, no tombstone and no way.
    pub(super) fn rule_upsert<'a>(&mut self, up: &Upsert<'a>, agent: u16) -> Ruling<'a> {
        if up.path.is_root() {
            return self.rule_upsert_root(up, agent);
        }
        let Some(parent) = up.parent.filter(is_directory) else { return Ruling::Malformed };
        let seen_in = Some(Version::of(&parent));
        let horizon = self.state.settings.cache_horizon;
        let tombstones = &self.state.ledger.tombstones;
        if let Some(passes_at) = tombstones.refuse(up.path, seen_in, up.at, horizon) {
            return Ruling::Ghost(passes_at);
        }
        let dir = match self.state.way(up.path, Some(parent.inode)) {
            Way::Known(dir) => dir,
            Way::Unknown(no_way) => return Ruling::NoWay(no_way),
        };
        let name = up.path.split_last().map_or(&b""[..], |(_, name)| name);
        let Some(found) = self.state.find_in(dir.block, dir.meta, name) else {
            let late = self.is_too_late(up, &dir.meta);
            return if late { Ruling::TooLate } else { Ruling::Insert };
        };
        self.rule_known(found, up, seen_in, agent)
    }

    /// R1: "if the entry is unknown and its directory has been listed completely by a listing that
    /// began later than `observed_at + cache_horizon`". Holding evidence back is only a delay: what a
    /// listing would have found missing by R4.4, had the evidence not been held, is too late as well.
    fn is_too_late(&mut self, up: &Upsert<'_>, meta: &DirMeta) -> bool {
        let limit = up.at.plus(self.state.settings.cache_horizon);
        if !meta.complete {
            return false;
        }
        let missed = up.held
            && meta.listed_at > Some(up.at)
            && dir_order(meta.listed_in, up.parent.as_ref().map(Version::of)) == DirOrder::Newer;
        if missed || meta.listed_at > Some(limit) {
            return true;
        }
        let Some((dir, _)) = up.path.split_last() else { return false };
        self.state.ledger.last_whole_began > Some(limit)
            && self.state.whole_through(dir, meta) > Some(limit)
    }

    /// R1 for the root: known or new, and always on its way.
    fn rule_upsert_root<'a>(&mut self, up: &Upsert<'a>, agent: u16) -> Ruling<'a> {
        if up.stat.kind != Kind::Directory {
            return Ruling::Malformed;
        }
        match self.state.find(up.path) {
            None => Ruling::Insert,
            Some(found) => self.rule_known(found, up, None, agent),
        }
    }

    fn rule_known<'a>(
        &self,
        found: Found,
        up: &Upsert<'a>,
        seen_in: Option<Version>,
        agent: u16,
    ) -> Ruling<'a> {
        let look = Look { stat: up.stat, seen_in, at: up.at, realtime: Some(agent) };
        match order(&found.known(), &look, self.state.settings.cache_horizon) {
            Order::Same => Ruling::Same(found),
            Order::Older => Ruling::Older(found),
            Order::Newer => Ruling::Refresh(found, None),
            Order::Open(again_at) => Ruling::Refresh(found, Some(again_at)),
        }
    }

    /// R1.
    pub(super) fn upsert(&mut self, act: &mut Act<'_>, by: &Witness, up: &Upsert<'_>) -> Verdict {
        let agent = self.state.ledger.agents.peek(&by.agent);
        match self.rule_upsert(up, agent) {
            Ruling::Malformed => Verdict::Rejected(Reject::Malformed),
            Ruling::Ghost(passes_at) => {
                self.doubt_above(act, up.path, passes_at);
                Verdict::Ghost
            }
            Ruling::NoWay(no_way) => self.hold_or_ask(act, by, up, &no_way),
            Ruling::TooLate => Verdict::Stale,
            Ruling::Older(found) => {
                self.refresh_parent(act, up.path, up.parent);
                self.confirm_older(act, up, &found);
                Verdict::Stale
            }
            Ruling::Same(found) => {
                self.refresh_parent(act, up.path, up.parent);
                self.confirm_same(act, up, &found)
            }
            Ruling::Insert => {
                self.refresh_parent(act, up.path, up.parent);
                if self.room() == 0 {
                    return self.leave_out(act, up.path);
                }
                self.insert(act, up);
                Verdict::Applied
            }
            Ruling::Refresh(found, again_at) => {
                self.refresh_parent(act, up.path, up.parent);
                self.refresh(act, up, &found);
                if let Some(again_at) = again_at {
                    self.relist_nearest(act, up.path, again_at);
                }
                Verdict::Applied
            }
        }
    }

    /// R1 "apply" of something new.
    fn insert(&mut self, act: &mut Act<'_>, up: &Upsert<'_>) {
        let facts = self.facts_of(act, up, None);
        let path = up.path.to_owned();
        self.commit(act, Cause::Realtime, ChangeKind::Created { path, stat: up.stat, facts });
        self.moved_in(act, up);
        self.list_if_doubted(act, up);
        self.release_below(up.path, &up.stat);
    }

    /// A directory that somebody asked for before it was known is listed at once: what told of it was a
    /// listing that came sooner than this and was refused (R4.1), or evidence from below it (R1).
    fn list_if_doubted(&mut self, act: &mut Act<'_>, up: &Upsert<'_>) {
        if is_directory(&up.stat) && self.state.ledger.probes.get(up.path).is_some() {
            self.relist(act, up.path, act.now);
        }
    }

    /// R1 "apply" of what is known otherwise. §3: when another kind takes a path, what was below
    /// goes to the trash. A directory with another inode has to be listed: the entries below it
    /// are those of the old one until then.
    fn refresh(&mut self, act: &mut Act<'_>, up: &Upsert<'_>, found: &Found) {
        let before = found.child.stat;
        if before.kind != up.stat.kind {
            self.replace(act, up.path, &before, Cause::Realtime, false);
            return self.insert(act, up);
        }
        let facts = self.facts_of(act, up, Some(found));
        let (path, after) = (up.path.to_owned(), up.stat);
        self.commit(act, Cause::Realtime, ChangeKind::Modified { path, before, after, facts });
        if is_directory(&after) && before.inode != after.inode {
            // The back-off was that of the directory before.
            self.relisted(act, up.path);
            self.relist(act, up.path, act.now);
            self.release_below(up.path, &after);
        } else {
            self.moved_in(act, up);
        }
    }

    /// R3: "if `to` is a directory it goes on the relist queue".
    fn moved_in(&mut self, act: &mut Act<'_>, up: &Upsert<'_>) {
        if up.moved_in && is_directory(&up.stat) {
            self.relist(act, up.path, act.now);
        }
    }

    /// What is remembered of an entry after an applied upsert: confirmed, not blind, suspect if not
    /// atomic. An upsert that a rename became says nothing of writing: what was suspect stays so.
    fn facts_of(&self, act: &Act<'_>, up: &Upsert<'_>, found: Option<&Found>) -> Facts {
        let seen_in = up.parent.as_ref().map(Version::of);
        let known = found.and_then(|found| found.child.seen_in);
        let was_suspect = self.state.ledger.suspects.end(up.path).filter(|_| up.moved_in);
        let renewed = (!up.atomic).then(|| act.now.plus(self.state.settings.hot_threshold));
        Facts {
            seen_in: later_seen(known, seen_in),
            confirmed_at: Some(up.at),
            suspect_until: renewed.or(was_suspect),
            blind: false,
            sample: up.fresh.then_some(up.stat.ctime),
        }
    }

    /// R1: "if the entry is known in a newer version `confirmed_at` is raised where inode and kind
    /// agree". Realtime evidence has touched it, so it is not blind either (R8).
    fn confirm_older(&mut self, act: &mut Act<'_>, up: &Upsert<'_>, found: &Found) {
        let known = &found.child.stat;
        let agrees = known.is_same_thing(&up.stat);
        if !agrees || found.confirmed.is_some_and(|confirmed| up.at <= confirmed.at) {
            return;
        }
        let facts = Facts {
            seen_in: later_seen(found.child.seen_in, up.parent.as_ref().map(Version::of)),
            confirmed_at: Some(up.at),
            suspect_until: self.state.ledger.suspects.end(up.path),
            blind: false,
            sample: up.fresh.then_some(up.stat.ctime),
        };
        let path = up.path.to_owned();
        self.commit(act, Cause::Realtime, ChangeKind::Touched { path, facts });
    }

    /// R1 for what is known just so: it is confirmed, and written or closed. What was delivered
    /// twice changes nothing.
    fn confirm_same(&mut self, act: &mut Act<'_>, up: &Upsert<'_>, found: &Found) -> Verdict {
        // Two rows of one batch may be clamped to one time: then a close still ends a writing.
        let closes = up.atomic && !up.moved_in && found.child.flags.has(Flags::SUSPECT);
        let known = found
            .confirmed
            .is_some_and(|confirmed| up.at < confirmed.at || (up.at == confirmed.at && !closes));
        if known {
            return Verdict::Unchanged;
        }
        let facts = self.facts_of(act, up, Some(found));
        let path = up.path.to_owned();
        self.commit(act, Cause::Realtime, ChangeKind::Touched { path, facts });
        self.moved_in(act, up);
        Verdict::Unchanged
    }

    /// R1 *Held back*: while a scan that covers the path is running, evidence whose way is not known
    /// yet is held, bounded in number. Over the bound the nearest known directory is listed again; where
    /// its back-off does not let that be now, the missing ancestor is probed as it is without a scan,
    /// so that nobody takes what was dropped for silence (see `in_doubt`).
    fn hold_or_ask(
        &mut self,
        act: &mut Act<'_>,
        by: &Witness,
        up: &Upsert<'_>,
        no_way: &NoWay<'_>,
    ) -> Verdict {
        if self.room() == 0 {
            return self.leave_out_of(act, no_way.nearest);
        }
        let Some(parent) = up.parent.filter(|_| self.state.ledger.may_come(up.path)) else {
            return self.ask_the_way(act, no_way);
        };
        if self.state.ledger.held.len() >= self.state.settings.held_max {
            self.relist(act, no_way.nearest, act.now);
            let waiting = self.state.ledger.relists.get(no_way.nearest);
            if waiting.is_some_and(|waiting| waiting.from() > act.now) {
                self.ask(act, no_way.missing, act.now);
            }
            return Verdict::Relist;
        }
        let row = Box::new(HeldUpsert {
            path: up.path.to_owned(),
            stat: up.stat,
            parent,
            atomic: up.atomic,
            moved_in: up.moved_in,
            observed_at: up.at,
            by: by.clone(),
        });
        if !self.state.ledger.held.has(&row) {
            let number = self.state.ledger.held.next_number();
            let note = Note::Held { number, row, sample: up.fresh };
            self.note(act, Cause::Realtime, note);
        }
        Verdict::Held
    }

    /// R1: "that ancestor is probed and the nearest known directory above it goes on the relist
    /// queue".
    pub(super) fn ask_the_way(&mut self, act: &mut Act<'_>, no_way: &NoWay<'_>) -> Verdict {
        self.ask(act, no_way.missing, act.now);
        self.relist(act, no_way.nearest, act.now);
        Verdict::Relist
    }

    /// The parent's stat that goes along with realtime evidence is itself a look at that directory:
    /// where it is newer by ctime it is taken, so that an audit does not tell of it as of a blind
    /// change; and where an audit was quicker to show just that, the directory is touched (R8). The text
    /// is silent; nothing but the stat of the directory is changed by it.
    pub(super) fn refresh_parent(
        &mut self,
        act: &mut Act<'_>,
        path: PathRef<'_>,
        parent: Option<Stat>,
    ) {
        let (Some((dir, _)), Some(after)) = (path.split_last(), parent) else { return };
        // Listed in that version, its entry shows that or a newer one; and this is quicker to see.
        let tree = &mut self.state.tree;
        let is_shown = tree.dir(dir).is_some_and(|block| {
            let listed_in = tree.meta(block).and_then(|meta| meta.listed_in);
            listed_in == Some(Version::of(&after)) && !tree.is_blind_near(block)
        });
        if is_shown {
            return;
        }
        let Some(found) = self.state.find(dir) else { return };
        let before = found.child.stat;
        if !before.is_same_thing(&after) {
            return;
        }
        let mut facts = found.facts(self.state.ledger.suspects.end(dir));
        let path = dir.to_owned();
        if after.ctime > before.ctime {
            facts.blind = false;
            self.commit(act, Cause::Realtime, ChangeKind::Modified { path, before, after, facts });
        } else if after.ctime == before.ctime && facts.blind {
            facts.blind = false;
            self.commit(act, Cause::Realtime, ChangeKind::Touched { path, facts });
        }
    }
}

/// The later of two versions in which an entry was seen; of different directories the new one.
pub(in crate::view) fn later_seen(known: Option<Version>, new: Option<Version>) -> Option<Version> {
    match dir_order(known, new) {
        DirOrder::Newer | DirOrder::Same => known,
        DirOrder::Older => new,
        DirOrder::Unknown => new.or(known),
    }
}
