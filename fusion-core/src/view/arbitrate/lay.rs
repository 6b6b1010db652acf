//! R4.3 and R4.4: laying a listing over its directory.

use std::collections::BTreeMap;

use crate::change::{Listed, Version};
use crate::evidence::Children;
use crate::time::ServerTime;
use crate::view::View;
use crate::view::state::State;
use crate::view::tree::{BlockId, Child, NameRange};

use super::Act;
use super::children::{Doubts, Judge};
use super::listing::Frame;

/// How a listing is laid over a directory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lay<'a> {
    /// The names that it covers.
    pub(super) range: NameRange<'a>,
    /// What it does not have is missing (R4.4).
    pub(super) complete: bool,
    /// R4.2: it adds and removes nothing.
    pub(super) stale: bool,
    /// What it has as it is known was seen in its version.
    pub(super) sees: bool,
}

impl View {
    /// Lays the listing over the directory. The tree is changed by it already; the change that it
    /// yields has to be committed with [`View::commit_laid`].
    pub(super) fn lay(
        &mut self,
        act: &Act<'_>,
        frame: &Frame<'_>,
        block: BlockId,
        children: &Children<'_>,
        lay: &Lay<'_>,
    ) -> (Listed, Doubts) {
        let version = Version::of(&frame.dir_stat);
        let listed_at = self.state.tree.meta(block).and_then(|meta| meta.listed_at);
        let own_listings = self.own_listings(block, frame.started_at, act.now);
        let State { tree, ledger, settings, .. } = &mut self.state;
        let mut judge = Judge::new(ledger, settings, frame, lay, act.now);
        (judge.dir, judge.listed_at) = (block.as_u64(), listed_at);
        judge.own_listings = own_listings;
        let merged =
            tree.merge(block, children, lay.range, version, act.now, |case| judge.decide(&case));
        let (listed, mut doubts) = (judge.listed, judge.doubts);
        // Kinds never change in this pass, so nothing is taken out.
        debug_assert!(merged.is_none_or(|merged| merged.taken_out.is_empty()));
        for (name, seen_in) in &doubts.seen_later {
            tree.set_seen(block, name, *seen_in);
        }
        self.counts.ghost_rows += doubts.ghosts;
        self.counts.too_long_rows += doubts.too_long;
        self.keep_listed_since(frame.started_at, &mut doubts);
        (listed, doubts)
    }

    /// §3: a directory's own listing is a look at it, too. Which of those in a directory were listed since
    /// a look at it that comes more than `cache_horizon` late; a look that comes sooner is not worth the
    /// pass over them.
    fn own_listings(
        &self,
        block: BlockId,
        started_at: ServerTime,
        now: ServerTime,
    ) -> BTreeMap<u64, ServerTime> {
        if started_at.plus(self.state.settings.cache_horizon) >= now {
            return BTreeMap::new();
        }
        let mut blocks: Vec<BlockId> = Vec::new();
        self.state.tree.children(block, None, usize::MAX, |_, child| blocks.extend(child.block));
        let listed = |block: BlockId| self.state.tree.meta(block).and_then(|meta| meta.listed_at);
        let listings =
            blocks.into_iter().filter_map(|block| Some((block.as_u64(), listed(block)?)));
        listings.filter(|(_, listed)| *listed > started_at).collect()
    }

    /// A directory that is missing but was itself listed later than this listing looked stays, and is
    /// asked for again: its own listing was a look at it. The text is silent; without it a batch that
    /// is delivered twice takes away what DISCOVERY found.
    pub(super) fn keep_listed_since(&self, started_at: ServerTime, doubts: &mut Doubts) {
        let horizon = self.state.settings.cache_horizon;
        let listed = |child: &Child| {
            let meta = child.block.and_then(|block| self.state.tree.meta(block));
            meta.and_then(|meta| meta.listed_at).filter(|listed| *listed > started_at)
        };
        let again_at = doubts.gone.iter().filter_map(|(_, child)| listed(child)).max();
        doubts.again_at = doubts.again_at.max(again_at.map(|at| at.plus(horizon)));
        doubts.gone.retain(|(_, child)| listed(child).is_none());
    }
}
