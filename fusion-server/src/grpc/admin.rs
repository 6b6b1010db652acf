//! `AdminService`.

use fusion_proto::convert::session::EvictSession;
use fusion_proto::pb;
use fusion_proto::pb::admin_service_server::AdminService;
use tonic::{Request, Response, Status};

use super::{Services, about};

pub(super) struct Handler(pub(super) Services);

#[tonic::async_trait]
impl AdminService for Handler {
    async fn evict_session(
        &self,
        request: Request<pb::EvictSessionRequest>,
    ) -> Result<Response<pb::EvictSessionResponse>, Status> {
        let EvictSession { session, allow_missing } = EvictSession::try_from(request.into_inner())?;
        about(None, Some(session));
        let evicted = self.0.sessions.evict(session, allow_missing)?;
        let session = evicted.as_ref().map(TryInto::try_into).transpose();
        let session = self.0.sendable(session)?;
        Ok(Response::new(pb::EvictSessionResponse { session }))
    }
}
