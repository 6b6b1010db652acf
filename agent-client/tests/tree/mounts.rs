//! A mount that can be made to hang: bindfs (which `.ci/install` installs), stopped.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use agent_client::clock::{AgentClock as _, HostClock};
use rustix::process::{Pid, Signal, kill_process};

use crate::harness::PATIENCE;

/// Mounted until it is dropped; then it answers again, so that nothing hangs in it for ever.
pub(crate) struct Mount {
    at: PathBuf,
    bindfs: Child,
}

impl Mount {
    /// Mounts `behind` at `at`; the kernel believes nothing that it knows of it.
    pub(crate) fn of(behind: &Path, at: &Path) -> Self {
        let options = "attr_timeout=0,entry_timeout=0,negative_timeout=0";
        let mut command = Command::new("bindfs");
        command.args(["-f", "-o", options]).args([behind, at]);
        let bindfs = command.spawn().unwrap();
        let mount = Self { at: at.to_owned(), bindfs };
        let text = format!(" {} ", at.display());
        until("the mount", || fs::read_to_string("/proc/self/mountinfo").unwrap().contains(&text));
        mount
    }

    /// Answers nothing any more.
    pub(crate) fn hang(&self) {
        self.signal(Signal::STOP);
    }

    /// Answers again, what was asked meanwhile too.
    pub(crate) fn answer(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let _ = kill_process(Pid::from_child(&self.bindfs), signal);
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        self.answer();
        let _ = Command::new("umount").arg("-l").arg(&self.at).stderr(Stdio::null()).status();
        let _ = self.bindfs.kill();
        let _ = self.bindfs.wait();
    }
}

/// Waits for something.
pub(crate) fn until(what: &str, mut is: impl FnMut() -> bool) {
    let end = HostClock.monotonic().plus(PATIENCE);
    while !is() {
        assert!(HostClock.monotonic() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
