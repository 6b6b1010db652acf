//! Client and server of the contract over a real connection: codec, details of errors, metadata.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use fusion_core::evidence::{RootIdentity, RootState};
use fusion_core::id::{AgentId, InstanceId, LeaderEpoch, SessionId, SpoolId, ViewName};
use fusion_core::session::{ObsoleteCause, Role};
use fusion_core::time::ServerTime;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::service::Interceptor as _;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::{CallError, CallHook, Client, connect, lazy_channel};
use crate::convert::root::RootClaim;
use crate::convert::session::agent::AgentStatus;
use crate::convert::session::heartbeat::{Heartbeat, HeartbeatAnswer};
use crate::convert::session::{ClientInfo, CreateSession, EndSession};
use crate::pb::session_service_server::{SessionService, SessionServiceServer};
use crate::status::{Code, Refusal};
use crate::{limits, pb};

const REFUSING: Duration = Duration::from_millis(250);

/// Refuses what it is asked in one way each; keeps what it saw.
#[derive(Clone, Default)]
struct Sessions {
    beats: Arc<Mutex<Vec<Heartbeat>>>,
    correlation: Arc<Mutex<Option<String>>>,
}

fn mismatch() -> Refusal {
    Refusal::RootMismatch {
        known: "ext4, inode 2".to_owned(),
        found: "tmpfs, inode 1 (é)".to_owned(),
    }
}

fn obsolete(session: SessionId) -> Refusal {
    Refusal::SessionObsolete {
        session: Some(session),
        view: Some(ViewName::new("home").unwrap()),
        cause: ObsoleteCause::Expired,
        retry_after: REFUSING,
    }
}

#[tonic::async_trait]
impl SessionService for Sessions {
    async fn create_session(
        &self,
        request: Request<pb::CreateSessionRequest>,
    ) -> Result<Response<pb::CreateSessionResponse>, Status> {
        CreateSession::try_from(request.into_inner())?;
        Err(mismatch().into())
    }

    async fn heartbeat(
        &self,
        request: Request<pb::HeartbeatRequest>,
    ) -> Result<Response<pb::HeartbeatResponse>, Status> {
        let beat = Heartbeat::try_from(request.into_inner())?;
        let mut beats = self.beats.lock().unwrap();
        if !beats.is_empty() {
            return Err(obsolete(beat.session).into());
        }
        beats.push(beat);
        Ok(Response::new(pb::HeartbeatResponse::from(&HeartbeatAnswer {
            server_time: ServerTime::from_nanos(7),
            role: Role::Leader,
            leader_epoch: LeaderEpoch(4),
            commands: Vec::new(),
            reports_refused: Vec::new(),
            audit_number: 0,
        })))
    }

    async fn end_session(
        &self,
        request: Request<pb::EndSessionRequest>,
    ) -> Result<Response<pb::EndSessionResponse>, Status> {
        let correlation = request.metadata().get("x-correlation-id");
        *self.correlation.lock().unwrap() =
            correlation.map(|value| value.to_str().unwrap().to_owned());
        Ok(Response::new(pb::EndSessionResponse {}))
    }

    async fn get_session(
        &self,
        request: Request<pb::GetSessionRequest>,
    ) -> Result<Response<pb::GetSessionResponse>, Status> {
        let session = SessionId::try_from(request.into_inner())?;
        Err(Refusal::SessionNotFound { session }.into())
    }

    async fn list_sessions(
        &self,
        _request: Request<pb::ListSessionsRequest>,
    ) -> Result<Response<pb::ListSessionsResponse>, Status> {
        Err(Status::aborted("said by somebody who knows no details"))
    }
}

/// Runs a test beside a server that ends with it.
async fn with_server(sessions: Sessions, test: impl AsyncFnOnce(Client)) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = tonic::transport::Server::builder()
        .add_service(SessionServiceServer::new(sessions))
        .serve_with_incoming(TcpListenerStream::new(listener));
    let hook = CallHook::new(|metadata| {
        assert!(metadata.set("x-correlation-id", "test:1"));
    });
    let client = connect(&url, hook).unwrap();
    tokio::select! {
        ended = server => panic!("the server ended: {ended:?}"),
        () = test(client) => {}
    }
}

fn session() -> SessionId {
    SessionId::new(Uuid::from_u128(5))
}

fn heartbeat() -> Heartbeat {
    let status = AgentStatus {
        realtime_ready: true,
        watched_directories: 3,
        watch_limit: Some(10),
        unwatched_directories: 0,
        queue_depth: 0,
        spool_bytes: 0,
        oldest_unacknowledged: None,
        root_state: RootState::Available,
        errors: vec!["é".to_owned()],
        scan: None,
        file_stats: 9,
        left_out: Vec::new(),
    };
    Heartbeat {
        session: session(),
        agent_time: None,
        delivered_through: Some(ServerTime::from_nanos(-1)),
        status: Some(status),
        reports: Vec::new(),
    }
}

