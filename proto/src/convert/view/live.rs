//! Watching and asking what changed: what is asked for and what is told.

#[cfg(test)]
mod tests;
mod wait;

use fusion_core::id::{CorrelationId, Revision, ViewName};
use fusion_core::path::TreePath;
use fusion_core::stat::Kind;
use fusion_core::time::ServerTime;

use super::{Freshness, Page, freshness_from_pb, page, page_to_pb, view_name};
use crate::convert::event::{
    Event, EventType, event_from_pb, event_type_from_pb, event_type_to_pb,
};
use crate::convert::stat::{kind_from_pb, kind_to_pb, path_from_text, path_to_text};
use crate::convert::time::{server_time_to_pb, time_in};
use crate::convert::{ConvertError, event};
use crate::{limits, pb};

pub use wait::{NotQuiet, Quiet, WaitQuiet};

/// Which changes are wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EventFilter {
    /// Only these types; empty is all.
    pub types: Vec<EventType>,
    /// Only changes of these kinds of entries; empty is all.
    pub kinds: Vec<Kind>,
}

/// What `WatchView` asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchView {
    /// The view.
    pub view: ViewName,
    /// The path at and below which changes are wanted.
    pub path: TreePath,
    /// Go on after this revision; absent: only what comes now.
    pub after: Option<Revision>,
    /// Which changes.
    pub filter: EventFilter,
}

/// What `ListChanges` asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListChanges {
    /// The view.
    pub view: ViewName,
    /// The path at and below which changes are wanted.
    pub path: TreePath,
    /// Only changes after this revision; absent: from the first that is kept.
    pub after: Option<Revision>,
    /// Only changes up to this revision.
    pub through: Option<Revision>,
    /// Only changes that the view learned of then or later.
    pub since: Option<ServerTime>,
    /// Only changes that it learned of before then.
    pub until: Option<ServerTime>,
    /// Which changes.
    pub filter: EventFilter,
    /// Only changes of this chain of cause and effect.
    pub correlation: Option<CorrelationId>,
    /// Which page.
    pub page: Page,
    /// Only changes of what stands at the path itself.
    pub itself: bool,
}

impl ListChanges {
    /// Asks for all that are kept, at a path and below it.
    #[must_use]
    pub fn all(view: ViewName, path: TreePath) -> Self {
        Self {
            view,
            path,
            after: None,
            through: None,
            since: None,
            until: None,
            filter: EventFilter::default(),
            correlation: None,
            page: Page::default(),
            itself: false,
        }
    }
}

/// A page of changes.
#[derive(Debug, Clone, PartialEq)]
pub struct Changes {
    /// The changes, oldest first.
    pub events: Vec<Event>,
    /// Token of the next page; empty if this is the last.
    pub next_page_token: String,
    /// The oldest revision that is kept.
    pub oldest: Revision,
    /// What the answer is worth.
    pub freshness: Freshness,
}

fn filter(filter: Option<pb::EventFilter>) -> Result<EventFilter, ConvertError> {
    let pb::EventFilter { event_types, kinds } = filter.unwrap_or_default();
    for (field, many) in [("filter.event_types", event_types.len()), ("filter.kinds", kinds.len())]
    {
        if many > limits::FILTER_MAX {
            let why = format!("has {many} values, at most {} may be", limits::FILTER_MAX);
            return Err(ConvertError::invalid(field, why));
        }
    }
    let types = event_types.into_iter().map(|kind| event_type_from_pb("filter.event_types", kind));
    let kinds = kinds.into_iter().map(|kind| kind_from_pb("filter.kinds", kind));
    Ok(EventFilter {
        types: types.collect::<Result<_, _>>()?,
        kinds: kinds.collect::<Result<_, _>>()?,
    })
}

fn filter_to_pb(filter: &EventFilter) -> Option<pb::EventFilter> {
    let EventFilter { types, kinds } = filter;
    let event_types = types.iter().map(|kind| event_type_to_pb(*kind).into()).collect();
    let kinds = kinds.iter().map(|kind| kind_to_pb(*kind).into()).collect();
    Some(pb::EventFilter { event_types, kinds })
}

impl TryFrom<pb::WatchViewRequest> for WatchView {
    type Error = ConvertError;

    fn try_from(request: pb::WatchViewRequest) -> Result<Self, ConvertError> {
        let pb::WatchViewRequest { view, path, after_revision, filter: wanted } = request;
        Ok(Self {
            view: view_name(&view)?,
            path: path_from_text("path", &path)?,
            after: after_revision.map(Revision),
            filter: filter(wanted)?,
        })
    }
}

impl From<&WatchView> for pb::WatchViewRequest {
    fn from(asked: &WatchView) -> Self {
        let WatchView { view, path, after, filter } = asked;
        Self {
            view: view.to_string(),
            path: path_to_text(path.as_ref()),
            after_revision: after.map(|revision| revision.0),
            filter: filter_to_pb(filter),
        }
    }
}

impl TryFrom<pb::ListChangesRequest> for ListChanges {
    type Error = ConvertError;

    fn try_from(request: pb::ListChangesRequest) -> Result<Self, ConvertError> {
        let pb::ListChangesRequest {
            view,
            path,
            after_revision,
            through_revision,
            since,
            until,
            filter: wanted,
            correlation_id,
            page_size,
            page_token,
            itself,
        } = request;
        let (since, until) = (time_in("since", since.as_ref())?, time_in("until", until.as_ref())?);
        if since.zip(until).is_some_and(|(since, until)| until <= since) {
            return Err(ConvertError::invalid("until", "must be later than `since`"));
        }
        if through_revision != 0 && through_revision <= after_revision {
            return Err(ConvertError::invalid(
                "through_revision",
                "must be larger than `after_revision`",
            ));
        }
        let some = |revision: u64| (revision != 0).then_some(Revision(revision));
        Ok(Self {
            view: view_name(&view)?,
            path: path_from_text("path", &path)?,
            after: some(after_revision),
            through: some(through_revision),
            since,
            until,
            filter: filter(wanted)?,
            correlation: event::chain("correlation_id", &correlation_id)?,
            page: page(page_size, &page_token)?,
            itself,
        })
    }
}

impl From<&ListChanges> for pb::ListChangesRequest {
    fn from(asked: &ListChanges) -> Self {
        let ListChanges {
            view,
            path,
            after,
            through,
            since,
            until,
            filter,
            correlation,
            page,
            itself,
        } = asked;
        let (page_size, page_token) = page_to_pb(page);
        let number = |revision: &Option<Revision>| revision.map_or(0, |revision| revision.0);
        Self {
            view: view.to_string(),
            path: path_to_text(path.as_ref()),
            after_revision: number(after),
            through_revision: number(through),
            since: since.map(server_time_to_pb),
            until: until.map(server_time_to_pb),
            filter: filter_to_pb(filter),
            correlation_id: correlation.as_ref().map_or(String::new(), ToString::to_string),
            page_size,
            page_token,
            itself: *itself,
        }
    }
}

impl TryFrom<pb::ListChangesResponse> for Changes {
    type Error = ConvertError;

    fn try_from(told: pb::ListChangesResponse) -> Result<Self, ConvertError> {
        let pb::ListChangesResponse { events, next_page_token, oldest_revision, freshness } = told;
        let freshness = freshness.ok_or(ConvertError::missing("freshness"))?;
        Ok(Self {
            events: events.into_iter().map(event_from_pb).collect::<Result<_, _>>()?,
            next_page_token,
            oldest: Revision(oldest_revision),
            freshness: freshness_from_pb(freshness).map_err(|error| error.within("freshness"))?,
        })
    }
}
