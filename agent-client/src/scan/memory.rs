//! What the leader remembers of each directory under one leadership: the version that it listed, and
//! the names of the directories in it. So an audit goes past what is silent with one look each.
//!
//! Owns the table and its memory: 20 bytes and the name per directory, at most 40 for names of up to
//! 15 bytes on average. It is a hint only: the view checks every `Unchanged` against what it has (R6),
//! so a wrong hint costs a relist and no truth. Filled by the workers of a scan, one directory at a
//! time; forgotten with the leadership, by whoever holds it. Must never: outlive the leadership in
//! which it was filled, or be asked by path (a walk carries the [`DirNumber`] of where it is).

use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use fusion_core::stat::Stat;

use super::root::FileId;

/// A directory in the memory.
pub(super) type DirNumber = u32;

/// The root.
pub(super) const TOP: DirNumber = 0;

/// The memory of one leadership; shared by the scans of the whole tree.
#[derive(Debug)]
pub struct Memory(Mutex<Table>);

/// The version of a directory as a number: a hash of ctime, device and inode, never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Version(u64);

#[derive(Debug)]
struct Table {
    dirs: Vec<Dir>,
    /// The names of all directories, each with its length in one byte before it.
    names: Vec<u8>,
    /// Directories that no other leads to any more.
    lost: usize,
}

#[derive(Debug, Clone, Copy)]
struct Dir {
    /// The version that was listed; 0 if none was, or not to the end.
    version: u64,
    name: u32,
    /// Where its directories begin; they lie side by side, sorted by name bytes.
    first: DirNumber,
    count: u32,
}

impl Default for Memory {
    /// Nothing but a root that was never listed.
    fn default() -> Self {
        let root = Dir { version: 0, name: 0, first: 0, count: 0 };
        Self(Mutex::new(Table { dirs: vec![root], names: vec![0], lost: 0 }))
    }
}

impl Version {
    /// Of a directory that was looked at.
    pub(super) fn of(id: FileId, stat: &Stat) -> Self {
        let mut hash = mix(stat.ctime.as_nanos() as u64);
        hash = mix(hash ^ id.inode);
        Self(mix(hash ^ id.device).max(1))
    }
}

/// A step of splitmix64: every bit of the input has a part in every bit of the output.
const fn mix(value: u64) -> u64 {
    let mut value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

impl Memory {
    /// Bytes that it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let table = self.lock();
        table.dirs.capacity() * size_of::<Dir>() + table.names.capacity()
    }

    /// Directories in it.
    #[must_use]
    pub fn directories(&self) -> usize {
        let table = self.lock();
        table.dirs.len() - table.lost
    }

    /// The version that was listed last, if one was.
    pub(super) fn version(&self, dir: DirNumber) -> Option<Version> {
        let table = self.lock();
        table.dirs.get(dir as usize).map(|dir| dir.version).filter(|it| *it != 0).map(Version)
    }

    /// The directories in it, for which `each` is called with name and number.
    pub(super) fn children(&self, dir: DirNumber, mut each: impl FnMut(&[u8], DirNumber)) {
        let table = self.lock();
        for child in table.children(dir) {
            each(table.name(child), child);
        }
    }

    /// A directory was listed: `version` if that may be relied on, and the directories in it, sorted
    /// by name bytes. What is known of those goes on to be known. Gives the number of the first; the
    /// others follow it. `None` if the table is full, which 4 billion directories or bytes are.
    pub(super) fn listed<'n>(
        &self,
        dir: DirNumber,
        version: Option<Version>,
        names: impl ExactSizeIterator<Item = &'n [u8]> + Clone,
    ) -> Option<DirNumber> {
        self.lock().listed(dir, version, names)
    }

    /// The same without what no directory leads to any more, if that is much. Another one, because
    /// a walk that was cut off and hangs in the storage may still use the numbers of this one.
    #[must_use]
    pub fn tidied(&self) -> Option<Self> {
        let table = self.lock();
        (table.lost * 8 > table.dirs.len()).then(|| Self(Mutex::new(table.copied())))
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn children(&self, dir: DirNumber) -> Range<DirNumber> {
        let dir = self.dirs[dir as usize];
        dir.first..dir.first + dir.count
    }

    fn name(&self, dir: DirNumber) -> &[u8] {
        let at = self.dirs[dir as usize].name as usize;
        &self.names[at + 1..][..usize::from(self.names[at])]
    }

    fn listed<'n>(
        &mut self,
        dir: DirNumber,
        version: Option<Version>,
        names: impl ExactSizeIterator<Item = &'n [u8]> + Clone,
    ) -> Option<DirNumber> {
        self.dirs[dir as usize].version = 0;
        let old = self.children(dir);
        let (mut first, count) = (old.start, u32::try_from(names.len()).ok()?);
        let known = old.clone().map(|child| self.name(child));
        if !known.eq(names.clone()) {
            first = u32::try_from(self.dirs.len()).ok()?;
            first.checked_add(count)?;
            self.renew(old, names)?;
        }
        let version = version.map_or(0, |version| version.0);
        let dir = &mut self.dirs[dir as usize];
        (dir.version, dir.first, dir.count) = (version, first, count);
        Some(first)
    }

    /// Adds directories of these names, each with what is known of it.
    fn renew<'n>(
        &mut self,
        old: Range<DirNumber>,
        names: impl Iterator<Item = &'n [u8]>,
    ) -> Option<()> {
        let mut old = old.peekable();
        for name in names {
            while let Some(gone) = old.next_if(|&it| self.name(it) < name) {
                self.lose(gone);
            }
            let child = match old.next_if(|&it| self.name(it) == name) {
                Some(same) => {
                    self.lost += 1;
                    self.dirs[same as usize]
                }
                None => Dir { version: 0, name: self.add_name(name)?, first: 0, count: 0 },
            };
            push(&mut self.dirs, child);
        }
        old.for_each(|gone| self.lose(gone));
        Some(())
    }

    /// Counts a directory, and all below it, as lost.
    fn lose(&mut self, dir: DirNumber) {
        let mut open = vec![dir];
        while let Some(dir) = open.pop() {
            self.lost += 1;
            open.extend(self.children(dir));
        }
    }

    fn add_name(&mut self, name: &[u8]) -> Option<u32> {
        let at = u32::try_from(self.names.len()).ok()?;
        push(&mut self.names, u8::try_from(name.len()).ok()?);
        reserve(&mut self.names, name.len());
        self.names.extend_from_slice(name);
        Some(at)
    }

    /// The same without what is lost.
    fn copied(&self) -> Self {
        let root = Dir { name: 0, ..self.dirs[TOP as usize] };
        let mut copy = Self { dirs: vec![root], names: vec![0], lost: 0 };
        let mut at = 0;
        while at < copy.dirs.len() {
            let Dir { first, count, .. } = copy.dirs[at];
            let begin = copy.dirs.len() as u32;
            for child in first..first + count {
                // There is room: the copy is never larger.
                let Some(name) = copy.add_name(self.name(child)) else { continue };
                push(&mut copy.dirs, Dir { name, ..self.dirs[child as usize] });
            }
            copy.dirs[at].first = begin;
            at += 1;
        }
        copy
    }
}

