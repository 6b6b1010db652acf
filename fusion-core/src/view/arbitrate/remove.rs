//! R2: realtime removes.

use crate::change::{Cause, ChangeKind, Tombstone, Version};
use crate::evidence::Witness;
use crate::path::PathRef;
use crate::stat::Stat;
use crate::time::ServerTime;
use crate::view::View;
use crate::view::state::Found;
use crate::view::verdict::{Reject, Verdict};
use crate::view::version::{DirOrder, dir_order};

use super::{Act, is_directory};

/// What R2 makes of a remove of something known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Removal {
    /// It is gone.
    Gone,
    /// It was seen later.
    Stale,
    /// Another agent saw it about then: it is looked at again after this time.
    Doubt(ServerTime),
}

impl View {
    /// R2: decides, and changes nothing. "Compared by the parent's version: an entry seen in a newer
    /// version of the same directory makes the remove stale; one seen in an older version is
    /// removed."
    pub(super) fn rule_remove(
        &mut self,
        path: PathRef<'_>,
        found: &Found,
        parent: Option<&Stat>,
        at: ServerTime,
        agent: u16,
    ) -> Removal {
        match dir_order(found.child.seen_in, parent.map(Version::of)) {
            DirOrder::Newer => Removal::Stale,
            DirOrder::Older => Removal::Gone,
            DirOrder::Same | DirOrder::Unknown => {
                let limit = at.plus(self.state.settings.cache_horizon);
                if found.listed_at > Some(limit) || self.was_silent(path, found, limit) {
                    return Removal::Stale;
                }
                self.rule_remove_by_look(found, at, agent)
            }
        }
    }

    /// R2 "if a scan looked at it later": a scan that found its directory silent has looked, too.
    fn was_silent(&mut self, path: PathRef<'_>, found: &Found, limit: ServerTime) -> bool {
        if self.state.ledger.last_whole_began <= Some(limit) || found.listed_at.is_none() {
            return false;
        }
        let Some((dir, _)) = path.split_last() else { return false };
        let block = self.state.tree.dir(dir);
        let meta = block.and_then(|block| self.state.tree.meta(block));
        meta.is_some_and(|meta| self.state.whole_through(dir, &meta) > Some(limit))
    }

    /// R2 "At equal or incomparable versions", where no scan looked later. What the same agent confirmed later than it saw it
    /// go, stays: an agent's own looks are in order, and the text would let a batch that is
    /// delivered twice remove what was created again within one tick of the storage's clock.
    fn rule_remove_by_look(&self, found: &Found, at: ServerTime, agent: u16) -> Removal {
        let horizon = self.state.settings.cache_horizon;
        if let Some(confirmed) = found.confirmed {
            if confirmed.agent == agent {
                return if confirmed.at <= at { Removal::Gone } else { Removal::Stale };
            }
            if confirmed.at > at.minus(horizon) {
                return Removal::Doubt(confirmed.at.max(at).plus(horizon));
            }
        }
        Removal::Gone
    }

    /// R2. What a scan looked at a little later is removed, for that cannot be ordered. If it was a
    /// directory that was listed itself since, as DISCOVERY does with one that comes, it may be there
    /// again, and its names are not told a second time: it is looked at when the order is known.
    pub(super) fn remove(
        &mut self,
        act: &mut Act<'_>,
        by: &Witness,
        path: PathRef<'_>,
        parent: Option<Stat>,
        at: ServerTime,
    ) -> Verdict {
        if path.is_root() || parent.is_some_and(|parent| !is_directory(&parent)) {
            return Verdict::Rejected(Reject::Malformed);
        }
        let agent = self.state.ledger.agents.peek(&by.agent);
        self.refresh_parent(act, path, parent);
        let seen_in = parent.as_ref().map(Version::of);
        let tombstone = Tombstone { deleted_at: at, seen_in, since: act.now };
        let Some(found) = self.state.find(path) else {
            return self.bury(act, path, tombstone);
        };
        match self.rule_remove(path, &found, parent.as_ref(), at, agent) {
            Removal::Stale => Verdict::Stale,
            Removal::Doubt(again_at) => {
                self.ask(act, path, again_at);
                Verdict::Kept
            }
            Removal::Gone => {
                let meta = found.child.block.and_then(|block| self.state.tree.meta(block));
                let listed_at = meta.and_then(|meta| meta.listed_at);
                let tombstone = self.state.ledger.tombstones.merged(path, tombstone);
                self.put_in_trash(
                    act,
                    Cause::Realtime,
                    path,
                    &found.child.stat,
                    Some(tombstone),
                    false,
                );
                if listed_at > Some(at) {
                    self.ask(act, path, at.plus(self.state.settings.cache_horizon));
                }
                Verdict::Applied
            }
        }
    }

    /// R2: "A remove of something unknown still leaves a tombstone, so a late listing cannot bring
    /// it back." If an audit was quicker to miss it, its deletion is blind no more (R8).
    fn bury(&mut self, act: &mut Act<'_>, path: PathRef<'_>, new: Tombstone) -> Verdict {
        let tombstone = self.state.ledger.tombstones.merged(path, new);
        let is_buried = self.state.ledger.tombstones.get(path) == Some(&tombstone);
        if is_buried && !self.state.ledger.trash.is_blind(path) {
            return Verdict::Unchanged;
        }
        let path = path.to_owned();
        self.commit(act, Cause::Realtime, ChangeKind::Buried { path, tombstone });
        Verdict::Applied
    }

    /// R2: "A removed subtree goes to the trash under one tombstone at its root".
    pub(super) fn put_in_trash(
        &mut self,
        act: &mut Act<'_>,
        cause: Cause,
        path: PathRef<'_>,
        stat: &Stat,
        tombstone: Option<Tombstone>,
        blind: bool,
    ) {
        let (path, stat) = (path.to_owned(), *stat);
        self.commit(act, cause, ChangeKind::Removed { path, stat, tombstone, blind });
    }

    /// §3: "When another kind takes a path, what was below goes to the trash", without a tombstone:
    /// something stands there.
    pub(super) fn replace(
        &mut self,
        act: &mut Act<'_>,
        path: PathRef<'_>,
        before: &Stat,
        cause: Cause,
        blind: bool,
    ) {
        self.put_in_trash(act, cause, path, before, None, blind);
    }
}
