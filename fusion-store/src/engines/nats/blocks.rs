//! The blocks on JetStream: a stream for each view, to which checkpoints are appended.
//!
//! As files of blocks on a disk (`embedded`): nothing that was written is touched, a checkpoint
//! counts when its last message is there, and what is oldest is dropped after what is live in it was
//! put again. JetStream's object store makes several messages and a record of each object, and
//! nothing of many objects at once; here a checkpoint of a thousand blocks is a few messages, and its
//! last one is the commit. Each message says its number, so a checkpoint that another server's
//! overtook is refused.

mod message;
mod values;
mod view;
mod writer;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::Nats;
use crate::error::StoreError;
use crate::ports::{Blocks, BlocksFigures, CheckpointWriter, Loaded, LogPoint, ViewId, ViewRef};
use view::ViewBlocks;

const PURPOSE: &str = "blocks";

/// The blocks of all views on JetStream.
#[derive(Debug)]
pub struct NatsBlocks {
    nats: Arc<Nats>,
    views: Mutex<BTreeMap<ViewId, Arc<ViewBlocks>>>,
}

impl NatsBlocks {
    pub(super) fn new(nats: Arc<Nats>) -> Self {
        Self { nats, views: Mutex::default() }
    }

    /// The blocks of a view, as they were seen last.
    fn view(&self, id: ViewId) -> Arc<ViewBlocks> {
        let mut views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        let make = || {
            let nats = &self.nats;
            let stream = format!("{}{}", nats.stream_name(PURPOSE), id.0.simple());
            let subject = format!("{}{}", nats.subject(PURPOSE), id.0.simple());
            ViewBlocks::new(Arc::clone(nats), nats.stream(stream), subject, id)
        };
        Arc::clone(views.entry(id).or_insert_with(|| Arc::new(make())))
    }
}

impl Blocks for NatsBlocks {
    fn views(&self) -> Result<Vec<ViewRef>, StoreError> {
        let mut views = Vec::new();
        for view in self.nats.views(PURPOSE, ".i")? {
            views.extend(self.view(view.id).look()?.map(|(view, _)| view));
        }
        Ok(views)
    }

    fn begin(
        &self,
        view: &ViewRef,
        contains: LogPoint,
    ) -> Result<Box<dyn CheckpointWriter>, StoreError> {
        Ok(Box::new(self.view(view.id).begin(view, contains)?))
    }

    fn contains(&self, view: ViewId) -> Result<Option<LogPoint>, StoreError> {
        Ok(self.view(view).look()?.map(|(_, contains)| contains))
    }

    fn load(
        &self,
        view: ViewId,
        take: &mut dyn FnMut(Loaded<'_>) -> Result<(), StoreError>,
    ) -> Result<Option<LogPoint>, StoreError> {
        self.view(view).load(take)
    }

    fn figures(&self, view: ViewId) -> Result<BlocksFigures, StoreError> {
        self.view(view).figures()
    }

    fn compact(&self, view: ViewId) -> Result<(), StoreError> {
        self.view(view).compact()
    }

    fn remove(&self, view: ViewId) -> Result<(), StoreError> {
        let blocks = self.view(view);
        blocks.remove()?;
        self.views.lock().unwrap_or_else(PoisonError::into_inner).remove(&view);
        Ok(())
    }
}
