//! One directory: its children, what is remembered of it, and what lies below it.
//!
//! Owns the aggregates of one directory and its place in the tree (parent and own name). Changed by
//! the writer only, under the block's own lock. Must never: know of any block but its parent's id
//! and its children's. Tested with the tree, by recounts.

mod image;

use crate::time::{ServerTime, StorageTime};

use super::body::Body;
use super::dirt::Marks;
use super::page::NEVER;
use super::row::{Flags, Row};
use super::small::SmallName;
use super::{BlockId, DirMeta, Version};
use crate::stat::Kind;
use crate::view::read::Totals;

pub use image::{BlockImage, HeadImage, ImageContent};

/// What can be added up, the entry itself or all below it. Wraps, so that a difference taken away
/// is the same as never added, whatever sizes the storage claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Sums {
    pub(super) files: u64,
    pub(super) directories: u64,
    pub(super) others: u64,
    pub(super) bytes: u64,
    pub(super) suspects: u64,
    pub(super) blind: u64,
}

impl Sums {
    /// What one entry counts for, what is below it not counted.
    #[inline]
    pub(super) fn of(row: &Row) -> Self {
        let (kind, flags) = (row.kind(), row.flags());
        Self {
            files: u64::from(kind == Kind::File),
            directories: u64::from(kind == Kind::Directory),
            others: u64::from(!matches!(kind, Kind::File | Kind::Directory)),
            bytes: if kind == Kind::File { row.size() } else { 0 },
            suspects: u64::from(flags.has(Flags::SUSPECT)),
            blind: u64::from(flags.has(Flags::BLIND)),
        }
    }

    #[inline]
    pub(super) fn add(&mut self, other: &Self) {
        self.zip(other, u64::wrapping_add);
    }

    #[inline]
    pub(super) fn sub(&mut self, other: &Self) {
        self.zip(other, u64::wrapping_sub);
    }

    #[inline]
    fn zip(&mut self, other: &Self, with: impl Fn(u64, u64) -> u64) {
        self.files = with(self.files, other.files);
        self.directories = with(self.directories, other.directories);
        self.others = with(self.others, other.others);
        self.bytes = with(self.bytes, other.bytes);
        self.suspects = with(self.suspects, other.suspects);
        self.blind = with(self.blind, other.blind);
    }

    pub(super) fn entries(&self) -> u64 {
        self.files.wrapping_add(self.directories).wrapping_add(self.others)
    }
}

/// A change of what lies below a directory, as its ancestors see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Delta {
    /// What is more (wrapping: or less).
    pub(super) sums: Sums,
    /// The newest mtime of what went.
    pub(super) gone: Option<i64>,
    /// The newest mtime of what came.
    pub(super) came: Option<i64>,
    /// When, if it is a change that `last_change` tells of.
    pub(super) changed: Option<ServerTime>,
}

impl Delta {
    pub(super) fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    #[inline]
    pub(super) fn row_came(&mut self, row: &Row) {
        self.sums.add(&Sums::of(row));
        self.came = self.came.max(Some(row.mtime()));
    }

    #[inline]
    pub(super) fn row_went(&mut self, row: &Row) {
        self.sums.sub(&Sums::of(row));
        self.gone = self.gone.max(Some(row.mtime()));
    }

    /// All below a directory came (with its newest mtime, if there is any entry).
    pub(super) fn below_came(&mut self, sums: &Sums, newest: Option<i64>) {
        self.sums.add(sums);
        self.came = self.came.max(newest);
    }

    pub(super) fn below_went(&mut self, sums: &Sums, newest: Option<i64>) {
        self.sums.sub(sums);
        self.gone = self.gone.max(newest);
    }
}

