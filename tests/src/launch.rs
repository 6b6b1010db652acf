//! How an agent of a world is started: the usual way, unless a test says otherwise.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::binaries;
use crate::pair::{Agent, World};
use crate::process::Process;

/// An agent that is about to be started.
#[derive(Debug)]
#[must_use]
pub struct Launch {
    name: String,
    server: String,
    root: PathBuf,
    spool: PathBuf,
    folder: PathBuf,
    view: String,
    trees: Vec<String>,
    id: String,
    http: String,
    prefix: Vec<OsString>,
    args: Vec<String>,
    env: Vec<(String, OsString)>,
}

impl Launch {
    pub(crate) fn new(world: &World, name: &str) -> Self {
        let view = world.view().to_string();
        Self::at(&world.path(""), name, &world.url()).view(&view).root(world.root())
    }

    /// An agent of no world: its files are in `folder`, its view and root are to be said.
    pub fn at(folder: &Path, name: &str, server: &str) -> Self {
        Self {
            name: name.to_owned(),
            server: server.to_owned(),
            root: PathBuf::new(),
            spool: folder.join(format!("{name}.spool")),
            folder: folder.to_path_buf(),
            view: String::new(),
            trees: Vec::new(),
            id: name.to_owned(),
            http: "127.0.0.1:0".to_owned(),
            prefix: Vec::new(),
            args: Vec::new(),
            env: Vec::new(),
        }
    }

    /// Another way to the server than straight.
    pub fn server(mut self, url: &str) -> Self {
        url.clone_into(&mut self.server);
        self
    }

    /// Another root than the world's.
    pub fn root(mut self, root: &Path) -> Self {
        root.clone_into(&mut self.root);
        self
    }

    /// Another spool than `NAME.spool`.
    pub fn spool(mut self, spool: &Path) -> Self {
        spool.clone_into(&mut self.spool);
        self
    }

    /// Another view than the world's.
    pub fn view(mut self, view: &str) -> Self {
        view.clone_into(&mut self.view);
        self
    }

    /// One of several trees, in place of the world's view and root.
    pub fn tree(mut self, view: &str, root: &Path) -> Self {
        self.trees.push(format!("{view}={}", root.display()));
        self
    }

    /// Another agent id than its name.
    pub fn id(mut self, id: &str) -> Self {
        id.clone_into(&mut self.id);
        self
    }

    /// Another address for its metrics than a free port of 127.0.0.1.
    pub fn http(mut self, address: &str) -> Self {
        address.clone_into(&mut self.http);
        self
    }

    /// A program, with its arguments, that becomes the agent: it must `exec` what follows it, so that
    /// the process that is started is the one that is killed.
    pub fn prefix<S: Into<OsString>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.prefix = words.into_iter().map(Into::into).collect();
        self
    }

    /// More arguments.
    pub fn args(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(|&arg| arg.to_owned()));
        self
    }

    /// A variable of its environment.
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.env.push((name.to_owned(), value.into()));
        self
    }

    /// Starts it, and returns when it has bound its HTTP listener. It may have no session yet.
    ///
    /// # Panics
    /// It does not come up.
    #[must_use]
    pub fn start(self) -> Agent {
        let (file, mut process) = self.spawn();
        let http = process.address(&file, "http");
        Agent { process, http }
    }

    /// Starts one that is expected to end by itself.
    ///
    /// # Panics
    /// It cannot be started.
    #[must_use]
    pub fn start_doomed(self) -> Process {
        self.spawn().1
    }

    fn spawn(self) -> (PathBuf, Process) {
        let file = self.folder.join(format!("{}.address", self.name));
        let _ = std::fs::remove_file(&file);
        let agent = binaries::path("agent-client").into_os_string();
        let mut words = self.prefix.into_iter().chain([agent]);
        let mut command = Command::new(words.next().unwrap_or_default());
        command
            .args(words)
            .args(["--server", &self.server, "--agent-id", &self.id])
            .args(["--http-listen", &self.http])
            .arg("--spool")
            .arg(&self.spool)
            .arg("--address-file")
            .arg(&file)
            .args(&self.args)
            .envs(self.env);
        if self.trees.is_empty() {
            command.args(["--view", &self.view, "--root"]).arg(&self.root);
        }
        for tree in &self.trees {
            command.args(["--tree", tree]);
        }
        let log = self.folder.join(format!("{}.log", self.name));
        (file, Process::start("agent-client", &mut command, &log))
    }
}
