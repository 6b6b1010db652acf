//! The looks of the interpreting thread, and what becomes of one that hangs.
//!
//! It looks by itself, since a thread for each look would cost more than the look; so somebody else
//! watches it ([`Stalls`], asked by whoever owns the watcher). When it hangs, the watcher is given up as a
//! whole and another begun: what hung is known then, and is looked at on a thread of its own.

use std::sync::PoisonError;

use fusion_core::path::{PathRef, TreePath};
use fusion_core::stat::Stat;
use fusion_core::time::Monotonic;
use rustix::io::Errno;

use super::{Shared, WatchHandle};
use crate::scan::{At, FileId, Reached, Stuck, stat_in};

impl Shared {
    /// Opens a directory to look at names in it. For the interpreting thread.
    pub(super) fn reach(&self, path: &TreePath) -> Result<Reached, Errno> {
        self.now_in(path);
        if self.root.hung().touches(path.as_ref()) {
            let of = path.clone();
            return self.root.in_time(path, move |root| root.reach(of.as_ref()));
        }
        self.pulse.call(|| self.root.reach(path.as_ref()))
    }

    /// The stat of a name in a directory that was reached. For the interpreting thread.
    pub(super) fn stat_in(
        &self,
        directory: &Reached,
        path: &TreePath,
        name: &[u8],
    ) -> Result<(FileId, Stat), Errno> {
        let dir = path.as_ref().split_last().map_or(PathRef::ROOT, |(dir, _)| dir);
        if self.root.hung().touches(dir) {
            let fd = directory.fd.try_clone().map_err(|_| Errno::MFILE)?;
            let name = name.to_vec();
            return self.root.in_time(path, move |_| stat_in(&fd, &name));
        }
        self.pulse.call(|| stat_in(&directory.fd, name))
    }

    /// The interpreting thread is about to look there.
    pub(super) fn now_in(&self, path: &TreePath) {
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        if place.given_up.is_none() {
            place.now.clone_from(path);
        }
    }

    /// The interpreting thread has ended: if it was given up, its call has come back.
    pub(super) fn came_back(&self) {
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        self.turn.end();
        if let Some(path) = place.given_up.take() {
            self.root.hung().forget(&path, At::Within);
        }
    }
}

/// Where the interpreting thread is.
#[derive(Debug)]
pub(super) struct Place {
    /// The directory in which it looks, or looked last.
    now: TreePath,
    /// The one in which it hung when it was given up.
    given_up: Option<TreePath>,
}

impl Default for Place {
    fn default() -> Self {
        Self { now: TreePath::root(), given_up: None }
    }
}

/// Since when a watcher has not come on, as seen by who asks now and then.
#[derive(Debug, Clone, Copy, Default)]
pub struct Stalls {
    looks: Stuck,
    placing: Stuck,
}

impl WatchHandle {
    /// Since when the watcher has been in one call of the storage: a look, or the placing of a watch,
    /// for which everything else in it waits.
    #[must_use]
    pub fn stalled_since(&self, stalls: &mut Stalls, now: Monotonic) -> Option<Monotonic> {
        let looks = stalls.looks.look(&self.0.pulse, now);
        let placing = stalls.placing.look(self.0.places.pulse(), now);
        looks.into_iter().chain(placing).map(|(_, since)| since).min()
    }

    /// Gives up the thread that looks, if it is in a call, and notes where it hangs: nobody else is to
    /// hang there. What it sees is told no more; the watcher is to be ended.
    pub fn give_up(&self) {
        let shared = &*self.0;
        shared.cancel.set();
        // Scans give way to nobody who hangs.
        shared.turn.end();
        let Some(word) = shared.pulse.in_call() else { return };
        let mut place = shared.place.lock().unwrap_or_else(PoisonError::into_inner);
        if shared.root.hung().note(&place.now, At::Within) {
            if shared.pulse.abandon(word) {
                tracing::warn!(directory = %place.now, "a look does not come back");
                place.given_up = Some(place.now.clone());
            } else {
                shared.root.hung().forget(&place.now, At::Within);
            }
        }
    }
}
