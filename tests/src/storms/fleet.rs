//! What a storm comes over: three servers, each on a host of its own, their engines, and five agents on one tree.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use fusion_core::id::ViewName;
use fusion_proto::views::ViewsClient;
use fusion_store::Ownership as _;
use fusion_store::engines::nats::{Nats, NatsOwnership, NatsSettings};
use tempfile::TempDir;

use super::clerk::{self, Clerk};
use super::engines::{Engines, StateOn};
use super::lan::{self, Lan};
use super::readers::FOLDER;
use crate::binaries;
use crate::faults::proxy::Proxy;
use crate::launch::Launch;
use crate::pair::Agent;
use crate::process::Process;

/// Servers.
pub const SERVERS: usize = 3;
/// Agents, all on one tree; the first two on one more.
pub const AGENTS: usize = 5;
/// How long an owner may be silent, as the servers are told.
pub const LEASE: Duration = Duration::from_secs(3);

/// The host that the agents are on.
const AGENTS_HOST: usize = SERVERS;
const GRPC: u16 = 7700;
const HTTP: u16 = 7701;
const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

/// A look at a view takes moments here, and no audit heals what was lost: there is none but what the rules order.
const VIEWS: &str = r#"
[view_defaults]
cache_horizon = "200ms"
hot_threshold = "100ms"
session_timeout = "30s"
audit_interval = "1h"
[views.tree]
[views.beside]
[views.acknowledged]
"#;

/// Everything; it ends when this does.
#[derive(Debug)]
pub struct Fleet {
    /// The servers that run.
    pub servers: Vec<Option<Process>>,
    /// The agents.
    pub agents: Vec<Agent>,
    /// What they all stand on.
    pub engines: Engines,
    roll: Arc<NatsOwnership>,
    /// One address for all servers, as a service of Kubernetes is one; on the agents' host.
    front: Proxy,
    folder: TempDir,
    clocked: Option<usize>,
    /// The network, after all that is in it.
    pub lan: Lan,
}

/// What there is of it.
#[derive(Debug, Clone, Copy)]
pub struct Setup {
    /// What keeps the state.
    pub state: StateOn,
    /// Each node of NATS has a small disk of its own.
    pub small_disks: bool,
    /// The server whose clock can be set.
    pub clocked: Option<usize>,
    /// How many agents.
    pub agents: usize,
}

impl Setup {
    /// The usual on a state.
    #[must_use]
    pub fn on(state: StateOn) -> Self {
        Self { state, small_disks: false, clocked: None, agents: AGENTS }
    }
}

/// Who owns a view, as the engine has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    /// The number of the ownership.
    pub epoch: u64,
    /// The server; none if it was given away, or is not one that is still known.
    pub server: Option<usize>,
}

