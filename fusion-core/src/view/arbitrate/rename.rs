//! R3: realtime renames.

use crate::change::{Cause, ChangeKind, Facts, Tombstone, Version};
use crate::evidence::Witness;
use crate::path::PathRef;
use crate::stat::Stat;
use crate::time::ServerTime;
use crate::view::View;
use crate::view::state::Found;
use crate::view::verdict::{Reject, Verdict};

use super::realtime::{Ruling, Upsert};
use super::remove::Removal;
use super::{Act, is_directory};

/// A realtime rename, its time clamped.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rename<'a> {
    pub(super) from: PathRef<'a>,
    pub(super) to: PathRef<'a>,
    pub(super) stat: Stat,
    pub(super) from_parent: Option<Stat>,
    pub(super) to_parent: Option<Stat>,
    pub(super) at: ServerTime,
}

impl View {
    /// R3: the subtree moves if all conditions hold; "in every other case it is R2 on `from` and
    /// then R1 on `to`, and if `to` is a directory it goes on the relist queue".
    ///
    /// A rename says nothing of writing: R1 on `to` takes it as atomic, and a suspect that moves
    /// stays suspect.
    pub(super) fn rename(
        &mut self,
        act: &mut Act<'_>,
        by: &Witness,
        rename: &Rename<'_>,
    ) -> Verdict {
        let parents = [rename.from_parent, rename.to_parent];
        let bad_parent = parents.iter().flatten().any(|parent| !is_directory(parent));
        if bad_parent || rename.from.is_root() || rename.to.is_root() {
            return Verdict::Rejected(Reject::Malformed);
        }
        let up = Upsert {
            path: rename.to,
            stat: rename.stat,
            parent: rename.to_parent,
            atomic: true,
            at: rename.at,
            fresh: false,
            moved_in: true,
            held: false,
        };
        let agent = self.state.ledger.agents.peek(&by.agent);
        if let Some((from, over)) = self.rule_rename(rename, &up, agent) {
            self.move_subtree(act, rename, &from, over.as_ref());
            return Verdict::Applied;
        }
        if rename.from == rename.to {
            return self.upsert(act, by, &up);
        }
        let removed = self.remove(act, by, rename.from, rename.from_parent, rename.at);
        let applied = self.upsert(act, by, &up);
        if removed == Verdict::Applied { removed } else { applied }
    }

    /// R3: "`from` is known with the inode and kind of `stat`, neither path lies inside the other, R2
    /// would remove `from`, R1 would apply `to`, and `to` is not already known with that inode".
    /// What is at `from`, and what at `to`.
    fn rule_rename(
        &mut self,
        rename: &Rename<'_>,
        up: &Upsert<'_>,
        agent: u16,
    ) -> Option<(Found, Option<Found>)> {
        if rename.from.is_within(rename.to) || rename.to.is_within(rename.from) {
            return None;
        }
        let from = self.state.find(rename.from)?;
        let known = &from.child.stat;
        if known.inode != rename.stat.inode || known.kind != rename.stat.kind {
            return None;
        }
        let parent = rename.from_parent.as_ref();
        let gone = self.rule_remove(rename.from, &from, parent, rename.at, agent);
        if gone != Removal::Gone {
            return None;
        }
        match self.rule_upsert(up, agent) {
            Ruling::Insert => Some((from, None)),
            Ruling::Refresh(over, None) if over.child.stat.inode != rename.stat.inode => {
                Some((from, Some(over)))
            }
            _ => None,
        }
    }

    /// R3: "the subtree moves …; what stood at `to` goes to the trash (RENAMED_OVER); `from` gets a
    /// tombstone as by R2".
    fn move_subtree(
        &mut self,
        act: &mut Act<'_>,
        rename: &Rename<'_>,
        from: &Found,
        over: Option<&Found>,
    ) {
        let known = &from.child.stat;
        self.refresh_parent(act, rename.from, rename.from_parent);
        self.refresh_parent(act, rename.to, rename.to_parent);
        if let Some(over) = over {
            self.replace(act, rename.to, &over.child.stat, Cause::RenamedOver, false);
        }
        let gone = Tombstone {
            deleted_at: rename.at,
            seen_in: rename.from_parent.as_ref().map(Version::of),
            since: act.now,
        };
        let facts = Facts {
            seen_in: rename.to_parent.as_ref().map(Version::of),
            confirmed_at: Some(rename.at),
            suspect_until: self.state.ledger.suspects.end(rename.from),
            blind: false,
            sample: None,
        };
        let moved = ChangeKind::Moved {
            from: rename.from.to_owned(),
            to: rename.to.to_owned(),
            before: *known,
            stat: rename.stat,
            facts,
            tombstone: self.state.ledger.tombstones.merged(rename.from, gone),
        };
        self.commit(act, Cause::Realtime, moved);
        self.list_if_missed(act, rename.to, known, &rename.stat);
        self.release_below(rename.to, &rename.stat);
    }

    /// A directory that moved before it was ever listed is listed where it is now: DISCOVERY of it, if it
    /// is under way, tells of a path that is gone. So is one that comes with another mtime than it was
    /// known with: its names changed unheard of, or are told of under a path that is gone. (mtime
    /// decides nothing here; at worst a directory is listed once more.)
    fn list_if_missed(&mut self, act: &mut Act<'_>, path: PathRef<'_>, known: &Stat, stat: &Stat) {
        let Some(block) = self.state.tree.dir(path) else { return };
        let never = self.state.tree.meta(block).is_some_and(|meta| meta.listed_at.is_none());
        if never || known.mtime != stat.mtime {
            self.relist(act, path, act.now);
        }
    }
}
