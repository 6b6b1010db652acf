//! Calls of the storage that do not come back: whoever waits gives up, and no second call joins.
//!
//! No call into a file system can be broken off: where an NFS or FUSE server does not answer, the
//! thread that asked stays where it is until it does, or its mount is taken away. So every call has a
//! time limit on the caller's side, [`RootOptions::call_limit`](super::RootOptions): a single look is
//! made by a thread of its own ([`Root::in_time`]); a worker of a scan or a watcher is watched by its
//! [`Pulse`] and abandoned (another goes on in its place), for a thread for each of a million calls
//! would cost more than they do. [`Hung`] knows what hangs now, by path: it is answered with ETIMEDOUT
//! at once, and is forgotten when its call comes back, so what heals is looked at again by the next
//! look.
//!
//! Must never: let an abandoned thread tell of what it saw, or let the number of hung threads grow
//! with the number of looks.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fusion_core::path::{PathRef, TreePath};
use fusion_core::time::Monotonic;
use rustix::io::Errno;

use super::identity::looked_at;
use super::{Look, LookError, Root, RootCheck, RootIdentity};
use crate::spawn::spawn_thread;

/// Most calls of one root that may hang at once; more are not made, and answered with ETIMEDOUT.
const MOST: usize = 64;

/// What hangs at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    /// A look at it, or at its names.
    Itself,
    /// Something that was asked while it was read: which name, is found by asking for each by itself.
    Within,
}

/// The calls of a root that hang now.
#[derive(Debug, Default)]
pub(crate) struct Hung {
    /// So that nobody takes the lock while nothing hangs.
    count: AtomicUsize,
    calls: Mutex<Vec<(TreePath, At)>>,
}

impl Hung {
    /// A call hangs. False if too many do.
    pub(crate) fn note(&self, path: &TreePath, at: At) -> bool {
        let mut calls = self.lock();
        if calls.len() >= MOST && !path.as_ref().is_root() {
            return false;
        }
        calls.push((path.clone(), at));
        self.count.store(calls.len(), Ordering::SeqCst);
        true
    }

    /// Whether a call about this path may be made: one about the root always, so that whether it is
    /// there can be told.
    fn has_room(&self, path: &TreePath) -> bool {
        self.count() < MOST || path.as_ref().is_root()
    }

    /// A call that was noted came back.
    pub(crate) fn forget(&self, path: &TreePath, at: At) {
        let mut calls = self.lock();
        if let Some(found) = calls.iter().position(|call| call.0 == *path && call.1 == at) {
            calls.swap_remove(found);
        }
        self.count.store(calls.len(), Ordering::SeqCst);
    }

    /// How many calls hang.
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    /// Whether there is no sense in looking at this path.
    pub(crate) fn holds(&self, path: PathRef<'_>) -> bool {
        self.any(|call, at| at == At::Itself && call == path)
    }

    /// Whether something hangs in this directory: it is read with care, each name by itself.
    pub(crate) fn touches(&self, dir: PathRef<'_>) -> bool {
        self.any(|call, _| {
            call == dir || call.split_last().is_some_and(|(parent, _)| parent == dir)
        })
    }

