//! The words of a line of a case, and what they mean.

use std::collections::HashMap;

use fusion_core::evidence::{RootIdentity, Source};
use fusion_core::id::{AgentId, SessionId};
use fusion_core::path::{TreePath, notation};
use fusion_core::stat::{Kind, Stat};
use fusion_core::time::{ServerTime, StorageTime};

/// The words of a line after its verb: `key=value`, and those without `=`.
pub(super) struct Words<'a> {
    pub(super) plain: Vec<&'a str>,
    pub(super) keyed: HashMap<&'a str, &'a str>,
}

impl<'a> Words<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        let (keyed, plain): (Vec<&str>, Vec<&str>) =
            text.split_whitespace().partition(|word| word.contains('='));
        Self { plain, keyed: keyed.iter().filter_map(|word| word.split_once('=')).collect() }
    }

    pub(super) fn has(&self, word: &str) -> bool {
        self.plain.contains(&word)
    }

    pub(super) fn number(&self, key: &str) -> Option<i64> {
        self.keyed.get(key).and_then(|value| value.parse().ok())
    }

    pub(super) fn path(&self, at: usize) -> Result<TreePath, String> {
        let text = self.plain.get(at).ok_or("a path is missing")?;
        let bytes = notation::parse(text).map_err(|error| error.to_string())?;
        TreePath::new(bytes).map_err(|error| error.to_string())
    }

    pub(super) fn stat(&self) -> Stat {
        let kind = match () {
            () if self.has("dir") => Kind::Directory,
            () if self.has("link") => Kind::Symlink,
            () if self.has("fifo") => Kind::Other,
            () => Kind::File,
        };
        let ctime = self.number("c").unwrap_or(100);
        Stat {
            kind,
            size: self.number("size").unwrap_or(i64::from(kind != Kind::Directory)) as u64,
            mtime: storage(self.number("m").unwrap_or(ctime)),
            ctime: storage(ctime),
            inode: self.number("i").unwrap_or(0) as u64,
            mode: self.number("mode").unwrap_or(0) as u32,
            uid: 0,
            gid: 0,
            nlink: if kind == Kind::Directory { 2 } else { 1 },
        }
    }

    /// A directory's stat as `inode:ctime`.
    pub(super) fn dir(&self, key: &str) -> Option<Stat> {
        self.keyed.get(key).and_then(|text| dir_stat(text))
    }

    pub(super) fn root(&self) -> Option<RootIdentity> {
        let text = self.keyed.get("root")?;
        let top = text
            .split(',')
            .filter_map(|pair| pair.split_once(':'))
            .map(|(name, inode)| (name.as_bytes().to_vec(), inode.parse().unwrap_or(0)))
            .collect();
        Some(RootIdentity { top, ..RootIdentity::default() })
    }
}

pub(super) fn dir_stat(text: &str) -> Option<Stat> {
    let (inode, ctime) = text.split_once(':')?;
    let (inode, ctime) = (inode.parse().ok()?, storage(ctime.parse().ok()?));
    let kind = Kind::Directory;
    Some(Stat { kind, size: 0, mtime: ctime, ctime, inode, mode: 0, uid: 0, gid: 0, nlink: 2 })
}

pub(super) const SECOND: i64 = 1_000_000_000;

pub(super) fn storage(seconds: i64) -> StorageTime {
    match seconds {
        i64::MAX => StorageTime::MAX,
        i64::MIN => StorageTime::from_nanos(i64::MIN),
        seconds => StorageTime::from_nanos(seconds.saturating_mul(SECOND)),
    }
}

pub(super) fn server(seconds: i64) -> ServerTime {
    ServerTime::from_nanos(seconds.saturating_mul(SECOND))
}

pub(super) fn session(agent: &str) -> SessionId {
    let byte = u64::from(agent.bytes().next().unwrap_or(0));
    SessionId::new(uuid::Uuid::from_u64_pair(0, byte))
}

pub(super) fn source(words: &Words<'_>) -> Source {
    match () {
        () if words.has("snapshot") => Source::Snapshot,
        () if words.has("ondemand") => Source::OnDemand,
        () if words.has("discovery") => Source::Discovery,
        () => Source::Audit,
    }
}

pub(super) fn agent(name: &str) -> AgentId {
    AgentId::new(name).unwrap()
}
