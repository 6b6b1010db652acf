//! Directories that appeared: watched, then listed, then what is below them.
//!
//! They are listed between rounds of events, for a short time each, so a large tree that is moved in
//! does not hold up what happens elsewhere. A directory found here is known by its parent's node and
//! its name, so that it is still found when a directory above it is renamed meanwhile. One that was
//! listed before is not listed again as long as its watch lives: what came later raised an event.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fusion_core::path::{PathRef, TreePath};
use fusion_core::stat::Stat;
use fusion_core::time::Monotonic;
use rustix::fd::BorrowedFd;
use tokio::sync::oneshot;

use super::counters::add;
use super::failed::FailedLook;
use super::interpreter::Interpreter;
use super::pending::Marks;
use super::table::{Content, NodeId};
use super::tell::MISLED_AGAIN;
use super::{Shared, WatchEvidence};
use crate::scan::limits::Turn;
use crate::scan::{
    DirectoryReader, FileId, Found, Placer, Precedence, Rank, Reached, Reading, Rules, Unlimited,
};

/// A directory to list.
#[derive(Debug, Clone)]
pub(super) struct Job {
    /// Where it is; `None` if its parent is not in the table.
    pub(super) parent: Option<(NodeId, Arc<[u8]>)>,
    /// Where it was found.
    pub(super) path: TreePath,
    /// It, and all below it, is listed even if it was before: it came from elsewhere.
    pub(super) is_displaced: bool,
}

/// What is to be listed because of one event: depth first.
#[derive(Debug)]
struct Run {
    since: Monotonic,
    jobs: Vec<Job>,
    /// Who waits until all of it is read.
    read: Option<oneshot::Sender<()>>,
}

/// All directories to list.
pub(super) struct Discovery {
    runs: VecDeque<Run>,
    reader: DirectoryReader,
    /// Who is to be told when what was read is in the sink.
    read: Vec<oneshot::Sender<()>>,
}

impl Discovery {
    pub(super) fn new() -> Self {
        Self { runs: VecDeque::new(), reader: DirectoryReader::new(), read: Vec::new() }
    }

    /// Adds a directory and all below it.
    fn begin(&mut self, job: Job, since: Monotonic, read: Option<oneshot::Sender<()>>) {
        self.runs.push_back(Run { since, jobs: vec![job], read });
    }