    fn any(&self, is: impl Fn(PathRef<'_>, At) -> bool) -> bool {
        self.count() > 0 && self.lock().iter().any(|(path, at)| is(path.as_ref(), *at))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(TreePath, At)>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Root {
    /// How many calls hang in this tree now.
    #[must_use]
    pub fn hung_calls(&self) -> usize {
        self.hung().count()
    }

    /// Makes a call about a path on a thread of its own; ETIMEDOUT if it takes longer than the limit,
    /// or one about this path hangs already.
    pub(crate) fn in_time<T: Send + 'static>(
        &self,
        path: &TreePath,
        call: impl FnOnce(&Self) -> Result<T, Errno> + Send + 'static,
    ) -> Result<T, Errno> {
        if self.hung().holds(path.as_ref()) {
            return Err(Errno::TIMEDOUT);
        }
        self.in_time_at(path, At::Itself, call)
    }

    fn in_time_at<T: Send + 'static>(
        &self,
        path: &TreePath,
        at: At,
        call: impl FnOnce(&Self) -> Result<T, Errno> + Send + 'static,
    ) -> Result<T, Errno> {
        if !self.hung().has_room(path) {
            return Err(Errno::TIMEDOUT);
        }
        let (done, answer) = mpsc::sync_channel(1);
        // Whether the caller gave up. Held when that is decided, by either side.
        let given_up = Arc::new(Mutex::new(false));
        let (root, of, noted) = (self.clone(), path.clone(), Arc::clone(&given_up));
        let body = move || {
            let result = call(&root);
            let given_up = noted.lock().unwrap_or_else(PoisonError::into_inner);
            if *given_up {
                root.hung().forget(&of, at);
            } else {
                // There is room, and the caller waits for it, or is gone with its thread.
                let _ = done.try_send(result);
            }
        };
        spawn_thread("fusion-look", body).map_err(|_| Errno::AGAIN)?;
        match answer.recv_timeout(self.call_limit()) {
            Ok(result) => return result,
            // The thread is gone without an answer: it hangs nowhere.
            Err(RecvTimeoutError::Disconnected) => return Err(Errno::IO),
            Err(RecvTimeoutError::Timeout) => {}
        }
        let mut given_up = given_up.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(result) = answer.try_recv() {
            return result;
        }
        *given_up = self.hung().note(path, at);
        Err(Errno::TIMEDOUT)
    }

    /// [`Root::look`] with a time limit; called on a thread that may block for as long.
    ///
    /// # Errors
    /// As there; ETIMEDOUT if the storage does not answer.
    pub fn look_in_time(&self, path: &TreePath, looked_at: Monotonic) -> Result<Look, LookError> {
        let of = path.clone();
        let look =
            move |root: &Self| root.look_as_of(of.as_ref(), looked_at).map_err(|it| it.errno);
        self.in_time(path, look).map_err(|errno| LookError { errno })
    }

    /// [`Root::check`] with a time limit: one that does not answer is gone with ETIMEDOUT.
    #[must_use]
    pub fn check_in_time(&self) -> RootCheck {
        self.in_time(&TreePath::root(), |root| Ok(root.check())).unwrap_or_else(RootCheck::Gone)
    }

    /// [`Root::identity`] with a time limit. What hangs at the top (a mount within the tree, say) is
    /// left to the others there.
    ///
    /// # Errors
    /// As there; ETIMEDOUT if the root itself does not answer.
    pub fn identity_in_time(&self) -> Result<RootIdentity, Errno> {
        let top = TreePath::root();
        if !self.hung().touches(top.as_ref()) {
            match self.in_time_at(&top, At::Within, Self::identity) {
                Err(Errno::TIMEDOUT) => {}
                told => return told,
            }
        }
        let (mut identity, directory, names) = self.in_time(&top, Self::without_top)?;
        let directory = Arc::new(directory);
        identity.top = self.choose_top(names, |name| {
            let (path, directory) = (top.join(name.to_bytes()).ok()?, Arc::clone(&directory));
            let name = name.to_owned();
            self.in_time(&path, move |_| looked_at(&directory, &name)).ok()
        });
        Ok(identity)
    }
}

/// Whether a thread is in a call of the storage, and whether it comes on. Written by that thread,
/// read by who watches it.
#[derive(Debug, Default)]
pub(crate) struct Pulse(AtomicU64);

/// The thread was given up: what it is in counts no more, and it is to end.
const ABANDONED: u64 = u64::MAX;

impl Pulse {
    /// Makes a call, or some that are made at once; ECANCELED if the thread was abandoned meanwhile.
    pub(crate) fn call<T>(&self, call: impl FnOnce() -> Result<T, Errno>) -> Result<T, Errno> {
        if self.is_abandoned() {
            return Err(Errno::CANCELED);
        }
        self.begin();
        let result = call();
        if self.end() { result } else { Err(Errno::CANCELED) }
    }

    /// A call begins. Of one that was not abandoned.
    pub(crate) fn begin(&self) {
        self.0.store(self.0.load(Ordering::Relaxed) | 1, Ordering::Release);
    }

    /// It came back. False if the thread was abandoned.
    pub(crate) fn end(&self) -> bool {
        self.step(self.0.load(Ordering::Relaxed).wrapping_add(1))
    }

    /// Within [`Pulse::call`]: the thread comes on. False if it was abandoned.
    pub(crate) fn beat(&self) -> bool {
        self.step(self.0.load(Ordering::Relaxed).wrapping_add(2))
    }

    fn step(&self, next: u64) -> bool {
        let before = self.0.load(Ordering::Relaxed);
        let step = || self.0.compare_exchange(before, next, Ordering::AcqRel, Ordering::Relaxed);
        before != ABANDONED && step().is_ok()
    }

