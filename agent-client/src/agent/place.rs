//! A follower's walk: names only, at a rate of its own, to place a watch on each directory.

use std::num::NonZeroU32;
use std::ops::ControlFlow;
use std::sync::Arc;

use fusion_core::path::PathRef;
use tokio::sync::oneshot;

use super::scans::ScanEnd;
use super::shared::Shared;
use crate::link::Delivery;
use crate::scan::{Cancel, Found, Placer, Rank, Scan, ScanCounters, ScanOptions};

/// Begins the walk; the answer comes when it ended.
pub(super) fn start(shared: &Arc<Shared>, cancel: &Cancel) -> oneshot::Receiver<ScanEnd> {
    let (ended, end) = oneshot::channel();
    let (shared, cancel) = (Arc::clone(shared), cancel.clone());
    let spawned = crate::spawn::spawn_thread("fusion-place-0", move || {
        // Nobody may be left who waits for it.
        let _ = ended.send(walk(&shared, &cancel));
    });
    if let Err(error) = spawned {
        tracing::error!("watches not placed: {error}");
    }
    end
}

fn walk(shared: &Shared, cancel: &Cancel) -> ScanEnd {
    shared.begin_walk();
    let options =
        ScanOptions { left_out: shared.spool.own_directories(), ..ScanOptions::default() };
    let rate = NonZeroU32::new(shared.config.placement_rate).unwrap_or(NonZeroU32::MIN);
    let placer = shared.placer();
    let scan = Scan {
        root: &shared.root,
        options: &options,
        clock: &*shared.clock,
        cancel,
        counters: &ScanCounters::default(),
        pace: &shared.limits.begin_at(Rank::Snapshot, rate),
        placer: placer.as_deref().map(|placer| placer as &dyn Placer),
    };
    let report = scan.place_watches(PathRef::ROOT, &|found| {
        if let Found::LeftOut(left_out) = found {
            shared.state.left_out(left_out.dir);
        }
        ControlFlow::Continue(())
    });
    if report.complete { ScanEnd::Done(report, Delivery::at_once()) } else { ScanEnd::CutOff }
}
