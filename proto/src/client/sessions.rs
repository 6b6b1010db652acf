//! A client of `SessionService` in plain types.

use fusion_core::id::SessionId;
use tonic::Response;
use tonic::transport::Channel;

use super::unseen::is_unseen;
use super::{CallError, CallHook, HookedChannel};
use crate::convert::session::heartbeat::{Heartbeat, HeartbeatHeard};
use crate::convert::session::{
    CreateSession, CreatedSession, EndSession, ListSessions, SessionInfo,
};
use crate::pb::session_service_client::SessionServiceClient;
use crate::{limits, pb};

/// Begins, keeps, shows and ends sessions.
#[derive(Debug, Clone)]
pub struct SessionsClient {
    client: SessionServiceClient<HookedChannel>,
    owner: Option<String>,
}

impl SessionsClient {
    /// A client on a channel.
    #[must_use]
    pub fn on(channel: Channel, hook: CallHook) -> Self {
        let client = SessionServiceClient::with_interceptor(channel, hook);
        Self { client: client.max_decoding_message_size(limits::MESSAGE_BYTES), owner: None }
    }

    /// Where the owner of the view is reached, if the server said with the last session that was begun or
    /// kept that it had sent the call on to it.
    #[must_use]
    pub fn owner(&self) -> Option<&str> {
        self.owner.as_deref()
    }

    /// An answer, of which is noted whose it is.
    fn heard<T>(&mut self, answer: Response<T>) -> T {
        let owner = answer.metadata().get(limits::OWNER_KEY);
        self.owner = owner.and_then(|owner| owner.to_str().ok()).map(str::to_owned);
        answer.into_inner()
    }

    /// Begins a session.
    ///
    /// # Errors
    /// AGENT_ID_CONFLICT, ROOT_MISMATCH, VIEW_OCCUPIED, VIEW_NOT_FOUND, or no server.
    pub async fn create(&mut self, asked: &CreateSession) -> Result<CreatedSession, CallError> {
        let request = pb::CreateSessionRequest::try_from(asked)?;
        let answer = self.client.create_session(request).await?;
        Ok(self.heard(answer).try_into()?)
    }

    /// Keeps a session alive. One that comes to a server as it goes, and that it does not take, is sent to the next.
    ///
    /// # Errors
    /// SESSION_OBSOLETE, or no server.
    pub async fn heartbeat(&mut self, beat: &Heartbeat) -> Result<HeartbeatHeard, CallError> {
        let request = pb::HeartbeatRequest::try_from(beat)?;
        let answer = match self.client.heartbeat(request.clone()).await {
            Err(status) if is_unseen(&status) => self.client.heartbeat(request).await?,
            answer => answer?,
        };
        Ok(self.heard(answer).try_into()?)
    }

    /// Ends a session for good.
    ///
    /// # Errors
    /// SESSION_NOT_FOUND unless it may be missing, or no server.
    pub async fn end(&mut self, asked: &EndSession) -> Result<(), CallError> {
        let pb::EndSessionResponse {} =
            self.client.end_session(pb::EndSessionRequest::from(asked)).await?.into_inner();
        Ok(())
    }

    /// One session, live or ended.
    ///
    /// # Errors
    /// SESSION_NOT_FOUND, or no server.
    pub async fn get(&mut self, session: SessionId) -> Result<SessionInfo, CallError> {
        let request = pb::GetSessionRequest { session_id: session.to_string() };
        let pb::GetSessionResponse { session } =
            self.client.get_session(request).await?.into_inner();
        Ok(session.ok_or(CallError::missing("session"))?.try_into()?)
    }

    /// A page of live sessions by view and age, and the token of the next; empty if it is the last.
    ///
    /// # Errors
    /// A token of another request, or no server.
    pub async fn list(
        &mut self,
        asked: &ListSessions,
    ) -> Result<(Vec<SessionInfo>, String), CallError> {
        let request = pb::ListSessionsRequest::from(asked);
        let pb::ListSessionsResponse { sessions, next_page_token } =
            self.client.list_sessions(request).await?.into_inner();
        let sessions = sessions.into_iter().map(SessionInfo::try_from);
        Ok((sessions.collect::<Result<_, _>>()?, next_page_token))
    }
}
