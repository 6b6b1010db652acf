//! Numbers, names and clocks of the benchmark.

use std::time::Duration;

use fusion_core::evidence::ChildColumns;
use fusion_core::path::TreePath;
use fusion_core::stat::{Kind, Stat};
use fusion_core::time::{ServerTime, StorageTime};
use fusion_core::view::tree::{
    BlockId, Entry, Flags, MergeAction, MergeCase, NameRange, TreeWriter, Version,
};

pub(crate) fn line(what: &str, measured: &str, target: &str) {
    println!("{what:<62} {measured:>18}   {target}");
}

pub(crate) fn rate(count: usize, time: Duration) -> String {
    format!("{:.2} M/s", count as f64 / time.as_secs_f64() / 1e6)
}

/// Time that this thread ran on a processor: on a machine that others use too, the wall clock says
/// more about them than about us.
pub(crate) fn ran() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = stat.split(' ').next().and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}

/// Processor time from here on.
pub(crate) struct Begin(Duration);

impl Begin {
    pub(crate) fn now() -> Self {
        Self(ran())
    }

    pub(crate) fn elapsed(&self) -> Duration {
        ran() - self.0
    }
}

/// Adds up the processor time of the calls alone.
#[derive(Default)]
pub(crate) struct Watch(pub(crate) Duration);

impl Watch {
    pub(crate) fn time<T>(&mut self, call: impl FnOnce() -> T) -> T {
        let begin = Begin::now();
        let value = call();
        self.0 += begin.elapsed();
        value
    }
}

/// Numbers that look random, the same in every run.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }
}

pub(crate) fn stat(kind: Kind, number: usize, round: usize) -> Stat {
    Stat {
        kind,
        size: (number * 37 + round) as u64,
        mtime: StorageTime::from_nanos((number * 101 + round * 1_000_003) as i64),
        ctime: StorageTime::from_nanos((number * 103 + round * 1_000_003) as i64),
        inode: number as u64,
        mode: if kind == Kind::Directory { 0o755 } else { 0o644 },
        uid: 1000 + (number / 5000 % 7) as u32,
        gid: 100,
        nlink: 1,
    }
}

pub(crate) fn entry(number: usize, round: usize) -> Entry {
    Entry { stat: stat(Kind::File, number, round), flags: Flags::NONE, seen_in: Some(version(0)) }
}

pub(crate) fn version(round: usize) -> Version {
    Version { inode: 1, ctime: StorageTime::from_nanos(round as i64) }
}

pub(crate) fn now(round: usize) -> ServerTime {
    ServerTime::from_nanos(round as i64)
}

/// 14 bytes.
pub(crate) fn name(number: usize) -> String {
    format!("file-{number:09}")
}

/// Directories in groups of 200, entries in directories.
pub(crate) struct Shape {
    pub(crate) entries: usize,
    pub(crate) per_dir: usize,
}

const GROUP: usize = 200;

impl Shape {
    pub(crate) fn dirs(&self) -> usize {
        self.entries / self.per_dir
    }

    pub(crate) fn dir_path(&self, dir: usize) -> String {
        format!("/group-{:07}/dir-{:09}", dir / GROUP, dir)
    }

    pub(crate) fn path(&self, number: usize) -> TreePath {
        let path = format!("{}/{}", self.dir_path(number / self.per_dir), name(number));
        TreePath::new(path.into_bytes()).unwrap()
    }

    /// All directories, still empty.
    pub(crate) fn frame(&self, tree: &mut TreeWriter) -> Vec<BlockId> {
        let mut number = self.entries;
        let mut put = |tree: &mut TreeWriter, path: String| {
            number += 1;
            let path = TreePath::new(path.into_bytes()).unwrap();
            let (dir, name) = tree.slot(path.as_ref()).unwrap();
            let stat = stat(Kind::Directory, number, 0);
            let entry = Entry { stat, flags: Flags::NONE, seen_in: Some(version(0)) };
            tree.put(dir, name, &entry, now(0)).unwrap();
            tree.dir(path.as_ref()).unwrap()
        };
        put(tree, "/".to_owned());
        let mut blocks = Vec::new();
        for dir in 0..self.dirs() {
            if dir % GROUP == 0 {
                put(tree, format!("/group-{:07}", dir / GROUP));
            }
            blocks.push(put(tree, self.dir_path(dir)));
        }
        blocks
    }

    pub(crate) fn listing(&self, dir: usize, round: usize) -> ChildColumns {
        let mut columns = ChildColumns::default();
        for number in dir * self.per_dir..(dir + 1) * self.per_dir {
            columns.push(name(number).as_bytes(), &stat(Kind::File, number, round));
        }
        columns
    }

    /// A listing of every directory; the time of the merges alone.
    pub(crate) fn list(&self, tree: &mut TreeWriter, blocks: &[BlockId], round: usize) -> Duration {
        let mut watch = Watch::default();
        for (batch, blocks) in blocks.chunks(400).enumerate() {
            let listings: Vec<_> =
                (0..blocks.len()).map(|dir| self.listing(batch * 400 + dir, round)).collect();
            watch.time(|| {
                for (block, listing) in blocks.iter().zip(&listings) {
                    merge(tree, *block, listing, round);
                }
            });
        }
        watch.0
    }
}

/// What a listing does as the rules would have it.
pub(crate) fn merge(tree: &mut TreeWriter, dir: BlockId, listing: &ChildColumns, round: usize) {
    let rows = listing.as_children();
    tree.merge(dir, &rows, NameRange::ALL, version(round), now(round), |case| match case {
        MergeCase::New { .. } => MergeAction::Take(Flags::NONE),
        MergeCase::Known { listed, known, .. } if *listed == known.stat => {
            MergeAction::Seen(known.flags)
        }
        MergeCase::Known { known, .. } => MergeAction::Take(known.flags),
        MergeCase::Missing { .. } => MergeAction::Remove,
    });
}

/// Bytes that the process has in memory.
pub(crate) fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4096
}
