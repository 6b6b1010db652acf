//! Several servers on one log: which of them there are, and which owns which view.
//!
//! Owns the server's membership ([`member`]), what it knows of the others ([`known`]), and what it does about it
//! ([`conduct`]). Begun by [`crate::app::build`] if it is given a [`Membership`]; without one nothing of this runs.
//! Must never: believe anybody's wall clock, or act for a view while the lease is in doubt. What fences is the log; see
//! docs/decisions/2026-11-22-several-servers.md. Tested by `tests/cluster`.

mod clock;
mod conduct;
mod hand_over;
mod known;
mod lease;
mod listed;
mod measured;
mod member;
mod memory;
mod placement;
mod said;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fusion_core::id::ViewName;
use fusion_core::time::Clock;
use fusion_proto::client::ClientTls;
use fusion_store::{Ownership, ServerId, ViewId};
use tokio::sync::{Notify, watch};

use crate::ops::metrics::Metrics;

pub(crate) use clock::SharedClock;
pub(crate) use conduct::{Busy, Conductor};
pub(crate) use known::{Known, Owner};
pub(crate) use lease::{Lease, Term};
pub(crate) use member::Membered;
pub(crate) use memory::allowed as memory_allowed;
pub use placement::place;
pub(crate) use said::Said;

/// How a server takes part.
#[derive(Clone)]
pub struct Membership {
    /// Which servers there are, and who owns what.
    pub ownership: Arc<dyn Ownership>,
    /// Where others reach this server, as a URI: `http://HOST:PORT` or `https://HOST:PORT`.
    pub address: String,
    /// For how long a server that says nothing is believed to live. A view without an owner waits for so long.
    pub lease: Duration,
    /// Memory of this server in bytes: its weight where views are placed.
    pub memory: u64,
    /// What calls are sent on with to a server at `https://`; without a CA none are.
    pub peers: ClientTls,
}

/// The server's part in it; a cheap handle.
#[derive(Clone)]
pub(crate) struct Cluster {
    shared: Arc<Shared>,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cluster").field(&self.shared.id).finish()
    }
}

struct Shared {
    id: ServerId,
    membership: Membership,
    clock: Arc<SharedClock>,
    lease: Lease,
    known: watch::Sender<Arc<Known>>,
    /// It gives its views away, and takes none; and whether the others have been told.
    draining: AtomicBool,
    said_draining: AtomicBool,
    /// There may be something to do before the next look.
    nudge: Notify,
    metrics: Metrics,
}

impl Cluster {
    pub(crate) fn new(
        id: ServerId,
        membership: Membership,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
    ) -> Self {
        let clock = Arc::new(SharedClock::new(clock));
        let lease = Lease::new(membership.lease, Arc::clone(&clock) as _);
        let (known, nudge) = (watch::Sender::default(), Notify::new());
        let (draining, said_draining) = (AtomicBool::default(), AtomicBool::default());
        // They are there before there is anything to count.
        metrics.renewal_failures.with_label_values::<&str>(&[]);
        metrics.lease_lapses.with_label_values::<&str>(&[]);
        let shared =
            Shared { id, membership, clock, lease, known, draining, said_draining, nudge, metrics };
        Self { shared: Arc::new(shared) }
    }

    /// This server.
    pub(crate) fn id(&self) -> ServerId {
        self.shared.id
    }

    /// What calls are sent on with over TLS.
    pub(crate) fn peers(&self) -> &ClientTls {
        &self.shared.membership.peers
    }

    /// Server time, which is put forward to that of a view that is taken over.
    pub(crate) fn clock(&self) -> &Arc<SharedClock> {
        &self.shared.clock
    }

    /// Where others reach it.
    pub(crate) fn address(&self) -> &str {
        &self.shared.membership.address
    }

    /// Whether it may act as an owner.
    pub(crate) fn lease(&self) -> &Lease {
        &self.shared.lease
    }

    /// What was known at the last look, to be waited on.
    pub(crate) fn known(&self) -> watch::Receiver<Arc<Known>> {
        self.shared.known.subscribe()
    }

    /// Who owns a view by the last look, if somebody does who lives.
    pub(crate) fn owner(&self, view: ViewId) -> Option<Owner> {
        self.shared.known.borrow().owner(view)
    }

    /// Where a server that lives is reached.
    pub(crate) fn address_of(&self, server: ServerId) -> Option<String> {
        self.shared.known.borrow().address_of(server)
    }

    /// Whether another server may have a view that this one does not know.
    pub(crate) fn may_have(&self, view: &ViewName) -> bool {
        self.shared.known.borrow().may_have(view)
    }

    /// Whether it gives its views away, and takes none that others can have.
    pub(crate) fn is_draining(&self) -> bool {
        self.shared.draining.load(Ordering::Acquire)
    }

    fn set_draining(&self, drains: bool) {
        self.shared.draining.store(drains, Ordering::Release);
    }

    /// The same, and its record says so: nobody takes a view of it for one that it would take back.
    fn has_said_that_it_drains(&self) -> bool {
        self.is_draining() && self.shared.said_draining.load(Ordering::Acquire)
    }

    /// Has the conductor look at once: a view has come.
    pub(crate) fn nudge(&self) {
        self.shared.nudge.notify_one();
    }

    /// Between two renewals.
    fn period(&self) -> Duration {
        self.shared.membership.lease / 6
    }
}
