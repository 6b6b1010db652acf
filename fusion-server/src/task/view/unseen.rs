//! Directories that agents cannot have seen appear, because another host made them: whom to tell.
//!
//! inotify tells of what is done on one host. So every agent that watches directory by directory is
//! told of each directory that came to be known by the evidence of another, watches it and reads it.
//! What appeared is kept once for all, in the order of revisions, and an agent is a place in that order;
//! it has one command at a time, with all that waits for it by then and lies below nothing else that
//! does. Until it reports, the horizon stays where it was when the first of these directories appeared.
//!
//! Not durable but for each agent's place: a server that begins anew reads the log from there. Pure,
//! and shared by [`super::desk`]. Must never: take a directory for told of that was not reported.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use fusion_core::change::{Change, ChangeKind, Listed};
use fusion_core::id::{AgentId, InstanceId, Revision, SessionId};
use fusion_core::path::{PathRef, TreePath};
use fusion_core::stat::Kind;
use fusion_core::time::{ServerTime, StorageTime};
use fusion_proto::convert::session::command::{Action, Command, CommandReport, CommandState};
use uuid::Uuid;

use super::commands::Ended;

/// Directories in a command at most; more become the one above all of them.
const TOLD_AT_ONCE: usize = 500;
/// Directories that are kept; an agent that is further back reads the whole tree.
const KEPT: usize = 16_384;

/// Up to when the witnesses are heard, as far as directories that they were not told of allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    /// All were told of all.
    None,
    /// Not later than this; absent: nothing is known.
    At(Option<ServerTime>),
}

/// Who there is, and what appeared.
#[derive(Debug)]
pub(super) struct Unseen {
    agents: BTreeMap<AgentId, Agent>,
    /// In the order of revisions.
    appeared: VecDeque<Appeared>,
    /// What appeared up to here is not all in `appeared`.
    forgotten: Revision,
    /// The last revision that was looked at.
    through: Revision,
    /// The least `since` of all agents.
    since: Option<StorageTime>,
}

/// A directory that appeared.
#[derive(Debug)]
struct Appeared {
    revision: Revision,
    path: TreePath,
    /// Who saw it, and so watches it.
    by: Option<AgentId>,
    /// Where a listing found it: the ctime that it has. Absent: it appeared just now.
    ctime: Option<StorageTime>,
    /// The horizon before it was known.
    hold: Option<ServerTime>,
}

/// One life of an agent: its watches last as long.
#[derive(Debug)]
struct Agent {
    instance: InstanceId,
    session: Option<SessionId>,
    /// Directories that are older it finds by itself.
    since: StorageTime,
    /// Whether it watches directory by directory; absent: it did not say yet.
    by_directory: Option<bool>,
    /// It could not do what it was told last.
    cannot: bool,
    /// It was told of all up to here.
    after: Revision,
    given: Option<Given>,
}

/// What it was told and did not report.
#[derive(Debug)]
struct Given {
    command: Command,
    /// What of it is still there.
    paths: BTreeSet<TreePath>,
    after: Revision,
    hold: Option<ServerTime>,
    noticed: bool,
}

impl Unseen {
    /// Nobody yet, and nothing after a revision.
    pub(super) fn new(through: Revision) -> Self {
        let (agents, appeared, since) = (BTreeMap::new(), VecDeque::new(), None);
        Self { agents, appeared, forgotten: through, through, since }
    }

    /// Nothing was looked at after this revision; what comes next is what the log has from there.
    pub(super) fn rewind(&mut self, through: Revision) {
        (self.forgotten, self.through) = (through, through);
    }

    /// What the life of the view before this one knew; its log goes on.
    pub(super) fn take_over(&mut self, before: Self) {
        let now = std::mem::replace(self, before);
        self.through = self.through.max(now.through);
        now.appeared.into_iter().for_each(|appeared| self.push(appeared));
    }

    /// A session began. `since`: directories that are older its agent finds by itself, if this life of
    /// it is new; `after`: how far it was told, if that was in an earlier life of the server.
    pub(super) fn joined(
        &mut self,
        session: SessionId,
        agent: &AgentId,
        instance: InstanceId,
        since: StorageTime,
        after: Option<Revision>,
    ) {
        match self.agents.get_mut(agent) {
            Some(known) if known.instance == instance => {
                known.session = Some(session);
                known.take_back();
                known.after = known.after.max(after.unwrap_or_default());
            }
            _ => {
                let life = Agent {
                    instance,
                    session: Some(session),
                    since,
                    by_directory: None,
                    cannot: false,
                    after: after.unwrap_or(self.through),
                    given: None,
                };
                self.agents.insert(agent.clone(), life);
                self.since = self.agents.values().map(|agent| agent.since).min();
            }
        }
    }

