//! What the parts of the agent know of each other: written by each, read by the heartbeat, the
//! metrics and whoever embeds the agent.
//!
//! Only atomics, and locks that are held for a few instructions: the heartbeat asks here, and an
//! answer never waits for storage.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fusion_core::evidence::{RootIdentity, RootState, Source};
use fusion_core::path::TreePath;
use fusion_core::time::Monotonic;
use futures_util::future::BoxFuture;
use rustix::io::Errno;
use tokio::sync::{Notify, watch};

use crate::clock::SharedClock;
use crate::config::AgentConfig;
use crate::ids::SharedIds;
use crate::link::{AgentStatus, Reporter, RootKnown, ScanStatus, TimeExchange};
use crate::ops::metrics::Metrics;
use crate::progress::{Progress, ScanPhase, ScanProgress};
use crate::scan::{Exclusion, Limits, Placer, Root, ScanCounters};
use crate::watch::{WatchCounts, WatchHandle, WatchMethod};

use super::fellows::Fellows;
use super::spooler::SharedSpool;

/// Longest that a look at the root may take before it counts as hung.
pub(crate) const ROOT_LIMIT: Duration = Duration::from_secs(5);

/// What all parts share.
pub(crate) struct Shared {
    pub(crate) config: AgentConfig,
    pub(crate) clock: SharedClock,
    pub(crate) ids: SharedIds,
    pub(crate) metrics: Arc<Metrics>,
    /// With the other agents of the process, and over its own lives.
    pub(crate) fellows: Fellows,
    pub(crate) root: Arc<Root>,
    /// Of all scans, and which of them goes first.
    pub(crate) limits: Arc<Limits>,
    pub(crate) spool: SharedSpool,
    pub(crate) watch: Watched,
    pub(crate) state: Arc<State>,
    pub(crate) progress: watch::Sender<Progress>,
}

/// The watcher, as the rest of the agent has it.
#[derive(Default)]
pub(crate) struct Watched(Mutex<WatchNow>);

#[derive(Default)]
struct WatchNow {
    /// None while there is no watcher: then only scans see changes.
    handle: Option<WatchHandle>,
    /// Counts the watchers: a walk placed its watches with one of them.
    number: u64,
    /// What those before it counted.
    before: WatchCounts,
}

/// What changes while the agent works.
pub(crate) struct State {
    /// Every directory below the root is watched, or counted as unwatched.
    pub(crate) placed: AtomicBool,
    /// Events were lost, and the watcher places its watches anew.
    pub(crate) healing: AtomicBool,
    /// Rung when the server is to know something before the next heartbeat is due.
    pub(crate) news: Arc<Notify>,
    /// Rung when the root that we hold is gone and the same tree stands at its path again.
    pub(crate) root_anew: Notify,
    /// Rung when the watcher is to be begun anew, and when the scan of the whole tree is.
    pub(crate) restart_watch: Notify,
    pub(crate) restart_scan: Notify,
    /// Files looked at by scans that ended.
    pub(crate) scanned_files: AtomicU64,
    root: Mutex<(RootState, RootIdentity)>,
    /// Held by a look at the root for a session: one that hangs is not joined by a second.
    pub(crate) looking: Arc<tokio::sync::Mutex<()>>,
    scan: Mutex<Option<RunningScan>>,
    left_out: Mutex<Vec<TreePath>>,
    errors: Mutex<BTreeMap<&'static str, String>>,
    exchange: Mutex<Option<Arc<TimeExchange>>>,
}

/// The running or latest scan of the whole tree.
#[derive(Clone)]
pub(crate) struct RunningScan {
    pub(crate) source: Source,
    pub(crate) started_at: Monotonic,
    pub(crate) ended_at: Option<Monotonic>,
    pub(crate) phase: ScanPhase,
    /// How long scans had waited before it began.
    pub(crate) paused_before: Duration,
    pub(crate) counters: Arc<ScanCounters>,
}

impl State {
    pub(crate) fn new(identity: RootIdentity) -> Self {
        Self {
            placed: AtomicBool::new(false),
            healing: AtomicBool::new(false),
            news: Arc::new(Notify::new()),
            root_anew: Notify::new(),
            restart_watch: Notify::new(),
            restart_scan: Notify::new(),
            scanned_files: AtomicU64::new(0),
            root: Mutex::new((RootState::Available, identity)),
            looking: Arc::default(),
            scan: Mutex::new(None),
            left_out: Mutex::new(Vec::new()),
            errors: Mutex::new(BTreeMap::new()),
            exchange: Mutex::new(None),
        }
    }

