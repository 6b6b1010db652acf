//! `SessionService`.

use fusion_core::id::SessionId;
use fusion_proto::convert::session::heartbeat::Heartbeat;
use fusion_proto::convert::session::{CreateSession, EndSession, ListSessions, session_id};
use fusion_proto::pb;
use fusion_proto::pb::session_service_server::SessionService;
use fusion_proto::status::Refusal;
use tonic::{Request, Response, Status};

use super::authenticate::caller;
use super::{Services, about};

pub(super) struct Handler(pub(super) Services);

#[tonic::async_trait]
impl SessionService for Handler {
    async fn create_session(
        &self,
        request: Request<pb::CreateSessionRequest>,
    ) -> Result<Response<pb::CreateSessionResponse>, Status> {
        let caller = caller(&request);
        let asked = CreateSession::try_from(request.into_inner())?;
        about(Some(&asked.view), None);
        caller.admit(&asked.view, &asked.agent).inspect_err(|refusal| {
            if let Refusal::PermissionDenied { .. } = refusal {
                self.0.metrics.denied.with_label_values(&["agent_id"]).inc();
            }
        })?;
        let created = self.0.sessions.create(asked, caller.principal).await?;
        about(None, Some(created.session));
        Ok(Response::new(self.0.sendable((&created).try_into())?))
    }

    async fn heartbeat(
        &self,
        request: Request<pb::HeartbeatRequest>,
    ) -> Result<Response<pb::HeartbeatResponse>, Status> {
        let caller = caller(&request);
        let request = request.into_inner();
        let session = session_id(&request.session_id)?;
        about(None, Some(session));
        let by = &caller.principal;
        if !self.0.sessions.expects_beat(session, by) {
            self.0.quotas.request(&caller)?;
        }
        let beat = match Heartbeat::try_from(request) {
            Ok(beat) => beat,
            Err(error) => {
                // Whoever has an obsolete session is to learn that before anything else.
                self.0.sessions.check(session, by)?;
                return Err(error.into());
            }
        };
        let answer = self.0.sessions.beat(beat, by).await?;
        Ok(Response::new((&answer).into()))
    }

    async fn end_session(
        &self,
        request: Request<pb::EndSessionRequest>,
    ) -> Result<Response<pb::EndSessionResponse>, Status> {
        let by = caller(&request).principal;
        let EndSession { session, allow_missing } = EndSession::try_from(request.into_inner())?;
        about(None, Some(session));
        self.0.sessions.end(session, allow_missing, &by).await?;
        Ok(Response::new(pb::EndSessionResponse {}))
    }

    async fn get_session(
        &self,
        request: Request<pb::GetSessionRequest>,
    ) -> Result<Response<pb::GetSessionResponse>, Status> {
        let caller = caller(&request);
        let session = self.0.sessions.get(SessionId::try_from(request.into_inner())?, &caller)?;
        let session = Some(self.0.sendable((&session).try_into())?);
        Ok(Response::new(pb::GetSessionResponse { session }))
    }

    async fn list_sessions(
        &self,
        request: Request<pb::ListSessionsRequest>,
    ) -> Result<Response<pb::ListSessionsResponse>, Status> {
        let caller = caller(&request);
        let asked = ListSessions::try_from(request.into_inner())?;
        let (rows, next_page_token) = self.0.sessions.list(&asked, &caller.reach.views)?;
        let sessions: Result<Vec<pb::Session>, _> = rows.iter().map(TryInto::try_into).collect();
        let sessions = self.0.sendable(sessions)?;
        Ok(Response::new(pb::ListSessionsResponse { sessions, next_page_token }))
    }
}
