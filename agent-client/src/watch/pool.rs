//! How many directories the watchers of one process may watch together.
//!
//! Half of it is divided among the trees for good, so that none finds all taken by another; the other
//! half is for whoever comes first. Within its part each watcher has a budget of its own (`budget`).
//! Asked before every new watch, and told what became of it: the lock is held for a few instructions.
//! What the kernel refuses beyond that (other processes of the same user) is learned by each watcher.
//! Tested below.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The watches of a process.
#[derive(Debug)]
struct Pool {
    limit: usize,
    trees: Vec<Tree>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Tree {
    /// Counts its watchers: what one before it says late is not heard.
    watcher: u64,
    watched: usize,
}

/// The part of one tree in the watches of its process.
#[derive(Debug, Clone)]
pub struct WatchPart {
    pool: Arc<Mutex<Pool>>,
    tree: usize,
}

/// The same, for one watcher.
#[derive(Debug)]
pub(super) struct Watches {
    part: WatchPart,
    watcher: u64,
}

impl Default for WatchPart {
    /// The one tree of a process.
    fn default() -> Self {
        let pool = Arc::new(Mutex::new(Pool { limit: 0, trees: vec![Tree::default()] }));
        Self { pool, tree: 0 }
    }
}

impl WatchPart {
    /// One for each of so many trees.
    #[must_use]
    pub fn of_trees(count: NonZeroUsize) -> Vec<Self> {
        let trees = vec![Tree::default(); count.get()];
        let pool = Arc::new(Mutex::new(Pool { limit: 0, trees }));
        (0..count.get()).map(|tree| Self { pool: Arc::clone(&pool), tree }).collect()
    }

    /// A watcher begins; at most so many directories may be watched in all trees together. Those of
    /// the watcher before it count no more: it is about to end.
    pub(super) fn begin(&self, limit: usize) -> Watches {
        let mut pool = self.lock();
        pool.limit = limit;
        let tree = &mut pool.trees[self.tree];
        *tree = Tree { watcher: tree.watcher + 1, watched: 0 };
        Watches { part: self.clone(), watcher: tree.watcher }
    }

    fn lock(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pool {
    /// What each tree has for itself.
    fn reserved(&self) -> usize {
        match self.trees.len() {
            1 => self.limit,
            trees => self.limit / (2 * trees),
        }
    }

    /// Most that a tree may have, as the others are now.
    fn most(&self, tree: usize) -> usize {
        let others = self.trees.iter().enumerate().filter(|(other, _)| *other != tree);
        let theirs: usize = others.map(|(_, other)| other.watched.max(self.reserved())).sum();
        self.limit.saturating_sub(theirs)
    }
}

impl Watches {
    /// Most directories that may be watched, as the other trees are now.
    pub(super) fn most(&self) -> usize {
        self.part.lock().most(self.part.tree)
    }

    /// Takes room for so many in all; false if there is not as much.
    pub(super) fn take(&self, watched: usize) -> bool {
        let mut pool = self.part.lock();
        let has_room = watched <= pool.most(self.part.tree);
        if has_room {
            self.note(&mut pool, watched);
        }
        has_room
    }

    /// So many are watched.
    pub(super) fn set(&self, watched: usize) {
        self.note(&mut self.part.lock(), watched);
    }

    fn note(&self, pool: &mut Pool, watched: usize) {
        let tree = &mut pool.trees[self.part.tree];
        if tree.watcher == self.watcher {
            tree.watched = watched;
        }
    }
}

impl Drop for Watches {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two(limit: usize) -> (Watches, Watches) {
        let parts = WatchPart::of_trees(NonZeroUsize::new(2).unwrap());
        (parts[0].begin(limit), parts[1].begin(limit))
    }

    #[test]
    fn one_tree_has_all() {
        let watches = WatchPart::default().begin(7);
        assert!(watches.take(7) && !watches.take(8));
        assert_eq!(watches.most(), 7);
    }

    #[test]
    fn who_comes_late_finds_a_part_for_itself() {
        let (early, late) = two(100);
        assert!(early.take(75) && !early.take(76));
        assert_eq!((early.most(), late.most()), (75, 25));
        assert!(late.take(25) && !late.take(26));
        early.set(30);
        assert_eq!((early.most(), late.most()), (75, 70));
        assert!(late.take(70) && !early.take(31), "no more than all together");
    }

    #[test]
    fn a_watcher_that_ended_or_was_followed_by_another_has_none() {
        let parts = WatchPart::of_trees(NonZeroUsize::new(2).unwrap());
        let (first, other) = (parts[0].begin(100), parts[1].begin(100));
        assert!(first.take(75));
        let second = parts[0].begin(100);
        assert!(second.take(60));
        first.set(75);
        drop(first);
        assert_eq!(other.most(), 40, "of the second alone");
        drop(second);
        assert_eq!(other.most(), 75);
    }
}
