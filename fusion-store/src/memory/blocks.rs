//! Checkpoints in memory.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::StoreError;
use crate::ports::{
    BlockId, Blocks, BlocksFigures, CheckpointWriter, Loaded, LogPoint, ViewId, ViewRef,
};

/// The blocks of all views, in memory.
#[derive(Debug, Default)]
pub struct MemoryBlocks {
    views: Arc<Mutex<BTreeMap<ViewId, Kept>>>,
}

#[derive(Debug, Clone)]
struct Kept {
    view: ViewRef,
    contains: LogPoint,
    parts: Parts,
}

#[derive(Debug, Clone, Default)]
struct Parts {
    blocks: HashMap<BlockId, Arc<[u8]>>,
    named: BTreeMap<String, Arc<[u8]>>,
}

impl MemoryBlocks {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<ViewId, Kept>> {
        self.views.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Blocks for MemoryBlocks {
    fn views(&self) -> Result<Vec<ViewRef>, StoreError> {
        Ok(self.lock().values().map(|kept| kept.view.clone()).collect())
    }

    fn begin(
        &self,
        view: &ViewRef,
        contains: LogPoint,
    ) -> Result<Box<dyn CheckpointWriter>, StoreError> {
        let parts = self.lock().get(&view.id).map(|kept| kept.parts.clone()).unwrap_or_default();
        let kept = Kept { view: view.clone(), contains, parts };
        Ok(Box::new(Writer { views: Arc::clone(&self.views), kept, follows: None }))
    }

    fn contains(&self, view: ViewId) -> Result<Option<LogPoint>, StoreError> {
        Ok(self.lock().get(&view).map(|kept| kept.contains))
    }

    fn load(
        &self,
        view: ViewId,
        take: &mut dyn FnMut(Loaded<'_>) -> Result<(), StoreError>,
    ) -> Result<Option<LogPoint>, StoreError> {
        let Some(kept) = self.lock().get(&view).cloned() else { return Ok(None) };
        kept.parts.blocks.iter().try_for_each(|(id, bytes)| take(Loaded::Block(*id, bytes)))?;
        kept.parts.named.iter().try_for_each(|(name, bytes)| take(Loaded::Named(name, bytes)))?;
        Ok(Some(kept.contains))
    }

    fn figures(&self, view: ViewId) -> Result<BlocksFigures, StoreError> {
        let views = self.lock();
        let Some(kept) = views.get(&view) else { return Ok(BlocksFigures::default()) };
        let values = kept.parts.blocks.values().chain(kept.parts.named.values());
        let live_bytes = values.clone().map(|bytes| bytes.len() as u64).sum();
        let values = values.count() as u64;
        Ok(BlocksFigures { values, live_bytes, stored_bytes: live_bytes })
    }

    fn compact(&self, _: ViewId) -> Result<(), StoreError> {
        Ok(())
    }

    fn remove(&self, view: ViewId) -> Result<(), StoreError> {
        self.lock().remove(&view);
        Ok(())
    }
}

struct Writer {
    views: Arc<Mutex<BTreeMap<ViewId, Kept>>>,
    kept: Kept,
    /// What the last checkpoint has to contain, if that was said.
    follows: Option<Option<LogPoint>>,
}

impl Writer {
    fn check(&self, views: &BTreeMap<ViewId, Kept>) -> Result<(), StoreError> {
        let view = self.kept.view.id;
        let found = views.get(&view).map(|kept| kept.contains);
        match self.follows {
            Some(expected) if expected != found => {
                Err(StoreError::Overtaken { view, expected, found })
            }
            _ => Ok(()),
        }
    }
}

impl CheckpointWriter for Writer {
    fn follows(&mut self, last: Option<LogPoint>) -> Result<(), StoreError> {
        self.follows = Some(last);
        self.check(&self.views.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn put(&mut self, id: BlockId, bytes: &[u8]) -> Result<(), StoreError> {
        self.kept.parts.blocks.insert(id, bytes.into());
        Ok(())
    }

    fn delete(&mut self, id: BlockId) -> Result<(), StoreError> {
        self.kept.parts.blocks.remove(&id);
        Ok(())
    }

    fn put_named(&mut self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        crate::ports::check_name(name)?;
        self.kept.parts.named.insert(name.to_owned(), bytes.into());
        Ok(())
    }

    fn clear(&mut self) -> Result<(), StoreError> {
        self.kept.parts = Parts::default();
        Ok(())
    }

    fn commit(self: Box<Self>) -> Result<(), StoreError> {
        let mut views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        self.check(&views)?;
        views.insert(self.kept.view.id, self.kept);
        Ok(())
    }
}
