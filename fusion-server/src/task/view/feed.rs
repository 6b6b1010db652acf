//! The newest changes of a view in memory, for those who watch it.
//!
//! The view's thread puts every record here that it appends, while anybody watches; each watcher reads
//! at its own pace and goes to the log for what is not here any more, so no watcher holds up the view
//! or another. A record is encoded once, by the first who reads it, for all. Bounded in bytes. Must
//! never: show what is not durable. The lock guards the list; it is held to add or to take a few
//! pointers, never across an await, and nothing is locked under it.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use fusion_core::change::Change;
use fusion_core::id::Revision;
use fusion_proto::convert::event::{Account, Event, EventView, Side};
use fusion_proto::live::EncodedEvents;
use fusion_store::{Actor, RecordHead, StoredRecord};
use tokio::sync::watch;

/// Bytes of a view's newest changes that are kept in memory while it is watched, as reckoned by
/// [`weight`].
const KEPT_BYTES: usize = 16 << 20;
/// Records that a watcher takes at once.
const TAKEN: usize = 64;

/// The newest changes of a view.
#[derive(Debug)]
pub(crate) struct Feed {
    view: EventView,
    newest: Mutex<Newest>,
    watchers: AtomicUsize,
    durable: watch::Sender<Revision>,
}

#[derive(Debug, Default)]
struct Newest {
    /// Without a hole between them.
    records: VecDeque<Arc<FeedRecord>>,
    bytes: usize,
}

/// What a reader finds.
#[derive(Debug)]
pub(crate) enum Fed {
    /// Records, of which the first has the revision.
    Records(Vec<Arc<FeedRecord>>),
    /// The revision is not durable yet.
    NotYet,
    /// It is not in memory any more: the log has it.
    Gone,
}

/// One record as it is told.
#[derive(Debug)]
pub(crate) struct FeedRecord {
    /// Its first revision.
    pub(crate) first: Revision,
    /// Its last revision.
    pub(crate) last: Revision,
    account: Account,
    /// Until the first reader comes.
    changes: Mutex<Vec<Change>>,
    told: OnceLock<Told>,
}

/// What readers see of a record.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// Change by change, each with where its envelope is, as it is told from within.
    pub(crate) events: Vec<(Change, Range<usize>)>,
    /// All envelopes.
    pub(crate) encoded: EncodedEvents,
}

impl Feed {
    /// Of a view that is durable up to a revision.
    pub(super) fn new(view: EventView, durable: Revision) -> Arc<Self> {
        let (newest, watchers) = (Mutex::default(), AtomicUsize::new(0));
        Arc::new(Self { view, newest, watchers, durable: watch::Sender::new(durable) })
    }

    /// The view whose changes these are.
    pub(crate) fn view(&self) -> &EventView {
        &self.view
    }

    /// Begins to watch: from here on records are kept.
    pub(crate) fn join(self: &Arc<Self>) -> Watching {
        self.watchers.fetch_add(1, Ordering::AcqRel);
        Watching { feed: Arc::clone(self) }
    }

    /// How many watch.
    pub(crate) fn watchers(&self) -> usize {
        self.watchers.load(Ordering::Acquire)
    }

    /// How far the view is durable, to be waited on.
    pub(crate) fn durable(&self) -> watch::Receiver<Revision> {
        self.durable.subscribe()
    }

    /// A record was appended. Called in order, by the view's thread.
    pub(super) fn put(&self, head: &RecordHead, first: Revision, changes: &[Change]) {
        if self.watchers() == 0 {
            // Who begins to watch meanwhile finds the hole, and goes to the log.
            return;
        }
        let Some(last) = changes.last().map(Change::last_revision) else { return };
        let (record, bytes) =
            (FeedRecord::new(head, first, last, changes.to_vec()), weight(first, last));
        let mut newest = self.lock();
        if newest.records.back().is_some_and(|back| back.last.0 + 1 != first.0) {
            *newest = Newest::default();
        }
        newest.bytes += bytes;
        newest.records.push_back(Arc::new(record));
        while newest.bytes > KEPT_BYTES {
            let Some(oldest) = newest.records.pop_front() else { break };
            newest.bytes -= weight(oldest.first, oldest.last);
        }
    }

    /// All up to a revision is durable.
    pub(super) fn advance(&self, durable: Revision) {
        self.durable.send_if_modified(|known| {
            let further = durable > *known;
            *known = durable.max(*known);
            further
        });
    }

    /// Some durable records from the one with this revision on.
    pub(crate) fn read(&self, from: Revision) -> Fed {
        let durable = *self.durable.borrow();
        if from > durable {
            return Fed::NotYet;
        }
        let newest = self.lock();
        let records = &newest.records;
        let start = records.partition_point(|record| record.last < from);
        if records.get(start).is_none_or(|record| record.first > from) {
            return Fed::Gone;
        }
        let read = records.range(start..).take_while(|record| record.last <= durable).take(TAKEN);
        Fed::Records(read.cloned().collect())
    }