/// One directory. What every look needs stands first, in the cache line of the lock.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Block {
    pub(super) generation: u32,
    pub(super) live: bool,
    complete: bool,
    settled: bool,
    pub(super) newest_stale: bool,
    /// The directory that it is in; `BlockId::NONE` if it is detached or free.
    pub(super) parent: BlockId,
    /// Its name there.
    pub(super) name: SmallName,
    pub(super) body: Body,
    pub(super) sums: Sums,
    /// The newest mtime below; only at least that while `newest_stale`.
    newest: i64,
    last_change: i64,
    /// Inode of the directory itself, as its own row says it.
    pub(super) inode: u64,
    listed_at: i64,
    listed_in: Version,
    /// Counts every change of the block, its aggregates included.
    pub(super) edits: u32,
    /// What of it is not in the last checkpoint.
    pub(super) marks: Marks,
}

const NO_TIME: i64 = i64::MIN;

impl Default for Block {
    fn default() -> Self {
        Self {
            parent: BlockId::NONE,
            name: SmallName::default(),
            body: Body::default(),
            sums: Sums::default(),
            newest: NO_TIME,
            last_change: NO_TIME,
            listed_at: NO_TIME,
            listed_in: NEVER,
            inode: 0,
            generation: 0,
            edits: 0,
            newest_stale: false,
            complete: false,
            settled: false,
            live: false,
            marks: Marks::default(),
        }
    }
}

impl Block {
    #[inline]
    pub(super) fn is(&self, id: BlockId) -> bool {
        self.live && self.generation == id.generation
    }

    /// Takes a change below into the aggregates. O(1): when the holder of the newest mtime goes, that
    /// is only noted.
    #[inline]
    pub(super) fn account(&mut self, delta: &Delta) {
        self.edits = self.edits.wrapping_add(1);
        self.sums.add(&delta.sums);
        if let Some(changed) = delta.changed {
            self.last_change = self.last_change.max(changed.as_nanos());
        }
        if self.sums.entries() == 0 {
            (self.newest, self.newest_stale) = (NO_TIME, false);
            return;
        }
        if delta.gone.is_some_and(|gone| gone >= self.newest) {
            self.newest_stale = true;
        }
        if let Some(came) = delta.came
            && came >= self.newest
        {
            (self.newest, self.newest_stale) = (came, false);
        }
    }

    /// The newest mtime below, an upper bound of it while `newest_stale`; `None` if there is nothing.
    #[inline]
    pub(super) fn newest(&self) -> Option<i64> {
        (self.sums.entries() != 0).then_some(self.newest)
    }

    /// The newest mtime was found again.
    pub(super) fn set_newest(&mut self, newest: i64) {
        (self.newest, self.newest_stale) = (newest, false);
    }

    pub(super) fn totals(&self) -> Totals {
        let sums = &self.sums;
        Totals {
            files: sums.files,
            directories: sums.directories,
            others: sums.others,
            bytes: sums.bytes,
            suspects: sums.suspects,
            blind: sums.blind,
            newest_mtime: self.newest().map(StorageTime::from_nanos),
            last_change: time(self.last_change),
        }
    }

    pub(super) fn meta(&self) -> DirMeta {
        DirMeta {
            listed_at: time(self.listed_at),
            listed_in: self.listed_in.known(),
            complete: self.complete,
            settled: self.settled,
        }
    }

    pub(super) fn set_meta(&mut self, meta: &DirMeta) {
        self.listed_at = meta.listed_at.map_or(NO_TIME, ServerTime::as_nanos);
        self.listed_in = meta.listed_in.unwrap_or(NEVER);
        self.complete = meta.complete;
        self.settled = meta.settled;
    }

    /// Loads a little of every cache line of the block itself.
    pub(super) fn touch(&self) -> u64 {
        let rows = self.body.pages().len() as u64;
        rows ^ self.sums.files ^ self.newest as u64 ^ u64::from(self.edits)
    }

    /// Bytes that the block owns beside itself.
    pub(super) fn bytes(&self) -> usize {
        self.name.bytes() + self.body.bytes()
    }
}

/// The start of time stands for never.
fn time(nanos: i64) -> Option<ServerTime> {
    (nanos != NO_TIME).then(|| ServerTime::from_nanos(nanos))
}
