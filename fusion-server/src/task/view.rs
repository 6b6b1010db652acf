//! The owner of one view: a thread that applies evidence, and the handle to it.
//!
//! The thread alone writes the view, so its rules need no locks among themselves. It hears in this
//! order: what the session service told (leadership, reports), realtime batches, scan batches; so
//! neither control nor realtime waits behind a scan for longer than one batch. Mailboxes are bounded
//! and private: who sends faster than the view applies waits. Readers do not come here at all; they
//! read the tree beside the writer. Must never: wait for a client. Tested by `tests/grpc`.

mod apply;
mod begin;
mod beside;
mod commands;
mod control;
mod desk;
mod errands;
mod feed;
mod flush;
mod follow;
mod journal;
mod lanes;
mod mailbox;
mod operate;
mod place;
mod pulse;
mod restore;
mod tail;
mod thread;
mod unseen;
mod whole;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use fusion_core::evidence::Witness;
use fusion_core::id::{CorrelationId, LeaderEpoch, Revision, ViewName};
use fusion_core::path::TreePath;
use fusion_core::time::{Clock, ServerTime, StorageTime};
use fusion_core::view::{View, ViewFigures, ViewReader, ViewSettings, ViewState, ViewStatus};
use fusion_proto::convert::evidence::{RejectedRow, WireBatch};
use fusion_store::{OwnerEpoch, StoreError, ViewRef};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::cluster::Cluster;
use crate::config::ViewConfig;
use crate::ids::Ids;
use crate::ops::metrics::Metrics;
use crate::spawn::Tasks;
use crate::stores::Stores;

pub(crate) use apply::leadership;
pub(crate) use control::{Life, Note};
pub(crate) use desk::CommandDesk;
pub(crate) use errands::{ErrandEnd, Sent};
pub(crate) use feed::{Fed, Feed, FeedRecord, Watching, account};
pub(crate) use follow::{NotOwned, OwnerSays, Role};
pub(crate) use lanes::{LaneKey, Lanes, OpenRefused, Opened};
use mailbox::Mailbox;
pub(crate) use mailbox::Waiting;
pub(crate) use operate::{NotOperated, Operated, Operation, Operator, Outcome};
pub(crate) use place::Ended;
use place::{Good, Place, doubt};
pub(crate) use pulse::STUCK;
pub(crate) use whole::{ScanEnd, ScanNews, WholeScan};

/// Batches that may wait in the lane of realtime evidence, over all agents of a view.
const REALTIME_QUEUE: usize = 32;
/// Batches that may wait in the lane of scans.
const SCAN_QUEUE: usize = 16;
/// Questions and operations that may wait.
const ASKED_QUEUE: usize = 16;

/// A batch on its way into a view.
#[derive(Debug)]
pub(crate) struct Push {
    /// Where its sequence counts.
    pub(crate) lane: LaneKey,
    /// Who looked.
    pub(crate) witness: Witness,
    /// The evidence, not yet looked into.
    pub(crate) batch: WireBatch,
    /// The chain of cause and effect that it belongs to.
    pub(crate) correlation: Option<CorrelationId>,
    /// What caused it.
    pub(crate) causation: Option<CorrelationId>,
    /// The span under which it is applied.
    pub(crate) span: tracing::Span,
}

/// What became of a batch.
#[derive(Debug)]
pub(crate) enum PushOutcome {
    /// It is part of the view now, and durable.
    Applied {
        /// The view's revision after it.
        revision: Revision,
        /// Rows that were refused.
        rejected: Vec<RejectedRow>,
        /// Whether all of its rows were.
        all_rejected: bool,
    },
    /// It was part of the view before, and is durable.
    Repeated {
        /// The view's revision.
        revision: Revision,
    },
    /// One before it is missing.
    Gap {
        /// The sequence to go on from.
        expected: u64,
    },
    /// Its session is over.
    Over,
}

/// The thread is gone: a bug that was logged where it happened, or the server ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the task of the view has ended")]
pub(crate) struct ViewGone;

/// What the thread is asked through its mailboxes.
#[derive(Debug)]
enum Request {
    Open {
        lane: LaneKey,
        first_held: u64,
        next: u64,
        answer: oneshot::Sender<Result<Opened, OpenRefused>>,
    },
    Push(Box<Push>, oneshot::Sender<PushOutcome>),
    InDoubt(TreePath, oneshot::Sender<bool>),
    Ask(operate::Question),
    Operate(Box<operate::Operating>),
}

/// What the thread says of its view after every turn.
#[derive(Debug, Clone)]
struct Published {
    status: ViewStatus,
    at: ServerTime,
    audit_number: u64,
    root_accepted: bool,
    figures: ViewFigures,
    good: Good,
    /// The highest epoch of owners that the log has.
    owner: OwnerEpoch,
}

impl Published {
    fn of(view: &View, at: ServerTime) -> Self {
        let (audit_number, root_accepted) = (view.audit_number(), view.root_accepted());
        let (status, figures) = (view.status(at), view.figures());
        let (good, owner) = (Good::Always, OwnerEpoch::default());
        Self { status, at, audit_number, root_accepted, figures, good, owner }
    }
}

