//! The walks: a subtree, the whole tree with a memory, one directory, and names only to place
//! watches.
//!
//! Owns what is done with each directory; the worker threads and those that hang are `crew`'s. No
//! thread outlives the call, so it may last as long as the storage hangs: who cannot wait for that
//! gives a [`Scan::then`], which is told at the end of the walk, and makes the call on a thread of its
//! own. Never called on an async thread.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Scope;

use crossbeam_deque::Worker;
use fusion_core::path::{PathRef, TreePath};
use rustix::io::Errno;

use super::crew::{Crew, Hanging, Post};
use super::memory::{DirNumber, TOP};
use super::queue::{Ancestor, Job, Queue};
use super::silent::{self, Seen};
use super::{
    Calls, Cancel, DirectoryReader, FileId, Found, Pace, Placer, Pulse, Reading, Recall, Root,
    RootCheck, Rules, ScanCounters, ScanOptions, ScanReport, Sink, Start, Unreadable,
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
    /// Told of the walk when it is over, though threads of it may still hang in the storage: then the
    /// call itself comes back only with them.
    pub then: Option<&'a dyn Fn(ScanReport)>,
}

impl Scan<'_> {
    /// Lists a directory and all below it, on as many threads as the options say.
    pub fn subtree(&self, path: PathRef<'_>, sink: &dyn Sink) -> ScanReport {
        self.run(path, sink, Depth::Subtree, None, self.options.workers.get())
    }

    /// Lists the whole tree but for what is silent since it was listed last, and remembers what it
    /// lists. The sink gets what is listed, `recall` what is not.
    pub fn whole(&self, sink: &dyn Sink, recall: &Recall<'_>) -> ScanReport {
        let workers = self.options.workers.get();
        self.run(PathRef::ROOT, sink, Depth::Subtree, Some(recall), workers)
    }

    /// Lists one directory, on this thread: what answers a relist.
    pub fn directory(&self, path: PathRef<'_>, sink: &dyn Sink) -> ScanReport {
        self.run(path, sink, Depth::Directory, None, 1)
    }

    /// Walks a directory and all below it, names only: one stat per directory and none per file.
    /// The sink gets what is unreadable or left out, and no listing.
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
        let pulse = Pulse::default();
        let walk = Walk {
            rules: Rules {
                root: self.root,
                clock: self.clock,
                cancel: self.cancel,
                counters: self.counters,
                pace: self.pace,
                pulse: &pulse,
                placer: self.placer,
                left_out: &self.options.left_out,
                max_rows: self.options.max_rows,
                names_only: depth == Depth::Names,
            },
            sink,
            depth,
            recall,
            stopped: AtomicBool::new(false),
            start: Mutex::new(None),
            crew: Crew::default(),
        };
        walk.run(path.to_owned(), workers, |start| {
            let report = ScanReport {
                start: start.unwrap_or(Start::NoDirectory),
                complete: start == Some(Start::Directory) && !walk.stopped.load(Ordering::SeqCst),
                counts: self.counters.read(),
                started_at,
                finished_at: self.clock.monotonic(),
            };
            if let Some(then) = self.then {
                then(report);
            }
            report
        })
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
    /// What was found where it began; `None` until that was read.
    start: Mutex<Option<Start>>,
    crew: Crew,
}

/// How often in a time limit the workers are looked at.
const LOOKS: u32 = 4;