#[tokio::test]
async fn an_answer_arrives_as_it_was_sent() {
    let sessions = Sessions::default();
    let beats = Arc::clone(&sessions.beats);
    with_server(sessions, async |mut client: Client| {
        let heard = client.sessions.heartbeat(&heartbeat()).await.unwrap();
        assert_eq!((heard.role, heard.leader_epoch), (Role::Leader, LeaderEpoch(4)));
        assert_eq!(heard.server_time, ServerTime::from_nanos(7));
        assert_eq!(*beats.lock().unwrap(), [heartbeat()]);

        let error = client.sessions.heartbeat(&heartbeat()).await.unwrap_err();
        assert_eq!(error, CallError::Refused(obsolete(session())));
    })
    .await;
}

#[tokio::test]
async fn a_refusal_arrives_with_its_fields() {
    with_server(Sessions::default(), async |mut client: Client| {
        let asked = CreateSession {
            view: ViewName::new("home").unwrap(),
            agent: AgentId::new("a").unwrap(),
            instance: InstanceId::new(Uuid::nil()),
            spool: SpoolId::new(Uuid::nil()),
            client: ClientInfo::default(),
            root: RootClaim { uri: "file://h/".to_owned(), identity: RootIdentity::default() },
            capabilities: Vec::new(),
            proposed_timeout: Some(REFUSING),
        };
        let error = client.sessions.create(&asked).await.unwrap_err();
        assert_eq!(error, CallError::Refused(mismatch()));

        let too_long = ClientInfo { name: "x".repeat(100), ..ClientInfo::default() };
        let error = client.sessions.create(&CreateSession { client: too_long, ..asked }).await;
        let Err(CallError::Refused(Refusal::InvalidArgument { violations })) = error else {
            panic!("not refused for its argument: {error:?}");
        };
        assert_eq!(violations[0].field, "client.name");

        let error = client.sessions.get(session()).await.unwrap_err();
        assert_eq!(error, CallError::Refused(Refusal::SessionNotFound { session: session() }));
    })
    .await;
}

#[tokio::test]
async fn a_bare_aborted_is_an_obsolete_session() {
    with_server(Sessions::default(), async |mut client: Client| {
        let asked = crate::convert::session::ListSessions {
            view: None,
            page: crate::convert::view::Page { size: 0, token: String::new() },
        };
        let error = client.sessions.list(&asked).await.unwrap_err();
        let Refusal::SessionObsolete { session: None, cause: ObsoleteCause::Unknown, .. } =
            refused(error)
        else {
            panic!("not understood");
        };
    })
    .await;
}

#[track_caller]
fn refused(error: CallError) -> Refusal {
    match error {
        CallError::Refused(refusal) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn the_hook_writes_on_every_call() {
    let sessions = Sessions::default();
    let correlation = Arc::clone(&sessions.correlation);
    with_server(sessions, async |mut client: Client| {
        let asked = EndSession { session: session(), allow_missing: false };
        client.sessions.end(&asked).await.unwrap();
        assert_eq!(correlation.lock().unwrap().as_deref(), Some("test:1"));
    })
    .await;
}

#[tokio::test]
async fn a_service_that_is_not_there_and_a_server_that_is_not_there() {
    with_server(Sessions::default(), async |mut client: Client| {
        let error = client.views.list_views().await.unwrap_err();
        let CallError::Other(other) = &error else { panic!("{error:?}") };
        assert_eq!(other.code, Code::Unimplemented);
        assert!(!error.is_unreachable());
    })
    .await;
    // Nobody listens on the port of tcpmux.
    let mut client = connect("http://127.0.0.1:1", CallHook::none()).unwrap();
    let error = client.views.list_views().await.unwrap_err();
    assert!(error.is_unreachable(), "{error}");
    assert!(error.to_string().contains("refused"), "{error}");
}

#[test]
fn urls_that_are_none_are_named() {
    for bad in ["", "localhost", "localhost:7700", "/x", "ftp://a", "https://a:1", "http://"] {
        let error = lazy_channel(bad).unwrap_err();
        assert_eq!(error.url, bad, "{error}");
    }
}

#[test]
fn a_hook_writes_what_can_be_sent() {
    let mut hook = CallHook::new(|metadata| {
        assert!(metadata.set(limits::CORRELATION_ID_KEY, "a:1"));
        assert!(!metadata.set("no key", "x"));
        assert!(!metadata.set("key", "line\nbreak"));
    });
    let request = hook.call(Request::new(())).unwrap();
    let value = request.metadata().get(limits::CORRELATION_ID_KEY).unwrap();
    assert_eq!(value, "a:1");
    assert!(CallHook::none().call(Request::new(())).unwrap().metadata().is_empty());
}

#[test]
fn only_a_bare_unavailable_is_unreachable() {
    assert!(CallError::from(Status::unavailable("no route")).is_unreachable());
    assert!(!CallError::from(Status::internal("x")).is_unreachable());
    let draining = Refusal::ServerDraining { retry_after: Duration::ZERO };
    let error = CallError::from(draining.clone().into_status());
    assert!(!error.is_unreachable());
    assert_eq!(error, CallError::Refused(draining));
}
