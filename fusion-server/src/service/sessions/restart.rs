//! Views whose task failed are begun anew from the store, for as long as it takes; so are those whose settings
//! were changed ([`super::reconfigure`]), and those that are another server's by now, to be followed.
//!
//! What the task failed on is lost, so the sessions of the view end with VIEW_RESET and its agents list
//! anew; the realtime sequences go on. Where the view is another server's nothing is lost, and its sessions are given up
//! without a word in the store. The first failure is answered at once; a view that fails again
//! soon, or cannot be loaded, waits longer each time. Tested in `tests/grpc/breakage.rs`.

use std::collections::BTreeMap;
use std::time::Duration;

use fusion_core::id::ViewName;
use fusion_core::time::Monotonic;
use tokio::sync::mpsc;

use super::{Sessions, State};
use crate::spawn::Tasks;
use crate::task::view::{Ended, ViewFailed, ViewHandle};

/// The first wait, and the longest.
const FIRST: Duration = Duration::from_secs(1);
const MOST: Duration = Duration::from_secs(60);
/// A view that ran for so long is well: its next failure is a first one.
const WELL: Duration = Duration::from_secs(600);

/// Failures of a view, one soon after the other.
struct Streak {
    count: u32,
    last: Monotonic,
}

impl Sessions {
    /// Begins anew what fails.
    pub(crate) async fn restart_views(
        self,
        tasks: Tasks,
        mut failures: mpsc::UnboundedReceiver<ViewFailed>,
    ) {
        let mut streaks: BTreeMap<ViewName, Streak> = BTreeMap::new();
        while let Some(failed) = failures.recv().await {
            let now = self.now().monotonic;
            if failed.why.is_meant() {
                tasks.spawn("view restart", self.clone().restart_view(failed, Duration::ZERO));
                continue;
            }
            let streak =
                streaks.entry(failed.name.clone()).or_insert(Streak { count: 0, last: now });
            if now.since(streak.last) > WELL {
                streak.count = 0;
            }
            let wait = wait_after(streak.count);
            *streak = Streak { count: streak.count.saturating_add(1), last: now };
            tasks.spawn("view restart", self.clone().restart_view(failed, wait));
        }
    }

    async fn restart_view(self, failed: ViewFailed, wait: Duration) {
        let ViewFailed { why: ended, name, id, lanes, settled } = failed;
        let mut settled = Some(settled);
        if ended.is_elsewhere() {
            // At once: they go on where the view is by now.
            self.give_up(&name);
        }
        if !wait.is_zero() {
            self.end_all(&name, ended, None);
            settled = None;
            tokio::time::sleep(wait).await;
        }
        for tries in 1.. {
            let (views, of, lanes) = (self.shared.views.clone(), name.clone(), lanes.clone());
            let reloaded = tokio::task::spawn_blocking(move || views.reload(&of, id, lanes)).await;
            let why = match reloaded {
                Ok(Some(Ok(view))) => return self.end_all(&name, ended, Some(view)),
                Ok(None) => return,
                Ok(Some(Err(refusal))) => refusal.to_string(),
                Err(panic) => panic.to_string(),
            };
            self.end_all(&name, ended, None);
            settled = None;
            let again = wait_after(tries);
            tracing::error!(view = %name, why, ?again, "the view cannot be begun anew");
            tokio::time::sleep(again).await;
        }
        drop(settled);
    }

    /// Ends all sessions of a view, or gives them up where it is another server's; and puts another life of it in its
    /// place.
    fn end_all(&self, name: &ViewName, ended: Ended, next: Option<ViewHandle>) {
        let now = self.now();
        let mut state = self.lock();
        if ended.is_elsewhere() {
            self.give_up_view(&mut state, name);
        } else {
            let State { table, effects, .. } = &mut *state;
            table.reset_view(name, now.monotonic, now.server, effects);
            self.carry_out(&mut state);
        }
        if let Some(view) = next {
            if let Ok(before) = self.shared.views.get(name) {
                view.commands().take_over(before.commands());
            }
            self.shared.views.replace(view);
        }
    }
}

/// How long to wait after so many failures.
fn wait_after(failures: u32) -> Duration {
    match failures {
        0 => Duration::ZERO,
        more => FIRST.saturating_mul(1 << (more - 1).min(16)).min(MOST),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_a_bound() {
        let waits: Vec<u64> = (0..9).map(|failures| wait_after(failures).as_secs()).collect();
        assert_eq!(waits, [0, 1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(wait_after(u32::MAX), MOST);
    }
}
