//! The watcher and its restarts.
//!
//! Owns the watcher. One that broke off (the kernel's queue, a thread) is begun anew with back-off, and
//! at once when the server asks for it. What happened since it last saw everything counts as lost: the
//! new one says so, places watches on the whole tree by itself, whatever the role, and says that this
//! is done; until then the agent is not realtime ready. The audit that finds what was missed is the
//! view's to order (R10). An agent without a watcher is of use still: its scans see changes later.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fusion_core::time::Monotonic;

use tokio::task::JoinHandle;

use super::shared::{ROOT_LIMIT, Shared};
use crate::link::backoff::Backoff;
use crate::scan::RootCheck;
use crate::watch::{Stalls, WatchError, WatchOptions, Watcher};

/// How often the watcher is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// What the heartbeat calls this part.
const NAME: &str = "watch";

/// Keeps a watcher running until it is dropped, which ends it.
pub(super) struct Watching {
    shared: Arc<Shared>,
    watcher: Option<Watcher>,
    backoff: Backoff,
    /// The last moment of which everything is known.
    seen_through: Monotonic,
    /// Since when it does not come on.
    stalls: Stalls,
    /// One that did not start in time: what it asks of the storage hangs.
    hung: Option<JoinHandle<Result<Watcher, WatchError>>>,
}

impl Watching {
    /// Starts the first watcher, before anything can ask for it.
    pub(super) async fn start(shared: &Arc<Shared>) -> Self {
        let mut backoff = Backoff::default();
        backoff.healthy(shared.clock.monotonic());
        let seen_through = shared.clock.monotonic();
        let mut watching = Self {
            shared: Arc::clone(shared),
            watcher: None,
            backoff,
            seen_through,
            stalls: Stalls::default(),
            hung: None,
        };
        if let Err(why) = watching.begin(None).await {
            watching.tell(&why);
        }
        watching
    }

    /// Looks after it.
    pub(super) async fn run(mut self) {
        loop {
            let told = tokio::select! {
                () = tokio::time::sleep(LOOK) => false,
                () = self.shared.state.restart_watch.notified() => true,
            };
            match &self.watcher {
                Some(watcher) if watcher.is_running() && !told => {
                    if !self.hangs().await {
                        self.sound();
                        continue;
                    }
                    self.give_up();
                }
                Some(watcher) => {
                    self.seen_through = watcher.handle().seen_through();
                    self.tell(if told { "told to begin anew" } else { "broke off" });
                }
                None => {}
            }
            self.end();
            if !told {
                let now = self.shared.clock.monotonic();
                tokio::time::sleep(self.backoff.failed(now, &*self.shared.ids)).await;
            }
            self.begin_anew().await;
        }
    }

    /// Whether the watcher hangs in the storage, though the root answers: if that hangs too another
    /// watcher would be no better off, and the root's own watch tells of it.
    async fn hangs(&mut self) -> bool {
        let Some(watcher) = &self.watcher else { return false };
        let now = self.shared.clock.monotonic();
        let since = watcher.handle().stalled_since(&mut self.stalls, now);
        if since.is_none_or(|since| now.since(since) < self.shared.config.call_limit) {
            return false;
        }
        let root = Arc::clone(&self.shared.root);
        let check = tokio::task::spawn_blocking(move || root.check_in_time());
        if check.await.ok() != Some(RootCheck::Same) {
            return false;
        }
        let now = self.shared.clock.monotonic();
        let still = watcher.handle().stalled_since(&mut self.stalls, now);
        still.is_some() && still == since
    }

    fn give_up(&mut self) {
        if let Some(watcher) = &self.watcher {
            self.seen_through = watcher.handle().seen_through();
            watcher.handle().give_up();
        }
        self.tell("hung in the storage");
    }

    async fn begin_anew(&mut self) {
        if let Some(hung) = self.hung.take() {
            // One that hangs is not joined by a second. Too late, it is ended by being dropped.
            drop(hung.await);
        }
        if let Err(why) = self.begin(Some(self.seen_through)).await {
            self.tell(&why);
            return;
        }
        tracing::warn!("the watcher is begun anew: watches are placed anew");
        self.shared.metrics.restarts.with_label_values(&[NAME]).inc();
        self.backoff.healthy(self.shared.clock.monotonic());
    }

    /// Off the async threads, and with a time limit: the kernel asks the storage what it is.
    async fn begin(&mut self, lost_since: Option<Monotonic>) -> Result<(), String> {
        let config = &self.shared.config;
        let options = WatchOptions {
            max_watches: config.max_watches,
            part: self.shared.fellows.watches.clone(),
            left_out: self.shared.spool.own_directories(),
            placement_rate: NonZeroU32::new(config.placement_rate).unwrap_or(NonZeroU32::MIN),
            lost_since,
            precedence: self.shared.limits.precedence().clone(),
            ..WatchOptions::default()
        };
        let (root, clock) = (Arc::clone(&self.shared.root), Arc::clone(&self.shared.clock));
        let sink = self.shared.spool.sink();
        // From here on the one before can change nothing, and the new one has not begun.
        self.shared.state.healing.store(lost_since.is_some(), Ordering::Relaxed);
        let mut start =
            tokio::task::spawn_blocking(move || Watcher::start(root, options, clock, sink));
        let Ok(started) = tokio::time::timeout(ROOT_LIMIT, &mut start).await else {
            self.hung = Some(start);
            return Err("the storage does not answer".to_owned());
        };
        let watcher = started.map_err(|error| error.to_string())?;
        let watcher = watcher.map_err(|error| error.to_string())?;
        self.shared.set_watch(Some(watcher.handle().clone()));
        self.watcher = Some(watcher);
        self.stalls = Stalls::default();
        Ok(())
    }

    /// Nothing is watched from now on.
    fn end(&mut self) {
        self.shared.set_watch(None);
        self.shared.state.placed.store(false, Ordering::Relaxed);
        self.watcher = None;
    }

    /// All is watched, if it is: what was told is over.
    fn sound(&self) {
        if !self.shared.state.healing.load(Ordering::Relaxed) {
            self.shared.state.broken(NAME, None);
        }
    }

    fn tell(&self, why: &str) {
        tracing::error!("watcher: {why}; changes are found by scans only until it is begun anew");
        self.shared.state.broken(NAME, Some(format!("{why}: watches are placed anew")));
    }
}
