//! R4.3 and R4.4: laying a listing over its directory.

use std::collections::BTreeMap;

use crate::change::{Listed, Version};
use crate::evidence::Children;
use crate::path::NAME_MAX;
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

/// The names of a listing of which it cannot be said what else it covers: the least interval that has
/// all of them, as [`NameRange`] takes it.
pub(super) struct Span {
    before: Vec<u8>,
    last: Vec<u8>,
}

impl Span {
    /// `None` if it has no names.
    pub(super) fn of(children: &Children<'_>) -> Option<Self> {
        let first = children.names.get(..*children.name_lengths.first()? as usize)?;
        let last = *children.name_lengths.last()? as usize;
        let last = children.names.get(children.names.len().checked_sub(last)?..)?.to_vec();
        let mut before = first.to_vec();
        // No name has a zero byte, or is longer than this: so none lies between.
        let end = before.last_mut()?;
        *end = end.checked_sub(1)?;
        before.resize(NAME_MAX + 1, u8::MAX);
        Some(Self { before, last })
    }

    pub(super) fn range(&self) -> NameRange<'_> {
        NameRange { after: Some(&self.before), through: Some(&self.last) }
    }
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
        let own_listings = self.own_listings(block, children, frame.started_at, act.now);
        let places = self.room();
        let State { tree, ledger, settings, .. } = &mut self.state;
        let mut judge = Judge::new(ledger, settings, frame, lay, act.now);
        (judge.dir, judge.listed_at, judge.places) = (block.as_u64(), listed_at, places);
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
        self.counts.full_rows += doubts.left_out;
        self.keep_listed_since(frame.started_at, &mut doubts);
        (listed, doubts)
    }

    /// §3: a directory's own listing is a look at it, too. Which of those that are listed here were listed
    /// themselves since a look at them that comes more than `cache_horizon` late; a look that comes sooner
    /// is not worth the pass over them. What is not listed here is not asked for: a large directory comes
    /// in many parts.
    fn own_listings(
        &self,
        block: BlockId,
        children: &Children<'_>,
        started_at: ServerTime,
        now: ServerTime,
    ) -> BTreeMap<u64, ServerTime> {
        if started_at.plus(self.state.settings.cache_horizon) >= now {
            return BTreeMap::new();
        }
        let tree = &self.state.tree;
        let blocks = children.iter().filter_map(|(name, _)| tree.link(block, name));
        let listings =
            blocks.filter_map(|block| Some((block.as_u64(), tree.meta(block)?.listed_at?)));
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

#[cfg(test)]
#[path = "lay/tests.rs"]
mod tests;
