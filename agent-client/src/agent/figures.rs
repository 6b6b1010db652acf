//! Keeps metrics and progress up to date, and looks now and then whether the root is there.

use std::sync::Arc;
use std::time::Duration;

use fusion_core::evidence::{RootIdentity, RootState};
use fusion_core::session::Role;
use tokio::sync::watch;

use super::keep::Part;
use super::shared::{ROOT_LIMIT, Shared, State};
use crate::link::{LinkView, Reporter as _};
use crate::ops::metrics::{gauge, source_label};
use crate::progress::{LinkState, Progress};
use crate::scan::{Paused, Root, RootCheck};

/// How often the figures are read.
const EVERY: Duration = Duration::from_millis(200);
/// How often the root is looked at, beside the looks before and after each scan.
const ROOT_EVERY: Duration = Duration::from_secs(5);
/// Every so many looks at a root that is there it is read what it is known by, to know it again when
/// it was mounted anew. What the server is told is read when it is told.
const IDENTITY_EVERY: u32 = 12;

/// Shows how the agent is until it is dropped.
pub(crate) struct Figures {
    shared: Arc<Shared>,
    view: watch::Receiver<LinkView>,
    file_stats: u64,
    overflows: u64,
    full: u64,
    paused: Paused,
}

impl Figures {
    pub(crate) fn new(shared: Arc<Shared>, view: watch::Receiver<LinkView>) -> Self {
        Self { shared, view, file_stats: 0, overflows: 0, full: 0, paused: Paused::default() }
    }
}

impl Part for Figures {
    const NAME: &'static str = "figures";
    type End = ();

    async fn run(&mut self) {
        loop {
            self.show();
            self.shared.spool.mend().await;
            tokio::select! {
                changed = self.view.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(EVERY) => {}
            }
        }
    }

    fn broke_off(&mut self) {}
}

impl Figures {
    fn show(&mut self) {
        let Self { shared, view, file_stats, overflows, full, paused } = self;
        show_link(shared, view);
        let status = shared.status();
        let metrics = &shared.metrics;
        metrics.watched_directories.set(gauge(status.watched_directories));
        metrics.watch_limit.set(gauge(status.watch_limit.unwrap_or(0)));
        metrics.unwatched_directories.set(gauge(status.unwatched_directories));
        metrics.event_queue.set(gauge(status.queue_depth));
        let spool = shared.spool.figures();
        metrics.spool_batches.set(gauge(spool.batches));
        metrics.spool_bytes.set(gauge(spool.bytes));
        let age = status.oldest_unacknowledged.unwrap_or_default();
        metrics.spool_oldest.set(age.as_secs_f64());
        metrics.spool_full.inc_by(advance(full, spool.times_full));
        metrics.file_stats.inc_by(advance(file_stats, status.file_stats));
        metrics.kernel_overflows.inc_by(advance(overflows, shared.watch_counts().overflows));
        show_scan_rate(shared);
        show_pauses(shared, paused);
    }
}

fn show_pauses(shared: &Shared, last: &mut Paused) {
    let paused = shared.limits.paused();
    let add = |why: &str, now: Duration, before: Duration| {
        let by = now.saturating_sub(before).as_secs_f64();
        shared.metrics.scan_paused.with_label_values(&[why]).inc_by(by);
    };
    add("rate", paused.by_rate, last.by_rate);
    add("latency", paused.by_latency, last.by_latency);
    add("precedence", paused.by_precedence, last.by_precedence);
    *last = paused;
    shared.metrics.storage_call.set(shared.limits.call_latency().as_secs_f64());
}

/// What a counter grew by since it was last read.
fn advance(last: &mut u64, now: u64) -> u64 {
    let by = now.saturating_sub(*last);
    *last = now.max(*last);
    by
}

fn show_link(shared: &Shared, view: &watch::Receiver<LinkView>) {
    let view = view.borrow().clone();
    let role = view.standing.as_ref().map(|standing| standing.role);
    for (each, word) in [(Role::Leader, "leader"), (Role::Follower, "follower")] {
        let mine = i64::from(role == Some(each));
        shared.metrics.role.with_label_values(&[word]).set(mine);
    }
    let epoch = view.standing.as_ref().map(|standing| standing.epoch).unwrap_or_default();
    shared.metrics.leader_epoch.set(gauge(epoch.0));
    let status = shared.status();
    let progress = Progress {
        link: match role {
            _ if view.lost => LinkState::Lost,
            Some(Role::Leader) => LinkState::Leading,
            Some(Role::Follower) => LinkState::Following,
            None => LinkState::Joining,
        },
        role,
        leader_epoch: epoch,
        realtime_ready: status.realtime_ready,
        watched_directories: status.watched_directories,
        unwatched_directories: status.unwatched_directories,
        scan: shared.scan_progress(),
        trouble: view.trouble.or_else(|| status.errors.into_iter().next()),
    };
    shared.progress.send_if_modified(|shown| {
        let changed = *shown != progress;
        if changed {
            *shown = progress;
        }
        changed
    });
}

