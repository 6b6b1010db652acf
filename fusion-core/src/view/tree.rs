//! The tree of the first slice: a map of children per directory, totals kept on every change.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::evidence::Listing;
use crate::id::Revision;
use crate::path::{PathRef, TreePath};
use crate::stat::{Kind, Stat};
use crate::time::ServerTime;

use super::read::Totals;

#[derive(Debug)]
struct Node {
    stat: Stat,
    touched: ServerTime,
    totals: Totals,
    children: BTreeMap<Box<[u8]>, Node>,
}

impl Node {
    fn new(stat: Stat, now: ServerTime) -> Self {
        Self { stat, touched: now, totals: Totals::default(), children: BTreeMap::new() }
    }

    /// What this node counts for in its ancestors.
    fn weight(&self) -> Totals {
        let mut sum = self.totals;
        match self.stat.kind {
            Kind::File => {
                sum.files += 1;
                sum.bytes += self.stat.size;
            }
            Kind::Directory => sum.directories += 1,
            Kind::Symlink | Kind::Other => sum.others += 1,
        }
        sum.newest_mtime = sum.newest_mtime.max(Some(self.stat.mtime));
        sum
    }
}

/// What [`Tree::put`] did.
pub(super) enum Put {
    Unknown,
    Same,
    New,
    Changed(Stat),
}

#[derive(Debug, Default)]
pub(super) struct Tree {
    pub(super) revision: Revision,
    root: Option<Node>,
}

impl Tree {
    fn node(&self, path: PathRef<'_>) -> Option<&Node> {
        path.names().try_fold(self.root.as_ref()?, |node, name| node.children.get(name))
    }

    pub(super) fn stat(&self, path: PathRef<'_>) -> Option<&Stat> {
        self.node(path).map(|node| &node.stat)
    }

    pub(super) fn totals(&self, path: PathRef<'_>) -> Option<Totals> {
        self.node(path).map(|node| node.totals)
    }

    pub(super) fn touched_after(&self, path: PathRef<'_>, time: ServerTime) -> bool {
        self.node(path).is_some_and(|node| node.touched > time)
    }

    pub(super) fn parent_is_known(&self, path: PathRef<'_>) -> bool {
        path.split_last().is_some_and(|(parent, _)| {
            self.stat(parent).is_some_and(|stat| stat.kind == Kind::Directory)
        })
    }

