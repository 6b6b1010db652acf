//! The blocks of one view: its files, and tidying them up.
//!
//! The files are a log of what was put. The oldest one is dropped after what is live in it was put
//! again, at the end; so deletions never have to be kept for longer than what they delete.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::BlocksSettings;
use super::contents::{Contents, FileRoom};
use super::file::{self, Entry, IndexIn, Opened};
use super::writer::{Part, Writer, is_left_over};
use crate::disk::{Access, Disk};
use crate::error::{Malformed, StoreError};
use crate::ports::{BlocksFigures, Loaded, LogPoint, ViewId, ViewRef};

/// Old files that are put together at a time.
const TOGETHER: usize = 8;
/// Bytes that are read at a time.
const READ: usize = 4 << 20;

/// Who takes a value with its line of the index.
type TakeValue<'a> = dyn FnMut(&Entry<'_>, &[u8]) -> Result<(), StoreError> + 'a;

/// The blocks of one view.
#[derive(Debug)]
pub(super) struct ViewBlocks {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
    pub(super) settings: BlocksSettings,
    contents: Mutex<Contents>,
    writing: Mutex<Writing>,
}

#[derive(Debug, Default)]
struct Writing {
    /// Somebody writes a checkpoint.
    busy: bool,
    /// Files of checkpoints that were not committed. While one is there nothing can be written, or
    /// it would count as what follows.
    orphans: Vec<PathBuf>,
}

impl ViewBlocks {
    /// Reads what is in a directory; nothing is if it is not there.
    pub(super) fn open(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        id: ViewId,
        settings: BlocksSettings,
    ) -> Result<Arc<Self>, StoreError> {
        let names = match disk.list(&dir) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            names => names.map_err(StoreError::io("read", &dir))?,
        };
        let mut contents = Contents::default();
        // Files of a checkpoint of which the last one is not there yet.
        let mut pending: Vec<(PathBuf, Opened)> = Vec::new();
        let (mut expected, mut needed) = (None, None);
        for name in &names {
            let path = dir.join(name);
            if is_left_over(name) {
                disk.remove(&path).map_err(StoreError::io("remove", &path))?;
            }
            let Some(number) = file::number(name) else { continue };
            let opened = file::open(&*disk, &path)?;
            if number != expected.unwrap_or(number) || opened.head.view.id != id {
                let why = format!("a file of blocks is missing before it, or it is not of {id}");
                return Err(StoreError::Corrupt { place: path.display().to_string(), at: 0, why });
            }
            expected = Some(number + 1);
            let (ends, contains) = (opened.trailer.ends, opened.trailer.contains);
            let oldest = opened.head.oldest;
            pending.push((path, opened));
            if ends {
                needed = oldest;
                contents.contains =
                    pending.last().map(|(_, last)| (last.head.view.clone(), contains));
                for (path, opened) in pending.drain(..) {
                    let followed =
                        contents.follow(opened.head.number, opened.length, &opened.index);
                    followed
                        .map_err(StoreError::corrupt(path.display(), opened.trailer.index_at))?;
                }
            }
        }
        let first = contents.files.first().map(|first| first.number);
        if needed.zip(first).is_some_and(|(needed, first)| first > needed) {
            let why = "files of blocks are missing before the first one that there is".to_owned();
            return Err(StoreError::Corrupt { place: dir.display().to_string(), at: 0, why });
        }
        for (path, _) in pending.iter().rev() {
            disk.remove(path).map_err(StoreError::io("remove", path))?;
        }
        let (contents, writing) = (Mutex::new(contents), Mutex::default());
        Ok(Arc::new(Self { disk, dir, settings, contents, writing }))
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn writing(&self) -> MutexGuard<'_, Writing> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The view and the place that its checkpoint contains, if it has one.
    pub(super) fn contains(&self) -> Option<(ViewRef, LogPoint)> {
        self.contents().contains.clone()
    }

    pub(super) fn figures(&self) -> BlocksFigures {
        self.contents().figures()
    }

    /// Begins a checkpoint if nobody else writes one.
    pub(super) fn begin(
        self: &Arc<Self>,
        view: &ViewRef,
        contains: LogPoint,
    ) -> Result<Writer, StoreError> {
        self.disk.make_dir(&self.dir).map_err(StoreError::io("make the directory", &self.dir))?;
        let mut writing = self.writing();
        if writing.busy {
            let why = "another one is being written".to_owned();
            return Err(StoreError::Refused { what: "a checkpoint", why });
        }
        if !writing.orphans.is_empty() {
            // As when a directory is opened: what a crash leaves of them is then never without the file
            // before it, and ends in no checkpoint.
            for path in writing.orphans.iter().rev() {
                self.disk.remove(path).map_err(StoreError::io("remove", path))?;
            }
            self.disk.sync_dir(&self.dir).map_err(StoreError::io("sync", &self.dir))?;
            writing.orphans.clear();
        }
        writing.busy = true;
        let contents = self.contents();
        let first = contents.next();
        let oldest = contents.files.first().map_or(first, |oldest| oldest.number);
        drop(contents);
        Ok(Writer::new(Arc::clone(self), view.clone(), contains, first, oldest))
    }

    /// The turn to write is over; these files are left over from it.
    pub(super) fn end_writing(&self, orphans: Vec<PathBuf>) {
        let mut writing = self.writing();
        writing.busy = false;
        writing.orphans.extend(orphans);
    }

