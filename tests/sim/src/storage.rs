//! The storage: inodes and directories as a POSIX file system keeps them, with their history.
//!
//! The one reality of a schedule. It remembers every stat and every binding of a name with the
//! true time at which it held, so that a stale cache or a slow look is answered by asking for an
//! earlier moment. Times written into inodes are storage time: true time plus the storage's own
//! offset, rounded down to its tick. Must never know of hosts, agents or the view.

mod operations;

use fusion_core::stat::{Kind, Stat};
use fusion_core::time::StorageTime;

use crate::name::Name;

/// True time in nanoseconds; what nobody in the schedule can read.
pub(crate) type Time = i64;

/// One millisecond.
pub(crate) const MS: Time = 1_000_000;
/// One second.
pub(crate) const SEC: Time = 1_000 * MS;
/// One hour.
pub(crate) const HOUR: Time = 3_600 * SEC;
/// When every schedule begins.
pub(crate) const BEGIN: Time = 1_700_000_000 * SEC;

/// An inode by identity, unlike its number, which may be used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Ino(pub(crate) u32);

/// The root directory.
pub(crate) const ROOT: Ino = Ino(0);

/// A name in a directory, and when it led to an inode.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Binding {
    pub(crate) name: Name,
    pub(crate) inode: Ino,
    pub(crate) from: Time,
    pub(crate) until: Time,
}

#[derive(Debug)]
struct Inode {
    stat: Stat,
    history: Vec<(Time, Stat)>,
    bindings: Vec<Binding>,
    parent: Option<Ino>,
    died: Time,
}

/// Why the storage refused an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refused;

/// The storage.
#[derive(Debug)]
pub(crate) struct Storage {
    inodes: Vec<Inode>,
    free: Vec<u64>,
    next_number: u64,
    tick: Time,
    offset: Time,
    rename_touches: bool,
}

impl Storage {
    /// A storage with an empty root.
    pub(crate) fn new(tick: Time, offset: Time, rename_touches: bool) -> Self {
        let mut storage = Self {
            inodes: Vec::with_capacity(64),
            free: Vec::new(),
            next_number: 2,
            tick,
            offset,
            rename_touches,
        };
        let stat = storage.fresh_stat(BEGIN - HOUR, Kind::Directory, false);
        storage.add_inode(BEGIN - HOUR, stat, None);
        storage
    }

    /// What the storage's clock shows.
    pub(crate) fn clock(&self, now: Time) -> StorageTime {
        let shown = now + self.offset;
        StorageTime::from_nanos(shown - shown.rem_euclid(self.tick))
    }

    fn fresh_stat(&mut self, now: Time, kind: Kind, reuse: bool) -> Stat {
        let number = if reuse { self.free.pop() } else { None };
        let inode = number.unwrap_or_else(|| {
            self.next_number += 1;
            self.next_number - 1
        });
        let clock = self.clock(now);
        let directory = kind == Kind::Directory;
        Stat {
            kind,
            size: if directory { 4096 } else { 0 },
            mtime: clock,
            ctime: clock,
            inode,
            mode: if directory { 0o755 } else { 0o644 },
            uid: 1000,
            gid: 100,
            nlink: if directory { 2 } else { 1 },
        }
    }

    fn add_inode(&mut self, now: Time, stat: Stat, parent: Option<Ino>) -> Ino {
        let ino = Ino(self.inodes.len() as u32);
        let history = vec![(now, stat)];
        self.inodes.push(Inode { stat, history, bindings: Vec::new(), parent, died: Time::MAX });
        ino
    }

    fn inode(&self, ino: Ino) -> &Inode {
        &self.inodes[ino.0 as usize]
    }

    fn change(&mut self, now: Time, ino: Ino, content: bool, edit: impl FnOnce(&mut Stat)) {
        let clock = self.clock(now);
        let inode = &mut self.inodes[ino.0 as usize];
        inode.stat.ctime = clock;
        if content {
            inode.stat.mtime = clock;
        }
        edit(&mut inode.stat);
        inode.history.push((now, inode.stat));
    }

    // === What is, and what was ===

    /// The stat now.
    pub(crate) fn stat(&self, ino: Ino) -> &Stat {
        &self.inode(ino).stat
    }

    pub(crate) fn is_alive(&self, ino: Ino) -> bool {
        self.inode(ino).died == Time::MAX
    }

    pub(crate) fn is_dir(&self, ino: Ino) -> bool {
        self.inode(ino).stat.kind == Kind::Directory
    }

    /// The stat as it was then; `None` once the inode is dead. Before its birth: as it was born.
    pub(crate) fn stat_at(&self, ino: Ino, then: Time) -> Option<Stat> {
        let inode = self.inode(ino);
        if then >= inode.died {
            return None;
        }
        let found = inode.history.iter().rev().find(|(since, _)| *since <= then);
        found.or(inode.history.first()).map(|(_, stat)| *stat)
    }

    /// Where a name led then.
    pub(crate) fn child_at(&self, dir: Ino, name: Name, then: Time) -> Option<Ino> {
        let bound = |binding: &&Binding| {
            binding.name == name && binding.from <= then && then < binding.until
        };
        self.inode(dir).bindings.iter().rev().find(bound).map(|binding| binding.inode)
    }

    /// Where a name leads.
    pub(crate) fn child(&self, dir: Ino, name: Name) -> Option<Ino> {
        self.child_at(dir, name, Time::MAX - 1)
    }

    /// The binding of a name that holds now.
    pub(crate) fn binding(&self, dir: Ino, name: Name) -> Option<&Binding> {
        let bound = |binding: &&Binding| binding.name == name && binding.until == Time::MAX;
        self.inode(dir).bindings.iter().rev().find(bound)
    }

    /// Whether two changes of what a name leads to fell into one tick of the clock.
    pub(crate) fn changed_twice_in_a_tick(&self, dir: Ino, name: Name) -> bool {
        let mut ticks: Vec<StorageTime> = self
            .inode(dir)
            .bindings
            .iter()
            .filter(|binding| binding.name == name)
            .flat_map(|binding| [binding.from, binding.until])
            .filter(|time| *time != Time::MAX)
            .map(|time| self.clock(time))
            .collect();
        ticks.sort_unstable();
        ticks.windows(2).any(|pair| pair[0] == pair[1])
    }

    /// What a directory held then, sorted by name, into `into`.
    pub(crate) fn names_at(&self, dir: Ino, then: Time, into: &mut Vec<(Name, Ino)>) {
        into.clear();
        for binding in &self.inode(dir).bindings {
            if binding.from <= then && then < binding.until {
                into.push((binding.name, binding.inode));
            }
        }
        into.sort_unstable();
    }

    fn is_empty(&self, dir: Ino) -> bool {
        self.inode(dir).bindings.iter().all(|binding| binding.until != Time::MAX)
    }

    fn is_below(&self, mut ino: Ino, ancestor: Ino) -> bool {
        while ino != ancestor {
            match self.inode(ino).parent {
                Some(parent) => ino = parent,
                None => return false,
            }
        }
        true
    }
}

#[cfg(test)]
mod tests;
