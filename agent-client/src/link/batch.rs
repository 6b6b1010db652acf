//! What scans find, made into the batches of the SCAN lane.
//!
//! Owns grouping: listings go together, by directory, until a batch is full; a frame
//! (`ScanStarted`, `ScanFinished`) stands before or after what it frames, never beside it, because
//! the rows of a batch are applied before its listings. Called on the threads of scans, which it
//! holds up while the lane is full: that is how a scan slows down.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fusion_core::evidence::{Evidence, Listing, RootIdentity, ScanId, Source};
use fusion_core::path::PathRef;
use fusion_core::time::{Monotonic, ServerTime};
use fusion_proto::convert::evidence::{BatchBudget, BatchBuilder, BatchHeader, ListingFeed, Push};
use fusion_proto::pb;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tracing::Span;

use super::{Standing, TimeExchange};
use crate::agent::scans::ScanOrder;
use crate::scan::{Cancel, Found, ListedDir, Look, ScanReport, Silent};

/// Batches that wait for the lane, beside those on their way: with [`super::lane`]'s window this
/// bounds what a scan holds in memory.
const WAITING: usize = 16;
/// How often a scan that is held up looks whether there is room, or it is cancelled.
const HELD_UP: Duration = Duration::from_millis(1);

/// The session ended, or the scan was cancelled: nothing more can be delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("nothing more can be delivered")]
pub struct SinkClosed;

/// Takes the batches of all scans of a session.
#[derive(Debug, Clone)]
pub struct ScanSink {
    batches: mpsc::Sender<ScanBatch>,
    next_scan: Arc<AtomicU64>,
}

/// A batch that is not numbered yet.
#[derive(Debug)]
pub(crate) struct ScanBatch {
    pub(crate) evidence: pb::EvidenceBatch,
    pub(crate) span: Span,
    done: Option<oneshot::Sender<()>>,
}

impl ScanBatch {
    /// The server has it.
    pub(crate) fn delivered(self) {
        if let Some(done) = self.done {
            // Whoever asked may be gone.
            let _ = done.send(());
        }
    }
}

impl ScanSink {
    /// A sink, and where its batches arrive.
    pub(crate) fn new() -> (Self, mpsc::Receiver<ScanBatch>) {
        let (batches, arriving) = mpsc::channel(WAITING);
        (Self { batches, next_scan: Arc::new(AtomicU64::new(1)) }, arriving)
    }

    /// Waits for room.
    fn put(&self, mut batch: ScanBatch, cancel: &Cancel) -> Result<(), SinkClosed> {
        loop {
            batch = match self.batches.try_send(batch) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Closed(_)) => return Err(SinkClosed),
                Err(TrySendError::Full(batch)) => batch,
            };
            if cancel.wait(HELD_UP) {
                return Err(SinkClosed);
            }
        }
    }
}

/// Says when something was delivered.
#[derive(Debug)]
pub struct Delivery(Option<oneshot::Receiver<()>>);

impl Delivery {
    /// Of nothing.
    #[must_use]
    pub const fn at_once() -> Self {
        Self(None)
    }

    /// Waits; false if it can no longer be delivered, and ever after the first answer.
    pub async fn wait(&mut self) -> bool {
        let Some(done) = &mut self.0 else { return false };
        let delivered = done.await.is_ok();
        self.0 = None;
        delivered
    }
}

/// Writes what one scan finds.
pub struct BatchWriter {
    sink: ScanSink,
    scan: ScanId,
    source: Source,
    header: BatchHeader,
    exchange: Arc<TimeExchange>,
    builder: BatchBuilder,
    span: Span,
}

impl BatchWriter {
    /// A writer for one scan under a standing.
    #[must_use]
    pub(crate) fn new(
        standing: &Standing,
        exchange: Arc<TimeExchange>,
        order: &ScanOrder,
        span: Span,
    ) -> Self {
        let settings = &standing.settings;
        Self {
            sink: standing.scan.clone(),
            scan: ScanId(standing.scan.next_scan.fetch_add(1, Ordering::Relaxed)),
            source: order.source,
            header: BatchHeader {
                epoch: order.epoch,
                correlation: order.correlation.clone(),
                causation: order.causation.clone(),
                ..BatchHeader::default()
            },
            exchange,
            builder: BatchBuilder::new(BatchBudget::new(settings.batch_rows, settings.batch_bytes)),
            span,
        }
    }