    /// What was read to its end is in the sink.
    pub(super) fn tell_read(&mut self) {
        for read in self.read.drain(..) {
            // Nobody may wait for it any more.
            let _ = read.send(());
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Not later than the oldest event whose directories are not all listed.
    pub(super) fn oldest(&self) -> Option<Monotonic> {
        self.runs.iter().map(|run| run.since).min()
    }
}

/// Held while there is something to list: by the watcher, since who lists may be given up.
#[derive(Debug, Default)]
pub(super) struct DiscoveryTurn(Mutex<Option<Turn>>);

impl DiscoveryTurn {
    fn begin(&self, precedence: &Precedence) {
        self.lock().get_or_insert_with(|| precedence.begin(Rank::Discovery));
    }

    pub(super) fn end(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<Turn>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Interpreter {
    /// A directory appeared: it, and all below it, is to be listed.
    pub(super) fn begin_discovery(&mut self, job: Job, since: Monotonic) {
        self.begin_run(job, since, None);
    }

    /// Another host made a directory. It is listed with all below it even if it was before: no event told
    /// of what that host did there meanwhile.
    pub(super) fn begin_made(&mut self, path: TreePath, read: oneshot::Sender<()>) {
        let since = self.shared.clock.monotonic();
        self.begin_run(Job { parent: None, path, is_displaced: true }, since, Some(read));
    }

    fn begin_run(&mut self, job: Job, since: Monotonic, read: Option<oneshot::Sender<()>>) {
        if !self.shared.cancel.is_set() {
            self.shared.turn.begin(&self.shared.options.precedence);
        }
        self.discovery.begin(job, since, read);
    }

    /// Lists what appeared, for about so long.
    pub(super) fn discover(&mut self, slice: Duration) {
        let end = self.shared.clock.monotonic().plus(slice);
        while let Some(run) = self.discovery.runs.front_mut() {
            match run.jobs.pop() {
                None => {
                    let run = self.discovery.runs.pop_front();
                    self.discovery.read.extend(run.and_then(|run| run.read));
                    if self.discovery.is_empty() {
                        self.shared.turn.end();
                    }
                }
                Some(job) => self.list(job),
            }
            let is_over = self.shared.cancel.is_set() || self.outlet.is_broken();
            if is_over || self.shared.clock.monotonic() >= end {
                return;
            }
        }
    }

    fn list(&mut self, mut job: Job) {
        let parent = match job.parent.as_ref().map(|(node, name)| (self.above(*node), name)) {
            Some((Some((path, reached)), name)) => {
                let Ok(path) = path.join(name) else {
                    // A directory above it was renamed since: its path is none of the view's any more.
                    self.shared.counters.failed_looks.count(FailedLook::Name);
                    return;
                };
                job.path = path;
                Some((reached, Arc::clone(name)))
            }
            Some((None, _)) => return self.look_again(job),
            None => None,
        };
        let parent = parent.as_ref().map(|(reached, name)| (reached, &**name));
        if !job.is_displaced && self.is_listed(&job.path) {
            return;
        }
        let shared = Arc::clone(&self.shared);
        let rules = Rules {
            root: &shared.root,
            clock: &*shared.clock,
            cancel: &shared.cancel,
            counters: &shared.counters.discovery,
            pace: &Unlimited,
            pulse: &shared.pulse,
            placer: Some(&*shared),
            left_out: &shared.options.left_out,
            max_rows: shared.max_children(),
            names_only: false,
        };
        shared.now_in(&job.path);
        let is_loop = |file| shared.is_above(&job.path, file);
        let outlet = &mut self.outlet;
        let mut emit = |found| {
            outlet.emit(match found {
                Found::Listed(listed) => WatchEvidence::Listing(listed),
                Found::Unreadable(unreadable) => WatchEvidence::Unreadable(unreadable),
                Found::LeftOut(left_out) => WatchEvidence::LeftOut(left_out),
            });
            match outlet.is_broken() {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        };
        let reading = self.discovery.reader.read(&rules, &job.path, parent, is_loop, &mut emit);
        match reading {
            Reading::Read(file) => {
                add(&shared.counters.discovered, 1);
                self.go_below(&job, file);
            }
            Reading::Gone => self.look_again(job),
            Reading::Unreadable | Reading::LeftOut | Reading::Stopped | Reading::Abandoned => {}
        }
    }

    /// A directory of the table, if its path leads to it.
    fn above(&self, node: NodeId) -> Option<(TreePath, Reached)> {
        let held = self.shared.places.lock();
        let (path, file) = (held.table.path(node)?, held.table.file_of(node));
        drop(held);
        let reached = self.shared.reach(&path).ok()?;
        file.is_none_or(|file| file == reached.id).then_some((path, reached))
    }

    /// A directory is not where it should be: it is gone, or one above it was renamed and we have
    /// not read so yet. Its name is looked at again, which waits for that.
    fn look_again(&mut self, job: Job) {
        let since = self.discovery.runs.front().map(|run| run.since);
        if let Some(((node, name), since)) = job.parent.zip(since) {
            let is_displaced = job.is_displaced;
            let marks = Marks { has_appeared: true, is_displaced, ..Marks::default() };
            let due = self.shared.clock.monotonic().plus(MISLED_AGAIN);
            self.pending.mark(node, &name, marks, due, since);
        }
    }

    /// Notes that a directory is listed, and adds what is below it.
    fn go_below(&mut self, job: &Job, file: FileId) {
        // Sorted by name, as the listing is.
        let found: Vec<TreePath> = self.discovery.reader.subdirectories().collect();
        let mut held = self.shared.places.lock();
        let known = held.table.find(job.path.as_ref());
        let node = known.filter(|node| held.table.file_of(*node) == Some(file));
        if let Some(other) = known.filter(|_| node.is_none()) {
            // Told of as not being here: it, and what is below it, is listed where it turns up.
            held.table.set_content(other, Content::Due);
        }
        if let Some(node) = node {
            let is_found =
                |name: &[u8]| found.binary_search_by(|path| last(path).cmp(name)).is_ok();
            held.table.set_content(node, Content::Listed);
            held.table.pass_on_due(node, |name| !job.is_displaced && is_found(name));
            for child in self.moves.left(node) {
                held.table.set_content(child, Content::Due);
            }
        }
        let Some(run) = self.discovery.runs.front_mut() else { return };
        for path in found {
            let parent = node.map(|node| (node, Arc::from(last(&path))));
            run.jobs.push(Job { parent, path, is_displaced: job.is_displaced });
        }
    }

    fn is_listed(&self, path: &TreePath) -> bool {
        let watched = {
            let held = self.shared.places.lock();
            held.table.find(path.as_ref()).and_then(|node| held.table.watched_at(node))
        };
        let watched = watched.filter(|watched| watched.content == Content::Listed);
        watched.is_some_and(|watched| {
            let reached = self.shared.reach(path);
            reached.is_ok_and(|reached| reached.id == watched.id)
        })
    }
}

fn last(path: &TreePath) -> &[u8] {
    path.as_ref().split_last().map_or(b"", |(_, name)| name)
}

impl Placer for Shared {
    fn place(&self, path: PathRef<'_>, directory: BorrowedFd<'_>, id: FileId, stat: &Stat) {
        let used_at = self.used_at(stat);
        self.places.lock().place(&self.root, path, directory, id, used_at);
    }
}

impl Shared {
    /// When a directory last changed: its mtime on the clock that never goes back. By one and the same
    /// difference of the clocks for all, so that of directories as hot as each other none makes room
    /// for another because the clocks were read a little later.
    fn used_at(&self, stat: &Stat) -> Monotonic {
        let changed_at = stat.mtime.as_nanos().saturating_sub(self.wall_ahead);
        Monotonic::from_nanos(changed_at.min(self.clock.monotonic().as_nanos()))
    }

    /// Whether a directory is one of those above a path: only a bind mount makes that so. Asks the
    /// disk and not the table, which may be behind it.
    fn is_above(&self, path: &TreePath, file: FileId) -> bool {
        let mut next = path.as_ref().split_last().filter(|_| self.root.crosses_mounts());
        while let Some((parent, _)) = next {
            if self.reach(&parent.to_owned()).is_ok_and(|reached| reached.id == file) {
                return true;
            }
            next = parent.split_last();
        }
        false
    }
}

#[cfg(test)]
mod tests;
