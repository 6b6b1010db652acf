//! R4b: probes, and R6: silent directories.

use crate::change::{Cause, ChangeKind, Facts, Tombstone, Version};
use crate::evidence::Witness;
use crate::path::PathRef;
use crate::stat::Stat;
use crate::time::ServerTime;
use crate::view::View;
use crate::view::state::Way;
use crate::view::tree::{BlockId, Child, Flags, MergeAction, MergeCase, NameRange};
use crate::view::verdict::{Reject, Verdict};

use super::children::{Doubts, Judge};
use super::directory::DirRuling;
use super::lay::Lay;
use super::listing::Frame;
use super::{Act, is_directory};

/// One name, looked at; its time clamped.
#[derive(Debug, Clone, Copy)]
pub(super) struct Probe<'a> {
    pub(super) path: PathRef<'a>,
    pub(super) found: Option<Stat>,
    pub(super) parent: Option<Stat>,
    pub(super) at: ServerTime,
}

impl View {
    /// R4b. A probe of the root has no parent: it is a look at the root's stat alone.
    pub(super) fn probe(&mut self, act: &mut Act<'_>, by: &Witness, probe: &Probe<'_>) -> Verdict {
        if let Err(reject) = self.may_probe(by, probe.at) {
            return Verdict::Rejected(reject);
        }
        if probe.parent.is_some_and(|parent| !is_directory(&parent)) {
            return Verdict::Rejected(Reject::Malformed);
        }
        let doubted = self.probed(act, probe.path, probe.at);
        self.answer_relist(act, probe);
        let Some((dir, name)) = probe.path.split_last() else {
            return self.probe_root(act, probe);
        };
        let inode = probe.parent.map(|parent| parent.inode);
        let (Way::Known(_), Some(dir_stat)) = (self.state.way(probe.path, inode), probe.parent)
        else {
            // "A probe whose parent is not the view's directory (other inode, or none) only puts
            // that directory on the relist queue."
            self.relist_nearest(act, probe.path, act.now);
            return Verdict::Relist;
        };
        let frame = frame_of(probe, dir, dir_stat);
        match self.rule_directory(act, &frame) {
            DirRuling::Ignored(verdict) => verdict,
            DirRuling::Stale(_, again_at) => {
                let verdict = self.probe_child(act, &frame, probe, name, (true, doubted));
                self.relist(act, dir, again_at);
                if verdict == Verdict::Applied { verdict } else { Verdict::Relist }
            }
            DirRuling::Accepted { behind, .. } => {
                let verdict = self.probe_child(act, &frame, probe, name, (false, doubted));
                if behind {
                    let horizon = self.state.settings.cache_horizon;
                    self.relist(act, dir, probe.at.plus(horizon));
                }
                verdict
            }
        }
    }

    /// R4.5: "where the leader finds no directory at the path it sends a Probe of it instead, the path
    /// leaves the queue, and its parent goes on".
    fn answer_relist(&mut self, act: &mut Act<'_>, probe: &Probe<'_>) {
        let directory = probe.found.is_some_and(|stat| is_directory(&stat));
        if !directory && !probe.path.is_root() && self.relisted(act, probe.path) {
            self.relist_nearest(act, probe.path, act.now);
        }
    }

    fn probe_root(&mut self, act: &mut Act<'_>, probe: &Probe<'_>) -> Verdict {
        let Some(stat) = probe.found.filter(is_directory) else {
            // R11: a root that is not there is never a deletion.
            return Verdict::Unchanged;
        };
        let frame = frame_of(probe, probe.path, stat);
        match self.rule_directory(act, &frame) {
            DirRuling::Ignored(verdict) => verdict,
            _ => {
                self.relist(act, probe.path, act.now);
                Verdict::Relist
            }
        }
    }

