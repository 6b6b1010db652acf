//! A sorted map from paths to what the rules remember of them, that moves with subtrees.
//!
//! Used by every table of the rules that is kept by path: tombstones, the relist and probe agendas,
//! suspects, parts. Must never: iterate in an order that depends on a hash. Tested below.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use crate::path::PathRef;

use super::shared::Shared;

/// The bytes of a path, which a map and an index over it have together.
pub(super) type Key = Arc<[u8]>;

/// Values by path, sorted by path bytes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PathMap<V> {
    values: Shared<BTreeMap<Key, V>>,
}

impl<V> Default for PathMap<V> {
    fn default() -> Self {
        Self { values: Shared::default() }
    }
}

impl<V: Clone> PathMap<V> {
    pub(super) fn get_mut(&mut self, path: PathRef<'_>) -> Option<&mut V> {
        self.get(path)?;
        self.values.edit().get_mut(path.as_bytes())
    }

    pub(super) fn insert(&mut self, path: PathRef<'_>, value: V) -> Option<V> {
        self.insert_key(path.as_bytes().into(), value)
    }

    /// The same with a key that somebody else has too.
    pub(super) fn insert_key(&mut self, key: Key, value: V) -> Option<V> {
        self.values.edit().insert(key, value)
    }

    pub(super) fn remove(&mut self, path: PathRef<'_>) -> Option<V> {
        self.take(path).map(|(_, value)| value)
    }

    /// The same, with its key.
    pub(super) fn take(&mut self, path: PathRef<'_>) -> Option<(Key, V)> {
        self.get(path)?;
        self.values.edit().remove_entry(path.as_bytes())
    }

    /// Takes out what is at a path and below it.
    pub(super) fn take_within(&mut self, path: PathRef<'_>) -> Vec<(Key, V)> {
        if self.values.is_empty() {
            return Vec::new();
        }
        let mut keys: Vec<Key> = self.below(path).map(|(key, _)| key.into()).collect();
        keys.extend(self.get(path).map(|_| Key::from(path.as_bytes())));
        if keys.is_empty() {
            return Vec::new();
        }
        let values = self.values.edit();
        keys.into_iter().filter_map(|key| values.remove(&key).map(|value| (key, value))).collect()
    }

    /// Moves what is at a path and below it.
    pub(super) fn move_within(&mut self, from: PathRef<'_>, to: PathRef<'_>) {
        for (key, value) in self.take_within(from) {
            self.values.edit().insert(moved(&key, from, to), value);
        }
    }
}

impl<V> PathMap<V> {
    /// All values, to be held while they change.
    pub(super) fn shared(&self) -> &Shared<BTreeMap<Key, V>> {
        &self.values
    }

    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    pub(super) fn get(&self, path: PathRef<'_>) -> Option<&V> {
        if self.values.is_empty() {
            return None;
        }
        self.values.get(path.as_bytes())
    }

    /// All, by path bytes.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], &V)> {
        self.values.iter().map(|(path, value)| (&**path, value))
    }

    /// Those that come after a path in order of bytes.
    pub(super) fn after<'a>(
        &'a self,
        after: Option<&[u8]>,
    ) -> impl Iterator<Item = (&'a [u8], &'a V)> + use<'a, V> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.values.range::<[u8], _>((from, Bound::Unbounded)).map(|(path, value)| (&**path, value))
    }

    /// Those at a path and below it, by path bytes; of them those after a path in order of bytes.
    pub(super) fn within<'a>(
        &'a self,
        path: PathRef<'_>,
        after: Option<&[u8]>,
    ) -> impl Iterator<Item = (&'a [u8], &'a V)> + use<'a, V> {
        let (below, to) = range_below(path);
        let own = after.is_none_or(|after| after < path.as_bytes());
        let own = if own { self.values.get_key_value(path.as_bytes()) } else { None };
        let from = after.map_or(&*below, |after| after.max(&*below));
        // What follows a place that is past the end is nothing.
        let bounds = (Bound::Excluded(from), Bound::Excluded(&*to));
        let rest = (from < &*to).then(|| self.values.range::<[u8], _>(bounds));
        own.into_iter().chain(rest.into_iter().flatten()).map(|(path, value)| (&**path, value))
    }

    /// Those strictly below a path, by path bytes.
    pub(super) fn below<'a>(
        &'a self,
        path: PathRef<'_>,
    ) -> impl Iterator<Item = (&'a [u8], &'a V)> + use<'a, V> {
        let (from, to) = range_below(path);
        let bounds = (Bound::Excluded(&*from), Bound::Excluded(&*to));
        self.values.range::<[u8], _>(bounds).map(|(path, value)| (&**path, value))
    }
}

/// The path that a path within `from` has after `from` moved to `to`.
pub(super) fn moved(path: &[u8], from: PathRef<'_>, to: PathRef<'_>) -> Key {
    let rest = path.get(from.as_bytes().len()..).unwrap_or_default();
    [to.as_bytes(), rest].concat().into()
}

/// Bounds, both excluded, of the keys strictly below a path: `path/` to `path0`.
fn range_below(path: PathRef<'_>) -> (Vec<u8>, Vec<u8>) {
    let mut from = path.as_bytes().to_vec();
    if !path.is_root() {
        from.push(b'/');
    }
    let mut to = from.clone();
    if let Some(last) = to.last_mut() {
        *last = b'/' + 1;
    }
    (from, to)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> PathRef<'_> {
        PathRef::new(text.as_bytes()).unwrap()
    }

    fn keys(map: &PathMap<u32>) -> Vec<String> {
        map.iter().map(|(key, _)| String::from_utf8_lossy(key).into_owned()).collect()
    }

    #[test]
    fn a_subtree_is_what_is_below_and_not_what_begins_alike() {
        let mut map = PathMap::default();
        for (number, key) in ["/a", "/a b", "/a/b", "/a/b/c", "/a0", "/"].into_iter().enumerate() {
            map.insert(path(key), number as u32);
        }
        assert_eq!(map.below(path("/a")).count(), 2);
        assert_eq!(map.below(path("/")).count(), 5);
        let within = |top: &str, after: Option<&str>| -> Vec<String> {
            let after = after.map(str::as_bytes);
            let keys = map.within(path(top), after).map(|(key, _)| key.to_vec());
            keys.map(|key| String::from_utf8(key).unwrap()).collect()
        };
        assert_eq!(within("/a", None), ["/a", "/a/b", "/a/b/c"]);
        assert_eq!(within("/a", Some("/a")), ["/a/b", "/a/b/c"]);
        assert_eq!(within("/a", Some("/a/b")), ["/a/b/c"]);
        assert_eq!(within("/a", Some("/a/b/c")), [""; 0]);
        assert_eq!(within("/a", Some("/zz")), [""; 0]);
        assert_eq!(within("/", None).len(), 6);
        assert_eq!(within("/", Some("/")).len(), 5);
        map.move_within(path("/a"), path("/x/y"));
        assert_eq!(keys(&map), ["/", "/a b", "/a0", "/x/y", "/x/y/b", "/x/y/b/c"]);
        assert_eq!(map.take_within(path("/x")).len(), 3);
        assert_eq!(map.len(), 3);
    }
}
