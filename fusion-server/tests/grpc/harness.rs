//! A running server and its clients, so that a test reads: start, call, assert.

use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use fusion_core::time::Clock;
use fusion_proto::pb;
use fusion_proto::pb::admin_service_client::AdminServiceClient;
use fusion_proto::pb::event_service_client::EventServiceClient;
use fusion_proto::pb::job_service_client::JobServiceClient;
use fusion_proto::pb::session_service_client::SessionServiceClient;
use fusion_proto::pb::view_service_client::ViewServiceClient;
use fusion_proto::status::Refusal;
use fusion_server::app::{self, Deps};
use fusion_server::clock::RuntimeClock;
use fusion_server::config::Config;
use fusion_server::stores::Stores;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tonic::Status;
use tonic::transport::Channel;
use uuid::Uuid;

pub(crate) const VIEW: &str = "v";

/// A server that ends with the test.
pub(crate) struct TestServer {
    pub(crate) sessions: SessionServiceClient<Channel>,
    pub(crate) events: EventServiceClient<Channel>,
    pub(crate) views: ViewServiceClient<Channel>,
    pub(crate) admin: AdminServiceClient<Channel>,
    pub(crate) jobs: JobServiceClient<Channel>,
    pub(crate) channel: Channel,
    pub(crate) grpc: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) health: Option<SocketAddr>,
    stop: Option<oneshot::Sender<()>>,
    running: JoinSet<()>,
    /// A paused runtime lets time jump when all its tasks wait, but ours also wait for sockets and
    /// view threads. As long as something runs on the blocking pool it does not.
    _no_jumps: mpsc::Sender<()>,
}

/// Loopback ports of the system's choice, and no view until an agent names one.
pub(crate) fn config() -> Config {
    let mut config = Config::default();
    config.grpc.address.set_port(0);
    config.http.address.set_port(0);
    config
}

pub(crate) async fn start() -> TestServer {
    start_with(config()).await
}

pub(crate) async fn start_with(config: Config) -> TestServer {
    start_on(config, Arc::new(RuntimeClock::new())).await
}

pub(crate) async fn start_on(config: Config, clock: Arc<dyn Clock>) -> TestServer {
    start_in(config, clock, Stores::memory()).await
}

/// A server on stores that another one may have used before.
pub(crate) async fn start_in(config: Config, clock: Arc<dyn Clock>, stores: Stores) -> TestServer {
    let deps = Deps { clock, stores, ..Deps::bind(&config).await.unwrap() };
    start_given(config, deps).await
}

/// A server with all that it is given from outside.
pub(crate) async fn start_given(config: Config, deps: Deps) -> TestServer {
    let (no_jumps, held) = mpsc::channel();
    let mut running = JoinSet::new();
    running.spawn_blocking(move || {
        let _ = held.recv();
    });
    let server = app::build(config, deps).unwrap();
    let (grpc, http) = (server.grpc_address(), server.http_address());
    let health = server.health_address();
    let (stop, stopped) = oneshot::channel::<()>();
    running.spawn(async move { server.run(async { drop(stopped.await) }).await.unwrap() });
    let channel = Channel::from_shared(format!("http://{grpc}")).unwrap().connect_lazy();
    TestServer {
        sessions: SessionServiceClient::new(channel.clone()),
        events: EventServiceClient::new(channel.clone()),
        views: ViewServiceClient::new(channel.clone()),
        admin: AdminServiceClient::new(channel.clone()),
        jobs: JobServiceClient::new(channel.clone()),
        channel,
        grpc,
        http,
        health,
        stop: Some(stop),
        running,
        _no_jumps: no_jumps,
    }
}

impl TestServer {
    /// Tells the server to end.
    pub(crate) fn stop(&mut self) {
        drop(self.stop.take());
    }

    /// Waits until its run is over, whatever is still held up.
    pub(crate) async fn run_is_over(&mut self) {
        self.running.join_next().await.unwrap().unwrap();
    }

    /// Waits until it has.
    pub(crate) async fn ended(mut self) {
        self.stop();
        drop(self._no_jumps);
        while let Some(ended) = self.running.join_next().await {
            ended.unwrap();
        }
    }

    /// A session of `agent` with a spool of its own.
    pub(crate) async fn join(&mut self, agent: &str) -> pb::CreateSessionResponse {
        self.sessions.create_session(asks(agent)).await.unwrap().into_inner()
    }

    pub(crate) async fn beat(&mut self, session: &str) -> Result<pb::HeartbeatResponse, Status> {
        let beat = pb::HeartbeatRequest { session_id: session.to_owned(), ..Default::default() };
        self.sessions.heartbeat(beat).await.map(tonic::Response::into_inner)
    }

    /// The answer to a GET request: status line and all.
    pub(crate) async fn get(&self, path: &str) -> String {
        let mut stream = tokio::net::TcpStream::connect(self.http).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// What `/metrics` says of a series; 0 if it does not know it.
    pub(crate) async fn metric(&self, series: &str) -> u64 {
        let text = self.get("/metrics").await;
        let value = |line: &str| Some(line.strip_prefix(series)?.strip_prefix(' ')?.to_owned());
        text.lines().find_map(value).map_or(0, |value| value.trim().parse().unwrap())
    }
}

/// A UUID that belongs to a text.
pub(crate) fn uuid(of: &str) -> String {
    let bytes: Vec<u8> = of.bytes().cycle().take(16).collect();
    Uuid::from_slice(&bytes).unwrap().to_string()
}

/// What `agent` asks for a session with; the spool is named after it.
pub(crate) fn asks(agent: &str) -> pb::CreateSessionRequest {
    pb::CreateSessionRequest {
        view: VIEW.to_owned(),
        agent_id: agent.to_owned(),
        instance_id: uuid("instance"),
        spool_id: uuid(agent),
        client: Some(pb::Client { hostname: format!("host-{agent}"), ..Default::default() }),
        root: Some(pb::Root {
            uri: "file://host/tree".to_owned(),
            identity: Some(pb::RootIdentity::default()),
        }),
        capabilities: vec![pb::Capability::Realtime.into(), pb::Capability::Scan.into()],
        proposed_timeout: None,
    }
}

/// The same from a root that has this entry at its top.
pub(crate) fn asks_with_top(agent: &str, name: &str, inode: u64) -> pb::CreateSessionRequest {
    let mut asks = asks(agent);
    let top = vec![pb::root_identity::TopEntry { name: name.as_bytes().to_vec().into(), inode }];
    let identity = Some(pb::RootIdentity { top, ..Default::default() });
    asks.root = Some(pb::Root { uri: "file://host/tree".to_owned(), identity });
    asks
}

/// The row of the status table that a call was refused with.
pub(crate) fn refusal<T: std::fmt::Debug>(answer: Result<T, Status>) -> Refusal {
    let status = answer.expect_err("must be refused");
    Refusal::from_status(&status).unwrap_or_else(|other| panic!("not of the table: {other:?}"))
}

pub(crate) async fn advance(span: Duration) {
    tokio::time::advance(span).await;
}