/// A view from outside; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct ViewHandle {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    name: ViewName,
    id: Uuid,
    created_at: ServerTime,
    config: ViewConfig,
    reader: ViewReader,
    control: Arc<control::Control>,
    commands: Arc<CommandDesk>,
    realtime: Mailbox,
    scan: Mailbox,
    asked: Mailbox,
    published: watch::Receiver<Published>,
    state: watch::Receiver<ViewState>,
    durable: journal::Durable,
    feed: Arc<Feed>,
    epoch: Arc<AtomicU64>,
    ended: watch::Receiver<()>,
    leave: CancellationToken,
    pulse: Arc<pulse::Pulse>,
    /// The view is another server's from now on.
    moved: Arc<AtomicBool>,
    place: Option<Place>,
}

/// A view by name, and what was drawn and noted when it was made.
#[derive(Debug, Clone)]
pub(crate) struct Named {
    pub(crate) name: ViewName,
    /// Tells it from any other that ever had the name.
    pub(crate) id: Uuid,
    pub(crate) created_at: ServerTime,
}

/// What a view's task is given.
pub(crate) struct ViewDeps {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn Ids>,
    pub(crate) metrics: Metrics,
    pub(crate) stores: Stores,
    /// Owns the task that gives the view's answers.
    pub(crate) tasks: Tasks,
    /// Sequences that were applied in an earlier life of the view in this process, durable or not.
    pub(crate) lanes: Lanes,
    /// The highest epoch that was noted beside the log.
    pub(crate) epoch: LeaderEpoch,
    /// Learns of scans of the whole tree.
    pub(crate) scans: mpsc::UnboundedSender<ScanNews>,
    /// Learns that the task failed.
    pub(crate) failed: mpsc::UnboundedSender<ViewFailed>,
    /// Ends the task.
    pub(crate) end: CancellationToken,
    /// The other servers; absent if there are none. Then it begins as a follower.
    pub(crate) cluster: Option<Cluster>,
}

/// The task of a view is over before the server is; nothing of the view can be relied on any more.
#[derive(Debug)]
pub(crate) struct ViewFailed {
    pub(crate) why: Ended,
    pub(crate) name: ViewName,
    /// Tells the view from any other that ever had the name.
    pub(crate) id: Uuid,
    /// What was applied, the batch that it failed on included: that one must not come again.
    pub(crate) lanes: Lanes,
    /// Dropped when the sessions of the view have ended: only then who waits for the view learns
    /// that it is gone, and finds out why.
    pub(crate) settled: oneshot::Sender<()>,
}

/// Why a view does not begin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BeginError {
    /// It cannot be loaded.
    #[error("load view {view}: {source}")]
    Store { view: ViewName, source: StoreError },
    /// The operating system gives no thread.
    #[error("begin the thread of view {view}: {source}")]
    Thread { view: ViewName, source: std::io::Error },
}

/// A view as a start of the server would have it; makes its log if there is none.
pub(crate) fn rebuild(
    stores: &Stores,
    view: &ViewRef,
    settings: &ViewSettings,
) -> Result<View, StoreError> {
    restore::restore(stores, view, settings).map(|restored| restored.view)
}

impl ViewHandle {
    /// Loads a view from the store, or makes it, and begins its task. Reads from disk. Must be
    /// called within a tokio runtime.
    ///
    /// # Errors
    /// [`BeginError`].
    pub(crate) fn begin(
        named: Named,
        config: ViewConfig,
        deps: ViewDeps,
    ) -> Result<Self, BeginError> {
        begin::begin(named, config, deps)
    }

    pub(crate) fn name(&self) -> &ViewName {
        &self.shared.name
    }

    /// Tells the view from any other that ever had the name; the same in all its lives.
    pub(crate) fn id(&self) -> Uuid {
        self.shared.id
    }

    pub(crate) fn created_at(&self) -> ServerTime {
        self.shared.created_at
    }

    pub(crate) fn config(&self) -> &ViewConfig {
        &self.shared.config
    }

    /// Reads the tree beside the writer.
    pub(crate) fn reader(&self) -> &ViewReader {
        &self.shared.reader
    }

    /// The highest epoch that was known of when the view was loaded.
    pub(crate) fn loaded_epoch(&self) -> LeaderEpoch {
        follow::epoch_of(&self.shared.epoch)
    }

    /// The last revision that is durable.
    pub(crate) fn durable(&self) -> Revision {
        journal::revision(&self.shared.durable)
    }

    /// How far the view can be believed at `now`, as of the end of the thread's last turn. The
    /// revision is the last durable one when this is called: ask before reading.
    pub(crate) fn status(&self, now: ServerTime) -> ViewStatus {
        let Published { mut status, at, good, .. } = self.shared.published.borrow().clone();
        let passed = now.since(at);
        status.watermark = StorageTime::plus(status.watermark, passed);
        status.revision = self.durable();
        let turning_for = self.turning_for();
        if turning_for >= STUCK {
            let stuck = turning_for.as_secs();
            doubt(&mut status, format!("the task of the view has been at one turn for {stuck} s"));
        }
        if !good.is_good(self.shared.pulse.now()) {
            let why = "this server is cut off from the one that owns the view, or from the engine";
            doubt(&mut status, why.to_owned());
        }
        status
    }

