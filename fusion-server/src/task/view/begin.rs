//! How a view begins: loaded, given its mailboxes, and put on a thread of its own; and what becomes
//! of it when that thread fails.
//!
//! A panic ends the thread and nothing else: it is told in the log and to the supervisor, which
//! begins the view anew from the store.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use fusion_core::id::ViewName;
use fusion_proto::convert::event::EventView;
use fusion_store::{ViewId, ViewRef};
use futures_util::FutureExt as _;
use prometheus::IntCounter;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::apply::{Applier, ViewMetrics};
use super::control::Control;
use super::desk::{CommandCounts, CommandDesk};
use super::feed::Feed;
use super::flush::Flusher;
use super::follow::{Follower, Role};
use super::journal::Journal;
use super::lanes::Lanes;
use super::pulse::Pulse;
use super::restore::{Restored, restore};
use super::thread::ViewTask;
use super::whole::WholeScans;
use super::{
    ASKED_QUEUE, BeginError, Ended, Good, Named, Place, Published, REALTIME_QUEUE, SCAN_QUEUE,
    Shared, ViewDeps, ViewFailed, ViewHandle, mailbox,
};
use crate::config::ViewConfig;

/// For how long a view that failed keeps its mailboxes, so that its sessions are ended first.
const SETTLING: Duration = Duration::from_secs(5);

/// Why a view whose task is over is DEGRADED.
const FAILED: &str = "the task of the view failed; it is begun anew from the store";
const MOVED: &str = "the view is another server's; it is loaded anew to be followed";
const LEAVES: &str = "the settings of the view were changed; it is begun anew from the store";

#[expect(clippy::too_many_lines, reason = "one list of parts, handed out once")]
pub(super) fn begin(
    named: Named,
    config: ViewConfig,
    deps: ViewDeps,
) -> Result<ViewHandle, BeginError> {
    let Named { name, id, created_at } = named;
    let stored = ViewRef { id: ViewId(id), name: name.clone() };
    let Restored { view, lanes, epoch, owner, contains, end } =
        restore(&deps.stores, &stored, &config.settings)
            .map_err(|source| BeginError::Store { view: name.clone(), source })?;
    let metrics = ViewMetrics::new(&deps.metrics, &name);
    let feed = Feed::new(EventView { id, name: name.clone() }, end.revision);
    let control = Arc::<Control>::default();
    let (journal, durable) =
        Journal::begin(&deps, stored.id, end, Arc::clone(&feed), Arc::clone(&control), &metrics);
    let (place, follower) = placed(&deps, &stored).unzip();
    let published = Published::of(&view, deps.clock.now());
    let (state_out, state) = watch::channel(published.status.state);
    let (published_out, published) = watch::channel(published);
    let (realtime, realtime_in) = mailbox::with_room(REALTIME_QUEUE, &deps.clock);
    let (scan, scan_in) = mailbox::with_room(SCAN_QUEUE, &deps.clock);
    let (asked, asked_in) = mailbox::with_room(ASKED_QUEUE, &deps.clock);
    let (ended_out, ended) = watch::channel(());
    let reader = view.reader();
    let pulse = Arc::new(Pulse::new(Arc::clone(&deps.clock)));
    let counts = CommandCounts::new(&deps.metrics, &name);
    let commands = Arc::new(CommandDesk::new(reader.clone(), end.revision, counts));
    let whole = match &follower {
        None => WholeScans::new((name.clone(), id), &view, deps.scans),
        Some(_) => WholeScans::silent((name.clone(), id), deps.scans),
    };
    let flusher = {
        let (clock, control) = (Arc::clone(&deps.clock), Arc::clone(&control));
        Flusher::new(
            deps.stores.clone(),
            stored,
            contains,
            config.retention,
            clock,
            control,
            metrics.flush(),
        )
    };
    let leave = deps.end.child_token();
    let (moved, known_epoch) =
        (Arc::<AtomicBool>::default(), Arc::new(AtomicU64::new(epoch.max(deps.epoch).0)));
    let thread = ViewThread {
        name: name.clone(),
        id,
        before: deps.lanes,
        failed: deps.failed,
        server_ends: deps.end,
        failures: deps.metrics.view_panics.with_label_values(&[name.as_str()]),
        ended: ended_out,
        moved: Arc::clone(&moved),
        is_clustered: place.is_some(),
        task: ViewTask {
            view,
            lanes,
            journal,
            flusher,
            trouble: None,
            leads: epoch.max(deps.epoch),
            control: Arc::clone(&control),
            commands: Arc::clone(&commands),
            whole,
            hands_full: false,
            realtime: realtime_in,
            scan: scan_in,
            asked: asked_in,
            asked_last: false,
            heard_through: None,
            published: published_out,
            state: state_out,
            pulse: Arc::clone(&pulse),
            clock: deps.clock,
            ids: deps.ids,
            applier: Applier::new(metrics),
            end: leave.clone(),
            follower,
            owner,
            good: Good::Always,
            epoch: Arc::clone(&known_epoch),
        },
    };
    thread.spawn().map_err(|source| BeginError::Thread { view: name.clone(), source })?;
    let shared = Shared {
        name,
        id,
        created_at,
        config,
        reader,
        control,
        commands,
        realtime,
        scan,
        asked,
        published,
        state,
        durable,
        feed,
        epoch: known_epoch,
        ended,
        leave,
        pulse,
        moved,
        place,
    };
    Ok(ViewHandle { shared: Arc::new(shared) })
}

