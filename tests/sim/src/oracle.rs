//! The naive oracle: what is true, compared with what the view says.
//!
//! Reads the view through its public door only, as a client would, and the storage directly. The
//! storage equals the view if every directory holds the same names with the same stats and every
//! total is what a recount gives.

use std::collections::BTreeMap;

use fusion_core::change::{Change, ChangeKind};
use fusion_core::path::TreePath;
use fusion_core::stat::{Kind, Stat};
use fusion_core::view::{ListedEntry, Totals, ViewReader};

use crate::name::Name;
use crate::row::Brief;
use crate::storage::{Ino, ROOT, Storage, Time};

/// What one entry counts for in the totals of its ancestors.
fn add(sum: &mut Totals, stat: &Stat, suspect: bool, blind: bool) {
    match stat.kind {
        Kind::File => {
            sum.files += 1;
            sum.bytes += stat.size;
        }
        Kind::Directory => sum.directories += 1,
        Kind::Symlink | Kind::Other => sum.others += 1,
    }
    sum.suspects += u64::from(suspect);
    sum.blind += u64::from(blind);
    sum.newest_mtime = sum.newest_mtime.max(Some(stat.mtime));
}

fn merge(sum: &mut Totals, below: &Totals) {
    sum.files += below.files;
    sum.directories += below.directories;
    sum.others += below.others;
    sum.bytes += below.bytes;
    sum.suspects += below.suspects;
    sum.blind += below.blind;
    sum.newest_mtime = sum.newest_mtime.max(below.newest_mtime);
}

fn children(reader: &ViewReader, path: &TreePath) -> Result<Vec<ListedEntry>, String> {
    match reader.list(path.as_ref(), None, usize::MAX) {
        Ok((entries, false)) => Ok(entries),
        Ok((_, true)) => Err(format!("{path}: the listing without limit says there is more")),
        Err(error) => Err(format!("{path}: {error}")),
    }
}

fn join(path: &TreePath, name: &[u8]) -> Result<TreePath, String> {
    path.join(name).map_err(|error| format!("{path}: {error}"))
}

/// Whether the totals of every directory are what a recount gives (property 5).
///
/// # Errors
/// The first directory where they are not.
pub(crate) fn recount(reader: &ViewReader) -> Result<(), String> {
    if reader.entry(fusion_core::path::PathRef::ROOT).is_none() {
        return Ok(());
    }
    recount_below(reader, &TreePath::root()).map(|_| ())
}

fn recount_below(reader: &ViewReader, path: &TreePath) -> Result<Totals, String> {
    let mut sum = Totals::default();
    for entry in children(reader, path)? {
        add(&mut sum, &entry.stat, entry.suspect, entry.blind);
        if entry.stat.kind == Kind::Directory {
            let below = recount_below(reader, &join(path, &entry.name)?)?;
            merge(&mut sum, &below);
        }
    }
    let said = reader.totals(path.as_ref()).map_err(|error| format!("{path}: {error}"))?;
    let counted = Totals { last_change: said.last_change, ..sum };
    if said == counted {
        Ok(sum)
    } else {
        Err(format!("{path}: the totals say {said:?}, a recount says {counted:?}"))
    }
}

/// Whether the view is the storage, entry for entry and aggregate for aggregate (property 1).
///
/// # Errors
/// The first difference.
pub(crate) fn compare(reader: &ViewReader, storage: &Storage) -> Result<(), String> {
    let root = reader
        .entry(fusion_core::path::PathRef::ROOT)
        .ok_or_else(|| "the view does not know its root".to_owned())?;
    same(&TreePath::root(), &root.stat, storage.stat(ROOT))?;
    compare_below(reader, storage, &TreePath::root(), ROOT)?;
    recount(reader)
}

fn same(path: &TreePath, view: &Stat, storage: &Stat) -> Result<(), String> {
    if view == storage {
        return Ok(());
    }
    let (says, is) = (Brief(view), Brief(storage));
    Err(format!("{path}: the view says {says}, the storage {is} ({view:?} / {storage:?})"))
}

