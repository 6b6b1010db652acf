//! The children of one directory: one page, or many in order for a large one.
//!
//! Owns the pages and keeps them between half and quite full, so that a change costs the same in a
//! directory of ten entries and of a million. Used by `block`, `edit`, `merge` and the reads. Must
//! never: hold an empty page beside others. Tested with the tree.

use super::page::{NAMES_MAX, Page, ROWS_MAX};
use super::row::Row;

/// Where an entry stands: page and row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct At {
    pub(super) page: usize,
    pub(super) row: usize,
}

/// The children of one directory.
#[derive(Debug, Clone)]
pub(super) enum Body {
    One(Page),
    Many(Vec<Page>),
}

impl Default for Body {
    fn default() -> Self {
        Self::One(Page::default())
    }
}

impl Body {
    #[inline]
    pub(super) fn pages(&self) -> &[Page] {
        match self {
            Self::One(page) => std::slice::from_ref(page),
            Self::Many(pages) => pages,
        }
    }

    pub(super) fn pages_mut(&mut self) -> &mut [Page] {
        match self {
            Self::One(page) => std::slice::from_mut(page),
            Self::Many(pages) => pages,
        }
    }

    /// The page that has, or would have, this name.
    #[inline]
    pub(super) fn page_of(&self, name: &[u8]) -> usize {
        match self {
            Self::One(_) => 0,
            Self::Many(pages) => {
                pages.partition_point(|page| page.name(0) <= name).saturating_sub(1)
            }
        }
    }

    #[inline]
    pub(super) fn find(&self, name: &[u8]) -> Option<At> {
        let page = self.page_of(name);
        let row = self.pages().get(page)?.find(name)?;
        Some(At { page, row })
    }

    /// Loads the tags that a look will pass over, of the first page: most directories have but one.
    pub(super) fn touch_tags(&self) -> u64 {
        self.pages().first().map_or(0, Page::touch)
    }

    /// Where a look at this name will look first; it may be another's row.
    pub(super) fn guess(&self, name: &[u8]) -> Option<(&Page, usize)> {
        let page = self.pages().get(self.page_of(name))?;
        Some((page, page.guess(name)?))
    }

    /// The first entry after this name; the first of all for `None`.
    pub(super) fn after(&self, name: Option<&[u8]>) -> At {
        let Some(name) = name else { return At::default() };
        let page = self.page_of(name);
        At { page, row: self.pages()[page].lower_bound(name, true) }
    }

    #[inline]
    pub(super) fn page(&self, at: At) -> &Page {
        &self.pages()[at.page]
    }

    #[inline]
    pub(super) fn page_mut(&mut self, at: At) -> &mut Page {
        &mut self.pages_mut()[at.page]
    }

    /// Puts a name in that is not there yet.
    pub(super) fn insert(&mut self, name: &[u8], row: Row) -> At {
        let mut page = self.page_of(name);
        let mut at = self.pages()[page].lower_bound(name, false);
        // Halving by rows may leave a half with all the long names: then it is halved again.
        while !self.pages()[page].fits(name.len()) {
            // What is appended in order leaves full pages behind, all else halves.
            let len = self.pages()[page].len();
            let last = page + 1 == self.pages().len() && at == len;
            let cut = if last { len } else { len / 2 };
            let tail = self.pages_mut()[page].split_off(cut);
            self.insert_page(page + 1, tail);
            if at > cut || last {
                page += 1;
                at -= cut;
            }
        }
        self.pages_mut()[page].insert(at, name, row);
        At { page, row: at }
    }

    fn insert_page(&mut self, at: usize, page: Page) {
        if let Self::One(first) = self {
            *self = Self::Many(vec![std::mem::take(first)]);
        }
        if let Self::Many(pages) = self {
            pages.insert(at, page);
        }
    }

    pub(super) fn remove(&mut self, at: At) {
        self.page_mut(at).remove(at.row);
        if let Self::Many(pages) = self {
            if pages[at.page].len() == 0 {
                pages.remove(at.page);
            } else if pages[at.page].len() < ROWS_MAX / 4 {
                join_if_small(pages, at.page);
            }
        }
        self.settle();
    }

    /// Replaces pages by others; neighbours that became small are joined.
    pub(super) fn splice(
        &mut self,
        range: std::ops::Range<usize>,
        mut with: Vec<Page>,
    ) -> Vec<Page> {
        if let Self::One(first) = self {
            if with.len() == 1 {
                std::mem::swap(first, &mut with[0]);
                return with;
            }
            *self = Self::Many(vec![std::mem::take(first)]);
        }
        let Self::Many(pages) = self else { return Vec::new() };
        let edge = range.start;
        let tail = edge + with.len();
        let old = pages.splice(range, with).collect();
        join_if_small(pages, tail.saturating_sub(1));
        join_if_small(pages, edge);
        self.settle();
        old
    }

    /// One page is kept as one page.
    fn settle(&mut self) {
        if let Self::Many(pages) = self
            && pages.len() < 2
        {
            *self = Self::One(pages.pop().unwrap_or_default());
        }
    }

    /// Bytes on the heap.
    pub(super) fn bytes(&self) -> usize {
        let table = match self {
            Self::One(_) => 0,
            Self::Many(pages) => pages.capacity() * size_of::<Page>(),
        };
        table + self.pages().iter().map(Page::bytes).sum::<usize>()
    }
}

/// Joins a page with a neighbour if both together are well below full.
fn join_if_small(pages: &mut Vec<Page>, at: usize) {
    let small = |left: &Page, right: &Page| {
        left.len() + right.len() <= ROWS_MAX * 3 / 4
            && left.names().len() + right.names().len() <= NAMES_MAX / 4 * 3
    };
    for left in [at, at.wrapping_sub(1)] {
        if let (Some(a), Some(b)) = (pages.get(left), pages.get(left.wrapping_add(1)))
            && small(a, b)
        {
            let tail = pages.remove(left + 1);
            pages[left].append(&tail);
            return;
        }
    }
}
