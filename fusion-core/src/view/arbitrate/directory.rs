//! R4.1 and R4.2: the directory that was listed, or that a probed name is in.

use crate::change::{ChangeKind, Facts};
use crate::stat::{Kind, Stat};
use crate::time::ServerTime;
use crate::view::View;
use crate::view::state::Way;
use crate::view::tree::BlockId;
use crate::view::verdict::{Reject, Verdict};
use crate::view::version::{Look, Order, order};

use super::Act;
use super::listing::Frame;

/// R4.1 and R4.2: what the view makes of the directory that was listed.
pub(super) enum DirRuling {
    /// It is ignored.
    Ignored(Verdict),
    /// R4.2: stale evidence; the directory is listed again after this time.
    Stale(BlockId, ServerTime),
    /// R4.2: its children are judged.
    Accepted { block: BlockId, behind: bool },
}

impl View {
    /// R4.1 and R4.2. Makes the directory known, and refreshes it, as the listing's own stat says.
    pub(super) fn rule_directory(&mut self, act: &mut Act<'_>, frame: &Frame<'_>) -> DirRuling {
        let Some(found) = self.state.find(frame.dir) else {
            return self.rule_unknown_directory(act, frame);
        };
        let horizon = self.state.settings.cache_horizon;
        let known = found.child.stat;
        let (at, stat) = (frame.started_at, frame.dir_stat);
        let look = Look { stat, seen_in: None, at, realtime: None };
        let ordered = order(&found.known(), &look, horizon);
        let same = known.kind == stat.kind && known.inode == stat.inode;
        let Some(block) = found.child.block.filter(|_| same) else {
            // R12: what was restored stands under its tombstone, which still speaks of all else.
            let tombstones = &self.state.ledger.tombstones;
            if let Some(passes_at) = tombstones.refuse(frame.dir, None, at, horizon) {
                self.doubt_above(act, frame.dir, passes_at);
                return DirRuling::Ignored(Verdict::Ghost);
            }
            return match ordered {
                Order::Newer => self.other_directory(act, frame, &known),
                Order::Open(again_at) => {
                    self.other_is_stale(act, frame, found.child.block, again_at)
                }
                _ => self.other_is_stale(act, frame, found.child.block, at.plus(horizon)),
            };
        };
        let meta = self.state.tree.meta(block).unwrap_or_default();
        let listed = meta.listed_in.filter(|listed| listed.inode == stat.inode);
        let stale = listed.is_some_and(|listed| {
            listed.ctime > stat.ctime || (listed.ctime == stat.ctime && meta.listed_at > Some(at))
        });
        let came_back = meta.listed_at.is_none()
            && found.confirmed.is_some_and(|confirmed| at.plus(horizon) < confirmed.at);
        if stale || came_back {
            return DirRuling::Stale(block, at.plus(horizon));
        }
        if ordered == Order::Newer {
            let mut facts = found.facts(self.state.ledger.suspects.end(frame.dir));
            facts.blind |= frame.scanned;
            let path = frame.dir.to_owned();
            self.commit(
                act,
                frame.cause,
                ChangeKind::Modified { path, before: known, after: stat, facts },
            );
        }
        DirRuling::Accepted { block, behind: known.ctime > stat.ctime }
    }

    /// R4.1: "The directory is unknown: R1's tests of tombstones, way and later listing apply to it,
    /// with `started_at` as its time; if they refuse it, the listing is ignored."
    fn rule_unknown_directory(&mut self, act: &mut Act<'_>, frame: &Frame<'_>) -> DirRuling {
        let horizon = self.state.settings.cache_horizon;
        let at = frame.started_at;
        let tombstones = &self.state.ledger.tombstones;
        if let Some(passes_at) = tombstones.refuse(frame.dir, None, at, horizon) {
            let own = tombstones.get(frame.dir).is_some();
            self.doubt_above(act, frame.dir, passes_at);
            if own {
                // If it is there by then, what is in it has to be listed: this told of that, in vain.
                self.ask(act, frame.dir, passes_at);
            }
            return DirRuling::Ignored(Verdict::Ghost);
        }
        let came_at = self.came_later(frame);
        if came_at > Some(at.plus(horizon)) {
            self.relist_nearest(act, frame.dir, act.now);
            return DirRuling::Ignored(Verdict::Relist);
        }
        match self.state.way(frame.dir, None) {
            Way::Unknown(_) if self.room() == 0 => {
                DirRuling::Ignored(self.leave_out(act, frame.dir))
            }
            Way::Unknown(no_way) => DirRuling::Ignored(self.ask_the_way(act, &no_way)),
            Way::Known(above)
                if above.meta.complete && above.meta.listed_at > Some(at.plus(horizon)) =>
            {
                DirRuling::Ignored(Verdict::Stale)
            }
            Way::Known(_) => {
                if came_at.is_some() {
                    self.relist_nearest(act, frame.dir, act.now);
                }
                self.create_directory(act, frame)
            }
        }
    }

    /// When realtime evidence saw the directory above come, or stay, if that was after this look: it may
    /// not be the one in which the listed directory was seen (a listing does not say), and then tombstones
    /// below the path may have gone with the one before. More than `cache_horizon` later the listing is
    /// refused; sooner it is taken, and the directory above says whether that was right.
    fn came_later(&mut self, frame: &Frame<'_>) -> Option<ServerTime> {
        let above = frame.dir.split_last().and_then(|(above, _)| self.state.find(above))?;
        above.confirmed.map(|confirmed| confirmed.at).filter(|at| *at > frame.started_at)
    }

    fn create_directory(&mut self, act: &mut Act<'_>, frame: &Frame<'_>) -> DirRuling {
        if self.room() == 0 {
            return DirRuling::Ignored(self.leave_out(act, frame.dir));
        }
        let (path, stat) = (frame.dir.to_owned(), frame.dir_stat);
        let facts = Facts { blind: frame.scanned, ..Facts::default() };
        self.commit(act, frame.cause, ChangeKind::Created { path, stat, facts });
        self.release_below(frame.dir, &stat);
        match self.state.tree.dir(frame.dir) {
            Some(block) => DirRuling::Accepted { block, behind: false },
            None => DirRuling::Ignored(Verdict::Rejected(Reject::Malformed)),
        }
    }

    /// R4.2: another inode, or another kind, was known there, and §3 puts this listing after it.
    fn other_directory(&mut self, act: &mut Act<'_>, frame: &Frame<'_>, known: &Stat) -> DirRuling {
        if known.kind != Kind::Directory {
            self.replace(act, frame.dir, known, frame.cause, frame.scanned);
            return self.create_directory(act, frame);
        }
        let (path, before, after) = (frame.dir.to_owned(), *known, frame.dir_stat);
        let facts = Facts { blind: frame.scanned, ..Facts::default() };
        self.commit(act, frame.cause, ChangeKind::Modified { path, before, after, facts });
        self.release_below(frame.dir, &after);
        match self.state.tree.dir(frame.dir) {
            Some(block) => DirRuling::Accepted { block, behind: false },
            None => DirRuling::Ignored(Verdict::Stale),
        }
    }

    /// R4.2: "it knows another inode there and §3 does not put this listing after it".
    fn other_is_stale(
        &mut self,
        act: &mut Act<'_>,
        frame: &Frame<'_>,
        block: Option<BlockId>,
        again_at: ServerTime,
    ) -> DirRuling {
        match block {
            Some(block) => DirRuling::Stale(block, again_at),
            None => {
                // No directory is known there that could be listed again: its parent is.
                self.relist_nearest(act, frame.dir, again_at);
                DirRuling::Ignored(Verdict::Relist)
            }
        }
    }
}
