//! An agent: its watches, its clock, its lanes, and how it turns kernel events into evidence.
//!
//! It looks as 4-consistency §1 prescribes: the parent's stat first, then the name, then the stat;
//! it looks again before it says that something is gone; and it says nothing about a directory
//! whose path no longer leads to what it watches. What it sees is what its host's caches show.

use std::collections::BTreeMap;
use std::rc::Rc;

use fusion_core::evidence::{Source, Witness};
use fusion_core::id::{AgentId, LeaderEpoch, SessionId};
use fusion_core::stat::{Kind, Stat};
use fusion_core::time::ServerTime;

use crate::dice::Tag;
use crate::lane::{Lane, Which};
use crate::name::{Name, Path};
use crate::operate::Happening;
use crate::row::Row;
use crate::scan::{Errand, Job};
use crate::storage::{Ino, MS, ROOT, Time};
use crate::world::World;

/// How an agent tells the time: its wall clock, and what it measured of its offset.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AgentClock {
    wall: Time,
    measured: Time,
    last: Time,
}

impl AgentClock {
    /// A wall clock off by `wall`, of which the time exchange leaves `error`.
    pub(crate) const fn new(wall: Time, error: Time) -> Self {
        Self { wall, measured: error - wall, last: 0 }
    }

    /// The wall clock jumps. The agent sees it against its monotonic clock and corrects the offset.
    pub(crate) const fn jump(&mut self, by: Time) {
        self.wall += by;
        self.measured -= by;
    }

    /// The stamp for something looked at now; monotone.
    pub(crate) fn stamp(&mut self, now: Time) -> ServerTime {
        let shown = now + self.wall;
        self.last = self.last.max(shown + self.measured);
        ServerTime::from_nanos(self.last)
    }
}

/// What an agent remembers of a directory that it listed: number, ctime, subdirectories.
#[derive(Debug)]
pub(crate) struct Remembered {
    pub(crate) version: (u64, i64),
    pub(crate) directories: Vec<Name>,
}

/// One agent.
#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) id: AgentId,
    /// The process runs.
    pub(crate) up: bool,
    /// It has a session and reaches the server.
    pub(crate) connected: bool,
    /// Counts the lives of the process.
    pub(crate) life: u32,
    /// When it joined, for who leads next.
    pub(crate) joined: Time,
    pub(crate) witness: Rc<Witness>,
    pub(crate) lanes: [Lane; 2],
    pub(crate) clock: AgentClock,
    pub(crate) watches: BTreeMap<Ino, Path>,
    /// Directories whose watch lost its path, where they were: listed where they turn up, if a rename
    /// that was not read yet had taken them along.
    pub(crate) due: BTreeMap<Ino, Path>,
    pub(crate) jobs: Vec<Job>,
    pub(crate) memory: BTreeMap<Path, Remembered>,
    pub(crate) next_job: u64,
    /// The last scan of everything on behalf of the view, and whether its end was applied: the
    /// next one begins after that, because the view then counts on (R9).
    pub(crate) whole_scan: u64,
    pub(crate) whole_pending: bool,
    /// When the last kernel event will be handled; events are handled in order.
    pub(crate) busy_until: Time,
    /// The kernel drops events until then.
    pub(crate) overflow_until: Time,
    parent_look: Option<(Ino, Stat, Time)>,
}

/// A name, looked at.
pub(crate) struct Look {
    pub(crate) parent: Option<Stat>,
    pub(crate) found: Option<(Ino, Stat)>,
    pub(crate) at: ServerTime,
}

impl Agent {
    pub(crate) fn new(id: AgentId, session: SessionId, clock: AgentClock) -> Self {
        let witness = Witness { agent: id.clone(), session, epoch: LeaderEpoch(0) };
        Self {
            id,
            up: false,
            connected: false,
            life: 0,
            joined: 0,
            witness: Rc::new(witness),
            lanes: [Lane::default(), Lane::default()],
            clock,
            watches: BTreeMap::new(),
            due: BTreeMap::new(),
            jobs: Vec::new(),
            memory: BTreeMap::new(),
            next_job: 0,
            whole_scan: 0,
            whole_pending: false,
            busy_until: 0,
            overflow_until: 0,
            parent_look: None,
        }
    }

    pub(crate) fn leads(&self) -> bool {
        self.witness.epoch.0 > 0
    }

