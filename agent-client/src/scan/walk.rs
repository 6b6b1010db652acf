//! The walks: a subtree, the whole tree with a memory, one directory, and names only to place
//! watches.
//!
//! Owns the worker threads of a scan and their end: none outlives the call. Called on a thread that
//! may block, never on an async one.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_deque::Worker;
use fusion_core::path::{PathRef, TreePath};

use super::memory::{DirNumber, TOP};
use super::queue::{Ancestor, Job, Queue};
use super::silent::{self, Seen};
use super::{
    Calls, Cancel, DirectoryReader, FileId, Found, Pace, Placer, Reading, Recall, Root, Rules,
    ScanCounters, ScanOptions, ScanReport, Sink, Start,
};
use crate::clock::AgentClock;

/// Everything that a walk needs. Cheap to make; one walk each, so that `counters` tell of it.
#[derive(Clone, Copy)]
pub struct Scan<'a> {
    /// The tree.
    pub root: &'a Root,
    /// How.
    pub options: &'a ScanOptions,
    /// The time.
    pub clock: &'a dyn AgentClock,
    /// Ends the walk at once, also in mid-directory.
    pub cancel: &'a Cancel,
    /// What it counts while it goes.
    pub counters: &'a ScanCounters,
    /// How fast it may go.
    pub pace: &'a dyn Pace,
    /// Places a watch on each directory before it is read.
    pub placer: Option<&'a dyn Placer>,
}