    /// A session is over. Its agent may come back and watch what it watched, unless it `ended` it.
    pub(super) fn session_over(&mut self, session: SessionId, ended: bool) {
        let found = self.agents.iter_mut().find(|(_, agent)| agent.session == Some(session));
        let Some((name, agent)) = found else { return };
        agent.session = None;
        agent.take_back();
        if ended {
            let name = name.clone();
            self.agents.remove(&name);
        }
    }

    /// An agent says whether it watches directory by directory.
    pub(super) fn heard(&mut self, session: SessionId, by_directory: bool) {
        if let Some(agent) = self.of(session) {
            agent.by_directory = Some(by_directory);
            if !by_directory {
                agent.given = None;
            }
        }
    }

    /// Takes changes in, in their order. `horizon`: as it was before them.
    pub(super) fn take(&mut self, changes: &[Change], horizon: Option<ServerTime>) {
        for change in changes {
            if change.revision > self.through {
                self.take_one(change, horizon);
                self.through = change.last_revision();
            }
        }
    }

    fn take_one(&mut self, change: &Change, hold: Option<ServerTime>) {
        let by = change.by.as_ref().map(|witness| witness.agent.clone());
        let appeared = |by, path: &TreePath| {
            let (revision, path) = (change.revision, path.clone());
            Appeared { revision, path, by, ctime: None, hold }
        };
        match &change.kind {
            ChangeKind::Created { path, stat, .. } | ChangeKind::Restored { path, stat, .. }
                if stat.kind == Kind::Directory =>
            {
                self.push(appeared(by, path));
            }
            ChangeKind::Moved { from, to, stat, .. } if stat.kind == Kind::Directory => {
                // What waits below goes along, also for the one who moved it.
                let is_behind =
                    |by: &AgentId| self.agents.get(by).is_some_and(|it| it.given.is_some());
                let by = by.filter(|by| !is_behind(by));
                self.push(appeared(by, to));
                self.gone(from.as_ref());
            }
            ChangeKind::Removed { path, stat, .. } if stat.kind == Kind::Directory => {
                self.gone(path.as_ref());
            }
            ChangeKind::Listed(listed) => self.take_listed(change, listed, by.as_ref(), hold),
            _ => {}
        }
    }

    /// A directory that a listing found may have been there for long: then who walked finds it by itself.
    fn take_listed(
        &mut self,
        change: &Change,
        listed: &Listed,
        by: Option<&AgentId>,
        hold: Option<ServerTime>,
    ) {
        let Some(since) = self.since.filter(|_| self.agents.len() > 1) else { return };
        let children = listed.rows.as_children();
        let came = |row: &usize| {
            let stat = children.stat(*row);
            stat.kind == Kind::Directory && stat.ctime >= since
        };
        for row in (0..listed.row_count()).filter(came) {
            if let Some(ChangeKind::Created { path, stat, .. }) = listed.entry(row) {
                let revision = Revision(change.revision.0 + row as u64);
                let (by, ctime) = (by.cloned(), Some(stat.ctime));
                self.push(Appeared { revision, path, by, ctime, hold });
            }
        }
    }

    fn push(&mut self, appeared: Appeared) {
        // The root is what every agent begins with.
        let is_alone = self.agents.len() < 2 && self.agents.keys().next() == appeared.by.as_ref();
        if is_alone || appeared.path.as_ref().is_root() {
            return;
        }
        self.appeared.push_back(appeared);
        if self.appeared.len() > KEPT
            && let Some(oldest) = self.appeared.pop_front()
        {
            self.forgotten = oldest.revision;
        }
    }

    /// Nobody has to watch any more what is not there.
    fn gone(&mut self, path: PathRef<'_>) {
        for agent in self.agents.values_mut() {
            if let Some(given) = &mut agent.given {
                given.paths.retain(|given| !given.as_ref().is_within(path));
                if given.paths.is_empty() {
                    agent.given = None;
                }
            }
        }
    }

