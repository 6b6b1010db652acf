//! The state of a view: tree and ledger together, as the rules look at them.
//!
//! Owns both. Rules look here and never past it; `perform` (beside this) is the only one that
//! changes anything. Must never: decide. Tested by the cases.

use crate::change::Facts;
use crate::id::Revision;
use crate::path::PathRef;
use crate::stat::{Kind, Stat};
use crate::time::ServerTime;

use super::confirm::{Confirmation, EntryKey};
use super::ledger::Ledger;
use super::settings::ViewSettings;
use super::tree::{BlockId, Child, DirMeta, Flags, Purge, TreeWriter, Version};
use super::version::Known;

/// All that a replay of changes restores.
#[derive(Debug)]
pub(super) struct State {
    pub(super) tree: TreeWriter,
    pub(super) ledger: Ledger,
    pub(super) revision: Revision,
    pub(super) settings: ViewSettings,
    /// The time of the last change: a view's time never goes back (§2).
    pub(super) time: ServerTime,
    /// Subtrees that were purged and are still in memory.
    pub(super) to_free: Purge,
}

/// An entry, and what the rules remember of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    /// The entry.
    pub(super) child: Child,
    /// The last realtime evidence of it.
    pub(super) confirmed: Option<Confirmation>,
    /// When its directory was last listed, or it itself if it is one.
    pub(super) listed_at: Option<ServerTime>,
}

impl Found {
    /// As the order of versions wants it.
    pub(super) fn known(&self) -> Known {
        Known {
            stat: self.child.stat,
            seen_in: self.child.seen_in,
            confirmed: self.confirmed,
            listed_at: self.listed_at,
        }
    }

    /// What is remembered of it, as a change states it when nothing of it changes. `suspect_until`
    /// is looked up by the caller.
    pub(super) fn facts(&self, suspect_until: Option<ServerTime>) -> Facts {
        Facts {
            seen_in: self.child.seen_in,
            confirmed_at: None,
            suspect_until,
            blind: self.child.flags.has(Flags::BLIND),
            sample: None,
        }
    }
}

/// A known directory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dir {
    pub(super) block: BlockId,
    pub(super) meta: DirMeta,
}

/// Why the way to a path is not known (R1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoWay<'a> {
    /// The nearest known directory above what is missing.
    pub(super) nearest: PathRef<'a>,
    /// The first on the way that is unknown, no directory, or another one than it was.
    pub(super) missing: PathRef<'a>,
}

/// The way to a path: its directory.
pub(super) enum Way<'a> {
    /// The directory is known, and it is the one that was looked at.
    Known(Dir),
    /// It is not.
    Unknown(NoWay<'a>),
}

impl State {
    pub(super) fn new(settings: ViewSettings) -> Self {
        Self {
            tree: TreeWriter::new(),
            ledger: Ledger::default(),
            revision: Revision(0),
            settings,
            time: ServerTime::from_nanos(i64::MIN),
            to_free: Purge::default(),
        }
    }

    /// The next change gets the number after this one.
    pub(super) fn begin_after(&mut self, last: Revision) {
        self.revision = last;
        self.tree.set_revision(last);
    }

