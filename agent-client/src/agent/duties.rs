//! What the agent does by itself: the leader's snapshot and audits, the follower's walk.
//!
//! Owns the one scan of the whole tree that may run, its end, and what such scans remember. Follows
//! the link: a new leadership lists anew with an empty memory, a lost one stops in mid-directory, a
//! scan that was cut off under the same leadership goes on where it was. Audits are begun by the
//! schedule and when the server asks; a scan answers what was asked for before it began, and what is
//! asked for while it runs or is delivered wants the next (R10). What each role does is decided by
//! `role` alone. Must never: begin an audit before the end of the one before was acknowledged, for its
//! number would be used twice.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fusion_core::evidence::Source;
use fusion_core::id::{CorrelationId, LeaderEpoch, SessionId};
use fusion_core::time::Monotonic;
use tokio::sync::{mpsc, oneshot, watch};

use super::commands::AuditOrder;
use super::desk::{Outcome, ReportDesk, figures_of};
use super::keep::Part;
use super::place;
use super::scans::{self, Remembered, ScanEnd, ScanOrder};
use super::shared::Shared;
use crate::link::{Delivery, LinkView, Standing, TimeExchange};
use crate::progress::ScanPhase;
use crate::role::{Duty, duty_of, goes_on, has};
use crate::scan::{Cancel, DeepTurn, Memory, ScanReport};

/// How long after the server did not say the number of an audit it is asked again.
const NUMBER_AGAIN: Duration = Duration::from_millis(100);
/// How long after a scan that failed the next one begins.
const AGAIN: Duration = Duration::from_secs(5);

/// A leadership of a session: each lists the whole tree once, and then audits it.
type Term = (SessionId, LeaderEpoch);

/// What does the duties.
pub(crate) struct DutiesTask {
    shared: Arc<Shared>,
    exchange: Arc<TimeExchange>,
    view: watch::Receiver<LinkView>,
    desk: ReportDesk,
    asked: mpsc::Receiver<AuditOrder>,
    /// Audits that the server asked for, in their order.
    orders: Vec<AuditOrder>,
    /// So many of them were there when the scan that runs, or is being delivered, began: it answers them.
    answered: usize,
    running: Option<Running>,
    /// What the scans of a term remember.
    memory: Option<(Term, Arc<Memory>)>,
    /// The term whose snapshot is done, and when the next audit begins.
    listed: Option<(Term, Monotonic)>,
    /// The scan that ended, and its way to the server.
    delivery: Option<(ScanReport, Delivery)>,
    /// When the end of the latest scan was acknowledged.
    acknowledged_at: Option<Monotonic>,
    /// Nothing is begun before that: what was tried last did not succeed.
    not_before: Option<Monotonic>,
}

/// Work on the whole tree.
struct Running {
    what: What,
    cancel: Cancel,
    end: oneshot::Receiver<ScanEnd>,
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
        desk: ReportDesk,
        exchange: Arc<TimeExchange>,
        view: watch::Receiver<LinkView>,
        asked: mpsc::Receiver<AuditOrder>,
    ) -> Self {
        Self {
            shared: Arc::clone(&desk.shared),
            exchange,
            view,
            desk,
            asked,
            orders: Vec::new(),
            answered: 0,
            running: None,
            memory: None,
            listed: None,
            delivery: None,
            acknowledged_at: None,
            not_before: None,
        }
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
                Some(order) = self.asked.recv() => self.orders.push(order),
                end = ended(&mut self.running) => self.ended(end),
                delivered = delivered(&mut self.delivery) => self.delivered(delivered),
                () = self.shared.state.restart_scan.notified() => self.begin_anew(),
                () = tokio::time::sleep(wake.map_or(Duration::MAX, |at| at.since(now))),
                    if wake.is_some() => {}
            }
        }
    }

    /// What ran is cancelled, and this leadership lists anew.
    fn broke_off(&mut self) {
        self.begin_anew();
    }
}

