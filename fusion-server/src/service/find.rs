//! Finding entries below a path: in slices, beside the writer, only as fast as they are taken.
//!
//! A slice looks at a bounded number of entries on the runtime's blocking pool and gives back what
//! it found; between slices nothing is held, so neither the view nor a thread waits for a client. Who
//! drops a search ends it with the step that is under way. The first slices are short: what is found
//! early is told early.

pub(crate) mod filter;
mod pace;

use std::sync::Arc;

use fusion_core::id::{Revision, ViewName};
use fusion_core::path::PathRef;
use fusion_core::stat::Stat;
use fusion_core::time::Clock;
use fusion_core::view::{FindCursor, Totals, ViewReader, ViewStatus};
use fusion_proto::convert::view::FindEntries;
use fusion_proto::status::Refusal;

use super::best::{Best, Place};
use super::running::{Running, StillWanted};
use super::views::{Views, Worth, unread, worth};
use crate::ids::Ids;
use crate::task::view::ViewHandle;
use filter::{Filter, slashes};
use pace::Pace;

/// Steps of a slice at most.
const STEPS: usize = 32;
/// Entries of a message at most.
const CHUNK_ROWS: usize = 512;
/// Bytes of the paths of a message at most.
const CHUNK_BYTES: usize = 256 * 1024;

/// An entry that was found: its path, its stat, and what lies below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) path: Vec<u8>,
    pub(crate) stat: Stat,
    pub(crate) suspect: bool,
    pub(crate) blind: bool,
    pub(crate) totals: Totals,
}

/// What is searched for, made ready once for all views; a cheap handle.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) request: Arc<FindEntries>,
    filter: Arc<Filter>,
}

impl Wanted {
    /// Makes the filter ready.
    pub(crate) fn new(request: FindEntries) -> Result<Self, Refusal> {
        let filter = Arc::new(Filter::new(request.filter.clone())?);
        Ok(Self { request: Arc::new(request), filter })
    }

    /// All views to search, in order.
    pub(crate) fn views(&self) -> impl Iterator<Item = &ViewName> {
        std::iter::once(&self.request.view).chain(&self.request.more_views)
    }
}

/// A search that is under way.
pub(crate) struct Search {
    views: Views,
    view: ViewHandle,
    ids: Arc<dyn Ids>,
    /// The last revision that all of the answer holds: the one at which it began.
    since: Revision,
    walk: Option<Walk>,
    wanted: Wanted,
    _running: Running,
}

struct Walk {
    still: StillWanted,
    reader: ViewReader,
    cursor: FindCursor,
    wanted: Wanted,
    /// How deep the path is below which to look.
    above: usize,
    left: u64,
    /// Steps of the next slice.
    steps: usize,
    pace: Pace,
    clock: Arc<dyn Clock>,
    /// What is kept until the end, if an order is asked for.
    best: Option<Best<Found>>,
}

impl Search {
    /// Begins to search a view; it is counted under the name of the call.
    pub(crate) fn begin(
        views: &Views,
        ids: Arc<dyn Ids>,
        wanted: Wanted,
        view: &ViewName,
    ) -> Result<Self, Refusal> {
        Self::begin_after(views, ids, wanted, view, ("find", None))
    }

