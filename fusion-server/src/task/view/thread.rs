//! The thread of a view: its turns, and what it publishes after each.
//!
//! A panic ends the thread and nothing else: it is told in the log and to the supervisor, which
//! begins the view anew.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use fusion_core::change::Change;
use fusion_core::evidence::{Evidence, Witness};
use fusion_core::id::{LeaderEpoch, SessionId, ViewName};
use fusion_core::time::{Clock, ServerTime};
use fusion_core::view::{Order, View, ViewState};
use futures_util::FutureExt as _;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::apply::{Applier, ViewMetrics};
use super::commands::CommandDesk;
use super::control::{Control, Note};
use super::lanes::{Admission, LaneKey, Lanes, OpenRefused, Opened};
use super::{
    Published, Push, PushOutcome, REALTIME_QUEUE, Request, SCAN_QUEUE, Shared, ViewDeps,
    ViewFailed, ViewHandle,
};
use crate::config::ViewConfig;
use crate::ids::Ids;

/// Least time between two turns that only time calls for.
const PAUSE: Duration = Duration::from_millis(10);
/// The same while orders are due and the leader has its hands full. Its reports end that sooner.
const PAUSE_WHEN_FULL: Duration = Duration::from_secs(1);
/// For how long a view that failed keeps its mailboxes, so that its sessions are ended first.
const SETTLING: Duration = Duration::from_secs(5);

