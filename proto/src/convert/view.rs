//! Reads of views: what is asked for; and, in `answer`, what is told and what it is worth.

mod answer;
mod breakdown;
mod compare;
mod export;
mod find;
mod lists;
pub mod live;
mod ownership;
mod refresh;
#[cfg(test)]
mod tests;

use fusion_core::id::ViewName;
use fusion_core::path::TreePath;

use super::stat::{path_from_text, path_to_text};
use super::{ConvertError, InField as _, bounded};
use crate::{limits, pb};

pub use answer::{
    Entry, Freshness, ViewInfo, coverage_from_pb, coverage_to_pb, coverage_to_text, entry_from_pb,
    freshness_from_pb, freshness_to_pb, state_from_pb, state_from_text, state_to_pb, state_to_text,
    totals_from_pb, totals_to_pb, view_from_pb, view_to_pb,
};
pub use breakdown::{AgeTally, Breakdown, BreakdownPart, GetBreakdown, Tally};
pub use compare::{CompareViews, Compared, ComparedView, ViewRank};
pub use export::{ExportColumn, ExportEntries, ExportFormat};
pub use find::{EntryFilter, EntryOrder, EntrySort, FindEntries, ViewError};

pub use lists::{BlindSpot, ListWithin, SuspectCause, SuspectInfo, TrashInfo, TrashRef};
pub use ownership::{ViewOwner, ViewOwnership};
pub use refresh::{RefreshPath, Refreshed};

/// How much a read demands of the view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ReadClass {
    /// Answer from what is known, whatever the state.
    #[default]
    Any,
    /// Refuse while the view is not READY.
    Trusted,
    /// Have the leader scan the path first, then answer.
    Fresh,
}

/// A page that is asked for; the default is a client's first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// Most rows to give: 1 to [`limits::PAGE_MAX`] as a server has read it; a client that does not
    /// mind says 0.
    pub size: usize,
    /// The token of the page before; empty for the first. Not yet looked into.
    pub token: String,
}

/// What `GetEntry` and `GetStats` ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GetPath {
    /// The view.
    pub view: ViewName,
    /// The path in it.
    pub path: TreePath,
    /// What to demand of the view.
    pub class: ReadClass,
}

/// What `ListEntries` asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListEntries {
    /// The view.
    pub view: ViewName,
    /// The directory.
    pub path: TreePath,
    /// Which page.
    pub page: Page,
    /// In which order.
    pub order: EntryOrder,
    /// What to demand of the view.
    pub class: ReadClass,
}

/// The name of a view.
///
/// # Errors
/// The text is not of the alphabet of names.
pub fn view_name(view: &str) -> Result<ViewName, ConvertError> {
    ViewName::new(view).in_field("view")
}

/// A page: size 0 is the default, above the maximum is the maximum.
///
/// # Errors
/// A negative size, or a token longer than any that is given out.
pub fn page(size: i32, token: &str) -> Result<Page, ConvertError> {
    let Ok(size) = usize::try_from(size) else {
        return Err(ConvertError::invalid("page_size", "must not be negative"));
    };
    bounded("page_token", token, limits::PAGE_TOKEN_MAX)?;
    let size = if size == 0 { limits::PAGE_DEFAULT } else { size.min(limits::PAGE_MAX) };
    Ok(Page { size, token: token.to_owned() })
}

/// A page on the wire: size and token.
#[must_use]
pub fn page_to_pb(page: &Page) -> (i32, String) {
    // Sizes above the maximum are the maximum to the server anyway.
    let size = i32::try_from(page.size.min(limits::PAGE_MAX)).unwrap_or(0);
    (size, page.token.clone())
}

