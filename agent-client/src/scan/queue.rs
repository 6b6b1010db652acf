//! Directories still to be read, shared by the workers: each works depth first on its own and takes
//! from the others when it has none, so the queue stays near depth times width and not the tree.
//!
//! Invariant: `pending` counts directories that are queued or being read; when it is 0 the walk is
//! over. Who finds nothing sleeps; who adds wakes one.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock};

use crossbeam_deque::{Injector, Steal, Stealer, Worker};
use fusion_core::path::TreePath;

use super::memory::DirNumber;
use super::root::FileId;

/// A directory to read.
#[derive(Clone)]
pub(super) struct Job {
    pub(super) path: TreePath,
    pub(super) above: Option<Arc<Ancestor>>,
    /// Where it is in the memory, if it is there.
    pub(super) remembered: Option<DirNumber>,
    /// Who read it before was given up: it hung in a call.
    pub(super) is_again: bool,
}

/// A directory on the way to another: the loop guard, and nothing else.
pub(super) struct Ancestor {
    pub(super) id: FileId,
    pub(super) above: Option<Arc<Ancestor>>,
}

impl Ancestor {
    /// Whether `id` is this directory or one above it.
    pub(super) fn contains(of: Option<&Arc<Self>>, id: FileId) -> bool {
        let mut next = of;
        while let Some(ancestor) = next {
            if ancestor.id == id {
                return true;
            }
            next = ancestor.above.as_ref();
        }
        false
    }
}

impl Drop for Ancestor {
    /// By hand: a chain as deep as a path would be dropped by recursion otherwise.
    fn drop(&mut self) {
        let mut next = self.above.take();
        while let Some(ancestor) = next {
            match Arc::try_unwrap(ancestor) {
                Ok(mut owned) => next = owned.above.take(),
                Err(_) => break,
            }
        }
    }
}

/// The queue of one walk.
pub(super) struct Queue {
    /// What belongs to no worker.
    free: Injector<Job>,
    stealers: RwLock<Vec<Stealer<Job>>>,
    pending: AtomicUsize,
    idle: AtomicUsize,
    stopped: AtomicBool,
    /// Guards nothing: it makes looking for work and going to sleep one step against waking.
    sleep: Mutex<()>,
    bell: Condvar,
}

impl Queue {
    /// A queue that holds the start.
    pub(super) fn new(start: Job) -> Self {
        let queue = Self {
            free: Injector::new(),
            stealers: RwLock::default(),
            pending: AtomicUsize::new(1),
            idle: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
            sleep: Mutex::new(()),
            bell: Condvar::new(),
        };
        queue.free.push(start);
        queue
    }

    /// The own end of it for one more worker.
    pub(super) fn join(&self) -> Worker<Job> {
        let own = Worker::new_lifo();
        self.stealers.write().unwrap_or_else(PoisonError::into_inner).push(own.stealer());
        own
    }

    /// Gives back a directory that was given out.
    pub(super) fn give_back(&self, job: Job) {
        self.free.push(job);
        self.wake_all();
    }

    /// Adds a directory found by the holder of `own`.
    pub(super) fn push(&self, own: &Worker<Job>, job: Job) {
        self.pending.fetch_add(1, Ordering::SeqCst);
        own.push(job);
        fence(Ordering::SeqCst);
        if self.idle.load(Ordering::SeqCst) > 0 {
            drop(self.sleep.lock().unwrap_or_else(PoisonError::into_inner));
            self.bell.notify_one();
        }
    }

    /// The next directory; waits for one. `None` when the walk is over or stopped.
    pub(super) fn next(&self, own: &Worker<Job>) -> Option<Job> {
        loop {
            if self.stopped.load(Ordering::SeqCst) {
                return None;
            }
            if let Some(job) = own.pop().or_else(|| self.steal(own)) {
                return Some(job);
            }
            let guard = self.sleep.lock().unwrap_or_else(PoisonError::into_inner);
            self.idle.fetch_add(1, Ordering::SeqCst);
            fence(Ordering::SeqCst);
            let found = self.steal(own);
            let over =
                self.pending.load(Ordering::SeqCst) == 0 || self.stopped.load(Ordering::SeqCst);
            if found.is_none() && !over {
                drop(self.bell.wait(guard).unwrap_or_else(PoisonError::into_inner));
            }
            self.idle.fetch_sub(1, Ordering::SeqCst);
            if found.is_some() || over {
                return found;
            }
        }
    }

    /// A directory that was given out is done, and what was found in it has been added.
    pub(super) fn done(&self) {
        if self.pending.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.wake_all();
        }
    }

    /// Whether every directory was done.
    pub(super) fn is_over(&self) -> bool {
        self.pending.load(Ordering::SeqCst) == 0
    }

    /// Whether there will be nothing more to read.
    pub(super) fn has_ended(&self) -> bool {
        self.is_over() || self.stopped.load(Ordering::SeqCst)
    }

    /// Ends the walk for all workers.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        self.wake_all();
    }

    fn wake_all(&self) {
        drop(self.sleep.lock().unwrap_or_else(PoisonError::into_inner));
        self.bell.notify_all();
    }

    fn steal(&self, own: &Worker<Job>) -> Option<Job> {
        let stealers = self.stealers.read().unwrap_or_else(PoisonError::into_inner);
        loop {
            let mut again = false;
            for steal in std::iter::once(self.free.steal())
                .chain(stealers.iter().map(|other| other.steal_batch_and_pop(own)))
            {
                match steal {
                    Steal::Success(job) => return Some(job),
                    Steal::Retry => again = true,
                    Steal::Empty => {}
                }
            }
            if !again {
                return None;
            }
        }
    }
}
