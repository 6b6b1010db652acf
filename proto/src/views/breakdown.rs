//! Counts and comparisons.

use fusion_core::id::ViewName;
use fusion_core::path::TreePath;
use tonic::codec::Streaming;

use super::ViewsClient;
use crate::client::CallError;
use crate::convert::view::{BreakdownPart, CompareViews, ComparedView, GetBreakdown, ViewRank};
use crate::pb;

/// A count that is under way; dropping it ends it.
#[derive(Debug)]
pub struct Counting {
    stream: Streaming<pb::GetBreakdownResponse>,
}

impl Counting {
    /// The next part; the last has the whole. `None` after it.
    ///
    /// # Errors
    /// The count broke off.
    pub async fn next(&mut self) -> Result<Option<BreakdownPart>, CallError> {
        Ok(self.stream.message().await?.map(BreakdownPart::try_from).transpose()?)
    }
}

impl ViewsClient {
    /// What the files below a path are made of, with the first `top` of each list.
    ///
    /// # Errors
    /// No such view or path, a `top` above [`crate::limits::TOP_MAX`], or no server.
    pub async fn breakdown(
        &mut self,
        view: &ViewName,
        path: &TreePath,
        top: usize,
    ) -> Result<Counting, CallError> {
        let asked = GetBreakdown { view: view.clone(), path: path.clone(), class: self.class, top };
        let request = pb::GetBreakdownRequest::from(&asked);
        Ok(Counting { stream: self.inner.get_breakdown(request).await?.into_inner() })
    }

    /// A path on several views, best first; on all of the server if none is named.
    ///
    /// # Errors
    /// A view that is named twice, or no server. What is wrong with one view is in the answer.
    pub async fn compare(
        &mut self,
        views: &[ViewName],
        path: &TreePath,
        rank: ViewRank,
    ) -> Result<Vec<ComparedView>, CallError> {
        let asked =
            CompareViews { views: views.to_vec(), path: path.clone(), class: self.class, rank };
        let request = pb::CompareViewsRequest::from(&asked);
        let pb::CompareViewsResponse { views } =
            self.inner.compare_views(request).await?.into_inner();
        Ok(views.into_iter().map(ComparedView::try_from).collect::<Result<_, _>>()?)
    }
}
