//! Servers of a cluster, each with its own ports and data directory, beside the engines that they share.

use std::path::PathBuf;
use std::process::{Command, ExitStatus, Output};
use std::time::{Duration, Instant};

use fusion_core::id::ViewName;
use fusion_proto::views::ViewsClient;
use fusion_store::engines::nats::{Nats, NatsOwnership, NatsSettings};
use fusion_store::engines::started::own_port;
use fusion_store::{Ownership as _, Roll};
use fusion_tests::launch::Launch;
use fusion_tests::pair::text;
use fusion_tests::process::Process;
use fusion_tests::{binaries, compare};
use tempfile::TempDir;

/// What is waited for on a busy machine; the longest is a lease and a load.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// As servers have it unless they are told otherwise.
pub(crate) const LEASE: Duration = Duration::from_secs(3);

const VIEWS: &str = r#"
[view_defaults]
cache_horizon = "200ms"
hot_threshold = "100ms"
session_timeout = "30s"
[views.tree]
"#;

/// A server, which may be down.
#[derive(Debug)]
pub(crate) struct Server {
    grpc: String,
    http: String,
    process: Option<Process>,
}

/// All of them, and the tree that they are asked about.
#[derive(Debug)]
pub(crate) struct Servers {
    folder: TempDir,
    servers: Vec<Server>,
    ownership: NatsOwnership,
}

impl Servers {
    /// Starts so many at once. `state` is their `[state]`, `nats` are the addresses of their log.
    pub(crate) fn start(count: usize, state: &str, nats: &[String], replicas: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("tree")).unwrap();
        let place = |port: u16| format!("127.0.0.1:{port}");
        let servers: Vec<_> = (0..count)
            .map(|_| Server { grpc: place(own_port()), http: place(own_port()), process: None })
            .collect();
        for (number, server) in servers.iter().enumerate() {
            let config = format!(
                "{state}[change_log]\nengine = \"nats\"\nservers = {nats:?}\nreplicas = \
                 {replicas}\nsync = \"always\"\ntimeout = \"5s\"\n[cluster]\nadvertise = \
                 \"http://{}\"\nmemory = \"1GiB\"\n{VIEWS}",
                server.grpc,
            );
            std::fs::write(folder.path().join(format!("{number}.toml")), config).unwrap();
        }
        let settings = NatsSettings { replicas, ..NatsSettings::new(nats.to_vec()) };
        let ownership = Nats::connect(settings).unwrap().ownership().unwrap();
        let mut all = Self { folder, servers, ownership };
        (0..count).for_each(|number| all.launch_one(number));
        (0..count).for_each(|number| all.comes_up(number));
        all
    }

    /// Starts a server where it was before.
    pub(crate) fn start_one(&mut self, number: usize) {
        self.launch_one(number);
        self.comes_up(number);
    }

    fn launch_one(&mut self, number: usize) {
        let path = |name: &str| self.folder.path().join(format!("{number}.{name}"));
        let _ = std::fs::remove_file(path("address"));
        let server = &self.servers[number];
        let mut command = Command::new(binaries::path("fusion-server"));
        command.args(["--listen", &server.grpc, "--http-listen", &server.http]);
        command.arg("--data-dir").arg(path("data")).arg("--config").arg(path("toml"));
        command.arg("--address-file").arg(path("address"));
        let process = Process::start("fusion-server", &mut command, &path("log"));
        self.servers[number].process = Some(process);
    }

    fn comes_up(&mut self, number: usize) {
        let file = self.folder.path().join(format!("{number}.address"));
        let server = &mut self.servers[number];
        let address = server.process.as_mut().unwrap().address(&file, "grpc");
        assert_eq!(address, server.grpc);
    }

    /// kill -9 of a server.
    pub(crate) fn kill(&mut self, number: usize) {
        self.servers[number].process.take().unwrap().kill();
    }

    /// SIGTERM to a server, which goes on ending.
    pub(crate) fn tell_to_end(&mut self, number: usize) {
        self.process(number).signal(rustix::process::Signal::TERM);
    }

    /// Waits until a server that was told to has ended.
    pub(crate) fn ended(&mut self, number: usize) -> ExitStatus {
        self.servers[number].process.take().unwrap().wait(PATIENCE)
    }

    pub(crate) fn process(&mut self, number: usize) -> &mut Process {
        self.servers[number].process.as_mut().unwrap()
    }

    /// The numbers of those that run.
    pub(crate) fn running(&self) -> Vec<usize> {
        let runs = |number: &usize| self.servers[*number].process.is_some();
        (0..self.servers.len()).filter(runs).collect()
    }

    pub(crate) fn url(&self, number: usize) -> String {
        format!("http://{}", self.servers[number].grpc)
    }

    pub(crate) fn client(&self, number: usize) -> ViewsClient {
        ViewsClient::connect(&self.url(number)).unwrap()
    }

    /// An agent of this name that talks to this server alone.
    pub(crate) fn agent(&self, name: &str, number: usize) -> Launch {
        let launch = Launch::at(self.folder.path(), name, &self.url(number));
        launch.view("tree").root(&self.root())
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.folder.path().join("tree")
    }

    pub(crate) fn roll(&self) -> Roll {
        self.ownership.roll().unwrap()
    }

    /// Which server owns the view by its claim, if one does that runs.
    pub(crate) fn owner(&self) -> Option<usize> {
        let roll = self.roll();
        let owner = roll.claims.iter().find(|claim| claim.it.view.name == view())?.it.owner?;
        let owner = roll.members.iter().find(|member| member.it.id == owner)?;
        let owner = (0..self.servers.len()).find(|one| self.url(*one) == owner.it.address)?;
        self.servers[owner].process.is_some().then_some(owner)
    }

    /// Waits until another server than these owns the view, for at most `limit`.
    pub(crate) fn until_owned(&self, not: &[usize], limit: Duration) -> usize {
        let started = compare::clock();
        loop {
            if let Some(owner) = self.owner().filter(|owner| !not.contains(owner)) {
                return owner;
            }
            self.still(started, limit, "nobody owns the view");
        }
    }

    /// Waits until a server takes what belongs to the owner: the heartbeats of agents go through.
    pub(crate) async fn until_ready(&self) {
        for number in self.running() {
            compare::until_ready(&mut self.client(number), &view(), PATIENCE).await;
        }
    }

    /// Waits until the view of every server that runs equals the disk.
    pub(crate) async fn settle(&self) {
        for number in self.running() {
            compare::until_equal(&mut self.client(number), &view(), &self.root(), PATIENCE).await;
        }
    }

    fn still(&self, started: Instant, limit: Duration, what: &str) {
        assert!(started.elapsed() < limit, "{what} after {limit:?}: {:#?}", self.roll());
        std::thread::sleep(Duration::from_millis(10));
    }

    pub(crate) fn fusionctl(&self, number: usize, args: &[&str]) -> Output {
        let mut command = Command::new(binaries::path("fusionctl"));
        command.args(["--server", &self.url(number)]).args(args).output().unwrap()
    }

    /// The lines of an answer in JSON.
    pub(crate) fn json(&self, number: usize, args: &[&str]) -> Vec<serde_json::Value> {
        let output = self.fusionctl(number, &[&["--output", "json"], args].concat());
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", text(&output));
        let lines = String::from_utf8(output.stdout).unwrap();
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

pub(crate) fn view() -> ViewName {
    ViewName::new("tree").unwrap()
}
