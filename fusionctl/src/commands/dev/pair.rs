//! The servers and the agent of `fusionctl dev`, each on tasks of this process; several servers share a NATS.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use agent_client::agent::{self, Agent};
use agent_client::config::{AgentConfig, ServerUrl};
use fusion_core::id::ViewName;
use fusion_server::app::{self, Server, ServerError};
use fusion_server::config::{
    ChangeLogConfig, ChangeLogEngine, ClusterConfig, Config, ListenerConfig, NatsSync, StateConfig,
    StateEngine,
};
use tempfile::TempDir;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::exit::Failure;

use super::Request;
use super::nats::Nats;
use super::progress::AgentProgress;

/// Where a server listens unless told otherwise.
const USUAL_GRPC: u16 = 7700;
const USUAL_HTTP: u16 = 7701;
/// Each ends within this, or is left behind: who presses Ctrl-C does not wait.
const END: Duration = Duration::from_millis(850);
/// How often it is looked whether NATS is there.
const NATS_LOOK: Duration = Duration::from_millis(250);

/// Running servers and an agent. Ending it ends the agent first, so that its session ends well.
pub(super) struct Pair {
    /// Where to ask.
    pub(super) url: String,
    /// Where each server listens for gRPC and for HTTP.
    pub(super) listens: Vec<(SocketAddr, SocketAddr)>,
    /// How the agent is doing.
    pub(super) progress: AgentProgress,
    agent: Part,
    servers: Vec<Part>,
    /// What several servers share.
    nats: Option<Nats>,
    /// State that goes with the end; absent if a directory was named.
    _temporary: Option<TempDir>,
}

/// A part that runs until it is told to stop, or fails.
struct Part {
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<(), String>>,
}

impl Pair {
    /// Starts the server, then the agent.
    ///
    /// # Errors
    /// The directory or the place for state cannot be used, or no address can be listened on.
    pub(super) async fn start(request: &Request, view: &ViewName) -> Result<Self, Failure> {
        check_dir(&request.dir)?;
        let (state, temporary) = state_dir(request.data_dir.as_deref())?;
        let (mut listens, mut servers) = (Vec::new(), Vec::new());
        let nats = match request.servers {
            0 | 1 => None,
            _ => Some(Nats::start(&state.join("nats")).await?),
        };
        for number in 1..=request.servers.max(1) {
            let server = start_server(&state, number, nats.as_ref()).await?;
            listens.push((server.grpc_address(), server.http_address()));
            servers.push(Part::spawn("server", |stop| async move {
                server.run(stop).await.map_err(|error| error.to_string())
            }));
        }
        let url = format!("http://{}", listens[0].0);
        let agent = start_agent(&url, view, &request.dir, &state).await?;
        let progress = agent.progress();
        let agent = Part::spawn("agent", |stop| async move {
            agent.run(stop).await.map_err(|error| error.to_string())
        });
        Ok(Self { url, listens, progress, agent, servers, nats, _temporary: temporary })
    }

    /// Waits until a part ends by itself, which it should not.
    pub(super) async fn failed(&mut self) -> Failure {
        tokio::select! {
            why = self.agent.ended() => Failure::refused(format!("the agent ended: {why}")),
            why = any_ended(&mut self.servers) => Failure::refused(format!("a server ended: {why}")),
            () = nats_ended(self.nats.as_mut()) => Failure::refused("nats-server ended".to_owned()),
        }
    }

    /// Ends the agent, then the servers together, then what they share.
    ///
    /// # Errors
    /// One of them did not end well.
    pub(super) async fn end(self) -> Result<(), Failure> {
        self.agent.end("agent").await?;
        self.servers.iter().for_each(Part::tell);
        for server in self.servers {
            server.end("server").await?;
        }
        Ok(())
    }

    /// The flag that `fusionctl` needs to find this server; nothing if it is where it usually is.
    pub(super) fn flag(&self) -> String {
        if self.listens[0].0.port() == USUAL_GRPC {
            String::new()
        } else {
            format!("--server {} ", self.url)
        }
    }
}

impl Part {
    #[expect(clippy::disallowed_methods, reason = "the one place that spawns; `Part` is its owner")]
    fn spawn<F>(_name: &'static str, run: impl FnOnce(Stop) -> F) -> Self
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        let (stop, stopped) = watch::channel(false);
        Self { stop, task: tokio::spawn(run(Box::pin(until(stopped)))) }
    }

    async fn ended(&mut self) -> String {
        match (&mut self.task).await {
            Ok(Ok(())) => "it was told to stop".to_owned(),
            Ok(Err(why)) => why,
            Err(error) => error.to_string(),
        }
    }

    /// Tells it to end.
    fn tell(&self) {
        let _ = self.stop.send(true);
    }

