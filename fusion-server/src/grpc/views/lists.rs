//! The lists of `ViewService`, the trash, and refreshing a path.

use fusion_proto::convert::view::{ListWithin, RefreshPath, TrashInfo, TrashRef};
use fusion_proto::pb;
use fusion_proto::status::Refusal;
use tonic::{Request, Response, Status};

use crate::grpc::admin::is_resumed;
use crate::grpc::{Services, about, operator};
use crate::service::views::Worth;

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
        let (by, is_resumed) = (operator(&request), is_resumed(&request));
        let asked = TrashRef::try_from(request.into_inner())?;
        about(Some(&asked.view), None);
        let done = self.views.restore_trash(&asked, by).await;
        let (record, freshness) = self.on_record(&asked, done, is_resumed)?;
        Ok(Response::new(pb::RestoreTrashResponse { record, freshness }))
    }

    pub(super) async fn purge_trash(
        &self,
        request: Request<pb::PurgeTrashRequest>,
    ) -> Result<Response<pb::PurgeTrashResponse>, Status> {
        let (by, is_resumed) = (operator(&request), is_resumed(&request));
        let asked = TrashRef::try_from(request.into_inner())?;
        about(Some(&asked.view), None);
        let done = self.views.purge_trash(&asked, by).await;
        let (record, freshness) = self.on_record(&asked, done, is_resumed)?;
        Ok(Response::new(pb::PurgeTrashResponse { record, freshness }))
    }

    /// What is told of a record. An earlier try under the same key may have been cut off after it was
    /// done: then the record is gone, and that is no failure.
    fn on_record(
        &self,
        asked: &TrashRef,
        done: Result<(TrashInfo, Worth), Refusal>,
        is_resumed: bool,
    ) -> Result<(Option<pb::TrashRecord>, Option<pb::Freshness>), Refusal> {
        let (record, worth) = match done {
            Err(Refusal::TrashNotFound { .. }) if is_resumed => {
                let status = self.views.status(&self.views.get(&asked.view)?);
                (None, Worth { status, quiet_for: None })
            }
            done => done.map(|(record, worth)| (Some((&record).into()), worth))?,
        };
        Ok((record, self.freshness(&worth)?))
    }

    pub(super) async fn refresh_path(
        &self,
        request: Request<pb::RefreshPathRequest>,
    ) -> Result<Response<pb::RefreshPathResponse>, Status> {
        let by = operator(&request);
        let asked = RefreshPath::try_from(request.into_inner())?;
        about(Some(&asked.view), None);
        self.views.get(&asked.view)?;
        let refreshed = self.refreshes.refresh(&asked, by).await?;
        Ok(Response::new(self.sendable((&refreshed).try_into())?))
    }
}
