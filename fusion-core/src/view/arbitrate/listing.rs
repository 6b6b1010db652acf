//! R4: listings. First who may, then the directory (R4.1, R4.2), then its children (R4.3, R4.4, in
//! `children`), then what follows for the agendas (R4.5).

use std::collections::BTreeSet;

use crate::change::{Cause, ChangeKind, Facts, ListedOutcome, Tombstone, Version};
use crate::evidence::{Children, Listing, Source, Witness};
use crate::path::PathRef;
use crate::stat::Stat;
use crate::time::ServerTime;
use crate::view::View;
use crate::view::tree::{BlockId, NameRange};
use crate::view::verdict::{Reject, Verdict};

use super::children::Doubts;
use super::directory::DirRuling;
use super::lay::{Lay, Span};
use super::parts::Part;
use super::sound::is_sound;
use super::{Act, is_directory};

/// The ctime of a directory that was just listed must be older than `cache_horizon` and this.
const TICKS: std::time::Duration = std::time::Duration::from_secs(2);

/// What goes along with a listing, or with a probe as a listing of one name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame<'a> {
    pub(super) dir: PathRef<'a>,
    pub(super) dir_stat: Stat,
    pub(super) started_at: ServerTime,
    pub(super) cause: Cause,
    /// It is tier 3 (R8).
    pub(super) scanned: bool,
    /// It is not part of a scan that goes down (R4.5).
    pub(super) alone: bool,
}

impl View {
    /// R4.
    pub(super) fn listing(
        &mut self,
        act: &mut Act<'_>,
        by: &Witness,
        listing: &Listing<'_>,
    ) -> Verdict {
        let started_at = self.clamp(listing.started_at, act.now);
        if let Err(reject) = self.may_list(by, listing, started_at) {
            return Verdict::Rejected(reject);
        }
        if !is_sound(listing) {
            return Verdict::Rejected(Reject::Malformed);
        }
        if self.shows_another_root(act, by, listing, started_at) {
            return Verdict::Rejected(Reject::RootMismatch);
        }
        let scanned = matches!(listing.source, Source::Audit | Source::OnDemand);
        let frame = Frame {
            dir: listing.dir,
            dir_stat: listing.dir_stat,
            started_at,
            cause: if scanned { Cause::Audit } else { Cause::Baseline },
            scanned,
            alone: self.is_alone(by, listing),
        };
        match self.rule_directory(act, &frame) {
            DirRuling::Ignored(verdict) => verdict,
            DirRuling::Stale(block, again_at) => {
                self.lay_stale(act, &frame, block, listing);
                self.relist(act, frame.dir, again_at);
                Verdict::Relist
            }
            DirRuling::Accepted { block, behind } => {
                let part = self.part_of(by, listing, block, started_at);
                self.lay_part(act, by, &frame, block, listing, &part, behind)
            }
        }
    }

    /// R4.5: whether a listing stands alone: its scan does not descend, so what it finds has to be
    /// put on the queue. What an agent discovers by its events it descends by itself.
    fn is_alone(&self, by: &Witness, listing: &Listing<'_>) -> bool {
        if listing.source == Source::Discovery {
            return false;
        }
        let scan = self.state.ledger.scans.get(by.session, listing.scan);
        !scan.is_some_and(|scan| scan.deep && listing.dir.is_within(scan.path.as_ref()))
    }

    /// R4.2: "nothing is added and nothing removed; entries of the same inode and kind with a larger
    /// ctime are still refreshed".
    fn lay_stale(
        &mut self,
        act: &mut Act<'_>,
        frame: &Frame<'_>,
        block: BlockId,
        listing: &Listing<'_>,
    ) {
        let Some(span) = Span::of(&listing.children) else { return };
        let lay = Lay { range: span.range(), complete: false, stale: true, sees: false };
        let (listed, doubts) = self.lay(act, frame, block, &listing.children, &lay);
        if listed.row_count() > 0 {
            self.commit_laid(act, frame.cause, listed);
        }
        self.relist_shown(act, frame, block, &listing.children, doubts);
    }

