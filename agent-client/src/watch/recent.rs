//! Files that events told of lately: which inode each name had, and whether it was left unfinished.
//!
//! Two uses. A change through one name of a file with several (a hard link) raises no event for the
//! others: those known here are looked at as well. And a change of attributes says nothing of who
//! writes: a file that was last told of as open stays so. Bounded; the oldest are forgotten, which
//! costs a look that an audit makes up for. Tested below.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::table::NodeId;

/// Most names remembered, at about 150 bytes each.
const NAMES_MAX: usize = 16_384;

/// A name in a directory.
pub(super) type Name = (NodeId, Arc<[u8]>);

#[derive(Debug, Clone, Copy)]
struct Known {
    inode: u64,
    is_unfinished: bool,
}

/// What is remembered.
#[derive(Debug, Default)]
pub(super) struct Recent {
    names: HashMap<NodeId, HashMap<Arc<[u8]>, Known>>,
    by_inode: HashMap<u64, Vec<Name>>,
    /// In the order of their coming; may hold what was forgotten meanwhile.
    order: VecDeque<Name>,
}

impl Recent {
    /// A name was told of. Gives the inode that it had before, if that was another.
    pub(super) fn note(
        &mut self,
        node: NodeId,
        name: &[u8],
        inode: u64,
        is_unfinished: bool,
    ) -> Option<u64> {
        let known = Known { inode, is_unfinished };
        if let Some(before) = self.names.get_mut(&node).and_then(|names| names.get_mut(name)) {
            if before.inode == inode {
                *before = known;
                return None;
            }
            let replaced = self.forget(node, name);
            self.insert(node, name, known);
            return replaced;
        }
        self.insert(node, name, known);
        None
    }

    /// Whether a name was last told of as being written.
    pub(super) fn is_unfinished(&self, node: NodeId, name: &[u8]) -> bool {
        let known = self.names.get(&node).and_then(|names| names.get(name));
        known.is_some_and(|known| known.is_unfinished)
    }

    /// A name is gone. Gives the inode that it had.
    pub(super) fn forget(&mut self, node: NodeId, name: &[u8]) -> Option<u64> {
        let names = self.names.get_mut(&node)?;
        let known = names.remove(name)?;
        if names.is_empty() {
            self.names.remove(&node);
        }
        if let Some(same) = self.by_inode.get_mut(&known.inode) {
            same.retain(|other| (other.0, &*other.1) != (node, name));
            if same.is_empty() {
                self.by_inode.remove(&known.inode);
            }
        }
        Some(known.inode)
    }

    /// The other names of a file.
    pub(super) fn others(&self, inode: u64, node: NodeId, name: &[u8]) -> Vec<Name> {
        let same = self.by_inode.get(&inode).into_iter().flatten();
        same.filter(|other| (other.0, &*other.1) != (node, name)).cloned().collect()
    }

    fn insert(&mut self, node: NodeId, name: &[u8], known: Known) {
        let name: Arc<[u8]> = name.into();
        self.names.entry(node).or_default().insert(Arc::clone(&name), known);
        self.by_inode.entry(known.inode).or_default().push((node, Arc::clone(&name)));
        self.order.push_back((node, name));
        if self.order.len() > NAMES_MAX
            && let Some((node, name)) = self.order.pop_front()
        {
            self.forget(node, &name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::table::ROOT;

    #[test]
    fn names_of_one_file_know_each_other() {
        let mut recent = Recent::default();
        assert_eq!(recent.note(ROOT, b"a", 5, true), None);
        assert!(recent.is_unfinished(ROOT, b"a") && !recent.is_unfinished(ROOT, b"b"));
        recent.note(ROOT, b"b", 5, false);
        let others = recent.others(5, ROOT, b"a");
        assert_eq!(others.iter().map(|other| &*other.1).collect::<Vec<_>>(), [b"b"]);
        assert_eq!(recent.note(ROOT, b"a", 6, false), Some(5), "another file took the name");
        assert_eq!(recent.forget(ROOT, b"b"), Some(5));
        assert!(recent.others(5, ROOT, b"x").is_empty() && recent.by_inode.len() == 1);
    }

    #[test]
    fn it_is_bounded() {
        let mut recent = Recent::default();
        for number in 0..3 * NAMES_MAX as u64 {
            recent.note(ROOT, &number.to_le_bytes(), number, false);
            recent.forget(ROOT, &number.saturating_sub(1).to_le_bytes());
        }
        assert!(recent.order.len() <= NAMES_MAX && recent.by_inode.len() <= 1);
    }
}
