//! Going past silent directories: what an audit does instead of listing them (R6, R9).
//!
//! A directory whose version is the one that was listed last, under the same leadership, is reported
//! as `Unchanged` and its directories are entered from memory: one look instead of one per name. Every
//! audit lists a share of them all the same, since a rewrite in place leaves no trace in a directory.
//! Must never: decide by mtime, or remember a version that may still change within its ctime.

use std::ops::ControlFlow;

use fusion_core::path::{PathRef, TreePath};
use fusion_core::stat::Stat;
use fusion_core::time::{Monotonic, StorageTime};
use fusion_core::view::audit::lists_in_full;
use rustix::fd::AsFd as _;

use super::memory::Version;
use super::root::{FileId, stat_of};
use super::{ListedDir, Memory, Rules};

/// What a scan of the whole tree remembers of those before it, and how it uses that.
#[derive(Clone, Copy)]
pub struct Recall<'a> {
    /// What was listed under this leadership.
    pub memory: &'a Memory,
    /// Which silent directories are listed all the same; absent: none (a snapshot that goes on).
    pub deep: Option<DeepTurn>,
    /// The newest ctime of a directory that is settled when it is looked at then: one that is younger
    /// may change again without a trace, so it is listed again next time (R4.4).
    pub settled: &'a (dyn Fn(Monotonic) -> StorageTime + Sync),
    /// Takes a directory that was gone past. As [`Sink::put`](super::Sink::put).
    pub tell: &'a (dyn Fn(Silent) -> ControlFlow<()> + Sync),
}

/// The turn of an audit in the rotation (R9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeepTurn {
    /// The audit's number, given by the server.
    pub number: u64,
    /// One in this many silent directories is listed in full.
    pub one_in: u32,
}

/// A directory in the version that was listed last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silent {
    /// The directory.
    pub dir: TreePath,
    /// Its stat.
    pub dir_stat: Stat,
    /// When it was looked at.
    pub looked_at: Monotonic,
}

impl Recall<'_> {
    /// Whether the rotation does not ask for this directory.
    pub(super) fn may_pass(&self, dir: PathRef<'_>) -> bool {
        !self.deep.is_some_and(|deep| lists_in_full(dir, deep.number, deep.one_in))
    }
}

/// Calls of the storage that a look takes: to open the directory and to look at it.
pub(super) const CALLS: usize = 2;

/// Looks whether a directory that is watched from now on is in this version. `None` if it is not, or
/// that cannot be told: then it is read, which says what is wrong.
pub(super) fn look(rules: &Rules<'_>, path: &TreePath, known: Version) -> Option<(FileId, Silent)> {
    let looked_at = rules.clock.monotonic();
    let open = || {
        let fd = rules.root.open_to_read(path.as_ref())?;
        Ok((stat_of(&fd)?, fd))
    };
    let ((id, mut dir_stat), fd) = rules.pulse.call(open).ok()?;
    if Version::of(id, &dir_stat) != known || rules.left_out.contains(&id) {
        return None;
    }
    if let Some(placer) = rules.placer {
        let placed = rules.pulse.call(|| {
            placer.place(path.as_ref(), fd.as_fd(), id, &dir_stat);
            Ok(stat_of(&fd)?.1)
        });
        dir_stat = placed.ok()?;
        if Version::of(id, &dir_stat) != known {
            return None;
        }
    }
    Some((id, Silent { dir: path.clone(), dir_stat, looked_at }))
}

/// What the parts of a listing say of the version that was listed.
#[derive(Debug, Default)]
pub(super) struct Seen(Option<(Stat, Monotonic, bool)>);

impl Seen {
    /// Takes a part.
    pub(super) fn take(&mut self, part: &ListedDir) {
        let before = self.0.is_none_or(|(.., complete)| complete);
        self.0 = Some((part.dir_stat, part.started_at, before && part.complete));
    }

    /// The version, if all of it was listed and it was settled.
    pub(super) fn version(&self, id: FileId, recall: &Recall<'_>) -> Option<Version> {
        let (dir_stat, started_at, complete) = self.0?;
        let is_settled = dir_stat.ctime <= (recall.settled)(started_at);
        (complete && is_settled).then(|| Version::of(id, &dir_stat))
    }
}
