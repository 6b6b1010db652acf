//! Tickets: what was appended, and whether it is durable yet.
//!
//! Owns how far the log of a view is durable. An adapter advances it after every sync; who
//! acknowledges waits, as a thread ([`Ticket::wait`]) or as a task (a ticket is a future, of no
//! runtime). Must never: become ready before the sync, or out of order.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::LogPoint;
use crate::error::StoreError;

/// How far the log of a view is durable; the adapter's side.
#[derive(Debug)]
pub struct Progress {
    state: Mutex<State>,
    moved: Condvar,
}

#[derive(Debug)]
struct State {
    durable: LogPoint,
    closed: Option<StoreError>,
    wakers: Vec<(u64, Waker)>,
}

impl Progress {
    /// Everything up to `durable` is.
    #[must_use]
    pub fn new(durable: LogPoint) -> Arc<Self> {
        let state = State { durable, closed: None, wakers: Vec::new() };
        Arc::new(Self { state: Mutex::new(state), moved: Condvar::new() })
    }

    /// How far it is durable.
    #[must_use]
    pub fn durable(&self) -> LogPoint {
        self.lock().durable
    }

    /// Everything up to `durable` is on disk.
    pub fn advance(&self, durable: LogPoint) {
        let mut state = self.lock();
        state.durable = state.durable.max(durable);
        let through = state.durable.record;
        let (due, rest) =
            std::mem::take(&mut state.wakers).into_iter().partition(|(at, _)| *at <= through);
        state.wakers = rest;
        drop(state);
        self.moved.notify_all();
        wake(due);
    }

    /// Nothing more will be durable: all who wait are told why.
    pub fn close(&self, why: StoreError) {
        let mut state = self.lock();
        state.closed.get_or_insert(why);
        let due = std::mem::take(&mut state.wakers);
        drop(state);
        self.moved.notify_all();
        wake(due);
    }

    /// Waits until something after a place is durable, at most for `limit`; whether it is.
    ///
    /// # Errors
    /// Nothing more will be durable.
    pub fn wait_past(&self, point: LogPoint, limit: Duration) -> Result<bool, StoreError> {
        let is_quiet =
            |state: &mut State| state.durable.record <= point.record && state.closed.is_none();
        let waited = self.moved.wait_timeout_while(self.lock(), limit, is_quiet);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        match &state.closed {
            _ if state.durable.record > point.record => Ok(true),
            Some(why) => Err(why.clone()),
            None => Ok(false),
        }
    }

    /// A ticket for what ends at a place.
    pub fn ticket(self: &Arc<Self>, point: LogPoint) -> Ticket {
        Ticket { progress: Arc::clone(self), point }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wake(due: Vec<(u64, Waker)>) {
    due.into_iter().for_each(|(_, waker)| waker.wake());
}

impl State {
    fn outcome(&self, point: LogPoint) -> Option<Result<LogPoint, StoreError>> {
        if self.durable.record >= point.record {
            return Some(Ok(point));
        }
        self.closed.clone().map(Err)
    }
}

/// Something that was appended. Cheap to clone; dropping it changes nothing.
#[derive(Debug, Clone)]
#[must_use = "acknowledge only after the ticket says that it is durable"]
pub struct Ticket {
    progress: Arc<Progress>,
    point: LogPoint,
}

impl Ticket {
    /// The place after what was appended.
    #[must_use]
    pub fn point(&self) -> LogPoint {
        self.point
    }

    /// Whether it is durable now.
    #[must_use]
    pub fn is_durable(&self) -> bool {
        self.progress.durable().record >= self.point.record
    }

    /// Waits until it is durable. While a disk fails this takes as long as the disk does.
    ///
    /// # Errors
    /// The store was closed before.
    pub fn wait(&self) -> Result<LogPoint, StoreError> {
        let mut state = self.progress.lock();
        loop {
            if let Some(outcome) = state.outcome(self.point) {
                return outcome;
            }
            state = self.progress.moved.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Future for Ticket {
    type Output = Result<LogPoint, StoreError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.progress.lock();
        if let Some(outcome) = state.outcome(self.point) {
            return Poll::Ready(outcome);
        }
        let (record, waker) = (self.point.record, context.waker());
        let known = |(at, known): &(u64, Waker)| *at == record && known.will_wake(waker);
        if !state.wakers.iter().any(known) {
            state.wakers.push((record, waker.clone()));
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use fusion_core::id::Revision;

    use super::*;

    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn point(record: u64) -> LogPoint {
        LogPoint { record, revision: Revision(10 * record) }
    }

    #[test]
    fn a_ticket_is_ready_after_the_sync_and_not_before() {
        let progress = Progress::new(point(3));
        assert!(progress.ticket(point(3)).wait().is_ok());
        let (mut fifth, mut sixth) = (progress.ticket(point(5)), progress.ticket(point(6)));
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let waker = Waker::from(Arc::clone(&count));
        let mut context = Context::from_waker(&waker);
        for _ in 0..3 {
            assert!(Pin::new(&mut fifth).poll(&mut context).is_pending());
            assert!(Pin::new(&mut sixth).poll(&mut context).is_pending());
        }
        progress.advance(point(4));
        assert!(!fifth.is_durable() && count.0.load(Ordering::SeqCst) == 0);
        progress.advance(point(5));
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
        assert!(Pin::new(&mut fifth).poll(&mut context).is_ready() && !sixth.is_durable());
        progress.close(StoreError::Closed);
        assert_eq!(count.0.load(Ordering::SeqCst), 2);
        assert!(matches!(sixth.wait(), Err(StoreError::Closed)));
        assert!(fifth.wait().is_ok(), "what is durable stays so");
    }

    #[test]
    fn a_thread_waits_for_another() {
        let progress = Progress::new(LogPoint::default());
        let ticket = progress.ticket(point(1));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| ticket.wait());
            progress.advance(point(1));
            assert_eq!(waiting.join().unwrap().unwrap(), point(1));
        });
    }
}
