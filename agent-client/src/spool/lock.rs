//! `spool.lock`: one process at a time.
//!
//! The advisory lock (flock) on the file is the truth; the record in it is for people. The file is
//! **kept**, never unlinked: if it were, a process that had it open before would get its lock on a
//! file without a name, while another makes and locks a new one, and both would hold the spool. A
//! release empties the record, so a record that is left means that its writer did not release.
//! flock, and not fcntl: it belongs to the open file and not to the process, so closing some other
//! descriptor of the same file does not lose it, and two openings in one process exclude each other
//! (which is how it is found out that locks work at all).

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use fusion_core::id::AgentId;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::SpoolError;
use super::owner::{Alive, Claim, Owner};

const NAME: &str = "spool.lock";

/// The lock of somebody who did not release it was taken over. Something to log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Takeover {
    /// Its writer is dead.
    Dead(Owner),
    /// Its writer seems to live, or is on another host, but does not hold the lock any more.
    Abandoned(Owner, Alive),
    /// The record cannot be read; its text, cut short.
    Broken(String),
}

/// The lock, held until it is dropped.
pub(super) struct SpoolLock {
    file: File,
    owner: Owner,
}

impl SpoolLock {
    /// Takes it, and tells whose was taken over.
    pub(super) fn take(dir: &Path, claim: &Claim) -> Result<(Self, Option<Takeover>), SpoolError> {
        let path = dir.join(NAME);
        let doing = || SpoolError::io(format!("open {}", path.display()));
        let file = loop {
            let file = open(&path).map_err(doing())?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Err(held(dir, &file)),
                Err(errno) => return Err(no_locks(dir, io::Error::from(errno).to_string())),
            }
            // Somebody may have removed or replaced the file since it was opened.
            match std::fs::metadata(&path) {
                Ok(named) if is_same(&named, &file.metadata().map_err(doing())?) => break file,
                _ => {}
            }
        };
        prove(dir, &path)?;
        let takeover = read(&file).map_err(doing())?.map(|record| judge(record, &claim.host));
        let mut lock = Self { file, owner: Owner::this_process(claim) };
        lock.write()?;
        Ok((lock, takeover))
    }

    /// Puts the agent's name into the record.
    pub(super) fn sign(&mut self, agent: &AgentId) -> Result<(), SpoolError> {
        self.owner.agent_id = Some(agent.as_str().to_owned());
        self.write()
    }

    /// Puts into the record what is being delivered.
    pub(super) fn note_consuming(&mut self, first: u64, last: u64) -> Result<(), SpoolError> {
        self.owner.consuming = Some((first, last));
        self.write()
    }

    fn write(&mut self) -> Result<(), SpoolError> {
        let doing = || SpoolError::io("write the record of the spool's lock");
        let text = toml::to_string(&self.owner).map_err(io::Error::other).map_err(doing())?;
        let written = self.file.write_all_at(text.as_bytes(), 0);
        written.and_then(|()| self.file.set_len(text.len() as u64)).map_err(doing())
    }
}

impl Drop for SpoolLock {
    /// Empties the record; closing the file releases the lock.
    fn drop(&mut self) {
        let _ = self.file.set_len(0);
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

fn is_same(one: &std::fs::Metadata, other: &std::fs::Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// While we hold the lock, a second opening must not get it.
fn prove(dir: &Path, path: &Path) -> Result<(), SpoolError> {
    let second = open(path).map_err(SpoolError::io(format!("open {}", path.display())))?;
    match flock(&second, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => Ok(()),
        Ok(()) => Err(no_locks(dir, "the same lock was given twice".into())),
        Err(errno) => Err(no_locks(dir, io::Error::from(errno).to_string())),
    }
}

/// The record, if there is one: what it says, or its text if it says nothing.
fn read(file: &File) -> io::Result<Option<Result<Owner, String>>> {
    let mut bytes = Vec::new();
    file.take(64 * 1024).read_to_end(&mut bytes)?;
    if bytes.is_empty() {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(&bytes);
    Ok(Some(toml::from_str(&text).map_err(|_| text.chars().take(200).collect())))
}

fn judge(record: Result<Owner, String>, host: &str) -> Takeover {
    match record {
        Err(text) => Takeover::Broken(text),
        Ok(owner) => match owner.is_alive(host) {
            Alive::No => Takeover::Dead(owner),
            alive => Takeover::Abandoned(owner, alive),
        },
    }
}

fn held(dir: &Path, file: &File) -> SpoolError {
    let owner = read(file).ok().flatten().and_then(Result::ok).map(Box::new);
    let holder = match &owner {
        Some(owner) => owner.to_string(),
        None => "a process whose record cannot be read".to_owned(),
    };
    SpoolError::Held { dir: dir.to_owned(), holder, owner }
}

fn no_locks(dir: &Path, why: String) -> SpoolError {
    SpoolError::NoLocks { dir: dir.to_owned(), why }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fusion_core::id::InstanceId;
    use fusion_core::time::AgentTime;
    use uuid::Uuid;

    fn claim() -> Claim {
        let instance_id = InstanceId::new(Uuid::from_u128(7));
        Claim { host: "here".into(), instance_id, since: AgentTime::from_nanos(0) }
    }

    fn record(dir: &Path) -> String {
        std::fs::read_to_string(dir.join(NAME)).unwrap()
    }

    #[test]
    fn a_second_one_is_told_who_holds_it() {
        let dir = tempfile::tempdir().unwrap();
        let (mut lock, takeover) = SpoolLock::take(dir.path(), &claim()).unwrap();
        assert_eq!(takeover, None);
        lock.sign(&AgentId::new("host-1").unwrap()).unwrap();
        lock.note_consuming(3, 9).unwrap();
        let Err(refused) = SpoolLock::take(dir.path(), &claim()) else { panic!("two owners") };
        let SpoolError::Held { owner: Some(owner), .. } = &refused else { panic!("{refused}") };
        assert_eq!(owner.consuming, Some((3, 9)));
        let text = refused.to_string();
        let pid = std::process::id().to_string();
        for part in ["host-1", "on here", &pid, "1970-01-01T00:00:00Z", "batches 3 to 9"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        drop(lock);
        assert_eq!(record(dir.path()), "", "a release empties the record and keeps the file");
        assert_eq!(SpoolLock::take(dir.path(), &claim()).unwrap().1, None);
    }

    #[test]
    fn what_was_not_released_is_taken_over_and_told() {
        let dir = tempfile::tempdir().unwrap();
        let mut dead = Owner::this_process(&claim());
        dead.pid = 0;
        let mut elsewhere = Owner::this_process(&claim());
        elsewhere.host = "there".into();
        let living = Owner::this_process(&claim());
        let cases = [
            (toml::to_string(&dead).unwrap(), Takeover::Dead(dead)),
            (toml::to_string(&elsewhere).unwrap(), Takeover::Abandoned(elsewhere, Alive::Unknown)),
            (toml::to_string(&living).unwrap(), Takeover::Abandoned(living, Alive::Yes)),
            ("pid = ".into(), Takeover::Broken("pid = ".into())),
        ];
        for (text, expected) in cases {
            std::fs::write(dir.path().join(NAME), &text).unwrap();
            let (_lock, takeover) = SpoolLock::take(dir.path(), &claim()).unwrap();
            assert_eq!(takeover, Some(expected), "{text}");
            assert!(record(dir.path()).contains("pid = "), "the new record is in its place");
        }
    }
}
