//! Keeps metrics and progress up to date.

use std::sync::Arc;
use std::time::Duration;

use fusion_core::session::Role;
use fusion_core::time::Monotonic;
use tokio::sync::watch;

use super::keep::Part;
use super::shared::Shared;
use crate::link::{LinkView, Reporter as _};
use crate::ops::metrics::{gauge, source_label};
use crate::progress::{LinkState, Progress};
use crate::scan::Paused;
use crate::watch::FailedLook;

/// How often the figures are read.
const EVERY: Duration = Duration::from_millis(200);
/// Shows how the agent is until it is dropped.
pub(crate) struct Figures {
    shared: Arc<Shared>,
    view: watch::Receiver<LinkView>,
    file_stats: u64,
    overflows: u64,
    failed_looks: [u64; FailedLook::ALL.len()],
    full: u64,
    paused: Paused,
    seen: Seen,
}

/// When everything that the kernel had told of was last seen to be evidence.
#[derive(Default)]
struct Seen(Option<Monotonic>);

impl Seen {
    /// For how long at most something waits that the kernel told of, if all up to `through` does not.
    fn age(&mut self, now: Monotonic, through: Monotonic) -> Duration {
        if through >= now {
            self.0 = Some(now);
        }
        // Where nothing happens for an hour, the last event is an hour old, and nothing waits.
        now.since(self.0.map_or(through, |seen| seen.max(through)))
    }
}

impl Figures {
    pub(crate) fn new(shared: Arc<Shared>, view: watch::Receiver<LinkView>) -> Self {
        Self {
            shared,
            view,
            file_stats: 0,
            overflows: 0,
            failed_looks: Default::default(),
            full: 0,
            paused: Paused::default(),
            seen: Seen::default(),
        }
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
        let Self { shared, view, file_stats, overflows, failed_looks, full, paused, seen } = self;
        show_link(shared, view);
        let status = shared.status();
        let metrics = &shared.metrics;
        metrics.watched_directories.set(gauge(status.watched_directories));
        metrics.watch_limit.set(gauge(status.watch_limit.unwrap_or(0)));
        metrics.hung_calls.set(gauge(shared.root.hung_calls() as u64));
        metrics.unwatched_directories.set(gauge(status.unwatched_directories));
        metrics.event_queue.set(gauge(status.queue_depth));
        let now = shared.clock.monotonic();
        let age = seen.age(now, shared.seen_through().unwrap_or(now));
        metrics.event_queue_age.set(age.as_secs_f64());
        let spool = shared.spool.figures();
        metrics.spool_batches.set(gauge(spool.batches));
        metrics.spool_bytes.set(gauge(spool.bytes));
        let age = status.oldest_unacknowledged.unwrap_or_default();
        metrics.spool_oldest.set(age.as_secs_f64());
        metrics.spool_full.inc_by(advance(full, spool.times_full));
        metrics.file_stats.inc_by(advance(file_stats, status.file_stats));
        let watch = shared.watch_counts();
        metrics.kernel_overflows.inc_by(advance(overflows, watch.overflows));
        for (why, (last, now)) in
            FailedLook::ALL.into_iter().zip(failed_looks.iter_mut().zip(watch.failed_looks))
        {
            metrics.failed_looks.with_label_values(&[why.word()]).inc_by(advance(last, now));
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_not_older_than_when_nothing_waited() {
        let at = |seconds| Monotonic::default().plus(Duration::from_secs(seconds));
        let mut seen = Seen::default();
        assert_eq!(seen.age(at(10), at(10)), Duration::ZERO);
        assert_eq!(seen.age(at(3_600), at(3_600)), Duration::ZERO);
        // The last event before was interpreted at 5 s; this one came since 3,600 s.
        assert_eq!(seen.age(at(3_601), at(5)), Duration::from_secs(1));
        assert_eq!(seen.age(at(3_660), at(5)), Duration::from_secs(60));
        // Some of what waited was taken in.
        assert_eq!(seen.age(at(3_661), at(3_650)), Duration::from_secs(11));
        assert_eq!(seen.age(at(3_662), at(3_662)), Duration::ZERO);
    }
}
