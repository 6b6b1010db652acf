//! A store that is a map of vectors.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;

use fusion_store::{
    BlockId, Blocks, BlocksFigures, CheckpointWriter, Loaded, LogPoint, StoreError, ViewId, ViewRef,
};

#[derive(Debug, Default)]
struct Parts {
    blocks: HashMap<BlockId, Vec<u8>>,
    named: BTreeMap<String, Vec<u8>>,
}

/// The parts of one view.
#[derive(Debug, Default)]
pub(crate) struct Heap(Mutex<Parts>);

pub(crate) fn view_id() -> ViewId {
    ViewId(uuid::Uuid::from_u64_pair(1, 1))
}

impl Heap {
    pub(crate) fn writer(&self) -> Box<dyn CheckpointWriter + '_> {
        Box::new(Writer(self))
    }
}

struct Writer<'a>(&'a Heap);

impl CheckpointWriter for Writer<'_> {
    fn follows(&mut self, _: Option<LogPoint>) -> Result<(), StoreError> {
        Ok(())
    }

    fn put(&mut self, id: BlockId, bytes: &[u8]) -> Result<(), StoreError> {
        self.0.0.lock().unwrap().blocks.insert(id, bytes.to_vec());
        Ok(())
    }

    fn delete(&mut self, id: BlockId) -> Result<(), StoreError> {
        self.0.0.lock().unwrap().blocks.remove(&id);
        Ok(())
    }

    fn put_named(&mut self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.0.0.lock().unwrap().named.insert(name.to_owned(), bytes.to_vec());
        Ok(())
    }

    fn clear(&mut self) -> Result<(), StoreError> {
        *self.0.0.lock().unwrap() = Parts::default();
        Ok(())
    }

    fn commit(self: Box<Self>) -> Result<(), StoreError> {
        Ok(())
    }
}

impl Blocks for Heap {
    fn views(&self) -> Result<Vec<ViewRef>, StoreError> {
        Ok(Vec::new())
    }

    fn begin(&self, _: &ViewRef, _: LogPoint) -> Result<Box<dyn CheckpointWriter>, StoreError> {
        Err(StoreError::Closed)
    }

    fn contains(&self, _: ViewId) -> Result<Option<LogPoint>, StoreError> {
        Ok(Some(LogPoint::default()))
    }

    fn load(
        &self,
        _: ViewId,
        take: &mut dyn FnMut(Loaded<'_>) -> Result<(), StoreError>,
    ) -> Result<Option<LogPoint>, StoreError> {
        let parts = self.0.lock().unwrap();
        for (name, bytes) in &parts.named {
            take(Loaded::Named(name, bytes))?;
        }
        for (id, bytes) in &parts.blocks {
            take(Loaded::Block(*id, bytes))?;
        }
        Ok(Some(LogPoint::default()))
    }

    fn figures(&self, _: ViewId) -> Result<BlocksFigures, StoreError> {
        Ok(BlocksFigures::default())
    }

    fn compact(&self, _: ViewId) -> Result<(), StoreError> {
        Ok(())
    }

    fn remove(&self, _: ViewId) -> Result<(), StoreError> {
        Ok(())
    }
}
