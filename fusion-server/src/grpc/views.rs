//! `ViewService`.

mod count;
mod export;
mod find;
mod list;

use fusion_core::id::ViewName;
use fusion_core::path::PathRef;
use fusion_core::view::EntryInfo;
use fusion_proto::convert::stat::entry_to_pb;
use fusion_proto::convert::time::server_time_to_pb;
use fusion_proto::convert::view::{
    CompareViews, ExportEntries, FindEntries, GetBreakdown, GetPath, ListEntries, Page,
    freshness_to_pb, totals_to_pb,
};
use fusion_proto::pb;
use fusion_proto::pb::view_service_server::ViewService;
use fusion_proto::status::Refusal;
use tonic::{Request, Response, Status};

use super::{Services, about};
use crate::service::views::Worth;
use crate::task::view::ViewHandle;

pub(super) struct Handler(pub(super) Services);

impl Services {
    fn freshness(&self, worth: &Worth) -> Result<Option<pb::Freshness>, Refusal> {
        Ok(Some(self.sendable(freshness_to_pb(&worth.status, worth.quiet_for))?))
    }

    fn view(&self, view: &ViewHandle) -> Result<pb::View, Status> {
        let worth = Worth { status: self.views.status(view), quiet_for: None };
        let of = self.sessions.of_view(view.name());
        let totals = view.reader().totals(PathRef::ROOT).unwrap_or_default();
        Ok(pb::View {
            name: view.name().to_string(),
            totals: Some(totals_to_pb(&totals)),
            freshness: self.freshness(&worth)?,
            leader_agent_id: of.leader,
            leader_epoch: of.last_epoch.0,
            sessions: of.live,
            created_at: Some(server_time_to_pb(view.created_at())),
        })
    }
}

#[tonic::async_trait]
impl ViewService for Handler {
    async fn list_views(
        &self,
        request: Request<pb::ListViewsRequest>,
    ) -> Result<Response<pb::ListViewsResponse>, Status> {
        let (rows, next_page_token) = self.0.views.list(&Page::try_from(request.into_inner())?)?;
        let views = rows.iter().map(|view| self.0.view(view)).collect::<Result<_, _>>()?;
        Ok(Response::new(pb::ListViewsResponse { views, next_page_token }))
    }

    async fn get_view(
        &self,
        request: Request<pb::GetViewRequest>,
    ) -> Result<Response<pb::GetViewResponse>, Status> {
        let view = self.0.views.get(&ViewName::try_from(request.into_inner())?)?;
        Ok(Response::new(pb::GetViewResponse { view: Some(self.0.view(&view)?) }))
    }

    async fn get_entry(
        &self,
        request: Request<pb::GetEntryRequest>,
    ) -> Result<Response<pb::GetEntryResponse>, Status> {
        let asked = GetPath::try_from(request.into_inner())?;
        about(Some(&asked.view), None);
        let (entry, worth) = self.0.views.entry(&asked)?;
        let EntryInfo { stat, suspect, blind, totals } = entry;
        Ok(Response::new(pb::GetEntryResponse {
            entry: Some(entry_to_pb(asked.path.as_ref(), &stat, suspect, blind)),
            totals: totals.as_ref().map(totals_to_pb),
            freshness: self.0.freshness(&worth)?,
        }))
    }

    async fn list_entries(
        &self,
        request: Request<pb::ListEntriesRequest>,
    ) -> Result<Response<pb::ListEntriesResponse>, Status> {
        Ok(Response::new(self.0.list(&ListEntries::try_from(request.into_inner())?).await?))
    }

    async fn get_stats(
        &self,
        request: Request<pb::GetStatsRequest>,
    ) -> Result<Response<pb::GetStatsResponse>, Status> {
        let asked = GetPath::try_from(request.into_inner())?;
        about(Some(&asked.view), None);
        let (totals, worth) = self.0.views.totals(&asked)?;
        let (totals, freshness) = (Some(totals_to_pb(&totals)), self.0.freshness(&worth)?);
        Ok(Response::new(pb::GetStatsResponse { totals, freshness }))
    }

    type FindEntriesStream = find::Stream;

    async fn find_entries(
        &self,
        request: Request<pb::FindEntriesRequest>,
    ) -> Result<Response<Self::FindEntriesStream>, Status> {
        Ok(Response::new(self.0.find(FindEntries::try_from(request.into_inner())?)?))
    }

    type GetBreakdownStream = count::Stream;

    async fn get_breakdown(
        &self,
        request: Request<pb::GetBreakdownRequest>,
    ) -> Result<Response<Self::GetBreakdownStream>, Status> {
        Ok(Response::new(self.0.breakdown(GetBreakdown::try_from(request.into_inner())?)?))
    }

    async fn compare_views(
        &self,
        request: Request<pb::CompareViewsRequest>,
    ) -> Result<Response<pb::CompareViewsResponse>, Status> {
        Ok(Response::new(self.0.compare(&CompareViews::try_from(request.into_inner())?)?))
    }

    type ExportEntriesStream = export::Stream;

    async fn export_entries(
        &self,
        request: Request<pb::ExportEntriesRequest>,
    ) -> Result<Response<Self::ExportEntriesStream>, Status> {
        Ok(Response::new(self.0.export(ExportEntries::try_from(request.into_inner())?)?))
    }
}