    /// How long the thread's turn takes by now; nothing while it waits for work.
    pub(crate) fn turning_for(&self) -> Duration {
        self.shared.pulse.turning_for()
    }

    /// How much it remembers beside the entries, as of the end of the thread's last turn.
    pub(crate) fn figures(&self) -> ViewFigures {
        self.shared.published.borrow().figures
    }

    /// Its newest changes, for those who watch.
    pub(crate) fn feed(&self) -> &Arc<Feed> {
        &self.shared.feed
    }

    /// The number of the next audit (R9), as of the end of the thread's last turn: whoever has the
    /// acknowledgement of an audit's end finds the one after it.
    pub(crate) fn audit_number(&self) -> u64 {
        self.shared.published.borrow().audit_number
    }

    /// Whether its task has failed or ended, and no other has begun in its place.
    pub(crate) fn is_over(&self) -> bool {
        self.shared.realtime.is_closed()
    }

    /// Whether an operator accepts the root that comes next, whatever it is (R11).
    pub(crate) fn root_accepted(&self) -> bool {
        self.shared.published.borrow().root_accepted
    }

    /// The state, to be waited on.
    pub(crate) fn state(&self) -> watch::Receiver<ViewState> {
        self.shared.state.clone()
    }

    /// Learns of every turn from now on.
    pub(crate) fn news(&self) -> News {
        News(self.shared.published.clone())
    }

    /// Tells the view something; never waits.
    pub(crate) fn tell(&self, note: Note) {
        self.shared.control.tell(note);
    }

    /// What its leader is to do.
    pub(crate) fn commands(&self) -> &Arc<CommandDesk> {
        &self.shared.commands
    }

    /// Opens a lane.
    ///
    /// # Errors
    /// [`ViewGone`]; inside, why the lane stays shut.
    pub(crate) async fn open(
        &self,
        lane: LaneKey,
        first_held: u64,
        next: u64,
    ) -> Result<Result<Opened, OpenRefused>, ViewGone> {
        let (answer, answered) = oneshot::channel();
        let request = Request::Open { lane, first_held, next, answer };
        // Also for a scan: an opening carries no evidence, and its answer must not wait behind some.
        self.shared.realtime.send(request).await?;
        answered.await.map_err(|_| ViewGone)
    }

    /// Hands over a batch, waiting while its lane is full; the outcome comes later.
    ///
    /// # Errors
    /// [`ViewGone`].
    pub(crate) async fn push(
        &self,
        push: Push,
    ) -> Result<oneshot::Receiver<PushOutcome>, ViewGone> {
        let (answer, answered) = oneshot::channel();
        let mailbox = match push.lane {
            LaneKey::Realtime(..) => &self.shared.realtime,
            LaneKey::Scan(_) => &self.shared.scan,
        };
        let request = Request::Push(Box::new(push), answer);
        mailbox.send(request).await?;
        Ok(answered)
    }

    /// Whether the view was told of something at or below a path that it has not taken in yet: then
    /// its tree is not all that its horizon says. Answered after all that was handed over before.
    ///
    /// # Errors
    /// [`ViewGone`].
    pub(crate) async fn in_doubt(&self, path: &TreePath) -> Result<bool, ViewGone> {
        let (answer, answered) = oneshot::channel();
        let request = Request::InDoubt(path.clone(), answer);
        self.shared.realtime.send(request).await?;
        answered.await.map_err(|_| ViewGone)
    }

    /// What waits: realtime, scan.
    pub(crate) fn queued(&self) -> [Waiting; 2] {
        [self.shared.realtime.waiting(), self.shared.scan.waiting()]
    }

    /// Tells its task to end. The supervisor begins the view anew, as it is configured by then, if it still is.
    pub(crate) fn leave(&self) {
        self.shared.leave.cancel();
    }

    /// Waits until the thread has ended.
    pub(crate) async fn ended(&self) {
        let mut ended = self.shared.ended.clone();
        while ended.changed().await.is_ok() {}
    }
}

/// Tells of every turn of a view's thread.
#[derive(Debug)]
pub(crate) struct News(watch::Receiver<Published>);

impl News {
    /// Waits until the view may be another than when this was last called.
    ///
    /// # Errors
    /// [`ViewGone`].
    pub(crate) async fn next(&mut self) -> Result<(), ViewGone> {
        self.0.changed().await.map_err(|_| ViewGone)
    }
}

/// How long an answer's subtree is known to have been unchanged: up to the horizon, never up to now.
pub(crate) fn quiet_for(status: &ViewStatus, last_change: Option<ServerTime>) -> Option<Duration> {
    Some(status.horizon?.since(last_change?))
}