fn compare_below(
    reader: &ViewReader,
    storage: &Storage,
    path: &TreePath,
    dir: Ino,
) -> Result<(), String> {
    let mut truth = Vec::new();
    storage.names_at(dir, Time::MAX - 1, &mut truth);
    let said = children(reader, path)?;
    for entry in &said {
        if !truth.iter().any(|(name, _)| name.bytes() == entry.name) {
            let child = join(path, &entry.name)?;
            return Err(format!("{child}: in the view ({}), not there", Brief(&entry.stat)));
        }
    }
    for (name, ino) in truth {
        let child = join(path, name.bytes())?;
        let entry = said.iter().find(|entry| entry.name == name.bytes());
        let stat = storage.stat(ino);
        let entry =
            entry.ok_or_else(|| format!("{child}: there ({}), not in the view", Brief(stat)))?;
        same(&child, &entry.stat, stat)?;
        if stat.kind == Kind::Directory {
            compare_below(reader, storage, &child, ino)?;
        }
    }
    Ok(())
}

/// How many names the view has that are not there, lacks, or has as something else; 0 before it knows
/// its root.
pub(crate) fn wrong_names(reader: &ViewReader, storage: &Storage) -> u64 {
    if reader.entry(fusion_core::path::PathRef::ROOT).is_none() {
        return 0;
    }
    wrong_below(reader, storage, &TreePath::root(), ROOT)
}

fn wrong_below(reader: &ViewReader, storage: &Storage, path: &TreePath, dir: Ino) -> u64 {
    let mut truth = Vec::new();
    storage.names_at(dir, Time::MAX - 1, &mut truth);
    let said = children(reader, path).unwrap_or_default();
    let mut wrong = (said.len() + truth.len()) as u64;
    for (name, ino) in truth {
        let stat = storage.stat(ino);
        let known = said.iter().find(|entry| entry.name == name.bytes());
        let known = known.filter(|entry| entry.stat.inode == stat.inode);
        if known.is_none_or(|entry| entry.stat.kind != stat.kind) {
            continue;
        }
        wrong -= 2;
        if stat.kind == Kind::Directory
            && let Ok(child) = join(path, name.bytes())
        {
            wrong += wrong_below(reader, storage, &child, ino);
        }
    }
    wrong
}

/// What the changes alone say, replayed: it has to be what the view shows.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    entries: BTreeMap<TreePath, Stat>,
    /// What went, by the number of the change, until it is restored or purged.
    trash: BTreeMap<u64, Vec<(TreePath, Stat)>>,
    revision: u64,
}

impl Replay {
    /// Replays one change.
    ///
    /// # Errors
    /// It does not fit what the changes before it said.
    pub(crate) fn apply(&mut self, change: &Change) -> Result<(), String> {
        if change.revision.0 != self.revision + 1 {
            return Err(format!("{:?} follows revision {}", change.revision, self.revision));
        }
        self.revision = change.last_revision().0;
        change.entries().try_for_each(|entry| self.apply_entry(&entry))
    }

