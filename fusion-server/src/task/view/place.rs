//! A view's place among several servers: whose it is, and for how long what is said of it is good.
//!
//! The handle's side, for those who decide ([`crate::cluster`]); the thread's is `follow`. Of a server that is alone
//! every view is its own, for good.

use std::sync::atomic::Ordering;
use std::time::Duration;

use fusion_core::id::Revision;
use fusion_core::time::Monotonic;
use fusion_core::view::{ViewState, ViewStatus};
use fusion_store::OwnerEpoch;
use tokio::sync::{mpsc, oneshot, watch};

use super::follow::{NotOwned, Own, OwnerSays, Role};
use super::{ViewGone, ViewHandle};
use crate::cluster::{Lease, Term};

/// For how long what is said of a view may be believed.
#[derive(Debug, Clone)]
pub(super) enum Good {
    /// There is nobody else who could own it.
    Always,
    /// In a term of this server's lease: it owns the view.
    While(Lease, Term),
    /// For a while after its owner said so.
    Until(Monotonic),
}

impl Good {
    pub(super) fn is_good(&self, now: Monotonic) -> bool {
        match self {
            Self::Always => true,
            Self::While(lease, term) => lease.holds(*term),
            Self::Until(until) => now < *until,
        }
    }
}

/// The view's place among several servers: the end for those who decide.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) role: watch::Sender<Role>,
    pub(super) owner: watch::Sender<Option<OwnerSays>>,
    pub(super) orders: mpsc::Sender<Own>,
}

/// Why the task of a view is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It was told to end ([`ViewHandle::leave`]).
    Told,
    /// It panicked, or found the log otherwise than it left it.
    Failed,
    /// The view is another server's ([`ViewHandle::give_up`]).
    Moved,
    /// The log went on without it: another server owns the view, or it was too far behind to follow.
    Overtaken,
}

impl Ended {
    /// What the view is by now is in the log, and its sessions live on where it is.
    pub(crate) fn is_elsewhere(self) -> bool {
        matches!(self, Self::Moved | Self::Overtaken)
    }

    /// It was meant, and is no sign of anything that would come again.
    pub(crate) fn is_meant(self) -> bool {
        matches!(self, Self::Told | Self::Moved)
    }
}

impl ViewHandle {
    /// What the view is to this server.
    pub(crate) fn role(&self) -> Role {
        self.shared.place.as_ref().map_or(Role::Alone, |place| *place.role.borrow())
    }

    /// The same, as it is known outside; the view is followed, and owned when its sessions are there, too.
    pub(crate) fn set_role(&self, role: Role) {
        if let Some(place) = &self.shared.place {
            place.role.send_replace(role);
        }
    }

    /// The highest epoch of its owners that the log has, as far as it was read.
    pub(crate) fn owner_epoch(&self) -> OwnerEpoch {
        self.shared.published.borrow().owner
    }

    /// The last revision that the thread's last turn had come to, durable or not.
    pub(crate) fn turned_to(&self) -> Revision {
        self.shared.published.borrow().status.revision
    }

    /// Whether its task was told to end.
    pub(crate) fn is_leaving(&self) -> bool {
        self.shared.leave.is_cancelled() || self.is_over()
    }

    /// What its owner says of it; nothing if it has none.
    pub(crate) fn owner_says(&self, says: Option<OwnerSays>) {
        if let Some(place) = &self.shared.place {
            place.owner.send_if_modified(|known| {
                let changed = *known != says;
                *known = says;
                changed
            });
        }
    }

    /// How long ago the owner said what has been replayed by now; nothing if there is no such word. What an owner says is
    /// good for so long.
    pub(crate) fn heard(&self, good_for: Duration) -> Option<Duration> {
        match self.shared.published.borrow().good {
            Good::Until(until) => Some(self.shared.pulse.now().plus(good_for).since(until)),
            Good::Always | Good::While(..) => None,
        }
    }

    /// Makes this server the owner. When it returns nothing of an earlier one can come any more.
    ///
    /// # Errors
    /// [`ViewGone`]; inside, why not: it follows still.
    pub(crate) async fn own(
        &self,
        epoch: OwnerEpoch,
        term: Term,
    ) -> Result<Result<(), NotOwned>, ViewGone> {
        let place = self.shared.place.as_ref().ok_or(ViewGone)?;
        let (answer, answered) = oneshot::channel();
        let own = Own { epoch, term, answer };
        place.orders.send(own).await.map_err(|_| ViewGone)?;
        answered.await.map_err(|_| ViewGone)
    }

    /// The view is not this server's any more: its task ends without another word, and it is loaded anew to follow.
    pub(crate) fn give_up(&self) {
        self.set_role(Role::Follows);
        self.shared.moved.store(true, Ordering::Release);
        self.shared.leave.cancel();
    }
}

/// Something that is said of a view cannot be relied on.
pub(super) fn doubt(status: &mut ViewStatus, why: String) {
    status.reasons.push(why);
    status.horizon = None;
    if status.state == ViewState::Ready {
        status.state = ViewState::Degraded;
    }
}