    /// Gives every agent that has nothing to do what waits for it; whether there was anything.
    /// `is_directory`: whether the view still has one there.
    pub(super) fn give(
        &mut self,
        is_directory: &dyn Fn(PathRef<'_>) -> bool,
        mut draw: impl FnMut() -> Uuid,
    ) -> bool {
        let mut is_news = false;
        for (name, agent) in &mut self.agents {
            let may = agent.session.is_some() && agent.by_directory.is_some();
            if !may || agent.given.is_some() || agent.after >= self.through {
                continue;
            }
            let after = std::mem::replace(&mut agent.after, self.through);
            if agent.by_directory == Some(false) {
                continue;
            }
            let start = self.appeared.partition_point(|it| it.revision <= after);
            let mut waits = self.appeared.range(start..).filter(|it| {
                it.by.as_ref() != Some(name)
                    && it.ctime.is_none_or(|ctime| ctime >= agent.since)
                    && is_directory(it.path.as_ref())
            });
            let mut paths = BTreeSet::new();
            let hold = if after < self.forgotten {
                paths.insert(TreePath::root());
                None
            } else {
                let Some(first) = waits.next() else { continue };
                paths.insert(first.path.clone());
                waits.for_each(|more| add(&mut paths, &more.path));
                first.hold
            };
            let action = Action::Watch { paths: paths.iter().cloned().collect() };
            let command = Command {
                id: draw(),
                lease: String::new(),
                correlation: None,
                traceparent: String::new(),
                action,
            };
            agent.given = Some(Given { command, paths, after, hold, noticed: false });
            is_news = true;
        }
        let told = self.agents.values().map(Agent::reported).min();
        while self.appeared.front().is_some_and(|it| told.is_none_or(|told| it.revision <= told)) {
            self.appeared.pop_front();
        }
        is_news
    }

    /// What this session is to do.
    pub(super) fn all(&self, session: SessionId) -> Option<Command> {
        let agent = self.agents.values().find(|agent| agent.session == Some(session))?;
        agent.given.as_ref().map(|given| given.command.clone())
    }

    /// The same, if no stream of it has told it yet.
    pub(super) fn news(&mut self, session: SessionId) -> Option<Command> {
        let given = self.of(session)?.given.as_mut().filter(|given| !given.noticed)?;
        given.noticed = true;
        Some(given.command.clone())
    }

    /// Takes the reports that are of this; gives back the others. One that failed is not told again:
    /// its agent does not know such commands, and sees no more than it ever did.
    pub(super) fn report(
        &mut self,
        session: SessionId,
        reports: &[CommandReport],
    ) -> (Vec<CommandReport>, Ended) {
        let (mut rest, mut ended) = (Vec::new(), Ended::default());
        for report in reports {
            let agent = self.of(session).filter(|agent| {
                agent.given.as_ref().is_some_and(|given| given.command.id == report.id)
            });
            match (agent, report.state) {
                (None, _) => rest.push(report.clone()),
                (Some(_), CommandState::Running) => {}
                (Some(agent), CommandState::Done) => {
                    (agent.given, agent.cannot) = (None, false);
                    ended.done += 1;
                }
                (Some(agent), CommandState::Failed) => {
                    (agent.given, agent.cannot) = (None, true);
                    ended.failed += 1;
                }
            }
        }
        (rest, ended)
    }

    /// Up to when the witnesses are heard, as far as this goes.
    pub(super) fn hold(&self) -> Hold {
        let given = self.agents.values().filter_map(|agent| agent.given.as_ref());
        given.map(|given| given.hold).min().map_or(Hold::None, Hold::At)
    }

    /// Whether an agent that is here cannot watch what others made.
    pub(super) fn is_degraded(&self) -> bool {
        self.agents.values().any(|agent| agent.cannot && agent.session.is_some())
    }

    /// Directories that agents were told of and that are not reported.
    pub(super) fn count(&self) -> usize {
        let given = self.agents.values().filter_map(|agent| agent.given.as_ref());
        given.map(|given| given.paths.len()).sum()
    }

    /// Up to where all was reported by a session's agent: where to go on after a restart.
    pub(super) fn reported(&self, session: SessionId) -> Option<Revision> {
        let agent = self.agents.values().find(|agent| agent.session == Some(session))?;
        Some(agent.reported())
    }

    fn of(&mut self, session: SessionId) -> Option<&mut Agent> {
        self.agents.values_mut().find(|agent| agent.session == Some(session))
    }
}

impl Agent {
    /// Up to where it has reported all.
    fn reported(&self) -> Revision {
        self.given.as_ref().map_or(self.after, |given| given.after)
    }

    /// What it was told and did not report waits again.
    fn take_back(&mut self) {
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

#[cfg(test)]
mod tests;
