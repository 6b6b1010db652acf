//! Looking at what is due, and telling what stands there now.
//!
//! Renames first, in the order of their events; then names, directory by directory, those above
//! before those below. In each directory its stat is taken first and serves all its names.

use std::time::Duration;

use fusion_core::path::TreePath;
use fusion_core::stat::{Kind, Stat};
use fusion_core::time::Monotonic;
use rustix::io::Errno;

use super::WatchEvidence;
use super::counters::add;
use super::discover::Job;
use super::failed::FailedLook;
use super::interpreter::Interpreter;
use super::moves::{End, Half, Rename};
use super::pending::{Due, Marks, Pending};
use super::table::{Content, NodeId, ROOT};
use crate::scan::{FileId, Reached, is_absence, stat_of};

/// How long a directory that is not where it should be is given to turn up by a rename that we have
/// not read yet: the kernel shows a rename shortly before it queues its events.
const MISLED_FOR: Duration = Duration::from_millis(50);
/// How soon such a directory is tried again.
pub(super) const MISLED_AGAIN: Duration = Duration::from_millis(2);

impl Interpreter {
    /// Tells of everything that is due.
    pub(super) fn tell(&mut self) {
        self.tell_renames();
        self.give_up_halves();
        let now = self.shared.clock.monotonic();
        if let Some(pending) = self.pending.take_root(now) {
            self.tell_root(pending);
        }
        let due = self.pending.take_due(now);
        let mut due = self.with_paths(due);
        due.sort_by(|one, other| one.0.cmp(&other.0));
        for (path, due) in due {
            self.tell_directory(path, due);
        }
        self.tell_given_up();
    }

    fn with_paths(&self, due: Vec<Due>) -> Vec<(Option<TreePath>, Due)> {
        let held = self.shared.places.lock();
        let live = due.into_iter().filter(|due| held.table.is_live(due.node));
        live.map(|due| (held.table.path(due.node), due)).collect()
    }

    fn tell_root(&mut self, pending: Pending) {
        let looked_at = self.shared.clock.monotonic();
        match self.shared.pulse.call(|| stat_of(self.shared.root.as_fd())) {
            // Removed, which raises no event as long as we hold it open.
            Ok((_, stat)) if stat.nlink == 0 => self.tell_root_gone(),
            Ok((_, stat)) => self.outlet.emit(WatchEvidence::Upsert {
                path: TreePath::root(),
                stat,
                parent: None,
                atomic: true,
                looked_at,
            }),
            Err(errno) => self.look_at_root_failed(pending, errno),
        }
    }

    /// Looks at names of one directory.
    fn tell_directory(&mut self, path: Option<TreePath>, due: Due) {
        let file = {
            let held = self.shared.places.lock();
            if !held.table.is_live(due.node) {
                return;
            }
            held.table.file_of(due.node)
        };
        // Between the halves of a rename it has no path.
        let Some(path) = path else { return self.try_again(due) };
        if self.shared.root.excludes(path.as_ref()) {
            return self.leave(due.node);
        }
        match self.shared.reach(&path) {
            Ok(reached) if file.is_none_or(|file| file == reached.id) => {
                let mut names: Vec<(Box<[u8]>, Pending)> = due.names.into_iter().collect();
                names.sort_unstable_by(|one, other| one.0.cmp(&other.0));
                for (name, pending) in names {
                    let told = self.tell_name(&path, due.node, &reached, &name, pending);
                    if let Err(errno) = told {
                        self.look_failed(&path, due.node, &name, pending, errno);
                    }
                }
            }
            Ok(_) => self.misled(due),
            Err(errno) if is_absence(errno) => self.misled(due),
            Err(errno) => {
                for (name, pending) in due.names {
                    self.look_failed(&path, due.node, &name, pending, errno);
                }
            }
        }
    }

