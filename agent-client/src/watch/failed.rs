//! Looks that gave no answer: neither that something stands there nor that nothing does.
//!
//! The event that gave reason for the look must not be lost with it. The name is looked at again for a
//! while, for most of what can go wrong passes (a descriptor becomes free, a stale handle is renewed);
//! until then nothing later counts as seen. Then it is told what is not known: that the directory
//! cannot be read, or, if it is this process that lacks something, that events were lost.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use fusion_core::path::TreePath;
use fusion_core::time::Monotonic;
use rustix::io::Errno;

use super::WatchEvidence;
use super::counters::{add, read};
use super::interpreter::Interpreter;
use super::pending::Pending;
use super::table::NodeId;
use crate::scan::Unreadable;

/// For how long a look is repeated.
const AGAIN_FOR: Duration = Duration::from_secs(2);
/// How soon.
const AGAIN: Duration = Duration::from_millis(100);

/// Why a look gave no answer. Labels of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailedLook {
    /// The agent may not look there.
    Denied,
    /// The agent, or its host, has no descriptor, memory or thread left.
    Exhausted,
    /// The storage erred, or did not answer in time.
    Storage,
    /// What was to be looked at cannot be a path of the view: it is too long, say.
    Name,
}

impl FailedLook {
    /// All of them, in the order of [`WatchCounts::failed_looks`](super::WatchCounts).
    pub const ALL: [Self; 4] = [Self::Denied, Self::Exhausted, Self::Storage, Self::Name];

    /// In a word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::Exhausted => "exhausted",
            Self::Storage => "storage",
            Self::Name => "name",
        }
    }

    fn of(errno: Errno) -> Self {
        match errno {
            Errno::ACCESS | Errno::PERM => Self::Denied,
            Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS | Errno::AGAIN => {
                Self::Exhausted
            }
            _ => Self::Storage,
        }
    }
}

/// How many names could not be looked at, by why.
#[derive(Debug, Default)]
pub(super) struct FailedLooks([AtomicU64; FailedLook::ALL.len()]);

impl FailedLooks {
    pub(super) fn count(&self, why: FailedLook) {
        add(&self.0[why as usize], 1);
    }

    pub(super) fn read(&self) -> [u64; FailedLook::ALL.len()] {
        self.0.each_ref().map(read)
    }
}

/// What is to be told of looks that are not repeated any more.
#[derive(Debug, Default)]
pub(super) struct GivenUp {
    /// Directories that cannot be read.
    unreadable: BTreeMap<TreePath, Errno>,
    /// Events count as lost, since then.
    lost_since: Option<Monotonic>,
}

impl Interpreter {
    /// A look at a name of a directory gave no answer.
    pub(super) fn look_failed(
        &mut self,
        directory: &TreePath,
        node: NodeId,
        name: &[u8],
        pending: Pending,
        errno: Errno,
    ) {
        if let Some(again) = self.again_or_never(directory, pending, errno) {
            self.pending.look_again(node, name, again);
        }
    }

    /// The same, of the root itself.
    pub(super) fn look_at_root_failed(&mut self, pending: Pending, errno: Errno) {
        if let Some(again) = self.again_or_never(&TreePath::root(), pending, errno) {
            self.pending.look_at_root_again(again);
        }
    }

    fn again_or_never(
        &mut self,
        directory: &TreePath,
        pending: Pending,
        errno: Errno,
    ) -> Option<Pending> {
        let (now, why) = (self.shared.clock.monotonic(), FailedLook::of(errno));
        if pending.failed_at.is_none() {
            self.shared.counters.failed_looks.count(why);
        }
        let failed_at = pending.failed_at.unwrap_or(now);
        if why != FailedLook::Denied && now < failed_at.plus(AGAIN_FOR) {
            return Some(Pending { due: now.plus(AGAIN), failed_at: Some(failed_at), ..pending });
        }
        let given_up = &mut self.given_up;
        if why == FailedLook::Exhausted {
            let since = given_up.lost_since.map_or(pending.since, |at| at.min(pending.since));
            given_up.lost_since = Some(since);
        } else {
            given_up.unreadable.insert(directory.clone(), errno);
        }
        None
    }

    /// Tells of what was given up in this round.
    pub(super) fn tell_given_up(&mut self) {
        let GivenUp { unreadable, lost_since } = std::mem::take(&mut self.given_up);
        let looked_at = self.shared.clock.monotonic();
        for (dir, errno) in unreadable {
            let errno = errno.raw_os_error();
            tracing::info!(%dir, errno, "what happens there cannot be looked at");
            self.outlet.emit(WatchEvidence::Unreadable(Unreadable { dir, errno, looked_at }));
        }
        if let Some(since) = lost_since {
            tracing::warn!("no descriptor, memory or thread for a look: events count as lost");
            self.lose(since);
        }
    }
}
