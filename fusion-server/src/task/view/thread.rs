//! The thread of a view: its turns, and what it publishes after each.
//!
//! How it begins, and what becomes of a panic, is in `begin`.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use fusion_core::evidence::{Evidence, Witness};
use fusion_core::id::{LeaderEpoch, SessionId};
use fusion_core::time::{Clock, ServerTime};
use fusion_core::view::{Coverage, LossCause, Order, View, ViewState};
use fusion_store::{Origin, OwnerEpoch, RecordHead, StoreError};
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::apply::Applier;
use super::beside;
use super::control::{Control, Life, Note};
use super::desk::CommandDesk;
use super::flush::{Flusher, Moment};
use super::follow::{Followed, Follower};
use super::journal::{Journal, head_of, head_of_election, head_of_lane};
use super::lanes::{Admission, LaneKey, Lanes, OpenRefused, Opened};
use super::mailbox::Inbox;
use super::operate::{NotOperated, Operated};
use super::pulse::Pulse;
use super::unseen::Hold;
use super::whole::WholeScans;
use super::{Good, Published, Push, PushOutcome, Request};
use crate::ids::Ids;
use crate::ops::metrics::gauged;

/// Least time between two turns that only time calls for.
const PAUSE: Duration = Duration::from_millis(10);
/// The same while orders are due and the leader has its hands full. Its reports end that sooner.
const PAUSE_WHEN_FULL: Duration = Duration::from_secs(1);
/// Between two looks at a store in trouble.
const PAUSE_IN_TROUBLE: Duration = Duration::from_millis(250);

/// What is said when all that a turn did is durable. Nobody may listen any more.
pub(super) enum Answer {
    Opened(Result<Opened, OpenRefused>, oneshot::Sender<Result<Opened, OpenRefused>>),
    Pushed(PushOutcome, oneshot::Sender<PushOutcome>),
    InDoubt(bool, oneshot::Sender<bool>),
    Operated(Result<Operated, NotOperated>, oneshot::Sender<Result<Operated, NotOperated>>),
}

impl Answer {
    pub(super) fn give(self) {
        match self {
            Self::Opened(opened, answer) => drop(answer.send(opened)),
            Self::Pushed(outcome, answer) => drop(answer.send(outcome)),
            Self::InDoubt(doubt, answer) => drop(answer.send(doubt)),
            Self::Operated(operated, answer) => drop(answer.send(operated)),
        }
    }
}

/// What the thread owns.
pub(super) struct ViewTask {
    pub(super) view: View,
    pub(super) lanes: Lanes,
    pub(super) journal: Journal,
    pub(super) flusher: Flusher,
    /// Why no evidence is taken now.
    pub(super) trouble: Option<String>,
    /// The highest epoch that the log has.
    pub(super) leads: LeaderEpoch,
    pub(super) control: Arc<Control>,
    pub(super) commands: Arc<CommandDesk>,
    pub(super) whole: WholeScans,
    /// Orders are due that the leader has no room for.
    pub(super) hands_full: bool,
    pub(super) realtime: Inbox,
    pub(super) scan: Inbox,
    pub(super) asked: Inbox,
    /// The last request was a question or an operation: evidence goes first now.
    pub(super) asked_last: bool,
    /// Up to when every witness has been heard, were it not for what some cannot have seen.
    pub(super) heard_through: Option<ServerTime>,
    pub(super) published: watch::Sender<Published>,
    pub(super) state: watch::Sender<ViewState>,
    pub(super) pulse: Arc<Pulse>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) ids: Arc<dyn Ids>,
    pub(super) applier: Applier,
    pub(super) end: CancellationToken,
    /// What it has of other servers, until the view is this one's.
    pub(super) follower: Option<Box<Follower>>,
    /// The highest epoch of owners that the log has.
    pub(super) owner: OwnerEpoch,
    /// For how long what is published is good.
    pub(super) good: Good,
    /// The highest epoch of leaders, for who is outside.
    pub(super) epoch: Arc<AtomicU64>,
}

