//! Blocks in files of their own: a checkpoint is some files that are written once.
//!
//! A checkpoint counts when its last file has its name; nothing that was written before is touched,
//! so there is no end that could be torn. What is put costs one write; when more than half as much
//! again is stored as is live, the oldest files are dropped after what is live in them was put
//! again. Measured against an engine for keys and values in docs/decisions.
//!
//! `blocks/ID/NUMBER.blocks`, numbered without a hole.

pub(crate) mod contents;
mod copy;
pub(crate) mod file;
mod view;
mod writer;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use fusion_core::id::ViewName;
use uuid::Uuid;

use crate::disk::{Disk, remove_newest_first};
use crate::error::StoreError;
use crate::ports::{Blocks, BlocksFigures, CheckpointWriter, Loaded, LogPoint, ViewId, ViewRef};
pub(super) use copy::copy;
use view::ViewBlocks;

/// What can be set about blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlocksSettings {
    /// Bytes after which a checkpoint goes on in another file.
    pub file_bytes: u64,
    /// Bytes that may be stored in vain beside half of what is live.
    pub slack_bytes: u64,
    /// Files of a view; more are put together.
    pub files_max: usize,
}

impl Default for BlocksSettings {
    fn default() -> Self {
        Self { file_bytes: 64 << 20, slack_bytes: 16 << 20, files_max: 512 }
    }
}

/// The blocks of all views in a directory.
#[derive(Debug)]
pub struct EmbeddedBlocks {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    settings: BlocksSettings,
    views: Mutex<BTreeMap<ViewId, Arc<ViewBlocks>>>,
}

impl EmbeddedBlocks {
    /// Takes a directory, which is made if it is not there.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn new(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        settings: BlocksSettings,
    ) -> Result<Self, StoreError> {
        disk.make_dir(&dir).map_err(StoreError::io("make the directory", &dir))?;
        Ok(Self { disk, dir, settings, views: Mutex::default() })
    }

    /// The name of a view, if it has a checkpoint that can be read.
    pub(super) fn name_of(&self, id: ViewId) -> Option<ViewName> {
        self.view(id).ok()?.contains().map(|(view, _)| view.name)
    }

    /// The blocks of a view, read when they are asked for first.
    fn view(&self, id: ViewId) -> Result<Arc<ViewBlocks>, StoreError> {
        let mut views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = views.get(&id) {
            return Ok(Arc::clone(known));
        }
        let (disk, dir) = (Arc::clone(&self.disk), self.dir.join(id.to_string()));
        let opened = ViewBlocks::open(disk, dir, id, self.settings)?;
        views.insert(id, Arc::clone(&opened));
        Ok(opened)
    }
}

impl Blocks for EmbeddedBlocks {
    fn views(&self) -> Result<Vec<ViewRef>, StoreError> {
        let names = self.disk.list(&self.dir).map_err(StoreError::io("read", &self.dir))?;
        let mut views = Vec::new();
        for id in names.iter().filter_map(|name| Uuid::try_parse(name).ok()) {
            views.extend(self.view(ViewId(id))?.contains().map(|(view, _)| view));
        }
        Ok(views)
    }

    fn begin(
        &self,
        view: &ViewRef,
        contains: LogPoint,
    ) -> Result<Box<dyn CheckpointWriter>, StoreError> {
        Ok(Box::new(self.view(view.id)?.begin(view, contains)?))
    }

    fn contains(&self, view: ViewId) -> Result<Option<LogPoint>, StoreError> {
        Ok(self.view(view)?.contains().map(|(_, contains)| contains))
    }

    fn load(
        &self,
        view: ViewId,
        take: &mut dyn FnMut(Loaded<'_>) -> Result<(), StoreError>,
    ) -> Result<Option<LogPoint>, StoreError> {
        self.view(view)?.load(take)
    }

    fn figures(&self, view: ViewId) -> Result<BlocksFigures, StoreError> {
        Ok(self.view(view)?.figures())
    }

    fn compact(&self, view: ViewId) -> Result<(), StoreError> {
        self.view(view)?.compact()
    }

    fn remove(&self, view: ViewId) -> Result<(), StoreError> {
        let mut views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        views.remove(&view);
        remove_newest_first(&*self.disk, &self.dir.join(view.to_string()))
    }
}
