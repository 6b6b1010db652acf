//! Writing state behind the back of who must not wait: the session service.
//!
//! What is to be written is left in a map, the latest value of a key in the place of the one before
//! it; a thread writes it and says how far it is. An answer that rests on a write waits for its
//! [`SavePoint`] first. While the disk fails the thread tries again, and nothing is forgotten.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fusion_core::time::ServerTime;
use fusion_proto::status::Refusal;
use fusion_store::{Put, Space, StoreError};
use tokio::sync::watch;

use super::{RETRY as RETRY_LATER, Stores};
use crate::cluster::{Lease, Term};

/// Between two tries.
const RETRY: Duration = Duration::from_millis(250);

/// How long a caller waits for a write before it is told that the store is away.
const PATIENCE: Duration = Duration::from_secs(5);

/// Everything that was put up to some moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct SavePoint(u64);

/// Leaves values for the thread that writes them; a cheap handle. The thread ends, after a last
/// try, when the last handle is dropped.
#[derive(Clone)]
pub(crate) struct Saver {
    door: Arc<Door>,
    written: watch::Receiver<SavePoint>,
}

/// Ends the thread with the last handle.
struct Door {
    desk: Arc<Desk>,
}

#[derive(Default)]
struct Desk {
    pending: Mutex<Pending>,
    news: Condvar,
    /// Of a server that is not alone.
    lease: Option<Lease>,
    /// All up to here may have been dropped.
    dropped: AtomicU64,
}

#[derive(Default)]
struct Pending {
    values: Values,
    after: Vec<After>,
    put: u64,
    is_over: bool,
}

/// The latest value of every key.
type Values = HashMap<(Space, Vec<u8>), Value>;
/// What is done when all that was put before is written.
type After = Box<dyn FnOnce() + Send>;

/// What the thread takes at once.
struct Load {
    values: Values,
    after: Vec<After>,
    point: SavePoint,
}

/// A value and when it may be forgotten.
struct Value {
    bytes: Vec<u8>,
    expires_at: Option<ServerTime>,
    /// The term of the lease in which it was put, where there is one.
    term: Option<Term>,
}

impl Saver {
    /// Begins the thread. It holds the directory of the stores until it has written all.
    ///
    /// # Errors
    /// The operating system gives none.
    pub(crate) fn begin(stores: Stores, lease: Option<Lease>) -> std::io::Result<Self> {
        let desk = Arc::new(Desk { lease, ..Desk::default() });
        let (done, written) = watch::channel(SavePoint::default());
        let door = Arc::new(Door { desk: Arc::clone(&desk) });
        std::thread::Builder::new().name("state writer".to_owned()).spawn(move || {
            while let Some(Load { values, after, point }) = desk.take() {
                if !values.is_empty() && !write_all(&stores, values, &desk, point) {
                    return;
                }
                done.send_replace(point);
                after.into_iter().for_each(|act| act());
            }
        })?;
        Ok(Self { door, written })
    }

    /// Leaves a value to be written.
    pub(crate) fn put(
        &self,
        space: Space,
        key: Vec<u8>,
        bytes: Vec<u8>,
        expires_at: Option<ServerTime>,
    ) -> SavePoint {
        self.put_all([Put { space, key, value: bytes, expires_at }])
    }

    /// Leaves values to be written: after a crash all of them are there, or none.
    pub(crate) fn put_all(&self, puts: impl IntoIterator<Item = Put>) -> SavePoint {
        let term = self.door.desk.lease.as_ref().and_then(Lease::term);
        let mut pending = self.door.desk.lock();
        for Put { space, key, value: bytes, expires_at } in puts {
            pending.values.insert((space, key), Value { bytes, expires_at, term });
            pending.put += 1;
        }
        let point = SavePoint(pending.put);
        drop(pending);
        self.door.desk.news.notify_one();
        point
    }

    /// Has something done, by the thread, when all that was put so far is written. It must not wait.
    pub(crate) fn then(&self, act: impl FnOnce() + Send + 'static) {
        self.door.desk.lock().after.push(Box::new(act));
        self.door.desk.news.notify_one();
    }

    /// All that was put so far.
    pub(crate) fn point(&self) -> SavePoint {
        SavePoint(self.door.desk.lock().put)
    }

    /// Whether it is written by now.
    fn is_written(&self, point: SavePoint) -> bool {
        *self.written.borrow() >= point
    }

