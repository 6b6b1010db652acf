//! A tree mounted once more, by a process of its own: kernel events of one mount tell nothing of what is
//! done through another or beside it, SIGSTOP makes it hang, SIGKILL makes it answer ENOTCONN.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::process::{Process, now};

/// How long a mount may take to be there.
const THERE: Duration = Duration::from_secs(20);

/// A bindfs mount; it is unmounted when it is dropped.
#[derive(Debug)]
pub struct Bind {
    /// The process that serves it.
    pub process: Process,
    at: PathBuf,
    /// As the kernel numbers it: a test may move what it is mounted in.
    id: String,
    /// For what the process says, which may be in the middle of a test: not in anybody's tree.
    _log: TempDir,
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
        let log = tempfile::tempdir().expect("a temporary directory");
        let process = Process::start("bindfs", &mut command, &log.path().join("bindfs.log"));
        let began = now();
        let id = loop {
            let mut mounts = mounts();
            if let Some((id, _)) = mounts.find(|(_, there)| Path::new(there) == at) {
                break id;
            }
            assert!(began.elapsed() < THERE, "bindfs: {}", process.output());
            std::thread::sleep(Duration::from_millis(10));
        };
        // Before it serves it looks for what it is mounted on, and ends if a test has moved that.
        rustix::fs::statfs(at).expect("a mount that answers");
        Self { process, at: at.to_path_buf(), id, _log: log }
    }

    /// Where it was mounted.
    #[must_use]
    pub fn at(&self) -> &Path {
        &self.at
    }
}

impl Drop for Bind {
    fn drop(&mut self) {
        self.process.resume();
        if let Some((_, at)) = mounts().find(|(id, _)| *id == self.id) {
            // Lazily: an agent may still hold it where a test fails.
            let _ = Command::new("umount").arg("-l").arg(at).status();
        }
    }
}

/// The mounts that there are: their numbers, and where they are now.
fn mounts() -> impl Iterator<Item = (String, String)> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mounts: Vec<_> = text.lines().filter_map(mount).collect();
    mounts.into_iter()
}

fn mount(line: &str) -> Option<(String, String)> {
    let mut words = line.split(' ');
    Some((words.next()?.to_owned(), words.nth(3)?.to_owned()))
}
