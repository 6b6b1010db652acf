//! The table of watched directories, shaped like the tree: where a watch is, is said by its parents.
//!
//! Owns no kernel object and does no I/O; `place` keeps it together with the kernel's watches.
//! A node is a directory that is watched, or lies on the way to one. It knows its parent and its
//! name and no path, so moving a tree of any size is one change. A node that was moved away and has
//! not arrived yet is *detached*: it has no path. Invariants: the watch numbers in `by_watch` are
//! those of the nodes, and no node lies within itself.
//!
//! Per watch about 170 bytes here, beside about 1 KiB in the kernel. Tested below.

use std::collections::HashMap;
use std::sync::Arc;

use fusion_core::path::{PATH_MAX, PathRef, TreePath};
use fusion_core::time::Monotonic;

use crate::scan::FileId;

/// A node, as long as it lives: its place is reused under another generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct NodeId {
    index: u32,
    generation: u32,
}

/// The root of the tree; always there.
pub(super) const ROOT: NodeId = NodeId { index: 0, generation: 0 };

/// The kernel's number of a watch.
pub(super) type WatchNumber = i32;

/// What is known of what a watched directory holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// Somebody else sees to it: a scan placed the watch.
    Elsewhere,
    /// It is to be listed, with all below it, because it came from elsewhere or came anew. That is
    /// queued under its present name; if it is moved before, it is due at its new place.
    Due,
    /// It was listed after its watch was placed: whatever came later raised an event.
    Listed,
}

/// A watched directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Watched {
    /// What is watched.
    pub(super) id: FileId,
    pub(super) content: Content,
}

#[derive(Debug)]
struct Node {
    generation: u32,
    parent: Option<u32>,
    is_detached: bool,
    content: Content,
    watch: Option<WatchNumber>,
    /// Number of the last placing walk that came by.
    round: u32,
    name: Arc<[u8]>,
    id: Option<FileId>,
    used_at: Monotonic,
    #[expect(clippy::box_collection, reason = "48 bytes in every node, and most have no child")]
    children: Option<Box<HashMap<Arc<[u8]>, u32>>>,
}

/// All nodes.
#[derive(Debug)]
pub(super) struct Table {
    nodes: Vec<Node>,
    free: Vec<u32>,
    by_watch: HashMap<WatchNumber, u32>,
    by_file: HashMap<FileId, u32>,
}

impl Table {
    pub(super) fn new() -> Self {
        let root = Node::new(0, None, Arc::from(&b""[..]));
        Self {
            nodes: vec![root],
            free: Vec::new(),
            by_watch: HashMap::new(),
            by_file: HashMap::new(),
        }
    }

    /// Directories watched.
    pub(super) fn watched(&self) -> usize {
        self.by_watch.len()
    }

    /// The node with this watch.
    pub(super) fn by_watch(&self, watch: WatchNumber) -> Option<NodeId> {
        self.by_watch.get(&watch).map(|&index| self.id_of(index))
    }

    /// The watch of a node.
    pub(super) fn watch_of(&self, id: NodeId) -> Option<WatchNumber> {
        self.node(id)?.watch
    }

    /// What a node watches; `None` if it does not.
    pub(super) fn watched_at(&self, id: NodeId) -> Option<Watched> {
        let node = self.node(id)?;
        node.watch?;
        Some(Watched { id: node.id?, content: node.content })
    }

    /// What a node was when it was last seen, watched or not.
    pub(super) fn file_of(&self, id: NodeId) -> Option<FileId> {
        self.node(id)?.id
    }

    /// The node of a child.
    pub(super) fn child(&self, parent: NodeId, name: &[u8]) -> Option<NodeId> {
        let index = *self.node(parent)?.children.as_ref()?.get(name)?;
        Some(self.id_of(index))
    }

    /// Parent and name of a node; `None` for the root and for what is detached.
    pub(super) fn parent(&self, id: NodeId) -> Option<(NodeId, Arc<[u8]>)> {
        let node = self.node(id).filter(|node| !node.is_detached)?;
        Some((self.id_of(node.parent?), Arc::clone(&node.name)))
    }

    /// Whether there is still such a node.
    pub(super) fn is_live(&self, id: NodeId) -> bool {
        self.node(id).is_some()
    }

    /// Where a node is; `None` if it is gone, detached or below what is, or its path is too long.
    pub(super) fn path(&self, id: NodeId) -> Option<TreePath> {
        let mut names = Vec::new();
        let mut length = 0;
        let mut node = self.node(id)?;
        while let Some(parent) = node.parent {
            if node.is_detached {
                return None;
            }
            names.push(&node.name);
            length += node.name.len() + 1;
            node = self.nodes.get(parent as usize)?;
        }
        if node.is_detached || length > PATH_MAX {
            return None;
        }
        let mut bytes = Vec::with_capacity(length.max(1));
        for name in names.into_iter().rev() {
            bytes.push(b'/');
            bytes.extend_from_slice(name);
        }
        if bytes.is_empty() { Some(TreePath::root()) } else { TreePath::new(bytes).ok() }
    }