    fn apply_entry(&mut self, change: &Change) -> Result<(), String> {
        match &change.kind {
            ChangeKind::Created { path, stat, .. } => {
                match self.entries.insert(path.clone(), *stat) {
                    None => Ok(()),
                    Some(_) => Err(format!("{path} was created and was there")),
                }
            }
            ChangeKind::Restored { path, stat, trash, .. } => self.restore(path, stat, trash.0),
            ChangeKind::Purged { path, trash, .. } => match self.trash.remove(&trash.0) {
                Some(_) => Ok(()),
                None => Err(format!("{path} was purged twice")),
            },
            ChangeKind::Modified { path, before, after, .. } => {
                match self.entries.insert(path.clone(), *after) {
                    Some(known) if known == *before => Ok(()),
                    known => Err(format!("{path} changed from {before:?} but was {known:?}")),
                }
            }
            ChangeKind::Removed { path, .. } => {
                let taken = self.take(path);
                if taken.is_empty() {
                    return Err(format!("{path} went unknown"));
                }
                self.trash.insert(change.revision.0, taken);
                Ok(())
            }
            ChangeKind::Moved { from, to, stat, .. } => self.move_below(from, to, *stat),
            ChangeKind::Reset => {
                self.entries.clear();
                self.trash.clear();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn take(&mut self, root: &TreePath) -> Vec<(TreePath, Stat)> {
        let below: Vec<TreePath> = self
            .entries
            .range(root.clone()..)
            .map(|(path, _)| path)
            .filter(|path| path.as_ref().is_within(root.as_ref()))
            .cloned()
            .collect();
        below
            .into_iter()
            .filter_map(|path| self.entries.remove(&path).map(|stat| (path, stat)))
            .collect()
    }

    fn restore(&mut self, path: &TreePath, stat: &Stat, trash: u64) -> Result<(), String> {
        let back = self.trash.remove(&trash).unwrap_or_default();
        if back.first() != Some(&(path.clone(), *stat)) {
            return Err(format!("{path} was restored as {stat:?} and had gone as {back:?}"));
        }
        for (path, stat) in back {
            if self.entries.insert(path.clone(), stat).is_some() {
                return Err(format!("{path} was restored and was there"));
            }
        }
        Ok(())
    }

    fn move_below(&mut self, from: &TreePath, to: &TreePath, stat: Stat) -> Result<(), String> {
        let taken = self.take(from);
        if taken.is_empty() || self.entries.contains_key(to) {
            return Err(format!("{from} moved to {to}: unknown, or the place was taken"));
        }
        for (path, known) in taken {
            let mut bytes = to.as_bytes().to_vec();
            bytes.extend_from_slice(&path.as_bytes()[from.as_bytes().len()..]);
            let stat = if path == *from { stat } else { known };
            let path = TreePath::new(bytes).map_err(|error| format!("{to}: {error}"))?;
            self.entries.insert(path, stat);
        }
        Ok(())
    }

    /// Whether the view shows what the changes said.
    ///
    /// # Errors
    /// The first difference.
    pub(crate) fn check(&self, reader: &ViewReader) -> Result<(), String> {
        for (path, stat) in &self.entries {
            match reader.entry(path.as_ref()) {
                Some(entry) if entry.stat == *stat => {}
                other => {
                    let said = other.map(|entry| entry.stat);
                    return Err(format!("{path}: changes say {stat:?}, the view {said:?}"));
                }
            }
        }
        let root = fusion_core::path::PathRef::ROOT;
        let known = self.entries.len().saturating_sub(1) as u64;
        let totals = reader.totals(root).unwrap_or_default();
        let shown = totals.files + totals.directories + totals.others;
        if shown == known {
            Ok(())
        } else {
            Err(format!("the changes leave {known} entries below the root, the view {shown}"))
        }
    }
}

/// Since when a whole path has led to what it leads to now; `None` if it leads nowhere.
pub(crate) fn bound_since(storage: &Storage, path: &TreePath) -> Option<(Time, Ino)> {
    let mut since = Time::MIN;
    let mut dir = ROOT;
    for name in path.as_ref().names() {
        let binding = storage.binding(dir, Name::of(name)?)?;
        since = since.max(binding.from);
        dir = binding.inode;
    }
    Some((since, dir))
}

/// Whether a name on the way to a path changed twice in one tick of the storage's clock: then two
/// versions of its directory look the same (the exception to properties 2 and 3).
pub(crate) fn is_tied(storage: &Storage, path: &TreePath) -> bool {
    let mut dir = ROOT;
    for name in path.as_ref().names() {
        let Some(name) = Name::of(name) else { return false };
        if storage.changed_twice_in_a_tick(dir, name) {
            return true;
        }
        match storage.child(dir, name) {
            Some(ino) => dir = ino,
            None => return false,
        }
    }
    false
}
