//! Names that events gave reason to look at, until they are looked at.
//!
//! Owns what is merged: all events of one name between two looks become one look. Some looks are
//! due at once (a close, a new directory, a removal), others at the end of the merge window (writes
//! to an open file, attributes, a directory's own stat). Does no I/O; used by the interpreter only.
//! Tested below.

use std::collections::{BTreeSet, HashMap};

use fusion_core::time::Monotonic;

use super::table::{NodeId, ROOT};

/// Why a name is to be looked at: the marks of all its events since the last look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Marks {
    /// It was made, or linked, since the last look.
    pub(super) is_made: bool,
    /// It was removed, or moved away, at some time: its absence is evidence. Also if it was made
    /// since the last look: a scan, or another agent, may have told of it meanwhile.
    pub(super) is_removed: bool,
    /// A writer closed it, and nobody has written it since.
    pub(super) is_closed: bool,
    /// It was made or written, and not closed since.
    pub(super) is_open: bool,
    /// It came here: if it is a directory, what is below it is not known here.
    pub(super) has_appeared: bool,
    /// What is below it is to be listed even if it was listed before: it came from elsewhere.
    pub(super) is_displaced: bool,
    /// Its own attributes changed, or it was moved here: an event of its own.
    pub(super) is_own: bool,
}

impl Marks {
    /// Puts later marks on top of these.
    fn merge(&mut self, later: Self) {
        self.is_made |= later.is_made;
        self.is_removed |= later.is_removed;
        self.has_appeared |= later.has_appeared;
        self.is_displaced |= later.is_displaced;
        self.is_own |= later.is_own;
        if later.is_closed || later.is_open {
            self.is_closed = later.is_closed;
            self.is_open = later.is_open;
        }
    }
}

/// A name to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pending {
    pub(super) marks: Marks,
    /// When it is to be looked at.
    pub(super) due: Monotonic,
    /// Not later than its first event.
    pub(super) since: Monotonic,
    /// Since when looks at it have given no answer.
    pub(super) failed_at: Option<Monotonic>,
}

/// Names of one directory.
pub(super) type Names = HashMap<Box<[u8]>, Pending>;

#[derive(Debug)]
struct Directory {
    names: Names,
    due: Monotonic,
    /// Since when its path has not led to it.
    misled_at: Option<Monotonic>,
}

/// A directory with names that are due.
#[derive(Debug)]
pub(super) struct Due {
    pub(super) node: NodeId,
    pub(super) names: Names,
    pub(super) misled_at: Option<Monotonic>,
}

/// All names to look at.
#[derive(Debug, Default)]
pub(super) struct PendingTable {
    directories: HashMap<NodeId, Directory>,
    /// When each directory is due next.
    timers: BTreeSet<(Monotonic, NodeId)>,
    /// The root's own stat: it has no name to be looked at by.
    root: Option<Pending>,
}

impl PendingTable {
    /// Marks a name; it is looked at when the earliest of its events is due.
    pub(super) fn mark(
        &mut self,
        node: NodeId,
        name: &[u8],
        marks: Marks,
        due: Monotonic,
        since: Monotonic,
    ) {
        let directory = self.directories.entry(node).or_insert_with(|| {
            self.timers.insert((due, node));
            Directory { names: Names::new(), due, misled_at: None }
        });
        match directory.names.get_mut(name) {
            Some(pending) => {
                pending.marks.merge(marks);
                pending.due = pending.due.min(due);
            }
            None => {
                let pending = Pending { marks, due, since, failed_at: None };
                directory.names.insert(name.into(), pending);
            }
        }
        if due < directory.due {
            self.timers.remove(&(directory.due, node));
            self.timers.insert((due, node));
            directory.due = due;
        }
    }

    /// Marks the root itself.
    pub(super) fn mark_root(&mut self, due: Monotonic, since: Monotonic) {
        let marks = Marks::default();
        self.root.get_or_insert(Pending { marks, due, since, failed_at: None });
    }

    /// Takes a name out, whether or not it is due.
    pub(super) fn take(&mut self, node: NodeId, name: &[u8]) -> Option<Pending> {
        self.directories.get_mut(&node)?.names.remove(name)
    }