fn show_scan_rate(shared: &Shared) {
    if let Some(scan) = shared.scan_progress() {
        let rate = shared.metrics.scan_rate.with_label_values(&[source_label(scan.source)]);
        rate.set(scan.entries_per_second());
    }
}

/// Looks at the root until dropped. A look may hang with the storage: it has a time limit, and one
/// that hangs is not joined by a second.
pub(crate) struct RootWatch(pub(crate) Arc<Shared>);

impl Part for RootWatch {
    const NAME: &'static str = "root watch";
    type End = ();

    async fn run(&mut self) {
        watch_root(&self.0).await;
    }

    fn broke_off(&mut self) {}
}

async fn watch_root(shared: &Arc<Shared>) {
    let mut looks = 0_u32;
    loop {
        tokio::time::sleep(ROOT_EVERY).await;
        looks = looks.wrapping_add(1);
        let is_due = looks.is_multiple_of(IDENTITY_EVERY);
        let (root, state) = (Arc::clone(&shared.root), Arc::clone(&shared.state));
        let mut look = tokio::task::spawn_blocking(move || look_at_root(&root, &state, is_due));
        let looked = match tokio::time::timeout(ROOT_LIMIT, &mut look).await {
            Ok(looked) => looked,
            Err(_) => {
                tell(shared, RootState::Unavailable, "the root does not answer");
                look.await
            }
        };
        match looked {
            Ok(Ok(identity)) => is_there(shared, identity),
            Ok(Err(Away::Anew)) => {
                tell(shared, RootState::Unavailable, "the root was mounted anew");
                shared.state.root_anew.notify_one();
            }
            Ok(Err(Away::Replaced)) => {
                let why = "another directory stands at the root's path";
                tell(shared, RootState::Doubtful, why);
            }
            Ok(Err(Away::Gone)) | Err(_) => {
                tell(shared, RootState::Unavailable, "the root is not there");
            }
        }
    }
}

/// One look. A root that was away is read as well: that it is back is told with what it is (R11). May
/// hang with the storage.
fn look_at_root(root: &Root, state: &State, is_due: bool) -> Result<Option<RootIdentity>, Away> {
    let check = root.check();
    // Asked after what may have hung: the root may count as away since.
    let (found, known) = state.root();
    match check {
        RootCheck::Same if found != RootState::Available => {
            state.identify(root).map(Some).map_err(|_| Away::Gone)
        }
        RootCheck::Same => Ok(is_due.then(|| state.identify(root).ok()).flatten()),
        RootCheck::Replaced | RootCheck::Gone(_) if root.stands_again(&known) => Err(Away::Anew),
        RootCheck::Replaced => Err(Away::Replaced),
        RootCheck::Gone(_) => Err(Away::Gone),
    }
}

/// The root is the one that is held.
fn is_there(shared: &Arc<Shared>, identity: Option<RootIdentity>) {
    if identity.is_none() && shared.state.root().0 != RootState::Available {
        // It came to count as away during the look: the next one reads it.
        return;
    }
    shared.state.broken("root", None);
    if shared.state.root_found(RootState::Available) {
        tracing::info!("the root is there again");
        report(shared, RootState::Available, identity);
    }
}

/// How the root is not there.
enum Away {
    /// Nothing answers.
    Gone,
    /// Another directory stands at its path.
    Replaced,
    /// The same tree stands at its path, and is not the one that is held.
    Anew,
}

fn tell(shared: &Arc<Shared>, state: RootState, why: &str) {
    shared.state.broken("root", Some(why.to_owned()));
    if shared.state.root_found(state) {
        tracing::warn!("{why}: nothing is reported until it is back");
        report(shared, state, None);
    }
}

/// As evidence (R11), off the async threads: the spool is on a disk.
fn report(shared: &Arc<Shared>, state: RootState, identity: Option<RootIdentity>) {
    let shared = Arc::clone(shared);
    tokio::task::spawn_blocking(move || shared.spool.root(state, identity));
}
