//! `ViewService`.

mod count;
mod export;
mod find;
mod list;
mod lists;
mod live;

use fusion_core::id::ViewName;
use fusion_core::path::TreePath;
use fusion_core::view::EntryInfo;
use fusion_proto::convert::stat::entry_to_pb;
use fusion_proto::convert::time::server_time_to_pb;
use fusion_proto::convert::view::{
    CompareViews, ExportEntries, FindEntries, GetBreakdown, GetPath, ListEntries, Page, ReadClass,
    RefreshPath, freshness_to_pb, totals_to_pb,
};
use fusion_proto::pb;
use fusion_proto::pb::view_service_server::ViewService;
use fusion_proto::status::Refusal;
use tonic::{Request, Response, Status};

use super::{Services, about, operator};
use crate::service::views::Worth;
use crate::task::view::{Operator, ViewHandle};

pub(super) struct Handler(pub(super) Services);

impl Services {
    fn freshness(&self, worth: &Worth) -> Result<Option<pb::Freshness>, Refusal> {
        Ok(Some(self.sendable(freshness_to_pb(&worth.status, worth.quiet_for))?))
    }

    /// Has the leader scan what a read demands to be fresh.
    async fn fresh(
        &self,
        class: ReadClass,
        view: &ViewName,
        path: &TreePath,
        recursive: bool,
        by: Operator,
    ) -> Result<(), Refusal> {
        if class == ReadClass::Fresh {
            // What scans sees all views.
            self.views.get(view)?;
        }
        let (view, path) = (view.clone(), path.clone());
        let asked = RefreshPath { view, path, recursive, agent: None };
        self.refreshes.before_read(class, &asked, by).await
    }

    fn view(&self, view: &ViewHandle) -> Result<pb::View, Status> {
        let worth = Worth { status: self.views.status(view), quiet_for: None };
        let of = self.sessions.of_view(view.name());
        let totals = view.reader().totals(self.views.reach().top()).unwrap_or_default();
        Ok(pb::View {
            name: view.name().to_string(),
            totals: Some(totals_to_pb(&totals)),
            freshness: self.freshness(&worth)?,
            leader_agent_id: of.leader,
            leader_epoch: of.last_epoch.0,
            sessions: of.live,
            created_at: Some(server_time_to_pb(view.created_at())),
            ownership: self.conductor.as_ref().map(|it| it.ownership(view).into()),
        })
    }
}

#[tonic::async_trait]
impl ViewService for Handler {
    async fn list_views(
        &self,
        request: Request<pb::ListViewsRequest>,
    ) -> Result<Response<pb::ListViewsResponse>, Status> {
        let services = self.0.of(&request);
        let (rows, next_page_token) =
            services.views.list(&Page::try_from(request.into_inner())?)?;
        let views = rows.iter().map(|view| services.view(view)).collect::<Result<_, _>>()?;
        Ok(Response::new(pb::ListViewsResponse { views, next_page_token }))
    }

    async fn get_view(
        &self,
        request: Request<pb::GetViewRequest>,
    ) -> Result<Response<pb::GetViewResponse>, Status> {
        let services = self.0.of(&request);
        let view = services.views.get(&ViewName::try_from(request.into_inner())?)?;
        Ok(Response::new(pb::GetViewResponse { view: Some(services.view(&view)?) }))
    }

    async fn get_entry(
        &self,
        request: Request<pb::GetEntryRequest>,
    ) -> Result<Response<pb::GetEntryResponse>, Status> {
        let (services, by) = (self.0.of(&request), operator(&request));
        let asked = GetPath::try_from(request.into_inner())?;
        about(Some(&asked.view), None);
        services.fresh(asked.class, &asked.view, &asked.path, false, by).await?;
        let (entry, worth) = services.views.entry(&asked)?;
        let EntryInfo { stat, suspect, blind, totals } = entry;
        Ok(Response::new(pb::GetEntryResponse {
            entry: Some(entry_to_pb(asked.path.as_ref(), &stat, suspect, blind)),
            totals: totals.as_ref().map(totals_to_pb),
            freshness: services.freshness(&worth)?,
        }))
    }

    async fn list_entries(
        &self,
        request: Request<pb::ListEntriesRequest>,
    ) -> Result<Response<pb::ListEntriesResponse>, Status> {
        let (services, by) = (self.0.of(&request), operator(&request));
        let asked = ListEntries::try_from(request.into_inner())?;
        if asked.page.token.is_empty() {
            services.fresh(asked.class, &asked.view, &asked.path, false, by).await?;
        }
        Ok(Response::new(services.list(&asked).await?))
    }