    pub(super) fn children<'a>(
        &'a self,
        path: PathRef<'_>,
        after: Option<&[u8]>,
    ) -> impl Iterator<Item = (&'a [u8], &'a Stat)> + use<'a> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let node = self.node(path);
        let range = node.map(|node| node.children.range::<[u8], _>((from, Bound::Unbounded)));
        range.into_iter().flatten().map(|(name, node)| (&**name, &node.stat))
    }

    /// Puts a stat at a path; what stood there as another kind goes, with all below it.
    pub(super) fn put(&mut self, path: PathRef<'_>, stat: &Stat, now: ServerTime) -> Put {
        let Some((parent, name)) = path.split_last() else {
            return self.put_root(stat, now);
        };
        if !self.parent_is_known(path) {
            return Put::Unknown;
        }
        let (mut before, mut put) = (Totals::default(), Put::New);
        let mut after = Totals::default();
        if let Some(node) = self.node_mut(parent) {
            let fresh = Node::new(*stat, now);
            let old = node.children.remove(name);
            let node = node.children.entry(name.into()).or_insert(fresh);
            if let Some(old) = old {
                before = old.weight();
                put = if old.stat == *stat { Put::Same } else { Put::Changed(old.stat) };
                if old.stat.kind == stat.kind {
                    node.children = old.children;
                    node.totals = old.totals;
                }
            }
            after = node.weight();
        }
        self.account(parent, &before, &after, (!matches!(put, Put::Same)).then_some(now));
        put
    }

    fn put_root(&mut self, stat: &Stat, now: ServerTime) -> Put {
        match &mut self.root {
            None => {
                self.root = Some(Node::new(*stat, now));
                Put::New
            }
            Some(root) if root.stat == *stat => Put::Same,
            Some(root) => {
                root.touched = now;
                Put::Changed(std::mem::replace(&mut root.stat, *stat))
            }
        }
    }

    pub(super) fn remove(&mut self, path: PathRef<'_>, now: ServerTime) -> Option<Stat> {
        self.take(path, now).map(|node| node.stat)
    }

    fn take(&mut self, path: PathRef<'_>, now: ServerTime) -> Option<Node> {
        let (parent, name) = path.split_last()?;
        let node = self.node_mut(parent)?.children.remove(name)?;
        self.account(parent, &node.weight(), &Totals::default(), Some(now));
        Some(node)
    }

    pub(super) fn rename(
        &mut self,
        from: PathRef<'_>,
        to: PathRef<'_>,
        stat: &Stat,
        now: ServerTime,
    ) {
        let (Some(mut node), Some((parent, name))) = (self.take(from, now), to.split_last()) else {
            return;
        };
        node.stat = *stat;
        node.touched = now;
        let weight = node.weight();
        if let Some(parent) = self.node_mut(parent) {
            parent.children.insert(name.into(), node);
        }
        self.account(parent, &Totals::default(), &weight, Some(now));
    }

    /// Known children that a complete listing (or part) does not have, and that were not touched
    /// since it began.
    pub(super) fn missing(&self, listing: &Listing<'_>, started_at: ServerTime) -> Vec<TreePath> {
        let names: Vec<&[u8]> = listing.children.iter().map(|(name, _)| name).collect();
        let last = names.last().copied();
        if listing.part > 0 && !listing.last {
            // A middle part begins after the last name of the part before, which the simple rules
            // do not remember: it can only say what is missing between its own names.
            return self.missing_between(listing, &names, names.first().copied(), last, started_at);
        }
        let to = if listing.last { None } else { last };
        let from = if listing.part > 0 { names.first().copied() } else { None };
        self.missing_between(listing, &names, from, to, started_at)
    }

    fn missing_between(
        &self,
        listing: &Listing<'_>,
        names: &[&[u8]],
        from: Option<&[u8]>,
        to: Option<&[u8]>,
        started_at: ServerTime,
    ) -> Vec<TreePath> {
        let Some(node) = self.node(listing.dir) else { return Vec::new() };
        let from = from.map_or(Bound::Unbounded, Bound::Included);
        node.children
            .range::<[u8], _>((from, Bound::Unbounded))
            .take_while(|(name, _)| to.is_none_or(|to| &***name <= to))
            .filter(|(name, child)| {
                child.touched < started_at && names.binary_search(&&***name).is_err()
            })
            .filter_map(|(name, _)| listing.dir.to_owned().join(name).ok())
            .collect()
    }

    fn node_mut(&mut self, path: PathRef<'_>) -> Option<&mut Node> {
        path.names().try_fold(self.root.as_mut()?, |node, name| node.children.get_mut(name))
    }

    /// Replaces what a child counts for in all its ancestors.
    fn account(
        &mut self,
        parent: PathRef<'_>,
        before: &Totals,
        after: &Totals,
        changed: Option<ServerTime>,
    ) {
        let mut next = self.root.as_mut();
        let mut names = parent.names();
        while let Some(node) = next {
            let sum = &mut node.totals;
            sum.files = sum.files + after.files - before.files;
            sum.directories = sum.directories + after.directories - before.directories;
            sum.others = sum.others + after.others - before.others;
            sum.bytes = sum.bytes.wrapping_add(after.bytes).wrapping_sub(before.bytes);
            sum.newest_mtime = sum.newest_mtime.max(after.newest_mtime);
            sum.last_change = sum.last_change.max(changed);
            next = names.next().and_then(|name| node.children.get_mut(name));
        }
    }
}
