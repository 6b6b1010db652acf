//! Looking at the tree: from paths to directories and entries, and back.
//!
//! Owns nothing. Called by readers, and by the writer through its `Deref` (where it has an index,
//! see [`super::index`], its own [`TreeWriter::dir`] is quicker). Must never: hold two locks.

use crate::path::{PathRef, TreePath};
use crate::stat::Stat;
use crate::view::read::Totals;

use super::block::Block;
use super::body::At;
use super::{BlockId, Child, DirMeta, Flags, Tree};

/// How far the way to a path is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nearest<'a> {
    /// The last known directory on the way; the path's own, if that is one.
    pub dir: BlockId,
    /// What comes after it in the path, without a leading `/`; empty if the path is `dir` itself.
    pub rest: &'a [u8],
}

#[cfg(test)]
thread_local! {
    /// Entries that this thread has looked at: what the rules may not do in a quarter of a second they
    /// may not do by numbers.
    pub(in crate::view) static LOOKED_AT: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

impl Tree {
    /// The root, if it is known.
    #[must_use]
    pub fn root(&self) -> Option<Child> {
        self.child(BlockId::ANCHOR, b"")
    }

    /// How many entries there are, the root among them. O(1).
    #[must_use]
    pub fn entries(&self) -> u64 {
        let all = self.blocks.read(BlockId::ANCHOR).map(|anchor| anchor.totals());
        all.map_or(0, |all| all.files + all.directories + all.others)
    }

    /// The last known directory on the way to a path; `None` if the root is not known (or is none).
    #[must_use]
    pub fn nearest<'a>(&self, path: PathRef<'a>) -> Option<Nearest<'a>> {
        let mut dir = self.link(BlockId::ANCHOR, b"")?;
        let mut rest = &path.as_bytes()[1..];
        while !rest.is_empty() {
            let end = rest.iter().position(|&byte| byte == b'/').unwrap_or(rest.len());
            let Some(next) = self.link(dir, &rest[..end]) else { break };
            dir = next;
            rest = rest.get(end + 1..).unwrap_or_default();
        }
        Some(Nearest { dir, rest })
    }

    /// The directory at a path.
    #[must_use]
    pub fn dir(&self, path: PathRef<'_>) -> Option<BlockId> {
        self.nearest(path).filter(|nearest| nearest.rest.is_empty()).map(|nearest| nearest.dir)
    }

    /// The directory that an entry at this path is in (whether it is there or not), and its name;
    /// ([`BlockId::ANCHOR`], empty) for the root. `None` if that directory is not known.
    #[must_use]
    pub fn slot<'a>(&self, path: PathRef<'a>) -> Option<(BlockId, &'a [u8])> {
        match path.split_last() {
            None => Some((BlockId::ANCHOR, b"")),
            Some((parent, name)) => Some((self.dir(parent)?, name)),
        }
    }

    /// The entry of this name in a directory.
    #[must_use]
    pub fn child(&self, dir: BlockId, name: &[u8]) -> Option<Child> {
        let block = self.blocks.read(dir)?;
        let at = block.body.find(name)?;
        Some(self.child_at(&block, at))
    }

    /// The entry at a path.
    #[must_use]
    pub fn entry(&self, path: PathRef<'_>) -> Option<Child> {
        let (dir, name) = self.slot(path)?;
        self.child(dir, name)
    }

    /// Whether this directory is known, be it in the tree or detached.
    #[must_use]
    pub fn is_known(&self, dir: BlockId) -> bool {
        self.blocks.read(dir).is_some()
    }

    /// What is remembered of a directory beside its entry.
    #[must_use]
    pub fn meta(&self, dir: BlockId) -> Option<DirMeta> {
        self.blocks.read(dir).map(|block| block.meta())
    }

    /// The inode of a directory, as its entry says it, without a look at its parent; and what is
    /// remembered of it beside.
    #[must_use]
    pub fn itself(&self, dir: BlockId) -> Option<(u64, DirMeta)> {
        self.blocks.read(dir).map(|block| (block.inode, block.meta()))
    }

    /// What lies below a directory. O(1), save that the newest mtime is found again if its holder
    /// went since the last time.
    #[must_use]
    pub fn totals(&self, dir: BlockId) -> Option<Totals> {
        let (mut totals, stale) = {
            let block = self.blocks.read(dir)?;
            (block.totals(), block.newest_stale)
        };
        if stale {
            totals.newest_mtime = self.newest(dir);
        }
        Some(totals)
    }

    /// The directory that a directory is in, and its name there: its slot. `None` for the anchor and
    /// for a detached one.
    #[must_use]
    pub fn slot_of(&self, dir: BlockId) -> Option<(BlockId, Box<[u8]>)> {
        let block = self.blocks.read(dir)?;
        (block.parent != BlockId::NONE).then(|| (block.parent, block.name.to_vec().into()))
    }

    /// Whether something is blind where a directory stands: itself, or what lies beside or below it.
    #[must_use]
    pub fn is_blind_near(&self, dir: BlockId) -> bool {
        let above = self.blocks.read(dir).map(|block| block.parent);
        let sums = above.and_then(|above| self.blocks.read(above)).map(|block| block.sums.blind);
        sums.is_some_and(|blind| blind > 0)
    }

    /// The path of a directory; `None` if it, or a directory above it, is detached, and for a path
    /// that would be too long.
    #[must_use]
    pub fn path(&self, dir: BlockId) -> Option<TreePath> {
        let mut names = Vec::new();
        let mut at = dir;
        while at != BlockId::ANCHOR {
            let (parent, name) = self.slot_of(at)?;
            names.push(name);
            at = parent;
        }
        names.pop()?;
        let mut bytes = Vec::new();
        for name in names.iter().rev() {
            bytes.push(b'/');
            bytes.extend_from_slice(name);
        }
        if bytes.is_empty() {
            bytes.push(b'/');
        }
        TreePath::new(bytes).ok()
    }

    /// Whether `dir` is `ancestor` or lies below it.
    #[must_use]
    pub fn is_within(&self, dir: BlockId, ancestor: BlockId) -> bool {
        let mut at = dir;
        while at != ancestor {
            match self.blocks.read(at) {
                Some(block) if block.parent != BlockId::NONE => at = block.parent,
                _ => return false,
            }
        }
        true
    }

    /// Hands out at most `limit` children by name bytes, those after `after`; `each` is called under
    /// the lock of the directory, so it must be short and must not look at the tree. Whether there
    /// are more; `None` if the directory is not known.
    pub fn children(
        &self,
        dir: BlockId,
        after: Option<&[u8]>,
        limit: usize,
        mut each: impl FnMut(&[u8], &Child),
    ) -> Option<bool> {
        let block = self.blocks.read(dir)?;
        let mut left = limit;
        let from = block.body.after(after);
        for (number, page) in block.body.pages().iter().enumerate().skip(from.page) {
            let first = if number == from.page { from.row } else { 0 };
            for row in first..page.len() {
                if left == 0 {
                    return Some(true);
                }
                left -= 1;
                each(page.name(row), &self.child_at(&block, At { page: number, row }));
            }
        }
        Some(false)
    }

    /// As [`Tree::children`], but without what only the rules need: quicker by half.
    pub(in crate::view) fn rows(
        &self,
        dir: BlockId,
        after: Option<&[u8]>,
        limit: usize,
        mut each: impl FnMut(&[u8], &Stat, Flags),
    ) -> Option<bool> {
        let block = self.blocks.read(dir)?;
        let mut left = limit;
        let from = block.body.after(after);
        let mut owner = (0, self.owners.get(0));
        for (number, page) in block.body.pages().iter().enumerate().skip(from.page) {
            let first = if number == from.page { from.row } else { 0 };
            let end = page.len().min(first.saturating_add(left));
            let mut start = if first < end { page.start(first) } else { 0 };
            for row in first..end {
                let (packed, name_end) = (page.row(row), page.end(row));
                if packed.owner() != owner.0 {
                    owner = (packed.owner(), self.owners.get(packed.owner()));
                }
                let stat = packed.stat_of(owner.1);
                each(&page.names()[start..name_end], &stat, packed.flags());
                start = name_end;
            }
            left -= end.saturating_sub(first);
            if end < page.len() {
                return Some(true);
            }
        }
        Some(false)
    }

    #[inline]
    pub(super) fn child_at(&self, block: &Block, at: At) -> Child {
        #[cfg(test)]
        LOOKED_AT.with(|count| count.set(count.get() + 1));
        let (page, row) = (block.body.page(at), at.row);
        let packed = page.row(row);
        Child {
            stat: packed.stat(&self.owners),
            flags: packed.flags(),
            seen_in: page.seen_in(row).known(),
            block: page.link(row),
        }
    }

    /// The block of a child that is a directory.
    #[inline]
    pub(in crate::view) fn link(&self, dir: BlockId, name: &[u8]) -> Option<BlockId> {
        let block = self.blocks.read(dir)?;
        let at = block.body.find(name)?;
        block.body.page(at).link(at.row)
    }
}
