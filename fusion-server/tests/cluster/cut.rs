//! Stores that a server can be cut off from, and a clock that can be stopped with it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fusion_core::change::Change;
use fusion_core::time::{Clock, Monotonic, ServerTime};
use fusion_server::clock::RuntimeClock;
use fusion_store::{
    Blocks, BlocksFigures, ChangeLog, CheckpointWriter, Claim, Claimed, Expect, Follow, Guarantee,
    Item, Loaded, LogPoint, LogStatus, Member, OpenedLog, Ownership, Page, Put, ReadFrom,
    RecordHead, Records, Retention, Roll, ServerId, Space, Stamp, State, StoreError, StoredRecord,
    Swap, Ticket, Version, ViewId, ViewRef,
};

/// Whether a server reaches its stores.
#[derive(Debug, Clone, Default)]
pub(crate) struct Switch(Arc<AtomicBool>);

impl Switch {
    pub(crate) fn cut(&self, cut: bool) {
        self.0.store(cut, Ordering::SeqCst);
    }

    fn check(&self) -> Result<(), StoreError> {
        if !self.0.load(Ordering::SeqCst) {
            return Ok(());
        }
        let error = std::io::Error::other("cut off");
        Err(StoreError::io("reach", std::path::Path::new("the engine"))(error))
    }
}

/// A port behind a switch.
pub(crate) struct Cut<P: ?Sized> {
    pub(crate) switch: Switch,
    pub(crate) port: Arc<P>,
}

impl<P: ?Sized> Cut<P> {
    pub(crate) fn new(switch: &Switch, port: &Arc<P>) -> Arc<Self> {
        Arc::new(Self { switch: switch.clone(), port: Arc::clone(port) })
    }

    fn get(&self) -> Result<&P, StoreError> {
        self.switch.check().map(|()| &*self.port)
    }
}

impl ChangeLog for Cut<dyn ChangeLog> {
    fn views(&self) -> Result<Vec<ViewRef>, StoreError> {
        self.get()?.views()
    }

    fn open_at(&self, view: &ViewRef, begin: LogPoint) -> Result<OpenedLog, StoreError> {
        self.get()?.open_at(view, begin)
    }

    fn append(
        &self,
        view: ViewId,
        after: LogPoint,
        head: &RecordHead,
        changes: &[Change],
    ) -> Result<Ticket, StoreError> {
        self.get()?.append(view, after, head, changes)
    }

    fn read(&self, view: ViewId, from: ReadFrom) -> Result<Records, StoreError> {
        self.get()?.read(view, from)
    }

    fn follow(&self, view: ViewId, after: LogPoint) -> Result<Box<dyn Follow>, StoreError> {
        let inner = self.get()?.follow(view, after)?;
        Ok(Box::new(CutFollow { switch: self.switch.clone(), inner }))
    }

    fn trim(
        &self,
        view: ViewId,
        through: LogPoint,
        keep: &Retention,
        now: ServerTime,
    ) -> Result<LogPoint, StoreError> {
        self.get()?.trim(view, through, keep, now)
    }

    fn status(&self, view: ViewId) -> Result<LogStatus, StoreError> {
        self.get()?.status(view)
    }

    fn guarantee(&self) -> Guarantee {
        self.port.guarantee()
    }

    fn remove(&self, view: ViewId) -> Result<(), StoreError> {
        self.get()?.remove(view)
    }
}

/// A server's own handle on the log, as engines outside have it: it knows the end from when it was opened, and from
/// what it has appended itself.
pub(crate) struct Handle {
    log: Arc<dyn ChangeLog>,
    ends: Mutex<HashMap<ViewId, LogPoint>>,
}

impl Handle {
    pub(crate) fn on(log: &Arc<dyn ChangeLog>) -> Arc<dyn ChangeLog> {
        Arc::new(Self { log: Arc::clone(log), ends: Mutex::default() })
    }
}

impl ChangeLog for Handle {
    fn views(&self) -> Result<Vec<ViewRef>, StoreError> {
        self.log.views()
    }

    fn open(&self, view: &ViewRef) -> Result<OpenedLog, StoreError> {
        let mut ends = self.ends.lock().unwrap();
        let opened = self.log.open(view)?;
        ends.insert(view.id, opened.end);
        Ok(opened)
    }

    fn open_at(&self, view: &ViewRef, at: LogPoint) -> Result<OpenedLog, StoreError> {
        let mut ends = self.ends.lock().unwrap();
        let opened = self.log.open_at(view, at)?;
        ends.insert(view.id, opened.end);
        Ok(opened)
    }

    fn append(
        &self,
        view: ViewId,
        after: LogPoint,
        head: &RecordHead,
        changes: &[Change],
    ) -> Result<Ticket, StoreError> {
        let mut ends = self.ends.lock().unwrap();
        let end = *ends.get(&view).ok_or(StoreError::NoView { view })?;
        if after != end {
            return Err(StoreError::NotNext { view, after, end });
        }
        let ticket = self.log.append(view, after, head, changes)?;
        ends.insert(view, ticket.point());
        Ok(ticket)
    }

    fn read(&self, view: ViewId, from: ReadFrom) -> Result<Records, StoreError> {
        self.log.read(view, from)
    }