    pub(crate) fn watched(&self, dir: Ino) -> Option<&Path> {
        self.watches.get(&dir)
    }

    /// Watches a directory under this path; a watch of the same inode gets the new path.
    pub(crate) fn watch(&mut self, dir: Ino, path: &Path) {
        self.watches.insert(dir, path.clone());
    }

    fn unwatch_below(&mut self, path: &Path) {
        self.watches.retain(|_, watched| !watched.is_within(path));
    }

    fn lose_below(&mut self, path: &Path) {
        let lost = self.watches.extract_if(.., |_, watched| watched.is_within(path));
        self.due.extend(lost);
    }

    /// What was lost below a path, and what was to be listed there, where it is now.
    fn take_due(&mut self, from: &Path, to: &Path) -> Vec<Path> {
        let lost: Vec<Path> =
            self.due.extract_if(.., |_, path| path.is_within(from)).map(|(_, path)| path).collect();
        let unread =
            self.jobs.iter().flat_map(|job| job.unread()).filter(|path| path.is_within(from));
        let mut due: Vec<Path> =
            lost.iter().chain(unread).map(|path| path.moved(from, to)).collect();
        due.sort();
        due.dedup();
        due
    }

    fn move_watches(&mut self, what: Ino, from: &Path, to: &Path) {
        if self.watched(what) != Some(from) {
            return;
        }
        for (ino, path) in &mut self.watches {
            if path.is_within(from) && (path != from || *ino == what) {
                *path = path.moved(from, to);
            }
        }
    }
}

impl World {
    fn emit(&mut self, agent: usize, row: Row) {
        self.send(agent, Which::Realtime, row);
    }

    /// An agent looks at a name in a directory, from a moment before now until now.
    fn look(&mut self, agent: usize, dir: Ino, name: Name, began: Time) -> Option<Look> {
        let now = self.now;
        let host = &mut self.hosts[agent];
        let storage = &self.storage;
        let who = self.agents[agent].as_mut()?;
        let mut chance =
            self.dice.stream(Tag::Look, agent as u64, now.unsigned_abs() ^ u64::from(name.0));
        let again = who
            .parent_look
            .filter(|(seen, _, at)| *seen == dir && began - *at <= 500 * MS && chance.percent(30));
        let parent = match again {
            Some((_, stat, _)) => Some(stat),
            None => host.stat(storage, dir, began),
        };
        if let (None, Some(stat)) = (again, parent) {
            who.parent_look = Some((dir, stat, began));
        }
        let at = who.clock.stamp(began);
        let middle = chance.between(began, now);
        let found = parent.and_then(|_| host.lookup(storage, dir, name, middle));
        let found = found.and_then(|ino| host.stat(storage, ino, now).map(|stat| (ino, stat)));
        Some(Look { parent, found, at })
    }

    /// The path of a watched directory, if it still leads there as the host sees it; a watch that
    /// has lost its path is dropped.
    fn watched_path(&mut self, agent: usize, dir: Ino) -> Option<Path> {
        let path = self.agents[agent].as_ref()?.watched(dir)?.clone();
        let leads = self.hosts[agent].resolve(&self.storage, path.names(), self.now);
        if leads == Some(dir) {
            return Some(path);
        }
        self.note(|| format!("agent {agent} drops its watch on {path}"));
        self.agents[agent].as_mut()?.lose_below(&path);
        None
    }

    /// An agent takes an event from its queue and is done with it now.
    pub(crate) fn handle(&mut self, agent: usize, happening: Happening, since: Time) {
        let mut chance = self.dice.stream(Tag::Kernel, agent as u64 + 100, self.now.unsigned_abs());
        let began = if self.plan.delays { chance.between(since, self.now) } else { self.now };
        match happening {
            Happening::Appeared(dir, name, _) => self.upsert(agent, dir, name, began, None),
            Happening::Modified(dir, name) | Happening::Attributes(dir, name) => {
                self.upsert(agent, dir, name, began, Some(false));
            }
            Happening::Closed(dir, name) => self.upsert(agent, dir, name, began, Some(true)),
            Happening::Gone(dir, name) => self.gone(agent, dir, name, began),
            Happening::Moved { from, to, what } => self.moved(agent, from, to, what, began),
            Happening::RootAttributes => self.root_changed(agent, began),
        }
    }