    async fn get_stats(
        &self,
        request: Request<pb::GetStatsRequest>,
    ) -> Result<Response<pb::GetStatsResponse>, Status> {
        let (services, by) = (self.0.of(&request), operator(&request));
        let asked = GetPath::try_from(request.into_inner())?;
        about(Some(&asked.view), None);
        services.fresh(asked.class, &asked.view, &asked.path, true, by).await?;
        let (totals, worth) = services.views.totals(&asked)?;
        let (totals, freshness) = (Some(totals_to_pb(&totals)), services.freshness(&worth)?);
        Ok(Response::new(pb::GetStatsResponse { totals, freshness }))
    }

    type FindEntriesStream = find::Stream;

    async fn find_entries(
        &self,
        request: Request<pb::FindEntriesRequest>,
    ) -> Result<Response<Self::FindEntriesStream>, Status> {
        let (services, by) = (self.0.of(&request), operator(&request));
        Ok(Response::new(services.find(FindEntries::try_from(request.into_inner())?, by).await?))
    }

    type GetBreakdownStream = count::Stream;

    async fn get_breakdown(
        &self,
        request: Request<pb::GetBreakdownRequest>,
    ) -> Result<Response<Self::GetBreakdownStream>, Status> {
        let (services, by) = (self.0.of(&request), operator(&request));
        let asked = GetBreakdown::try_from(request.into_inner())?;
        services.fresh(asked.class, &asked.view, &asked.path, true, by).await?;
        Ok(Response::new(services.breakdown(asked)?))
    }

    async fn compare_views(
        &self,
        request: Request<pb::CompareViewsRequest>,
    ) -> Result<Response<pb::CompareViewsResponse>, Status> {
        let (services, by) = (self.0.of(&request), operator(&request));
        let asked = CompareViews::try_from(request.into_inner())?;
        Ok(Response::new(services.compare(&asked, by).await?))
    }

    type ExportEntriesStream = export::Stream;

    async fn export_entries(
        &self,
        request: Request<pb::ExportEntriesRequest>,
    ) -> Result<Response<Self::ExportEntriesStream>, Status> {
        let (services, by) = (self.0.of(&request), operator(&request));
        let asked = ExportEntries::try_from(request.into_inner())?;
        if asked.resume_token.is_empty() {
            services.fresh(asked.class, &asked.view, &asked.path, true, by).await?;
        }
        Ok(Response::new(services.export(asked)?))
    }

    async fn list_suspects(
        &self,
        request: Request<pb::ListSuspectsRequest>,
    ) -> Result<Response<pb::ListSuspectsResponse>, Status> {
        self.0.of(&request).list_suspects(request).await
    }

    async fn list_blind_spots(
        &self,
        request: Request<pb::ListBlindSpotsRequest>,
    ) -> Result<Response<pb::ListBlindSpotsResponse>, Status> {
        self.0.of(&request).list_blind_spots(request).await
    }

    async fn list_trash(
        &self,
        request: Request<pb::ListTrashRequest>,
    ) -> Result<Response<pb::ListTrashResponse>, Status> {
        self.0.of(&request).list_trash(request).await
    }

    async fn restore_trash(
        &self,
        request: Request<pb::RestoreTrashRequest>,
    ) -> Result<Response<pb::RestoreTrashResponse>, Status> {
        self.0.of(&request).restore_trash(request).await
    }

    async fn purge_trash(
        &self,
        request: Request<pb::PurgeTrashRequest>,
    ) -> Result<Response<pb::PurgeTrashResponse>, Status> {
        self.0.of(&request).purge_trash(request).await
    }

    async fn refresh_path(
        &self,
        request: Request<pb::RefreshPathRequest>,
    ) -> Result<Response<pb::RefreshPathResponse>, Status> {
        self.0.of(&request).refresh_path(request).await
    }

    type WatchViewStream = live::Stream<pb::WatchViewResponse>;

    async fn watch_view(
        &self,
        request: Request<pb::WatchViewRequest>,
    ) -> Result<Response<Self::WatchViewStream>, Status> {
        live::watch_view(&self.0.of(&request), request.into_inner())
    }

    async fn list_changes(
        &self,
        request: Request<pb::ListChangesRequest>,
    ) -> Result<Response<pb::ListChangesResponse>, Status> {
        live::list_changes(&self.0.of(&request), request.into_inner()).await
    }

    type WaitQuietStream = live::Stream<pb::WaitQuietResponse>;

    async fn wait_quiet(
        &self,
        request: Request<pb::WaitQuietRequest>,
    ) -> Result<Response<Self::WaitQuietStream>, Status> {
        live::wait_quiet(&self.0.of(&request), request.into_inner())
    }
}
