//! Placing all watches anew after events were lost: which directories came, went or moved is not
//! known, so the tree is walked, names only and at a limited rate, on a thread of its own.
//!
//! What was lost is not told from here: an audit finds it (R10). When the walk is done, watches that
//! it did not come by and whose path leads elsewhere are dropped, and the loss is over. Where it cannot
//! be done (the root cannot be read, there is no thread) the watcher ends: whoever owns it begins another.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::Sender;
use fusion_core::path::PathRef;
use fusion_core::time::Monotonic;

use super::reader::Message;
use super::{Shared, WatchEvidence};
use crate::scan::{Found, RateLimit, Scan, ScanCounters, ScanOptions};
use crate::spawn::spawn_thread;

/// At most one walk, and whether another is needed after it.
pub(super) struct Anew {
    messages: Sender<Message>,
    thread: Option<JoinHandle<()>>,
    lost_since: Option<Monotonic>,
    is_lost_again: bool,
}

impl Anew {
    pub(super) fn new(messages: Sender<Message>) -> Self {
        Self { messages, thread: None, lost_since: None, is_lost_again: false }
    }

    /// Events were lost: begins a walk, or another one after the one that runs.
    pub(super) fn lost(&mut self, shared: &Arc<Shared>, since: Monotonic) {
        self.lost_since.get_or_insert(since);
        if self.thread.is_some() {
            self.is_lost_again = true;
        } else {
            self.begin(shared);
        }
    }

    /// A walk is done: what is to be told, if the loss is over.
    pub(super) fn placed(&mut self, shared: &Arc<Shared>) -> Option<WatchEvidence> {
        self.join();
        if std::mem::take(&mut self.is_lost_again) {
            self.begin(shared);
            return None;
        }
        let since = self.lost_since.take()?;
        let watching_since = shared.clock.monotonic();
        Some(WatchEvidence::Overflow { since, watching_since, is_over: true })
    }

    /// Waits for the walk, which ends soon once it is cancelled.
    pub(super) fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }

    fn begin(&mut self, shared: &Arc<Shared>) {
        let (shared, messages) = (Arc::clone(shared), self.messages.clone());
        let walk = move || {
            let is_whole = place_all(&shared);
            let _ = messages.send(if is_whole { Message::PlacedAnew } else { Message::End });
        };
        match spawn_thread("fusion-watch-anew", walk) {
            Ok(thread) => self.thread = Some(thread),
            Err(error) => {
                tracing::warn!(%error, "cannot place watches anew: no thread");
                let _ = self.messages.send(Message::End);
            }
        }
    }
}

/// Gives whether all was walked.
fn place_all(shared: &Shared) -> bool {
    let round = shared.places.lock().begin_round();
    let options = ScanOptions {
        workers: std::num::NonZeroUsize::MIN,
        left_out: shared.options.left_out.clone(),
        ..ScanOptions::default()
    };
    let scan = Scan {
        root: &shared.root,
        options: &options,
        clock: &*shared.clock,
        cancel: &shared.cancel,
        counters: &ScanCounters::default(),
        pace: &RateLimit::new(shared.options.placement_rate),
        placer: Some(shared),
    };
    let nothing = |_: Found| ControlFlow::Continue(());
    let is_whole = scan.place_watches(PathRef::ROOT, &nothing).complete;
    if is_whole {
        drop_unseen(shared, round);
    }
    is_whole
}

/// Drops watches that the walk did not come by, unless their paths lead to what they watch.
fn drop_unseen(shared: &Shared, round: u32) {
    let unseen = shared.places.lock().table.not_seen_in(round);
    for node in unseen {
        let (path, file) = {
            let held = shared.places.lock();
            (held.table.path(node), held.table.file_of(node))
        };
        let reached = path.and_then(|path| shared.root.reach(path.as_ref()).ok());
        if reached.is_none_or(|reached| Some(reached.id) != file) {
            super::counters::add(&shared.counters.dropped_watches, 1);
            shared.places.lock().drop_watch(node);
        }
    }
}
