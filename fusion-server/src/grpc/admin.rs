//! `AdminService`.

use fusion_core::id::ViewName;
use fusion_proto::convert::admin::{MoveView, server_uuid};
use fusion_proto::convert::audit::ListAuditRecords;
use fusion_proto::convert::session::EvictSession;
use fusion_proto::pb;
use fusion_proto::pb::admin_service_server::AdminService;
use fusion_proto::status::Refusal;
use tonic::{Request, Response, Status};

use super::authenticate::caller;
use super::{Services, about, idempotency, operator};
use crate::cluster::Conductor;
use crate::service::idempotency::CallIdentity;
use crate::task::view::Operation;

pub(super) struct Handler(pub(super) Services);

impl Handler {
    /// Who conducts the views of several servers.
    fn conductor(&self) -> Result<&Conductor, Refusal> {
        let alone =
            || Refusal::invalid("server_id", "is no server beside this one, which is alone");
        self.0.conductor.as_ref().ok_or_else(alone)
    }
}

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
        let principal = caller(&request).principal;
        let pb::DeleteIdempotencyKeyRequest { method, key } = request.into_inner();
        let existed = idempotency::delete(&self.0.idempotency, &principal, &method, &key).await?;
        Ok(Response::new(pb::DeleteIdempotencyKeyResponse { existed }))
    }

    async fn get_server_info(
        &self,
        request: Request<pb::GetServerInfoRequest>,
    ) -> Result<Response<pb::GetServerInfoResponse>, Status> {
        let pb::GetServerInfoRequest {} = request.into_inner();
        let member = self.0.conductor.as_ref().map(|it| it.cluster.id().0);
        Ok(Response::new((&self.0.about.info(member)).into()))
    }

    async fn set_log_filter(
        &self,
        request: Request<pb::SetLogFilterRequest>,
    ) -> Result<Response<pb::SetLogFilterResponse>, Status> {
        let pb::SetLogFilterRequest { filter } = request.into_inner();
        let (previous_filter, filter) = self.0.about.set_log_filter(&filter)?;
        Ok(Response::new(pb::SetLogFilterResponse { filter, previous_filter }))
    }

    async fn list_servers(
        &self,
        request: Request<pb::ListServersRequest>,
    ) -> Result<Response<pb::ListServersResponse>, Status> {
        let pb::ListServersRequest {} = request.into_inner();
        let servers = match &self.0.conductor {
            Some(conductor) => conductor.servers(),
            None => vec![self.0.about.alone()],
        };
        let servers = servers.into_iter().map(TryInto::try_into).collect();
        let servers = self.0.sendable(servers)?;
        Ok(Response::new(pb::ListServersResponse { servers }))
    }

    async fn move_view(
        &self,
        request: Request<pb::MoveViewRequest>,
    ) -> Result<Response<pb::MoveViewResponse>, Status> {
        let MoveView { view, to } = MoveView::try_from(request.into_inner())?;
        about(Some(&view), None);
        let owner = self.conductor()?.move_view(&view, to).await?;
        let owner_id = owner.map(|id| id.to_string()).unwrap_or_default();
        Ok(Response::new(pb::MoveViewResponse { owner_id }))
    }

    async fn drain_server(
        &self,
        request: Request<pb::DrainServerRequest>,
    ) -> Result<Response<pb::DrainServerResponse>, Status> {
        let pb::DrainServerRequest { server_id, lift } = request.into_inner();
        let server = server_uuid(&server_id)?;
        let was_draining = self.conductor()?.drain_server(server, lift).await?;
        Ok(Response::new(pb::DrainServerResponse { was_draining }))
    }

    async fn reload_config(
        &self,
        request: Request<pb::ReloadConfigRequest>,
    ) -> Result<Response<pb::ReloadConfigResponse>, Status> {
        let pb::ReloadConfigRequest {} = request.into_inner();
        let changes = self.0.reloader.reload().await?;
        let changes = changes.into_iter().map(Into::into).collect();
        Ok(Response::new(pb::ReloadConfigResponse { changes }))
    }

    async fn reset_view(
        &self,
        request: Request<pb::ResetViewRequest>,
    ) -> Result<Response<pb::ResetViewResponse>, Status> {
        let by = operator(&request);
        let view = ViewName::try_from(request.into_inner())?;
        about(Some(&view), None);
        Ok(Response::new(self.0.sessions.reset_view(&view, by).await?.into()))
    }

    async fn list_audit_records(
        &self,
        request: Request<pb::ListAuditRecordsRequest>,
    ) -> Result<Response<pb::ListAuditRecordsResponse>, Status> {
        let asked = ListAuditRecords::try_from(request.into_inner())?;
        about(asked.view.as_ref(), None);
        let (rows, next_page_token) = self.0.audit.list(asked).await?;
        let records = rows.into_iter().map(Into::into).collect();
        Ok(Response::new(pb::ListAuditRecordsResponse { records, next_page_token }))
    }

    async fn accept_root(
        &self,
        request: Request<pb::AcceptRootRequest>,
    ) -> Result<Response<pb::AcceptRootResponse>, Status> {
        let by = operator(&request);
        let name = ViewName::try_from(request.into_inner())?;
        about(Some(&name), None);
        let view = self.0.views.get(&name)?;
        let accepted = self.0.views.operate(&view, Operation::AcceptRoot, by).await?;
        tracing::warn!(view = %name, "the root that comes next is accepted");
        Ok(Response::new(pb::AcceptRootResponse { revision: accepted.revision.0 }))
    }
}

/// Whether an earlier try of the call may have been cut off after it was done: what it was to end is
/// gone then.
pub(super) fn is_resumed<T>(request: &Request<T>) -> bool {
    request.extensions().get::<CallIdentity>().is_some_and(|call| call.is_resumed)
}
