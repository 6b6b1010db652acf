//! What the agent does by itself: the leader's snapshot and audits, the follower's walk.
//!
//! Owns the one scan of the whole tree that may run, and its end. Follows the link: a new leadership
//! lists anew, a lost one stops in mid-directory, a scan that was cut off is begun again. What each
//! role does is decided by `role` alone.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fusion_core::evidence::Source;
use fusion_core::id::{LeaderEpoch, SessionId};
use fusion_core::path::PathRef;
use fusion_core::time::Monotonic;
use tokio::sync::{oneshot, watch};

use super::keep::Part;
use super::scans::{self, ScanEnd, ScanOrder};
use super::shared::Shared;
use crate::link::{Delivery, LinkView, Standing, TimeExchange};
use crate::progress::ScanPhase;
use crate::role::{Duty, duty_of, goes_on, has};
use crate::scan::{Cancel, Found, Placer, RateLimit, Scan, ScanCounters, ScanOptions};

/// How long after a scan that failed the next one begins.
const AGAIN: Duration = Duration::from_secs(5);

/// A leadership of a session: each lists the whole tree once, and then audits it.
type Term = (SessionId, LeaderEpoch);

/// What does the duties.
pub(crate) struct DutiesTask {
    shared: Arc<Shared>,
    exchange: Arc<TimeExchange>,
    view: watch::Receiver<LinkView>,
    /// Counts the times that events were lost and all was watched again.
    heal: watch::Receiver<u64>,
    running: Option<Running>,
    /// The term whose snapshot is done, and when the next audit begins.
    listed: Option<(Term, Monotonic)>,
    delivery: Option<Delivery>,
    not_before: Option<Monotonic>,
}

/// Work on the whole tree.
struct Running {
    what: What,
    cancel: Cancel,
    end: oneshot::Receiver<ScanEnd>,
    heals: u64,
    /// The watcher with which it places watches.
    watcher: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Scan(Term, Source),
    Place,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.cancel.set();
    }
}

impl DutiesTask {
    pub(crate) fn new(
        shared: Arc<Shared>,
        exchange: Arc<TimeExchange>,
        view: watch::Receiver<LinkView>,
    ) -> Self {
        let heal = shared.state.heals.subscribe();
        let (running, listed, delivery, not_before) = (None, None, None, None);
        Self { shared, exchange, view, heal, running, listed, delivery, not_before }
    }
}

impl Part for DutiesTask {
    const NAME: &'static str = "duties";
    type End = ();

    /// Works until it is dropped, which cancels what runs.
    async fn run(&mut self) {
        loop {
            self.begin_what_is_due();
            let wake = self.wake_at();
            let now = self.shared.clock.monotonic();
            tokio::select! {
                changed = self.view.changed() => if changed.is_err() { return },
                Ok(()) = self.heal.changed() => self.events_were_lost(),
                end = ended(&mut self.running) => self.ended(end),
                () = delivered(&mut self.delivery) => self.delivered(),
                () = self.shared.state.restart_scan.notified() => self.begin_anew(),
                () = tokio::time::sleep(wake.map_or(Duration::MAX, |at| at.since(now))),
                    if wake.is_some() => self.not_before = None,
            }
        }
    }

    /// What ran is cancelled, and this leadership lists anew.
    fn broke_off(&mut self) {
        self.begin_anew();
    }
}

impl DutiesTask {
    /// Cuts off what runs; a leader will list anew, and a follower walk anew.
    fn begin_anew(&mut self) {
        (self.running, self.listed, self.delivery, self.not_before) = (None, None, None, None);
        let lists = self.standing().is_some_and(|standing| has(standing.role, Duty::Snapshot));
        if !lists {
            self.shared.state.placed.store(false, Ordering::Relaxed);
        }
    }

    fn standing(&self) -> Option<Standing> {
        self.view.borrow().standing.clone()
    }

