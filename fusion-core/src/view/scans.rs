//! Scans that run, who may report what, and the parts of large listings.
//!
//! Owns the frames of scans (READY, R9, R10 and held evidence rest on them), the scans given to
//! sessions, and between two parts of a listing the number and last name of the part before. Must
//! never: grow without bound, whatever is begun and never finished. Tested by
//! `tests/cases/r9-r10.txt`.

use std::collections::BTreeMap;

use crate::evidence::{ScanId, Source};
use crate::id::{AgentId, SessionId};
use crate::path::{PathRef, TreePath};
use crate::time::ServerTime;

use super::path_map::{Key, PathMap};
use super::shared::Shared;

/// Scans at a time; the one that began first gives way.
const RUNNING_MAX: usize = 64;
/// Scans given to sessions at a time.
const GIVEN_MAX: usize = 1024;
/// Large directories of which parts are under way at a time.
const PARTS_MAX: usize = 1024;

/// A scan that began and did not end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningScan {
    /// Whose it is.
    pub session: SessionId,
    /// The agent of the session.
    pub agent: AgentId,
    /// Its number.
    pub scan: ScanId,
    /// What kind of scan.
    pub source: Source,
    /// Where it began.
    pub path: TreePath,
    /// When it began.
    pub started_at: ServerTime,
    /// It goes down from its path; if not, it is the answer to a relist.
    pub deep: bool,
    /// Its storage is not the view's: nothing of it is taken (R11).
    pub doubtful: bool,
}

impl RunningScan {
    /// Whether it reads the whole tree on behalf of the view.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.deep && self.path.as_ref().is_root() && self.source.is_leader_only()
    }
}

/// All scans.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Scans {
    running: Vec<RunningScan>,
}

impl Scans {
    pub(super) fn iter(&self) -> impl Iterator<Item = &RunningScan> {
        self.running.iter()
    }

    pub(super) fn get(&self, session: SessionId, scan: ScanId) -> Option<&RunningScan> {
        self.running.iter().find(|known| known.session == session && known.scan == scan)
    }

    /// The scan that gives way if one more begins.
    pub(super) fn surplus(&self) -> Option<&RunningScan> {
        self.running.first().filter(|_| self.running.len() >= RUNNING_MAX)
    }

    pub(super) fn begin(&mut self, scan: RunningScan) {
        self.end(scan.session, scan.scan);
        self.running.push(scan);
    }

    pub(super) fn end(&mut self, session: SessionId, scan: ScanId) -> Option<RunningScan> {
        let at = self.running.iter().position(|r| r.session == session && r.scan == scan)?;
        Some(self.running.remove(at))
    }

    /// The storage of an agent is another: so is what its scans read.
    pub(super) fn doubt(&mut self, agent: &AgentId) {
        self.running
            .iter_mut()
            .filter(|scan| scan.agent == *agent)
            .for_each(|scan| scan.doubtful = true);
    }

    /// Whether a scan that covers a path is running, so that what is not known yet may become known.
    pub(super) fn cover(&self, path: PathRef<'_>) -> bool {
        self.running
            .iter()
            .any(|scan| scan.deep && !scan.doubtful && path.is_within(scan.path.as_ref()))
    }

    /// Whether the whole tree is being read.
    pub(super) fn read_whole(&self) -> bool {
        self.running.iter().any(|scan| scan.is_whole() && !scan.doubtful)
    }
}

/// Scans that were given to sessions (ON_DEMAND). Not durable: who gives them gives them again.
#[derive(Debug, Clone, Default)]
pub(super) struct GivenScans {
    paths: BTreeMap<SessionId, Vec<TreePath>>,
    count: usize,
}

impl GivenScans {
    /// Gives a scan, or one more of the same path; whether there was room for it.
    pub(super) fn give(&mut self, session: SessionId, path: TreePath) -> bool {
        if self.count >= GIVEN_MAX {
            return false;
        }
        self.paths.entry(session).or_default().push(path);
        self.count += 1;
        true
    }

    /// A scan of exactly this path is done. Whether one was given.
    pub(super) fn done(&mut self, session: SessionId, path: PathRef<'_>) -> bool {
        let Some(paths) = self.paths.get_mut(&session) else { return false };
        let Some(at) = paths.iter().position(|given| given.as_ref() == path) else { return false };
        paths.swap_remove(at);
        self.count -= 1;
        if paths.is_empty() {
            self.paths.remove(&session);
        }
        true
    }

    /// The session is over.
    pub(super) fn drop_session(&mut self, session: SessionId) {
        self.count -= self.paths.remove(&session).map_or(0, |paths| paths.len());
    }

    /// Whether a session was given a scan that covers a path.
    pub(super) fn cover(&self, session: SessionId, path: PathRef<'_>) -> bool {
        self.paths
            .get(&session)
            .is_some_and(|paths| paths.iter().any(|given| path.is_within(given.as_ref())))
    }
}

/// How far the parts of a listing came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartsSoFar {
    /// Whose listing it is.
    pub session: SessionId,
    /// The scan.
    pub scan: ScanId,
    /// When the listing began.
    pub started_at: ServerTime,
    /// The number of the next part.
    pub next: u32,
    /// The last name of the part before.
    pub last_name: Box<[u8]>,
    /// Every part so far was whole, and nothing was kept against it.
    pub settled: bool,
    /// Every part so far had been read in full.
    pub complete: bool,
    /// The part before had been read in full: its last name is where the next one begins.
    pub whole_before: bool,
}

/// Listings of which parts are under way, by directory.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Parts {
    by_dir: PathMap<PartsSoFar>,
}

impl Parts {
    /// All by directory, to be held while they change.
    pub(super) fn shared(&self) -> &Shared<BTreeMap<Key, PartsSoFar>> {
        self.by_dir.shared()
    }

    pub(super) fn get(&self, dir: PathRef<'_>) -> Option<&PartsSoFar> {
        self.by_dir.get(dir)
    }

    /// Whether one more directory finds room.
    pub(super) fn has_room(&self, dir: PathRef<'_>) -> bool {
        self.by_dir.len() < PARTS_MAX || self.by_dir.get(dir).is_some()
    }

    /// The directory whose parts began first: it gives way when there is no room.
    pub(super) fn oldest(&self) -> Option<Box<[u8]>> {
        self.by_dir.iter().min_by_key(|(_, parts)| parts.started_at).map(|(dir, _)| dir.into())
    }

    pub(super) fn set(&mut self, dir: PathRef<'_>, parts: Option<PartsSoFar>) {
        match parts {
            Some(parts) => drop(self.by_dir.insert(dir, parts)),
            None => drop(self.by_dir.remove(dir)),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], &PartsSoFar)> {
        self.by_dir.iter()
    }

    pub(super) fn drop_within(&mut self, path: PathRef<'_>) {
        self.by_dir.take_within(path);
    }

    pub(super) fn move_within(&mut self, from: PathRef<'_>, to: PathRef<'_>) {
        self.by_dir.move_within(from, to);
    }
}