    /// Waits until it is written.
    ///
    /// # Errors
    /// SERVER_DRAINING; STORE_UNAVAILABLE if the disk fails for longer than [`PATIENCE`]: the value is
    /// written when it does not any more.
    pub(crate) async fn written(&self, point: SavePoint) -> Result<(), Refusal> {
        self.wait(point).await?;
        match self.door.desk.dropped.load(Ordering::Acquire) >= point.0 && point.0 > 0 {
            true => Err(super::unwritten_yet()),
            false => Ok(()),
        }
    }

    async fn wait(&self, point: SavePoint) -> Result<(), Refusal> {
        if self.is_written(point) {
            return Ok(());
        }
        let mut written = self.written.clone();
        let written = written.wait_for(|written| *written >= point);
        match tokio::time::timeout(PATIENCE, written).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(Refusal::ServerDraining { retry_after: RETRY_LATER }),
            Err(_) => Err(super::unwritten_yet()),
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.desk.lock().is_over = true;
        self.desk.news.notify_one();
    }
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is to be written, once there is something; `None` when there never will be.
    fn take(&self) -> Option<Load> {
        let mut pending = self.lock();
        loop {
            if !pending.values.is_empty() || !pending.after.is_empty() {
                let values = std::mem::take(&mut pending.values);
                let after = std::mem::take(&mut pending.after);
                return Some(Load { values, after, point: SavePoint(pending.put) });
            }
            if pending.is_over {
                return None;
            }
            pending = self.news.wait(pending).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// What an owner writes is not this server's to write any more if its lease has lapsed since: another one may
    /// have written it.
    fn drop_lost(&self, puts: &mut Vec<Put>, terms: &mut Vec<Option<Term>>, point: SavePoint) {
        let Some(lease) = &self.lease else { return };
        let before = puts.len();
        let is_owners = |put: &Put| matches!(put.space, Space::View | Space::Session | Space::Job);
        let mut kept = puts
            .iter()
            .zip(&*terms)
            .map(|(put, term)| !is_owners(put) || term.is_some_and(|term| lease.holds(term)));
        let kept: Vec<bool> = kept.by_ref().collect();
        let (mut of_puts, mut of_terms) = (kept.iter(), kept.iter());
        puts.retain(|_| of_puts.next().is_none_or(|kept| *kept));
        terms.retain(|_| of_terms.next().is_none_or(|kept| *kept));
        if puts.len() < before {
            tracing::warn!(count = before - puts.len(), "not written: the lease has lapsed");
            self.dropped.fetch_max(point.0, Ordering::AcqRel);
        }
    }

    /// Waits a while before the next try; `false` if there shall be none.
    fn pause(&self) -> bool {
        let is_going = |pending: &mut Pending| !pending.is_over;
        let waited = self.news.wait_timeout_while(self.lock(), RETRY, is_going);
        !waited.unwrap_or_else(PoisonError::into_inner).0.is_over
    }
}

/// Writes all at once, until it is written; `false` if the server ended over it.
fn write_all(stores: &Stores, values: Values, desk: &Desk, point: SavePoint) -> bool {
    let put = |((space, key), Value { bytes: value, expires_at, term })| {
        (Put { space, key, value, expires_at }, term)
    };
    let (mut puts, mut terms): (Vec<Put>, Vec<Option<Term>>) = values.into_iter().map(put).unzip();
    let mut is_told = false;
    loop {
        desk.drop_lost(&mut puts, &mut terms, point);
        let Err(error) = stores.state.put_all(&puts) else { return true };
        if !is_told {
            tell(&error);
            is_told = true;
        }
        if !desk.pause() {
            return false;
        }
    }
}

fn tell(error: &StoreError) {
    tracing::error!(%error, "state cannot be written; it is tried again");
}

#[cfg(test)]
mod tests {
    use fusion_store::flaky::{FlakyState, Moods};
    use fusion_store::memory::MemoryState;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn the_directory_is_held_until_the_last_write_is_over() {
        let dir = tempfile::tempdir().unwrap();
        let mut stores = Stores::open(dir.path(), Uuid::from_u128(1), None).unwrap();
        let held = stores.clone();
        let moods = Moods::new(1);
        stores.state = Arc::new(FlakyState::new(Arc::new(MemoryState::default()), moods.clone()));
        let saver = Saver::begin(stores, None).unwrap();
        moods.hang(true);
        saver.put(Space::Session, b"a".to_vec(), b"b".to_vec(), None);
        drop(saver);
        assert!(held.is_shared());
        moods.hang(false);
        while held.is_shared() {
            std::thread::yield_now();
        }
        drop(held);
        Stores::open(dir.path(), Uuid::from_u128(2), None).unwrap();
    }
}
