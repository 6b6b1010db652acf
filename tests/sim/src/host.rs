//! A host: what it may still believe of the storage, as an NFS client's caches allow.
//!
//! Owns, per inode, the moment of which the host's cached attributes and (for a directory) its
//! cached names speak. Both only go forward, lag by less than the horizon, and the names are never
//! older than the attributes, because a client that sees new attributes drops the names. What the
//! host does itself refreshes both. A host on local storage sees everything at once.

use fusion_core::stat::Stat;

use crate::dice::{Dice, Tag};
use crate::name::{Name, Path};
use crate::storage::{BEGIN, Ino, ROOT, Storage, Time};

/// What a host believes of one inode: as of when.
#[derive(Debug, Clone, Copy)]
struct Seen {
    attributes: Time,
    names: Time,
}

/// The caches of one host.
#[derive(Debug)]
pub(crate) struct Host {
    number: u64,
    /// How far the caches may lag; 0 on local storage.
    lag: Time,
    dice: Dice,
    seen: Vec<Seen>,
}

impl Host {
    pub(crate) fn new(number: usize, lag: Time, dice: Dice) -> Self {
        Self { number: number as u64, lag, dice, seen: Vec::with_capacity(64) }
    }

    fn seen(&mut self, ino: Ino) -> &mut Seen {
        let index = ino.0 as usize;
        if self.seen.len() <= index {
            let nothing = Seen { attributes: BEGIN, names: BEGIN };
            self.seen.resize(index + 1, nothing);
        }
        &mut self.seen[index]
    }

    /// A moment from `floor` to `upto` that a cache may hold.
    fn draw(&self, tag: Tag, ino: Ino, floor: Time, upto: Time) -> Time {
        let oldest = floor.max(upto - self.lag);
        if oldest >= upto {
            return oldest;
        }
        let mut chance =
            self.dice.stream(tag, self.number << 32 | u64::from(ino.0), upto.unsigned_abs());
        match chance.below(100) {
            0..40 => upto,
            40..75 if oldest == floor => floor,
            _ => chance.between(oldest, upto),
        }
    }

    /// As of when the host knows an inode's attributes if it asks at `at`.
    pub(crate) fn attributes_as_of(&mut self, ino: Ino, at: Time) -> Time {
        let floor = self.seen(ino).attributes;
        let then = self.draw(Tag::Attribute, ino, floor, at);
        self.seen(ino).attributes = then;
        then
    }

    /// As of when the host knows a directory's names if it asks at `at`.
    pub(crate) fn names_as_of(&mut self, ino: Ino, at: Time) -> Time {
        let seen = *self.seen(ino);
        let then = self.draw(Tag::Names, ino, seen.names.max(seen.attributes), at);
        self.seen(ino).names = then;
        then
    }

    /// The host changed this inode itself: it knows it as of now.
    pub(crate) fn own(&mut self, ino: Ino, now: Time) {
        let seen = self.seen(ino);
        seen.attributes = seen.attributes.max(now);
        seen.names = seen.names.max(now);
    }

    /// The stat of an inode, asked for at `at`; `None` if the host knows it dead.
    pub(crate) fn stat(&mut self, storage: &Storage, ino: Ino, at: Time) -> Option<Stat> {
        let then = self.attributes_as_of(ino, at);
        storage.stat_at(ino, then)
    }

    /// Where a name leads, asked for at `at`.
    pub(crate) fn lookup(
        &mut self,
        storage: &Storage,
        dir: Ino,
        name: Name,
        at: Time,
    ) -> Option<Ino> {
        let then = self.names_as_of(dir, at);
        storage.child_at(dir, name, then)
    }

    /// Where a path leads, walked at `at`; every component may be answered from a cache.
    pub(crate) fn resolve(&mut self, storage: &Storage, names: &[Name], at: Time) -> Option<Ino> {
        names.iter().try_fold(ROOT, |dir, &name| {
            if storage.is_dir(dir) { self.lookup(storage, dir, name, at) } else { None }
        })
    }

    /// Where a path leads to a directory that the host does not know dead.
    pub(crate) fn directory(&mut self, storage: &Storage, path: &Path, at: Time) -> Option<Ino> {
        let ino = self.resolve(storage, path.names(), at)?;
        if !storage.is_dir(ino) {
            return None;
        }
        self.stat(storage, ino, at).map(|_| ino)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{MS, SEC};
    use fusion_core::stat::Kind;

    #[test]
    fn caches_lag_but_never_go_back_and_names_are_not_older_than_attributes() {
        let mut storage = Storage::new(4 * MS, 0, true);
        let mut host = Host::new(0, 58 * SEC, Dice::new(1));
        let mut last = (0, 0);
        for step in 0..2_000 {
            let now = BEGIN + step * SEC;
            let dir = (host.attributes_as_of(ROOT, now), host.names_as_of(ROOT, now));
            assert!(dir.1 >= dir.0 && dir.0 >= last.0 && dir.1 >= last.1);
            assert!(now - dir.0 <= 58 * SEC && dir.0 <= now);
            last = dir;
        }
        let now = BEGIN + 3_000 * SEC;
        storage.create(now, ROOT, Name(0), Kind::File, false).unwrap();
        host.own(ROOT, now);
        assert!(host.lookup(&storage, ROOT, Name(0), now).is_some());
    }
}
