//! Redis for a test.

use std::fmt::Write as _;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::{PASSWORD, find, own_port, settings, signal};
use crate::engines::EngineSettings;

/// A server of its own, durable unless it is told otherwise.
#[derive(Debug)]
pub struct StartedRedis {
    dir: TempDir,
    program: PathBuf,
    port: u16,
    process: Option<Child>,
}

impl StartedRedis {
    /// Starts one that syncs every write; `None` if the machine has none.
    #[must_use]
    pub fn start() -> Option<Self> {
        Self::start_with(&["appendonly yes", "appendfsync always"])
    }

    /// Starts one with lines of its configuration.
    #[must_use]
    pub fn start_with(lines: &[&str]) -> Option<Self> {
        Self::start_with_files(lines, &[])
    }

    /// The same, with files in its folder; in a line `%p` is the folder and `%n` the port.
    #[must_use]
    pub fn start_with_files(lines: &[&str], files: &[(&str, String)]) -> Option<Self> {
        let program = find("redis-server")?;
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let mut started = Self { dir, program, port: own_port(), process: None };
        started.configure(lines);
        started.go_on();
        Some(started)
    }

    /// Sets what it goes by from its next start on.
    pub fn configure(&self, lines: &[&str]) {
        let place = self.dir.path().display().to_string();
        let mut text = format!("bind 127.0.0.1\nsave \"\"\nrequirepass \"{PASSWORD}\"\n");
        let _ = writeln!(text, "dir {place}\nlogfile {place}/log");
        if !lines.iter().any(|line| line.starts_with("tls-port")) {
            let _ = writeln!(text, "port {}", self.port);
        }
        for line in lines {
            let _ = writeln!(
                text,
                "{}",
                line.replace("%p", &place).replace("%n", &self.port.to_string())
            );
        }
        std::fs::write(self.dir.path().join("conf"), text).unwrap();
    }

    /// Starts it after it was killed.
    pub fn go_on(&mut self) {
        let mut command = Command::new(&self.program);
        command.arg(self.dir.path().join("conf")).current_dir(self.dir.path());
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.process = Some(process.spawn().unwrap());
        for _ in 0..1_000 {
            if TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("{}", std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default());
    }

    /// Kills it.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Stops it where it is (`STOP`), or lets it go on (`CONT`).
    pub fn signal(&self, name: &str) {
        signal(name, &[self.process.as_ref().unwrap().id()]);
    }

    /// Where it stores.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.dir.path()
    }

    /// Its port on this host.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How it is reached.
    #[must_use]
    pub fn settings(&self, prefix: &str) -> EngineSettings {
        let settings = settings(format!("redis://127.0.0.1:{}/0", self.port));
        EngineSettings { prefix: prefix.to_owned(), ..settings }
    }

    /// Runs a command as an operator would.
    pub fn command(&self, words: &[&str]) -> String {
        crate::engines::redis::trial::command(&self.settings(""), words)
    }
}

impl Drop for StartedRedis {
    fn drop(&mut self) {
        self.kill();
    }
}