    fn lock(&self) -> MutexGuard<'_, Newest> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody who watches, for as long as this lives.
#[derive(Debug)]
pub(crate) struct Watching {
    feed: Arc<Feed>,
}

impl Drop for Watching {
    fn drop(&mut self) {
        if self.feed.watchers.fetch_sub(1, Ordering::AcqRel) == 1 {
            *self.feed.lock() = Newest::default();
        }
    }
}

/// What a record takes in memory, about, once it was read: what is told of a change has some 300
/// bytes with its stats and ids, and as much again as a value.
fn weight(first: Revision, last: Revision) -> usize {
    let width = usize::try_from(last.0 - first.0).unwrap_or(usize::MAX).saturating_add(1);
    width.saturating_mul(600).saturating_add(256)
}

impl FeedRecord {
    fn new(head: &RecordHead, first: Revision, last: Revision, changes: Vec<Change>) -> Self {
        let account = account(head);
        Self { first, last, account, changes: Mutex::new(changes), told: OnceLock::new() }
    }

    /// A record out of the log; `None` if it holds no revision.
    pub(crate) fn stored(record: StoredRecord) -> Option<Self> {
        let (first, last) = (record.first(), record.point.revision);
        (first <= last).then(|| Self::new(&record.head, first, last, record.changes))
    }

    /// On whose account it is.
    pub(crate) fn account(&self) -> &Account {
        &self.account
    }

    /// What readers see of it.
    pub(crate) fn told(&self, view: &EventView) -> &Told {
        self.told.get_or_init(|| {
            let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
            let changes = std::mem::take(&mut *changes);
            let mut told = Told::default();
            for change in changes.iter().flat_map(Change::entries) {
                if let Some(event) = Event::of(view, &self.account, &change, Side::Within) {
                    let range = told.encoded.push(event);
                    told.events.push((change, range));
                }
            }
            told
        })
    }
}

/// On whose account a record is.
pub(crate) fn account(head: &RecordHead) -> Account {
    let (principal, agent, session) = match &head.actor {
        Some(Actor::Agent(agent, session)) => (None, Some(agent.clone()), Some(*session)),
        Some(Actor::Principal(name)) => (Some(name.to_string()), None, None),
        None => (None, None, None),
    };
    let (correlation, causation) = (head.correlation.clone(), head.causation.clone());
    Account { principal, agent, session, correlation, causation }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fusion_core::change::{Cause, ChangeKind};
    use fusion_core::id::ViewName;
    use fusion_core::time::ServerTime;
    use fusion_store::Origin;
    use uuid::Uuid;

    fn feed() -> Arc<Feed> {
        let view = EventView { id: Uuid::from_u128(1), name: ViewName::new("v").unwrap() };
        Feed::new(view, Revision(0))
    }

    fn put(feed: &Feed, first: u64, count: u64) {
        let at = ServerTime::from_nanos(1);
        let changes: Vec<Change> = (first..first + count)
            .map(|number| Change {
                revision: Revision(number),
                at,
                cause: Cause::Operator,
                by: None,
                kind: ChangeKind::Reset,
            })
            .collect();
        feed.put(&RecordHead::new(at, Origin::Operator), Revision(first), &changes);
    }

    fn firsts(feed: &Feed, from: u64) -> Option<Vec<u64>> {
        match feed.read(Revision(from)) {
            Fed::Records(records) => Some(records.iter().map(|record| record.first.0).collect()),
            Fed::NotYet | Fed::Gone => None,
        }
    }

    #[test]
    fn only_what_is_durable_is_read() {
        let feed = feed();
        let _watching = feed.join();
        put(&feed, 1, 2);
        put(&feed, 3, 2);
        assert!(matches!(feed.read(Revision(1)), Fed::NotYet));
        feed.advance(Revision(2));
        assert_eq!(firsts(&feed, 2).unwrap(), [1]);
        feed.advance(Revision(4));
        feed.advance(Revision(2));
        assert_eq!(firsts(&feed, 1).unwrap(), [1, 3]);
        assert_eq!(firsts(&feed, 4).unwrap(), [3]);
        assert!(matches!(feed.read(Revision(5)), Fed::NotYet));
    }

    #[test]
    fn what_nobody_watched_is_a_hole_that_is_seen() {
        let feed = feed();
        feed.advance(Revision(9));
        let watching = feed.join();
        put(&feed, 1, 1);
        put(&feed, 3, 1);
        assert!(matches!(feed.read(Revision(1)), Fed::Gone));
        assert!(matches!(feed.read(Revision(2)), Fed::Gone));
        assert_eq!(firsts(&feed, 3).unwrap(), [3]);
        drop(watching);
        put(&feed, 4, 1);
        let _watching = feed.join();
        assert!(matches!(feed.read(Revision(3)), Fed::Gone));
        assert!(matches!(feed.read(Revision(4)), Fed::Gone));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let feed = feed();
        let _watching = feed.join();
        for record in 0..100 {
            put(&feed, record * 1_000 + 1, 1_000);
        }
        feed.advance(Revision(100_000));
        assert!(matches!(feed.read(Revision(1)), Fed::Gone));
        assert!(firsts(&feed, 99_000).is_some());
        assert!(feed.lock().bytes <= KEPT_BYTES);
        assert!(feed.lock().records.len() > 20);
    }

    #[test]
    fn a_record_is_encoded_once() {
        let feed = feed();
        let _watching = feed.join();
        put(&feed, 1, 3);
        feed.advance(Revision(3));
        let Fed::Records(records) = feed.read(Revision(1)) else { panic!("not there") };
        let told = records[0].told(feed.view());
        assert_eq!(told.events.len(), 3);
        assert_eq!(told.events[2].1.end, told.encoded.len());
        assert!(std::ptr::eq(told, records[0].told(feed.view())));
    }
}