    /// Where the thread is, if it is in a call: another one later means that it came on.
    pub(crate) fn in_call(&self) -> Option<u64> {
        let now = self.0.load(Ordering::Acquire);
        (now % 2 == 1 && now != ABANDONED).then_some(now)
    }

    /// Gives the thread up, if it is still there. False if it came on.
    pub(crate) fn abandon(&self, at: u64) -> bool {
        let given_up = self.0.compare_exchange(at, ABANDONED, Ordering::AcqRel, Ordering::Relaxed);
        given_up.is_ok()
    }

    /// Whether the thread was given up.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.0.load(Ordering::Acquire) == ABANDONED
    }
}

/// How long a thread has been in one call, for who looks at its [`Pulse`] now and then.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Stuck(Option<(u64, Monotonic)>);

impl Stuck {
    /// Looks; gives where the thread is and since when it was seen there.
    pub(crate) fn look(&mut self, pulse: &Pulse, now: Monotonic) -> Option<(u64, Monotonic)> {
        self.0 = pulse.in_call().map(|at| match self.0 {
            Some((before, since)) if before == at => (at, since),
            _ => (at, now),
        });
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::scan::RootOptions;

    fn root(folder: &tempfile::TempDir) -> Root {
        let call_limit = Duration::from_millis(30);
        Root::open(folder.path(), RootOptions { call_limit, ..RootOptions::default() }).unwrap()
    }

    #[test]
    fn a_call_that_hangs_is_given_up_not_joined_and_forgotten_when_it_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let root = root(&folder);
        let path = TreePath::new(b"/dir/name".to_vec()).unwrap();
        let dir = TreePath::new(b"/dir".to_vec()).unwrap();
        let (come_back, until) = mpsc::channel::<()>();
        let hangs = move |_: &Root| {
            let _ = until.recv();
            Ok(1)
        };
        assert_eq!(root.in_time(&path, hangs), Err(Errno::TIMEDOUT));
        assert!(root.hung().holds(path.as_ref()) && root.hung().touches(dir.as_ref()));
        assert!(!root.hung().holds(dir.as_ref()));
        let never = |_: &Root| -> Result<(), Errno> { panic!("a second call") };
        assert_eq!(root.in_time(&path, never), Err(Errno::TIMEDOUT));
        assert_eq!(root.in_time(&dir, |_| Ok(2)), Ok(2), "others are asked");
        drop(come_back);
        while root.hung_calls() > 0 {
            std::thread::yield_now();
        }
        assert_eq!(root.in_time(&path, |_| Ok(3)), Ok(3));
    }

    #[test]
    fn more_calls_than_may_hang_are_not_made() {
        let folder = tempfile::tempdir().unwrap();
        let root = root(&folder);
        for number in 0..MOST {
            let path = TreePath::new(format!("/{number}").into_bytes()).unwrap();
            assert!(root.hung().note(&path, At::Within));
        }
        let path = TreePath::new(b"/other".to_vec()).unwrap();
        assert!(!root.hung().note(&path, At::Within));
        assert_eq!(root.in_time(&path, |_| Ok(())), Err(Errno::TIMEDOUT));
        let first = TreePath::new(b"/0".to_vec()).unwrap();
        root.hung().forget(&first, At::Within);
        assert_eq!(root.in_time(&path, |_| Ok(())), Ok(()));
    }

    #[test]
    fn who_is_abandoned_in_a_call_learns_it_when_it_comes_back() {
        let (pulse, mut stuck) = (Pulse::default(), Stuck::default());
        let at = Monotonic::from_nanos;
        assert_eq!(pulse.call(|| Ok(1)), Ok(1));
        assert_eq!(stuck.look(&pulse, at(1)), None);
        let abandoned = pulse.call(|| {
            let (first, since) = stuck.look(&pulse, at(2)).unwrap();
            assert!(pulse.beat() && stuck.look(&pulse, at(3)) != Some((first, since)));
            assert!(!pulse.abandon(first), "it came on");
            let (now, since) = stuck.look(&pulse, at(9)).unwrap();
            assert_eq!(since, at(3));
            assert!(pulse.abandon(now) && !pulse.beat());
            Ok(1)
        });
        assert_eq!(abandoned, Err(Errno::CANCELED));
        assert!(pulse.is_abandoned() && stuck.look(&pulse, at(10)).is_none());
        assert_eq!(pulse.call(|| Ok(1)), Err(Errno::CANCELED));
    }
}
