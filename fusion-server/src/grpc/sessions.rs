//! `SessionService`.

use fusion_core::id::SessionId;
use fusion_proto::convert::session::heartbeat::Heartbeat;
use fusion_proto::convert::session::{CreateSession, EndSession, ListSessions, session_id};
use fusion_proto::pb;
use fusion_proto::pb::session_service_server::SessionService;
use tonic::{Request, Response, Status};

use super::{Services, about};

pub(super) struct Handler(pub(super) Services);

#[tonic::async_trait]
impl SessionService for Handler {
    async fn create_session(
        &self,
        request: Request<pb::CreateSessionRequest>,
    ) -> Result<Response<pb::CreateSessionResponse>, Status> {
        let asked = CreateSession::try_from(request.into_inner())?;
        about(Some(&asked.view), None);
        let created = self.0.sessions.create(asked).await?;
        about(None, Some(created.session));
        Ok(Response::new(self.0.sendable((&created).try_into())?))
    }

    async fn heartbeat(
        &self,
        request: Request<pb::HeartbeatRequest>,
    ) -> Result<Response<pb::HeartbeatResponse>, Status> {
        let request = request.into_inner();
        let session = session_id(&request.session_id)?;
        about(None, Some(session));
        let beat = match Heartbeat::try_from(request) {
            Ok(beat) => beat,
            Err(error) => {
                // Whoever has an obsolete session is to learn that before anything else.
                self.0.sessions.check(session)?;
                return Err(error.into());
            }
        };
        let answer = self.0.sessions.beat(beat).await?;
        Ok(Response::new((&answer).into()))
    }

    async fn end_session(
        &self,
        request: Request<pb::EndSessionRequest>,
    ) -> Result<Response<pb::EndSessionResponse>, Status> {
        let EndSession { session, allow_missing } = EndSession::try_from(request.into_inner())?;
        about(None, Some(session));
        self.0.sessions.end(session, allow_missing)?;
        Ok(Response::new(pb::EndSessionResponse {}))
    }

    async fn get_session(
        &self,
        request: Request<pb::GetSessionRequest>,
    ) -> Result<Response<pb::GetSessionResponse>, Status> {
        let session = self.0.sessions.get(SessionId::try_from(request.into_inner())?)?;
        let session = Some(self.0.sendable((&session).try_into())?);
        Ok(Response::new(pb::GetSessionResponse { session }))
    }

    async fn list_sessions(
        &self,
        request: Request<pb::ListSessionsRequest>,
    ) -> Result<Response<pb::ListSessionsResponse>, Status> {
        let asked = ListSessions::try_from(request.into_inner())?;
        let (rows, next_page_token) = self.0.sessions.list(&asked)?;
        let sessions: Result<Vec<pb::Session>, _> = rows.iter().map(TryInto::try_into).collect();
        let sessions = self.0.sendable(sessions)?;
        Ok(Response::new(pb::ListSessionsResponse { sessions, next_page_token }))
    }
}