impl Fleet {
    /// Starts everything, and the calling thread is in its network from then on.
    ///
    /// # Panics
    /// Something does not come up.
    #[must_use]
    pub fn start(setup: &Setup) -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let mut lan = Lan::make(SERVERS + 1);
        lan.enter();
        for tree in ["tree/work", "beside/work"] {
            fs::create_dir_all(folder.path().join(tree)).expect("a tree");
        }
        fs::create_dir(folder.path().join("tree").join(FOLDER)).expect("the readers' folder");
        let engines = Engines::start(folder.path(), setup.state, setup.small_disks);
        let settings = NatsSettings {
            timeout: Duration::from_secs(2),
            replicas: 3,
            ..NatsSettings::new(engines.nats.urls())
        };
        let nats = Nats::connect(settings).expect("NATS");
        let roll = Arc::new(nats.ownership().expect("the bucket of owners"));
        let hosts: Vec<_> = (0..SERVERS).map(grpc).collect();
        let front = lan.do_on(AGENTS_HOST, || Proxy::at("127.0.0.1:7700", &hosts));
        let mut fleet = Self {
            servers: (0..SERVERS).map(|_| None).collect(),
            agents: Vec::new(),
            engines,
            roll,
            front,
            folder,
            clocked: setup.clocked,
            lan,
        };
        for server in 0..SERVERS {
            fleet.write_config(server);
            fleet.start_server(server);
        }
        for agent in 0..setup.agents {
            let started = fleet.launch(agent).start();
            fleet.agents.push(started);
        }
        fleet
    }

    fn write_config(&self, server: usize) {
        let text = format!(
            "data_dir = {:?}\nshutdown_grace = \"8s\"\n\
             [listen.grpc]\naddress = \"{}\"\nallow_plaintext = true\n\
             [listen.http]\naddress = \"{}\"\nallow_plaintext = true\n{}\
             [cluster]\nadvertise = \"{}\"\nlease = \"{}s\"\nmemory = \"1GiB\"\n{VIEWS}",
            self.path(&format!("server{server}")),
            grpc(server),
            http(server),
            self.engines.config(),
            url(server),
            LEASE.as_secs(),
        );
        fs::write(self.path(&format!("server{server}.toml")), text).expect("its configuration");
        self.set_clock(server, 0);
    }

    /// Starts a server (again), where it was.
    ///
    /// # Panics
    /// It does not come up.
    pub fn start_server(&mut self, server: usize) {
        let mut process = self.spawn_server(server);
        let _ = process.address(&self.address_file(server), "grpc");
        self.servers[server] = Some(process);
    }

    fn address_file(&self, server: usize) -> PathBuf {
        self.path(&format!("server{server}.address"))
    }

    fn spawn_server(&self, server: usize) -> Process {
        let _ = fs::remove_file(self.address_file(server));
        let [ip, netns, exec, space] = self.lan.on(server);
        let mut command = Command::new(ip);
        command.args([netns, exec, space]).arg(binaries::path("fusion-server"));
        command.arg("--config").arg(self.path(&format!("server{server}.toml")));
        command.arg("--address-file").arg(self.address_file(server));
        if self.clocked == Some(server) {
            command.env("LD_PRELOAD", LIBRARY).env("FAKETIME_NO_CACHE", "1");
            command.env("FAKETIME_TIMESTAMP_FILE", self.path(&format!("clock{server}")));
            command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        }
        Process::start("fusion-server", &mut command, &self.path(&format!("server{server}.log")))
    }

    /// The server whose clock can be set.
    #[must_use]
    pub fn clocked(&self) -> Option<usize> {
        self.clocked
    }

    /// Sets the clock of the server of which it can be set, so many hours ahead.
    ///
    /// # Panics
    /// The file cannot be written.
    pub fn set_clock(&self, server: usize, hours: i32) {
        fs::write(self.path(&format!("clock{server}")), format!("{hours:+}h")).expect("the clock");
    }

    /// kill -9 of a server.
    pub fn kill_server(&mut self, server: usize) {
        if let Some(mut process) = self.servers[server].take() {
            process.kill();
        }
    }

    /// The process of a server that runs.
    ///
    /// # Panics
    /// It does not run.
    pub fn server(&mut self, server: usize) -> &mut Process {
        self.servers[server].as_mut().expect("a server that runs")
    }

    /// An agent, by its number, to be started.
    pub fn launch(&self, agent: usize) -> Launch {
        let name = agent_name(agent);
        let launch = Launch::at(self.folder.path(), &name, self.front.url());
        let launch = launch
            .prefix(self.lan.on(AGENTS_HOST))
            .http(&format!("{}:0", lan::address(AGENTS_HOST)))
            .tree("tree", &self.root("tree"));
        if agent < 2 { launch.tree("beside", &self.root("beside")) } else { launch }
    }

    /// The root of a view.
    #[must_use]
    pub fn root(&self, view: &str) -> PathBuf {
        self.path(view)
    }

    /// Who owns a view now, as the engine has it; none if nobody ever did, or the engine does not answer.
    #[must_use]
    pub fn owner(&self, view: &str) -> Option<Owner> {
        clerk::owner(&self.roll.roll().ok()?, view)
    }

    /// What the stream of the tree's log is called, its prefix aside.
    ///
    /// # Panics
    /// The engine does not answer.
    #[must_use]
    pub fn stream(&self) -> String {
        let roll = self.roll.roll().expect("the claims");
        let claim = roll.claims.iter().find(|claim| claim.it.view.name.as_str() == "tree");
        format!("log_{}", claim.expect("a claim").it.view.id.0.simple())
    }

    /// Begins to write down who owns the tree.
    #[must_use]
    pub fn clerk(&self) -> Clerk {
        Clerk::begin(Arc::clone(&self.roll))
    }

    /// Packets between a server and the agents vanish.
    pub fn cut_agents(&self, server: usize, way: lan::Way) {
        self.lan.cut(server, &lan::address(AGENTS_HOST), way);
    }

    /// Packets between a server and the engines vanish.
    pub fn cut_engines(&self, server: usize, way: lan::Way) {
        self.lan.cut(server, lan::ENGINES, way);
    }

    /// A place beside the trees.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The folder of everything.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// The name of an agent.
#[must_use]
pub fn agent_name(agent: usize) -> String {
    format!("agent{agent}")
}

/// Where a server answers gRPC.
#[must_use]
pub fn url(server: usize) -> String {
    format!("http://{}", grpc(server))
}

fn grpc(server: usize) -> String {
    format!("{}:{GRPC}", lan::address(server))
}

/// Where a server answers HTTP.
#[must_use]
pub fn http(server: usize) -> String {
    format!("{}:{HTTP}", lan::address(server))
}

/// A client of one server.
///
/// # Panics
/// Our own address is malformed.
#[must_use]
pub fn client(server: usize) -> ViewsClient {
    ViewsClient::connect(&url(server)).expect("a URL")
}

/// A view's name.
///
/// # Panics
/// It is none.
#[must_use]
pub fn view(name: &str) -> ViewName {
    ViewName::new(name).expect("a name")
}
