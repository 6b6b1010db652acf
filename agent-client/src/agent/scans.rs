//! One scan from its `ScanStarted` to its `ScanFinished`: the walk, its batches, its figures.
//!
//! Runs on a thread of its own, because directories may hang: then the thread stays with them, and the
//! scan is over without it. The root is looked at before and after (R11): a scan of storage that is not
//! there yields nothing. Whoever starts one keeps the [`Cancel`] with which it ends, also in
//! mid-directory.

use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fusion_core::evidence::{RootIdentity, Source};
use fusion_core::id::{CorrelationId, LeaderEpoch};
use fusion_core::path::TreePath;
use fusion_core::time::{Monotonic, StorageTime};
use tokio::sync::oneshot;
use tracing::Span;

use super::root_watch;
use super::shared::{RunningScan, Shared};
use crate::link::{BatchWriter, Delivery, SinkClosed, Standing, TimeExchange};
use crate::ops::metrics::source_label;
use crate::progress::ScanPhase;
use crate::scan::{
    Cancel, DeepTurn, Found, Memory, Placer, Rank, Recall, RootCheck, Scan, ScanCounters,
    ScanOptions, ScanReport, Silent, Start,
};

/// Changes to a directory within this time share a tick of coarse storage clocks (R4.4).
const SETTLING: Duration = Duration::from_secs(2);

/// What is to be scanned.
#[derive(Debug, Clone)]
pub(crate) struct ScanOrder {
    pub(crate) path: TreePath,
    pub(crate) source: Source,
    pub(crate) recursive: bool,
    /// The leadership under which it is done; 0 if under none.
    pub(crate) epoch: LeaderEpoch,
    /// What the scans of the whole tree under this leadership remember.
    pub(crate) remembered: Option<Remembered>,
    /// The chain of cause and effect, and what caused it: a command.
    pub(crate) correlation: Option<CorrelationId>,
    pub(crate) causation: Option<CorrelationId>,
}

/// The memory that a scan of the whole tree uses and fills, and its turn in the deep rotation.
#[derive(Debug, Clone)]
pub(crate) struct Remembered {
    pub(crate) memory: Arc<Memory>,
    pub(crate) deep: Option<DeepTurn>,
}

impl ScanOrder {
    /// The whole tree, by the leader's duty.
    pub(crate) fn whole(source: Source, epoch: LeaderEpoch) -> Self {
        Self {
            path: TreePath::root(),
            source,
            recursive: true,
            epoch,
            remembered: None,
            correlation: None,
            causation: None,
        }
    }

    fn is_whole(&self) -> bool {
        self.recursive && self.path.as_ref().is_root()
    }
}

/// How a scan ended.
#[derive(Debug)]
pub(crate) enum ScanEnd {
    /// It went to its end; `complete` says whether it saw everything. What it found is being
    /// delivered.
    Done(ScanReport, Delivery),
    /// It was cancelled, or the session ended under it.
    CutOff,
    /// The storage is not there, or is another.
    NoStorage(RootCheck),
}

/// A scan that was started.
pub(crate) struct StartedScan {
    /// How it ended, when it has; an error if its thread broke off.
    pub(crate) end: oneshot::Receiver<ScanEnd>,
    /// What it counts meanwhile.
    pub(crate) counters: Arc<ScanCounters>,
}

/// Starts a scan.
pub(crate) fn start(
    shared: &Arc<Shared>,
    order: ScanOrder,
    standing: &Standing,
    exchange: &Arc<TimeExchange>,
    placer: Option<Arc<dyn Placer + Send + Sync>>,
    cancel: &Cancel,
) -> StartedScan {
    let (ended, end) = oneshot::channel();
    let counters = Arc::<ScanCounters>::default();
    let span = tracing::info_span!(
        "scan", source = source_label(order.source), path = %order.path, epoch = order.epoch.0
    );
    let writer = BatchWriter::new(standing, Arc::clone(exchange), &order, span.clone());
    let settings = &standing.settings;
    let run = ScanRun {
        max_rows: rows_of_a_part(settings.batch_rows, settings.batch_bytes),
        shared: Arc::clone(shared),
        counters: Arc::clone(&counters),
        exchange: Arc::clone(exchange),
        unsettled_for: settings.cache_horizon + SETTLING,
        writer: Mutex::new(writer),
        cancel: cancel.clone(),
        placer,
        order,
    };
    let spawned = crate::spawn::spawn_thread("fusion-scan-0", move || {
        let ended = Mutex::new(Some(ended));
        run.run(&span, &|end| {
            let ended = ended.lock().unwrap_or_else(PoisonError::into_inner).take();
            // Nobody may be left who waits for it.
            let _ = ended.map(|ended| ended.send(end));
        });
    });
    if let Err(error) = spawned {
        // The answer's sender is gone with the closure: whoever waits sees a scan that broke off.
        tracing::error!("scan not started: {error}");
    }
    StartedScan { end, counters }
}

