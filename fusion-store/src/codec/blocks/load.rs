//! A view on its way out of the store.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use fusion_core::view::checkpoint::load::{LoadError, Loading};
use fusion_core::view::checkpoint::{Table, TreeError, TreeLoader};
use fusion_core::view::{View, ViewSettings};

use super::block::BlockDecoder;
use super::ledger::{take_frame, take_owners};
use super::tables::{Refused, take_table};
use super::{FRAME, OWNERS};
use crate::error::{Malformed, StoreError};
use crate::ports::{BlockId, Blocks, Loaded, LogPoint, ViewId};

/// Bytes of blocks that are handed to a decoding thread at once.
const BATCH: usize = 1 << 20;

/// Blocks back to back, with the number and the end of each.
#[derive(Debug, Default)]
struct Batch {
    bytes: Vec<u8>,
    blocks: Vec<(BlockId, usize)>,
}

/// A view as of its last checkpoint.
#[derive(Debug)]
pub struct LoadedView {
    /// The view.
    pub view: View,
    /// The place in the log that it contains; the changes after that are the caller's to replay.
    pub contains: LogPoint,
    /// What the caller put beside it, by name.
    pub beside: BTreeMap<String, Vec<u8>>,
}

/// Loads the last checkpoint of a view, with so many threads beside this one. `None` if there is none.
///
/// # Errors
/// [`StoreError`]; of what is stored and cannot be, with the number of the block or the name.
pub fn load(
    blocks: &dyn Blocks,
    view: ViewId,
    settings: ViewSettings,
    threads: usize,
) -> Result<Option<LoadedView>, StoreError> {
    let (mut named, mut batches, mut last) = (BTreeMap::new(), Vec::new(), Batch::default());
    let loaded = blocks.load(view, &mut |part| {
        match part {
            Loaded::Named(name, bytes) => drop(named.insert(name.to_owned(), bytes.to_vec())),
            Loaded::Block(id, bytes) => {
                last.bytes.extend_from_slice(bytes);
                last.blocks.push((id, last.bytes.len()));
                if last.bytes.len() >= BATCH {
                    batches.push(std::mem::take(&mut last));
                }
            }
        }
        Ok(())
    })?;
    let Some(contains) = loaded else { return Ok(None) };
    batches.push(last);
    let loading = tables(view, settings, &named)?;
    decode(view, loading.blocks(), batches, threads)?;
    let loaded = loading.finish().map_err(|error| unfit(view, error))?;
    named.retain(|name, _| !is_ours(name));
    Ok(Some(LoadedView { view: loaded, contains, beside: named }))
}

fn tables(
    view: ViewId,
    settings: ViewSettings,
    named: &BTreeMap<String, Vec<u8>>,
) -> Result<Loading, StoreError> {
    let value = |name: &str| {
        let missing = || Malformed::Broken("it is missing");
        named.get(name).ok_or_else(missing).map_err(StoreError::corrupt(place(view, name), 0))
    };
    let frame = take_frame(value(FRAME)?).map_err(StoreError::corrupt(place(view, FRAME), 0))?;
    let owners = match named.get(OWNERS) {
        Some(bytes) => take_owners(bytes).map_err(StoreError::corrupt(place(view, OWNERS), 0))?,
        None => Vec::new(),
    };
    let mut loading = Loading::new(settings, frame, &owners).map_err(|error| unfit(view, error))?;
    for table in Table::ALL {
        let name = table.as_str();
        take_table(table, value(name)?, &mut loading).map_err(|refused| match refused {
            Refused::Bytes(malformed) => StoreError::corrupt(place(view, name), 0)(malformed),
            Refused::Row(error) => unfit(view, error),
        })?;
    }
    Ok(loading)
}

/// Whether a name is one of [`write`](super::write).
fn is_ours(name: &str) -> bool {
    name == FRAME || name == OWNERS || Table::ALL.iter().any(|table| table.as_str() == name)
}

/// Decodes all blocks, on this thread and so many others.
fn decode(
    view: ViewId,
    tree: &TreeLoader,
    batches: Vec<Batch>,
    threads: usize,
) -> Result<(), StoreError> {
    let batches = Mutex::new(batches);
    let failed = Mutex::new(None);
    let work = || {
        let mut decoder = BlockDecoder::default();
        loop {
            let next = lock(&batches).pop();
            let Some(batch) = next else { return };
            if let Err(error) = put(view, tree, &mut decoder, &batch) {
                lock(&batches).clear();
                *lock(&failed) = Some(error);
                return;
            }
        }
    };
    std::thread::scope(|scope| {
        for number in 0..threads {
            let name = format!("load-{number}");
            // Without the thread this one does its part.
            let _ = std::thread::Builder::new().name(name).spawn_scoped(scope, work);
        }
        work();
    });
    lock(&failed).take().map_or(Ok(()), Err)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn put(
    view: ViewId,
    tree: &TreeLoader,
    decoder: &mut BlockDecoder,
    batch: &Batch,
) -> Result<(), StoreError> {
    let mut start = 0;
    for (id, end) in &batch.blocks {
        let bytes = batch.bytes.get(start..*end).unwrap_or_default();
        start = *end;
        let place = || format!("block {} of view {view}", id.0 >> 1);
        let image = decoder
            .decode(*id, bytes)
            .map_err(|malformed| StoreError::corrupt(place(), 0)(malformed))?;
        tree.put(image).map_err(|error| unfit(view, error.into()))?;
    }
    Ok(())
}

fn place(view: ViewId, name: &str) -> String {
    format!("`{name}` of view {view}")
}

/// What can be read, and cannot be.
fn unfit(view: ViewId, error: LoadError) -> StoreError {
    let place = match error {
        LoadError::Tree(TreeError::Block { slot, .. }) => format!("block {slot} of view {view}"),
        LoadError::Tree(TreeError::Whole(_)) => format!("the blocks of view {view}"),
        LoadError::Row { table, .. } => place(view, table.as_str()),
    };
    StoreError::Corrupt { place, at: 0, why: error.to_string() }
}
