//! The worker threads of one walk, and what becomes of one that hangs.
//!
//! Owns the threads and their end. Who began the walk watches them: one that is in a call of the
//! storage for longer than the limit is given up, its directory is read again by another in its place
//! with each name looked at by itself, and if that hangs as well it is said to be unreadable. If the
//! root does not answer either, the walk ends. What the others found goes out meanwhile: the end of the
//! walk waits for no thread that was given up; only the thread that began it stays with them.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fusion_core::time::Monotonic;

use super::queue::{Job, Queue};
use super::{At, Pulse, Rules, Stuck};

/// After how long a worker whose turn it is not asks again.
const TURN_AGAIN: Duration = Duration::from_millis(10);

/// A worker, as it is seen from outside.
#[derive(Default)]
pub(super) struct Post {
    pub(super) pulse: Pulse,
    /// What it reads.
    job: Mutex<Option<Arc<Job>>>,
}

/// All workers of a walk.
#[derive(Default)]
pub(super) struct Crew {
    posts: Mutex<Vec<Watched>>,
    /// Workers that have not ended and were not given up.
    working: AtomicUsize,
    /// Those of them that read a directory, or look for one.
    turns: AtomicUsize,
    /// One of them panicked.
    broke_off: AtomicBool,
    /// Guards nothing: it makes ending and waiting for it exclude each other.
    sleep: Mutex<()>,
    bell: Condvar,
}

struct Watched {
    post: Arc<Post>,
    stuck: Stuck,
}

/// A worker that hangs.
pub(super) struct Hanging {
    post: Arc<Post>,
    word: u64,
    pub(super) job: Arc<Job>,
}

impl Post {
    /// It begins with a directory.
    pub(super) fn begin(&self, job: Job) -> Arc<Job> {
        let job = Arc::new(job);
        *lock(&self.job) = Some(Arc::clone(&job));
        job
    }

    /// It is done with it.
    pub(super) fn end(&self) {
        *lock(&self.job) = None;
    }
}

impl Hanging {
    /// What its call is to be noted as: at first something in the directory, then the directory.
    pub(super) fn at(job: &Job) -> At {
        if job.is_again { At::Itself } else { At::Within }
    }

    /// Gives it up, unless it came on meanwhile.
    pub(super) fn abandon(&self, crew: &Crew) -> bool {
        let abandoned = self.post.pulse.abandon(self.word);
        if abandoned {
            crew.end_turn();
            crew.left();
        }
        abandoned
    }
}

impl Crew {
    /// One more.
    pub(super) fn join(&self) -> Arc<Post> {
        let post = Arc::<Post>::default();
        self.working.fetch_add(1, Ordering::SeqCst);
        lock(&self.posts).push(Watched { post: Arc::clone(&post), stuck: Stuck::default() });
        post
    }

    /// One less: it ended, or was given up.
    pub(super) fn left(&self) {
        self.working.fetch_sub(1, Ordering::SeqCst);
        drop(lock(&self.sleep));
        self.bell.notify_all();
    }

    /// Waits until one more worker may read a directory; false if none is left to be read. Without
    /// waiting where the walk is cancelled: who reads finds that.
    pub(super) fn take_turn(&self, queue: &Queue, rules: &Rules<'_>) -> bool {
        while !queue.has_ended() {
            let most = if rules.cancel.is_set() { usize::MAX } else { rules.pace.workers() };
            let one_more = |turns: usize| (turns < most).then_some(turns + 1);
            if self.turns.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more).is_ok() {
                return true;
            }
            // Again soon: how many may changes with what else is scanned.
            let _ = rules.cancel.wait(TURN_AGAIN);
        }
        false
    }

    /// It was read, or who reads it was given up.
    pub(super) fn end_turn(&self) {
        self.turns.fetch_sub(1, Ordering::SeqCst);
    }

    /// A worker ended by a panic: nothing is to be made of this walk.
    pub(super) fn break_off(&self) {
        self.broke_off.store(true, Ordering::SeqCst);
    }

    /// Whether one did.
    pub(super) fn is_broken(&self) -> bool {
        self.broke_off.load(Ordering::SeqCst)
    }

    /// Waits until none works, or so long; gives whether none does.
    pub(super) fn wait(&self, span: Duration) -> bool {
        let working = |(): &mut ()| self.working.load(Ordering::SeqCst) > 0;
        let waited = self.bell.wait_timeout_while(lock(&self.sleep), span, working);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        self.working.load(Ordering::SeqCst) == 0
    }

    /// Those that have been in one call for so long.
    pub(super) fn hanging(&self, now: Monotonic, limit: Duration) -> Vec<Hanging> {
        let mut posts = lock(&self.posts);
        posts.retain(|watched| !watched.post.pulse.is_abandoned());
        let hanging = posts.iter_mut().filter_map(|Watched { post, stuck }| {
            let (word, since) = stuck.look(&post.pulse, now)?;
            let job = lock(&post.job).clone()?;
            (now.since(since) >= limit).then(|| Hanging { post: Arc::clone(post), word, job })
        });
        hanging.collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