    /// The path does not lead to the directory that is watched. Our own rename explains it, or its
    /// removal, once their events are read; if not, another host moved it: no evidence, no watch.
    fn misled(&mut self, due: Due) {
        let now = self.shared.clock.monotonic();
        let is_final = due.misled_at.is_some_and(|at| at.plus(MISLED_FOR) <= now);
        if is_final && self.shared.gate.is_drained(self.in_hand) {
            add(&self.shared.counters.dropped_watches, 1);
            self.pending.drop_directory(due.node);
            let mut held = self.shared.places.lock();
            if due.node != ROOT {
                held.drop_watch(due.node);
            }
            return;
        }
        self.try_again(due);
    }

    /// A directory has got an excluded name, or is below one: it is of no interest any more.
    fn leave(&mut self, node: NodeId) {
        self.pending.drop_directory(node);
        if node != ROOT {
            self.shared.places.lock().remove(node);
        }
    }

    fn try_again(&mut self, due: Due) {
        let now = self.shared.clock.monotonic();
        self.pending.put_back(due, now.plus(MISLED_AGAIN), now);
    }

    /// Looks at one name; an error is that of a look that gave no answer.
    fn tell_name(
        &mut self,
        directory: &TreePath,
        node: NodeId,
        reached: &Reached,
        name: &[u8],
        pending: Pending,
    ) -> Result<(), Errno> {
        let Ok(path) = directory.join(name) else {
            self.shared.counters.failed_looks.count(FailedLook::Name);
            return Ok(());
        };
        if self.shared.root.excludes(path.as_ref()) {
            return Ok(());
        }
        let looked_at = self.shared.clock.monotonic();
        let place = Place { path, node, name, parent: reached.stat };
        match self.shared.stat_in(reached, &place.path, name) {
            Ok((file, stat)) if stat.kind == Kind::Directory => {
                if self.tell_subdirectory(&place, file, pending) {
                    self.upsert(&place, stat, true, looked_at);
                    self.discover_below(&place, pending);
                }
            }
            Ok((_, stat)) => {
                add(&self.shared.counters.file_stats, 1);
                let atomic = self.is_finished(&place, &stat, pending.marks);
                self.upsert(&place, stat, atomic, looked_at);
                self.note_file(&place, &stat, pending, !atomic);
            }
            Err(errno) if is_absence(errno) => self.tell_absence(place, pending, looked_at),
            Err(errno) => return Err(errno),
        }
        Ok(())
    }

    /// Whether a directory is to be told of: not if another one than the one we knew stands there
    /// and no event has told us of that yet.
    fn tell_subdirectory(&mut self, place: &Place<'_>, file: FileId, pending: Pending) -> bool {
        self.recent.forget(place.node, place.name);
        let held = self.shared.places.lock();
        let child = held.table.child(place.node, place.name);
        let known = child.and_then(|child| held.table.file_of(child));
        pending.marks.has_appeared || known.is_none_or(|known| known == file)
    }

    fn discover_below(&mut self, place: &Place<'_>, pending: Pending) {
        if pending.marks.has_appeared {
            let mut held = self.shared.places.lock();
            if let Some(child) = held.table.child(place.node, place.name)
                && (pending.marks.is_displaced
                    || held.table.watched_at(child).map(|it| it.content) != Some(Content::Listed))
            {
                held.table.set_content(child, Content::Due);
            }
            drop(held);
            self.begin_discovery(
                Job {
                    parent: Some((place.node, place.name.into())),
                    path: place.path.clone(),
                    is_displaced: pending.marks.is_displaced,
                },
                pending.since,
            );
        }
    }

    /// Whether nobody that we know of is writing a file.
    fn is_finished(&self, place: &Place<'_>, stat: &Stat, marks: Marks) -> bool {
        let has_other_names = marks.is_made && stat.nlink > 1;
        match (marks.is_closed, marks.is_open) {
            _ if stat.kind != Kind::File => true,
            (true, _) => true,
            // A new name of a file that was there: nobody will close it.
            (false, true) => has_other_names,
            (false, false) => !self.recent.is_unfinished(place.node, place.name),
        }
    }