impl Walk<'_> {
    /// Reads the start and what is below it; `end` is called when that is over. `None` if it was
    /// stopped before the start was read.
    fn run<T>(&self, path: TreePath, workers: usize, end: impl FnOnce(Option<Start>) -> T) -> T {
        ScanCounters::add(&self.rules.counters.found, 1);
        let remembered = self.recall.map(|_| TOP);
        let queue = Queue::new(Job { path, above: None, remembered, is_again: false });
        std::thread::scope(|scope| {
            for number in 0..workers {
                // Fewer threads than asked for are slower, not wrong.
                if !self.hire(scope, &queue, number) {
                    break;
                }
            }
            let limit = self.rules.root.call_limit();
            let mut number = workers;
            while !self.crew.wait(limit / LOOKS) {
                for hanging in self.crew.hanging(self.rules.clock.monotonic(), limit) {
                    if self.give_up(&queue, &hanging) {
                        self.hire(scope, &queue, number);
                        number += 1;
                    }
                }
            }
            if !queue.is_over() {
                self.stop(&queue);
            }
            // The panic of a worker goes on to the caller, at the end of the scope.
            assert!(!self.crew.is_broken(), "a worker of a scan broke off");
            let start = *self.start.lock().unwrap_or_else(PoisonError::into_inner);
            end(start)
        })
    }

    /// One more worker; false if the system gives no thread.
    fn hire<'s>(&'s self, scope: &'s Scope<'s, '_>, queue: &'s Queue, number: usize) -> bool {
        let (post, own) = (self.crew.join(), queue.join());
        let body = move || {
            let _end = Leaving { walk: self, queue, post: &post };
            self.work(queue, &own, &post);
        };
        let thread = std::thread::Builder::new().name(format!("fusion-scan-{}", number + 1));
        let hired = thread.spawn_scoped(scope, body).is_ok();
        if !hired {
            self.crew.left();
        }
        hired
    }

    /// A worker hangs: gives it up, and sees to its directory. False if no other is needed.
    fn give_up(&self, queue: &Queue, hanging: &Hanging) -> bool {
        let (job, hung) = (&*hanging.job, self.rules.root.hung());
        // Noted before it is given up: it forgets the note when it comes back.
        let at = Hanging::at(job);
        let has_room = hung.note(&job.path, at);
        if !hanging.abandon(&self.crew) {
            if has_room {
                hung.forget(&job.path, at);
            }
            return false;
        }
        tracing::warn!(directory = %job.path, "a call of the storage does not come back");
        if !has_room || self.rules.cancel.is_set() || !self.is_there() {
            self.stop(queue);
            return false;
        }
        if !job.is_again {
            queue.give_back(Job { is_again: true, ..job.clone() });
            return true;
        }
        ScanCounters::add(&self.rules.counters.errors, 1);
        let (dir, errno) = (job.path.clone(), Errno::TIMEDOUT.raw_os_error());
        let looked_at = self.rules.clock.monotonic();
        if self.sink.put(Found::Unreadable(Unreadable { dir, errno, looked_at })).is_break() {
            self.stop(queue);
        }
        self.read_to_end(queue, job, Reading::Unreadable);
        true
    }

    /// Whether the root answers. Asked while nothing else is: the workers go on.
    fn is_there(&self) -> bool {
        self.rules.root.check_in_time() == RootCheck::Same
    }

    fn stop(&self, queue: &Queue) {
        self.stopped.store(true, Ordering::SeqCst);
        queue.stop();
    }

    fn work(&self, queue: &Queue, own: &Worker<Job>, post: &Post) {
        let mut reader = DirectoryReader::new();
        let rules = Rules { pulse: &post.pulse, ..self.rules };
        while self.crew.take_turn(queue, &rules) {
            let Some(job) = queue.next(own) else { return self.crew.end_turn() };
            let job = post.begin(job);
            let reading = self.read(&rules, &mut reader, queue, own, &job);
            if reading == Reading::Abandoned {
                return self.rules.root.hung().forget(&job.path, Hanging::at(&job));
            }
            post.end();
            self.crew.end_turn();
            if reading == Reading::Stopped {
                return self.stop(queue);
            }
            self.read_to_end(queue, &job, reading);
        }
    }

    /// A directory was read, or cannot be.
    fn read_to_end(&self, queue: &Queue, job: &Job, reading: Reading) {
        let start = match reading {
            Reading::Read(_) => Start::Directory,
            Reading::Unreadable => Start::Unreadable,
            Reading::LeftOut => Start::LeftOut,
            _ => Start::NoDirectory,
        };
        if job.above.is_none() {
            *self.start.lock().unwrap_or_else(PoisonError::into_inner) = Some(start);
        } else if start != Start::Directory {
            self.rules.counters.found.fetch_sub(1, Ordering::Relaxed);
        }
        queue.done();
    }

    fn read(
        &self,
        rules: &Rules<'_>,
        reader: &mut DirectoryReader,
        queue: &Queue,
        own: &Worker<Job>,
        job: &Job,
    ) -> Reading {
        if rules.cancel.is_set() {
            return Reading::Stopped;
        }
        if let Some(reading) = self.pass(rules, queue, own, job) {
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
        let reading = reader.read(rules, &job.path, None, is_loop, &mut emit);
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
    fn pass(
        &self,
        rules: &Rules<'_>,
        queue: &Queue,
        own: &Worker<Job>,
        job: &Job,
    ) -> Option<Reading> {
        let (recall, dir) = (self.recall?, job.remembered?);
        let known = recall.memory.version(dir)?;
        let path = job.path.as_ref();
        if job.is_again || rules.root.hung().touches(path) || !recall.may_pass(path) {
            return None;
        }
        let looked = silent::look(rules, &job.path, known);
        if rules.pulse.is_abandoned() {
            return Some(Reading::Abandoned);
        }
        let (id, silent) = looked?;
        if Ancestor::contains(job.above.as_ref(), id) {
            return None;
        }
        ScanCounters::add(&rules.counters.directories, 1);
        ScanCounters::add(&rules.counters.silent, 1);
        let span = rules.clock.monotonic().since(silent.looked_at);
        let looked = Calls { number: silent::CALLS, span };
        let stop = rules.wait(1).is_break()
            || (recall.tell)(silent).is_break()
            || rules.rest(looked).is_break();
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

/// The end of a worker, however it comes.
struct Leaving<'a> {
    walk: &'a Walk<'a>,
    queue: &'a Queue,
    post: &'a Post,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.walk.crew.break_off();
            self.walk.stop(self.queue);
        }
        // Of one that was given up this is known already.
        if !self.post.pulse.is_abandoned() {
            self.walk.crew.left();
        }
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
        queue.push(own, Job { path, above, remembered, is_again: false });
    }
}