    /// The scan begins.
    ///
    /// # Errors
    /// Nothing more can be delivered.
    pub fn started(
        &mut self,
        path: PathRef<'_>,
        at: Monotonic,
        root: Option<RootIdentity>,
        cancel: &Cancel,
    ) -> Result<(), SinkClosed> {
        let (scan, source, started_at) = (self.scan, self.source, self.time(at));
        let started = Evidence::ScanStarted { scan, source, path, started_at, root };
        self.row(&started, cancel)?;
        self.flush(cancel)
    }

    /// Something was found.
    ///
    /// # Errors
    /// Nothing more can be delivered.
    pub fn put(&mut self, found: &Found, cancel: &Cancel) -> Result<(), SinkClosed> {
        match found {
            Found::Listed(listed) => self.listed(listed, cancel),
            Found::Unreadable(unreadable) => {
                let observed_at = self.time(unreadable.looked_at);
                let dir = unreadable.dir.as_ref();
                let row = Evidence::Unreadable { dir, errno: unreadable.errno, observed_at };
                self.row(&row, cancel)
            }
            // Coverage, and no evidence.
            Found::LeftOut(_) => Ok(()),
        }
    }

    /// A directory is in the version that was listed last (R6).
    ///
    /// # Errors
    /// Nothing more can be delivered.
    pub fn silent(&mut self, silent: &Silent, cancel: &Cancel) -> Result<(), SinkClosed> {
        let (dir, dir_stat) = (silent.dir.as_ref(), silent.dir_stat);
        let observed_at = self.time(silent.looked_at);
        self.row(&Evidence::Unchanged { dir, dir_stat, observed_at }, cancel)
    }

    /// A name was looked at.
    ///
    /// # Errors
    /// Nothing more can be delivered.
    pub fn probe(
        &mut self,
        path: PathRef<'_>,
        look: &Look,
        cancel: &Cancel,
    ) -> Result<(), SinkClosed> {
        let (found, parent) = (look.found, look.parent);
        let observed_at = self.time(look.looked_at);
        self.row(&Evidence::Probe { path, found, parent, observed_at }, cancel)
    }

    /// The scan ended. Tells when all of it is delivered.
    ///
    /// # Errors
    /// Nothing more can be delivered.
    pub fn finished(
        &mut self,
        report: &ScanReport,
        cancel: &Cancel,
    ) -> Result<Delivery, SinkClosed> {
        self.flush(cancel)?;
        let finished = Evidence::ScanFinished {
            scan: self.scan,
            complete: report.complete,
            directories: report.counts.directories,
            entries: report.counts.entries,
            errors: report.counts.errors,
            finished_at: self.time(report.finished_at),
        };
        self.row(&finished, cancel)?;
        let (done, delivered) = oneshot::channel();
        self.send(Some(done), cancel)?;
        Ok(Delivery(Some(delivered)))
    }

    /// Sends what was gathered.
    ///
    /// # Errors
    /// Nothing more can be delivered.
    pub fn flush(&mut self, cancel: &Cancel) -> Result<(), SinkClosed> {
        if self.builder.is_empty() { Ok(()) } else { self.send(None, cancel) }
    }

    fn listed(&mut self, listed: &ListedDir, cancel: &Cancel) -> Result<(), SinkClosed> {
        let mut feed = ListingFeed::new(Listing {
            dir: listed.path.as_ref(),
            dir_stat: listed.dir_stat,
            scan: self.scan,
            source: self.source,
            started_at: self.time(listed.started_at),
            finished_at: self.time(listed.finished_at),
            part: listed.part,
            last: listed.last,
            complete: listed.complete,
            children: listed.children.as_children(),
        });
        while self.builder.push_listing(&mut feed) == Push::Full {
            self.send(None, cancel)?;
        }
        Ok(())
    }

    fn row(&mut self, row: &Evidence<'_>, cancel: &Cancel) -> Result<(), SinkClosed> {
        while self.builder.push(row) == Ok(Push::Full) {
            self.send(None, cancel)?;
        }
        Ok(())
    }

    fn send(
        &mut self,
        done: Option<oneshot::Sender<()>>,
        cancel: &Cancel,
    ) -> Result<(), SinkClosed> {
        let mut batch = self.builder.take();
        batch.set_header(&self.header);
        let batch = ScanBatch { evidence: batch.into_message(), span: self.span.clone(), done };
        self.sink.put(batch, cancel)
    }

    /// Server time of a look. There is a standing, so the server has answered once.
    fn time(&self, at: Monotonic) -> ServerTime {
        self.exchange.server_time(at).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
