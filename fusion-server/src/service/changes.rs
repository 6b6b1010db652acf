//! What changed: a page of the log, filtered, oldest first.
//!
//! A call looks at a bounded part of the log and gives a token to go on from there, so a filter that
//! lets nothing through costs a caller many calls and the server no long one.

use std::sync::Arc;

use fusion_core::change::Change;
use fusion_core::id::Revision;
use fusion_proto::convert::event::{Event, EventView, Side};
use fusion_proto::convert::view::live::ListChanges;
use fusion_proto::limits;
use fusion_proto::status::Refusal;
use fusion_store::{LogStatus, ReadFrom, Records, StoreError, StoredRecord, ViewId};

use super::internal;
use super::paging::{PageOf, time_field};
use super::views::{Views, Worth, worth};
use super::watch::{gone, kept, wanted};
use crate::access::Reach;
use crate::task::view::{ViewHandle, account};

/// Revisions that one call looks at, about.
const LOOKED: u64 = 200_000;
/// Bytes of a page after which it ends, as reckoned by [`Page::weight`].
const PAGE_BYTES: usize = limits::MESSAGE_BYTES / 2;

/// A page of changes.
pub(crate) struct PageOfChanges {
    pub(crate) events: Vec<Event>,
    pub(crate) next_page_token: String,
    pub(crate) oldest: Revision,
    pub(crate) worth: Worth,
}

/// Reads a page.
///
/// # Errors
/// No such view, a token of another request, a revision that is not kept or was never given.
pub(crate) async fn list(views: &Views, asked: ListChanges) -> Result<PageOfChanges, Refusal> {
    let view = views.get(&asked.view)?;
    let status = views.status(&view);
    let (deps, id) = (views.deps(), ViewId(view.id()));
    let pages = page_of(&view, &asked);
    let from = pages.key(&asked.page.token)?.map(|key| from_key(&key)).transpose()?;
    let after = from.map(|from| Revision(from.0.saturating_sub(1))).or(asked.after);
    if let Some(after) = after {
        kept(views, &view, after, status.revision)?;
    }
    let path = asked.path.clone();
    let of = EventView { id: view.id(), name: view.name().clone() };
    let (log, reach) = (Arc::clone(&deps.stores.log), views.reach().clone());
    let read = tokio::task::spawn_blocking(move || {
        let from = after.map_or(ReadFrom::Start, |after| ReadFrom::Revision(Revision(after.0 + 1)));
        let page = Page { of, first: after, asked, reach, events: Vec::new(), bytes: 0 };
        Ok((log.status(id)?, page.read(log.read(id, from)?)?))
    });
    let read = read.await.map_err(|error| internal(&*deps.ids, &error))?;
    let (LogStatus { start, .. }, (events, next)) =
        read.map_err(|error| unread(views, &view, error))?;
    let last_change =
        view.reader().totals(path.as_ref()).ok().and_then(|totals| totals.last_change);
    Ok(PageOfChanges {
        events,
        next_page_token: next.map_or(String::new(), |next| pages.token(&next.0.to_be_bytes())),
        oldest: Revision(start.revision.0 + 1),
        worth: worth(status, last_change),
    })
}

fn unread(views: &Views, view: &ViewHandle, error: StoreError) -> Refusal {
    match error {
        StoreError::Trimmed { first, .. } => Refusal::RevisionCompacted { oldest: first },
        StoreError::NoView { .. } | StoreError::Closed => gone(view.name()),
        error => internal(&*views.deps().ids, &error),
    }
}

/// The pages of a request.
fn page_of(view: &ViewHandle, asked: &ListChanges) -> PageOf {
    let ListChanges {
        view: name,
        path,
        after,
        through,
        since,
        until,
        filter,
        correlation,
        page: _,
        itself,
    } = asked;
    let number = |revision: &Option<Revision>| revision.map_or(0, |it| it.0).to_be_bytes();
    let types: Vec<u8> = filter.types.iter().map(|kind| *kind as u8).collect();
    let kinds: Vec<u8> = filter.kinds.iter().map(|kind| *kind as u8).collect();
    PageOf::new(
        view.id(),
        &[
            b"changes",
            name.as_str().as_bytes(),
            path.as_bytes(),
            &number(after),
            &number(through),
            &time_field(*since),
            &time_field(*until),
            &types,
            &kinds,
            &[u8::from(*itself)],
            correlation.as_ref().map_or(&[][..], |id| id.as_str().as_bytes()),
        ],
    )
}

fn from_key(key: &[u8]) -> Result<Revision, Refusal> {
    let bytes = key.try_into().map_err(|_| {
        Refusal::invalid("page_token", "is not a token of this list; begin again without one")
    })?;
    Ok(Revision(u64::from_be_bytes(bytes)))
}

/// A page that is being read.
struct Page {
    of: EventView,
    /// Nothing up to it.
    first: Option<Revision>,
    asked: ListChanges,
    reach: Reach,
    events: Vec<Event>,
    bytes: usize,
}

/// What a record came to.
enum Taken {
    All,
    /// The page is full: the next begins with this revision.
    Full(Revision),
    /// Nothing that follows is asked for.
    Over,
}

impl Page {
    /// Reads until the page is full or enough was looked at; then also where the next one begins.
    fn read(mut self, log: Records) -> Result<(Vec<Event>, Option<Revision>), StoreError> {
        let mut first = None;
        for record in log {
            let record = record?;
            let begin = *first.get_or_insert(record.first());
            match self.take(&record) {
                Taken::All => {}
                Taken::Full(next) => return Ok((self.events, Some(next))),
                Taken::Over => return Ok((self.events, None)),
            }
            if record.point.revision.0.saturating_sub(begin.0) >= LOOKED {
                return Ok((self.events, Some(Revision(record.point.revision.0 + 1))));
            }
        }
        Ok((self.events, None))
    }

    fn take(&mut self, record: &StoredRecord) -> Taken {
        let asked = &self.asked;
        if asked.through.is_some_and(|through| record.first() > through)
            || asked.until.is_some_and(|until| record.head.at >= until)
        {
            return Taken::Over;
        }
        let account = account(&record.head);
        let other = asked.correlation.is_some() && asked.correlation != account.correlation;
        if other || asked.since.is_some_and(|since| record.head.at < since) {
            return Taken::All;
        }
        for change in record.changes.iter().flat_map(Change::entries) {
            let too_early = self.first.is_some_and(|first| change.revision <= first);
            let too_late = self.asked.through.is_some_and(|through| change.revision > through);
            let of = if self.asked.itself { Side::of_itself } else { Side::of };
            let side = of(&change.kind, self.asked.path.as_ref());
            let side = side.filter(|side| wanted(&self.asked.filter, &change, *side));
            let Some(side) = side.filter(|_| !too_early && !too_late) else { continue };
            if self.events.len() >= self.asked.page.size || self.bytes > PAGE_BYTES {
                return Taken::Full(change.revision);
            }
            if let Some(mut event) = Event::of(&self.of, &account, &change, side) {
                event.cut(&change.kind, self.reach.top());
                self.bytes += Self::weight(&event);
                self.events.push(event);
            }
        }
        Taken::All
    }

    /// Bytes of an event in a message, at most: two stats, ids and times have less than 700.
    fn weight(event: &Event) -> usize {
        let moved = event.entry.as_ref().and_then(|entry| entry.moved.as_ref());
        let moved = moved.map_or(0, |(from, to)| from.len() + to.len());
        let principal = event.account.principal.as_ref().map_or(0, String::len);
        700 + event.path.len() + moved + principal
    }
}
