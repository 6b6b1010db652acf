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

mod agent;

use std::collections::{BTreeMap, HashMap, VecDeque};

use fusion_core::change::{Change, ChangeKind, Listed};
use fusion_core::id::{AgentId, InstanceId, Revision, SessionId};
use fusion_core::path::{PathRef, TreePath};
use fusion_core::stat::Kind;
use fusion_core::time::{ServerTime, StorageTime};
use fusion_proto::convert::session::command::{Command, CommandReport, CommandState};
use uuid::Uuid;

use self::agent::{Agent, Line};
use super::commands::Ended;

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
    /// The agent of each session that goes on.
    sessions: HashMap<SessionId, AgentId>,
    /// In the order of revisions.
    appeared: VecDeque<Appeared>,
    /// What appeared up to here is not all in `appeared`.
    forgotten: Revision,
    /// The last revision that was looked at.
    through: Revision,
    /// The least `since` of all agents.
    since: Option<StorageTime>,
    /// Something may wait for an agent that has nothing to do, or be kept for nobody.
    is_due: bool,
    /// How it stands, unless something came since.
    now: Option<UnseenNow>,
}

/// How a view stands with directories that agents cannot have seen appear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct UnseenNow {
    /// How far the horizon may be.
    pub(super) hold: Hold,
    /// How many are not reported.
    pub(super) count: usize,
    /// An agent that is here cannot watch what others made.
    pub(super) is_degraded: bool,
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

impl Unseen {
    /// Nobody yet, and nothing after a revision.
    pub(super) fn new(through: Revision) -> Self {
        Self {
            agents: BTreeMap::new(),
            sessions: HashMap::new(),
            appeared: VecDeque::new(),
            forgotten: through,
            through,
            since: None,
            is_due: false,
            now: None,
        }
    }

    /// Something changed for somebody.
    fn touch(&mut self) {
        (self.is_due, self.now) = (true, None);
    }

    /// Nothing was looked at after this revision; what comes next is what the log has from there.
    pub(super) fn rewind(&mut self, through: Revision) {
        (self.forgotten, self.through) = (through, through);
        self.touch();
    }

    /// What the life of the view before this one knew; its log goes on.
    pub(super) fn take_over(&mut self, before: Self) {
        let now = std::mem::replace(self, before);
        self.through = self.through.max(now.through);
        self.touch();
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
        self.touch();
        let before = match self.agents.get_mut(agent) {
            Some(known) if known.instance == instance => {
                known.take_back();
                known.after = known.after.max(after.unwrap_or_default());
                known.session.replace(session)
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
                let before = self.agents.insert(agent.clone(), life);
                self.since = self.agents.values().map(|agent| agent.since).min();
                before.and_then(|before| before.session)
            }
        };
        before.and_then(|before| self.sessions.remove(&before));
        self.sessions.insert(session, agent.clone());
    }

    /// A session is over. Its agent may come back and watch what it watched, unless it `ended` it.
    pub(super) fn session_over(&mut self, session: SessionId, ended: bool) {
        let Some(name) = self.sessions.remove(&session) else { return };
        self.touch();
        if ended {
            self.agents.remove(&name);
        } else if let Some(agent) = self.agents.get_mut(&name) {
            agent.session = None;
            agent.take_back();
        }
    }