/// The two ends of a view's place among several servers; nothing if there is one.
fn placed(deps: &ViewDeps, view: &ViewRef) -> Option<(Place, Box<Follower>)> {
    let cluster = deps.cluster.clone()?;
    let (orders, orders_in) = mpsc::channel(1);
    let (owner, owner_in) = watch::channel(None);
    let place = Place { role: watch::Sender::new(Role::Follows), owner, orders };
    let follower = Follower {
        cluster,
        stores: deps.stores.clone(),
        view: view.clone(),
        orders: orders_in,
        owner: owner_in,
        adopted: None,
    };
    Some((place, Box::new(follower)))
}

/// A view's task and who is told of its end.
struct ViewThread {
    task: ViewTask,
    name: ViewName,
    id: Uuid,
    before: Lanes,
    failed: mpsc::UnboundedSender<ViewFailed>,
    server_ends: CancellationToken,
    failures: IntCounter,
    /// Dropped at the end.
    ended: watch::Sender<()>,
    /// It was told that the view is another server's.
    moved: Arc<AtomicBool>,
    is_clustered: bool,
}

impl ViewThread {
    fn spawn(self) -> std::io::Result<()> {
        let runtime = tokio::runtime::Handle::current();
        let thread = std::thread::Builder::new().name(format!("view {}", self.name));
        thread.spawn(move || self.run(&runtime)).map(drop)
    }

    fn run(mut self, runtime: &tokio::runtime::Handle) {
        // Within the runtime, so that waiting and the clock are the runtime's, paused ones too.
        let run = AssertUnwindSafe(self.task.run(&self.before)).catch_unwind();
        let why = match runtime.block_on(run) {
            Ok(Ok(())) => self.told_to_end(),
            Ok(Err(error)) if self.is_clustered => {
                tracing::warn!(view = %self.name, %error, "no longer owner, or too far behind");
                Some(Ended::Overtaken)
            }
            Ok(Err(error)) => Some(self.failed(&error.to_string())),
            Err(panic) => Some(self.failed(&format!("panicked: {}", text_of(&*panic)))),
        };
        // Once in a life: whoever is told of its end begins the next one.
        if let Some(why) = why {
            self.settle(runtime, why);
        }
        drop(self.task);
        drop(self.ended);
    }

    /// Why it was told to end; nothing if the server ends.
    fn told_to_end(&self) -> Option<Ended> {
        let told = self.task.end.is_cancelled() && !self.server_ends.is_cancelled();
        let why = if self.moved.load(Ordering::Acquire) { Ended::Moved } else { Ended::Told };
        told.then_some(why)
    }

    fn failed(&self, failure: &str) -> Ended {
        tracing::error!(view = %self.name, failure, "the task of the view failed");
        self.failures.inc();
        Ended::Failed
    }

    /// Leaves the view to its next life, and waits until that is there, or its sessions have ended.
    fn settle(&mut self, runtime: &tokio::runtime::Handle, why: Ended) {
        self.task.pulse.end();
        self.task.give_up(match why {
            Ended::Told => LEAVES,
            Ended::Failed => FAILED,
            Ended::Moved | Ended::Overtaken => MOVED,
        });
        let (settled, settling) = oneshot::channel();
        let (name, mut lanes) = (self.name.clone(), Lanes::default());
        if why.is_elsewhere() {
            // What counts is what the log has by now; what this life appended last may not be in it.
            self.task.flusher.abandon();
        } else {
            // The next life reads what is durable: all that this one appended.
            self.task.journal.settle();
            self.task.flusher.end();
            lanes = self.task.lanes.carried_over();
        }
        let over = ViewFailed { why, name, id: self.id, lanes, settled };
        if self.failed.send(over).is_ok() {
            let settling = async { tokio::time::timeout(SETTLING, settling).await };
            drop(runtime.block_on(settling));
        }
    }
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}