    /// The node at a path, if there is one.
    pub(super) fn find(&self, path: PathRef<'_>) -> Option<NodeId> {
        path.names().try_fold(ROOT, |node, name| self.child(node, name))
    }

    /// The node at a path; makes what is missing on the way.
    pub(super) fn find_or_make(&mut self, path: PathRef<'_>) -> NodeId {
        path.names().fold(ROOT, |node, name| self.child_or_make(node, name))
    }

    /// The node of a child; makes it if there is none.
    pub(super) fn child_or_make(&mut self, parent: NodeId, name: &[u8]) -> NodeId {
        self.child(parent, name).unwrap_or_else(|| self.make(parent, name))
    }

    /// The node that watches a directory, wherever it is.
    pub(super) fn by_file(&self, file: FileId) -> Option<NodeId> {
        self.by_file.get(&file).map(|&index| self.id_of(index))
    }

    /// Notes that a node is watched by this number, which must not be another node's. Gives the
    /// number by which it was watched before, if that was another.
    pub(super) fn set_watch(
        &mut self,
        id: NodeId,
        watch: WatchNumber,
        file: FileId,
        round: u32,
    ) -> Option<WatchNumber> {
        let node = self.node_mut(id)?;
        let old = node.watch.replace(watch).filter(|old| *old != watch);
        if node.id != Some(file) && node.content == Content::Listed {
            node.content = Content::Elsewhere;
        }
        let before = node.id.replace(file);
        node.round = round;
        if let Some(old) = old {
            self.by_watch.remove(&old);
        }
        self.forget_file(before, id.index);
        self.by_file.insert(file, id.index);
        self.by_watch.insert(watch, id.index);
        old
    }

    /// Notes that a directory is to be listed, or was.
    pub(super) fn set_content(&mut self, id: NodeId, content: Content) {
        if let Some(node) = self.node_mut(id) {
            node.content = content;
        }
    }

    /// Whether a directory, or one above it, is to be listed with all below it.
    pub(super) fn is_due(&self, id: NodeId) -> bool {
        let mut next = self.node(id);
        while let Some(node) = next {
            if node.content == Content::Due {
                return true;
            }
            next = node.parent.and_then(|parent| self.nodes.get(parent as usize));
        }
        false
    }

    /// A directory was listed: its children that `is_known` does not name are due. They were told of
    /// as being here, and are somewhere else by now, or are to be listed anew.
    pub(super) fn pass_on_due(&mut self, id: NodeId, is_known: impl Fn(&[u8]) -> bool) {
        let children = self.node(id).and_then(|node| node.children.as_ref());
        let children = children.into_iter().flat_map(|children| children.iter());
        let due = children.filter(|(name, _)| !is_known(name)).map(|(_, child)| *child);
        for child in due.collect::<Vec<u32>>() {
            self.nodes[child as usize].content = Content::Due;
        }
    }

    /// Notes an event of a node, or a change of what it watches.
    pub(super) fn use_at(&mut self, id: NodeId, now: Monotonic) {
        if let Some(node) = self.node_mut(id) {
            node.used_at = node.used_at.max(now);
        }
    }

    /// When a directory was last used; `None` if it is not watched.
    pub(super) fn used_at(&self, id: NodeId) -> Option<Monotonic> {
        self.node(id).filter(|node| node.watch.is_some()).map(|node| node.used_at)
    }

    /// All that is watched, and when it was last used.
    pub(super) fn used(&self) -> impl Iterator<Item = (NodeId, Monotonic)> {
        self.by_watch.values().map(|&index| (self.id_of(index), self.nodes[index as usize].used_at))
    }

    /// The kernel has ended this watch.
    pub(super) fn forget_watch(&mut self, watch: WatchNumber) {
        if let Some(index) = self.by_watch.remove(&watch) {
            let node = &mut self.nodes[index as usize];
            node.watch = None;
            if node.content == Content::Listed {
                node.content = Content::Elsewhere;
            }
            let file = node.id;
            self.forget_file(file, index);
            self.prune(index);
        }
    }

    /// Takes a node, with all below it, off its place; it has no path until it is attached.
    pub(super) fn detach(&mut self, id: NodeId) {
        if id == ROOT || !self.is_live(id) {
            return;
        }
        self.unlink(id.index);
        self.nodes[id.index as usize].is_detached = true;
    }

