//! Suspects, blind spots, the trash, and refreshing a path.

use fusion_core::change::TrashId;
use fusion_core::id::ViewName;
use fusion_core::path::TreePath;

use super::{Freshness, ViewsClient, worth};
use crate::client::CallError;
use crate::convert::view::{ListWithin, Page, TrashRef};
use crate::pb;

pub use crate::convert::view::{
    BlindSpot, RefreshPath, Refreshed, SuspectCause, SuspectInfo, TrashInfo,
};

/// A page of a list of a view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListPage<T> {
    /// Its rows.
    pub rows: Vec<T>,
    /// Token of the next page; empty if this is the last.
    pub next_page_token: String,
    /// What the answer is worth.
    pub freshness: Freshness,
}

impl ViewsClient {
    /// A page of suspects at a path and below it, by path; the first for an empty token.
    ///
    /// # Errors
    /// No such view, a token of another request, or no server.
    pub async fn suspects(
        &mut self,
        view: &ViewName,
        path: &TreePath,
        page_token: &str,
    ) -> Result<ListPage<SuspectInfo>, CallError> {
        let request = pb::ListSuspectsRequest::from(&within(view, path, page_token));
        let pb::ListSuspectsResponse { suspects, next_page_token, freshness } =
            self.inner.list_suspects(request).await?.into_inner();
        let rows = suspects.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?;
        Ok(ListPage { rows, next_page_token, freshness: worth(freshness)? })
    }

    /// A page of blind spots at a path and below it; the first for an empty token.
    ///
    /// # Errors
    /// No such view, a token of another request, or no server.
    pub async fn blind_spots(
        &mut self,
        view: &ViewName,
        path: &TreePath,
        page_token: &str,
    ) -> Result<ListPage<BlindSpot>, CallError> {
        let request = pb::ListBlindSpotsRequest::from(&within(view, path, page_token));
        let pb::ListBlindSpotsResponse { blind_spots, next_page_token, freshness } =
            self.inner.list_blind_spots(request).await?.into_inner();
        let rows = blind_spots.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?;
        Ok(ListPage { rows, next_page_token, freshness: worth(freshness)? })
    }

    /// A page of the trash of what stood at a path and below it, the oldest first.
    ///
    /// # Errors
    /// No such view, a token of another request, or no server.
    pub async fn trash(
        &mut self,
        view: &ViewName,
        path: &TreePath,
        page_token: &str,
    ) -> Result<ListPage<TrashInfo>, CallError> {
        let request = pb::ListTrashRequest::from(&within(view, path, page_token));
        let pb::ListTrashResponse { records, next_page_token, freshness } =
            self.inner.list_trash(request).await?.into_inner();
        let rows = records.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?;
        Ok(ListPage { rows, next_page_token, freshness: worth(freshness)? })
    }

    /// Puts a record of the trash back; what it was.
    ///
    /// # Errors
    /// TRASH_NOT_FOUND, PATH_TAKEN, PATH_NOT_FOUND of its directory, or no server.
    pub async fn restore(&mut self, view: &ViewName, id: TrashId) -> Result<TrashInfo, CallError> {
        let request = pb::RestoreTrashRequest::from(&TrashRef { view: view.clone(), id });
        let pb::RestoreTrashResponse { record, freshness: _ } =
            self.inner.restore_trash(request).await?.into_inner();
        Ok(record.ok_or(CallError::missing("record"))?.try_into()?)
    }

    /// Drops a record of the trash for good; what it was.
    ///
    /// # Errors
    /// TRASH_NOT_FOUND, or no server.
    pub async fn purge(&mut self, view: &ViewName, id: TrashId) -> Result<TrashInfo, CallError> {
        let request = pb::PurgeTrashRequest::from(&TrashRef { view: view.clone(), id });
        let pb::PurgeTrashResponse { record, freshness: _ } =
            self.inner.purge_trash(request).await?.into_inner();
        Ok(record.ok_or(CallError::missing("record"))?.try_into()?)
    }

    /// Has an agent look at a path now; lasts as long as that does.
    ///
    /// # Errors
    /// AGENT_NOT_FOUND, VIEW_NOT_READY if nobody leads, SCAN_FAILED, or no server.
    pub async fn refresh(&mut self, asked: &RefreshPath) -> Result<Refreshed, CallError> {
        let request = pb::RefreshPathRequest::from(asked);
        Ok(self.inner.refresh_path(request).await?.into_inner().try_into()?)
    }
}

fn within(view: &ViewName, path: &TreePath, token: &str) -> ListWithin {
    let page = Page { size: 0, token: token.to_owned() };
    ListWithin { view: view.clone(), path: path.clone(), page }
}
