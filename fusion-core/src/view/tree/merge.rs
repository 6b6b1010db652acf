//! Laying a listing over a directory: one pass over both, in order of names.
//!
//! Owns the vocabulary between tree and rules: for each name the rules are told the case and say what
//! to do ([`super::plan`] asks them, [`super::lay`] does it). Called for every listing and every part
//! of one. Must never: decide anything, or change a name outside of the part's range. Tested in
//! `tree/tests.rs` against the same edits done one by one.

use crate::evidence::Children;
use crate::stat::Stat;
use crate::time::ServerTime;

use super::row::Flags;
use super::subtree::Detached;
use super::{BlockId, Child, TreeWriter, Version};

/// Which names a listing, or a part of one, covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NameRange<'a> {
    /// Only names after this one; all for `None`.
    pub after: Option<&'a [u8]>,
    /// Only names up to this one, itself included; all for `None`.
    pub through: Option<&'a [u8]>,
}

impl NameRange<'static> {
    /// All names.
    pub const ALL: Self = Self { after: None, through: None };
}

/// What listing and tree say of one name.
#[derive(Debug)]
pub enum MergeCase<'a> {
    /// Listed, and not known.
    New {
        /// Its name.
        name: &'a [u8],
        /// Its row in the listing.
        row: usize,
        /// What the listing says.
        listed: &'a Stat,
    },
    /// Listed, and known.
    Known {
        /// Its name.
        name: &'a [u8],
        /// Its row in the listing.
        row: usize,
        /// What the listing says.
        listed: &'a Stat,
        /// What is known.
        known: &'a Child,
    },
    /// Covered but not listed, and known.
    Missing {
        /// Its name.
        name: &'a [u8],
        /// What is known.
        known: &'a Child,
    },
}

/// What to do with one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MergeAction {
    /// Nothing: what is new stays unknown; what is known stays as it is, seen when it was.
    Skip,
    /// Known: new flags, and nothing else.
    Flag(Flags),
    /// Known: the stat stays; seen in the listing's version, with these flags.
    Seen(Flags),
    /// Listed: the listing's stat, seen in the listing's version, with these flags. What is below a
    /// directory stays; if another kind stood there, that is taken out first.
    Take(Flags),
    /// As `Take`, but what stood there is taken out whatever its kind.
    Replace(Flags),
    /// Known: it is taken out.
    Remove,
}

/// What a listing took out.
#[derive(Debug)]
pub struct TakenOut {
    /// The name that it had.
    pub name: Box<[u8]>,
    /// The entry, with all below it.
    pub detached: Detached,
}

/// What a listing did.
#[derive(Debug, Default)]
pub struct Merged {
    /// Entries that are new, those that replaced another one included.
    pub inserted: usize,
    /// Entries whose stat changed.
    pub updated: usize,
    /// What was taken out, in order of names.
    pub taken_out: Vec<TakenOut>,
    /// Rows of the listing that are new directories, and their blocks.
    pub directories: Vec<(usize, BlockId)>,
    /// Rows that were passed over: outside of the range, out of order, or a name twice.
    pub refused: usize,
}

impl TreeWriter {
    /// Lays a listing over a directory. `decide` is called once for each name that is listed or
    /// known and lies in `range`, in order of names; it must not look at the tree. Then all is done
    /// at once under the directory's lock, and the aggregates go up once. `seen_in` is the version
    /// that the listing shows; it becomes that of the whole page where most of it was covered, so it
    /// costs nothing per entry. `None` if the directory is not known.
    ///
    /// Neither the directory's own entry nor its [`super::DirMeta`] is touched.
    pub fn merge(
        &mut self,
        dir: BlockId,
        children: &Children<'_>,
        range: NameRange<'_>,
        seen_in: Version,
        now: ServerTime,
        decide: impl FnMut(MergeCase<'_>) -> MergeAction,
    ) -> Option<Merged> {
        let mut plan = std::mem::take(&mut self.scratch);
        let planned = plan.make(&self.tree, dir, children, range, decide);
        let merged = planned.map(|()| self.lay(dir, children, &plan, seen_in, now));
        self.scratch = plan;
        merged
    }
}
