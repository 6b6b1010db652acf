//! From the path of a directory to its block by one hash: a cache over the tree.
//!
//! Owns hashes and block numbers, nothing else. The writer's alone. What it says is checked against
//! the parent chain every time, so it may be wrong in any way: a move or a removal touches nothing
//! here, a collision costs a look. Keyed per process; it never influences a result. Must never: be
//! believed. Tested by renames in `tree/tests.rs`.

use std::hash::{BuildHasher, RandomState};

use crate::path::PathRef;

use super::page::Page;
use super::{BlockId, Tree, TreeWriter};

const WAYS: usize = 8;
/// Entries whose waits for memory are made to overlap: what they touch must fit the nearer caches.
const WARMED: usize = 32;

/// One cache line: the upper half of a cell is the hash, the lower the number of a block (0, the
/// anchor, stands for none).
#[derive(Debug, Clone, Copy, Default)]
#[repr(align(64))]
struct Bucket([u64; WAYS]);

#[derive(Debug)]
pub(super) struct PathIndex {
    buckets: Vec<Bucket>,
    filled: usize,
    seed: u64,
    /// The directory found last, and its path: rules look it up several times for one entry. True
    /// until a directory is taken out of its place ([`PathIndex::forget_last`]).
    last: Vec<u8>,
    last_dir: BlockId,
}

impl PathIndex {
    pub(super) fn new() -> Self {
        let seed = RandomState::new().hash_one(0_u64);
        let buckets = vec![Bucket::default(); 16];
        Self { buckets, filled: 0, seed, last: Vec::new(), last_dir: BlockId::NONE }
    }

    /// A directory goes from its place: paths below it are others' from now on.
    pub(super) fn forget_last(&mut self) {
        self.last.clear();
    }

    fn keep_last(&mut self, path: PathRef<'_>, dir: BlockId) -> BlockId {
        self.last.clear();
        self.last.extend_from_slice(path.as_bytes());
        self.last_dir = dir;
        dir
    }

    fn hash(&self, path: &[u8]) -> u32 {
        const MIX: u64 = 0x9E37_79B9_7F4A_7C15;
        let mut hash = self.seed ^ path.len() as u64;
        let mut chunks = path.chunks_exact(8);
        for chunk in &mut chunks {
            let word = chunk.try_into().map_or(0, u64::from_le_bytes);
            hash = (hash ^ word).wrapping_mul(MIX).rotate_left(29);
        }
        let rest = chunks.remainder().iter().fold(0, |word, &byte| word << 8 | u64::from(byte));
        ((hash ^ rest).wrapping_mul(MIX) >> 32) as u32
    }

    #[inline]
    fn bucket(&self, hash: u32) -> usize {
        let bits = self.buckets.len().trailing_zeros();
        (u64::from(hash) >> (32 - bits)) as usize
    }

    /// Blocks that may be the one with this hash.
    #[inline]
    fn candidates(&self, hash: u32) -> impl Iterator<Item = u32> {
        let cells = self.buckets[self.bucket(hash)].0;
        cells
            .into_iter()
            .filter(move |&cell| (cell >> 32) as u32 == hash && cell as u32 != 0)
            .map(|cell| cell as u32)
    }

    fn fill(&mut self, hash: u32, index: u32) {
        if self.filled > self.buckets.len() * WAYS * 3 / 4 && self.buckets.len() < 1 << 28 {
            self.double();
        }
        self.put(u64::from(hash) << 32 | u64::from(index));
    }

    fn put(&mut self, cell: u64) {
        let at = self.bucket((cell >> 32) as u32);
        let cells = &mut self.buckets[at].0;
        let same = cells.iter().position(|old| old >> 32 == cell >> 32);
        match same.or_else(|| cells.iter().position(|&old| old == 0)) {
            Some(way) => {
                self.filled += usize::from(cells[way] == 0);
                cells[way] = cell;
            }
            None => cells[cell as usize % WAYS] = cell,
        }
    }

    fn double(&mut self) {
        let buckets = vec![Bucket::default(); self.buckets.len() * 2];
        let old = std::mem::replace(&mut self.buckets, buckets);
        self.filled = 0;
        for cell in old.iter().flat_map(|bucket| bucket.0).filter(|&cell| cell != 0) {
            self.put(cell);
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.buckets.capacity() * size_of::<Bucket>()
    }
}

impl TreeWriter {
    /// The directory at a path, as [`Tree::dir`], by one hash where that is known.
    #[must_use]
    pub fn dir(&mut self, path: PathRef<'_>) -> Option<BlockId> {
        if self.index.last == path.as_bytes() {
            return Some(self.index.last_dir);
        }
        let hash = self.index.hash(path.as_bytes());
        let known = self.index.candidates(hash).find_map(|slot| self.tree.stands_at(slot, path));
        let found = match known {
            Some(found) => found,
            None => {
                let found = self.tree.dir(path)?;
                self.index.fill(hash, found.index);
                found
            }
        };
        Some(self.index.keep_last(path, found))
    }

