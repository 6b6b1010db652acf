//! What a listing will do to a directory: asked of the rules, name by name, before anything is done.
//!
//! Owns the one pass over pages and listing. Runs under the directory's read lock, which keeps no
//! reader out; the writer is the caller. Must never: change the tree, or call `decide` twice for a
//! name. Tested with `merge`.

use std::cmp::Ordering;

use crate::evidence::Children;
use crate::stat::Stat;

use super::block::Block;
use super::body::At;
use super::merge::{MergeAction, MergeCase, NameRange};
use super::page::Page;
use super::row::Flags;
use super::{BlockId, Tree};

/// What happens to one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    /// A row of the page stays, seen when it was.
    Keep,
    /// The same, with new flags.
    Flag,
    /// A row of the page stays, and was seen now; with new flags.
    Seen,
    /// A row of the page gets the listing's stat.
    Take,
    /// A row of the listing comes.
    New,
    /// A row of the page goes, a row of the listing comes.
    Swap,
    /// A row of the page goes.
    Drop,
}

/// One name, in order of names.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    /// Row in its page, if it is known.
    pub(super) old: u32,
    /// Row in the listing, if it is listed.
    pub(super) new: u32,
    /// Where its name starts in the listing.
    pub(super) name_at: u32,
    pub(super) act: Act,
    pub(super) flags: Flags,
}

/// The steps of a listing; its memory is used again for the next one.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
    /// Pages that are covered, the first one's number, and where the steps of each end.
    pub(super) first_page: usize,
    pub(super) ends: Vec<usize>,
    /// No name comes or goes.
    pub(super) in_place: bool,
    /// Steps that see their entry in the listing's version.
    pub(super) seen: usize,
    pub(super) refused: usize,
}

/// Reads the names of a listing in order, and passes over what breaks it.
struct Rows<'a> {
    children: &'a Children<'a>,
    range: NameRange<'a>,
    row: usize,
    at: usize,
    name: Option<&'a [u8]>,
    last: Option<&'a [u8]>,
    refused: usize,
}

impl<'a> Rows<'a> {
    fn new(children: &'a Children<'a>, range: NameRange<'a>) -> Self {
        let last = range.after;
        let mut rows = Self { children, range, row: 0, at: 0, name: None, last, refused: 0 };
        rows.settle();
        rows
    }

    /// Goes on to the next row that is in order.
    #[inline]
    fn settle(&mut self) {
        while let Some(&length) = self.children.name_lengths.get(self.row) {
            let name = self.children.names.get(self.at..self.at + length as usize);
            if let Some(name) = name
                && self.last.is_none_or(|last| last < name)
                && self.range.through.is_none_or(|through| name <= through)
            {
                self.name = Some(name);
                return;
            }
            self.refused += 1;
            self.at += length as usize;
            self.row += 1;
        }
        self.name = None;
    }

    #[inline]
    fn advance(&mut self) {
        if let Some(name) = self.name.take() {
            self.last = Some(name);
            self.at += name.len();
            self.row += 1;
        }
        self.settle();
    }
}