    /// R4b: "Found: as a child listed in a listing with `dir_stat` = the probe's parent stat and
    /// `started_at` = its time. Not found: as a child missing from that listing (R4.4)."
    fn probe_child(
        &mut self,
        act: &mut Act<'_>,
        frame: &Frame<'_>,
        probe: &Probe<'_>,
        name: &[u8],
        (stale, doubted): (bool, bool),
    ) -> Verdict {
        let Way::Known(dir) = self.state.way(probe.path, None) else { return Verdict::Relist };
        let known = self.state.tree.child(dir.block, name);
        let case = match (&probe.found, &known) {
            (Some(listed), Some(known)) => MergeCase::Known { name, row: 0, listed, known },
            (Some(listed), None) => MergeCase::New { name, row: 0, listed },
            (None, Some(known)) => MergeCase::Missing { name, known },
            (None, None) => return Verdict::Unchanged,
        };
        let lay = Lay { range: NameRange::ALL, complete: true, stale, sees: !stale };
        let places = self.room();
        let (ledger, settings) = (&self.state.ledger, &self.state.settings);
        let mut judge = Judge::new(ledger, settings, frame, &lay, act.now);
        (judge.dir, judge.listed_at) = (dir.block.as_u64(), dir.meta.listed_at);
        judge.places = places;
        let own = known.as_ref().and_then(|known| known.block);
        let meta = own.and_then(|own| self.state.tree.meta(own));
        let listed_at = meta.and_then(|meta| meta.listed_at).filter(|at| *at > frame.started_at);
        judge.own_listings.extend(own.map(BlockId::as_u64).zip(listed_at));
        let action = judge.decide(&case);
        let mut doubts = judge.doubts;
        self.keep_listed_since(frame.started_at, &mut doubts);
        self.counts.ghost_rows += doubts.ghosts;
        if doubts.ghosts > 0 {
            self.relist_again(act, frame, &doubts);
            return Verdict::Ghost;
        }
        if doubts.left_out > 0 {
            return self.leave_out_of(act, frame.dir);
        }
        match probe.found {
            Some(stat) => {
                let doubts = &doubts;
                let known = known.as_ref();
                let verdict =
                    self.probe_found(act, frame, probe.path, known, &stat, action, doubts);
                if let Some(known) = known {
                    self.relist_newer(act, probe, known, doubted);
                }
                verdict
            }
            None => self.probe_missed(act, frame, probe.path, &doubts),
        }
    }

    /// R4b: a probe does not descend. A known directory that it shows in a newer version than was known
    /// is listed; one that was doubted in a newer version than it was last listed in, because the
    /// evidence that raised the doubt told of what is in it.
    fn relist_newer(&mut self, act: &mut Act<'_>, probe: &Probe<'_>, known: &Child, doubted: bool) {
        let (Some(stat), Some(block)) = (probe.found.filter(is_directory), known.block) else {
            return;
        };
        let Some((inode, meta)) = self.state.tree.itself(block) else {
            return;
        };
        let (same, listed) = (inode == stat.inode, meta.listed_in);
        let news = stat.ctime > known.stat.ctime || doubted;
        if same && news && listed.is_none_or(|listed| listed.ctime < stat.ctime) {
            self.relist(act, probe.path, act.now);
        }
    }

    fn relist_again(&mut self, act: &mut Act<'_>, frame: &Frame<'_>, doubts: &Doubts) {
        if let Some(again_at) = doubts.again_at {
            self.relist(act, frame.dir, again_at);
        }
    }

    #[expect(clippy::too_many_arguments, reason = "one name: what was known, found and decided")]
    fn probe_found(
        &mut self,
        act: &mut Act<'_>,
        frame: &Frame<'_>,
        path: PathRef<'_>,
        known: Option<&Child>,
        stat: &Stat,
        action: MergeAction,
        doubts: &Doubts,
    ) -> Verdict {
        self.relist_again(act, frame, doubts);
        if let Some((_, before, after)) = doubts.other_kind.first() {
            self.replace(act, path, before, Cause::Probe, true);
            self.create_child(act, frame, path, after);
            return Verdict::Applied;
        }
        let Some(known) = known else {
            if !matches!(action, MergeAction::Take(_)) {
                return Verdict::Stale;
            }
            self.create_child(act, frame, path, stat);
            return Verdict::Applied;
        };
        match action {
            MergeAction::Take(flags) => {
                self.probe_refresh(act, frame, path, known, stat, flags, doubts);
                Verdict::Applied
            }
            MergeAction::Seen(_) => {
                self.probe_seen(act, frame, path, known);
                Verdict::Unchanged
            }
            _ if known.stat == *stat => Verdict::Unchanged,
            _ => Verdict::Stale,
        }
    }