    /// Stops what is no longer ours to do, and begins what is.
    fn begin_what_is_due(&mut self) {
        let standing = self.view.borrow_and_update().standing.clone();
        let due = standing.as_ref().and_then(|standing| self.due(standing));
        if let Some(running) = &self.running {
            if self.may_go_on(running.what, standing.as_ref()) {
                return;
            }
            tracing::info!(what = ?running.what, "stopped: no longer this agent's duty");
            self.running = None;
            if let Some(scan) = &mut *self.shared.state.scan() {
                scan.phase = ScanPhase::CutOff;
            }
        }
        let now = self.shared.clock.monotonic();
        if self.not_before.is_some_and(|at| now < at) {
            return;
        }
        let (Some(standing), Some(what)) = (standing, due) else { return };
        let cancel = Cancel::new();
        let (heals, watcher) = (*self.heal.borrow(), self.shared.watch_number());
        if let Some(watch) = self.shared.watch() {
            watch.begin_walk();
        }
        let end = match what {
            What::Scan((_, epoch), source) => {
                let order = ScanOrder::whole(source, epoch);
                let placer = self.shared.placer();
                scans::start(&self.shared, order, &standing, &self.exchange, placer, &cancel)
            }
            What::Place => self.place(&cancel),
        };
        self.running = Some(Running { what, cancel, end, heals, watcher });
    }

    /// What is to be done under this standing, if anything.
    fn due(&self, standing: &Standing) -> Option<What> {
        let now = self.shared.clock.monotonic();
        if has(standing.role, Duty::Snapshot) {
            let term = (standing.session, standing.epoch);
            return match self.listed {
                Some((listed, _)) if listed != term => Some(What::Scan(term, Source::Snapshot)),
                None => Some(What::Scan(term, Source::Snapshot)),
                Some((_, audit_at)) if now >= audit_at && has(standing.role, Duty::Audit) => {
                    Some(What::Scan(term, Source::Audit))
                }
                Some(_) => None,
            };
        }
        let placed = self.shared.state.placed.load(Ordering::Relaxed);
        (has(standing.role, Duty::PlaceWatches) && !placed && self.shared.watch().is_some())
            .then_some(What::Place)
    }

    fn may_go_on(&self, what: What, standing: Option<&Standing>) -> bool {
        match (what, standing) {
            (What::Scan(term, source), Some(standing)) => {
                let same_term = (standing.session, standing.epoch) == term;
                goes_on(duty_of(source), standing.role, same_term)
            }
            (What::Scan(..), None) => false,
            // Watches are placed whatever the session; but a leader places them while it lists.
            (What::Place, standing) => {
                standing.is_none_or(|standing| goes_on(Duty::PlaceWatches, standing.role, false))
            }
        }
    }

    /// Begins a walk, names only and at a limited rate.
    fn place(&self, cancel: &Cancel) -> oneshot::Receiver<ScanEnd> {
        let (ended, end) = oneshot::channel();
        let (shared, placer, cancel) =
            (Arc::clone(&self.shared), self.shared.placer(), cancel.clone());
        let spawned = crate::spawn::spawn_thread("fusion-place-0", move || {
            let options =
                ScanOptions { left_out: shared.spool.own_directories(), ..ScanOptions::default() };
            let rate = NonZeroU32::new(shared.config.placement_rate).unwrap_or(NonZeroU32::MIN);
            let scan = Scan {
                root: &shared.root,
                options: &options,
                clock: &*shared.clock,
                cancel: &cancel,
                counters: &ScanCounters::default(),
                pace: &RateLimit::new(rate),
                placer: placer.as_deref().map(|placer| placer as &dyn Placer),
            };
            let report = scan.place_watches(PathRef::ROOT, &|found| {
                if let Found::LeftOut(left_out) = found {
                    shared.state.left_out(left_out.dir);
                }
                std::ops::ControlFlow::Continue(())
            });
            let end = if report.complete {
                ScanEnd::Done(report, Delivery::at_once())
            } else {
                ScanEnd::CutOff
            };
            let _ = ended.send(end);
        });
        if let Err(error) = spawned {
            tracing::error!("watches not placed: {error}");
        }
        end
    }

