//! Watching a view: from any revision that is kept, then as changes become durable.
//!
//! A watcher is a place in the log. It reads the newest changes from memory and older ones from the
//! log, at its own pace, and holds nothing but the message that it makes; so it never holds up the
//! view, and one that stops reading costs no more than its place. Must never: tell a change twice, or
//! leave one out.

mod reader;
mod seats;

use std::sync::Arc;
use std::time::Duration;

use fusion_core::change::Change;
use fusion_core::id::{Revision, ViewName};
use fusion_proto::convert::event::{Event, Side, event_type, kind_of, names_outside};
use fusion_proto::convert::view::live::{EventFilter, WatchView};
use fusion_proto::live::EncodedEvents;
use fusion_proto::status::Refusal;
use tokio::time::Instant;

use super::views::Views;
use crate::access::Reach;
use crate::task::view::FeedRecord;
use reader::Reader;
pub(super) use reader::{gone, kept};
pub(crate) use seats::{Seat, Seats};

/// Bytes of a message after which it ends.
const MESSAGE: usize = 64 * 1024;
/// How long nothing is told before a watcher hears how far it has come.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Watchers of one view that are told at once. With more of them each waits a little between two
/// messages, so that what they are told comes together and waking them does not take the machine.
const AT_ONCE: usize = 16;
/// How much longer that is for each of them.
const PAUSE_EACH: Duration = Duration::from_micros(20);

/// Some changes on their way to a watcher.
#[derive(Debug, Default)]
pub(crate) struct Message {
    /// The changes; none in a heartbeat.
    pub(crate) events: EncodedEvents,
    /// All up to it has been told.
    pub(crate) revision: Revision,
}

/// A watcher.
pub(crate) struct Watch {
    reader: Reader,
    asked: WatchView,
    reach: Reach,
    /// The record that was told in part.
    open: Vec<Arc<FeedRecord>>,
    /// The first revision that was not looked at.
    next: Revision,
    is_begun: bool,
    last_told: Instant,
    _seat: Seat,
}

impl Watch {
    /// Begins to watch.
    ///
    /// # Errors
    /// No such view, a revision that is not kept or not there, or too many who watch.
    pub(crate) fn begin(views: &Views, asked: WatchView) -> Result<Self, Refusal> {
        let view = views.get(&asked.view)?;
        let seat = views.seats().take(&views.deps().metrics, view.name(), "watch")?;
        let reader = Reader::begin(views, &view);
        let next = Revision(reader.check(views, asked.after)?.0 + 1);
        let (open, last_told, reach) = (Vec::new(), Instant::now(), views.reach().clone());
        Ok(Self { reader, asked, reach, open, next, is_begun: false, last_told, _seat: seat })
    }

    /// The view.
    pub(crate) fn view(&self) -> &ViewName {
        &self.asked.view
    }

    /// The revision to go on after.
    pub(crate) fn told_through(&self) -> Revision {
        Revision(self.next.0.saturating_sub(1))
    }

    /// The next message: as soon as there is something to tell, or a heartbeat.
    ///
    /// # Errors
    /// The view is gone, or what comes next is no longer kept.
    pub(crate) async fn next(&mut self) -> Result<Message, Refusal> {
        if !std::mem::replace(&mut self.is_begun, true) {
            return Ok(self.message(EncodedEvents::default()));
        }
        let heartbeat = self.last_told + HEARTBEAT;
        let many = self.reader.watchers().saturating_sub(AT_ONCE);
        if many > 0 {
            let pause = PAUSE_EACH * u32::try_from(many).unwrap_or(u32::MAX);
            tokio::time::sleep_until(self.last_told + pause).await;
        }
        let mut events = EncodedEvents::default();
        loop {
            self.tell_open(&mut events);
            if events.len() >= MESSAGE {
                return Ok(self.message(events));
            }
            // Nothing more is waited for once there is something to tell.
            let records = if events.is_empty() {
                self.reader.read(self.next, heartbeat).await?
            } else {
                self.reader.read_now(self.next)
            };
            let is_over = events.is_empty() && Instant::now() >= heartbeat;
            let is_all = records.is_empty();
            // What was read is told, however long the reading took.
            self.open = records.into_iter().rev().collect();
            if is_all || is_over {
                return Ok(self.message(events));
            }
        }
    }

    fn message(&mut self, events: EncodedEvents) -> Message {
        self.last_told = Instant::now();
        Message { events, revision: self.told_through() }
    }

    /// Tells of the records that were read, as much as fits into a message.
    fn tell_open(&mut self, events: &mut EncodedEvents) {
        let mut count = 0;
        while events.len() < MESSAGE
            && let Some(record) = self.open.pop()
        {
            if self.tell(&record, events, &mut count) {
                self.next = self.next.max(Revision(record.last.0 + 1));
            } else {
                self.open.push(record);
            }
        }
        self.reader.count(count);
    }

    /// Tells of a record; whether all of it.
    fn tell(&mut self, record: &FeedRecord, events: &mut EncodedEvents, count: &mut u64) -> bool {
        let view = self.reader.view();
        let told = record.told(view);
        let start = told.events.partition_point(|(change, _)| change.revision < self.next);
        for (change, range) in told.events.get(start..).unwrap_or_default() {
            if events.len() >= MESSAGE {
                self.next = change.revision;
                return false;
            }
            match Side::of(&change.kind, self.asked.path.as_ref()) {
                Some(side) if !wanted(&self.asked.filter, change, side) => {}
                Some(Side::Within) if !names_outside(&change.kind, self.reach.top()) => {
                    events.copy(&told.encoded, range.clone());
                    *count += 1;
                }
                Some(side) => {
                    let event = Event::of(view, record.account(), change, side);
                    *count += u64::from(event.is_some());
                    if let Some(mut event) = event {
                        event.cut(&change.kind, self.reach.top());
                        let _ = events.push(event);
                    }
                }
                None => {}
            }
        }
        true
    }
}

/// Whether a filter lets a change through that is seen from a side.
pub(super) fn wanted(filter: &EventFilter, change: &Change, side: Side) -> bool {
    let EventFilter { types, kinds } = filter;
    let of_type = || event_type(&change.kind, side).is_some_and(|kind| types.contains(&kind));
    let of_kind = || kind_of(&change.kind).is_none_or(|kind| kinds.contains(&kind));
    (types.is_empty() || of_type()) && (kinds.is_empty() || of_kind())
}