    /// Puts a detached node at a place where no node is. Fails if that would be within itself.
    pub(super) fn attach(&mut self, id: NodeId, parent: NodeId, name: &[u8]) -> bool {
        let is_free = self.child(parent, name).is_none();
        if !self.is_live(id) || !self.is_live(parent) || !is_free || self.is_within(parent, id) {
            return false;
        }
        let name: Arc<[u8]> = name.into();
        let node = &mut self.nodes[id.index as usize];
        node.parent = Some(parent.index);
        node.is_detached = false;
        node.name = Arc::clone(&name);
        self.children_mut(parent.index).insert(name, id.index);
        true
    }

    /// Removes a node and all below it; gives the watches that they had.
    pub(super) fn remove(&mut self, id: NodeId) -> Vec<WatchNumber> {
        let mut watches = Vec::new();
        if id == ROOT || !self.is_live(id) {
            return watches;
        }
        let parent = self.unlink(id.index);
        let mut below = vec![id.index];
        while let Some(index) = below.pop() {
            let node = &mut self.nodes[index as usize];
            node.generation = node.generation.wrapping_add(1);
            node.parent = None;
            if let Some(watch) = node.watch.take() {
                self.by_watch.remove(&watch);
                watches.push(watch);
            }
            let file = node.id;
            below.extend(
                node.children.take().into_iter().flat_map(|children| children.into_values()),
            );
            self.free.push(index);
            self.forget_file(file, index);
        }
        if let Some(parent) = parent {
            self.prune(parent);
        }
        watches
    }

    /// Watched nodes that the placing walk `round` did not come by.
    pub(super) fn not_seen_in(&self, round: u32) -> Vec<NodeId> {
        let watched = self.by_watch.values();
        let unseen = watched.filter(|&&index| self.nodes[index as usize].round != round);
        unseen.map(|&index| self.id_of(index)).collect()
    }

    /// What a node watched it does not watch any more.
    fn forget_file(&mut self, file: Option<FileId>, index: u32) {
        if let Some(file) = file
            && self.by_file.get(&file) == Some(&index)
        {
            self.by_file.remove(&file);
        }
    }

    fn is_within(&self, id: NodeId, ancestor: NodeId) -> bool {
        let mut next = Some(id.index);
        while let Some(index) = next {
            if index == ancestor.index {
                return true;
            }
            next = self.nodes[index as usize].parent;
        }
        false
    }

    fn make(&mut self, parent: NodeId, name: &[u8]) -> NodeId {
        let name: Arc<[u8]> = name.into();
        let index = match self.free.pop() {
            Some(index) => {
                let generation = self.nodes[index as usize].generation;
                self.nodes[index as usize] =
                    Node::new(generation, Some(parent.index), Arc::clone(&name));
                index
            }
            None => {
                self.nodes.push(Node::new(0, Some(parent.index), Arc::clone(&name)));
                u32::try_from(self.nodes.len() - 1).unwrap_or(u32::MAX)
            }
        };
        self.children_mut(parent.index).insert(name, index);
        self.id_of(index)
    }

    /// Takes a node out of its parent's children; gives the parent.
    fn unlink(&mut self, index: u32) -> Option<u32> {
        let node = &mut self.nodes[index as usize];
        let parent = node.parent.take()?;
        let name = Arc::clone(&node.name);
        let children = &mut self.nodes[parent as usize].children;
        if let Some(of_parent) = children {
            of_parent.remove(&name);
            if of_parent.is_empty() {
                *children = None;
            }
        }
        Some(parent)
    }

    /// Removes nodes that are on the way to nothing any more.
    fn prune(&mut self, mut index: u32) {
        while index != ROOT.index {
            let node = &self.nodes[index as usize];
            if node.watch.is_some() || node.children.is_some() || node.is_detached {
                return;
            }
            let parent = self.unlink(index);
            let node = &mut self.nodes[index as usize];
            node.generation = node.generation.wrapping_add(1);
            self.free.push(index);
            let Some(parent) = parent else { return };
            index = parent;
        }
    }

    fn children_mut(&mut self, index: u32) -> &mut HashMap<Arc<[u8]>, u32> {
        self.nodes[index as usize].children.get_or_insert_default()
    }

    fn id_of(&self, index: u32) -> NodeId {
        NodeId { index, generation: self.nodes[index as usize].generation }
    }

    fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(id.index as usize).filter(|node| node.generation == id.generation)
    }

    fn node_mut(&mut self, id: NodeId) -> Option<&mut Node> {
        self.nodes.get_mut(id.index as usize).filter(|node| node.generation == id.generation)
    }
}

impl Node {
    fn new(generation: u32, parent: Option<u32>, name: Arc<[u8]>) -> Self {
        Self {
            generation,
            parent,
            is_detached: false,
            content: Content::Elsewhere,
            watch: None,
            round: 0,
            name,
            id: None,
            used_at: Monotonic::from_nanos(i64::MIN),
            children: None,
        }
    }
}

#[cfg(test)]
mod tests;