    /// The work on the whole tree came to an end; `None` if its thread broke off.
    fn ended(&mut self, end: Option<ScanEnd>) {
        let Some(running) = self.running.take() else { return };
        let now = self.shared.clock.monotonic();
        match end {
            Some(ScanEnd::Done(report, delivery)) if report.complete => {
                // Events that were lost meanwhile may belong to what was already walked.
                let healed = running.heals == *self.heal.borrow();
                self.placed(&running);
                if let What::Scan(term, _) = running.what {
                    self.delivery = Some(delivery);
                    let next = if healed { self.audit_at(report.started_at) } else { now };
                    self.listed = Some((term, next));
                }
                self.shared.state.broken("scan", None);
            }
            other => {
                let why = match other {
                    Some(ScanEnd::NoStorage(check)) => format!("the root is not there: {check:?}"),
                    Some(ScanEnd::Done(..)) => "not everything could be read".to_owned(),
                    Some(ScanEnd::CutOff) => "cut off".to_owned(),
                    None => {
                        self.shared.metrics.restarts.with_label_values(&["scan"]).inc();
                        "broke off".to_owned()
                    }
                };
                tracing::warn!(what = ?running.what, "to be done again: {why}");
                self.shared.state.broken("scan", Some(why));
                self.not_before = Some(now.plus(AGAIN));
            }
        }
    }

    /// All directories were walked; their watches are in place, if it is the same watcher still.
    fn placed(&self, running: &Running) {
        let Shared { state, spool, .. } = &*self.shared;
        if self.shared.watch().is_none() || running.watcher != self.shared.watch_number() {
            return;
        }
        state.placed.store(true, Ordering::Relaxed);
        state.broken("watch", None);
        // A leader listed every directory after it was watched. What a follower missed before its walk
        // came by is for the leader to find, by an audit that begins now.
        if running.watcher > 1 && running.what == What::Place {
            spool.lost_since(self.shared.clock.monotonic());
        }
        state.news.notify_one();
    }

    /// What a scan found is part of the view.
    fn delivered(&mut self) {
        self.delivery = None;
        if let Some(scan) = &mut *self.shared.state.scan()
            && scan.phase == ScanPhase::Delivering
        {
            scan.phase = ScanPhase::Delivered;
            tracing::info!("scan delivered");
        }
    }

    /// Events were lost, and all is watched again: a leader looks at the whole tree.
    fn events_were_lost(&mut self) {
        if let Some((_, audit_at)) = &mut self.listed {
            *audit_at = self.shared.clock.monotonic();
        }
    }

    fn audit_at(&self, started_at: Monotonic) -> Monotonic {
        let interval = self
            .standing()
            .map_or(Duration::from_secs(3600), |standing| standing.settings.audit_interval);
        started_at.plus(self.shared.ids.jitter(interval, 0.1))
    }

    /// When to look again by ourselves.
    fn wake_at(&self) -> Option<Monotonic> {
        if self.running.is_some() {
            return None;
        }
        let leads = self.standing().is_some_and(|standing| has(standing.role, Duty::Audit));
        let audit = self.listed.filter(|_| leads).map(|(_, at)| at);
        match (self.not_before, audit) {
            (Some(not_before), Some(audit)) => Some(not_before.max(audit)),
            (at, None) | (None, at) => at,
        }
    }
}

/// The end of what runs; never, if nothing does.
async fn ended(running: &mut Option<Running>) -> Option<ScanEnd> {
    match running {
        Some(running) => (&mut running.end).await.ok(),
        None => std::future::pending().await,
    }
}

async fn delivered(delivery: &mut Option<Delivery>) {
    match delivery {
        Some(delivery) => {
            if !delivery.wait().await {
                // The session ended first; its successor lists anew.
                std::future::pending::<()>().await;
            }
        }
        None => std::future::pending().await,
    }
}