    /// R4.3, R4.4 and R4.5 for a listing, or one part of it.
    #[expect(
        clippy::too_many_arguments,
        reason = "one listing, what goes along with it and its part"
    )]
    fn lay_part(
        &mut self,
        act: &mut Act<'_>,
        by: &Witness,
        frame: &Frame<'_>,
        block: BlockId,
        listing: &Listing<'_>,
        part: &Part,
        behind: bool,
    ) -> Verdict {
        if *part == Part::Repeated {
            return Verdict::Unchanged;
        }
        let whole = *part != Part::Broken;
        let complete = listing.complete && whole;
        let span = if whole { None } else { Span::of(&listing.children) };
        let covered = NameRange { after: part.after(), through: part.through() };
        let range = span.as_ref().map_or(covered, Span::range);
        let lay = Lay { range, complete: complete && part.can_miss(), stale: false, sees: whole };
        let was_short = self.state.ledger.unreadable.is_short(frame.dir);
        let (mut listed, doubts) = self.lay(act, frame, block, &listing.children, &lay);
        // Of what was left out the view is as if it had not been read.
        let complete = complete && doubts.left_out == 0;
        let settled = doubts.again_at.is_none() && !behind && !self.is_young(frame);
        let outcome = part.outcome(listing, settled, complete, behind);
        listed.outcome = outcome;
        let applied =
            listed.row_count() > 0 || !doubts.gone.is_empty() || !doubts.other_kind.is_empty();
        if listed.row_count() > 0 || !self.is_remembered(frame, block, outcome) {
            self.commit_laid(act, frame.cause, listed);
        }
        self.remember_part(act, by, listing, part, settled, complete);
        self.finish_children(act, frame, &doubts);
        self.settle_directory(act, frame, outcome, behind, doubts.again_at);
        if was_short {
            self.pass_on(act, frame, &doubts);
        }
        let (ghosts, left_out) = (doubts.ghosts, doubts.left_out);
        if left_out > 0 {
            self.leave_out_of(act, frame.dir);
        }
        self.relist_shown(act, frame, block, &listing.children, doubts);
        match (applied, left_out, ghosts) {
            (true, ..) => Verdict::Applied,
            (false, 1.., _) => Verdict::Full,
            (false, 0, 0) => Verdict::Unchanged,
            (false, 0, _) => Verdict::Ghost,
        }
    }

    /// Whether just this is remembered of the directory's last listing: it was delivered twice.
    fn is_remembered(
        &self,
        frame: &Frame<'_>,
        block: BlockId,
        outcome: Option<ListedOutcome>,
    ) -> bool {
        let meta = self.state.tree.meta(block).unwrap_or_default();
        outcome.is_some_and(|outcome| {
            meta.listed_at == Some(frame.started_at)
                && meta.listed_in == Some(Version::of(&frame.dir_stat))
                && (meta.complete, meta.settled) == (outcome.complete, outcome.settled)
        })
    }

    /// R4.4: "a `dir_stat` whose ctime is less than `cache_horizon` + 2 s old at `started_at`".
    fn is_young(&self, frame: &Frame<'_>) -> bool {
        let age = self.state.settings.cache_horizon.saturating_add(TICKS);
        self.state.ledger.clock.is_young(frame.dir_stat.ctime, frame.started_at, age)
    }

    /// R4.4 "trashed", and §3 "when another kind takes a path"; then what waits for new directories.
    fn finish_children(&mut self, act: &mut Act<'_>, frame: &Frame<'_>, doubts: &Doubts) {
        let dir = frame.dir.to_owned();
        let seen_in = Some(Version::of(&frame.dir_stat));
        for (name, child) in &doubts.gone {
            let Ok(path) = dir.join(name) else { continue };
            let gone = Tombstone { deleted_at: frame.started_at, seen_in, since: act.now };
            let gone = self.state.ledger.tombstones.merged(path.as_ref(), gone);
            self.put_in_trash(
                act,
                gone_cause(frame.cause),
                path.as_ref(),
                &child.stat,
                Some(gone),
                frame.scanned,
            );
        }
        for (name, before, after) in &doubts.other_kind {
            let Ok(path) = dir.join(name) else { continue };
            self.replace(act, path.as_ref(), before, gone_cause(frame.cause), frame.scanned);
            self.create_child(act, frame, path.as_ref(), after);
        }
        if !frame.alone && self.state.ledger.held.is_empty() {
            return;
        }
        for (name, stat) in &doubts.directories {
            let Ok(path) = dir.join(name) else { continue };
            self.found_directory(act, frame, path.as_ref(), stat);
        }
    }

    /// R4.3 "unknown: insert" of one name.
    pub(super) fn create_child(
        &mut self,
        act: &mut Act<'_>,
        frame: &Frame<'_>,
        path: PathRef<'_>,
        stat: &Stat,
    ) {
        let settings = &self.state.settings;
        let hot = self.state.ledger.clock.is_hot(stat.ctime, act.now, settings.hot_threshold);
        let facts = Facts {
            seen_in: Some(Version::of(&frame.dir_stat)),
            confirmed_at: None,
            suspect_until: hot.then(|| act.now.plus(settings.hot_threshold)),
            blind: frame.scanned,
            sample: None,
        };
        let created = ChangeKind::Created { path: path.to_owned(), stat: *stat, facts };
        self.commit(act, frame.cause, created);
        if is_directory(stat) {
            self.found_directory(act, frame, path, stat);
        }
    }

    /// R4.5: "A directory first found by a relist or a probe goes on the queue itself (a scan
    /// descends anyway)."
    fn found_directory(
        &mut self,
        act: &mut Act<'_>,
        frame: &Frame<'_>,
        path: PathRef<'_>,
        stat: &Stat,
    ) {
        if frame.alone {
            self.relist(act, path, act.now);
        }
        self.release_below(path, stat);
    }

    /// R4.5: what does not descend and shows a known directory newer than it was, or one that was never
    /// listed, has it listed: nobody else may tell what is in it.
    fn relist_shown(
        &mut self,
        act: &mut Act<'_>,
        frame: &Frame<'_>,
        block: BlockId,
        children: &Children<'_>,
        mut doubts: Doubts,
    ) {
        let tree = &self.state.tree;
        doubts.shown.retain(|block| tree.meta(*block).is_some_and(|meta| meta.listed_at.is_none()));
        if !doubts.shown.is_empty() {
            let shown: BTreeSet<u64> = doubts.shown.iter().map(|block| block.as_u64()).collect();
            let is_shown = |name: &[u8]| {
                tree.link(block, name).is_some_and(|block| shown.contains(&block.as_u64()))
            };
            let names = children.iter().map(|(name, _)| name).filter(|name| is_shown(name));
            doubts.newer.extend(names.map(Box::from));
        }
        for name in &doubts.newer {
            let Ok(path) = frame.dir.to_owned().join(name) else { continue };
            self.relist(act, path.as_ref(), act.now);
        }
    }

    /// R4.5: "A listing accepted and settled takes the directory off the relist queue". One that
    /// leaves a doubt puts it on, or leaves it there with a longer back-off.
    fn settle_directory(
        &mut self,
        act: &mut Act<'_>,
        frame: &Frame<'_>,
        outcome: Option<ListedOutcome>,
        behind: bool,
        again_at: Option<ServerTime>,
    ) {
        let horizon = self.state.settings.cache_horizon;
        let behind_at = behind.then(|| frame.started_at.plus(horizon));
        let doubtful = again_at.is_some() && !behind;
        let again_at = again_at.max(behind_at);
        match outcome {
            // The last part knows nothing of a doubt in this one.
            None if doubtful => self.unsettled(act, frame.dir, frame.started_at),
            None => {}
            Some(outcome) if outcome.complete && outcome.settled => {
                self.relisted(act, frame.dir);
            }
            Some(outcome) => {
                self.unsettled(act, frame.dir, frame.started_at);
                if !outcome.complete && again_at.is_none() {
                    return;
                }
            }
        }
        match again_at {
            Some(again_at) if doubtful => self.doubt(act, frame.dir, again_at),
            Some(again_at) => self.relist(act, frame.dir, again_at),
            None => {}
        }
    }
}

/// R4.4: "Trashed means cause AUDIT"; of a probe PROBE (R12).
fn gone_cause(cause: Cause) -> Cause {
    if cause == Cause::Probe { Cause::Probe } else { Cause::Audit }
}
