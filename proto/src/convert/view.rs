//! Reads of views: what is asked for; and, in `answer`, what is told and what it is worth.

mod answer;
pub mod live;
#[cfg(test)]
mod tests;

use fusion_core::id::ViewName;
use fusion_core::path::TreePath;
use fusion_core::stat::Kind;

use super::stat::{kind_from_pb, kind_to_pb, path_from_text, path_to_text};
use super::{ConvertError, InField as _, bounded};
use crate::{limits, pb};

use answer::time;
pub use answer::{
    Entry, Freshness, ViewInfo, coverage_from_pb, coverage_to_pb, coverage_to_text, entry_from_pb,
    freshness_from_pb, freshness_to_pb, state_from_pb, state_from_text, state_to_pb, state_to_text,
    totals_from_pb, totals_to_pb, view_from_pb, view_to_pb,
};

/// How much a read demands of the view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ReadClass {
    /// Answer from what is known, whatever the state.
    #[default]
    Any,
    /// Refuse while the view is not READY.
    Trusted,
}

/// A page that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    /// What to demand of the view.
    pub class: ReadClass,
}

/// What `FindEntries` asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FindEntries {
    /// The view.
    pub view: ViewName,
    /// The directory below which to look.
    pub path: TreePath,
    /// A glob on the raw bytes of the name, not yet compiled; `None` is every name.
    pub name_glob: Option<String>,
    /// Only these kinds; empty is all.
    pub kinds: Vec<Kind>,
    /// Most entries to give.
    pub limit: Option<u64>,
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
        Err(_) => Err(ConvertError::unknown("read_class", number)),
    }
}

/// A class of reads on the wire.
#[must_use]
pub const fn read_class_to_pb(class: ReadClass) -> pb::ReadClass {
    match class {
        ReadClass::Any => pb::ReadClass::Any,
        ReadClass::Trusted => pb::ReadClass::Trusted,
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
        let pb::ListEntriesRequest { view, path, page_size, page_token, read_class } = request;
        Ok(Self {
            view: view_name(&view)?,
            path: path_from_text("path", &path)?,
            page: page(page_size, &page_token)?,
            class: read_class_from_pb(read_class)?,
        })
    }
}

impl TryFrom<pb::FindEntriesRequest> for FindEntries {
    type Error = ConvertError;

    fn try_from(request: pb::FindEntriesRequest) -> Result<Self, ConvertError> {
        let pb::FindEntriesRequest { view, path, name_glob, kinds, limit, read_class } = request;
        bounded("name_glob", &name_glob, limits::GLOB_MAX)?;
        Ok(Self {
            view: view_name(&view)?,
            path: path_from_text("path", &path)?,
            name_glob: (!name_glob.is_empty()).then_some(name_glob),
            kinds: kinds
                .into_iter()
                .map(|kind| kind_from_pb("kinds", kind))
                .collect::<Result<_, _>>()?,
            limit: (limit != 0).then_some(limit),
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
        let ListEntries { view, path, page, class } = asked;
        let (page_size, page_token) = page_to_pb(page);
        Self {
            view: view.to_string(),
            path: path_to_text(path.as_ref()),
            page_size,
            page_token,
            read_class: read_class_to_pb(*class).into(),
        }
    }
}

impl From<&FindEntries> for pb::FindEntriesRequest {
    fn from(asked: &FindEntries) -> Self {
        let FindEntries { view, path, name_glob, kinds, limit, class } = asked;
        Self {
            view: view.to_string(),
            path: path_to_text(path.as_ref()),
            name_glob: name_glob.clone().unwrap_or_default(),
            kinds: kinds.iter().map(|kind| kind_to_pb(*kind).into()).collect(),
            limit: limit.unwrap_or(0),
            read_class: read_class_to_pb(*class).into(),
        }
    }
}