    /// Remembers a file, and marks its other names if something happened to it.
    fn note_file(&mut self, place: &Place<'_>, stat: &Stat, pending: Pending, is_unfinished: bool) {
        // A file stands where a directory was.
        let mut held = self.shared.places.lock();
        if let Some(child) = held.table.child(place.node, place.name) {
            held.remove(child);
        }
        drop(held);
        if stat.kind != Kind::File {
            self.recent.forget(place.node, place.name);
            return;
        }
        let replaced = self.recent.note(place.node, place.name, stat.inode, is_unfinished);
        if let Some(replaced) = replaced {
            self.mark_others(replaced, place, pending);
        }
        if stat.nlink > 1 && pending.marks.is_own {
            self.mark_others(stat.inode, place, pending);
        }
    }

    /// Nothing stands there. That is evidence only if an event said so: else one will, or another
    /// host did it.
    fn tell_absence(&mut self, place: Place<'_>, pending: Pending, looked_at: Monotonic) {
        if !pending.marks.is_removed {
            return;
        }
        let mut held = self.shared.places.lock();
        if let Some(child) = held.table.child(place.node, place.name) {
            held.remove(child);
        }
        drop(held);
        if let Some(inode) = self.recent.forget(place.node, place.name) {
            self.mark_others(inode, &place, pending);
        }
        let parent = Some(place.parent);
        self.outlet.emit(WatchEvidence::Remove { path: place.path, parent, looked_at });
    }

    /// The other names of a file are to be looked at: no event comes for them.
    fn mark_others(&mut self, inode: u64, place: &Place<'_>, pending: Pending) {
        let now = self.shared.clock.monotonic();
        for (node, name) in self.recent.others(inode, place.node, place.name) {
            self.pending.mark(node, &name, Marks::default(), now, pending.since);
        }
    }

    fn upsert(&mut self, place: &Place<'_>, stat: Stat, atomic: bool, looked_at: Monotonic) {
        let (path, parent) = (place.path.clone(), Some(place.parent));
        self.outlet.emit(WatchEvidence::Upsert { path, stat, parent, atomic, looked_at });
    }

    /// Tells of renames in the order of their events. The paths are those of that moment; once one
    /// of a directory cannot be told as what it was, the paths of later ones cannot be trusted.
    fn tell_renames(&mut self) {
        let mut is_trusted = true;
        for rename in self.moves.take_renames() {
            let told = is_trusted && self.tell_rename(&rename).is_some();
            if !told {
                is_trusted &= !rename.is_directory;
                self.look_at_both(&rename);
            }
        }
    }

    /// Tells of one rename, if what moved is found at its end and nothing at its beginning.
    fn tell_rename(&mut self, rename: &Rename) -> Option<()> {
        let (from_path, to_path) = (rename.from.path.clone()?, rename.to.path.clone()?);
        // Of one that is half excluded, what is seen of it is told: it went, or it came.
        let exclusion = self.shared.root.exclusion();
        if [&from_path, &to_path].iter().any(|path| exclusion.takes(path.as_ref())) {
            return None;
        }
        let looked_at = self.shared.clock.monotonic();
        let to_directory = self.reach(&rename.to)?;
        let from_directory = match rename.from.node == rename.to.node {
            true => None,
            false => Some(self.reach(&rename.from)?),
        };
        let from_directory = from_directory.as_ref().unwrap_or(&to_directory);
        let shared = &self.shared;
        let (file, stat) = shared.stat_in(&to_directory, &to_path, &rename.to.name).ok()?;
        let gone = shared.stat_in(from_directory, &from_path, &rename.from.name).err();
        gone.filter(|errno: &Errno| is_absence(*errno))?;
        if (stat.kind == Kind::Directory) != rename.is_directory {
            return None;
        }
        let known = {
            let held = self.shared.places.lock();
            if rename.child.is_some_and(|child| held.table.file_of(child) != Some(file)) {
                return None;
            }
            let is_due = |node| held.table.is_due(node);
            Known {
                is_watched: rename.child.is_some_and(|it| held.table.watch_of(it).is_some()),
                is_due: is_due(rename.from.node) || rename.child.is_some_and(is_due),
            }
        };
        self.outlet.emit(WatchEvidence::Rename {
            from: from_path,
            to: to_path.clone(),
            stat,
            from_parent: Some(from_directory.stat),
            to_parent: Some(to_directory.stat),
            looked_at,
        });
        self.after_rename(rename, to_path, &stat, to_directory.stat, known);
        Some(())
    }

