//! A mailbox of a view: bounded, and it knows since when the oldest that is in it waits.
//!
//! What waits where nobody takes it is what a view that is stuck, or whose disk is, looks like from
//! outside; the number alone does not tell that from a view that is busy.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fusion_core::time::{Clock, Monotonic};
use tokio::sync::mpsc;

use super::{Request, ViewGone};

/// A mailbox for so many requests: the end for those who ask, and the thread's.
pub(super) fn with_room(room: usize, clock: &Arc<dyn Clock>) -> (Mailbox, Inbox) {
    let (out, requests) = mpsc::channel(room);
    let arrivals = Arrivals(Arc::default());
    let inbox = Inbox { requests, arrivals: arrivals.clone() };
    (Mailbox { out, arrivals, clock: Arc::clone(clock) }, inbox)
}

/// How much waits in a mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Waiting {
    /// How many.
    pub(crate) count: usize,
    /// For how long the oldest does; nothing if none does.
    pub(crate) oldest: Duration,
}

/// When each that waits came, the oldest first. Locked for one step; nothing is locked under it.
#[derive(Debug, Clone)]
struct Arrivals(Arc<Mutex<VecDeque<Monotonic>>>);

impl Arrivals {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Monotonic>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end for those who ask.
pub(super) struct Mailbox {
    out: mpsc::Sender<Request>,
    arrivals: Arrivals,
    clock: Arc<dyn Clock>,
}

impl Mailbox {
    /// Puts a request in, waiting while there is no room.
    ///
    /// # Errors
    /// [`ViewGone`].
    pub(super) async fn send(&self, request: Request) -> Result<(), ViewGone> {
        let room = self.out.reserve().await.map_err(|_| ViewGone)?;
        // Before the request: the thread takes one away for each that it takes.
        self.arrivals.lock().push_back(self.clock.monotonic());
        room.send(request);
        Ok(())
    }

    pub(super) fn is_closed(&self) -> bool {
        self.out.is_closed()
    }

    pub(super) fn waiting(&self) -> Waiting {
        let arrivals = self.arrivals.lock();
        let oldest = arrivals.front().map(|came| self.clock.monotonic().since(*came));
        Waiting { count: arrivals.len(), oldest: oldest.unwrap_or_default() }
    }
}

impl fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Mailbox").field(&self.waiting()).finish()
    }
}

/// The thread's end.
pub(super) struct Inbox {
    requests: mpsc::Receiver<Request>,
    arrivals: Arrivals,
}

impl Inbox {
    /// Waits for the next request; nothing once nobody can ask any more. Nothing is lost if the wait ends early.
    pub(super) async fn next(&mut self) -> Option<Request> {
        let request = self.requests.recv().await?;
        self.arrivals.lock().pop_front();
        Some(request)
    }

    /// The next request, if there is one.
    pub(super) fn take(&mut self) -> Option<Request> {
        let request = self.requests.try_recv().ok()?;
        self.arrivals.lock().pop_front();
        Some(request)
    }
}
