//! The lists of `ViewService`, the trash, and refreshing a path.

use fusion_proto::convert::view::{ListWithin, RefreshPath, TrashRef};
use fusion_proto::pb;
use tonic::{Request, Response, Status};

use crate::grpc::{Services, about, operator};

impl Services {
    pub(super) async fn list_suspects(
        &self,
        request: Request<pb::ListSuspectsRequest>,
    ) -> Result<Response<pb::ListSuspectsResponse>, Status> {
        let asked = ListWithin::try_from(request.into_inner())?;
        about(Some(&asked.view), None);
        let ((rows, next_page_token), worth) = self.views.suspects(&asked).await?;
        let (suspects, freshness) =
            (rows.iter().map(Into::into).collect(), self.freshness(&worth)?);
        Ok(Response::new(pb::ListSuspectsResponse { suspects, next_page_token, freshness }))
    }

    pub(super) async fn list_blind_spots(
        &self,
        request: Request<pb::ListBlindSpotsRequest>,
    ) -> Result<Response<pb::ListBlindSpotsResponse>, Status> {
        let asked = ListWithin::try_from(request.into_inner())?;
        about(Some(&asked.view), None);
        let ((rows, next_page_token), worth) = self.views.blind_spots(&asked, &*self.ids).await?;
        let (blind_spots, freshness) =
            (rows.iter().map(Into::into).collect(), self.freshness(&worth)?);
        Ok(Response::new(pb::ListBlindSpotsResponse { blind_spots, next_page_token, freshness }))
    }

    pub(super) async fn list_trash(
        &self,
        request: Request<pb::ListTrashRequest>,
    ) -> Result<Response<pb::ListTrashResponse>, Status> {
        let asked = ListWithin::try_from(request.into_inner())?;
        about(Some(&asked.view), None);
        let ((rows, next_page_token), worth) = self.views.trash(&asked).await?;
        let (records, freshness) = (rows.iter().map(Into::into).collect(), self.freshness(&worth)?);
        Ok(Response::new(pb::ListTrashResponse { records, next_page_token, freshness }))
    }

    pub(super) async fn restore_trash(
        &self,
        request: Request<pb::RestoreTrashRequest>,
    ) -> Result<Response<pb::RestoreTrashResponse>, Status> {
        let by = operator(&request);
        let asked = TrashRef::try_from(request.into_inner())?;
        about(Some(&asked.view), None);
        let (record, worth) = self.views.restore_trash(&asked, by).await?;
        let (record, freshness) = (Some((&record).into()), self.freshness(&worth)?);
        Ok(Response::new(pb::RestoreTrashResponse { record, freshness }))
    }

    pub(super) async fn purge_trash(
        &self,
        request: Request<pb::PurgeTrashRequest>,
    ) -> Result<Response<pb::PurgeTrashResponse>, Status> {
        let by = operator(&request);
        let asked = TrashRef::try_from(request.into_inner())?;
        about(Some(&asked.view), None);
        let (record, worth) = self.views.purge_trash(&asked, by).await?;
        let (record, freshness) = (Some((&record).into()), self.freshness(&worth)?);
        Ok(Response::new(pb::PurgeTrashResponse { record, freshness }))
    }

    pub(super) async fn refresh_path(
        &self,
        request: Request<pb::RefreshPathRequest>,
    ) -> Result<Response<pb::RefreshPathResponse>, Status> {
        let by = operator(&request);
        let asked = RefreshPath::try_from(request.into_inner())?;
        about(Some(&asked.view), None);
        let refreshed = self.refreshes.refresh(&asked, by).await?;
        Ok(Response::new(self.sendable((&refreshed).try_into())?))
    }
}
