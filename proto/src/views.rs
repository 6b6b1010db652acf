//! A client of `ViewService` in plain types: what a program that asks about trees wants to hold.
//!
//! Owns the answers as values ([`Entry`], [`Freshness`], …) and one method per question. Used by
//! `fusionctl` and by programs of others; the generated client stands beside it in [`crate::pb`].
//! Must never: hide what an answer is worth; each carries its [`Freshness`].

mod breakdown;
mod export;
mod find;
mod lists;
pub mod live;

use fusion_core::id::ViewName;
use fusion_core::path::TreePath;
use fusion_core::view::Totals;
use tonic::transport::Channel;

use crate::client::{CallError, CallHook, ConnectError, HookedChannel, lazy_channel};
use crate::convert::view::{
    GetPath, ListEntries, Page, entry_from_pb, freshness_from_pb, totals_from_pb, view_from_pb,
};
use crate::pb::view_service_client::ViewServiceClient;
use crate::{limits, pb};

pub use crate::convert::view::{
    AgeTally, Breakdown, BreakdownPart, Compared, ComparedView, Entry, EntryFilter, EntryOrder,
    EntrySort, ExportColumn, ExportEntries, ExportFormat, FindEntries, Freshness, ReadClass, Tally,
    ViewError, ViewInfo, ViewOwner, ViewOwnership, ViewRank,
};
pub use breakdown::Counting;
pub use export::{ExportPart, Exporting};
pub use find::{Found, FoundPart};
pub use lists::{
    BlindSpot, ListPage, RefreshPath, Refreshed, SuspectCause, SuspectInfo, TrashInfo,
};

/// One entry and what lies below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryAnswer {
    /// The entry.
    pub entry: Entry,
    /// What lies below it, if it is a directory.
    pub totals: Option<Totals>,
    /// What the answer is worth.
    pub freshness: Freshness,
}

/// A page of children.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntriesPage {
    /// Children in the order asked for.
    pub entries: Vec<Entry>,
    /// Token of the next page; empty if this is the last.
    pub next_page_token: String,
    /// What the answer is worth.
    pub freshness: Freshness,
}

/// What lies below a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TotalsAnswer {
    /// The totals.
    pub totals: Totals,
    /// What the answer is worth.
    pub freshness: Freshness,
}

/// Asks a server about its views.
#[derive(Debug, Clone)]
pub struct ViewsClient {
    url: String,
    class: ReadClass,
    inner: ViewServiceClient<HookedChannel>,
}

impl ViewsClient {
    /// A client of the server at `http://HOST:PORT`; connects with the first question.
    ///
    /// # Errors
    /// The URL is malformed.
    pub fn connect(url: &str) -> Result<Self, ConnectError> {
        Ok(Self::on(url, lazy_channel(url)?, CallHook::none()))
    }

    /// A client on a channel to the server at `url`.
    #[must_use]
    pub fn on(url: &str, channel: Channel, hook: CallHook) -> Self {
        let inner = ViewServiceClient::with_interceptor(channel, hook)
            .max_decoding_message_size(limits::MESSAGE_BYTES);
        Self { url: url.to_owned(), class: ReadClass::Any, inner }
    }

    /// The same client, demanding so much of a view that is asked. With [`ReadClass::Trusted`]
    /// every question is refused with VIEW_NOT_READY while its view is not READY.
    #[must_use]
    pub fn demanding(mut self, class: ReadClass) -> Self {
        self.class = class;
        self
    }

    /// Where the server is.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// All views by name.
    ///
    /// # Errors
    /// The server refused or cannot be reached.
    pub async fn list_views(&mut self) -> Result<Vec<ViewInfo>, CallError> {
        let mut views = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = pb::ListViewsRequest { page_size: 0, page_token };
            let pb::ListViewsResponse { views: page, next_page_token } =
                self.inner.list_views(request).await?.into_inner();
            for view in page {
                views.push(view_from_pb(view)?);
            }
            if next_page_token.is_empty() {
                return Ok(views);
            }
            page_token = next_page_token;
        }
    }

    /// One view.
    ///
    /// # Errors
    /// There is none of that name, or the server cannot be reached.
    pub async fn view(&mut self, view: &ViewName) -> Result<ViewInfo, CallError> {
        let request = pb::GetViewRequest { view: view.to_string() };
        let pb::GetViewResponse { view } = self.inner.get_view(request).await?.into_inner();
        Ok(view_from_pb(view.ok_or(CallError::missing("view"))?)?)
    }

    /// One entry, from what is known.
    ///
    /// # Errors
    /// No such view or path, or the server cannot be reached.
    pub async fn entry(
        &mut self,
        view: &ViewName,
        path: &TreePath,
    ) -> Result<EntryAnswer, CallError> {
        let request = pb::GetEntryRequest::from(&self.path(view, path));
        let pb::GetEntryResponse { entry, totals, freshness } =
            self.inner.get_entry(request).await?.into_inner();
        Ok(EntryAnswer {
            entry: entry_from_pb(entry.ok_or(CallError::missing("entry"))?)?,
            totals: totals.map(totals_from_pb).transpose()?,
            freshness: worth(freshness)?,
        })
    }

    /// A page of the children of a directory by name; the first for an empty token.
    ///
    /// # Errors
    /// No such view or path, no directory, a token of another request, or no server.
    pub async fn list(
        &mut self,
        view: &ViewName,
        path: &TreePath,
        page_token: &str,
    ) -> Result<EntriesPage, CallError> {
        self.list_in(view, path, EntryOrder::BY_NAME, page_token).await
    }

    /// A page of the children of a directory in an order; the first for an empty token.
    ///
    /// # Errors
    /// No such view or path, no directory, a token of another request or order, or no server.
    pub async fn list_in(
        &mut self,
        view: &ViewName,
        path: &TreePath,
        order: EntryOrder,
        page_token: &str,
    ) -> Result<EntriesPage, CallError> {
        let asked = ListEntries {
            view: view.clone(),
            path: path.clone(),
            page: Page { size: 0, token: page_token.to_owned() },
            order,
            class: self.class,
        };
        let request = pb::ListEntriesRequest::from(&asked);
        let pb::ListEntriesResponse { entries, encoded: _, next_page_token, freshness } =
            self.inner.list_entries(request).await?.into_inner();
        Ok(EntriesPage {
            entries: entries.into_iter().map(entry_from_pb).collect::<Result<_, _>>()?,
            next_page_token,
            freshness: worth(freshness)?,
        })
    }

    /// Totals of what lies below a path.
    ///
    /// # Errors
    /// No such view or path, or the server cannot be reached.
    pub async fn totals(
        &mut self,
        view: &ViewName,
        path: &TreePath,
    ) -> Result<TotalsAnswer, CallError> {
        let request = pb::GetStatsRequest::from(&self.path(view, path));
        let pb::GetStatsResponse { totals, freshness } =
            self.inner.get_stats(request).await?.into_inner();
        Ok(TotalsAnswer {
            totals: totals_from_pb(totals.ok_or(CallError::missing("totals"))?)?,
            freshness: worth(freshness)?,
        })
    }

    fn path(&self, view: &ViewName, path: &TreePath) -> GetPath {
        GetPath { view: view.clone(), path: path.clone(), class: self.class }
    }
}

/// What an answer is worth; every answer says it.
fn worth(freshness: Option<pb::Freshness>) -> Result<Freshness, CallError> {
    Ok(freshness_from_pb(freshness.ok_or(CallError::missing("freshness"))?)?)
}