    /// The link exists: its exchange turns our times into the server's.
    pub(crate) fn linked(&self, exchange: Arc<TimeExchange>) {
        *lock(&self.exchange) = Some(exchange);
    }

    /// A part is broken, or works again.
    pub(crate) fn broken(&self, part: &'static str, error: Option<String>) {
        let before = match error.clone() {
            Some(error) => lock(&self.errors).insert(part, error),
            None => lock(&self.errors).remove(part),
        };
        if before != error {
            self.news.notify_one();
        }
    }

    /// How the root is, and what it was known by when that was last read.
    pub(crate) fn root(&self) -> (RootState, RootIdentity) {
        lock(&self.root).clone()
    }

    /// How the root was found; gives whether that is news.
    pub(crate) fn root_found(&self, state: RootState) -> bool {
        std::mem::replace(&mut lock(&self.root).0, state) != state
    }

    /// Reads what the root is known by now. May take as long as a call of the storage.
    pub(crate) fn identify(&self, root: &Root) -> Result<RootIdentity, Errno> {
        let mut identity = root.identity_in_time()?;
        let mut known = lock(&self.root);
        // Patterns that came since it was read were taken out of what was known before.
        root.exclusion().leave_in(&mut identity);
        known.1 = identity.clone();
        Ok(identity)
    }

    /// The same off the async threads; `None` if the root does not answer in time.
    async fn identify_in_time(self: Arc<Self>, root: Arc<Root>) -> Option<RootIdentity> {
        let turn = Arc::clone(&self.looking).try_lock_owned().ok()?;
        let look = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            self.identify(&root)
        });
        tokio::time::timeout(ROOT_LIMIT, look).await.ok()?.ok()?.ok()
    }

    pub(crate) fn scan(&self) -> MutexGuard<'_, Option<RunningScan>> {
        lock(&self.scan)
    }

    /// A directory that is left out, for coverage.
    pub(crate) fn left_out(&self, dir: TreePath) {
        let mut left_out = lock(&self.left_out);
        if left_out.len() < fusion_proto::limits::STATUS_LINES_MAX && !left_out.contains(&dir) {
            left_out.push(dir);
        }
    }
}

impl Shared {
    /// The watcher; none while there is none.
    pub(crate) fn watch(&self) -> Option<WatchHandle> {
        lock(&self.watch.0).handle.clone()
    }

    /// Up to when everything that the kernel told of is evidence; none while there is no watcher.
    pub(crate) fn seen_through(&self) -> Option<Monotonic> {
        self.watch().map(|watch| watch.seen_through())
    }

    /// What places watches; none while there is no watcher.
    pub(crate) fn placer(&self) -> Option<Arc<dyn Placer + Send + Sync>> {
        self.watch().map(|handle| Arc::new(handle) as Arc<dyn Placer + Send + Sync>)
    }

    /// A walk of the whole tree begins that places watches. May hang with the storage.
    pub(crate) fn begin_walk(&self) {
        if let Some(watch) = self.watch() {
            watch.begin_walk();
        }
    }

    /// It came by all directories.
    pub(crate) fn end_walk(&self) {
        if let Some(watch) = self.watch() {
            watch.end_walk();
        }
    }

    /// Which watcher it is, of all that there were.
    pub(crate) fn watch_number(&self) -> u64 {
        lock(&self.watch.0).number
    }

    /// A watcher began or ended.
    pub(crate) fn set_watch(&self, handle: Option<WatchHandle>) {
        let mut watch = lock(&self.watch.0);
        let counted = watch.handle.as_ref().map(WatchHandle::counts).unwrap_or_default();
        watch.before.file_stats += counted.file_stats;
        watch.before.overflows += counted.overflows;
        watch.before.failed_looks = added(watch.before.failed_looks, counted.failed_looks);
        watch.number += u64::from(handle.is_some());
        watch.handle = handle;
    }

    pub(crate) fn watch_counts(&self) -> WatchCounts {
        let watch = lock(&self.watch.0);
        let now = watch.handle.as_ref().map(WatchHandle::counts).unwrap_or_default();
        WatchCounts {
            file_stats: watch.before.file_stats + now.file_stats,
            overflows: watch.before.overflows + now.overflows,
            failed_looks: added(watch.before.failed_looks, now.failed_looks),
            ..now
        }
    }

