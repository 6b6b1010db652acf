//! Doing what a plan says, at once.
//!
//! Owns the rebuilding of pages. Where no name comes or goes the rows are changed in place; else the
//! covered pages are written anew with exactly the room that they need. Blocks of new directories are
//! made before the directory's lock is taken, and old pages are freed after it. Must never: leave a
//! row without its link, or take a second lock. Tested with `merge`.

use crate::evidence::Children;
use crate::stat::Kind;
use crate::time::ServerTime;

use super::block::{Block, Delta, Sums};
use super::merge::{Merged, TakenOut};
use super::owners::{Owner, OwnerBook, Owners};
use super::page::{NAMES_MAX, Page, tag};
use super::plan::{Act, Plan, Step};
use super::row::Row;
use super::subtree::Detached;
use super::{BlockId, TreeWriter, Version};

/// Rows of a page at most where a listing is written to several: some room is left for what comes.
const ROWS_LAID: usize = 448;

impl TreeWriter {
    pub(super) fn lay(
        &mut self,
        dir: BlockId,
        children: &Children<'_>,
        plan: &Plan,
        seen_in: Version,
        now: ServerTime,
    ) -> Merged {
        let mut merged = Merged { refused: plan.refused, ..Merged::default() };
        let mut delta = Delta::default();
        if !plan.in_place {
            self.make_directories(dir, children, plan, &mut merged);
            self.cut_directories(dir, plan, &mut delta);
        }
        let tree = &self.tree;
        let Some(mut block) = tree.blocks.write(dir) else { return merged };
        let mut lay = Lay {
            children,
            plan,
            seen_in,
            owners: &tree.owners,
            book: &mut self.book,
            delta,
            merged,
            inodes: Vec::new(),
        };
        let old = if plan.in_place { lay.in_place(&mut block) } else { lay.anew(&mut block) };
        let Lay { mut delta, merged, inodes, .. } = lay;
        if merged.inserted + merged.updated + merged.taken_out.len() > 0 {
            delta.changed = Some(now);
        }
        if !delta.is_nothing() {
            block.account(&delta);
        }
        let parent = block.parent;
        drop(block);
        drop(old);
        self.tree.propagate(parent, &delta);
        for (id, inode) in inodes {
            if let Some(mut block) = self.tree.blocks.write_head(id) {
                block.inode = inode;
            }
        }
        merged
    }

    /// Blocks for all directories that come.
    fn make_directories(
        &mut self,
        dir: BlockId,
        children: &Children<'_>,
        plan: &Plan,
        merged: &mut Merged,
    ) {
        for step in plan.steps.iter().filter(|step| matches!(step.act, Act::New | Act::Swap)) {
            if is_directory(children, step) {
                let row = step.new as usize;
                let id = self.allot(dir, name_of(children, step), children.inodes[row]);
                merged.directories.push((row, id));
            }
        }
    }

    /// Cuts off the blocks of all directories that go.
    fn cut_directories(&mut self, dir: BlockId, plan: &Plan, delta: &mut Delta) {
        let mut gone = Vec::new();
        if let Some(block) = self.tree.blocks.read(dir) {
            let pages = block.body.pages().iter().skip(plan.first_page);
            for (page, steps) in pages.zip(plan.groups()) {
                let goes = steps.iter().filter(|step| matches!(step.act, Act::Swap | Act::Drop));
                gone.extend(goes.filter_map(|step| page.link(step.old as usize)));
            }
        }
        for id in gone {
            self.cut(id, delta);
        }
    }
}

impl Plan {
    /// The steps of each covered page.
    pub(super) fn groups(&self) -> impl Iterator<Item = &[Step]> {
        let begins = std::iter::once(0).chain(self.ends.iter().copied());
        begins.zip(&self.ends).map(|(begin, &end)| &self.steps[begin..end])
    }
}

fn is_directory(children: &Children<'_>, step: &Step) -> bool {
    children.kinds[step.new as usize] == Kind::Directory as u8
}

#[inline]
fn name_of<'a>(children: &Children<'a>, step: &Step) -> &'a [u8] {
    let begin = step.name_at as usize;
    &children.names[begin..begin + children.name_lengths[step.new as usize] as usize]
}

/// One listing being laid.
struct Lay<'a> {
    children: &'a Children<'a>,
    plan: &'a Plan,
    seen_in: Version,
    owners: &'a Owners,
    book: &'a mut OwnerBook,
    delta: Delta,
    merged: Merged,
    /// Directories whose inode changed.
    inodes: Vec<(BlockId, u64)>,
}

