//! The log of one view: its segments, its queue, and the thread that writes.
//!
//! Owned by `EmbeddedLog`. The writer thread takes all that has gathered, writes it, syncs once and
//! advances the tickets. When the disk fails, what was not synced is still in memory and goes to a
//! new segment, again and again until it is written; meanwhile the health says so. Must never: write
//! a file again that failed to sync, lose what a ticket waits for while the process lives, or hold
//! what appending and [`ViewLog::status`] need while it waits for the disk.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use fusion_core::id::Revision;
use fusion_core::time::ServerTime;

use super::LogSettings;
use super::mark;
use super::queue::{Gathered, Queue};
use super::reader::LogReader;
use super::segment::{Segment, SegmentHead, is_left_over};
use super::tail::Tail;
use crate::disk::Disk;
use crate::error::StoreError;
use crate::ports::{
    Health, LogPoint, LogStatus, OpenedLog, Progress, ReadFrom, Retention, ViewRef,
};

/// The first and the longest wait before a failing disk is tried again.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));
/// Spare files that are kept for new segments.
const SPARES: usize = 2;
const SPARE: &str = "spare-";

/// The log of one view.
#[derive(Debug)]
pub(super) struct ViewLog {
    shared: Arc<Shared>,
    opened: OpenedLog,
    writer: Mutex<Option<JoinHandle<()>>>,
    /// Held while files of segments that are done with are removed or kept for later: one at a time.
    tidying: Mutex<()>,
}

#[derive(Debug)]
pub(super) struct Shared {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    view: ViewRef,
    settings: LogSettings,
    queue: Queue,
    progress: Arc<Progress>,
    /// Never held while the disk is waited for.
    files: Mutex<Files>,
    health: Mutex<Health>,
}

#[derive(Debug)]
struct Files {
    /// Oldest first; the last one is appended to. Never empty.
    segments: Vec<Arc<Segment>>,
    /// Bytes of each.
    lengths: Vec<u64>,
    spares: Vec<PathBuf>,
    /// Segments of which it is not known whether they have a name, or in which nothing got durable:
    /// nothing in them counts.
    orphans: Vec<PathBuf>,
    /// The number of the next segment.
    next: u64,
}

impl ViewLog {
    /// Opens the log in a directory; makes it if there is none, so that it begins after a place.
    pub(super) fn open(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        (view, begin): (&ViewRef, LogPoint),
        settings: LogSettings,
    ) -> Result<Self, StoreError> {
        disk.make_dir(&dir).map_err(StoreError::io("make the directory", &dir))?;
        let mut segments = Vec::new();
        let mut spares = Vec::new();
        for name in disk.list(&dir).map_err(StoreError::io("read", &dir))? {
            let path = dir.join(&name);
            if is_left_over(&name) {
                disk.remove(&path).map_err(StoreError::io("remove", &path))?;
            } else if name.starts_with(SPARE) {
                spares.push(path);
            } else if let Some(segment) = Segment::open(&*disk, &dir, &name)? {
                segments.push(segment);
            }
        }
        let next = segments.last().map_or(1, |last| last.head.number + 1);
        let mut files =
            Files { segments: Vec::new(), lengths: Vec::new(), spares, orphans: Vec::new(), next };
        let (tail, cut) = find_end(&*disk, &dir, (view, begin), segments, &mut files)?;
        let marked = mark::read(&*disk, &dir)?;
        if tail.point < marked {
            let why = format!("it ends at {}, and was closed at {marked}", tail.point);
            let (place, at) = (tail.segment.path.display().to_string(), tail.bytes());
            return Err(StoreError::Corrupt { place, at, why });
        }
        let opened = OpenedLog { start: files.segments[0].head.base, end: tail.point, cut };
        let shared = Arc::new(Shared {
            disk,
            dir,
            view: view.clone(),
            settings,
            queue: Queue::new(tail.point),
            progress: Progress::new(tail.point),
            files: Mutex::new(files),
            health: Mutex::default(),
        });
        let (name, writing) = (format!("log {}", view.name), Arc::clone(&shared));
        let spawned = std::thread::Builder::new().name(name).spawn(move || writing.run(tail));
        let writer = spawned.map_err(StoreError::io("start a thread for", &shared.dir))?;
        Ok(Self { shared, opened, writer: Mutex::new(Some(writer)), tidying: Mutex::default() })
    }

    pub(super) fn queue(&self) -> &Queue {
        &self.shared.queue
    }

    pub(super) fn progress(&self) -> &Arc<Progress> {
        &self.shared.progress
    }

    /// What there is now, as if it had been opened now.
    pub(super) fn opened(&self) -> OpenedLog {
        let start = self.shared.files().segments[0].head.base;
        OpenedLog { start, end: self.queue().end().0, cut: self.opened.cut.clone() }
    }

    pub(super) fn status(&self) -> LogStatus {
        let (end, waiting) = self.queue().end();
        let files = self.shared.files();
        LogStatus {
            start: files.segments[0].head.base,
            end,
            durable: self.progress().durable(),
            bytes: files.lengths.iter().sum(),
            waiting,
            health: self.shared.health().clone(),
        }
    }

