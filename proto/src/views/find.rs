//! Searches: one stream, dropped to end it.

use fusion_core::id::ViewName;
use fusion_core::path::TreePath;
use fusion_core::view::Totals;
use tonic::codec::Streaming;

use super::ViewsClient;
use crate::client::CallError;
use crate::convert::InField as _;
use crate::convert::view::{
    Entry, EntryFilter, FindEntries, Freshness, ViewError, entry_from_pb, freshness_from_pb,
    totals_from_pb,
};
use crate::pb;

/// Some of the entries that match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundPart {
    /// The view that they are of; `None` from a server that does not say it.
    pub view: Option<ViewName>,
    /// Entries.
    pub entries: Vec<Entry>,
    /// What lies below each of them, if that was asked for.
    pub totals: Vec<Totals>,
    /// What the answer is worth; only the last part of a view says it.
    pub freshness: Option<Freshness>,
    /// Why this view, of several, has no whole answer; this is its last part.
    pub error: Option<ViewError>,
}

/// Entries as they are found; dropping it ends the search.
#[derive(Debug)]
pub struct Found {
    stream: Streaming<pb::FindEntriesResponse>,
}

impl Found {
    /// The next part; `None` after the last.
    ///
    /// # Errors
    /// The search broke off: what came before is not all.
    pub async fn next(&mut self) -> Result<Option<FoundPart>, CallError> {
        let Some(part) = self.stream.message().await? else { return Ok(None) };
        let pb::FindEntriesResponse { entries, freshness, view, error, totals } = part;
        let view = Some(view).filter(|view| !view.is_empty());
        Ok(Some(FoundPart {
            view: view.as_deref().map(ViewName::new).transpose().in_field("view")?,
            entries: entries.into_iter().map(entry_from_pb).collect::<Result<_, _>>()?,
            totals: totals.into_iter().map(totals_from_pb).collect::<Result<_, _>>()?,
            freshness: freshness.map(freshness_from_pb).transpose()?,
            error: error.map(ViewError::from),
        }))
    }
}

impl ViewsClient {
    /// What lies below a path and has a name that the glob matches; all without one.
    ///
    /// # Errors
    /// No such view or path, a glob that cannot be read, or no server.
    pub async fn find(
        &mut self,
        view: &ViewName,
        path: &TreePath,
        name_glob: Option<&str>,
    ) -> Result<Found, CallError> {
        let filter =
            EntryFilter { name_glob: name_glob.map(str::to_owned), ..EntryFilter::default() };
        let asked = FindEntries {
            filter,
            class: self.class,
            ..FindEntries::all(view.clone(), path.clone())
        };
        self.find_entries(&asked).await
    }

    /// What a search finds; it demands what it says itself.
    ///
    /// # Errors
    /// No such view or path, a filter that cannot be read or that nothing can pass, or no server.
    pub async fn find_entries(&mut self, asked: &FindEntries) -> Result<Found, CallError> {
        let request = pb::FindEntriesRequest::from(asked);
        Ok(Found { stream: self.inner.find_entries(request).await?.into_inner() })
    }
}