fn push<T>(to: &mut Vec<T>, value: T) {
    reserve(to, 1);
    to.push(value);
}

/// Grows by an eighth and not by doubling, which would cost up to twice the bytes.
fn reserve<T>(to: &mut Vec<T>, more: usize) {
    if to.capacity() - to.len() < more {
        to.reserve_exact(more.max(to.len() / 8).max(64));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn names<'n>(of: &[&'n str]) -> Vec<&'n [u8]> {
        of.iter().map(|name| name.as_bytes()).collect()
    }

    fn listed(memory: &Memory, dir: DirNumber, version: u64, of: &[&str]) -> DirNumber {
        memory.listed(dir, Some(Version(version)), names(of).into_iter()).unwrap()
    }

    /// All that is remembered, by path.
    fn all(memory: &Memory) -> BTreeMap<String, Option<u64>> {
        let (mut found, mut open) = (BTreeMap::new(), vec![(String::new(), TOP)]);
        while let Some((path, dir)) = open.pop() {
            memory.children(dir, |name, child| {
                open.push((format!("{path}/{}", String::from_utf8_lossy(name)), child));
            });
            found.insert(path, memory.version(dir).map(|version| version.0));
        }
        found
    }

    #[test]
    fn what_is_known_below_a_directory_outlives_its_next_listing() {
        let memory = Memory::default();
        let first = listed(&memory, TOP, 1, &["a", "b", "c"]);
        listed(&memory, first + 1, 2, &["below"]);
        let before = all(&memory);
        assert_eq!(before["/b"], Some(2));
        assert_eq!(before["/a"], None);
        listed(&memory, TOP, 3, &["A", "b", "d"]);
        let after = all(&memory);
        let paths: Vec<&str> = after.keys().map(String::as_str).collect();
        assert_eq!(paths, ["", "/A", "/b", "/b/below", "/d"]);
        assert_eq!((after[""], after["/b"], after["/d"]), (Some(3), Some(2), None));
        let memory = memory.tidied().unwrap();
        assert_eq!(all(&memory), after);
        assert_eq!(memory.directories(), 5);
    }

    #[test]
    fn a_listing_that_cannot_be_relied_on_leaves_no_version() {
        let memory = Memory::default();
        listed(&memory, TOP, 1, &["a"]);
        memory.listed(TOP, None, names(&["a"]).into_iter());
        assert_eq!(memory.version(TOP), None);
        assert_eq!(all(&memory).len(), 2);
    }

    #[test]
    fn a_directory_takes_forty_bytes() {
        let mut memory = Memory::default();
        let groups: Vec<String> = (0..300).map(|number| format!("group{number:03}")).collect();
        let of: Vec<&str> = groups.iter().map(String::as_str).collect();
        let first = listed(&memory, TOP, 1, &of);
        for group in 0..300 {
            let below: Vec<String> =
                (0..300).map(|number| format!("dir{:06}", group * 300 + number)).collect();
            let below: Vec<&str> = below.iter().map(String::as_str).collect();
            listed(&memory, first + group, 2, &below);
        }
        assert_eq!(memory.directories(), 300 * 300 + 300 + 1);
        let each = memory.bytes() as f64 / memory.directories() as f64;
        assert!(each <= 40.0, "{each} bytes");
        // Trees that come and go leave nothing behind.
        for round in 0..50 {
            let name = format!("tree{round}");
            let mut of = of.clone();
            of.push(&name);
            let first = listed(&memory, TOP, round, &of);
            listed(&memory, first + 300, round, &of[..300]);
            memory = memory.tidied().unwrap_or(memory);
        }
        listed(&memory, TOP, 99, &of);
        memory = memory.tidied().unwrap_or(memory);
        assert_eq!(memory.directories(), 300 * 300 + 300 + 1);
        let each = memory.bytes() as f64 / memory.directories() as f64;
        assert!(each <= 46.0, "{each} bytes after trees came and went");
    }
}
