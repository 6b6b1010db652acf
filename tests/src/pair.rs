//! A server and agents on a temporary directory.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use fusion_core::id::ViewName;
use fusion_proto::views::ViewsClient;
use fusion_store::engines::started::own_port;
use tempfile::TempDir;

use crate::activated::Sockets;
use crate::launch::Launch;
use crate::process::Process;
use crate::settings::Settings;
use crate::{binaries, compare};

/// How long a first scan of a small tree may take on a busy machine.
pub const READY: Duration = Duration::from_secs(30);
/// How long it may take until a root that is not there is noticed: the agent looks every 5 s, and waits
/// for 5 s before it calls a look hung.
pub const NOTICED: Duration = Duration::from_secs(40);
/// How long evidence may be under way on a busy machine.
pub const ARRIVE: Duration = Duration::from_secs(20);

const LOOPBACK: &str = "127.0.0.1";

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
    /// What outlives the server, if it does not listen by itself.
    sockets: Option<Sockets>,
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
        Self::on(folder, root, LOOPBACK, &[])
    }

    /// Starts a server beside an empty tree whose view trusts after moments what it otherwise trusts
    /// after minutes: storage on this machine has no cache that could be stale.
    ///
    /// # Panics
    /// It does not come up.
    #[must_use]
    pub fn start_impatient() -> Self {
        Self::start_configured(IMPATIENT)
    }

    /// Starts a server with these settings of views beside an empty tree.
    ///
    /// # Panics
    /// It does not come up.
    #[must_use]
    pub fn start_with(settings: &Settings) -> Self {
        Self::start_configured(&settings.toml())
    }

    /// Starts a server with this configuration (TOML) beside an empty tree.
    ///
    /// # Panics
    /// It does not come up.
    #[must_use]
    pub fn start_configured(config: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let root = folder.path().join("tree");
        std::fs::create_dir(&root).expect("the tree");
        Self::configured_on(folder, root, config, LOOPBACK)
    }

    /// The same for a tree that is there already.
    ///
    /// # Panics
    /// It does not come up.
    #[must_use]
    pub fn start_configured_on(root: &Path, config: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory");
        Self::configured_on(folder, root.to_path_buf(), config, LOOPBACK)
    }

    /// Starts a server with this configuration (TOML) beside an empty tree, on sockets that stay open while it is
    /// away.
    ///
    /// # Panics
    /// It does not come up.
    #[must_use]
    pub fn start_activated(config: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let root = folder.path().join("tree");
        std::fs::create_dir(&root).expect("the tree");
        let args = Self::configured(&folder, config);
        let mut world = Self::still(folder, root, LOOPBACK, &args);
        world.sockets = Some(Sockets::hold());
        world.start_server();
        world
    }

    fn configured_on(folder: TempDir, root: PathBuf, config: &str, listen: &str) -> Self {
        let args = Self::configured(&folder, config);
        let mut world = Self::still(folder, root, listen, &args);
        world.start_server();
        world
    }

    /// The arguments with which a server has this configuration.
    fn configured(folder: &TempDir, config: &str) -> [String; 2] {
        let file = folder.path().join("server.toml");
        std::fs::write(&file, config).expect("the configuration");
        ["--config".to_owned(), file.to_str().expect("a path in UTF-8").to_owned()]
    }

    /// Starts a server with this configuration that also listens on other addresses than loopback's,
    /// beside an empty tree.
    ///
    /// # Panics
    /// It does not come up.
    #[must_use]
    pub fn start_reachable(config: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let root = folder.path().join("tree");
        std::fs::create_dir(&root).expect("the tree");
        Self::configured_on(folder, root, config, "0.0.0.0")
    }

    /// Starts a server for a tree that is there already, with more arguments.
    ///
    /// # Panics
    /// It does not come up.
    #[must_use]
    pub fn start_on(root: &Path, server_args: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory");
        Self::on(folder, root.to_path_buf(), LOOPBACK, server_args)
    }

    fn on(folder: TempDir, root: PathBuf, listen: &str, server_args: &[&str]) -> Self {
        let server_args: Vec<String> = server_args.iter().map(|&arg| arg.to_owned()).collect();
        let mut world = Self::still(folder, root, listen, &server_args);
        world.start_server();
        world
    }

    /// A world whose server is not started yet.
    fn still(folder: TempDir, root: PathBuf, listen: &str, server_args: &[String]) -> Self {
        Self {
            folder,
            root,
            view: ViewName::new("tree").expect("a name"),
            server: None,
            grpc: format!("{listen}:{}", own_port()),
            http: format!("{LOOPBACK}:{}", own_port()),
            sockets: None,
            server_args: server_args.to_vec(),
        }
    }

    /// Starts the server (again), where it was before.
    ///
    /// # Panics
    /// It does not come up.
    pub fn start_server(&mut self) {
        let file = self.path("server.address");
        let _ = std::fs::remove_file(&file);
        let (program, log) = (binaries::path("fusion-server"), self.path("server.log"));
        let mut command = match &self.sockets {
            Some(sockets) => sockets.hand_over(&program),
            None => Command::new(program),
        };
        command.arg("--data-dir").arg(self.path("server")).arg("--address-file").arg(&file);
        command.args(&self.server_args);
        let mut server = if self.sockets.is_some() {
            Process::start_as_is("fusion-server", &mut command, &log)
        } else {
            command.args(["--listen", &self.grpc, "--http-listen", &self.http]);
            Process::start("fusion-server", &mut command, &log)
        };
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

    /// An agent of this name, to be started; its spool lasts as long as the world.
    pub fn launch(&self, name: &str) -> Launch {
        Launch::new(self, name)
    }

    /// Starts an agent of this name, with more arguments.
    ///
    /// # Panics
    /// It does not come up.
    #[must_use]
    pub fn start_agent(&self, name: &str, args: &[&str]) -> Agent {
        self.launch(name).args(args).start()
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

    /// The lines of an answer of `fusionctl` in JSON.
    ///
    /// # Panics
    /// It has not done what was asked.
    #[track_caller]
    #[must_use]
    pub fn json(&self, args: &[&str]) -> Vec<serde_json::Value> {
        let output = self.fusionctl(&[&["--output", "json"], args].concat());
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", text(&output));
        let lines = String::from_utf8(output.stdout).expect("JSON");
        lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
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
    let values = values(&text, name);
    assert!(!values.is_empty(), "no metric {name} in:\n{text}");
    values.iter().sum()
}

/// The same; 0 if there is none of the name, as of a counter with labels that counted nothing yet.
/// The name may have labels, in their alphabetical order: those that have them are summed.
///
/// # Panics
/// Nobody answers.
#[must_use]
pub fn counter(http: &str, name: &str) -> f64 {
    values(&get(http, "/metrics"), name).iter().sum()
}

fn values(text: &str, name: &str) -> Vec<f64> {
    let (name, wanted) = name.split_once('{').unwrap_or((name, ""));
    let wanted: Vec<_> = labels(wanted.trim_end_matches('}')).collect();
    let value = |line: &str| {
        let (series, value) = line.rsplit_once(' ')?;
        let (found, its) = series.split_once('{').unwrap_or((series, ""));
        let has_all =
            wanted.iter().all(|label| labels(its.trim_end_matches('}')).any(|its| its == *label));
        (found == name && has_all).then(|| value.parse().ok())?
    };
    text.lines().filter_map(value).collect()
}

/// The labels of a series; their values hold no comma.
fn labels(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').filter(|label| !label.is_empty())
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

/// All that a program said.
#[must_use]
pub fn text(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&both).into_owned()
}
