//! One agent, and what it is told: all that waits for it, in one command.

use std::collections::{BTreeSet, VecDeque};

use fusion_core::id::{AgentId, InstanceId, Revision, SessionId};
use fusion_core::path::{PathRef, TreePath};
use fusion_core::time::{ServerTime, StorageTime};
use fusion_proto::convert::session::command::{Action, Command};
use uuid::Uuid;

use super::Appeared;

/// Directories in a command at most; more become the one above all of them.
pub(super) const TOLD_AT_ONCE: usize = 500;
/// One life of an agent: its watches last as long.
#[derive(Debug)]
pub(super) struct Agent {
    pub(super) instance: InstanceId,
    pub(super) session: Option<SessionId>,
    /// Directories that are older it finds by itself.
    pub(super) since: StorageTime,
    /// Whether it watches directory by directory; absent: it did not say yet.
    pub(super) by_directory: Option<bool>,
    /// It could not do what it was told last.
    pub(super) cannot: bool,
    /// It was told of all up to here.
    pub(super) after: Revision,
    pub(super) given: Option<Given>,
}

/// What it was told and did not report.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) command: Command,
    /// What of it is still there.
    pub(super) paths: BTreeSet<TreePath>,
    pub(super) after: Revision,
    pub(super) hold: Option<ServerTime>,
    pub(super) noticed: bool,
}

/// What appeared, for who takes the next of it.
#[derive(Clone, Copy)]
pub(super) struct Line<'a> {
    pub(super) appeared: &'a VecDeque<Appeared>,
    pub(super) forgotten: Revision,
}

impl Agent {
    /// Is given all that waits for it, if it has nothing to do; whether there was anything.
    pub(super) fn take_next(
        &mut self,
        name: &AgentId,
        line: Line<'_>,
        through: Revision,
        is_directory: &dyn Fn(PathRef<'_>) -> bool,
        draw: &mut impl FnMut() -> Uuid,
    ) -> bool {
        let may = self.session.is_some() && self.by_directory.is_some();
        if !may || self.given.is_some() || self.after >= through {
            return false;
        }
        let after = std::mem::replace(&mut self.after, through);
        if self.by_directory == Some(false) {
            return false;
        }
        let Some((paths, hold)) = self.next(name, line, after, is_directory) else { return false };
        let command = Command {
            id: draw(),
            lease: String::new(),
            correlation: None,
            traceparent: String::new(),
            action: Action::Watch { paths: paths.iter().cloned().collect() },
        };
        self.given = Some(Given { command, paths, after, hold, noticed: false });
        true
    }

    /// What appeared after a revision that it has not seen, and where the horizon was before; `None` if
    /// nothing did.
    fn next(
        &self,
        name: &AgentId,
        line: Line<'_>,
        after: Revision,
        is_directory: &dyn Fn(PathRef<'_>) -> bool,
    ) -> Option<(BTreeSet<TreePath>, Option<ServerTime>)> {
        if after < line.forgotten {
            return Some((BTreeSet::from([TreePath::root()]), None));
        }
        let start = line.appeared.partition_point(|it| it.revision <= after);
        let mut waits = line.appeared.range(start..).filter(|it| {
            it.by.as_ref() != Some(name)
                && it.ctime.is_none_or(|ctime| ctime >= self.since)
                && is_directory(it.path.as_ref())
        });
        let first = waits.next()?;
        let mut paths = BTreeSet::from([first.path.clone()]);
        waits.for_each(|more| add(&mut paths, &more.path));
        Some((paths, first.hold))
    }

    /// Up to where it has reported all.
    pub(super) fn reported(&self) -> Revision {
        self.given.as_ref().map_or(self.after, |given| given.after)
    }

    /// What it was told and did not report waits again.
    pub(super) fn take_back(&mut self) {
        if let Some(given) = self.given.take() {
            self.after = given.after;
        }
    }
}

/// Adds a path, unless one is there that it lies below; and what lies below it goes.
fn add(paths: &mut BTreeSet<TreePath>, path: &TreePath) {
    let mut above = Some(path.as_ref());
    while let Some(dir) = above {
        if paths.contains(&dir.to_owned()) {
            return;
        }
        above = dir.split_last().map(|(dir, _)| dir);
    }
    let begins = |other: &&TreePath| other.as_bytes().starts_with(path.as_bytes());
    let below = paths.range(path.clone()..).take_while(begins);
    let below: Vec<_> = below.filter(|it| it.as_ref().is_within(path.as_ref())).cloned().collect();
    for path in &below {
        paths.remove(path);
    }
    paths.insert(path.clone());
    if paths.len() > TOLD_AT_ONCE {
        *paths = BTreeSet::from([above_all(paths)]);
    }
}

/// The directory that all paths are below: that of the first and the last in the order of bytes.
fn above_all(paths: &BTreeSet<TreePath>) -> TreePath {
    let (Some(first), Some(last)) = (paths.first(), paths.last()) else { return TreePath::root() };
    let mut dir = first.as_ref();
    while !last.as_ref().is_within(dir) {
        dir = dir.split_last().map_or(PathRef::ROOT, |(dir, _)| dir);
    }
    dir.to_owned()
}
