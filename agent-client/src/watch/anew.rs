//! Placing all watches anew after events were lost: which directories came, went or moved is not
//! known, so the tree is walked, names only and at a limited rate, on a thread of its own.
//!
//! What was lost is not told from here: an audit finds it (R10). When the walk is done, watches that
//! it did not come by and whose path leads elsewhere are dropped, and the loss is over. Where it cannot
//! be done (the root cannot be read, there is no thread) the watcher ends: whoever owns it begins another.

use std::ops::ControlFlow;
use std::sync::Arc;

use crossbeam_channel::Sender;
use fusion_core::path::PathRef;
use fusion_core::time::Monotonic;
use rustix::io::Errno;

use super::reader::Message;
use super::{Shared, WatchEvidence};
use crate::scan::{Found, RateLimit, Scan, ScanCounters, ScanOptions, ScanReport};
use crate::spawn::spawn_thread;

/// At most one walk, and whether another is needed after it.
pub(super) struct Anew {
    messages: Sender<Message>,
    is_walking: bool,
    lost_since: Option<Monotonic>,
    is_lost_again: bool,
}

impl Anew {
    pub(super) fn new(messages: Sender<Message>) -> Self {
        Self { messages, is_walking: false, lost_since: None, is_lost_again: false }
    }

    /// Events were lost: begins a walk, or another one after the one that runs.
    pub(super) fn lost(&mut self, shared: &Arc<Shared>, since: Monotonic) {
        self.lost_since.get_or_insert(since);
        if self.is_walking {
            self.is_lost_again = true;
        } else {
            self.begin(shared);
        }
    }

    /// A walk is done: what is to be told, if the loss is over.
    pub(super) fn placed(&mut self, shared: &Arc<Shared>) -> Option<WatchEvidence> {
        self.is_walking = false;
        if std::mem::take(&mut self.is_lost_again) {
            self.begin(shared);
            return None;
        }
        let since = self.lost_since.take()?;
        let watching_since = shared.clock.monotonic();
        Some(WatchEvidence::Overflow { since, watching_since, is_over: true })
    }

    fn begin(&mut self, shared: &Arc<Shared>) {
        let (shared, messages) = (Arc::clone(shared), self.messages.clone());
        let walk = move || {
            place_all(&shared, &|is_whole| {
                let _ = messages.send(if is_whole { Message::PlacedAnew } else { Message::End });
            });
        };
        match spawn_thread("fusion-watch-anew", walk) {
            Ok(_) => self.is_walking = true,
            Err(error) => {
                tracing::warn!(%error, "cannot place watches anew: no thread");
                let _ = self.messages.send(Message::End);
            }
        }
    }
}

/// `over` is told whether all was walked; this comes back later if something hangs in the storage.
fn place_all(shared: &Shared, over: &dyn Fn(bool)) {
    let round = shared.places.lock().begin_round();
    let options = ScanOptions {
        workers: std::num::NonZeroUsize::MIN,
        left_out: shared.options.left_out.clone(),
        ..ScanOptions::default()
    };
    let then = |report: ScanReport| {
        if report.complete {
            drop_unseen(shared, round);
            shared.places.lock().end_round();
        }
        over(report.complete);
    };
    let scan = Scan {
        root: &shared.root,
        options: &options,
        clock: &*shared.clock,
        cancel: &shared.cancel,
        counters: &ScanCounters::default(),
        pace: &RateLimit::new(shared.options.placement_rate),
        placer: Some(shared),
        then: Some(&then),
    };
    scan.place_watches(PathRef::ROOT, &|_: Found| ControlFlow::Continue(()));
}

/// Drops watches that the walk did not come by, unless their paths lead to what they watch.
fn drop_unseen(shared: &Shared, round: u32) {
    let unseen = shared.places.lock().table.not_seen_in(round);
    for node in unseen {
        let (path, file) = {
            let held = shared.places.lock();
            (held.table.path(node), held.table.file_of(node))
        };
        let reached = path.map(|path| {
            let of = path.clone();
            shared.root.in_time(&path, move |root| Ok(root.reach(of.as_ref())?.id))
        });
        // One that does not answer was not come by because it does not.
        if reached != Some(Err(Errno::TIMEDOUT)) && reached.and_then(Result::ok) != file {
            super::counters::add(&shared.counters.dropped_watches, 1);
            shared.places.lock().drop_watch(node);
        }
    }
}