impl Lay<'_> {
    #[inline]
    fn listed(&mut self, step: &Step) -> Row {
        let stat = self.children.stat(step.new as usize);
        Row::pack(&stat, step.flags, self.book.number(self.owners, Owner::of(&stat)))
    }

    /// What a row that stays becomes.
    #[inline]
    fn stays(&mut self, page: &Page, step: &Step) -> Row {
        let old = *page.row(step.old as usize);
        let mut row = old;
        match step.act {
            Act::Take => row = self.listed(step),
            Act::Seen | Act::Flag => row.set_flags(step.flags),
            Act::Keep | Act::New | Act::Swap | Act::Drop => {}
        }
        if row != old {
            self.changed(page, step, &old, &row);
        }
        row
    }

    fn changed(&mut self, page: &Page, step: &Step, old: &Row, row: &Row) {
        self.delta.sums.sub(&Sums::of(old));
        self.delta.sums.add(&Sums::of(row));
        if old.mtime() != row.mtime() {
            self.delta.gone = self.delta.gone.max(Some(old.mtime()));
            self.delta.came = self.delta.came.max(Some(row.mtime()));
        }
        self.merged.updated += usize::from(!old.same_stat(row));
        if old.inode() != row.inode() {
            let link = page.link(step.old as usize);
            self.inodes.extend(link.map(|id| (id, row.inode())));
        }
    }

    fn in_place(&mut self, block: &mut Block) -> Vec<Page> {
        let plan = self.plan;
        let pages = block.body.pages_mut().iter_mut().skip(plan.first_page);
        for (page, steps) in pages.zip(plan.groups()) {
            let mut seen = 0;
            for step in steps {
                let row = self.stays(page, step);
                *page.row_mut(step.old as usize) = row;
                seen += usize::from(matches!(step.act, Act::Seen | Act::Take));
            }
            self.see(page, steps, seen);
        }
        Vec::new()
    }

    /// Sets the versions of a page that kept its rows.
    fn see(&self, page: &mut Page, steps: &[Step], seen: usize) {
        let is_seen = |step: &&Step| matches!(step.act, Act::Seen | Act::Take);
        if seen * 2 < steps.len() {
            for step in steps.iter().filter(is_seen) {
                page.set_seen(step.old as usize, self.seen_in);
            }
            return;
        }
        let kept = steps.iter().filter(|step| !is_seen(step)).map(|step| step.old as usize);
        let differ: Vec<_> = kept
            .map(|row| (row, page.seen_in(row)))
            .filter(|(_, version)| *version != self.seen_in)
            .collect();
        page.set_all_seen(self.seen_in, &differ);
    }

    fn anew(&mut self, block: &mut Block) -> Vec<Page> {
        let plan = self.plan;
        let covered = plan.first_page..plan.first_page + plan.ends.len();
        let mut fill = self.fill(&block.body.pages()[covered.clone()]);
        let mut directories = std::mem::take(&mut self.merged.directories);
        let mut next = directories.iter();
        for (page, steps) in block.body.pages()[covered.clone()].iter().zip(plan.groups()) {
            for step in steps {
                if matches!(step.act, Act::Swap | Act::Drop) {
                    self.take_out(page, step);
                }
                match step.act {
                    Act::Drop => {}
                    Act::New | Act::Swap => {
                        let row = self.listed(step);
                        self.delta.row_came(&row);
                        self.merged.inserted += 1;
                        let directory = row.kind() == Kind::Directory;
                        let link = if directory { next.next().map(|next| next.1) } else { None };
                        let name = name_of(self.children, step);
                        fill.push(name, tag(name), row, link, self.seen_in);
                    }
                    Act::Keep | Act::Flag | Act::Seen | Act::Take => {
                        let row = self.stays(page, step);
                        let old = step.old as usize;
                        let now = matches!(step.act, Act::Seen | Act::Take);
                        let seen = if now { self.seen_in } else { page.seen_in(old) };
                        fill.push(page.name(old), page.tag_of(old), row, page.link(old), seen);
                    }
                }
            }
        }
        self.merged.directories.append(&mut directories);
        block.body.splice(covered, fill.finish())
    }

    fn take_out(&mut self, page: &Page, step: &Step) {
        let old = step.old as usize;
        let row = page.row(old);
        self.delta.row_went(row);
        let detached = Detached {
            stat: row.stat(self.owners),
            flags: row.flags(),
            seen_in: page.seen_in(old).known(),
            block: page.link(old),
        };
        self.merged.taken_out.push(TakenOut { name: page.name(old).into(), detached });
    }

    /// Room for exactly what stays and comes.
    fn fill(&self, pages: &[Page]) -> Fill {
        let (mut rows, mut names) = (0_usize, 0_usize);
        for (page, steps) in pages.iter().zip(self.plan.groups()) {
            for step in steps {
                let length = match step.act {
                    Act::Drop => continue,
                    Act::New => self.children.name_lengths[step.new as usize] as usize,
                    Act::Keep | Act::Flag | Act::Seen | Act::Take | Act::Swap => {
                        page.name(step.old as usize).len()
                    }
                };
                rows += 1;
                names += length;
            }
        }
        let count = rows.div_ceil(ROWS_LAID).max(1);
        let most = self.plan.seen * 2 >= rows;
        let before = pages.first().map_or(self.seen_in, Page::seen);
        Fill {
            done: Vec::new(),
            page: Page::default(),
            rows_each: rows.div_ceil(count),
            names_each: names.div_ceil(count),
            base: if most { self.seen_in } else { before },
        }
    }
}

/// Pages being written.
struct Fill {
    done: Vec<Page>,
    page: Page,
    rows_each: usize,
    names_each: usize,
    base: Version,
}

impl Fill {
    #[inline]
    fn push(&mut self, name: &[u8], tag: u16, row: Row, link: Option<BlockId>, seen: Version) {
        let at = self.page.len();
        if at == 0 || at >= self.rows_each || self.page.names().len() + name.len() > NAMES_MAX {
            self.turn();
        }
        let at = self.page.len();
        self.page.push(name, tag, row);
        if let Some(link) = link {
            self.page.push_link(at, link);
        }
        if seen != self.base {
            self.page.set_seen(at, seen);
        }
    }

    /// Begins the next page.
    fn turn(&mut self) {
        let names = self.names_each.min(NAMES_MAX);
        let fresh = Page::with_capacity(self.rows_each, names, self.base);
        let mut full = std::mem::replace(&mut self.page, fresh);
        if full.len() > 0 {
            full.shrink();
            self.done.push(full);
        }
    }

    fn finish(mut self) -> Vec<Page> {
        self.turn();
        self.done
    }
}
