//! Who holds a spool, as its record tells people; and whether that process still lives.
//!
//! The record decides nothing: the advisory lock does (see `lock`).

use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use fusion_core::id::InstanceId;
use fusion_core::time::AgentTime;
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use serde::{Deserialize, Serialize};

/// What a process says of itself when it takes a spool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Its host.
    pub host: String,
    /// Its life.
    pub instance_id: InstanceId,
    /// When, by its wall clock; for people only.
    pub since: AgentTime,
}

/// The record in a lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Owner {
    /// Its process; a number as it was written, which may be no process number at all.
    pub pid: i64,
    /// When that process began, in clock ticks since the boot (`/proc/PID/stat`, field 22).
    pub process_start: u64,
    /// Its host.
    pub host: String,
    /// Its life.
    pub instance_id: String,
    /// Since when it holds the spool (RFC 3339), by its own wall clock.
    pub since: String,
    /// The agent's name; absent until it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
    /// First and last sequence that is being delivered; absent if none is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consuming: Option<(u64, u64)>,
}

/// Whether the process that wrote a record lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Alive {
    /// It does, or another with its number and start.
    Yes,
    /// It does not.
    No,
    /// It was on another host, where we cannot ask.
    Unknown,
}

impl Owner {
    /// This process.
    pub(super) fn this_process(claim: &Claim) -> Self {
        let nanos = u64::try_from(claim.since.as_nanos()).unwrap_or(0);
        let since = UNIX_EPOCH + Duration::from_nanos(nanos);
        let pid = i64::from(std::process::id());
        Self {
            pid,
            process_start: start_of(pid).unwrap_or(0),
            host: claim.host.clone(),
            instance_id: claim.instance_id.to_string(),
            since: humantime::format_rfc3339_seconds(since).to_string(),
            agent_id: None,
            consuming: None,
        }
    }

    /// Whether it lives, as far as `host` can tell. A number that no process can have is dead, a
    /// process that we may not signal is alive.
    #[must_use]
    pub fn is_alive(&self, host: &str) -> Alive {
        if self.host != host {
            return Alive::Unknown;
        }
        let pid = i32::try_from(self.pid).ok().filter(|pid| *pid > 0).and_then(Pid::from_raw);
        let Some(pid) = pid else { return Alive::No };
        match test_kill_process(pid) {
            Ok(()) | Err(Errno::PERM) => {}
            Err(_) => return Alive::No,
        }
        match start_of(self.pid) {
            // Another process has got its number.
            Some(start) if self.process_start != 0 && start != self.process_start => Alive::No,
            _ => Alive::Yes,
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let agent = self.agent_id.as_deref().unwrap_or("an agent that is starting");
        let Self { pid, host, instance_id, since, .. } = self;
        write!(f, "{agent} (pid {pid} on {host}, instance {instance_id}) since {since}")?;
        match self.consuming {
            Some((first, last)) => write!(f, ", delivering batches {first} to {last}"),
            None => Ok(()),
        }
    }
}

/// When a process began, in clock ticks since the boot.
fn start_of(pid: i64) -> Option<u64> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses, and may hold anything.
    let after_name = stat.iter().rposition(|&byte| byte == b')')? + 1;
    let fields = std::str::from_utf8(&stat[after_name..]).ok()?;
    fields.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(pid: i64) -> Owner {
        let instance_id = InstanceId::new(uuid::Uuid::nil());
        let claim = Claim { host: "here".into(), instance_id, since: AgentTime::from_nanos(0) };
        Owner { pid, process_start: 0, ..Owner::this_process(&claim) }
    }

    #[test]
    fn who_lives() {
        let own = i64::from(std::process::id());
        let cases = [
            (0, Alive::No),
            (-1, Alive::No),
            (i64::from(i32::MAX) + 1, Alive::No),
            (i64::MAX, Alive::No),
            (i64::from(i32::MAX), Alive::No),
            (own, Alive::Yes),
            (1, Alive::Yes),
        ];
        for (pid, expected) in cases {
            assert_eq!(owner(pid).is_alive("here"), expected, "{pid}");
        }
        assert_eq!(owner(own).is_alive("there"), Alive::Unknown);
        let reused = Owner { process_start: 1, ..owner(own) };
        assert_eq!(reused.is_alive("here"), Alive::No);
        let same = Owner { process_start: start_of(own).unwrap(), ..owner(own) };
        assert_eq!(same.is_alive("here"), Alive::Yes);
    }
}