    #[expect(clippy::too_many_arguments, reason = "one name: what was known, found and decided")]
    fn probe_refresh(
        &mut self,
        act: &mut Act<'_>,
        frame: &Frame<'_>,
        path: PathRef<'_>,
        known: &Child,
        stat: &Stat,
        flags: Flags,
        doubts: &Doubts,
    ) {
        let renewed = act.now.plus(self.state.settings.hot_threshold);
        let seen_in = match doubts.seen_later.first() {
            Some((_, seen_in)) => Some(*seen_in),
            None => Some(Version::of(&frame.dir_stat)),
        };
        let facts = Facts {
            seen_in,
            confirmed_at: None,
            suspect_until: flags.has(Flags::SUSPECT).then_some(renewed),
            blind: flags.has(Flags::BLIND),
            sample: None,
        };
        let (before, after) = (known.stat, *stat);
        let modified = ChangeKind::Modified { path: path.to_owned(), before, after, facts };
        self.commit(act, Cause::Probe, modified);
        if is_directory(&after) && before.inode != after.inode {
            self.relist(act, path, act.now);
            self.release_below(path, &after);
        }
    }

    /// The name was there in a version of its directory that was not known to hold it.
    fn probe_seen(
        &mut self,
        act: &mut Act<'_>,
        frame: &Frame<'_>,
        path: PathRef<'_>,
        known: &Child,
    ) {
        let seen_in = Some(Version::of(&frame.dir_stat));
        if known.seen_in == seen_in {
            return;
        }
        let suspect_until = self.state.ledger.suspects.end(path);
        let blind = known.flags.has(Flags::BLIND);
        let facts = Facts { seen_in, confirmed_at: None, suspect_until, blind, sample: None };
        self.commit(act, Cause::Probe, ChangeKind::Touched { path: path.to_owned(), facts });
    }

    /// R4b: "where R4.4 keeps it, it is asked again `cache_horizon` later".
    fn probe_missed(
        &mut self,
        act: &mut Act<'_>,
        frame: &Frame<'_>,
        path: PathRef<'_>,
        doubts: &Doubts,
    ) -> Verdict {
        if let Some((_, child)) = doubts.gone.first() {
            let seen_in = Some(Version::of(&frame.dir_stat));
            let gone = Tombstone { deleted_at: frame.started_at, seen_in, since: act.now };
            let gone = self.state.ledger.tombstones.merged(path, gone);
            self.put_in_trash(act, Cause::Probe, path, &child.stat, Some(gone), true);
            return Verdict::Applied;
        }
        if let Some(again_at) = doubts.again_at {
            self.ask(act, path, again_at);
            return Verdict::Kept;
        }
        Verdict::Stale
    }

    /// R6: "Accepted if the view's last complete listing of the directory was in that same version,
    /// no newer one is known, and it is settled; otherwise the directory goes on the relist queue.
    /// The skip is never trusted blindly."
    pub(super) fn unchanged(
        &mut self,
        act: &mut Act<'_>,
        by: &Witness,
        dir: PathRef<'_>,
        dir_stat: &Stat,
        at: ServerTime,
    ) -> Verdict {
        if let Err(reject) = self.must_lead(by).and_then(|()| self.must_be_there(by, at)) {
            return Verdict::Rejected(reject);
        }
        let version = Version::of(dir_stat);
        let known = self.state.dir_stat(dir);
        let meta = self.state.tree.dir(dir).and_then(|block| self.state.tree.meta(block));
        let accepted = meta.is_some_and(|meta| meta.settled && meta.listed_in == Some(version));
        if accepted && known.is_some_and(|known| Version::of(&known) == version) {
            return Verdict::Unchanged;
        }
        self.relist(act, dir, act.now);
        Verdict::Relist
    }
}

/// R4b: a probe is a listing of one name that stands alone.
fn frame_of<'a>(probe: &Probe<'a>, dir: PathRef<'a>, dir_stat: Stat) -> Frame<'a> {
    let (cause, started_at) = (Cause::Probe, probe.at);
    Frame { dir, dir_stat, started_at, cause, scanned: true, alone: true }
}