impl DutiesTask {
    /// Cuts off what runs; a leader will list all anew, which answers audits too, and a follower walk
    /// anew.
    fn begin_anew(&mut self) {
        (self.running, self.listed, self.delivery, self.not_before) = (None, None, None, None);
        self.memory = None;
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
        if let Some(running) = &self.running {
            if self.may_go_on(running.what, standing.as_ref()) {
                return;
            }
            tracing::info!(what = ?running.what, "stopped: no longer this agent's duty");
            self.running = None;
            self.answer_all(&Err("no longer this agent's duty".into()));
            if let Some(scan) = &mut *self.shared.state.scan() {
                scan.phase = ScanPhase::CutOff;
            }
        }
        let now = self.shared.clock.monotonic();
        let Some(standing) = standing else { return };
        let Some((what, _)) = self.next(&standing).filter(|(_, at)| *at <= now) else { return };
        let Some(deep) = self.turn(what, &standing) else {
            self.shared.state.news.notify_one();
            self.not_before = Some(now.plus(NUMBER_AGAIN));
            return;
        };
        let cancel = Cancel::new();
        let watcher = self.shared.watch_number();
        let end = match what {
            What::Scan(term, source) => {
                self.delivery = None;
                self.answered = self.orders.len();
                let order = self.order(term, source, deep);
                let placer = self.shared.placer();
                scans::start(&self.shared, order, &standing, &self.exchange, placer, &cancel).end
            }
            What::Place => place::start(&self.shared, &cancel),
        };
        self.running = Some(Running { what, cancel, end, watcher });
    }

    /// The turn of an audit in the rotation (R9); `None` while its number is not known: the server
    /// has not been heard since the end of the scan before was acknowledged.
    fn turn(&self, what: What, standing: &Standing) -> Option<Option<DeepTurn>> {
        if !matches!(what, What::Scan(_, Source::Audit)) {
            return Some(None);
        }
        let one_in = standing.settings.deep_audit_one_in;
        let next = self.view.borrow().next_audit;
        let heard = next.filter(|next| Some(next.asked_at) >= self.acknowledged_at);
        // One that the server asked for has its number with it.
        let ordered = self.orders.iter().map(|order| order.number).max();
        let number = heard.map(|next| next.number).max(ordered)?;
        Some(Some(DeepTurn { number, one_in }))
    }

    fn order(&mut self, term: Term, source: Source, deep: Option<DeepTurn>) -> ScanOrder {
        let memory = match &self.memory {
            Some((of, memory)) if *of == term => Arc::clone(memory),
            _ => Arc::default(),
        };
        self.memory = Some((term, Arc::clone(&memory)));
        let asked = self.orders.first().filter(|_| source == Source::Audit);
        ScanOrder {
            correlation: asked.and_then(|order| order.command.correlation.clone()),
            causation: asked
                .and_then(|order| CorrelationId::new(&order.command.id.to_string()).ok()),
            remembered: Some(Remembered { memory, deep }),
            ..ScanOrder::whole(source, term.1)
        }
    }

    /// Answers the audits that were asked for before the scan began: what was asked for later wants a
    /// scan that begins later (R10).
    fn answer(&mut self, outcome: &Outcome) {
        let before = std::mem::take(&mut self.answered).min(self.orders.len());
        for order in self.orders.drain(..before) {
            self.desk.finish(&order.command, outcome.clone());
        }
    }

    /// Answers all of them.
    fn answer_all(&mut self, outcome: &Outcome) {
        self.answered = self.orders.len();
        self.answer(outcome);
    }

