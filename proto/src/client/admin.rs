//! A client of `AdminService` in plain types.

use fusion_core::id::ViewName;
use tonic::transport::Channel;
use uuid::Uuid;

use super::{CallError, CallHook, HookedChannel};
use crate::convert::admin::{ConfigChange, ListedServer, ServerInfo, ViewReset};
use crate::convert::audit::{AuditRecord, ListAuditRecords, audit_record_from_pb};
use crate::convert::session::{EvictSession, SessionInfo};
use crate::pb::admin_service_client::AdminServiceClient;
use crate::{limits, pb};

/// Does what operators do to a running server.
#[derive(Debug, Clone)]
pub struct AdminClient(AdminServiceClient<HookedChannel>);

impl AdminClient {
    /// A client on a channel.
    #[must_use]
    pub fn on(channel: Channel, hook: CallHook) -> Self {
        let client = AdminServiceClient::with_interceptor(channel, hook);
        Self(client.max_decoding_message_size(limits::MESSAGE_BYTES))
    }

    /// Ends a session for good; gives it as it ended, or `None` if it was missing and may be.
    ///
    /// # Errors
    /// SESSION_NOT_FOUND unless it may be missing, or no server.
    pub async fn evict(&mut self, asked: &EvictSession) -> Result<Option<SessionInfo>, CallError> {
        let request = pb::EvictSessionRequest::from(asked);
        let pb::EvictSessionResponse { session } =
            self.0.evict_session(request).await?.into_inner();
        Ok(session.map(SessionInfo::try_from).transpose()?)
    }

    /// What server this is.
    ///
    /// # Errors
    /// No server.
    pub async fn server_info(&mut self) -> Result<ServerInfo, CallError> {
        let request = pb::GetServerInfoRequest {};
        Ok(self.0.get_server_info(request).await?.into_inner().try_into()?)
    }

    /// Forgets what a view knows; its sessions end.
    ///
    /// # Errors
    /// VIEW_NOT_FOUND, STORE_UNAVAILABLE, or no server.
    pub async fn reset_view(&mut self, view: &ViewName) -> Result<ViewReset, CallError> {
        let request = pb::ResetViewRequest { view: view.to_string() };
        Ok(self.0.reset_view(request).await?.into_inner().into())
    }

    /// Changes what the server logs, or for an empty text back to its configuration; the filter in force
    /// and the one before.
    ///
    /// # Errors
    /// It is no filter, or no server.
    pub async fn set_log_filter(&mut self, filter: &str) -> Result<(String, String), CallError> {
        let request = pb::SetLogFilterRequest { filter: filter.to_owned() };
        let pb::SetLogFilterResponse { filter, previous_filter } =
            self.0.set_log_filter(request).await?.into_inner();
        Ok((filter, previous_filter))
    }

    /// Has the server read its configuration anew; what changed.
    ///
    /// # Errors
    /// It has faults, or is to change what cannot be changed while the server runs; or no server.
    pub async fn reload_config(&mut self) -> Result<Vec<ConfigChange>, CallError> {
        let request = pb::ReloadConfigRequest {};
        let pb::ReloadConfigResponse { changes } =
            self.0.reload_config(request).await?.into_inner();
        Ok(changes.into_iter().map(Into::into).collect())
    }

    /// The servers, by id.
    ///
    /// # Errors
    /// No server.
    pub async fn servers(&mut self) -> Result<Vec<ListedServer>, CallError> {
        let request = pb::ListServersRequest {};
        let pb::ListServersResponse { servers } = self.0.list_servers(request).await?.into_inner();
        Ok(servers.into_iter().map(ListedServer::try_from).collect::<Result<_, _>>()?)
    }

    /// Says which server is to own a view, whichever if none is named; the one that owns it now.
    ///
    /// # Errors
    /// It cannot be that one, VIEW_NOT_FOUND, NOT_OWNER, STORE_UNAVAILABLE, or no server.
    pub async fn move_view(
        &mut self,
        view: &ViewName,
        to: Option<Uuid>,
    ) -> Result<String, CallError> {
        let server_id = to.map(|id| id.to_string()).unwrap_or_default();
        let request = pb::MoveViewRequest { view: view.to_string(), server_id };
        Ok(self.0.move_view(request).await?.into_inner().owner_id)
    }

    /// Has a server drain, or take views again; whether it drained before.
    ///
    /// # Errors
    /// There is none of this id, it cannot be reached, STORE_UNAVAILABLE, or no server.
    pub async fn drain_server(&mut self, server: Uuid, lift: bool) -> Result<bool, CallError> {
        let request = pb::DrainServerRequest { server_id: server.to_string(), lift };
        Ok(self.0.drain_server(request).await?.into_inner().was_draining)
    }

    /// Accepts the root that a view's agents find; the view's revision after that.
    ///
    /// # Errors
    /// VIEW_NOT_FOUND, STORE_UNAVAILABLE, or no server.
    pub async fn accept_root(&mut self, view: &ViewName) -> Result<u64, CallError> {
        let request = pb::AcceptRootRequest { view: view.to_string() };
        let pb::AcceptRootResponse { revision } = self.0.accept_root(request).await?.into_inner();
        Ok(revision)
    }

    /// A page of audit records, the newest first, and the token of the next; empty if this is the last.
    /// A page may be empty and yet not the last.
    ///
    /// # Errors
    /// A token of another list, STORE_UNAVAILABLE, or no server.
    pub async fn audit_records(
        &mut self,
        asked: &ListAuditRecords,
    ) -> Result<(Vec<AuditRecord>, String), CallError> {
        let request = pb::ListAuditRecordsRequest::from(asked);
        let pb::ListAuditRecordsResponse { records, next_page_token } =
            self.0.list_audit_records(request).await?.into_inner();
        let records = records.into_iter().map(audit_record_from_pb).collect::<Result<_, _>>()?;
        Ok((records, next_page_token))
    }
}