    /// The files of a checkpoint are all there.
    pub(super) fn committed(
        &self,
        view: &ViewRef,
        parts: &[Part],
        contains: LogPoint,
    ) -> Result<(), StoreError> {
        let mut contents = self.contents();
        for part in parts {
            let followed = contents.follow(part.number, part.stored, &part.index);
            followed
                .map_err(StoreError::corrupt(file::path(&self.dir, part.number).display(), 0))?;
        }
        contents.contains = Some((view.clone(), contains));
        Ok(())
    }

    /// Hands out all values.
    pub(super) fn load(
        &self,
        take: &mut dyn FnMut(Loaded<'_>) -> Result<(), StoreError>,
    ) -> Result<Option<LogPoint>, StoreError> {
        let contents = self.contents();
        for room in contents.files.iter().filter(|room| room.values > 0) {
            self.values(&contents, room.number, &mut |entry, bytes| match entry {
                Entry::Put(id, _) => take(Loaded::Block(*id, bytes)),
                Entry::PutNamed(name, _) => take(Loaded::Named(name, bytes)),
                Entry::Delete(_) | Entry::Clear => Ok(()),
            })?;
        }
        Ok(contents.contains.as_ref().map(|(_, contains)| *contains))
    }

    /// Reads the live values of a file in their order.
    fn values(
        &self,
        contents: &Contents,
        number: u64,
        take: &mut TakeValue<'_>,
    ) -> Result<(), StoreError> {
        let path = file::path(&self.dir, number);
        let opened = file::open(&*self.disk, &path)?;
        let file = self.disk.open(&path, Access::Read).map_err(StoreError::io("read", &path))?;
        let corrupt = |at| StoreError::corrupt(path.display(), at);
        let (mut buffer, mut buffer_at) = (Vec::new(), 0);
        let mut lines = IndexIn::new(&opened.index);
        while let Some(entry) = lines.next().map_err(corrupt(opened.trailer.index_at))? {
            let (Entry::Put(_, span) | Entry::PutNamed(_, span)) = entry else { continue };
            if !contents.is_live(number, &entry) {
                continue;
            }
            let end = span.at + u64::from(span.bytes);
            if end > buffer_at + buffer.len() as u64 {
                buffer_at = span.at;
                buffer.resize(READ.max(span.bytes as usize), 0);
                let count = file.read_at(&mut buffer, buffer_at);
                buffer.truncate(count.map_err(StoreError::io("read", &path))?);
            }
            let start = (span.at - buffer_at) as usize;
            let bytes = buffer.get(start..start + span.bytes as usize);
            let bytes = bytes.filter(|bytes| crc32fast::hash(bytes) == span.crc);
            let damaged = || corrupt(span.at)(Malformed::Broken("a block is damaged"));
            take(&entry, bytes.ok_or_else(damaged)?)?;
        }
        Ok(())
    }

    /// Drops old files while more than half as much again is stored as is live.
    pub(super) fn tidy(self: &Arc<Self>) -> Result<(), StoreError> {
        self.drop_while(|files, figures| {
            let allowed = figures.live_bytes / 2 * 3 + self.settings.slack_bytes;
            figures.stored_bytes > allowed || files > self.settings.files_max
        })
    }

    /// Drops old files while there is more than a little that is not live.
    pub(super) fn compact(self: &Arc<Self>) -> Result<(), StoreError> {
        self.drop_while(|_, figures| {
            let little = self.settings.slack_bytes / 16;
            figures.stored_bytes > figures.live_bytes / 16 * 17 + little
        })
    }

    /// Drops the files that are there now, the oldest first, for as long as it is worth it.
    fn drop_while(
        self: &Arc<Self>,
        worth: impl Fn(usize, BlocksFigures) -> bool,
    ) -> Result<(), StoreError> {
        let last = self.contents().next();
        loop {
            let contents = self.contents();
            let oldest = self.oldest(&contents, last);
            let Some((view, contains)) = contents.contains.clone() else { return Ok(()) };
            if oldest.is_empty() || !worth(contents.files.len(), contents.figures()) {
                return Ok(());
            }
            drop(contents);
            self.drop_oldest(&oldest, &view, contains)?;
        }
    }

    /// The oldest files, as many as make up one new file.
    fn oldest(&self, contents: &Contents, before: u64) -> Vec<FileRoom> {
        let mut live = 0;
        let files = contents.files.iter().take_while(|file| file.number < before).take(TOGETHER);
        let fits = |file: &&FileRoom| {
            let first = live == 0;
            live += file.live;
            first || live <= self.settings.file_bytes
        };
        files.take_while(fits).copied().collect()
    }

    /// Puts what is live in the oldest files at the end, and drops the files.
    fn drop_oldest(
        self: &Arc<Self>,
        oldest: &[FileRoom],
        view: &ViewRef,
        contains: LogPoint,
    ) -> Result<(), StoreError> {
        let mut writer = self.begin(view, contains)?;
        oldest.last().into_iter().for_each(|last| writer.replaces_before(last.number + 1));
        let contents = self.contents();
        for file in oldest.iter().filter(|file| file.values > 0) {
            self.values(&contents, file.number, &mut |entry, bytes| writer.copy(entry, bytes))?;
        }
        drop(contents);
        // Also if nothing is in it: the last file says what the checkpoint contains, and needs.
        writer.complete()?;
        for oldest in oldest {
            let path = file::path(&self.dir, oldest.number);
            self.disk.remove(&path).map_err(StoreError::io("remove", &path))?;
            self.contents().files.remove(0);
        }
        self.disk.sync_dir(&self.dir).map_err(StoreError::io("sync", &self.dir))
    }
}