    fn root_changed(&mut self, agent: usize, began: Time) {
        let stat = self.hosts[agent].stat(&self.storage, ROOT, self.now);
        let Some(who) = self.agents[agent].as_mut() else { return };
        if let Some(stat) = stat {
            let (path, at) = (Path::root().to_tree(), who.clock.stamp(began));
            self.emit(agent, Row::Upsert { path, stat, parent: None, atomic: true, at });
        }
    }

    fn upsert(&mut self, agent: usize, dir: Ino, name: Name, began: Time, atomic: Option<bool>) {
        let Some(path) = self.watched_path(agent, dir).map(|path| path.join(name)) else { return };
        let Some(look) = self.look(agent, dir, name, began) else { return };
        self.say_found(agent, &path, &look, atomic, false);
    }

    /// Says what stands at a name; a directory that is new here is listed as well, and so is one that
    /// an event told of otherwise (`contrary`).
    fn say_found(
        &mut self,
        agent: usize,
        path: &Path,
        look: &Look,
        atomic: Option<bool>,
        contrary: bool,
    ) {
        let Some((ino, stat)) = look.found else { return };
        let unfinished = stat.kind == Kind::File && stat.nlink == 1;
        let atomic = atomic.unwrap_or(!unfinished);
        let row =
            Row::Upsert { path: path.to_tree(), stat, parent: look.parent, atomic, at: look.at };
        self.emit(agent, row);
        let known = self.agents[agent].as_ref().and_then(|who| who.watched(ino)) == Some(path);
        if stat.kind == Kind::Directory && (contrary || !known) {
            self.discover(agent, ino, path);
        }
    }

    fn discover(&mut self, agent: usize, ino: Ino, path: &Path) {
        if let Some(who) = self.agents[agent].as_mut() {
            who.watch(ino, path);
        }
        self.start_job(agent, Errand::Scan(Source::Discovery), path.clone());
    }

    fn gone(&mut self, agent: usize, dir: Ino, name: Name, began: Time) {
        let Some(path) = self.watched_path(agent, dir).map(|path| path.join(name)) else { return };
        let Some(look) = self.look(agent, dir, name, began) else { return };
        if look.found.is_some() {
            return self.say_found(agent, &path, &look, None, true);
        }
        let row = Row::Remove { path: path.to_tree(), parent: look.parent, at: look.at };
        self.emit(agent, row);
        if let Some(who) = self.agents[agent].as_mut() {
            who.unwatch_below(&path);
        }
    }

    fn moved(&mut self, agent: usize, from: (Ino, Name), to: (Ino, Name), what: Ino, began: Time) {
        let from_path = self.watched_path(agent, from.0).map(|path| path.join(from.1));
        let to_path = self.watched_path(agent, to.0).map(|path| path.join(to.1));
        let (Some(from_path), Some(to_path)) = (from_path, to_path) else {
            self.gone(agent, from.0, from.1, began);
            return self.upsert(agent, to.0, to.1, began, None);
        };
        let Some(before) = self.look(agent, from.0, from.1, began) else { return };
        let Some(after) = self.look(agent, to.0, to.1, began) else { return };
        if let Some(who) = self.agents[agent].as_mut() {
            who.move_watches(what, &from_path, &to_path);
        }
        match (before.found, after.found) {
            (Some(_), _) => {
                self.say_found(agent, &from_path, &before, None, true);
                self.say_found(agent, &to_path, &after, None, true);
            }
            (None, None) => {
                let path = from_path.to_tree();
                self.emit(agent, Row::Remove { path, parent: before.parent, at: before.at });
            }
            (None, Some((ino, stat))) => {
                let row = Row::Rename {
                    from: from_path.to_tree(),
                    to: to_path.to_tree(),
                    stat,
                    from_parent: before.parent,
                    to_parent: after.parent,
                    at: before.at,
                };
                self.emit(agent, row);
                let known = self.agents[agent].as_ref().and_then(|who| who.watched(ino));
                if stat.kind == Kind::Directory && known != Some(&to_path) {
                    self.discover(agent, ino, &to_path);
                }
                let due = self.agents[agent].as_mut().map(|who| who.take_due(&from_path, &to_path));
                for path in due.unwrap_or_default() {
                    self.start_job(agent, Errand::Scan(Source::Discovery), path);
                }
            }
        }
    }
}