impl ViewTask {
    /// Takes turns until the server ends or nobody can ask any more. `before`: what an earlier life
    /// of the view in this process had taken.
    ///
    /// # Errors
    /// The view and its log do not belong together any more.
    pub(super) async fn run(&mut self, before: &Lanes) -> Result<(), StoreError> {
        if let Some(mut follower) = self.follower.take()
            && let Followed::Over = self.follow(&mut follower).await?
        {
            return Ok(());
        }
        self.take_over(before)?;
        while let Some(request) = self.next().await {
            self.journal.check()?;
            self.pulse.begin();
            self.hear()?;
            let answer = request.map(|request| self.serve(request)).transpose()?.flatten();
            self.tick()?;
            // Before the answer: whoever has the acknowledgement must find the state that it made.
            self.publish();
            self.journal.tell(answer);
            self.flush();
        }
        Ok(())
    }

    /// Says that nothing of the view can be relied on any more, until another life of it is there.
    pub(super) fn give_up(&self, why: &str) {
        self.published.send_modify(|Published { status, .. }| {
            status.state = ViewState::Degraded;
            status.reasons = vec![why.to_owned()];
            status.horizon = None;
        });
        self.state.send_replace(ViewState::Degraded);
    }

    /// Ends and begins checkpoints. Between turns, so that view and log are at the same place.
    fn flush(&mut self) {
        if self.trouble.is_none() {
            let (end, ticket) = self.journal.end();
            let (lanes, epoch, owner) = (&self.lanes, self.leads, self.owner);
            let beside = || beside::to_bytes(lanes, epoch, owner);
            self.flusher.turn(&mut self.view, &Moment { end, ticket, beside: &beside });
        }
    }

    /// A batch that an earlier life failed on must not come again, though no log has it: what it
    /// told is lost.
    fn take_over(&mut self, before: &Lanes) -> Result<(), StoreError> {
        self.lanes.take_lives(before);
        for (lane, resume_after) in before.iter() {
            let last = self.lanes.last(&lane);
            if resume_after > last {
                self.note_lost(&lane, &Opened { resume_after, lost: resume_after - last })?;
                self.lanes.set(lane, resume_after);
            }
        }
        Ok(())
    }

    /// Waits for work; `Some(None)` is a turn without a request. While the store is in trouble no
    /// evidence is taken: it waits in its queue, and its agents keep it. Who asks waits for a batch at
    /// most, and a batch for one question at most.
    async fn next(&mut self) -> Option<Option<Request>> {
        self.look_at_store();
        if !std::mem::take(&mut self.asked_last)
            && let Some(asked) = self.asked.take()
        {
            self.asked_last = true;
            return Some(Some(asked));
        }
        let well = self.trouble.is_none() && !self.flusher.is_behind(&self.view);
        let end = self.end.clone();
        let control = Arc::clone(&self.control);
        let sleep = self.sleep();
        self.pulse.end();
        tokio::select! {
            biased;
            () = end.cancelled() => None,
            request = self.realtime.next(), if well => request.map(Some),
            request = self.scan.next(), if well => request.map(Some),
            request = self.asked.next() => request.map(Some),
            // Notes are taken at the beginning of every turn; this is for when nothing else comes.
            () = control.news.notified() => Some(None),
            () = sleep => Some(None),
        }
    }

    /// Until time calls for a turn.
    fn sleep(&self) -> impl Future<Output = ()> + use<> {
        let pause = if self.hands_full { PAUSE_WHEN_FULL } else { PAUSE };
        let wake_up = self.view.next_wake_up().map(|at| at.since(self.clock.now()).max(pause));
        let flush = self.flusher.due_at(self.journal.end().0);
        let flush = flush.map(|at| at.since(self.clock.monotonic()).max(pause));
        let span = match &self.trouble {
            Some(_) => Some(PAUSE_IN_TROUBLE),
            None if self.flusher.is_behind(&self.view) => Some(PAUSE),
            None => wake_up.into_iter().chain(flush).min(),
        };
        async move {
            match span {
                Some(span) => tokio::time::sleep(span).await,
                None => std::future::pending().await,
            }
        }
    }