    /// The directory that an entry at this path is in, and its name; as [`Tree::slot`].
    #[must_use]
    pub fn slot<'a>(&mut self, path: PathRef<'a>) -> Option<(BlockId, &'a [u8])> {
        match path.split_last() {
            None => Some((BlockId::ANCHOR, b"")),
            Some((parent, name)) => Some((self.dir(parent)?, name)),
        }
    }

    /// The entry at a path; as [`Tree::entry`].
    #[must_use]
    pub fn entry(&mut self, path: PathRef<'_>) -> Option<super::Child> {
        let (dir, name) = self.slot(path)?;
        self.tree.child(dir, name)
    }

    /// Brings near what entries at these paths will need, stage by stage, so that waits for memory
    /// overlap. Changes nothing; doubles the rate at random paths of a large tree, in batches of 64
    /// and more.
    ///
    /// Taking a lock is a fence: loads before and after it do not overlap. So a stage takes all its
    /// read locks first, then loads. No block is waited for (one that a reader is just marking is
    /// passed over), and none is changed, so no order of locks is needed.
    ///
    /// `each` is called with every directory that was found and the name in it, under its lock, so
    /// that the caller can bring near what it keeps by that key.
    pub fn warm<'a>(
        &self,
        paths: impl Iterator<Item = PathRef<'a>>,
        mut each: impl FnMut(BlockId, &[u8]),
    ) {
        let mut slots = paths
            .filter_map(PathRef::split_last)
            .map(|(parent, name)| (self.index.hash(parent.as_bytes()), name));
        let mut batch: Vec<(u32, &[u8])> = Vec::with_capacity(WARMED);
        loop {
            batch.clear();
            batch.extend(slots.by_ref().take(WARMED));
            if batch.is_empty() {
                return;
            }
            for (hash, _) in &mut batch {
                *hash = self.index.candidates(*hash).next().unwrap_or(0);
            }
            for &(slot, _) in &batch {
                self.tree.blocks.touch(slot);
            }
            let blocks = batch.iter().filter_map(|&(slot, name)| {
                Some((slot, self.tree.blocks.try_read_slot(slot)?, name))
            });
            // Stages that search and stages that load are apart: a branch that is guessed wrong ends
            // the overlap of all loads behind it.
            let guards: Vec<_> = blocks.collect();
            for (slot, block, name) in &guards {
                std::hint::black_box(block.touch());
                each(BlockId { index: *slot, generation: block.generation }, name);
            }
            for (_, block, _) in &guards {
                std::hint::black_box(block.body.touch_tags());
            }
            let found = guards.iter().filter_map(|(_, block, name)| block.body.guess(name));
            let found: Vec<(&Page, usize)> = found.collect();
            for (page, row) in &found {
                std::hint::black_box(page.touch_row(*row));
            }
            for (page, row) in &found {
                std::hint::black_box(page.touch_name(*row));
            }
        }
    }
}

#[cfg(test)]
impl TreeWriter {
    /// Has the index say of a path what it would if its hash were that of another directory's.
    pub(super) fn collide(&mut self, path: PathRef<'_>, other: BlockId) {
        let hash = self.index.hash(path.as_bytes());
        self.index.put(u64::from(hash) << 32 | u64::from(other.index));
        self.index.forget_last();
    }
}

impl Tree {
    /// The directory in a slot, if it stands at this very path now.
    fn stands_at(&self, slot: u32, path: PathRef<'_>) -> Option<BlockId> {
        let mut names = path.names().rev();
        let (id, mut above) = {
            let block = self.blocks.read_slot(slot)?;
            if !block.live || *block.name != *names.next().unwrap_or_default() {
                return None;
            }
            (BlockId { index: slot, generation: block.generation }, block.parent)
        };
        let depth = path.names().count();
        for _ in 0..depth {
            let block = self.blocks.read(above)?;
            if above == BlockId::ANCHOR || *block.name != *names.next().unwrap_or_default() {
                return None;
            }
            above = block.parent;
        }
        (above == BlockId::ANCHOR).then_some(id)
    }
}
