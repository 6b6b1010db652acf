//! Parts of large listings (4-consistency §1): "The server keeps nothing between parts but the number
//! and last name of the part before; a missing part leaves the directory incomplete and queues a
//! relist."

use crate::change::{ListedOutcome, Note, Version};
use crate::evidence::{Listing, Witness};
use crate::path::PathRef;
use crate::time::ServerTime;
use crate::view::View;
use crate::view::scans::PartsSoFar;
use crate::view::tree::BlockId;

use super::Act;

/// What part of a listing came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// The whole, or the part that was expected, and the names that it covers.
    Next {
        after: Option<Box<[u8]>>,
        through: Option<Box<[u8]>>,
        /// Nothing was kept against the parts before.
        settled: bool,
        /// The parts before had been read in full.
        complete: bool,
        /// The part just before had: if not, names at the beginning of this one may have been lost at
        /// the end of that one, and nothing is missing from this one.
        whole_before: bool,
    },
    /// It came before.
    Repeated,
    /// A part before it is missing: what it covers cannot be said.
    Broken,
}

impl Part {
    pub(super) fn after(&self) -> Option<&[u8]> {
        match self {
            Self::Next { after, .. } => after.as_deref(),
            _ => None,
        }
    }

    /// Whether what this part covers and does not have is missing.
    pub(super) fn can_miss(&self) -> bool {
        matches!(self, Self::Next { whole_before: true, .. })
    }

    pub(super) fn through(&self) -> Option<&[u8]> {
        match self {
            Self::Next { through, .. } => through.as_deref(),
            _ => None,
        }
    }

    /// What is remembered of the listing when this was its last part, or one was missing.
    pub(super) fn outcome(
        &self,
        listing: &Listing<'_>,
        settled: bool,
        complete: bool,
        behind: bool,
    ) -> Option<ListedOutcome> {
        match self {
            Self::Next { settled: before, complete: all, .. } if listing.last => {
                let complete = complete && *all;
                Some(ListedOutcome { complete, settled: settled && complete && *before, behind })
            }
            Self::Next { .. } | Self::Repeated => None,
            Self::Broken => Some(ListedOutcome { complete: false, settled: false, behind }),
        }
    }
}

impl View {
    /// Which part this is. Parts are doubled or out of order only if an agent is wrong or a batch was
    /// refused; either is borne.
    ///
    /// Parts are told apart by the time that the agent gave them all, not by the one that each is
    /// clamped to.
    pub(super) fn part_of(
        &self,
        by: &Witness,
        listing: &Listing<'_>,
        block: BlockId,
        started_at: ServerTime,
    ) -> Part {
        let so_far = self.state.ledger.parts.get(listing.dir).filter(|parts| {
            parts.session == by.session
                && parts.scan == listing.scan
                && parts.started_at == listing.started_at
        });
        let last_name = listing.children.iter().last().map(|(name, _)| Box::from(name));
        let through = if listing.last { None } else { last_name };
        match (listing.part, so_far) {
            (part, None) if part > 0 || !listing.last => {
                if self.is_over(block, listing, started_at) {
                    return Part::Repeated;
                }
                if part > 0 {
                    return Part::Broken;
                }
                first(through)
            }
            (0, None) => first(through),
            (part, Some(parts)) if part < parts.next => Part::Repeated,
            (part, Some(parts)) if part == parts.next && follows(listing, &parts.last_name) => {
                Part::Next {
                    after: Some(parts.last_name.clone()),
                    through,
                    settled: parts.settled,
                    complete: parts.complete,
                    whole_before: parts.whole_before,
                }
            }
            _ => Part::Broken,
        }
    }

    /// Whether all parts of this listing, or of one that began later in the same version, have come: a
    /// part that comes now was delivered twice.
    fn is_over(&self, block: BlockId, listing: &Listing<'_>, started_at: ServerTime) -> bool {
        let meta = self.state.tree.meta(block).unwrap_or_default();
        meta.complete
            && meta.listed_in == Some(Version::of(&listing.dir_stat))
            && meta.listed_at >= Some(started_at)
    }

    /// Remembers number and last name of this part for the next one; a missing part queues a relist.
    pub(super) fn remember_part(
        &mut self,
        act: &mut Act<'_>,
        by: &Witness,
        listing: &Listing<'_>,
        part: &Part,
        settled: bool,
        complete: bool,
    ) {
        if *part == Part::Broken {
            self.relist(act, listing.dir, act.now);
        }
        let parts = match part {
            Part::Next { through: Some(last_name), settled: before, complete: all, .. } => {
                Some(Box::new(PartsSoFar {
                    session: by.session,
                    scan: listing.scan,
                    started_at: listing.started_at,
                    next: listing.part.saturating_add(1),
                    last_name: last_name.clone(),
                    settled: settled && *before,
                    complete: complete && *all,
                    whole_before: listing.complete,
                }))
            }
            _ => None,
        };
        if parts.is_none() && self.state.ledger.parts.get(listing.dir).is_none() {
            return;
        }
        if parts.is_some() && !self.state.ledger.parts.has_room(listing.dir) {
            self.drop_oldest_parts(act);
        }
        let dir = listing.dir.to_owned();
        self.note(act, crate::change::Cause::Audit, Note::Parts { dir, parts });
    }

    /// Too many large directories are under way at a time: the one that began first is given up, and
    /// listed again.
    fn drop_oldest_parts(&mut self, act: &mut Act<'_>) {
        let Some(oldest) = self.state.ledger.parts.oldest() else { return };
        let Ok(dir) = PathRef::new(&oldest) else { return };
        let note = Note::Parts { dir: dir.to_owned(), parts: None };
        self.note(act, crate::change::Cause::Audit, note);
        self.relist(act, dir, act.now);
    }
}

/// The first part, or the whole.
fn first(through: Option<Box<[u8]>>) -> Part {
    Part::Next { after: None, through, settled: true, complete: true, whole_before: true }
}

/// Whether the names of a part come after those of the part before.
fn follows(listing: &Listing<'_>, last_name: &[u8]) -> bool {
    listing.children.iter().next().is_none_or(|(name, _)| name > last_name)
}
