//! A tree mounted once more, by a process of its own: kernel events of one mount tell nothing of what is
//! done through another or beside it, SIGSTOP makes it hang, SIGKILL makes it answer ENOTCONN.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::process::{Process, now};

/// How long a mount may take to be there.
const THERE: Duration = Duration::from_secs(20);

/// A bindfs mount; it is unmounted when it is dropped.
#[derive(Debug)]
pub struct Bind {
    /// The process that serves it.
    pub process: Process,
    at: PathBuf,
}

impl Bind {
    /// Mounts `behind` at `at`, which is made if need be. The kernel believes for so long what it knows
    /// of names and attributes.
    ///
    /// # Panics
    /// It is not there after a while, or there is no bindfs.
    #[must_use]
    pub fn of(behind: &Path, at: &Path, cached: Duration) -> Self {
        fs::create_dir_all(at).expect("a mount point");
        let cached = cached.as_secs_f64();
        let options =
            format!("attr_timeout={cached},entry_timeout={cached},negative_timeout={cached}");
        let mut command = Command::new("bindfs");
        command.args(["-f", "-o", &options]).arg(behind).arg(at);
        let process = Process::start("bindfs", &mut command, &at.with_extension("log"));
        let began = now();
        while !is_mount(at) {
            assert!(began.elapsed() < THERE, "bindfs: {}", process.output());
            std::thread::sleep(Duration::from_millis(10));
        }
        Self { process, at: at.to_path_buf() }
    }

    /// Where it is.
    #[must_use]
    pub fn at(&self) -> &Path {
        &self.at
    }
}

impl Drop for Bind {
    fn drop(&mut self) {
        self.process.resume();
        // Lazily: an agent may still hold it where a test fails.
        let _ = Command::new("umount").arg("-l").arg(&self.at).status();
    }
}

fn is_mount(at: &Path) -> bool {
    let text = format!(" {} ", at.display());
    fs::read_to_string("/proc/self/mountinfo").is_ok_and(|mounts| mounts.contains(&text))
}