    /// Brings near what evidence of these paths will need.
    pub(super) fn warm<'a>(&self, paths: impl Iterator<Item = PathRef<'a>>) {
        let mut keys = Vec::new();
        self.tree.warm(paths, |dir, name| keys.push(EntryKey::new(dir.as_u64(), name)));
        keys.into_iter().for_each(|key| self.ledger.confirmations.touch(key));
    }

    /// The entry at a path.
    pub(super) fn find(&mut self, path: PathRef<'_>) -> Option<Found> {
        let (dir, name) = self.tree.slot(path)?;
        self.find_in(dir, self.tree.meta(dir).unwrap_or_default(), name)
    }

    /// The entry of a name in a directory, of which `meta` is remembered.
    pub(super) fn find_in(&self, dir: BlockId, meta: DirMeta, name: &[u8]) -> Option<Found> {
        let child = self.tree.child(dir, name)?;
        // The last listing of its directory looked at it, unless it could not be ordered against it;
        // its own listing did, if it is a directory.
        let above = meta.listed_at.filter(|_| !child.flags.has(Flags::MARK));
        let own = child.block.and_then(|block| self.tree.meta(block));
        let listed_at = above.max(own.and_then(|own| own.listed_at));
        let confirmed = self.confirmation(dir, name, &child);
        Some(Found { child, confirmed, listed_at })
    }

    /// The last realtime evidence of a child.
    pub(super) fn confirmation(
        &self,
        dir: BlockId,
        name: &[u8],
        child: &Child,
    ) -> Option<Confirmation> {
        if !child.flags.has(Flags::CONFIRMED) {
            return None;
        }
        self.ledger.confirmations.get(EntryKey::new(dir.as_u64(), name))
    }

    /// The stat of a known directory.
    pub(super) fn dir_stat(&mut self, path: PathRef<'_>) -> Option<Stat> {
        self.tree.entry(path).map(|child| child.stat).filter(|stat| stat.kind == Kind::Directory)
    }

    /// R1: the way to a path; `inode` is what the looker's parent had, if it looked at one.
    pub(super) fn way<'a>(&mut self, path: PathRef<'a>, inode: Option<u64>) -> Way<'a> {
        let Some((parent, _)) = path.split_last() else {
            return Way::Known(Dir { block: BlockId::ANCHOR, meta: DirMeta::default() });
        };
        let Some(block) = self.tree.dir(parent) else {
            return Way::Unknown(self.no_way(parent));
        };
        let (own, meta) = self.tree.itself(block).unwrap_or_default();
        if inode.is_some_and(|inode| inode != own) {
            let nearest = parent.split_last().map_or(PathRef::ROOT, |(above, _)| above);
            return Way::Unknown(NoWay { nearest, missing: parent });
        }
        Way::Known(Dir { block, meta })
    }

    /// How far the way to a directory that is not known goes.
    fn no_way<'a>(&self, parent: PathRef<'a>) -> NoWay<'a> {
        let root = NoWay { nearest: PathRef::ROOT, missing: PathRef::ROOT };
        let Some(known) = self.tree.nearest(parent) else { return root };
        let mut missing = parent;
        // `missing` is the path up to the first component of what is left.
        let first = known.rest.iter().position(|byte| *byte == b'/').unwrap_or(known.rest.len());
        let length = parent.as_bytes().len() - known.rest.len() + first;
        while missing.as_bytes().len() > length {
            let Some((above, _)) = missing.split_last() else { break };
            missing = above;
        }
        let nearest = missing.split_last().map_or(PathRef::ROOT, |(above, _)| above);
        NoWay { nearest, missing }
    }

    /// The nearest known directory above a path; the root if not even that is known.
    pub(super) fn nearest_dir<'a>(&mut self, path: PathRef<'a>) -> PathRef<'a> {
        let Some((parent, _)) = path.split_last() else { return PathRef::ROOT };
        if self.tree.dir(parent).is_some() { parent } else { self.no_way(parent).nearest }
    }

    /// R1, R2: up to when a directory is known to be as it was last listed. An accepted Unchanged (R6)
    /// says as much as a listing. It is not remembered by itself, which would cost a change for every
    /// silent directory in every audit, but follows: a whole scan that was completed listed every
    /// directory or found it silent; if that was not accepted, the directory went on the queue.
    pub(super) fn whole_through(&mut self, dir: PathRef<'_>, meta: &DirMeta) -> Option<ServerTime> {
        let began = self.ledger.last_whole_began;
        if began <= meta.listed_at || !meta.complete || !meta.settled {
            return meta.listed_at;
        }
        let version = self.dir_stat(dir).as_ref().map(Version::of);
        let waits = self.ledger.relists.get(dir).is_some();
        let was_read = !self.ledger.is_unreadable(dir);
        if meta.listed_in == version && !waits && was_read { began } else { meta.listed_at }
    }

    /// Whether a path is a known directory.
    pub(super) fn is_dir(&mut self, path: PathRef<'_>) -> bool {
        self.tree.dir(path).is_some()
    }
}