    fn after_rename(
        &mut self,
        rename: &Rename,
        path: TreePath,
        stat: &Stat,
        parent: Stat,
        known: Known,
    ) {
        let now = self.shared.clock.monotonic();
        let (node, name) = (rename.to.node, &*rename.to.name);
        let place = Place { path, node, name, parent };
        let marks = rename.carried.unwrap_or_default();
        // A directory that is not watched is not known; one that was to be listed under its old name
        // is to be listed under its new one.
        let marks = Marks {
            has_appeared: known.is_due || !known.is_watched,
            is_displaced: known.is_due,
            is_removed: false,
            ..marks
        };
        let pending = Pending { marks, due: now, since: rename.since, failed_at: None };
        if rename.is_directory {
            return self.discover_below(&place, pending);
        }
        add(&self.shared.counters.file_stats, 1);
        let was_unfinished = self.recent.is_unfinished(rename.from.node, &rename.from.name);
        self.recent.forget(rename.from.node, &rename.from.name);
        let own = Pending { marks: Marks { is_own: true, ..marks }, ..pending };
        self.note_file(&place, stat, own, was_unfinished);
        if let Some(carried) = rename.carried {
            // What was to be said of it under its old name is said under its new one.
            let marks = Marks { is_removed: false, ..carried };
            self.pending.mark(node, name, marks, now, rename.since);
        }
    }

    /// The directory of one end of a rename, if it is where it should be.
    fn reach(&self, end: &End) -> Option<Reached> {
        let (path, file) = {
            let held = self.shared.places.lock();
            (held.table.path(end.node)?, held.table.file_of(end.node))
        };
        let reached = self.shared.reach(&path).ok()?;
        file.is_none_or(|file| file == reached.id).then_some(reached)
    }

    /// A rename that cannot be told as one: both names are looked at, and all below the new one.
    fn look_at_both(&mut self, rename: &Rename) {
        if let Some(child) = rename.child {
            self.shared.places.lock().table.set_content(child, Content::Due);
        }
        let now = self.shared.clock.monotonic();
        let own = Marks {
            is_own: true,
            has_appeared: rename.is_directory,
            is_displaced: rename.is_directory,
            ..Marks::default()
        };
        let from = Marks { is_removed: true, ..own };
        self.pending.mark(rename.from.node, &rename.from.name, from, now, rename.since);
        let carried = rename.carried.unwrap_or_default();
        let to = Marks { is_closed: carried.is_closed, is_open: carried.is_open, ..own };
        self.pending.mark(rename.to.node, &rename.to.name, to, now, rename.since);
    }

    /// First halves without a second: moved out of what is watched.
    fn give_up_halves(&mut self) {
        let now = self.shared.clock.monotonic();
        let timeout = self.shared.options.pair_timeout;
        for half in self.moves.take_overdue(now, timeout) {
            if !self.shared.gate.is_drained(self.in_hand) {
                // Its second half may be in what has not been taken in yet.
                self.moves.push_half(Half { taken_at: now, ..half });
                continue;
            }
            if let Some(child) = half.child {
                self.shared.places.lock().remove(child);
            }
            let marks =
                Marks { is_removed: true, has_appeared: true, is_own: true, ..Marks::default() };
            self.pending.mark(half.from.node, &half.from.name, marks, now, half.since);
        }
    }
}

/// A name that is being told of.
struct Place<'a> {
    path: TreePath,
    node: NodeId,
    name: &'a [u8],
    /// The stat of its directory, from before it was looked at.
    parent: Stat,
}

/// What is known of a directory that was renamed.
#[derive(Debug, Clone, Copy)]
struct Known {
    is_watched: bool,
    /// It was to be listed with all below it.
    is_due: bool,
}
