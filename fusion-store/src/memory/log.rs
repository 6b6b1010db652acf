//! Logs of views in memory.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fusion_core::change::Change;
use fusion_core::time::ServerTime;

use crate::error::StoreError;
use crate::follow::Following;
use crate::ports::{
    ChangeLog, Follow, Guarantee, Health, LogPoint, LogStatus, OpenedLog, Progress, ReadFrom,
    RecordHead, Records, Retention, StoredRecord, Ticket, ViewId, ViewRef,
};

/// The log of all views, in memory.
#[derive(Debug, Default)]
pub struct MemoryLog {
    views: Arc<Mutex<Logs>>,
}

type Logs = BTreeMap<ViewId, Log>;

#[derive(Debug)]
struct Log {
    view: ViewRef,
    start: LogPoint,
    end: LogPoint,
    records: VecDeque<Arc<StoredRecord>>,
    progress: Arc<Progress>,
}

impl MemoryLog {
    fn lock(&self) -> MutexGuard<'_, Logs> {
        lock(&self.views)
    }

    fn with<T>(
        &self,
        view: ViewId,
        act: impl FnOnce(&mut Log) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.lock().get_mut(&view).ok_or(StoreError::NoView { view }).and_then(act)
    }
}

fn lock(views: &Mutex<Logs>) -> MutexGuard<'_, Logs> {
    views.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Log {
    fn read(&self, from: ReadFrom) -> Result<Records, StoreError> {
        let skip = from.check(self.view.id, self.start, self.end)?;
        let wanted = self.records.iter().filter(|record| skip.takes(record.point));
        let records: Vec<_> = wanted.cloned().collect();
        Ok(Box::new(records.into_iter().map(|record| Ok((*record).clone()))))
    }

    /// How many records are dropped: those that the blocks contain and nobody wants kept.
    fn droppable(&self, through: LogPoint, keep: &Retention, now: ServerTime) -> usize {
        let old = |record: &StoredRecord| {
            now.since(record.head.at) > keep.age
                && self.end.revision.0 - record.point.revision.0 >= keep.changes
        };
        let contained = |record: &&Arc<StoredRecord>| record.point.record <= through.record;
        self.records.iter().take_while(contained).take_while(|record| old(record)).count()
    }
}

impl ChangeLog for MemoryLog {
    fn views(&self) -> Result<Vec<ViewRef>, StoreError> {
        Ok(self.lock().values().map(|log| log.view.clone()).collect())
    }

    fn open_at(&self, view: &ViewRef, begin: LogPoint) -> Result<OpenedLog, StoreError> {
        let mut views = self.lock();
        let log = views.entry(view.id).or_insert_with(|| Log {
            view: view.clone(),
            start: begin,
            end: begin,
            records: VecDeque::new(),
            progress: Progress::new(begin),
        });
        log.view.name.clone_from(&view.name);
        Ok(OpenedLog { start: log.start, end: log.end, cut: None })
    }

    fn append(
        &self,
        view: ViewId,
        after: LogPoint,
        head: &RecordHead,
        changes: &[Change],
    ) -> Result<Ticket, StoreError> {
        self.with(view, |log| {
            if log.end != after {
                return Err(StoreError::NotNext { view, after, end: log.end });
            }
            let mut next = after.revision.0;
            for change in changes {
                if change.revision.0 != next + 1 {
                    let why = format!("revision {} follows {next}", change.revision.0);
                    return Err(StoreError::Refused { what: "a record", why });
                }
                next = change.last_revision().0;
            }
            let point = after.after(next - after.revision.0);
            let record = StoredRecord { point, head: head.clone(), changes: changes.to_vec() };
            log.records.push_back(Arc::new(record));
            log.end = point;
            log.progress.advance(point);
            Ok(log.progress.ticket(point))
        })
    }

    fn read(&self, view: ViewId, from: ReadFrom) -> Result<Records, StoreError> {
        self.with(view, |log| log.read(from))
    }

    fn follow(&self, view: ViewId, after: LogPoint) -> Result<Box<dyn Follow>, StoreError> {
        let progress = self.with(view, |log| Ok(Arc::clone(&log.progress)))?;
        let views = Arc::clone(&self.views);
        let following = Following::begin(progress, after, move |after| {
            let views = lock(&views);
            let log = views.get(&view).ok_or(StoreError::NoView { view })?;
            log.read(ReadFrom::After(after))
        });
        Ok(Box::new(following?))
    }

    fn trim(
        &self,
        view: ViewId,
        through: LogPoint,
        keep: &Retention,
        now: ServerTime,
    ) -> Result<LogPoint, StoreError> {
        self.with(view, |log| {
            let count = log.droppable(through, keep, now);
            if let Some(last) = log.records.drain(..count).next_back() {
                log.start = last.point;
            }
            Ok(log.start)
        })
    }

    fn status(&self, view: ViewId) -> Result<LogStatus, StoreError> {
        self.with(view, |log| {
            let records = log.records.iter();
            let bytes = records.map(|record| size_of_val(&*record.changes) as u64).sum();
            Ok(LogStatus {
                start: log.start,
                end: log.end,
                durable: log.end,
                bytes,
                waiting: 0,
                health: Health::Well,
            })
        })
    }

    fn guarantee(&self) -> Guarantee {
        Guarantee::memory()
    }

    fn remove(&self, view: ViewId) -> Result<(), StoreError> {
        if let Some(log) = self.lock().remove(&view) {
            log.progress.close(StoreError::NoView { view });
        }
        Ok(())
    }
}
