//! The naive model: a map from path to stat, and nothing clever.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::*;
use crate::view::read::Totals;

/// What was taken out: paths from there on, empty for the entry itself.
pub(super) type Taken = Vec<(String, (Stat, Flags))>;

/// What a tree must look like.
#[derive(Debug, Clone, Default)]
pub(super) struct Model {
    pub(super) entries: BTreeMap<String, (Stat, Flags)>,
}

/// The prefix of all paths below one.
pub(super) fn below(path: &str) -> String {
    if path == "/" { path.to_owned() } else { format!("{path}/") }
}

impl Model {
    pub(super) fn put(&mut self, path: &str, stat: Stat, flags: Flags) {
        if self.entries.get(path).is_some_and(|(old, _)| old.kind != stat.kind) {
            self.take(path);
        }
        self.entries.insert(path.to_owned(), (stat, flags));
    }

    /// Takes an entry and all below it out; paths are relative to it.
    pub(super) fn take(&mut self, path: &str) -> Taken {
        let prefix = below(path);
        let within = |other: &str| other == path || other.starts_with(&prefix);
        let gone: Vec<_> = self.entries.keys().filter(|other| within(other)).cloned().collect();
        gone.into_iter()
            .map(|other| {
                let value = self.entries.remove(&other).unwrap();
                let rest = other.strip_prefix(&prefix).filter(|_| other != path);
                (rest.unwrap_or_default().to_owned(), value)
            })
            .collect()
    }

    pub(super) fn give(&mut self, path: &str, what: Taken) {
        let prefix = below(path);
        let place = |rest: &str| match rest {
            "" => path.to_owned(),
            rest => format!("{prefix}{rest}"),
        };
        self.entries.extend(what.into_iter().map(|(rest, value)| (place(&rest), value)));
    }

    pub(super) fn names(&self, dir: &str) -> Vec<String> {
        let prefix = below(dir);
        let range = (Bound::Excluded(prefix.clone()), Bound::Unbounded);
        self.entries
            .range::<String, _>(range)
            .take_while(|(path, _)| path.starts_with(&prefix))
            .filter(|(path, _)| !path[prefix.len()..].contains('/'))
            .map(|(path, _)| path[prefix.len()..].to_owned())
            .collect()
    }

    pub(super) fn totals(&self, dir: &str) -> Totals {
        let prefix = below(dir);
        let mut totals = Totals::default();
        for (_, (stat, flags)) in
            self.entries.iter().filter(|(path, _)| path.starts_with(&prefix) && *path != "/")
        {
            match stat.kind {
                Kind::File => {
                    totals.files += 1;
                    totals.bytes = totals.bytes.wrapping_add(stat.size);
                }
                Kind::Directory => totals.directories += 1,
                Kind::Symlink | Kind::Other => totals.others += 1,
            }
            totals.suspects += u64::from(flags.has(Flags::SUSPECT));
            totals.blind += u64::from(flags.has(Flags::BLIND));
            totals.newest_mtime = totals.newest_mtime.max(Some(stat.mtime));
        }
        totals
    }

    /// The same entries, and for every directory the same totals: as kept, and as counted.
    pub(super) fn check(&self, tree: &mut TreeWriter) {
        let mut seen = BTreeMap::new();
        if let Some(root) = tree.root() {
            seen.insert("/".to_owned(), (root.stat, root.flags));
            let mut walk = root.block.map_or_else(Walk::default, |root| Walk::new(root, b"/"));
            while !tree.walk_next(
                &mut walk,
                3,
                None,
                |_, _| true,
                |path, child| {
                    let path = String::from_utf8_lossy(path).into_owned();
                    assert!(seen.insert(path, (child.stat, child.flags)).is_none());
                },
            ) {}
        }
        assert_eq!(seen, self.entries);
        for (text, (stat, _)) in &self.entries {
            let path = path(text);
            let dir = tree.dir(path.as_ref());
            assert_eq!(dir, Tree::dir(tree, path.as_ref()), "{text}");
            assert_eq!(dir.is_some(), stat.kind == Kind::Directory);
            let Some(dir) = dir else { continue };
            assert_eq!(tree.path(dir), Some(path), "the way back");
            assert_eq!(tree.itself(dir).map(|(inode, _)| inode), Some(stat.inode));
            assert_eq!(tree.recount(dir), tree.totals(dir), "{text}");
            let last_change = tree.totals(dir).unwrap().last_change;
            assert_eq!(tree.totals(dir), Some(Totals { last_change, ..self.totals(text) }));
        }
    }
}