    fn look_at_store(&mut self) {
        let trouble = self.journal.trouble();
        if trouble.is_some() != self.trouble.is_some() {
            match &trouble {
                Some(trouble) => tracing::error!(trouble, "the view takes no evidence"),
                None => tracing::info!("the store is well again; the view takes evidence"),
            }
            self.applier.metrics().store_failing.set(i64::from(trouble.is_some()));
            self.trouble = trouble;
            self.publish();
        }
    }

    fn hear(&mut self) -> Result<(), StoreError> {
        let now = self.clock.now();
        for note in self.control.take() {
            match note {
                Note::Leads(leadership) => {
                    self.view.set_leadership(leadership);
                    self.commands.set_leader(leadership.map(|leader| leader.session));
                    let epoch = leadership.map(|leader| leader.epoch).unwrap_or_default();
                    if epoch > self.leads {
                        self.leads = epoch;
                        self.journal.append(&head_of_election(epoch, now), &[])?;
                    }
                }
                Note::Reset(by) => self.reset(&by, now)?,
                Note::Joined(session, life) => {
                    self.lanes.join(session);
                    self.begin_life(&life, now);
                }
                Note::Kept { sessions, lives } => {
                    self.lanes.keep(&sessions);
                    let durable = self.view.time();
                    for life in &lives {
                        if life.since > durable {
                            self.begin_life(life, now);
                        } else {
                            self.lanes.begin_life(&life.agent, life.instance);
                        }
                    }
                }
                Note::Heard(agent, report) => self.view.hear(&agent, &report, now),
                Note::Over { session, agent, ended } => {
                    self.lanes.leave(session);
                    self.view.lose(&agent, ended, now);
                }
            }
        }
        Ok(())
    }

    /// R10: what happened on a host between two lives of its agent nobody saw.
    fn begin_life(&mut self, life: &Life, now: ServerTime) {
        if self.lanes.begin_life(&life.agent, life.instance) {
            tracing::info!(agent = %life.agent, "the agent was started anew");
            self.view.lose_events(&life.agent, LossCause::NewInstance, now);
        }
    }

    fn serve(&mut self, request: Request) -> Result<Option<Answer>, StoreError> {
        Ok(Some(match request {
            Request::Open { lane, first_held, next, answer } => {
                let opened = self.lanes.open(&lane, first_held, next);
                if let Ok(opened) = &opened {
                    self.note_lost(&lane, opened)?;
                }
                Answer::Opened(opened, answer)
            }
            Request::Push(push, answer) => Answer::Pushed(self.push(&push)?, answer),
            Request::InDoubt(path, answer) => {
                Answer::InDoubt(self.view.in_doubt(path.as_ref(), self.clock.now()), answer)
            }
            Request::Operate(operating) => return self.operate(*operating),
            Request::Ask(question) => {
                question.put_to(&self.view);
                return Ok(None);
            }
        }))
    }

    /// Batches that neither side has any more are lost events (R10).
    fn note_lost(&mut self, lane: &LaneKey, opened: &Opened) -> Result<(), StoreError> {
        if let (LaneKey::Realtime(agent, _), 1..) = (lane, opened.lost) {
            tracing::warn!(%agent, lost = opened.lost, "batches are lost on both sides");
            let now = self.clock.now();
            // Nothing is known of before: the batches between are in nobody's memory (R10).
            let lost = Evidence::Overflow { since: ServerTime::default(), observed_at: now };
            let nobody = SessionId::new(Uuid::nil());
            let witness =
                Witness { agent: agent.clone(), session: nobody, epoch: LeaderEpoch::default() };
            self.applier.report(&mut self.view, &witness, &lost, now);
            self.applier.metrics().lost_batches.inc_by(opened.lost);
            let head = head_of_lane(lane, opened.resume_after, now);
            self.journal.append(&head, self.applier.changes())?;
        }
        Ok(())
    }

