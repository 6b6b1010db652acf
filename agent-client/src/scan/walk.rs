//! The three walks: a subtree, one directory, and names only to place watches.
//!
//! Owns the worker threads of a scan and their end: none outlives the call. Called on a thread that
//! may block, never on an async one.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_deque::Worker;
use fusion_core::path::{PathRef, TreePath};

use super::queue::{Ancestor, Job, Queue};
use super::{
    Cancel, DirectoryReader, Found, Pace, Placer, Reading, Root, Rules, ScanCounters, ScanOptions,
    ScanReport, Sink, Start,
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
        self.run(path, sink, Depth::Subtree, self.options.workers.get())
    }

    /// Lists one directory, on this thread: what answers a relist.
    #[must_use]
    pub fn directory(&self, path: PathRef<'_>, sink: &dyn Sink) -> ScanReport {
        self.run(path, sink, Depth::Directory, 1)
    }

    /// Walks a directory and all below it, names only: one stat per directory and none per file.
    /// The sink gets what is unreadable or left out, and no listing.
    #[must_use]
    pub fn place_watches(&self, path: PathRef<'_>, sink: &dyn Sink) -> ScanReport {
        self.run(path, sink, Depth::Names, self.options.workers.get())
    }

    fn run(&self, path: PathRef<'_>, sink: &dyn Sink, depth: Depth, workers: usize) -> ScanReport {
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
    stopped: AtomicBool,
}

impl Walk<'_> {
    /// Reads the start on this thread, then what is below it on all. `None` if it was stopped
    /// before the start was read.
    fn run(&self, path: TreePath, workers: usize) -> Option<Start> {
        let mut reader = DirectoryReader::new();
        let job = Job { path, above: None };
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
            if self.read(reader, queue, own, &job) == Reading::Stopped {
                self.stopped.store(true, Ordering::SeqCst);
                queue.stop();
                return;
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
        let is_loop = |id| Ancestor::contains(job.above.as_ref(), id);
        let mut emit = |found: Found| -> ControlFlow<()> { self.sink.put(found) };
        let reading = reader.read(&self.rules, &job.path, None, is_loop, &mut emit);
        if let Reading::Read(id) = reading
            && self.depth != Depth::Directory
        {
            let mut here = None;
            for path in reader.subdirectories() {
                let ancestor =
                    || Arc::new(Ancestor { id, above: job.above.as_ref().map(Arc::clone) });
                let above = Some(Arc::clone(here.get_or_insert_with(ancestor)));
                queue.push(own, Job { path, above });
            }
        }
        reading
    }
}
