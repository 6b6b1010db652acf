//! PostgreSQL for a test.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::{
    PASSWORD, family, find, give_away, is_alive, own_port, run, settings, signal, unprivileged,
};
use crate::engines::EngineSettings;

/// A server of its own, with a database `fusion`; it is durable, as it is by default.
#[derive(Debug)]
pub struct StartedPostgres {
    dir: TempDir,
    program: PathBuf,
    port: u16,
    process: Option<Child>,
}

impl StartedPostgres {
    /// Starts one; `None` if the machine has none.
    #[must_use]
    pub fn start() -> Option<Self> {
        Self::start_with(&[])
    }

    /// As [`StartedPostgres::start`], with settings. Files of TLS are taken from the folder of the server
    /// after [`StartedPostgres::put_file`].
    #[must_use]
    pub fn start_with(settings: &[(&str, &str)]) -> Option<Self> {
        let (initdb, program) = (find("initdb")?, find("postgres")?);
        // Behind a link in a folder that only its owner may enter.
        let real = |program: PathBuf| program.canonicalize().unwrap();
        let (initdb, program) = (real(initdb), real(program));
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("password"), PASSWORD).unwrap();
        give_away(dir.path());
        let mut command = unprivileged(&initdb);
        command.args(["--no-sync", "-A", "scram-sha-256", "-U", "fusion", "-E", "UTF8"]);
        command.args(["--locale=C", "--pwfile"]).arg(dir.path().join("password"));
        run(command.arg("-D").arg(dir.path().join("data")).current_dir(dir.path()));
        let mut started = Self { dir, program, port: own_port(), process: None };
        started.configure(settings);
        started.go_on();
        started.sql("postgres", "CREATE DATABASE fusion");
        Some(started)
    }

    /// Starts a standby of it: a commit is answered from now on when both have it.
    #[must_use]
    pub fn standby(&self) -> Self {
        // Not the one on the PATH, which may be a wrapper that looks for a version.
        let copy = self.program.with_file_name("pg_basebackup");
        let dir = tempfile::tempdir().unwrap();
        give_away(dir.path());
        let mut command = unprivileged(&copy);
        command.args(["-h", "127.0.0.1", "-U", "fusion", "-p", &self.port.to_string(), "-R"]);
        command.args(["-c", "fast", "--no-sync"]).env("PGPASSWORD", PASSWORD);
        run(command.arg("-D").arg(dir.path().join("data")).current_dir(dir.path()));
        let mut standby =
            Self { dir, program: self.program.clone(), port: own_port(), process: None };
        standby.configure(&[]);
        standby.go_on();
        self.sql("postgres", "ALTER SYSTEM SET synchronous_standby_names = '*'");
        self.sql("postgres", "SELECT pg_reload_conf()");
        standby
    }

    /// Makes a standby the one that is written to.
    pub fn promote(&self) {
        self.sql("postgres", "SELECT pg_promote()");
    }

    /// Sets what it goes by from its next start on.
    pub fn configure(&self, settings: &[(&str, &str)]) {
        let mut text = format!("listen_addresses = '127.0.0.1'\nport = {}\n", self.port);
        let _ = writeln!(text, "unix_socket_directories = '{}'", self.dir.path().display());
        text.push_str("shared_buffers = '16MB'\nmax_connections = 40\n");
        for (name, value) in settings {
            let _ = writeln!(text, "{name} = '{value}'");
        }
        self.put_file("postgresql.conf", &text);
    }

    /// Writes a file into its folder, for its eyes alone.
    pub fn put_file(&self, name: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt as _;
        let file = self.dir.path().join("data").join(name);
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        give_away(&file);
    }

    /// Starts it after it was killed.
    pub fn go_on(&mut self) {
        let (data, log) = (self.dir.path().join("data"), self.dir.path().join("log"));
        let said = std::fs::File::create(&log).unwrap();
        let _ = std::fs::remove_file(data.join("postmaster.pid"));
        let mut command = unprivileged(&self.program);
        command.arg("-D").arg(&data).current_dir(self.dir.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said);
        // A child of ours, or nobody would bury it when it is killed.
        self.process = Some(command.spawn().unwrap());
        for _ in 0..3_000 {
            let state = std::fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
            if state.lines().any(|line| matches!(line.trim(), "ready" | "standby")) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("{}", std::fs::read_to_string(log).unwrap_or_default());
    }

    /// Kills all of it, as a loss of power would.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let family = family(process.id());
            signal("KILL", &family);
            process.wait().unwrap();
            while family.iter().any(|pid| is_alive(*pid)) {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }

    /// Stops all of it where it is (`STOP`), or lets it go on (`CONT`).
    pub fn signal(&self, name: &str) {
        signal(name, &self.process.as_ref().map(|it| family(it.id())).unwrap_or_default());
    }

    /// Its port on this host.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How a database of it is reached.
    #[must_use]
    pub fn settings(&self, database: &str) -> EngineSettings {
        settings(format!("postgres://fusion@127.0.0.1:{}/{database}", self.port))
    }

    /// Runs statements as an operator would; what they print, columns apart by `|`.
    pub fn sql(&self, database: &str, statements: &str) -> String {
        crate::engines::postgres::trial::sql(&self.settings(database), statements)
    }
}

impl Drop for StartedPostgres {
    fn drop(&mut self) {
        self.signal("CONT");
        if let Some(mut process) = self.process.take() {
            // At once, and with its shared memory.
            signal("QUIT", &[process.id()]);
            let _ = process.wait();
        }
    }
}