    /// The same, of a call, after a path that an earlier search for the same told.
    pub(crate) fn begin_after(
        views: &Views,
        ids: Arc<dyn Ids>,
        wanted: Wanted,
        view: &ViewName,
        (call, after): (&str, Option<PathRef<'_>>),
    ) -> Result<Self, Refusal> {
        let request = &wanted.request;
        let (handle, status) = views.demand(view, request.class)?;
        let reader = handle.reader().clone();
        let path = request.path.as_ref();
        let cursor = reader
            .find_within(path, wanted.filter.scope(), after)
            .map_err(|error| unread(error, view, path))?;
        let left = request.limit.unwrap_or(u64::MAX);
        let best = request
            .order
            .map(|order| Best::new(order, usize::try_from(left).unwrap_or(usize::MAX)));
        let above = if path.is_root() { 0 } else { slashes(path.as_bytes()) };
        let running = Running::begin(&views.deps().metrics, view, call);
        let still = running.wanted();
        let (pace, clock) = (Pace::new(wanted.filter.may_be_slow()), views.deps().clock.clone());
        let (steps, filter) = (1, wanted.clone());
        let walk =
            Walk { still, reader, cursor, wanted: filter, above, left, steps, pace, clock, best };
        let (views, walk) = (views.clone(), Some(walk));
        let since = status.revision;
        Ok(Self { views, view: handle, ids, since, walk, wanted, _running: running })
    }

    /// The next chunks of what is found; `None` when all of it was.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<Vec<Found>>>, Refusal> {
        let Some(walk) = self.walk.take() else { return Ok(None) };
        let slice = tokio::task::spawn_blocking(move || slice(walk));
        let (walk, chunks) = slice.await.map_err(|error| super::internal(&*self.ids, &error))?;
        self.walk = walk;
        Ok(Some(chunks))
    }

    /// The last revision that all of the answer holds.
    pub(crate) fn since(&self) -> Revision {
        self.since
    }

    /// Goes on where an earlier search for the same was at a revision.
    pub(crate) fn goes_on_since(&mut self, revision: Revision) {
        self.since = self.since.min(revision);
    }

    /// What the whole answer is worth, at its end.
    pub(crate) fn worth(&self) -> Worth {
        let status = ViewStatus { revision: self.since, ..self.views.status(&self.view) };
        let path = self.wanted.request.path.as_ref();
        let totals = self.view.reader().totals(path).unwrap_or_default();
        worth(status, totals.last_change)
    }
}

/// Walks on until a chunk is full or the slice is over; the walk comes back if there is more of it.
fn slice(mut walk: Walk) -> (Option<Walk>, Vec<Vec<Found>>) {
    let mut chunks = Chunks::default();
    for _ in 0..walk.steps {
        if !walk.still.step(walk.pace.entries()) {
            return (None, Vec::new());
        }
        if walk.step(&mut chunks) {
            if let Some(best) = walk.best {
                best.into_rows().0.into_iter().for_each(|kept| chunks.push(kept.row));
            }
            return (None, chunks.done);
        }
        if chunks.done.len() > 1 {
            break;
        }
    }
    walk.steps = (walk.steps * 2).min(STEPS);
    (Some(walk), chunks.done)
}

impl Walk {
    /// One step; whether it was the last.
    fn step(&mut self, chunks: &mut Chunks) -> bool {
        let Self { reader, cursor, wanted, above, left, best, pace, clock, .. } = self;
        let (filter, began) = (&wanted.filter, clock.monotonic());
        let done = reader.find_next_with(
            cursor,
            pace.entries(),
            filter.needle(),
            |name, stat| filter.by_name(name, stat),
            |path, entry| {
                if *left == 0 || !filter.by_path(path, *above, entry) {
                    return;
                }
                let found = || Found {
                    path: path.to_vec(),
                    stat: entry.stat,
                    suspect: entry.suspect,
                    blind: entry.blind,
                    totals: entry.totals.unwrap_or_default(),
                };
                match (best.as_mut(), wanted.request.order) {
                    (Some(best), Some(order)) => {
                        best.offer(Place::of(order, &entry.stat, path), found);
                    }
                    _ => {
                        *left -= 1;
                        chunks.push(found());
                    }
                }
            },
        );
        pace.took(clock.monotonic().since(began));
        done || self.left == 0
    }
}

/// What was found, cut into messages.
#[derive(Debug, Default)]
struct Chunks {
    done: Vec<Vec<Found>>,
    bytes: usize,
}

impl Chunks {
    fn push(&mut self, found: Found) {
        self.bytes += found.path.len();
        match self.done.last_mut() {
            Some(last) if last.len() < CHUNK_ROWS && self.bytes <= CHUNK_BYTES => last.push(found),
            _ => {
                self.bytes = found.path.len();
                self.done.push(vec![found]);
            }
        }
    }
}