    /// Takes out what is due.
    pub(super) fn take_due(&mut self, now: Monotonic) -> Vec<Due> {
        let mut all = Vec::new();
        while let Some(&(due, node)) = self.timers.first().filter(|timer| timer.0 <= now) {
            self.timers.remove(&(due, node));
            let Some(mut directory) = self.directories.remove(&node) else { continue };
            let names: Names =
                directory.names.extract_if(|_, pending| pending.due <= now).collect();
            if let Some(due) = directory.names.values().map(|pending| pending.due).min() {
                directory.due = due;
                self.timers.insert((due, node));
                let misled_at = directory.misled_at;
                self.directories.insert(node, directory);
                all.push(Due { node, names, misled_at });
            } else {
                all.push(Due { node, names, misled_at: directory.misled_at });
            }
        }
        all.retain(|due| !due.names.is_empty());
        all
    }

    /// Takes out the root itself, if it is due.
    pub(super) fn take_root(&mut self, now: Monotonic) -> Option<Pending> {
        self.root.take_if(|root| root.due <= now)
    }

    /// Puts names back whose directory was not where it should be.
    pub(super) fn put_back(&mut self, due: Due, again: Monotonic, misled_at: Monotonic) {
        for (name, pending) in due.names {
            self.look_again(due.node, &name, Pending { due: again, ..pending });
        }
        if let Some(directory) = self.directories.get_mut(&due.node) {
            directory.misled_at = Some(due.misled_at.unwrap_or(misled_at));
        }
    }

    /// Puts a name back that was taken out.
    pub(super) fn look_again(&mut self, node: NodeId, name: &[u8], pending: Pending) {
        self.mark(node, name, pending.marks, pending.due, pending.since);
        // Events that came meanwhile are merged; the times are those of the first.
        if let Some(back) = self.name_mut(node, name) {
            back.since = back.since.min(pending.since);
            back.failed_at = pending.failed_at;
        }
    }

    /// The same, of the root itself.
    pub(super) fn look_at_root_again(&mut self, pending: Pending) {
        self.root = Some(pending);
    }

    /// Drops all names of a directory.
    pub(super) fn drop_directory(&mut self, node: NodeId) {
        if let Some(directory) = self.directories.remove(&node) {
            self.timers.remove(&(directory.due, node));
        }
    }

    /// When the next name is due.
    pub(super) fn next_due(&self) -> Option<Monotonic> {
        let first = self.timers.first().map(|timer| timer.0);
        first.into_iter().chain(self.root.map(|root| root.due)).min()
    }

    /// Not later than the first event that was not answered by a look.
    pub(super) fn oldest(&self) -> Option<Monotonic> {
        let names = self.directories.values().flat_map(|directory| directory.names.values());
        names.chain(self.root.as_ref()).map(|pending| pending.since).min()
    }

    fn name_mut(&mut self, node: NodeId, name: &[u8]) -> Option<&mut Pending> {
        debug_assert!(node != ROOT || !name.is_empty());
        self.directories.get_mut(&node)?.names.get_mut(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(nanos: i64) -> Monotonic {
        Monotonic::from_nanos(nanos)
    }

    #[test]
    fn what_is_due_comes_and_the_rest_waits() {
        let mut table = PendingTable::default();
        let open = Marks { is_made: true, is_open: true, ..Marks::default() };
        let closed = Marks { is_closed: true, ..Marks::default() };
        table.mark(ROOT, b"a", open, at(20), at(1));
        table.mark(ROOT, b"b", open, at(21), at(2));
        assert_eq!((table.next_due(), table.oldest()), (Some(at(20)), Some(at(1))));
        table.mark(ROOT, b"b", closed, at(3), at(3));
        assert_eq!(table.next_due(), Some(at(3)));
        let due = table.take_due(at(3)).remove(0);
        let marks = due.names[&b"b"[..]].marks;
        assert!(due.names.len() == 1 && marks.is_made && marks.is_closed && !marks.is_open);
        assert_eq!((table.next_due(), table.oldest()), (Some(at(20)), Some(at(1))));
        assert!(table.take_due(at(19)).is_empty());
        assert_eq!(table.take_due(at(20)).len(), 1);
        assert_eq!((table.next_due(), table.oldest()), (None, None));
    }

    #[test]
    fn what_is_put_back_keeps_its_age_and_its_marks() {
        let mut table = PendingTable::default();
        table.mark(ROOT, b"a", Marks { is_made: true, ..Marks::default() }, at(1), at(0));
        let due = table.take_due(at(1)).remove(0);
        table.mark(ROOT, b"a", Marks { is_removed: true, ..Marks::default() }, at(2), at(2));
        table.put_back(due, at(5), at(1));
        let due = table.take_due(at(5)).remove(0);
        assert_eq!(due.misled_at, Some(at(1)));
        let pending = due.names[&b"a"[..]];
        assert!(pending.marks.is_made && pending.marks.is_removed);
        assert_eq!(pending.since, at(0));
    }
}