    fn push(&mut self, push: &Push) -> Result<PushOutcome, StoreError> {
        let outcome = match self.lanes.admit(&push.lane, push.batch.sequence()) {
            Admission::Next => {
                let now = self.clock.now();
                let begun = self.clock.monotonic();
                let _entered = push.span.enter();
                let applied = self.applier.apply(&mut self.view, push, now);
                let head = head_of(push, applied.origin, now);
                self.journal.append(&head, self.applier.changes())?;
                self.commands.take(self.applier.changes(), self.heard_through);
                let (changes, finished) = (self.applier.changes(), &applied.finished);
                self.whole.pushed(push, changes, finished, &self.commands, begun);
                let took = self.clock.monotonic().since(begun);
                self.applier.metrics().applied(&push.lane, took);
                PushOutcome::Applied {
                    revision: self.view.revision(),
                    rejected: applied.rejected,
                    all_rejected: applied.all_rejected,
                }
            }
            Admission::Repeat => PushOutcome::Repeated { revision: self.view.revision() },
            Admission::Gap { expected } => PushOutcome::Gap { expected },
            Admission::Over => PushOutcome::Over,
        };
        self.applier.metrics().outcome(&push.lane, &outcome);
        Ok(outcome)
    }

    fn tick(&mut self) -> Result<(), StoreError> {
        let now = self.clock.now();
        if self.trouble.is_some() {
            return Ok(());
        }
        let is_due = self.view.next_wake_up().is_some_and(|at| at <= now);
        if !is_due && !self.commands.owes_audit() {
            self.hands_full = false;
            return Ok(());
        }
        self.applier.tick(&mut self.view, now);
        if !self.applier.changes().is_empty() {
            self.journal.append(&RecordHead::new(now, Origin::Time), self.applier.changes())?;
            self.commands.take(self.applier.changes(), self.heard_through);
            self.whole.ticked(self.applier.changes());
        }
        self.order(now);
        Ok(())
    }

    /// Hands what the view wants done to its leader, as much as that has room for.
    fn order(&mut self, now: ServerTime) {
        let monotonic = self.clock.monotonic();
        let room = self.commands.room(monotonic);
        let mut orders = if room > 0 { self.view.orders(now, room) } else { Vec::new() };
        if self.commands.owes_audit() {
            self.commands.forgive_audit();
            let asked = orders.iter().any(|order| matches!(order, Order::Audit { .. }));
            if !asked && self.view.audit_wanted().is_some_and(|from| from <= now) {
                orders.push(Order::Audit { number: self.view.audit_number() });
            }
        }
        self.commands.give(orders, monotonic, || self.ids.draw());
        self.hands_full = room == 0;
    }

    pub(super) fn publish(&mut self) {
        self.commands.tell_unseen(|| self.ids.draw());
        let mut published = Published::of(&self.view, self.clock.now());
        published.good = self.good.clone();
        published.owner = self.owner;
        self.heard_through = published.status.horizon;
        let unseen = self.commands.unseen();
        if let Hold::At(hold) = unseen.hold {
            // Neither is known where one is not.
            published.status.horizon =
                published.status.horizon.zip(hold).map(|(one, other)| one.min(other));
        }
        if unseen.is_degraded && published.status.coverage == Coverage::RealtimeAndAudit {
            published.status.coverage = Coverage::WatchDegraded;
        }
        self.applier.metrics().unseen.set(gauged(unseen.count as u64));
        if let Some(trouble) = &self.trouble {
            published.status.reasons.push(trouble.clone());
            if published.status.state == ViewState::Ready {
                published.status.state = ViewState::Degraded;
            }
        }
        self.state.send_if_modified(|state| {
            let changed = *state != published.status.state;
            *state = published.status.state;
            changed
        });
        self.published.send_replace(published);
    }
}