pub(super) fn begin(
    name: ViewName,
    id: Uuid,
    config: ViewConfig,
    deps: ViewDeps,
) -> std::io::Result<ViewHandle> {
    let mut view = View::new(config.settings.clone());
    // Changes have no reader before there is a log and a watch; they are numbered all the same.
    view.keep_changes(false);
    let now = deps.clock.now();
    let status = view.status(now);
    let (state_out, state) = watch::channel(status.state);
    let (published_out, published) = watch::channel(Published { status, at: now });
    let (realtime, realtime_in) = mpsc::channel(REALTIME_QUEUE);
    let (scan, scan_in) = mpsc::channel(SCAN_QUEUE);
    let (ended_out, ended) = watch::channel(());
    let control = Arc::new(Control::default());
    let commands = Arc::new(CommandDesk::default());
    let reader = view.reader();
    let mut task = ViewTask {
        view,
        lanes: deps.lanes,
        control: Arc::clone(&control),
        commands: Arc::clone(&commands),
        hands_full: false,
        realtime: realtime_in,
        scan: scan_in,
        published: published_out,
        state: state_out,
        clock: deps.clock,
        ids: deps.ids,
        applier: Applier::new(ViewMetrics::new(&deps.metrics, &name)),
        end: deps.end,
    };
    let runtime = tokio::runtime::Handle::current();
    let (failed, of, panics) = (deps.failed, name.clone(), deps.metrics.view_panics);
    std::thread::Builder::new().name(format!("view {name}")).spawn(move || {
        // Within the runtime, so that waiting and the clock are the runtime's, paused ones too.
        let ended = runtime.block_on(AssertUnwindSafe(task.run()).catch_unwind());
        if let Err(panic) = ended {
            tracing::error!(view = %of, panic = text_of(&*panic), "the task of the view panicked");
            panics.with_label_values(&[of.as_str()]).inc();
            // Nothing can be asked of it: its health is NOT_SERVING from here on.
            task.state.send_replace(ViewState::Empty);
            let (settled, settling) = oneshot::channel();
            let lanes = task.lanes.carried_over();
            if failed.send(ViewFailed { name: of, id, lanes, settled }).is_ok() {
                let settling = async { tokio::time::timeout(SETTLING, settling).await };
                drop(runtime.block_on(settling));
            }
        }
        drop(task);
        drop(ended_out);
    })?;
    let shared = Shared {
        name,
        id,
        created_at: now,
        config,
        reader,
        control,
        commands,
        realtime,
        scan,
        published,
        state,
        ended,
    };
    Ok(ViewHandle { shared: Arc::new(shared) })
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

/// What is said at the end of a turn. Nobody may listen any more.
enum Answer {
    Opened(Result<Opened, OpenRefused>, oneshot::Sender<Result<Opened, OpenRefused>>),
    Pushed(PushOutcome, oneshot::Sender<PushOutcome>),
}

impl Answer {
    fn give(self) {
        match self {
            Self::Opened(opened, answer) => drop(answer.send(opened)),
            Self::Pushed(outcome, answer) => drop(answer.send(outcome)),
        }
    }
}

struct ViewTask {
    view: View,
    lanes: Lanes,
    control: Arc<Control>,
    commands: Arc<CommandDesk>,
    /// Orders are due that the leader has no room for.
    hands_full: bool,
    realtime: mpsc::Receiver<Request>,
    scan: mpsc::Receiver<Request>,
    published: watch::Sender<Published>,
    state: watch::Sender<ViewState>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    applier: Applier,
    end: CancellationToken,
}

impl ViewTask {
    /// Takes turns until the server ends or nobody can ask any more.
    async fn run(&mut self) {
        while let Some(request) = self.next().await {
            self.hear();
            let answer = request.map(|request| self.serve(request));
            self.tick();
            // Before the answer: whoever has the acknowledgement must find the state that it made.
            self.publish();
            if let Some(answer) = answer {
                answer.give();
            }
        }
    }

    /// Waits for work; `Some(None)` is a turn without a request.
    async fn next(&mut self) -> Option<Option<Request>> {
        let end = self.end.clone();
        let control = Arc::clone(&self.control);
        let pause = if self.hands_full { PAUSE_WHEN_FULL } else { PAUSE };
        let wake_up = self.view.next_wake_up();
        let wake_up = wake_up.map(|at| at.since(self.clock.now()).max(pause));
        let sleep = async {
            match wake_up {
                Some(span) => tokio::time::sleep(span).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = end.cancelled() => None,
            request = self.realtime.recv() => request.map(Some),
            request = self.scan.recv() => request.map(Some),
            // Notes are taken at the beginning of every turn; this is for when nothing else comes.
            () = control.news.notified() => Some(None),
            () = sleep => Some(None),
        }
    }

    fn hear(&mut self) {
        let now = self.clock.now();
        for note in self.control.take() {
            match note {
                Note::Leads(leadership) => {
                    self.view.set_leadership(leadership);
                    self.commands.set_leader(leadership.map(|leader| leader.session));
                }
                Note::Joined(session) => self.lanes.join(session),
                Note::Heard(agent, report) => self.view.hear(&agent, &report, now),
                Note::Over { session, agent, ended } => {
                    self.lanes.leave(session);
                    self.view.lose(&agent, ended, now);
                }
            }
        }
    }

    fn serve(&mut self, request: Request) -> Answer {
        match request {
            Request::Open { lane, first_held, next, answer } => {
                Answer::Opened(self.open(&lane, first_held, next), answer)
            }
            Request::Push(push, answer) => Answer::Pushed(self.push(&push), answer),
        }
    }

    fn open(&mut self, lane: &LaneKey, first_held: u64, next: u64) -> Result<Opened, OpenRefused> {
        let opened = self.lanes.open(lane, first_held, next)?;
        if let (LaneKey::Realtime(agent, _), 1..) = (lane, opened.lost) {
            tracing::warn!(%agent, lost = opened.lost, "batches are lost on both sides");
            let now = self.clock.now();
            // Nothing is known of before: the batches between are in nobody's memory (R10).
            let lost = Evidence::Overflow { since: ServerTime::default(), observed_at: now };
            let nobody = SessionId::new(Uuid::nil());
            let witness =
                Witness { agent: agent.clone(), session: nobody, epoch: LeaderEpoch::default() };
            let mut changes: Vec<Change> = Vec::new();
            self.view.apply(&witness, &lost, now, &mut changes);
            self.applier.metrics().lost_batches.inc_by(opened.lost);
        }
        Ok(opened)
    }

    fn push(&mut self, push: &Push) -> PushOutcome {
        let outcome = match self.lanes.admit(&push.lane, push.batch.sequence()) {
            Admission::Next => {
                let now = self.clock.now();
                let begun = self.clock.monotonic();
                let _entered = push.span.enter();
                let applied = self.applier.apply(&mut self.view, push, now);
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
        outcome
    }

    fn tick(&mut self) {
        let now = self.clock.now();
        let is_due = self.view.next_wake_up().is_some_and(|at| at <= now);
        if !is_due && !self.commands.owes_audit() {
            self.hands_full = false;
            return;
        }
        self.applier.tick(&mut self.view, now);
        self.order(now);
    }

    /// Hands what the view wants done to its leader, as much as that has room for.
    fn order(&mut self, now: ServerTime) {
        let monotonic = self.clock.monotonic();
        let (room, lapsed) = self.commands.room(monotonic);
        let mut orders = if room > 0 { self.view.orders(now, room) } else { Vec::new() };
        if self.commands.owes_audit() {
            self.commands.forgive_audit();
            let asked = orders.iter().any(|order| matches!(order, Order::Audit { .. }));
            if !asked && self.view.audit_wanted().is_some_and(|from| from <= now) {
                orders.push(Order::Audit { number: self.view.audit_number() });
            }
        }
        let given = self.commands.give(orders, monotonic, || self.ids.draw());
        self.applier.metrics().commands(given, lapsed);
        self.hands_full = room == 0;
    }

    fn publish(&mut self) {
        let at = self.clock.now();
        let status = self.view.status(at);
        self.state.send_if_modified(|state| {
            let changed = *state != status.state;
            *state = status.state;
            changed
        });
        self.published.send_replace(Published { status, at });
    }
}
