//! How many directories may be watched, and which one makes room for another.
//!
//! The hottest are watched: a directory is as hot as its newest change that is known, by its mtime when
//! it was placed or by an event since. When there is no room the coldest goes, if it is colder than the
//! one that comes. Both are times of this host's clock that never goes back; an mtime counts by its
//! age when the watcher began, and one in the future as now. The order is kept lazily: an event only changes the time in
//! the table, and an entry here that is behind it is put back when it comes up. Built when there is
//! no room for the first time, so who has room pays nothing. Tested below.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use fusion_core::time::Monotonic;

use super::table::{NodeId, ROOT, Table};

/// The budget.
#[derive(Debug)]
pub(super) struct Budget {
    /// As set, or as the kernel is set up.
    most: usize,
    /// As learned from the kernel, which counts all watches of a user.
    limit: usize,
    /// What it was when the walk began that goes on, which tries whether the kernel gives more now.
    limit_before: usize,
    refused: u64,
    /// What it was when the walk began that goes on: until that has come by all directories, what it
    /// counted is less than there is.
    refused_before: u64,
    coldest: Option<BinaryHeap<Reverse<(Monotonic, NodeId)>>>,
}

impl Budget {
    pub(super) fn new(most: usize) -> Self {
        Self { most, limit: most, limit_before: most, refused: 0, refused_before: 0, coldest: None }
    }

    /// Most directories that may be watched.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// The same, to be told while so many are watched: what a walk tries is not what the kernel gives.
    pub(super) fn told_limit(&self, watched: usize) -> usize {
        self.limit.min(self.limit_before.max(watched))
    }

    /// Directories left unwatched since the last placing walk began; while it goes on, not less than
    /// before it.
    pub(super) fn refused(&self) -> u64 {
        self.refused.max(self.refused_before)
    }

    /// A walk over all directories begins: what is refused is counted anew, and what the kernel
    /// refused is tried again.
    pub(super) fn begin_walk(&mut self) {
        self.refused_before = self.refused();
        self.refused = 0;
        self.limit_before = self.limit.min(self.limit_before);
        self.limit = self.most;
    }

    /// It came by all of them.
    pub(super) fn end_walk(&mut self) {
        self.limit_before = self.most;
        self.refused_before = 0;
    }

    /// A directory is left unwatched.
    pub(super) fn refuse(&mut self) {
        self.refused += 1;
    }

    /// The kernel gives no more than this.
    pub(super) fn learn(&mut self, watched: usize) {
        self.limit = self.limit.min(watched);
    }

    /// A directory is watched, for the first time or again.
    pub(super) fn watched(&mut self, node: NodeId, used_at: Monotonic) {
        if let Some(coldest) = &mut self.coldest {
            coldest.push(Reverse((used_at, node)));
        }
    }

    /// Who is to make room for a directory that was used then; nobody, if all are hotter. The root
    /// stays whatever happens, because without it nothing is found.
    pub(super) fn coldest(&mut self, table: &Table, used_at: Monotonic) -> Option<NodeId> {
        let most = 2 * table.watched() + 1_024;
        // What was watched, forgotten and watched again is in it more than once.
        let coldest = match self.coldest.take().filter(|coldest| coldest.len() <= most) {
            Some(coldest) => coldest,
            None => table.used().map(|(node, at)| Reverse((at, node))).collect(),
        };
        let coldest = self.coldest.insert(coldest);
        while let Some(Reverse((at, node))) = coldest.pop() {
            let Some(known) = table.used_at(node).filter(|_| node != ROOT) else { continue };
            if known > at {
                coldest.push(Reverse((known, node)));
            } else if known >= used_at {
                coldest.push(Reverse((known, node)));
                return None;
            } else {
                return Some(node);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use fusion_core::path::TreePath;

    use super::*;
    use crate::scan::FileId;

    fn at(nanos: i64) -> Monotonic {
        Monotonic::from_nanos(nanos)
    }

    fn watch(table: &mut Table, path: &str, number: i32, used_at: Monotonic) -> NodeId {
        let node = table.find_or_make(TreePath::new(path.as_bytes()).unwrap().as_ref());
        let file = FileId { device: 1, inode: number as u64 };
        table.set_watch(node, number, file, 0);
        table.use_at(node, used_at);
        node
    }

    #[test]
    fn the_coldest_makes_room_for_what_is_hotter() {
        let (mut table, mut budget) = (Table::new(), Budget::new(3));
        watch(&mut table, "/", 1, at(0));
        let a = watch(&mut table, "/a", 2, at(5));
        let b = watch(&mut table, "/b", 3, at(7));
        assert_eq!(budget.coldest(&table, at(5)), None, "as cold as the coldest");
        table.use_at(a, at(9));
        assert_eq!(budget.coldest(&table, at(8)), Some(b), "an event made the other one hot");
        table.forget_watch(3);
        let c = watch(&mut table, "/c", 4, at(8));
        budget.watched(c, at(8));
        assert_eq!(budget.coldest(&table, at(100)), Some(c));
    }

    #[test]
    fn what_the_kernel_refused_is_tried_again_by_the_next_walk() {
        let mut budget = Budget::new(10);
        budget.learn(4);
        budget.learn(6);
        budget.refuse();
        assert_eq!((budget.limit(), budget.refused()), (4, 1));
        budget.begin_walk();
        assert_eq!((budget.limit(), budget.told_limit(4)), (10, 4), "what may be is not told");
        budget.begin_walk();
        assert_eq!(budget.told_limit(4), 4, "nor when a walk was cut off");
        assert_eq!(budget.told_limit(6), 6, "the kernel gave more");
        budget.learn(7);
        budget.end_walk();
        assert_eq!((budget.limit(), budget.told_limit(7)), (7, 7));
    }

    #[test]
    fn what_is_unwatched_is_not_less_while_it_is_counted_anew() {
        let mut budget = Budget::new(10);
        (0..3).for_each(|_| budget.refuse());
        budget.begin_walk();
        budget.refuse();
        assert_eq!(budget.refused(), 3, "a walk that has not come far");
        budget.begin_walk();
        assert_eq!(budget.refused(), 3, "nor has one that was cut off");
        (0..2).for_each(|_| budget.refuse());
        budget.end_walk();
        assert_eq!(budget.refused(), 2);
    }
}
