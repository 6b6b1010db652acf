//! Directories that another host made: watched, read and told, because no event of ours tells of them.
//!
//! Each goes to the watcher as soon as the mount shows it; where the kernel still believes that it is not
//! there, it is looked for again until no cache can be that old. Done when all that was read is
//! acknowledged. Must never: say so before, for the server then takes it for seen.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use fusion_core::evidence::Source;
use fusion_core::path::TreePath;
use fusion_core::stat::Kind;
use fusion_core::time::Monotonic;

use super::{CommandsTask, Doing};
use crate::agent::desk::{Figures, Outcome};
use crate::agent::shared::Shared;
use crate::link::{Command, ResultValue, Standing};
use crate::scan::Cancel;

/// Between the first two looks for what is not there; it doubles.
const AGAIN: Duration = Duration::from_millis(50);
/// Most time between two.
const AGAIN_MOST: Duration = Duration::from_secs(2);
/// Between two looks whether what was read is acknowledged.
const ACKNOWLEDGED: Duration = Duration::from_millis(20);

impl CommandsTask {
    /// Watches and reads directories that another host made.
    pub(super) fn watch(
        &self,
        command: &Command,
        paths: Vec<TreePath>,
        standing: &Standing,
    ) -> Doing {
        let (shared, cancel) = (Arc::clone(&self.shared), Cancel::new());
        let until = shared.clock.monotonic().plus(standing.settings.cache_horizon);
        let outcome = Box::pin(watch_all(shared, paths, until, cancel.clone()));
        Doing::new(command, standing, Source::OnDemand, cancel, outcome)
    }
}

async fn watch_all(
    shared: Arc<Shared>,
    paths: Vec<TreePath>,
    until: Monotonic,
    cancel: Cancel,
) -> Outcome {
    let (mut read, mut wait) = (0_u32, AGAIN);
    let mut missing = VecDeque::from(paths);
    loop {
        let last = shared.clock.monotonic() >= until;
        for path in std::mem::take(&mut missing) {
            if cancel.is_set() {
                return Err("its session is over".to_owned());
            }
            match is_there(&shared, &path).await {
                true => read += u32::from(watch_one(&shared, &path).await),
                false => missing.push_back(path),
            }
        }
        if missing.is_empty() || last {
            break;
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(AGAIN_MOST);
    }
    let through = shared.spool.figures().next;
    while shared.spool.figures().first_held < through && !cancel.is_set() {
        tokio::time::sleep(ACKNOWLEDGED).await;
    }
    if cancel.is_set() {
        return Err("its session is over".to_owned());
    }
    Ok(Figures::from([
        ("read".into(), ResultValue::Number(f64::from(read))),
        ("missing".into(), ResultValue::Number(missing.len() as f64)),
    ]))
}

/// Whether the mount shows a directory; asked off the async threads.
async fn is_there(shared: &Arc<Shared>, path: &TreePath) -> bool {
    let (shared, path) = (Arc::clone(shared), path.clone());
    let look = tokio::task::spawn_blocking(move || {
        shared.root.look_in_time(&path, shared.clock.monotonic())
    });
    let found = look.await.ok().and_then(Result::ok).and_then(|look| look.found);
    found.is_some_and(|found| found.kind == Kind::Directory)
}

/// Whether it was read. A watcher that ends takes the whole tree for unseen, and so does its successor:
/// then there is nothing left to do here.
async fn watch_one(shared: &Shared, path: &TreePath) -> bool {
    match shared.watch() {
        Some(watch) => watch.watch_made(path.clone()).await.is_ok(),
        None => false,
    }
}
