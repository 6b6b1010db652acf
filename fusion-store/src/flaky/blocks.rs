//! Blocks of which checkpoints fail.

use std::sync::Arc;

use super::Moods;
use crate::error::StoreError;
use crate::ports::{
    BlockId, Blocks, BlocksFigures, CheckpointWriter, Loaded, LogPoint, ViewId, ViewRef,
};

/// Blocks that fail as their moods say.
#[derive(Debug)]
pub struct FlakyBlocks<B> {
    inner: Arc<B>,
    moods: Moods,
}

impl<B: Blocks> FlakyBlocks<B> {
    /// Wraps blocks.
    pub fn new(inner: Arc<B>, moods: Moods) -> Self {
        Self { inner, moods }
    }
}

impl<B: Blocks> Blocks for FlakyBlocks<B> {
    fn views(&self) -> Result<Vec<ViewRef>, StoreError> {
        self.moods.call("list the views of")?;
        self.inner.views()
    }

    fn begin(
        &self,
        view: &ViewRef,
        contains: LogPoint,
    ) -> Result<Box<dyn CheckpointWriter>, StoreError> {
        self.moods.call("begin a checkpoint in")?;
        let inner = self.inner.begin(view, contains)?;
        Ok(Box::new(FlakyWriter { inner, moods: self.moods.clone() }))
    }

    fn contains(&self, view: ViewId) -> Result<Option<LogPoint>, StoreError> {
        self.moods.call("read")?;
        self.inner.contains(view)
    }

    fn load(
        &self,
        view: ViewId,
        take: &mut dyn FnMut(Loaded<'_>) -> Result<(), StoreError>,
    ) -> Result<Option<LogPoint>, StoreError> {
        self.moods.call("load from")?;
        self.inner.load(view, &mut |part| {
            self.moods.call("load from")?;
            take(part)
        })
    }

    fn figures(&self, view: ViewId) -> Result<BlocksFigures, StoreError> {
        self.inner.figures(view)
    }

    fn compact(&self, view: ViewId) -> Result<(), StoreError> {
        self.moods.call("compact")?;
        self.inner.compact(view)
    }

    fn remove(&self, view: ViewId) -> Result<(), StoreError> {
        self.moods.call("remove")?;
        self.inner.remove(view)
    }
}

struct FlakyWriter {
    inner: Box<dyn CheckpointWriter>,
    moods: Moods,
}

impl CheckpointWriter for FlakyWriter {
    fn follows(&mut self, last: Option<LogPoint>) -> Result<(), StoreError> {
        self.moods.call("read")?;
        self.inner.follows(last)
    }

    fn put(&mut self, id: BlockId, bytes: &[u8]) -> Result<(), StoreError> {
        self.moods.call("write")?;
        self.inner.put(id, bytes)
    }

    fn delete(&mut self, id: BlockId) -> Result<(), StoreError> {
        self.moods.call("write")?;
        self.inner.delete(id)
    }

    fn put_named(&mut self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.moods.call("write")?;
        self.inner.put_named(name, bytes)
    }

    fn clear(&mut self) -> Result<(), StoreError> {
        self.moods.call("write")?;
        self.inner.clear()
    }

    fn commit(self: Box<Self>) -> Result<(), StoreError> {
        self.moods.call("commit")?;
        self.inner.commit()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryBlocks;
    use crate::sample;

    #[test]
    fn what_fails_leaves_the_checkpoint_before() {
        let (moods, view) = (Moods::new(7), sample::view(1));
        let blocks = FlakyBlocks::new(Arc::new(MemoryBlocks::default()), moods.clone());
        let write = |number: u8| {
            let point = LogPoint { record: u64::from(number), ..LogPoint::default() };
            let mut writer = blocks.begin(&view, point)?;
            (0..5).try_for_each(|id| writer.put(BlockId(id), &[number]))?;
            writer.commit()
        };
        let mut last = 0;
        for number in 1..100 {
            moods.fail(100);
            if write(number).is_ok() {
                last = number;
            }
            moods.fail(0);
            let mut found = Vec::new();
            let contains = blocks.load(view.id, &mut |part| {
                if let Loaded::Block(_, bytes) = part {
                    found.push(bytes[0]);
                }
                Ok(())
            });
            assert_eq!(contains.unwrap().map_or(0, |point| point.record), u64::from(last));
            assert!(found.iter().all(|byte| *byte == last));
        }
        assert!(moods.failures() > 20 && last > 50);
    }
}