    /// What is to be done next under this standing, if anything, and when.
    fn next(&self, standing: &Standing) -> Option<(What, Monotonic)> {
        let soonest = self.not_before.unwrap_or(Monotonic::from_nanos(0));
        if has(standing.role, Duty::Snapshot) {
            let term = (standing.session, standing.epoch);
            let Some((_, audit_at)) = self.listed.filter(|(listed, _)| *listed == term) else {
                return Some((What::Scan(term, Source::Snapshot), soonest));
            };
            let at = if self.orders.is_empty() { soonest.max(audit_at) } else { soonest };
            let may = self.delivery.is_none() && has(standing.role, Duty::Audit);
            return may.then_some((What::Scan(term, Source::Audit), at));
        }
        let Shared { state, .. } = &*self.shared;
        // A watcher that lost events walks by itself.
        let lacks = !state.placed.load(Ordering::Relaxed) && !state.healing.load(Ordering::Relaxed);
        (has(standing.role, Duty::PlaceWatches) && lacks && self.shared.watch().is_some())
            .then_some((What::Place, soonest))
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

    /// The work on the whole tree came to an end; `None` if its thread broke off.
    fn ended(&mut self, end: Option<ScanEnd>) {
        let Some(running) = self.running.take() else { return };
        let now = self.shared.clock.monotonic();
        match end {
            Some(ScanEnd::Done(report, delivery)) if report.complete => {
                self.placed(&running);
                if let What::Scan(term, _) = running.what {
                    self.delivery = Some((report, delivery));
                    self.listed = Some((term, self.audit_at(report.started_at)));
                    self.tidy();
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
                self.answer(&Err(why.clone()));
                self.shared.state.broken("scan", Some(why));
                self.not_before = Some(now.plus(AGAIN));
            }
        }
    }

    /// Gives back what the memory keeps of directories that are gone.
    fn tidy(&mut self) {
        if let Some((_, memory)) = &mut self.memory
            && let Some(tidied) = memory.tidied()
        {
            *memory = Arc::new(tidied);
        }
    }

    /// All directories were walked; their watches are in place, if it is the same watcher still. One
    /// that was begun anew walks by itself.
    fn placed(&self, running: &Running) {
        if self.shared.watch().is_some() && running.watcher == self.shared.watch_number() {
            self.shared.state.placed.store(true, Ordering::Relaxed);
        }
        self.shared.state.news.notify_one();
    }

    /// What a scan found is part of the view, if `report` is its report; else the session ended
    /// first, and its successor lists anew.
    fn delivered(&mut self, report: Option<ScanReport>) {
        let Some(report) = report else {
            let why = "the session ended before everything was delivered";
            return self.answer_all(&Err(why.into()));
        };
        self.delivery = None;
        self.acknowledged_at = Some(self.shared.clock.monotonic());
        self.answer(&Ok(figures_of(&report)));
        if let Some(scan) = &mut *self.shared.state.scan()
            && scan.phase == ScanPhase::Delivering
        {
            scan.phase = ScanPhase::Delivered;
            tracing::info!("scan delivered");
        }
    }

    fn audit_at(&self, started_at: Monotonic) -> Monotonic {
        let interval = self
            .standing()
            .map_or(Duration::from_secs(3600), |standing| standing.settings.audit_interval);
        started_at.plus(self.shared.ids.jitter(interval, 0.1))
    }

    /// When to look again by ourselves: when what is next is to begin.
    fn wake_at(&self) -> Option<Monotonic> {
        let standing = self.standing().filter(|_| self.running.is_none())?;
        self.next(&standing).map(|(_, at)| at)
    }
}

/// The end of what runs; never, if nothing does.
async fn ended(running: &mut Option<Running>) -> Option<ScanEnd> {
    match running {
        Some(running) => (&mut running.end).await.ok(),
        None => std::future::pending().await,
    }
}

/// The scan whose delivery came to an end; `None` inside if it can no longer be delivered. Never, if
/// none is on its way.
async fn delivered(delivery: &mut Option<(ScanReport, Delivery)>) -> Option<ScanReport> {
    let Some((report, way)) = delivery else { return std::future::pending().await };
    let report = *report;
    if way.wait().await {
        return Some(report);
    }
    *delivery = None;
    None
}
