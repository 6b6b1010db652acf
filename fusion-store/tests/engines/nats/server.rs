//! Real nats-servers for tests: each in a temporary folder, on ports of its own, ended with its handle.
//!
//! Shared by all crates whose tests need one. Must never: use a port or a folder that was not made
//! for it, or leave a process behind.

#![allow(dead_code, reason = "each crate that takes this file uses a part of it")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fusion_store::engines::started::own_port;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// How long a server may take for what it is waited for.
const PATIENCE: u32 = 600;
const STEP: Duration = Duration::from_millis(50);

/// Whether there is a nats-server on the PATH; if not, says so, and that `test` did nothing. With
/// `FUSION_ENGINES=required` its absence is a failure.
pub fn is_there(test: &str) -> bool {
    let found = Command::new("nats-server").arg("--version").output();
    if found.is_ok_and(|output| output.status.success()) {
        return true;
    }
    let required = std::env::var_os("FUSION_ENGINES").is_some_and(|value| value == "required");
    assert!(!required, "{test}: there is no nats-server on the PATH, and engines are required");
    println!("{test}: NOT RUN, there is no nats-server on the PATH (.ci/install has one)");
    false
}

/// What is set about servers.
#[derive(Debug, Clone)]
pub struct Options {
    /// `sync_interval: always`, and not two minutes.
    pub sync_always: bool,
    /// Bytes that JetStream may store.
    pub max_file_store: u64,
    /// Bytes of a message.
    pub max_payload: u64,
    /// Tells clients no address of its own, so that they come back the way that they came.
    pub hidden: bool,
    /// The address that clients use.
    pub host: String,
    /// Where each server stores, in place of the temporary folder: the first these, the others there.
    pub stores: Vec<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            sync_always: false,
            max_file_store: 10 << 30,
            max_payload: 1 << 20,
            hidden: false,
            host: "127.0.0.1".to_owned(),
            stores: Vec::new(),
        }
    }
}

/// A nats-server.
#[derive(Debug)]
pub struct Node {
    pub name: String,
    pub port: u16,
    host: String,
    monitor: u16,
    config: PathBuf,
    child: Option<Child>,
}

/// Some of them with what they store; they end when this does.
#[derive(Debug)]
pub struct Nats {
    pub nodes: Vec<Node>,
    dir: TempDir,
}

impl Nats {
    /// Starts one server.
    pub fn one(options: &Options) -> Self {
        Self::start(1, options)
    }

    /// Starts a cluster of three.
    pub fn three(options: &Options) -> Self {
        Self::start(3, options)
    }

    fn start(count: usize, options: &Options) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ports: Vec<_> = (0..3 * count).map(|_| own_port()).collect();
        let routes: Vec<_> =
            ports.iter().skip(2 * count).map(|port| format!("nats://127.0.0.1:{port}")).collect();
        let mut nodes = Vec::new();
        for number in 0..count {
            let name = format!("n{number}");
            let store = options.stores.get(number).cloned();
            let store = store.unwrap_or_else(|| dir.path().join(&name));
            let host = &options.host;
            let (port, monitor) = (ports[number], ports[count + number]);
            let sync = if options.sync_always { "always" } else { "2m" };
            let mut text = format!(
                "server_name: {name}\nlisten: {host}:{port}\nhttp: 127.0.0.1:{monitor}\n\
                 max_payload: {}\njetstream {{\n store_dir: {store:?}\n max_file_store: {}\n \
                 max_memory_store: 0\n sync_interval: {sync}\n}}\n",
                options.max_payload, options.max_file_store,
            );
            if options.hidden {
                text += "client_advertise: \"127.0.0.1:1\"\n";
            }
            if count > 1 {
                let own = ports[2 * count + number];
                let routes = routes.join(", ");
                text += &format!(
                    "cluster {{\n name: test\n listen: 127.0.0.1:{own}\n routes: [{routes}]\n}}\n"
                );
            }
            let config = dir.path().join(format!("{name}.conf"));
            fs::write(&config, text).unwrap();
            let host = host.clone();
            nodes.push(Node { name, port, host, monitor, config, child: None });
        }
        let mut nats = Self { nodes, dir };
        (0..count).for_each(|node| nats.nodes[node].start());
        nats.wait_until_well();
        nats
    }

    /// All addresses, as a client takes them.
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(Node::url).collect()
    }

    /// Waits until every node that runs is well, and they have a leader.
    pub fn wait_until_well(&self) {
        let well = |node: &Node| {
            node.child.is_none()
                || node.ask("/healthz").is_some_and(|answer| answer["status"] == "ok")
        };
        for _ in 0..PATIENCE {
            let meta = |node: &Node| node.ask("/jsz")?["meta_cluster"]["leader"].as_str().map(drop);
            let led = self.nodes.len() == 1 || self.nodes.iter().any(|node| meta(node).is_some());
            if led && self.nodes.iter().all(well) {
                return;
            }
            std::thread::sleep(STEP);
        }
        panic!("the servers in {} did not get well", self.dir.path().display());
    }

    /// The number of the node that leads the stream of which the name contains this.
    pub fn leader(&self, stream: &str) -> usize {
        for _ in 0..PATIENCE {
            for node in self.nodes.iter().filter(|node| node.child.is_some()) {
                let found = node.leader(stream);
                let led = |name: String| self.nodes.iter().position(|node| node.name == name);
                if let Some(number) = found.and_then(led) {
                    return number;
                }
            }
            std::thread::sleep(STEP);
        }
        panic!("nobody leads `{stream}`");
    }
}

impl Node {
    /// The address of a client's connection.
    pub fn url(&self) -> String {
        format!("nats://{}:{}", self.host, self.port)
    }

    /// The id of its process.
    pub fn process(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Starts it, on the folder that it had.
    pub fn start(&mut self) {
        assert!(self.child.is_none(), "{} runs", self.name);
        let log = fs::File::create(self.config.with_extension("log")).unwrap();
        let mut command = Command::new("nats-server");
        command.arg("-c").arg(&self.config).stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().unwrap());
    }

    /// Ends it at once, as kill -9 does.
    pub fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Stops it where it stands.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(self.child.as_ref().unwrap());
        kill_process(pid, signal).unwrap();
    }

    fn leader(&self, stream: &str) -> Option<String> {
        let answer = self.ask("/jsz?accounts=true&streams=true")?;
        let streams = answer["account_details"].as_array()?.iter();
        let mut streams =
            streams.filter_map(|account| account["stream_detail"].as_array()).flatten();
        let found =
            streams.find(|found| found["name"].as_str().is_some_and(|n| n.contains(stream)))?;
        found["cluster"]["leader"].as_str().map(str::to_owned)
    }

    /// What its monitoring port answers.
    fn ask(&self, path: &str) -> Option<Value> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.monitor)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
