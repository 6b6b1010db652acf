//! A process that the test started: it is ended by its id, and always ended.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long a process may take to write its address file.
const START: Duration = Duration::from_secs(20);

/// A running binary with its output in a file.
#[derive(Debug)]
pub struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a binary of the workspace with its output in `log` (appended to, so that the lives of
    /// a restarted process are in one file).
    ///
    /// # Panics
    /// It cannot be started.
    #[must_use]
    pub fn start(name: &'static str, command: &mut Command, log: &Path) -> Self {
        command.stdin(Stdio::null()).stdout(Self::log(log));
        Self::start_as_is(name, command, log)
    }

    /// The same, where standard input and output are for something else.
    ///
    /// # Panics
    /// It cannot be started.
    #[must_use]
    pub fn start_as_is(name: &'static str, command: &mut Command, log: &Path) -> Self {
        let child = command
            .stderr(Self::log(log))
            .spawn()
            .unwrap_or_else(|error| panic!("start {name}: {error}"));
        Self { name, child, log: log.to_path_buf() }
    }

    fn log(log: &Path) -> File {
        File::options().create(true).append(true).open(log).expect("a log file")
    }

    /// What it wrote so far.
    #[must_use]
    pub fn output(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it has written an address file, and reads `key` from it.
    ///
    /// # Panics
    /// It ended, or did not write the file within 20 s.
    #[must_use]
    pub fn address(&mut self, file: &Path, key: &str) -> String {
        let started = now();
        loop {
            let text = std::fs::read_to_string(file).unwrap_or_default();
            let found = text.lines().find_map(|line| line.strip_prefix(&format!("{key}=")));
            if let Some(address) = found {
                return address.to_owned();
            }
            let ended = self.child.try_wait().expect("the state of a child");
            let late = started.elapsed() > START;
            assert!(
                ended.is_none() && !late,
                "{} did not come up ({ended:?}):\n{}",
                self.name,
                self.output()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// The process is gone.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap_or_else(|error| panic!("signal {}: {error}", self.name));
    }

    /// SIGCONT, if it is still there.
    pub fn resume(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal(Signal::CONT);
        }
    }

    /// How it ended, if it has.
    ///
    /// # Panics
    /// It is not our child.
    #[must_use]
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("the state of a child")
    }

    /// kill -9, and waits for the end.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGTERM, and waits for the end.
    ///
    /// # Panics
    /// It is still there after `limit`.
    #[must_use]
    pub fn terminate(&mut self, limit: Duration) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait(limit)
    }

    /// Waits for the end.
    ///
    /// # Panics
    /// It is still there after `limit`.
    #[must_use]
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let started = now();
        loop {
            if let Some(status) = self.child.try_wait().expect("the state of a child") {
                return status;
            }
            if started.elapsed() > limit {
                self.kill();
                panic!("{} was still there after {limit:?}:\n{}", self.name, self.output());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A stopped process takes SIGKILL all the same.
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- {} wrote:\n{}", self.name, self.output());
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "system tests live in real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// What the wall clock shows, in nanoseconds since 1970.
#[expect(clippy::disallowed_methods, reason = "system tests live in real time")]
pub(crate) fn wall_clock_nanos() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |span| i64::try_from(span.as_nanos()).unwrap_or(i64::MAX))
}
