//! Reading values: the messages that have live ones, several batches at once.

use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};

use super::message::{HEAD, Head, Kind};
use super::view::ViewBlocks;
use crate::embedded::blocks::file::{Entry, IndexIn, Span};
use crate::error::{Malformed, StoreError};

/// Who takes a value with its line of the index.
pub(super) type TakeValue<'a> = dyn FnMut(&Entry<'_>, &[u8]) -> Result<(), StoreError> + 'a;

/// Messages of a batch, batches that are asked for at once, and batches that wait to be taken.
const BATCH: usize = 8;
const AT_ONCE: usize = 4;
const WAITING: usize = 2;

/// A message with its number.
type Read = (u64, Bytes);

/// Hands out the live values of messages with these numbers.
pub(super) fn read(
    blocks: &Arc<ViewBlocks>,
    sequences: Vec<u64>,
    take: &mut TakeValue<'_>,
) -> Result<(), StoreError> {
    let (give, taken) = sync_channel(WAITING);
    let asked = Arc::clone(blocks);
    blocks.nats.bridge.spawn(async move {
        let batches: Vec<Vec<u64>> = sequences.chunks(BATCH).map(<[u64]>::to_vec).collect();
        let reads = batches.into_iter().map(|batch| read_batch(Arc::clone(&asked), batch));
        let mut reads = stream::iter(reads).buffered(AT_ONCE);
        while let Some(read) = reads.next().await {
            let give = give.clone();
            // Whoever takes them may be slow, and is no task. An error says that nobody takes any more.
            let given = tokio::task::spawn_blocking(move || give.send(read)).await;
            if !given.is_ok_and(|given| given.is_ok()) {
                return;
            }
        }
    })?;
    for read in taken {
        for (sequence, payload) in read? {
            hand_out(blocks, sequence, &payload, take)?;
        }
    }
    Ok(())
}

async fn read_batch(blocks: Arc<ViewBlocks>, sequences: Vec<u64>) -> Result<Vec<Read>, StoreError> {
    let read = sequences.into_iter().map(|sequence| values(&blocks, sequence));
    let read: Vec<_> = stream::iter(read).buffered(BATCH).collect().await;
    read.into_iter().collect()
}

/// A message with values.
async fn values(blocks: &ViewBlocks, sequence: u64) -> Result<Read, StoreError> {
    let stored = blocks.stream.near(sequence).await?;
    let corrupt = blocks.corrupt(sequence);
    let Some(stored) = stored else {
        let first = blocks.stream.extent().await?.map_or(0, |extent| extent.first);
        if sequence < first {
            let why = "it was put together while it was read; load it again";
            return Err(blocks.stream.odd("read from", why));
        }
        return Err(corrupt(Malformed::Broken("it is gone")));
    };
    let head = Head::read(&stored.payload, blocks.id).map_err(&corrupt)?;
    if head.kind != Kind::Values {
        return Err(corrupt(Malformed::Broken("it has no values")));
    }
    Ok((sequence, stored.payload))
}

/// Hands out the live values of a message.
fn hand_out(
    blocks: &Arc<ViewBlocks>,
    sequence: u64,
    payload: &Bytes,
    take: &mut TakeValue<'_>,
) -> Result<(), StoreError> {
    let corrupt = blocks.corrupt(sequence);
    let Some(part) = blocks.known().part(sequence).cloned() else {
        return Err(corrupt(Malformed::Broken("its index is missing")));
    };
    let mut lines = IndexIn::of_values_at(&part.index, HEAD as u64);
    while let Some(entry) = lines.next().map_err(&corrupt)? {
        let (Entry::Put(_, span) | Entry::PutNamed(_, span)) = entry else { continue };
        if !blocks.known().contents.is_live(sequence, &entry) {
            continue;
        }
        let (at, end) = (span.at as usize, span.at as usize + span.bytes as usize);
        let whole = match payload.get(at..end) {
            Some(_) => payload.slice(at..end),
            None => go_on(blocks, sequence, payload, span)?,
        };
        if crc32fast::hash(&whole) != span.crc {
            return Err(corrupt(Malformed::Broken("a block is damaged")));
        }
        take(&entry, &whole)?;
    }
    Ok(())
}

/// A value that goes on in the messages that follow.
fn go_on(
    blocks: &Arc<ViewBlocks>,
    sequence: u64,
    payload: &Bytes,
    span: Span,
) -> Result<Bytes, StoreError> {
    let mut value = Vec::with_capacity(span.bytes as usize);
    value.extend_from_slice(payload.get(span.at as usize..).unwrap_or_default());
    let mut next = sequence;
    while value.len() < span.bytes as usize {
        next += 1;
        let (of, limit) = (Arc::clone(blocks), blocks.nats.settings.timeout * 2);
        let read =
            blocks.nats.bridge.run("read from", limit, async move { values(&of, next).await });
        value.extend_from_slice(&read?.1[HEAD..]);
    }
    value.truncate(span.bytes as usize);
    Ok(value.into())
}