/// Children in one part of a directory, so that it fits a batch whatever their names.
pub(crate) fn rows_of_a_part(batch_rows: usize, batch_bytes: usize) -> NonZeroUsize {
    /// A name of 255 bytes and its stat, rounded up; and a path of 4,096 with its own.
    const CHILD_BYTES: usize = 360;
    const DIRECTORY_BYTES: usize = 5_000;
    let by_bytes = batch_bytes.saturating_sub(DIRECTORY_BYTES) / CHILD_BYTES;
    NonZeroUsize::new(by_bytes.min(batch_rows.saturating_sub(1))).unwrap_or(NonZeroUsize::MIN)
}

/// How urgent a scan is: what somebody waits for, a relist included, goes before the agent's own
/// scans of the whole tree.
const fn rank_of(source: Source, is_whole: bool) -> Rank {
    match source {
        Source::Discovery => Rank::Discovery,
        Source::Audit if is_whole => Rank::Audit,
        Source::Audit | Source::OnDemand => Rank::Asked,
        Source::Snapshot => Rank::Snapshot,
    }
}

struct ScanRun {
    shared: Arc<Shared>,
    max_rows: NonZeroUsize,
    order: ScanOrder,
    counters: Arc<ScanCounters>,
    exchange: Arc<TimeExchange>,
    /// A directory that changed within this time before a look may change again without a trace.
    unsettled_for: Duration,
    /// Written by all workers; a lock, because a directory is only appended to columns under it.
    writer: Mutex<BatchWriter>,
    cancel: Cancel,
    placer: Option<Arc<dyn Placer + Send + Sync>>,
}

impl ScanRun {
    /// `over` is told of the end; this comes back later if something hangs in the storage.
    fn run(self, span: &Span, over: &dyn Fn(ScanEnd)) {
        let _entered = span.enter();
        let source = source_label(self.order.source);
        let running = self.shared.metrics.scan_running.with_label_values(&[source]);
        running.inc();
        self.run_framed(&|end| {
            running.dec();
            // In this order: a figure that dips for a moment is better than one that counts twice.
            self.show_end(&end);
            let files = self.counters.read().file_stats;
            self.shared.state.scanned_files.fetch_add(files, Ordering::Relaxed);
            over(end);
        });
    }

    /// The walk between its frames.
    fn run_framed(&self, over: &dyn Fn(ScanEnd)) {
        let root = match self.storage_is_there().and_then(|()| self.root_is()) {
            Ok(root) => root,
            Err(away) => return over(ScanEnd::NoStorage(away)),
        };
        self.show_start();
        if self.order.is_whole() {
            self.shared.begin_walk();
        }
        let (path, now) = (self.order.path.as_ref(), self.shared.clock.monotonic());
        if self.writer().started(path, now, root, &self.cancel).is_err() {
            return over(ScanEnd::CutOff);
        }
        self.walk(&|report| over(self.end(report)));
    }

    /// What a walk came to.
    fn end(&self, mut report: ScanReport) -> ScanEnd {
        // What was read while the storage went away is not to be believed as complete. What was
        // listed before is: it goes out, and the next scan of this leadership goes on from there.
        if let Err(check) = self.storage_is_there() {
            let _ = self.finish(&mut ScanReport { complete: false, ..report });
            return ScanEnd::NoStorage(check);
        }
        match self.finish(&mut report) {
            Ok(delivery) => ScanEnd::Done(report, delivery),
            Err(SinkClosed) => ScanEnd::CutOff,
        }
    }

    fn walk(&self, over: &dyn Fn(ScanReport)) {
        let options = ScanOptions {
            workers: self.shared.config.scan_workers,
            max_rows: self.max_rows,
            left_out: self.shared.spool.own_directories(),
        };
        let pace = self.shared.limits.begin(rank_of(self.order.source, self.order.is_whole()));
        let then = |report: ScanReport| {
            pace.end();
            if self.order.is_whole() && report.complete {
                self.shared.end_walk();
            }
            over(report);
        };
        let scan = Scan {
            root: &self.shared.root,
            options: &options,
            clock: &*self.shared.clock,
            cancel: &self.cancel,
            counters: &self.counters,
            pace: &pace,
            placer: self.placer.as_deref().map(|placer| placer as &dyn Placer),
            then: Some(&then),
        };
        let sink = |found| self.put(found);
        if let Some(Remembered { memory, deep }) = &self.order.remembered {
            let (settled, tell) = (|at| self.settled(at), |silent| self.tell(&silent));
            scan.whole(&sink, &Recall { memory, deep: *deep, settled: &settled, tell: &tell });
        } else if self.order.recursive {
            scan.subtree(self.order.path.as_ref(), &sink);
        } else {
            scan.directory(self.order.path.as_ref(), &sink);
        }
    }