    /// An agent says whether it watches directory by directory.
    pub(super) fn heard(&mut self, session: SessionId, by_directory: bool) {
        let agent = self.of(session).filter(|agent| agent.by_directory != Some(by_directory));
        if let Some(agent) = agent {
            agent.by_directory = Some(by_directory);
            if !by_directory {
                agent.given = None;
            }
            self.touch();
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
        self.touch();
        self.appeared.push_back(appeared);
        if self.appeared.len() > KEPT
            && let Some(oldest) = self.appeared.pop_front()
        {
            self.forgotten = oldest.revision;
        }
    }

    /// Nobody has to watch any more what is not there.
    fn gone(&mut self, path: PathRef<'_>) {
        // What somebody was given is kept until it is reported.
        if self.appeared.is_empty() {
            return;
        }
        self.touch();
        for agent in self.agents.values_mut() {
            if let Some(given) = &mut agent.given {
                given.paths.retain(|given| !given.as_ref().is_within(path));
                if given.paths.is_empty() {
                    agent.given = None;
                }
            }
        }
    }

    /// Gives every agent that has nothing to do what waits for it; how many commands that makes.
    /// `is_directory`: whether the view still has one there.
    pub(super) fn give(
        &mut self,
        is_directory: &dyn Fn(PathRef<'_>) -> bool,
        mut draw: impl FnMut() -> Uuid,
    ) -> u64 {
        if !std::mem::take(&mut self.is_due) {
            return 0;
        }
        let mut given = 0;
        for (name, agent) in &mut self.agents {
            let line = Line { appeared: &self.appeared, forgotten: self.forgotten };
            given += u64::from(agent.take_next(name, line, self.through, is_directory, &mut draw));
        }
        let told = self.agents.values().map(Agent::reported).min();
        while self.appeared.front().is_some_and(|it| told.is_none_or(|told| it.revision <= told)) {
            self.appeared.pop_front();
        }
        if given > 0 {
            self.now = None;
        }
        given
    }

    /// The same for the agent of one session; whether there was anything.
    pub(super) fn give_one(
        &mut self,
        session: SessionId,
        is_directory: &dyn Fn(PathRef<'_>) -> bool,
        mut draw: impl FnMut() -> Uuid,
    ) -> bool {
        let Some(name) = self.sessions.get(&session) else { return false };
        let Some(agent) = self.agents.get_mut(name) else { return false };
        let line = Line { appeared: &self.appeared, forgotten: self.forgotten };
        let is_given = agent.take_next(name, line, self.through, is_directory, &mut draw);
        if is_given {
            self.now = None;
        }
        is_given
    }

    /// What this session is to do.
    pub(super) fn all(&self, session: SessionId) -> Option<Command> {
        self.known(session)?.given.as_ref().map(|given| given.command.clone())
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
                (None, _) => {
                    rest.push(report.clone());
                    continue;
                }
                (Some(_), CommandState::Running) => continue,
                (Some(agent), CommandState::Done) => {
                    (agent.given, agent.cannot) = (None, false);
                    ended.done += 1;
                }
                (Some(agent), CommandState::Failed) => {
                    (agent.given, agent.cannot) = (None, true);
                    ended.failed += 1;
                }
            }
            self.touch();
        }
        (rest, ended)
    }

    /// How it stands. Looked at in each turn of the view, so it goes over all agents only if something
    /// came.
    pub(super) fn now(&mut self) -> UnseenNow {
        *self.now.get_or_insert_with(|| {
            let (mut hold, mut count, mut is_degraded) = (Hold::None, 0, false);
            for agent in self.agents.values() {
                is_degraded |= agent.cannot && agent.session.is_some();
                let Some(given) = &agent.given else { continue };
                count += given.paths.len();
                hold = Hold::At(match hold {
                    Hold::None => given.hold,
                    Hold::At(other) => other.min(given.hold),
                });
            }
            UnseenNow { hold, count, is_degraded }
        })
    }

    /// Up to where all was reported by a session's agent: where to go on after a restart.
    pub(super) fn reported(&self, session: SessionId) -> Option<Revision> {
        let agent = self.known(session)?;
        let reported = agent.reported();
        let last = self.appeared.back().map_or(self.forgotten, |last| last.revision);
        // Nothing appeared after that, so all that is known is told.
        let is_level = agent.given.is_none() && agent.by_directory.is_some() && last <= reported;
        Some(if is_level { self.through } else { reported })
    }

    fn of(&mut self, session: SessionId) -> Option<&mut Agent> {
        self.agents.get_mut(self.sessions.get(&session)?)
    }

    fn known(&self, session: SessionId) -> Option<&Agent> {
        self.agents.get(self.sessions.get(&session)?)
    }
}

#[cfg(test)]
mod tests;
