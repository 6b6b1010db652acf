//! A server and agents on a temporary directory.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use fusion_core::id::ViewName;
use fusion_proto::views::ViewsClient;
use tempfile::TempDir;

use crate::process::Process;
use crate::{binaries, compare};

/// How long a first scan of a small tree may take on a busy machine.
pub const READY: Duration = Duration::from_secs(30);
/// How long evidence may be under way on a busy machine.
pub const ARRIVE: Duration = Duration::from_secs(20);

const IMPATIENT: &str = r#"
[view_defaults]
cache_horizon = "200ms"
hot_threshold = "100ms"
session_timeout = "6s"
"#;

/// A server, and a tree that agents look at. Everything lies in one temporary directory.
#[derive(Debug)]
pub struct World {
    folder: TempDir,
    root: PathBuf,
    view: ViewName,
    server: Option<Process>,
    grpc: String,
    http: String,
    server_args: Vec<String>,
}

/// An agent of a world.
#[derive(Debug)]
pub struct Agent {
    /// The process.
    pub process: Process,
    /// Where it serves metrics.
    pub http: String,
}

impl World {
    /// Starts a server beside an empty tree.
    ///
    /// # Panics
    /// It does not come up.
    #[must_use]
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let root = folder.path().join("tree");
        std::fs::create_dir(&root).expect("the tree");
        Self::on(folder, root, &[])
    }

    /// Starts a server beside an empty tree whose view trusts after moments what it otherwise trusts
    /// after minutes: storage on this machine has no cache that could be stale.
    ///
    /// # Panics
    /// It does not come up.
    #[must_use]
    pub fn start_impatient() -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let root = folder.path().join("tree");
        std::fs::create_dir(&root).expect("the tree");
        let config = folder.path().join("server.toml");
        std::fs::write(&config, IMPATIENT).expect("the configuration");
        let config = config.to_str().expect("a path in UTF-8").to_owned();
        Self::on(folder, root, &["--config", &config])
    }

    /// Starts a server for a tree that is there already, with more arguments.
    ///
    /// # Panics
    /// It does not come up.
    #[must_use]
    pub fn start_on(root: &Path, server_args: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory");
        Self::on(folder, root.to_path_buf(), server_args)
    }

    fn on(folder: TempDir, root: PathBuf, server_args: &[&str]) -> Self {
        let mut world = Self {
            folder,
            root,
            view: ViewName::new("tree").expect("a name"),
            server: None,
            grpc: "127.0.0.1:0".to_owned(),
            http: "127.0.0.1:0".to_owned(),
            server_args: server_args.iter().map(|&arg| arg.to_owned()).collect(),
        };
        world.start_server();
        world
    }

    /// Starts the server (again), where it was before if it has been somewhere.
    ///
    /// # Panics
    /// It does not come up.
    pub fn start_server(&mut self) {
        let file = self.path("server.address");
        let _ = std::fs::remove_file(&file);
        let mut command = Command::new(binaries::path("fusion-server"));
        command
            .args(["--listen", &self.grpc, "--http-listen", &self.http])
            .arg("--data-dir")
            .arg(self.path("server"))
            .arg("--address-file")
            .arg(&file)
            .args(&self.server_args);
        let mut server = Process::start("fusion-server", &mut command, &self.path("server.log"));
        self.grpc = server.address(&file, "grpc");
        self.http = server.address(&file, "http");
        self.server = Some(server);
    }

    /// The server's process.
    ///
    /// # Panics
    /// It was killed.
    pub fn server(&mut self) -> &mut Process {
        self.server.as_mut().expect("a running server")
    }

    /// kill -9 of the server.
    pub fn kill_server(&mut self) {
        self.server().kill();
        self.server = None;
    }

    /// Starts an agent of this name, with more arguments; its spool lasts as long as the world.
    ///
    /// # Panics
    /// It does not come up.
    #[must_use]
    pub fn start_agent(&self, name: &str, args: &[&str]) -> Agent {
        let file = self.path(&format!("{name}.address"));
        let _ = std::fs::remove_file(&file);
        let mut command = Command::new(binaries::path("agent-client"));
        command
            .args(["--server", &self.url(), "--view", self.view.as_str(), "--agent-id", name])
            .args(["--http-listen", "127.0.0.1:0"])
            .arg("--root")
            .arg(&self.root)
            .arg("--spool")
            .arg(self.path(&format!("{name}.spool")))
            .arg("--address-file")
            .arg(&file)
            .args(args);
        let log = self.path(&format!("{name}.log"));
        let mut process = Process::start("agent-client", &mut command, &log);
        let http = process.address(&file, "http");
        Agent { process, http }
    }

    /// Starts an agent and waits until the view is READY.
    ///
    /// # Panics
    /// It does not get there within [`READY`].
    pub async fn start_ready_agent(&self, name: &str) -> Agent {
        let agent = self.start_agent(name, &[]);
        compare::until_ready(&mut self.client(), &self.view, READY).await;
        agent
    }

    /// Runs `fusionctl` against the server.
    ///
    /// # Panics
    /// It cannot be started.
    #[must_use]
    pub fn fusionctl(&self, args: &[&str]) -> Output {
        Command::new(binaries::path("fusionctl"))
            .args(["--server", &self.url()])
            .args(args)
            .output()
            .expect("fusionctl can be run")
    }

    /// A client of the server.
    ///
    /// # Panics
    /// Our own address is malformed.
    #[must_use]
    pub fn client(&self) -> ViewsClient {
        ViewsClient::connect(&self.url()).expect("a URL")
    }

    /// Waits until the view equals the disk, within [`ARRIVE`].
    pub async fn settle(&self) -> Duration {
        compare::until_equal(&mut self.client(), &self.view, &self.root, ARRIVE).await
    }

    /// The tree on disk.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The view's name.
    #[must_use]
    pub fn view(&self) -> &ViewName {
        &self.view
    }

    /// Where the server answers gRPC.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.grpc)
    }

    /// Where the server answers HTTP.
    #[must_use]
    pub fn http(&self) -> &str {
        &self.http
    }

    /// A place beside the tree.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// The value of a metric without labels, or the sum over its labels, as `/metrics` says it.
///
/// # Panics
/// Nobody answers, or there is no such metric.
#[must_use]
pub fn metric(http: &str, name: &str) -> f64 {
    let text = get(http, "/metrics");
    let mut values = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let labels_end = if rest.starts_with('{') { rest.find('}')? + 1 } else { 0 };
        rest[labels_end..].strip_prefix(' ')?.trim().parse::<f64>().ok()
    });
    let first = values.next().unwrap_or_else(|| panic!("no metric {name} in:\n{text}"));
    first + values.sum::<f64>()
}

/// The body of a plain HTTP GET.
///
/// # Panics
/// Nobody answers.
#[must_use]
pub fn get(http: &str, path: &str) -> String {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(http).expect("an HTTP listener");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {http}\r\nConnection: close\r\n\r\n")
        .expect("a request");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    let text = String::from_utf8_lossy(&answer).into_owned();
    text.split_once("\r\n\r\n").map_or(String::new(), |(_, body)| body.to_owned())
}