    fn follow(&self, view: ViewId, after: LogPoint) -> Result<Box<dyn Follow>, StoreError> {
        self.log.follow(view, after)
    }

    fn trim(
        &self,
        view: ViewId,
        through: LogPoint,
        keep: &Retention,
        now: ServerTime,
    ) -> Result<LogPoint, StoreError> {
        self.log.trim(view, through, keep, now)
    }

    fn status(&self, view: ViewId) -> Result<LogStatus, StoreError> {
        self.log.status(view)
    }

    fn guarantee(&self) -> Guarantee {
        self.log.guarantee()
    }

    fn remove(&self, view: ViewId) -> Result<(), StoreError> {
        self.log.remove(view)
    }
}

struct CutFollow {
    switch: Switch,
    inner: Box<dyn Follow>,
}

impl Follow for CutFollow {
    fn next(&mut self, limit: Duration) -> Result<Option<StoredRecord>, StoreError> {
        let next = self.inner.next(limit);
        self.switch.check()?;
        next
    }
}

impl Blocks for Cut<dyn Blocks> {
    fn views(&self) -> Result<Vec<ViewRef>, StoreError> {
        self.get()?.views()
    }

    fn begin(
        &self,
        view: &ViewRef,
        contains: LogPoint,
    ) -> Result<Box<dyn CheckpointWriter>, StoreError> {
        self.get()?.begin(view, contains)
    }

    fn contains(&self, view: ViewId) -> Result<Option<LogPoint>, StoreError> {
        self.get()?.contains(view)
    }

    fn load(
        &self,
        view: ViewId,
        take: &mut dyn FnMut(Loaded<'_>) -> Result<(), StoreError>,
    ) -> Result<Option<LogPoint>, StoreError> {
        self.get()?.load(view, take)
    }

    fn figures(&self, view: ViewId) -> Result<BlocksFigures, StoreError> {
        self.get()?.figures(view)
    }

    fn compact(&self, view: ViewId) -> Result<(), StoreError> {
        self.get()?.compact(view)
    }

    fn remove(&self, view: ViewId) -> Result<(), StoreError> {
        self.get()?.remove(view)
    }
}

impl State for Cut<dyn State> {
    fn guarantee(&self) -> Guarantee {
        self.port.guarantee()
    }

    fn get(&self, space: Space, key: &[u8], now: ServerTime) -> Result<Option<Item>, StoreError> {
        self.get()?.get(space, key, now)
    }

    fn put(
        &self,
        space: Space,
        key: &[u8],
        value: &[u8],
        expires_at: Option<ServerTime>,
    ) -> Result<Version, StoreError> {
        self.get()?.put(space, key, value, expires_at)
    }

    fn put_all(&self, puts: &[Put]) -> Result<(), StoreError> {
        self.get()?.put_all(puts)
    }

    fn compare_and_swap(
        &self,
        space: Space,
        key: &[u8],
        expect: Expect,
        value: &[u8],
        expires_at: Option<ServerTime>,
        now: ServerTime,
    ) -> Result<Swap, StoreError> {
        self.get()?.compare_and_swap(space, key, expect, value, expires_at, now)
    }

    fn delete(&self, space: Space, key: &[u8]) -> Result<bool, StoreError> {
        self.get()?.delete(space, key)
    }

    fn scan(
        &self,
        space: Space,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
        now: ServerTime,
    ) -> Result<Page, StoreError> {
        self.get()?.scan(space, prefix, after, limit, now)
    }

    fn expire(&self, now: ServerTime, limit: usize) -> Result<usize, StoreError> {
        self.get()?.expire(now, limit)
    }
}

impl Ownership for Cut<dyn Ownership> {
    fn renew(&self, member: &Member) -> Result<Stamp, StoreError> {
        self.get()?.renew(member)
    }

    fn strike(&self, server: ServerId, stamp: Stamp) -> Result<bool, StoreError> {
        self.get()?.strike(server, stamp)
    }

    fn claim(&self, claim: &Claim, expect: Option<Stamp>) -> Result<Claimed, StoreError> {
        self.get()?.claim(claim, expect)
    }

    fn forget(&self, view: ViewId) -> Result<(), StoreError> {
        self.get()?.forget(view)
    }

    fn roll(&self) -> Result<Roll, StoreError> {
        self.get()?.roll()
    }

    fn wait(&self, after: Stamp, limit: Duration) -> Result<(), StoreError> {
        self.get()?.wait(after, limit)
    }
}

/// A clock that stands still while its server is stopped, as it itself sees it.
pub(crate) struct Stoppable {
    clock: RuntimeClock,
    /// Since when; 0 while it goes.
    since: AtomicI64,
}

impl Stoppable {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { clock: RuntimeClock::new(), since: AtomicI64::new(0) })
    }

    pub(crate) fn stop(&self) {
        self.since.store(self.clock.monotonic().as_nanos(), Ordering::SeqCst);
    }

    pub(crate) fn go_on(&self) {
        self.since.store(0, Ordering::SeqCst);
    }
}

impl Clock for Stoppable {
    fn now(&self) -> ServerTime {
        self.clock.now()
    }

    fn monotonic(&self) -> Monotonic {
        match self.since.load(Ordering::SeqCst) {
            0 => self.clock.monotonic(),
            since => Monotonic::from_nanos(since),
        }
    }
}
