//! `AdminService`.

use fusion_proto::convert::session::EvictSession;
use fusion_proto::pb;
use fusion_proto::pb::admin_service_server::AdminService;
use tonic::{Request, Response, Status};

use super::{Services, about, idempotency};
use crate::service::idempotency::CallIdentity;

pub(super) struct Handler(pub(super) Services);

#[tonic::async_trait]
impl AdminService for Handler {
    async fn evict_session(
        &self,
        request: Request<pb::EvictSessionRequest>,
    ) -> Result<Response<pb::EvictSessionResponse>, Status> {
        let is_resumed = is_resumed(&request);
        let EvictSession { session, allow_missing } = EvictSession::try_from(request.into_inner())?;
        about(None, Some(session));
        let evicted = self.0.sessions.evict(session, allow_missing || is_resumed).await?;
        let session = evicted.as_ref().map(TryInto::try_into).transpose();
        let session = self.0.sendable(session)?;
        Ok(Response::new(pb::EvictSessionResponse { session }))
    }

    async fn delete_idempotency_key(
        &self,
        request: Request<pb::DeleteIdempotencyKeyRequest>,
    ) -> Result<Response<pb::DeleteIdempotencyKeyResponse>, Status> {
        let pb::DeleteIdempotencyKeyRequest { method, key } = request.into_inner();
        let existed = idempotency::delete(&self.0.idempotency, &method, &key).await?;
        Ok(Response::new(pb::DeleteIdempotencyKeyResponse { existed }))
    }
}

/// Whether an earlier try of the call may have been cut off after it was done: what it was to end is
/// gone then.
fn is_resumed<T>(request: &Request<T>) -> bool {
    request.extensions().get::<CallIdentity>().is_some_and(|call| call.is_resumed)
}
