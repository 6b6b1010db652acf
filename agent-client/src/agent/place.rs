//! A follower's walk: names only, at a rate of its own, to place a watch on each directory.

use std::num::NonZeroU32;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};

use fusion_core::path::PathRef;
use tokio::sync::oneshot;

use super::scans::ScanEnd;
use super::shared::Shared;
use crate::link::Delivery;
use crate::scan::{Cancel, Found, Placer, Rank, Scan, ScanCounters, ScanOptions, ScanReport};

/// Begins the walk; the answer comes when it ended.
pub(super) fn start(shared: &Arc<Shared>, cancel: &Cancel) -> oneshot::Receiver<ScanEnd> {
    let (ended, end) = oneshot::channel();
    let (shared, cancel) = (Arc::clone(shared), cancel.clone());
    let spawned = crate::spawn::spawn_thread("fusion-place-0", move || {
        let ended = Mutex::new(Some(ended));
        walk(&shared, &cancel, &|end| {
            let ended = ended.lock().unwrap_or_else(PoisonError::into_inner).take();
            // Nobody may be left who waits for it.
            let _ = ended.map(|ended| ended.send(end));
        });
    });
    if let Err(error) = spawned {
        tracing::error!("watches not placed: {error}");
    }
    end
}

/// `over` is told of the end; this comes back later if something hangs in the storage.
fn walk(shared: &Shared, cancel: &Cancel, over: &dyn Fn(ScanEnd)) {
    shared.begin_walk();
    let options =
        ScanOptions { left_out: shared.spool.own_directories(), ..ScanOptions::default() };
    let rate = NonZeroU32::new(shared.config.placement_rate).unwrap_or(NonZeroU32::MIN);
    let placer = shared.placer();
    let pace = shared.limits.begin_at(Rank::Snapshot, rate);
    let then = |report: ScanReport| {
        pace.end();
        if report.complete {
            shared.end_walk();
        }
        over(match report.complete {
            true => ScanEnd::Done(report, Delivery::at_once()),
            false => ScanEnd::CutOff,
        });
    };
    let scan = Scan {
        root: &shared.root,
        options: &options,
        clock: &*shared.clock,
        cancel,
        counters: &ScanCounters::default(),
        pace: &pace,
        placer: placer.as_deref().map(|placer| placer as &dyn Placer),
        then: Some(&then),
    };
    scan.place_watches(PathRef::ROOT, &|found| {
        if let Found::LeftOut(left_out) = found {
            shared.state.left_out(left_out.dir);
        }
        ControlFlow::Continue(())
    });
}