    pub(super) fn read(&self, from: ReadFrom) -> Result<LogReader, StoreError> {
        let durable = self.progress().durable();
        let files = self.shared.files();
        let start = files.segments[0].head.base;
        let skip = from.check(self.shared.view.id, start, durable)?;
        Ok(LogReader::new(Arc::clone(&self.shared), &files.segments, skip, durable))
    }

    /// Drops whole segments from the front.
    pub(super) fn trim(
        &self,
        through: LogPoint,
        keep: &Retention,
        now: ServerTime,
    ) -> Result<LogPoint, StoreError> {
        let _tidying = self.tidying();
        let end = self.progress().durable();
        // Or they would be the front of a log of which the rest is gone. Those that come meanwhile are
        // of later segments than any that goes here.
        self.shared.remove_orphans()?;
        let mut dropped = false;
        while let Some((first, length)) = self.take_first(through, keep, now, end) {
            if let Err(error) = self.shared.retire(&first) {
                let mut files = self.shared.files();
                files.segments.insert(0, first);
                files.lengths.insert(0, length);
                return Err(error);
            }
            dropped = true;
        }
        if dropped {
            let dir = &self.shared.dir;
            self.shared.disk.sync_dir(dir).map_err(StoreError::io("sync", dir))?;
        }
        Ok(self.shared.files().segments[0].head.base)
    }

    /// Takes the first segment off, if it may go: nobody finds it from then on.
    fn take_first(
        &self,
        through: LogPoint,
        keep: &Retention,
        now: ServerTime,
        end: LogPoint,
    ) -> Option<(Arc<Segment>, u64)> {
        let mut files = self.shared.files();
        let [_, second, ..] = &*files.segments else { return None };
        let (after, at) = (second.head.base, ServerTime::from_nanos(second.head.base_at));
        let is_old = now.since(at) > keep.age
            && end.revision.0.saturating_sub(after.revision.0) >= keep.changes;
        let is_much = files.lengths.iter().sum::<u64>() > keep.bytes;
        let may_go = after.record <= through.record && (is_old || is_much);
        may_go.then(|| (files.segments.remove(0), files.lengths.remove(0)))
    }

    /// Removes spare files.
    pub(super) fn give_back(&self) -> Result<(), StoreError> {
        let (_tidying, dir) = (self.tidying(), &self.shared.dir);
        loop {
            let spare = self.shared.files().spares.pop();
            let Some(path) = spare else { break };
            if let Err(error) = self.shared.disk.remove(&path) {
                let error = StoreError::io("remove", &path)(error);
                self.shared.files().spares.push(path);
                return Err(error);
            }
        }
        self.shared.disk.sync_dir(dir).map_err(StoreError::io("sync", dir))
    }

    /// To be held while files in the directory are removed.
    pub(super) fn tidying(&self) -> MutexGuard<'_, ()> {
        self.tidying.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what waits and ends the thread.
    pub(super) fn close(&self) {
        self.shared.queue.close();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer {
            // A writer that panicked has closed the tickets by being gone; nothing is left to do.
            drop(writer.join());
        }
        self.shared.progress.close(StoreError::Closed);
    }
}

impl Drop for ViewLog {
    fn drop(&mut self) {
        self.close();
    }
}

/// Finds the end of the log in its segments, or begins it.
fn find_end(
    disk: &dyn Disk,
    dir: &Path,
    (view, begin): (&ViewRef, LogPoint),
    mut segments: Vec<Segment>,
    files: &mut Files,
) -> Result<(Tail, Option<String>), StoreError> {
    let foreign = segments.iter().find(|segment| segment.head.view.id != view.id);
    if let Some(foreign) = foreign {
        let why = format!("it is of view {}", foreign.head.view.id);
        return Err(StoreError::Corrupt { place: foreign.path.display().to_string(), at: 16, why });
    }
    let found = segments.pop().map(|last| Tail::find(disk, last)).transpose()?;
    for segment in segments {
        let length = disk.open(&segment.path, crate::disk::Access::Read);
        let length = length.and_then(|file| file.length());
        files.lengths.push(length.map_err(StoreError::io("read", &segment.path))?);
        files.segments.push(Arc::new(segment));
    }
    let (base, base_at, cut) = match found {
        Some(found) => {
            files.segments.push(Arc::clone(&found.tail.segment));
            files.lengths.push(found.tail.length());
            if !found.dirty {
                return Ok((found.tail, found.cut));
            }
            (found.tail.point, found.tail.last_at, found.cut)
        }
        None => (begin, 0, None),
    };
    let head = SegmentHead { view: view.clone(), number: files.next, base, base_at };
    files.next += 1;
    let (segment, file) = Segment::create(disk, dir, head, None)?;
    let tail = Tail::new(segment, file)?;
    files.segments.push(Arc::clone(&tail.segment));
    files.lengths.push(tail.length());
    Ok((tail, cut))
}