impl Plan {
    /// Asks `decide` for every name; `None` if the directory is not known.
    pub(super) fn make(
        &mut self,
        tree: &Tree,
        dir: BlockId,
        children: &Children<'_>,
        range: NameRange<'_>,
        mut decide: impl FnMut(MergeCase<'_>) -> MergeAction,
    ) -> Option<()> {
        self.steps.clear();
        self.ends.clear();
        (self.in_place, self.seen) = (true, 0);
        let block = tree.blocks.read(dir)?;
        let mut rows = Rows::new(children, range);
        let pages = block.body.pages();
        self.first_page = block.body.page_of(range.after.unwrap_or_default());
        for number in self.first_page..pages.len() {
            let next = pages.get(number + 1).map(|page| page.name(0));
            let begin = self.steps.len();
            self.page(tree, &block, number, next, &mut rows, &mut decide);
            // A page that has no place in the range ends it.
            let done = rows.name.is_none()
                && next.is_none_or(|next| range.through.is_some_and(|through| next > through));
            debug_assert!(self.steps.len() >= begin);
            self.ends.push(self.steps.len());
            if done {
                break;
            }
        }
        self.refused = rows.refused;
        Some(())
    }

    fn page(
        &mut self,
        tree: &Tree,
        block: &Block,
        number: usize,
        next: Option<&[u8]>,
        rows: &mut Rows<'_>,
        decide: &mut impl FnMut(MergeCase<'_>) -> MergeAction,
    ) {
        let page = &block.body.pages()[number];
        let first = rows.range.after.map_or(0, |after| page.lower_bound(after, true));
        let end = rows.range.through.map_or(page.len(), |to| page.lower_bound(to, true));
        self.steps.reserve(page.len() + rows.children.len().saturating_sub(rows.row));
        (0..first.min(page.len())).for_each(|row| self.keep(row));
        let mut old = first;
        loop {
            let order = match rows.name {
                None if old >= end => break,
                None => Ordering::Greater,
                Some(name) if old < end => compare(name, page.name(old)),
                Some(name) if next.is_some_and(|next| name >= next) => break,
                Some(_) => Ordering::Less,
            };
            match order {
                Ordering::Less => self.listed(rows, decide),
                Ordering::Equal => {
                    self.known(tree, block, At { page: number, row: old }, rows, decide);
                    old += 1;
                }
                Ordering::Greater => {
                    self.missing(tree, block, At { page: number, row: old }, decide);
                    old += 1;
                }
            }
        }
        (old.max(first)..page.len()).for_each(|row| self.keep(row));
    }

    fn keep(&mut self, row: usize) {
        self.step(row, None, Act::Keep, Flags::NONE);
    }

    #[inline]
    fn step(&mut self, old: usize, rows: Option<&Rows<'_>>, act: Act, flags: Flags) {
        let (new, name_at) = rows.map_or((0, 0), |rows| (rows.row as u32, rows.at as u32));
        self.steps.push(Step { old: old as u32, new, name_at, act, flags });
    }

    #[inline]
    fn listed(
        &mut self,
        rows: &mut Rows<'_>,
        decide: &mut impl FnMut(MergeCase<'_>) -> MergeAction,
    ) {
        let listed = rows.children.stat(rows.row);
        let name = rows.name.unwrap_or_default();
        let case = MergeCase::New { name, row: rows.row, listed: &listed };
        if let MergeAction::Take(flags) | MergeAction::Replace(flags) = decide(case) {
            self.step(0, Some(rows), Act::New, flags);
            self.in_place = false;
            self.seen += 1;
        }
        rows.advance();
    }

    #[inline]
    fn known(
        &mut self,
        tree: &Tree,
        block: &Block,
        at: At,
        rows: &mut Rows<'_>,
        decide: &mut impl FnMut(MergeCase<'_>) -> MergeAction,
    ) {
        let listed: Stat = rows.children.stat(rows.row);
        let known = tree.child_at(block, at);
        let page: &Page = block.body.page(at);
        let case = MergeCase::Known {
            name: page.name(at.row),
            row: rows.row,
            listed: &listed,
            known: &known,
        };
        let (act, flags) = match decide(case) {
            MergeAction::Skip => (Act::Keep, known.flags),
            MergeAction::Flag(flags) => (Act::Flag, flags),
            MergeAction::Seen(flags) => (Act::Seen, flags),
            MergeAction::Take(flags) if known.stat.kind == listed.kind => (Act::Take, flags),
            MergeAction::Take(flags) | MergeAction::Replace(flags) => (Act::Swap, flags),
            MergeAction::Remove => (Act::Drop, known.flags),
        };
        self.in_place &= !matches!(act, Act::Swap | Act::Drop);
        self.seen += usize::from(matches!(act, Act::Seen | Act::Take | Act::Swap));
        self.step(at.row, Some(rows), act, flags);
        rows.advance();
    }

    fn missing(
        &mut self,
        tree: &Tree,
        block: &Block,
        at: At,
        decide: &mut impl FnMut(MergeCase<'_>) -> MergeAction,
    ) {
        let known = tree.child_at(block, at);
        let name = block.body.page(at).name(at.row);
        let (act, flags) = match decide(MergeCase::Missing { name, known: &known }) {
            MergeAction::Remove => (Act::Drop, known.flags),
            MergeAction::Seen(flags) => (Act::Seen, flags),
            MergeAction::Flag(flags) => (Act::Flag, flags),
            MergeAction::Skip | MergeAction::Take(_) | MergeAction::Replace(_) => {
                (Act::Keep, known.flags)
            }
        };
        self.in_place &= act != Act::Drop;
        self.seen += usize::from(act == Act::Seen);
        self.step(at.row, None, act, flags);
    }
}

/// Order of two names; most rows of a listing are known, so sameness is tried first.
#[inline]
fn compare(left: &[u8], right: &[u8]) -> Ordering {
    if left == right { Ordering::Equal } else { left.cmp(right) }
}
