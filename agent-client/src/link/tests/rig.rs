//! A link on the scripted server of [`fake`](super::fake), over connections in memory.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use fusion_core::evidence::{RootIdentity, RootState};
use fusion_core::id::{AgentId, InstanceId, SessionId, ViewName};
use fusion_core::time::{AgentTime, Monotonic};
use fusion_proto::client::ClientTls;
use futures_util::future::BoxFuture;
use hyper_util::rt::TokioIo;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use uuid::Uuid;

use super::fake::{Fake, Script};
use crate::agent::spooler::SharedSpool;
use crate::clock::RuntimeClock;
use crate::config::{ServerUrl, ServerUrls};
use crate::ids::RandomIds;
use crate::link::{
    AgentStatus, ClientInfo, Link, LinkConfig, LinkDeps, LinkError, LinkHandle, Reporter, RootKnown,
};
use crate::ops::metrics::{Exposition, Metrics};
use crate::scan::Exclusion;
use crate::spawn::{Task, spawn};

/// Says that all is well.
struct Well;

impl Reporter for Well {
    fn status(&self) -> AgentStatus {
        AgentStatus {
            realtime_ready: true,
            watched_directories: 1,
            watch_limit: Some(10),
            unwatched_directories: 0,
            queue_depth: 0,
            spool_bytes: 0,
            oldest_unacknowledged: None,
            root_state: RootState::Available,
            errors: Vec::new(),
            scan: None,
            file_stats: 0,
            left_out: Vec::new(),
        }
    }

    fn exclude(&self, _: &[String]) -> Result<(), String> {
        Ok(())
    }

    fn exclusion(&self) -> Arc<Exclusion> {
        Arc::default()
    }

    fn root_identity(&self) -> BoxFuture<'_, RootKnown> {
        let identity = RootIdentity { inode: 2, ..RootIdentity::default() };
        Box::pin(std::future::ready(RootKnown { identity, is_now: true }))
    }

    fn delivered_through(&self) -> Option<Monotonic> {
        None
    }
}

/// A link with a scripted server behind it.
pub(crate) struct Rig {
    pub(crate) fake: Fake,
    pub(crate) handle: LinkHandle,
    pub(crate) spool: SharedSpool,
    pub(crate) shown: Exposition,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    link: Task<Result<(), LinkError>>,
    _servers: Vec<Task<()>>,
    pub(crate) folder: tempfile::TempDir,
}

impl Rig {
    /// Starts server and link.
    pub(crate) fn start(prepare: impl FnOnce(&mut Script)) -> Self {
        let fake = Fake::new(prepare);
        Self::on(&[("http://fake:1", &fake)], "http://fake:1")
    }

    /// The same on several servers by their addresses, of which some are configured; the first one is
    /// `fake`.
    pub(crate) fn on(fakes: &[(&'static str, &Fake)], servers: &str) -> Self {
        let fake = fakes[0].1.clone();
        let mut serving = Vec::new();
        let mut doors = HashMap::new();
        for (url, fake) in fakes {
            let (connections, incoming) = mpsc::channel::<Result<DuplexStream, std::io::Error>>(8);
            let services = fake.router();
            serving.push(spawn("fake server", async {
                services.serve_with_incoming(ReceiverStream::new(incoming)).await.unwrap();
            }));
            doors.insert(*url, connections);
        }
        let config = config(servers);
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(RuntimeClock::starting_at(AgentTime::from_nanos(5)));
        let ids = Arc::new(RandomIds);
        let spool = SharedSpool::alone(folder.path(), clock.clone(), ids.clone()).unwrap();
        let shown = Exposition::new().unwrap();
        let metrics = Arc::new(Metrics::new(&shown, &config.view).unwrap());
        let deps = LinkDeps {
            clock,
            ids,
            metrics,
            reporter: Arc::new(Well),
            news: Arc::default(),
            spool: spool.clone(),
        };
        let connect =
            move |server: &ServerUrl| Ok::<_, LinkError>(connect(doors[server.as_str()].clone()));
        let (link, handle) = Link::connected_by(config, deps, Box::new(connect)).unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let link = spawn(
            "link",
            link.run(async {
                let _ = stopped.await;
            }),
        );
        let stop = Some(stop);
        Self { fake, handle, spool, shown, stop, link, _servers: serving, folder }
    }

    /// Runs until the script says so; on paused time this costs none.
    pub(crate) async fn until(&self, what: &str, is: impl Fn(&Script) -> bool) {
        Self::until_at(&self.fake, what, is).await;
    }

    /// The same of any server.
    pub(crate) async fn until_at(fake: &Fake, what: &str, is: impl Fn(&Script) -> bool) {
        for _ in 0..20_000 {
            if is(&fake.script()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("never: {what}");
    }

    /// Waits for a session and gives it.
    pub(crate) async fn session(&mut self) -> SessionId {
        let view = self.handle.view.wait_for(|view| view.standing.is_some()).await.unwrap();
        view.standing.as_ref().unwrap().session
    }

    /// Tells the link to stop, and gives how it ended.
    pub(crate) async fn stop(mut self) -> Result<(), LinkError> {
        let _ = self.stop.take().unwrap().send(());
        self.link.await.unwrap()
    }

    /// How the link ended by itself.
    pub(crate) async fn ended(self) -> Result<(), LinkError> {
        self.link.await.unwrap()
    }
}

fn config(servers: &str) -> LinkConfig {
    LinkConfig {
        servers: ServerUrls::new(servers).unwrap(),
        tls: ClientTls::default(),
        token_file: None,
        view: ViewName::new("v").unwrap(),
        agent: AgentId::new("agent-1").unwrap(),
        instance: InstanceId::new(Uuid::new_v4()),
        client: ClientInfo::default(),
        root_uri: "file://test/".into(),
        proposed_timeout: None,
    }
}

fn connect(connections: mpsc::Sender<Result<DuplexStream, std::io::Error>>) -> Channel {
    Endpoint::from_static("http://fake:1").connect_with_connector_lazy(tower::service_fn(
        move |_: tonic::transport::Uri| {
            let connections = connections.clone();
            async move {
                let (ours, theirs) = tokio::io::duplex(1 << 20);
                let taken = connections.send(Ok(theirs)).await;
                taken.map_err(|_| std::io::ErrorKind::ConnectionRefused)?;
                Ok::<_, std::io::Error>(TokioIo::new(ours))
            }
        },
    ))
}