impl Shared {
    fn files(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The writer thread.
    fn run(&self, mut tail: Tail) {
        let (mut gathered, mut retry) = (Gathered::default(), Retry::default());
        while self.queue.take(&mut gathered) {
            while !gathered.is_empty() {
                match self.write(&mut tail, &mut gathered) {
                    Ok(()) if retry.fails > 0 => {
                        *self.health() = Health::Well;
                        retry = Retry::default();
                    }
                    Ok(()) => {}
                    Err(error) => {
                        let Some(renewed) = self.recover(&tail, error, &mut retry) else { return };
                        tail = renewed;
                    }
                }
            }
        }
        // Without these, damage to the last batch could not be told from a batch that was torn.
        let closed = tail.seal().and_then(|()| mark::write(&*self.disk, &self.dir, tail.point));
        if let Err(error) = closed {
            *self.health() = Health::Failing(error);
        }
    }

    fn write(&self, tail: &mut Tail, gathered: &mut Gathered) -> Result<(), StoreError> {
        let next = gathered.marks().first().map_or(0, |mark| mark.bytes as u64);
        let size = self.settings.segment_bytes;
        if tail.bytes() > 0 && tail.bytes() + next > size {
            *tail = self.begin_segment(tail)?;
        }
        tail.write(gathered, size)?;
        if let Some(length) = self.files().lengths.last_mut() {
            *length = tail.length();
        }
        self.progress.advance(tail.point);
        Ok(())
    }

    /// The disk failed: tries again with a new segment until it can be made. `None` if the log is
    /// closed, and it was tried once more. That one can be made does not say that it can be written:
    /// what is small finds room where a batch does not.
    fn recover(&self, tail: &Tail, mut error: StoreError, retry: &mut Retry) -> Option<Tail> {
        loop {
            *self.health() = Health::Failing(error.clone());
            if retry.is_last {
                self.progress.close(error);
                return None;
            }
            retry.is_last = self.queue.pause(retry.wait());
            retry.fails = retry.fails.saturating_add(1);
            // They take room. What cannot be removed now is tried again by the next trim.
            let _ = self.remove_orphans();
            match self.begin_segment(tail) {
                Ok(renewed) => return Some(renewed),
                Err(again) => error = again,
            }
        }
    }

    /// A segment that follows all that is durable. It takes the place of one in which nothing is.
    fn begin_segment(&self, tail: &Tail) -> Result<Tail, StoreError> {
        let (number, spare) = {
            let mut files = self.files();
            files.next += 1;
            (files.next - 1, files.spares.pop())
        };
        let view = self.view.clone();
        let head = SegmentHead { view, number, base: tail.point, base_at: tail.last_at };
        let created = Segment::create(&*self.disk, &self.dir, head, spare.as_deref());
        let renewed = created.and_then(|(segment, file)| Tail::new(segment, file));
        let mut files = self.files();
        let Ok(renewed) = renewed else {
            files.orphans.push(Segment::path(&self.dir, number));
            return renewed;
        };
        if tail.bytes() == 0 {
            files.segments.pop();
            files.lengths.pop();
            files.orphans.push(tail.segment.path.clone());
        }
        files.segments.push(Arc::clone(&renewed.segment));
        files.lengths.push(renewed.length());
        Ok(renewed)
    }

    pub(super) fn disk(&self) -> &dyn Disk {
        &*self.disk
    }

    /// What somebody is told who asks for what comes after a place, if that is trimmed.
    pub(super) fn trimmed_after(&self, point: LogPoint) -> Option<StoreError> {
        let start = self.files().segments[0].head.base;
        let after = |point: LogPoint| Revision(point.revision.0 + 1);
        let (asked, first) = (after(point), after(start));
        let view = self.view.id;
        (point.record < start.record).then_some(StoreError::Trimmed { view, asked, first })
    }

    fn remove_orphans(&self) -> Result<(), StoreError> {
        let mut orphans = std::mem::take(&mut self.files().orphans);
        while let Some(path) = orphans.last() {
            if let Err(error) = self.disk.remove(path) {
                let error = StoreError::io("remove", path)(error);
                self.files().orphans.append(&mut orphans);
                return Err(error);
            }
            orphans.pop();
        }
        Ok(())
    }

    /// Keeps the file of a segment that was taken off for a new one, or removes it if a reader has it
    /// or there are enough.
    fn retire(&self, segment: &Arc<Segment>) -> Result<(), StoreError> {
        let path = &segment.path;
        // One is the caller's.
        if Arc::strong_count(segment) > 1 || self.files().spares.len() >= SPARES {
            return self.disk.remove(path).map_err(StoreError::io("remove", path));
        }
        let spare = self.dir.join(format!("{SPARE}{:016x}", segment.head.number));
        self.disk.rename(path, &spare).map_err(StoreError::io("rename", path))?;
        self.files().spares.push(spare);
        Ok(())
    }
}

/// How often the disk has failed since something was written.
#[derive(Debug, Default)]
struct Retry {
    fails: u32,
    /// The log closes: nobody waits for another try.
    is_last: bool,
}

impl Retry {
    fn wait(&self) -> Duration {
        RETRY.0.saturating_mul(1 << self.fails.min(16)).min(RETRY.1)
    }
}