impl Scan<'_> {
    /// Lists a directory and all below it, on as many threads as the options say.
    #[must_use]
    pub fn subtree(&self, path: PathRef<'_>, sink: &dyn Sink) -> ScanReport {
        self.run(path, sink, Depth::Subtree, None, self.options.workers.get())
    }

    /// Lists the whole tree but for what is silent since it was listed last, and remembers what it
    /// lists. The sink gets what is listed, `recall` what is not.
    #[must_use]
    pub fn whole(&self, sink: &dyn Sink, recall: &Recall<'_>) -> ScanReport {
        let workers = self.options.workers.get();
        self.run(PathRef::ROOT, sink, Depth::Subtree, Some(recall), workers)
    }

    /// Lists one directory, on this thread: what answers a relist.
    #[must_use]
    pub fn directory(&self, path: PathRef<'_>, sink: &dyn Sink) -> ScanReport {
        self.run(path, sink, Depth::Directory, None, 1)
    }

    /// Walks a directory and all below it, names only: one stat per directory and none per file.
    /// The sink gets what is unreadable or left out, and no listing.
    #[must_use]
    pub fn place_watches(&self, path: PathRef<'_>, sink: &dyn Sink) -> ScanReport {
        self.run(path, sink, Depth::Names, None, self.options.workers.get())
    }

    fn run(
        &self,
        path: PathRef<'_>,
        sink: &dyn Sink,
        depth: Depth,
        recall: Option<&Recall<'_>>,
        workers: usize,
    ) -> ScanReport {
        let started_at = self.clock.monotonic();
        let walk = Walk {
            rules: Rules {
                root: self.root,
                clock: self.clock,
                cancel: self.cancel,
                counters: self.counters,
                pace: self.pace,
                placer: self.placer,
                left_out: &self.options.left_out,
                max_rows: self.options.max_rows,
                names_only: depth == Depth::Names,
            },
            sink,
            depth,
            recall,
            stopped: AtomicBool::new(false),
        };
        let start = walk.run(path.to_owned(), workers);
        ScanReport {
            start: start.unwrap_or(Start::NoDirectory),
            complete: start == Some(Start::Directory) && !walk.stopped.load(Ordering::SeqCst),
            counts: self.counters.read(),
            started_at,
            finished_at: self.clock.monotonic(),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Depth {
    Directory,
    Subtree,
    Names,
}

struct Walk<'a> {
    rules: Rules<'a>,
    sink: &'a dyn Sink,
    depth: Depth,
    recall: Option<&'a Recall<'a>>,
    stopped: AtomicBool,
}

impl Walk<'_> {
    /// Reads the start on this thread, then what is below it on all. `None` if it was stopped
    /// before the start was read.
    fn run(&self, path: TreePath, workers: usize) -> Option<Start> {
        let mut reader = DirectoryReader::new();
        ScanCounters::add(&self.rules.counters.found, 1);
        let job = Job { path, above: None, remembered: self.recall.map(|_| TOP) };
        let (queue, own) = Queue::new(workers, job);
        let mut own = own.into_iter();
        let first = own.next()?;
        let job = queue.next(&first)?;
        let start = match self.read(&mut reader, &queue, &first, &job) {
            Reading::Read(_) => Start::Directory,
            Reading::Gone => Start::NoDirectory,
            Reading::Unreadable => Start::Unreadable,
            Reading::LeftOut => Start::LeftOut,
            Reading::Stopped => return None,
        };
        queue.done();
        std::thread::scope(|scope| {
            for (number, own) in own.enumerate() {
                let queue = &queue;
                let body = move || self.work(&mut DirectoryReader::new(), queue, &own);
                let name = format!("fusion-scan-{}", number + 1);
                // Fewer threads than asked for are slower, not wrong.
                let thread = std::thread::Builder::new().name(name);
                if thread.spawn_scoped(scope, body).is_err() {
                    break;
                }
            }
            self.work(&mut reader, &queue, &first);
        });
        Some(start)
    }

    fn work(&self, reader: &mut DirectoryReader, queue: &Queue, own: &Worker<Job>) {
        while let Some(job) = queue.next(own) {
            match self.read(reader, queue, own, &job) {
                Reading::Read(_) => {}
                Reading::Gone | Reading::Unreadable | Reading::LeftOut => {
                    self.rules.counters.found.fetch_sub(1, Ordering::Relaxed);
                }
                Reading::Stopped => {
                    self.stopped.store(true, Ordering::SeqCst);
                    queue.stop();
                    return;
                }
            }
            queue.done();
        }
    }

    fn read(
        &self,
        reader: &mut DirectoryReader,
        queue: &Queue,
        own: &Worker<Job>,
        job: &Job,
    ) -> Reading {
        if self.rules.cancel.is_set() {
            return Reading::Stopped;
        }
        if let Some(reading) = self.pass(queue, own, job) {
            return reading;
        }
        let is_loop = |id| Ancestor::contains(job.above.as_ref(), id);
        let mut seen = Seen::default();
        let mut emit = |found: Found| -> ControlFlow<()> {
            if let Found::Listed(part) = &found {
                seen.take(part);
            }
            self.sink.put(found)
        };
        let reading = reader.read(&self.rules, &job.path, None, is_loop, &mut emit);
        if let Reading::Read(id) = reading
            && self.depth != Depth::Directory
        {
            let below: Vec<TreePath> = reader.subdirectories().collect();
            let first = self.remember(job, id, &seen, &below);
            let numbers = (0..).map(|place| first.and_then(|first| first.checked_add(place)));
            ScanCounters::add(&self.rules.counters.found, below.len());
            descend(queue, own, job, id, below.into_iter().zip(numbers));
        }
        reading
    }

    /// Goes past a directory that is silent, and on to those in it; `None` if it is to be read.
    fn pass(&self, queue: &Queue, own: &Worker<Job>, job: &Job) -> Option<Reading> {
        let (recall, dir) = (self.recall?, job.remembered?);
        let known = recall.memory.version(dir)?;
        if !recall.may_pass(job.path.as_ref()) {
            return None;
        }
        let (id, silent) = silent::look(&self.rules, &job.path, known)?;
        if Ancestor::contains(job.above.as_ref(), id) {
            return None;
        }
        ScanCounters::add(&self.rules.counters.directories, 1);
        ScanCounters::add(&self.rules.counters.silent, 1);
        let span = self.rules.clock.monotonic().since(silent.looked_at);
        let looked = Calls { number: silent::CALLS, span };
        let stop = self.rules.wait(1).is_break()
            || (recall.tell)(silent).is_break()
            || self.rules.rest(looked).is_break();
        if stop {
            return Some(Reading::Stopped);
        }
        let mut below = Vec::new();
        recall.memory.children(dir, |name, child| {
            // It was a path when it was listed.
            below.extend(job.path.join(name).ok().map(|path| (path, Some(child))));
        });
        ScanCounters::add(&self.rules.counters.found, below.len());
        descend(queue, own, job, id, below.into_iter());
        Some(Reading::Read(id))
    }

    /// Remembers what was listed; gives the place of the first of the directories in it.
    fn remember(
        &self,
        job: &Job,
        id: FileId,
        seen: &Seen,
        below: &[TreePath],
    ) -> Option<DirNumber> {
        let (recall, dir) = (self.recall?, job.remembered?);
        let names = below.iter().map(|path| path.as_ref().split_last().map_or(&b""[..], |it| it.1));
        recall.memory.listed(dir, seen.version(id, recall), names)
    }
}

/// Queues the directories in one that was read or gone past.
fn descend(
    queue: &Queue,
    own: &Worker<Job>,
    job: &Job,
    id: FileId,
    below: impl Iterator<Item = (TreePath, Option<DirNumber>)>,
) {
    let mut here = None;
    for (path, remembered) in below {
        let ancestor = || Arc::new(Ancestor { id, above: job.above.as_ref().map(Arc::clone) });
        let above = Some(Arc::clone(here.get_or_insert_with(ancestor)));
        queue.push(own, Job { path, above, remembered });
    }
}