    /// All directories are watched, and no event was lost since that the server does not know of.
    pub(crate) fn realtime_ready(&self) -> bool {
        let (state, relaxed) = (&self.state, Ordering::Relaxed);
        let placed = state.placed.load(relaxed) && !state.healing.load(relaxed);
        let watches = placed && self.watch().is_some_and(|watch| watch.is_running());
        watches && !self.spool.is_losing()
    }

    /// Files looked at since the start, one stat each.
    pub(crate) fn file_stats(&self) -> u64 {
        let running = self.state.scan().as_ref().map_or(0, |scan| {
            if scan.ended_at.is_none() { scan.counters.read().file_stats } else { 0 }
        });
        let ended = self.state.scanned_files.load(Ordering::Relaxed);
        ended + running + self.watch_counts().file_stats
    }

    /// The scan as whoever embeds the agent sees it.
    pub(crate) fn scan_progress(&self) -> Option<ScanProgress> {
        let scan = self.state.scan().clone()?;
        let counts = scan.counters.read();
        let end = scan.ended_at.unwrap_or_else(|| self.clock.monotonic());
        Some(ScanProgress {
            source: scan.source,
            directories: counts.directories,
            entries: counts.entries,
            errors: counts.errors,
            elapsed: end.since(scan.started_at),
            phase: scan.phase,
        })
    }

    fn scan_status(&self) -> Option<ScanStatus> {
        let scan = self.state.scan().clone()?;
        let running = matches!(scan.phase, ScanPhase::Reading | ScanPhase::Delivering);
        let exchange = lock(&self.state.exchange).clone()?;
        let counts = scan.counters.read();
        running.then_some(ScanStatus {
            source: scan.source,
            started_at: exchange.server_time(scan.started_at)?,
            directories: counts.directories,
            entries: counts.entries,
            errors: counts.errors,
            paused: self.limits.paused().total().saturating_sub(scan.paused_before),
            call_latency: self.limits.call_latency(),
        })
    }
}

impl Reporter for Shared {
    fn status(&self) -> AgentStatus {
        let watch = self.watch_counts();
        let by_directory = watch.method == WatchMethod::Inotify;
        let spool = self.spool.figures();
        AgentStatus {
            realtime_ready: self.realtime_ready(),
            watched_directories: watch.watched,
            watch_limit: self.watch().map(|_| watch.limit).filter(|_| by_directory),
            unwatched_directories: watch.unwatched,
            queue_depth: watch.queued,
            spool_bytes: spool.bytes,
            oldest_unacknowledged: spool.oldest.map(|oldest| self.clock.monotonic().since(oldest)),
            root_state: self.state.root().0,
            errors: lock(&self.state.errors)
                .iter()
                .map(|(part, error)| format!("{part}: {error}"))
                .collect(),
            scan: self.scan_status(),
            file_stats: self.file_stats(),
            left_out: lock(&self.state.left_out).clone(),
        }
    }

    fn root_identity(&self) -> BoxFuture<'_, RootKnown> {
        let look = Arc::clone(&self.state).identify_in_time(Arc::clone(&self.root));
        Box::pin(async {
            match look.await {
                Some(identity) => RootKnown { identity, is_now: true },
                None => RootKnown { identity: self.state.root().1, is_now: false },
            }
        })
    }

    fn exclude(&self, patterns: &[String]) -> Result<(), String> {
        self.root.exclude(patterns)?;
        self.root.exclusion().leave_in(&mut lock(&self.state.root).1);
        Ok(())
    }

    fn exclusion(&self) -> Arc<Exclusion> {
        self.root.exclusion()
    }

    fn delivered_through(&self) -> Option<Monotonic> {
        let seen_through = self.seen_through()?;
        if !self.realtime_ready() {
            return None;
        }
        // Asked in this order: what comes in between is later than `seen_through`.
        match self.spool.figures().oldest {
            Some(oldest) => Some(oldest.min(seen_through)),
            None => Some(seen_through),
        }
    }
}

fn added<const N: usize>(one: [u64; N], other: [u64; N]) -> [u64; N] {
    std::array::from_fn(|at| one[at] + other[at])
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
