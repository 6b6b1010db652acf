//! A client of `AdminService` in plain types.

use tonic::transport::Channel;

use super::{CallError, CallHook, HookedChannel};
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
}
