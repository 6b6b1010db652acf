//! Writing a checkpoint: values into files beside those that count, which count when the last one
//! has its name.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::file::{Entry, FileHead, IndexOut, Span, Trailer, path};
use super::view::ViewBlocks;
use crate::disk::{Access, DiskFile};
use crate::error::StoreError;
use crate::ports::{BlockId, CheckpointWriter, LogPoint, ViewRef, check_name};

/// Bytes that are gathered before they are written.
const BUFFER: usize = 1 << 20;
/// Largest value.
const VALUE_MAX: usize = 1 << 30;
const NEW: &str = "new";

/// Whether a file in the directory is left over from a checkpoint that was being written.
pub(super) fn is_left_over(name: &str) -> bool {
    name == NEW
}

/// A checkpoint that is being written.
#[derive(Debug)]
pub(super) struct Writer {
    blocks: Arc<ViewBlocks>,
    view: ViewRef,
    contains: LogPoint,
    /// The number of the first file.
    first: u64,
    /// The number of the oldest file that is needed with it.
    oldest: u64,
    done: Vec<Part>,
    current: Option<Current>,
    /// Files that may have their names.
    named: Vec<PathBuf>,
}

/// A file of the checkpoint that is written.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) number: u64,
    pub(super) stored: u64,
    pub(super) index: Vec<u8>,
}

#[derive(Debug)]
struct Current {
    file: Arc<dyn DiskFile>,
    number: u64,
    buffer: Vec<u8>,
    /// Where the buffer goes.
    at: u64,
    index: IndexOut,
}

impl Writer {
    /// The caller has the turn to write; it ends when this is dropped.
    pub(super) fn new(
        blocks: Arc<ViewBlocks>,
        view: ViewRef,
        contains: LogPoint,
        first: u64,
        oldest: u64,
    ) -> Self {
        let (done, named) = (Vec::new(), Vec::new());
        Self { blocks, view, contains, first, oldest, done, current: None, named }
    }

    /// Files before this one are not needed any longer; to be said before anything is put.
    pub(super) fn replaces_before(&mut self, oldest: u64) {
        self.oldest = oldest;
    }

    fn dir(&self) -> &Path {
        &self.blocks.dir
    }

    fn current(&mut self) -> Result<&mut Current, StoreError> {
        let full = self.current.as_ref().is_some_and(|current| {
            current.at + current.buffer.len() as u64 > self.blocks.settings.file_bytes
        });
        if full {
            self.finish(false)?;
        }
        let current = match self.current.take() {
            Some(current) => current,
            None => self.begin()?,
        };
        Ok(self.current.insert(current))
    }

    fn begin(&self) -> Result<Current, StoreError> {
        let new = self.dir().join(NEW);
        let file = self.blocks.disk.open(&new, Access::Create);
        let file = file.map_err(StoreError::io("make", &new))?;
        let number = self.first + self.done.len() as u64;
        let head = FileHead { view: self.view.clone(), number, oldest: Some(self.oldest) };
        let buffer = head.encode().to_vec();
        Ok(Current { file, number, buffer, at: 0, index: IndexOut::default() })
    }

    fn value(&mut self, bytes: &[u8]) -> Result<(Span, &mut Current), StoreError> {
        if bytes.len() > VALUE_MAX {
            let why = format!("it has {} bytes, {VALUE_MAX} are allowed", bytes.len());
            return Err(StoreError::Refused { what: "a block", why });
        }
        let new = self.dir().join(NEW);
        let current = self.current()?;
        let at = current.at + current.buffer.len() as u64;
        let span = Span { at, bytes: bytes.len() as u32, crc: crc32fast::hash(bytes) };
        current.buffer.extend_from_slice(bytes);
        if current.buffer.len() >= BUFFER {
            current.flush().map_err(StoreError::io("write", &new))?;
        }
        Ok((span, current))
    }

    /// Adds a line of another file's index with its value, as it is.
    pub(super) fn copy(&mut self, entry: &Entry<'_>, bytes: &[u8]) -> Result<(), StoreError> {
        match entry {
            Entry::Put(id, _) => self.put(*id, bytes),
            Entry::PutNamed(name, _) => self.put_named(name, bytes),
            Entry::Delete(_) | Entry::Clear => Ok(()),
        }
    }

    /// Makes all of it count, and ends the turn to write.
    pub(super) fn complete(mut self) -> Result<(), StoreError> {
        self.current()?;
        self.finish(true)?;
        self.blocks.committed(&self.view, &self.done, self.contains)?;
        self.named.clear();
        Ok(())
    }

    /// Ends the current file: it has its name, durably, on return.
    fn finish(&mut self, ends: bool) -> Result<(), StoreError> {
        let Some(mut current) = self.current.take() else { return Ok(()) };
        let (new, path) = (self.dir().join(NEW), path(self.dir(), current.number));
        let trailer = Trailer {
            index_at: current.at + current.buffer.len() as u64,
            index_crc: crc32fast::hash(&current.index.bytes),
            ends,
            contains: self.contains,
        };
        current.buffer.extend_from_slice(&current.index.bytes);
        current.buffer.extend_from_slice(&trailer.encode());
        self.named.push(path.clone());
        let mut finish = || {
            current.flush()?;
            current.file.sync()?;
            self.blocks.disk.rename(&new, &path)?;
            self.blocks.disk.sync_dir(&self.blocks.dir)
        };
        finish().map_err(StoreError::io("write", &path))?;
        let (number, stored) = (current.number, current.at);
        self.done.push(Part { number, stored, index: current.index.bytes });
        Ok(())
    }
}

impl Current {
    fn flush(&mut self) -> std::io::Result<()> {
        self.file.write_at(&self.buffer, self.at)?;
        self.at += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

impl CheckpointWriter for Writer {
    fn follows(&mut self, last: Option<LogPoint>) -> Result<(), StoreError> {
        // Nobody else can commit one before this: it has the turn, and the server the directory.
        let found = self.blocks.contains().map(|(_, contains)| contains);
        if found == last {
            return Ok(());
        }
        Err(StoreError::Overtaken { view: self.view.id, expected: last, found })
    }

    fn put(&mut self, id: BlockId, bytes: &[u8]) -> Result<(), StoreError> {
        let (span, current) = self.value(bytes)?;
        current.index.add(Entry::Put(id, span));
        Ok(())
    }

    fn delete(&mut self, id: BlockId) -> Result<(), StoreError> {
        self.current()?.index.add(Entry::Delete(id));
        Ok(())
    }

    fn put_named(&mut self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        check_name(name)?;
        let (span, current) = self.value(bytes)?;
        current.index.add(Entry::PutNamed(name, span));
        Ok(())
    }

    fn clear(&mut self) -> Result<(), StoreError> {
        self.current()?.index.add(Entry::Clear);
        Ok(())
    }

    fn commit(self: Box<Self>) -> Result<(), StoreError> {
        let blocks = Arc::clone(&self.blocks);
        self.complete()?;
        // What is committed stays, whatever becomes of this.
        drop(blocks.tidy());
        Ok(())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.blocks.end_writing(std::mem::take(&mut self.named));
    }
}