    async fn end(mut self, name: &str) -> Result<(), Failure> {
        if self.task.is_finished() {
            return Ok(());
        }
        self.tell();
        match tokio::time::timeout(END, &mut self.task).await {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(why))) => Err(Failure::refused(format!("end the {name}: {why}"))),
            Ok(Err(error)) => Err(Failure::refused(format!("end the {name}: {error}"))),
            Err(_) => {
                self.task.abort();
                Ok(())
            }
        }
    }
}

/// Waits until one of them ends by itself.
async fn any_ended(servers: &mut [Part]) -> String {
    let ended = servers.iter_mut().map(|server| Box::pin(server.ended()));
    futures_util::future::select_all(ended).await.0
}

/// Waits until NATS ends by itself; for ever if there is none.
async fn nats_ended(nats: Option<&mut Nats>) {
    let Some(nats) = nats else { return std::future::pending().await };
    while !nats.has_ended() {
        tokio::time::sleep(NATS_LOOK).await;
    }
}

type Stop = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

async fn until(mut stopped: watch::Receiver<bool>) {
    // The sender going away means the same as its word.
    let _ = stopped.wait_for(|stop| *stop).await;
}

/// Ctrl-C and SIGTERM, from the moment this is made: one that comes while nobody waits is kept.
pub(super) struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupts {
    /// Begins to listen.
    ///
    /// # Errors
    /// The system refuses.
    pub(super) fn listen() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind).map_err(|error| Failure::refused(format!("listen for Ctrl-C: {error}")))
        };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    /// Waits for one.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

fn check_dir(dir: &Path) -> Result<(), Failure> {
    let wrong = |why: String| Failure::refused(format!("directory {}: {why}", dir.display()));
    let meta = std::fs::metadata(dir).map_err(|error| wrong(error.to_string()))?;
    if !meta.is_dir() {
        return Err(wrong("is not a directory".to_owned()));
    }
    std::fs::read_dir(dir).map(drop).map_err(|error| wrong(error.to_string()))
}

fn state_dir(named: Option<&Path>) -> Result<(PathBuf, Option<TempDir>), Failure> {
    if let Some(dir) = named {
        std::fs::create_dir_all(dir)
            .map_err(|error| Failure::refused(format!("--data-dir {}: {error}", dir.display())))?;
        return Ok((dir.to_owned(), None));
    }
    let made = tempfile::Builder::new().prefix("fusion-dev-").tempdir();
    let made =
        made.map_err(|error| Failure::refused(format!("make a temporary directory: {error}")))?;
    Ok((made.path().to_owned(), Some(made)))
}

/// Listens on the usual ports, ten further for each further server, or on free ones if one of them is taken.
async fn start_server(state: &Path, number: u8, nats: Option<&Nats>) -> Result<Server, Failure> {
    let more = 10 * u16::from(number - 1);
    let usual = configuration(state, number, nats, (USUAL_GRPC + more, USUAL_HTTP + more));
    let built = match build_server(usual).await {
        Err(ServerError::Listen { .. }) => {
            build_server(configuration(state, number, nats, (0, 0))).await
        }
        built => built,
    };
    built.map_err(|error| Failure::refused(error.to_string()))
}

fn configuration(
    state: &Path,
    number: u8,
    nats: Option<&Nats>,
    (grpc, http): (u16, u16),
) -> Config {
    let listener = |port| ListenerConfig {
        address: SocketAddr::from(([127, 0, 0, 1], port)),
        allow_plaintext: false,
    };
    let alone = Config {
        grpc: listener(grpc),
        http: listener(http),
        data_dir: Some(state.join("server")),
        ..Config::default()
    };
    let Some(nats) = nats else { return alone };
    let change_log = ChangeLogConfig {
        engine: ChangeLogEngine::Nats,
        servers: vec![nats.url.clone()],
        replicas: 1,
        sync: NatsSync::Always,
        ..ChangeLogConfig::default()
    };
    let reached = Some(change_log.settings());
    Config {
        data_dir: Some(state.join(format!("server-{number}"))),
        change_log,
        state: StateConfig { engine: StateEngine::Nats, nats: reached, ..StateConfig::default() },
        // Its address is known when it listens.
        cluster: Some(ClusterConfig::default()),
        ..alone
    }
}

async fn build_server(config: Config) -> Result<Server, ServerError> {
    let mut deps = app::Deps::bind(&config).await?;
    if let Some(membership) = &mut deps.membership
        && let Ok(address) = deps.grpc.local_addr()
    {
        membership.address = format!("http://{address}");
    }
    app::build(config, deps)
}

async fn start_agent(
    url: &str,
    view: &ViewName,
    dir: &Path,
    state: &Path,
) -> Result<Agent, Failure> {
    let refused = |why: String| Failure::refused(format!("start the agent: {why}"));
    let url = ServerUrl::new(url).map_err(refused)?;
    let config = AgentConfig::new(url, view.clone(), dir.to_owned(), state.join("agent"));
    agent::build(config, agent::Deps::default()).await.map_err(|error| refused(error.to_string()))
}
