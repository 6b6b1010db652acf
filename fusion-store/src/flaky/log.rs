//! A log whose disk fails: what is appended meanwhile is kept and durable later, or lost in a crash.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fusion_core::change::Change;
use fusion_core::time::ServerTime;

use super::{Moods, failure};
use crate::error::StoreError;
use crate::ports::{
    ChangeLog, Follow, Guarantee, Health, LogPoint, LogStatus, OpenedLog, Progress, ReadFrom,
    RecordHead, Records, Retention, StoredRecord, Ticket, ViewId, ViewRef,
};

/// A log that fails as its moods say.
#[derive(Debug)]
pub struct FlakyLog<L> {
    inner: Arc<L>,
    moods: Moods,
    views: Mutex<BTreeMap<ViewId, Held>>,
}

/// What was appended to a view and is not durable.
#[derive(Debug)]
struct Held {
    progress: Arc<Progress>,
    end: LogPoint,
    records: VecDeque<(LogPoint, RecordHead, Vec<Change>)>,
}

impl<L: ChangeLog> FlakyLog<L> {
    /// Wraps a log.
    pub fn new(inner: Arc<L>, moods: Moods) -> Self {
        Self { inner, moods, views: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ViewId, Held>> {
        self.views.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tries to make durable what is held, as a store does by itself from time to time.
    pub fn settle(&self) {
        for (view, held) in self.lock().iter_mut() {
            self.settle_view(*view, held);
        }
    }

    fn settle_view(&self, view: ViewId, held: &mut Held) {
        while let Some((after, head, changes)) = held.records.front() {
            if self.moods.is_hanging() || self.moods.fails() {
                return;
            }
            let appended = self.inner.append(view, *after, head, changes);
            let Ok(point) = appended.and_then(|ticket| ticket.wait()) else { return };
            held.records.pop_front();
            held.progress.advance(point);
        }
    }

    /// The server dies: what is not durable is lost, save the first so many records, which reached
    /// the disk unacknowledged. Views must be opened again.
    pub fn crash(&self, written: usize) {
        for (view, held) in std::mem::take(&mut *self.lock()) {
            for (after, head, changes) in held.records.iter().take(written) {
                let appended = self.inner.append(view, *after, head, changes);
                drop(appended.and_then(|ticket| ticket.wait()));
            }
            held.progress.close(StoreError::Closed);
        }
    }
}

impl<L: ChangeLog> ChangeLog for FlakyLog<L> {
    fn views(&self) -> Result<Vec<ViewRef>, StoreError> {
        self.moods.call("list the views of")?;
        self.inner.views()
    }

    fn open_at(&self, view: &ViewRef, begin: LogPoint) -> Result<OpenedLog, StoreError> {
        self.moods.call("open")?;
        let opened = self.inner.open_at(view, begin)?;
        let mut views = self.lock();
        let held = views.entry(view.id).or_insert_with(|| Held {
            progress: Progress::new(opened.end),
            end: opened.end,
            records: VecDeque::new(),
        });
        Ok(OpenedLog { end: held.end, ..opened })
    }

    fn append(
        &self,
        view: ViewId,
        after: LogPoint,
        head: &RecordHead,
        changes: &[Change],
    ) -> Result<Ticket, StoreError> {
        let mut views = self.lock();
        let held = views.get_mut(&view).ok_or(StoreError::NoView { view })?;
        if held.end != after {
            return Err(StoreError::NotNext { view, after, end: held.end });
        }
        // The encoder says whether this is a record, and where it ends.
        let mut encoder = crate::codec::Encoder::default();
        let point = encoder.encode(after, head, changes, &mut Vec::new())?;
        held.records.push_back((after, head.clone(), changes.to_vec()));
        held.end = point;
        self.settle_view(view, held);
        Ok(held.progress.ticket(point))
    }

    fn read(&self, view: ViewId, from: ReadFrom) -> Result<Records, StoreError> {
        self.moods.call("read")?;
        let (records, moods) = (self.inner.read(view, from)?, self.moods.clone());
        let mut broken = false;
        Ok(Box::new(records.map_while(move |record| {
            let end = broken;
            broken |= moods.fails();
            let record = if broken { Err(failure("read on in")) } else { record };
            (!end).then_some(record)
        })))
    }

    fn follow(&self, view: ViewId, after: LogPoint) -> Result<Box<dyn Follow>, StoreError> {
        self.moods.call("follow")?;
        let inner = self.inner.follow(view, after)?;
        Ok(Box::new(FlakyFollow { inner, moods: self.moods.clone() }))
    }

    fn trim(
        &self,
        view: ViewId,
        through: LogPoint,
        keep: &Retention,
        now: ServerTime,
    ) -> Result<LogPoint, StoreError> {
        self.moods.call("trim")?;
        self.inner.trim(view, through, keep, now)
    }

    fn status(&self, view: ViewId) -> Result<LogStatus, StoreError> {
        let mut views = self.lock();
        let held = views.get_mut(&view).ok_or(StoreError::NoView { view })?;
        self.settle_view(view, held);
        let status = self.inner.status(view)?;
        let health = match held.records.len() {
            0 => status.health,
            _ => Health::Failing(failure("append to")),
        };
        let waiting = status.waiting + held.records.len();
        Ok(LogStatus { end: held.end, waiting, health, ..status })
    }

    fn guarantee(&self) -> Guarantee {
        self.inner.guarantee()
    }

    fn remove(&self, view: ViewId) -> Result<(), StoreError> {
        self.moods.call("remove")?;
        if let Some(held) = self.lock().remove(&view) {
            held.progress.close(StoreError::NoView { view });
        }
        self.inner.remove(view)
    }
}

struct FlakyFollow {
    inner: Box<dyn Follow>,
    moods: Moods,
}

impl Follow for FlakyFollow {
    fn next(&mut self, limit: Duration) -> Result<Option<StoredRecord>, StoreError> {
        let next = self.inner.next(limit);
        // After the wait: what came while the store failed was not told.
        self.moods.call("follow")?;
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryLog;
    use crate::sample;

    fn append(log: &FlakyLog<MemoryLog>, after: LogPoint) -> Ticket {
        let (view, head) = (sample::view(1), sample::full_head());
        log.append(view.id, after, &head, &sample::batch(after, 3)).unwrap()
    }

    #[test]
    fn what_hangs_is_durable_later_and_what_is_lost_was_never_acknowledged() {
        let (moods, view) = (Moods::new(1), sample::view(1));
        let log = FlakyLog::new(Arc::new(MemoryLog::default()), moods.clone());
        log.open(&view).unwrap();
        let first = append(&log, LogPoint::default());
        assert!(first.is_durable());
        moods.hang(true);
        let second = append(&log, first.point());
        let third = append(&log, second.point());
        assert!(!second.is_durable() && !log.status(view.id).unwrap().health.is_well());
        moods.hang(false);
        log.settle();
        assert!(third.is_durable() && log.status(view.id).unwrap().health.is_well());
        moods.fail(1000);
        let fourth = append(&log, third.point());
        let fifth = append(&log, fourth.point());
        log.crash(1);
        assert!(fourth.wait().is_err() && fifth.wait().is_err());
        assert!(log.open(&view).is_err());
        moods.fail(0);
        assert_eq!(log.open(&view).unwrap().end, fourth.point(), "one was written all the same");
        assert_eq!(log.read(view.id, ReadFrom::Start).unwrap().count(), 4);
        assert!(append(&log, fourth.point()).is_durable());
    }

    #[test]
    fn reading_breaks_off_with_an_error() {
        let (moods, view) = (Moods::new(3), sample::view(1));
        let log = FlakyLog::new(Arc::new(MemoryLog::default()), moods.clone());
        log.open(&view).unwrap();
        let end = (0..50).fold(LogPoint::default(), |after, _| append(&log, after).point());
        let records = log.read(view.id, ReadFrom::Start).unwrap();
        moods.fail(100);
        let read: Vec<_> = records.collect();
        assert!(read.len() < 50 && read.last().unwrap().is_err() && moods.failures() > 0);
        assert!(read[..read.len() - 1].iter().all(Result::is_ok));
        assert_eq!(log.status(view.id).unwrap().end, end);
    }
}