    /// Takes one find of any worker.
    fn put(&self, found: Found) -> ControlFlow<()> {
        if let Found::LeftOut(left_out) = &found {
            self.shared.state.left_out(left_out.dir.clone());
            return ControlFlow::Continue(());
        }
        match self.writer().put(&found, &self.cancel) {
            Ok(()) => ControlFlow::Continue(()),
            Err(SinkClosed) => ControlFlow::Break(()),
        }
    }

    /// Takes a directory that is silent.
    fn tell(&self, silent: &Silent) -> ControlFlow<()> {
        match self.writer().silent(silent, &self.cancel) {
            Ok(()) => ControlFlow::Continue(()),
            Err(SinkClosed) => ControlFlow::Break(()),
        }
    }

    /// The newest ctime that is settled for who looks then. The storage's clock is taken to be the
    /// server's: where it is not, the view finds out (R6), or a directory is listed once too often.
    fn settled(&self, at: Monotonic) -> StorageTime {
        let now = self.exchange.server_time(at).unwrap_or_default();
        StorageTime::from_nanos(now.minus(self.unsettled_for).as_nanos())
    }

    fn finish(&self, report: &mut ScanReport) -> Result<Delivery, SinkClosed> {
        let mut writer = self.writer();
        if self.cancel.is_set() {
            return Err(SinkClosed);
        }
        // A relist that finds no directory says what is there instead (R4.5).
        if report.start == Start::NoDirectory {
            let now = self.shared.clock.monotonic();
            match self.shared.root.look_in_time(&self.order.path, now) {
                Ok(look) => writer.probe(self.order.path.as_ref(), &look, &self.cancel)?,
                // Whoever asked must not take it for an answer.
                Err(_) => report.counts.errors += 1,
            }
        }
        writer.finished(report, &self.cancel)
    }

    /// What the root is known by now, for a scan of the whole tree: the view knows what came to its top
    /// a moment ago (R11). One that cannot be read is not there.
    fn root_is(&self) -> Result<Option<RootIdentity>, RootCheck> {
        if !self.order.is_whole() {
            return Ok(None);
        }
        self.shared.state.identify(&self.shared.root).map(Some).map_err(|errno| {
            let away = RootCheck::Gone(errno);
            root_watch::found_away(&self.shared, away);
            away
        })
    }

    /// Whether the root is the directory that we hold.
    fn storage_is_there(&self) -> Result<(), RootCheck> {
        match self.shared.root.check_in_time() {
            RootCheck::Same => Ok(()),
            away => {
                root_watch::found_away(&self.shared, away);
                Err(away)
            }
        }
    }

    fn show_start(&self) {
        if self.order.is_whole() {
            *self.shared.state.scan() = Some(RunningScan {
                source: self.order.source,
                started_at: self.shared.clock.monotonic(),
                ended_at: None,
                phase: ScanPhase::Reading,
                paused_before: self.shared.limits.paused().total(),
                counters: Arc::clone(&self.counters),
            });
        }
        tracing::info!("scan started");
    }

    fn show_end(&self, end: &ScanEnd) {
        let counts = self.counters.read();
        let source = source_label(self.order.source);
        let metrics = &self.shared.metrics;
        metrics.scan_directories.with_label_values(&[source]).inc_by(counts.directories);
        metrics.scan_entries.with_label_values(&[source]).inc_by(counts.entries);
        metrics.scan_errors.with_label_values(&[source]).inc_by(counts.errors);
        let (outcome, phase) = match end {
            ScanEnd::Done(report, _) if report.complete => ("complete", ScanPhase::Delivering),
            ScanEnd::Done(..) => ("incomplete", ScanPhase::Delivering),
            ScanEnd::CutOff => ("cut_off", ScanPhase::CutOff),
            ScanEnd::NoStorage(_) => ("no_storage", ScanPhase::CutOff),
        };
        metrics.scans.with_label_values(&[source, outcome]).inc();
        let now = self.shared.clock.monotonic();
        if self.order.is_whole()
            && let Some(scan) = &mut *self.shared.state.scan()
            && Arc::ptr_eq(&scan.counters, &self.counters)
        {
            (scan.ended_at, scan.phase) = (Some(now), phase);
            let seconds = now.since(scan.started_at).as_secs_f64();
            let rate = if seconds > 0.0 { counts.entries as f64 / seconds } else { 0.0 };
            metrics.scan_rate.with_label_values(&[source]).set(rate);
        }
        tracing::info!(
            outcome,
            directories = counts.directories,
            silent = counts.silent,
            entries = counts.entries,
            errors = counts.errors,
            "scan ended"
        );
    }

    fn writer(&self) -> std::sync::MutexGuard<'_, BatchWriter> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