/// A class of reads from the wire; not set is [`ReadClass::Any`].
///
/// # Errors
/// A number that is no class.
pub fn read_class_from_pb(number: i32) -> Result<ReadClass, ConvertError> {
    match pb::ReadClass::try_from(number) {
        Ok(pb::ReadClass::Unspecified | pb::ReadClass::Any) => Ok(ReadClass::Any),
        Ok(pb::ReadClass::Trusted) => Ok(ReadClass::Trusted),
        Ok(pb::ReadClass::Fresh) => Ok(ReadClass::Fresh),
        Err(_) => Err(ConvertError::unknown("read_class", number)),
    }
}

/// A class of reads on the wire.
#[must_use]
pub const fn read_class_to_pb(class: ReadClass) -> pb::ReadClass {
    match class {
        ReadClass::Any => pb::ReadClass::Any,
        ReadClass::Trusted => pb::ReadClass::Trusted,
        ReadClass::Fresh => pb::ReadClass::Fresh,
    }
}

impl TryFrom<pb::ListViewsRequest> for Page {
    type Error = ConvertError;

    fn try_from(request: pb::ListViewsRequest) -> Result<Self, ConvertError> {
        let pb::ListViewsRequest { page_size, page_token } = request;
        page(page_size, &page_token)
    }
}

impl TryFrom<pb::GetViewRequest> for ViewName {
    type Error = ConvertError;

    fn try_from(request: pb::GetViewRequest) -> Result<Self, ConvertError> {
        let pb::GetViewRequest { view } = request;
        view_name(&view)
    }
}

impl TryFrom<pb::GetEntryRequest> for GetPath {
    type Error = ConvertError;

    fn try_from(request: pb::GetEntryRequest) -> Result<Self, ConvertError> {
        let pb::GetEntryRequest { view, path, read_class } = request;
        Ok(Self {
            view: view_name(&view)?,
            path: path_from_text("path", &path)?,
            class: read_class_from_pb(read_class)?,
        })
    }
}

impl TryFrom<pb::GetStatsRequest> for GetPath {
    type Error = ConvertError;

    fn try_from(request: pb::GetStatsRequest) -> Result<Self, ConvertError> {
        let pb::GetStatsRequest { view, path, read_class } = request;
        Ok(Self {
            view: view_name(&view)?,
            path: path_from_text("path", &path)?,
            class: read_class_from_pb(read_class)?,
        })
    }
}

impl TryFrom<pb::ListEntriesRequest> for ListEntries {
    type Error = ConvertError;

    fn try_from(request: pb::ListEntriesRequest) -> Result<Self, ConvertError> {
        let pb::ListEntriesRequest {
            view,
            path,
            page_size,
            page_token,
            read_class,
            sort,
            descending,
        } = request;
        let by_name = EntryOrder { descending, ..EntryOrder::BY_NAME };
        Ok(Self {
            view: view_name(&view)?,
            path: path_from_text("path", &path)?,
            page: page(page_size, &page_token)?,
            order: EntryOrder::from_pb(sort, descending)?.unwrap_or(by_name),
            class: read_class_from_pb(read_class)?,
        })
    }
}

impl From<&GetPath> for pb::GetEntryRequest {
    fn from(asked: &GetPath) -> Self {
        let GetPath { view, path, class } = asked;
        Self {
            view: view.to_string(),
            path: path_to_text(path.as_ref()),
            read_class: read_class_to_pb(*class).into(),
        }
    }
}

impl From<&GetPath> for pb::GetStatsRequest {
    fn from(asked: &GetPath) -> Self {
        let GetPath { view, path, class } = asked;
        Self {
            view: view.to_string(),
            path: path_to_text(path.as_ref()),
            read_class: read_class_to_pb(*class).into(),
        }
    }
}

impl From<&ListEntries> for pb::ListEntriesRequest {
    fn from(asked: &ListEntries) -> Self {
        let ListEntries { view, path, page, order, class } = asked;
        let (page_size, page_token) = page_to_pb(page);
        let (sort, descending) = EntryOrder::to_pb(Some(*order));
        Self {
            view: view.to_string(),
            path: path_to_text(path.as_ref()),
            page_size,
            page_token,
            read_class: read_class_to_pb(*class).into(),
            sort,
            descending,
        }
    }
}
