//! What an agent does beside its events: scans, relists, probes, and walks to place watches.
//!
//! Every errand is a walk over a stack of directories, one at a time and each in two moments: a
//! directory is watched when its turn begins and has been read when it ends, so that operations
//! come in between. A leader's audit skips a directory that is in the version which it listed
//! last, save for the one in K whose turn it is (R9).

use fusion_core::evidence::{RootIdentity, ScanId, Source};
use fusion_core::path::TreePath;
use fusion_core::stat::{Kind, Stat};
use fusion_core::time::ServerTime;
use fusion_core::view::audit::lists_in_full;

use crate::agent::Remembered;
use crate::dice::{Stream, Tag};
use crate::lane::Which;
use crate::name::{Name, Path};
use crate::row::{ListingRow, Row, path_of};
use crate::storage::{Ino, MS, ROOT, Time};
use crate::world::{Event, World};

/// What a walk is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Errand {
    /// Lists everything below a path.
    Scan(Source),
    /// Lists the given directories and nothing below them.
    Relist,
    /// Reads names to place watches and says nothing.
    Watch,
}

/// A directory being read.
#[derive(Debug, Clone)]
struct Reading {
    path: Path,
    dir: Ino,
    since: Time,
    started_at: ServerTime,
}

/// A walk under way.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) number: u64,
    pub(crate) errand: Errand,
    stack: Vec<Path>,
    reading: Option<Reading>,
    framed: bool,
    /// The number of the audit, for the deep rotation.
    audit: u64,
    directories: u64,
    entries: u64,
}

impl Job {
    fn source(&self) -> Source {
        match self.errand {
            Errand::Scan(source) => source,
            Errand::Relist | Errand::Watch => Source::Audit,
        }
    }

    /// What DISCOVERY has still to list.
    pub(crate) fn unread(&self) -> impl Iterator<Item = &Path> {
        let reading = self.reading.as_ref().map(|reading| &reading.path);
        let paths = self.stack.iter().chain(reading);
        paths.filter(|_| self.errand == Errand::Scan(Source::Discovery))
    }

    pub(crate) fn is_whole(&self) -> bool {
        matches!(self.errand, Errand::Scan(Source::Snapshot | Source::Audit))
    }
}

/// What was read of a directory.
struct Contents {
    children: Vec<(Name, Stat)>,
    directories: Vec<Name>,
    complete: bool,
}

impl World {
    /// Begins a walk of everything below a path.
    pub(crate) fn start_job(&mut self, agent: usize, errand: Errand, path: Path) {
        self.start_walk(agent, errand, vec![path]);
    }

    /// Begins to answer an order to list these directories.
    pub(crate) fn start_relist(&mut self, agent: usize, paths: &[TreePath]) {
        let stack = paths.iter().rev().map(path_of).collect();
        self.start_walk(agent, Errand::Relist, stack);
    }

    fn start_walk(&mut self, agent: usize, errand: Errand, stack: Vec<Path>) {
        let audit = self.server.view().audit_number();
        let now = self.now;
        let Some(who) = self.agents[agent].as_mut() else { return };
        who.next_job += 1;
        let number = who.next_job;
        let mut chance = self.dice.stream(Tag::Scan, agent as u64, now.unsigned_abs());
        let framed = match errand {
            Errand::Scan(_) => true,
            Errand::Relist => stack.len() == 1 && chance.percent(30),
            Errand::Watch => false,
        };
        let top = stack.last().cloned().unwrap_or_default();
        let at = who.clock.stamp(now);
        let job =
            Job { number, errand, stack, reading: None, framed, audit, directories: 0, entries: 0 };
        let (scan, source, whole) = (ScanId(number), job.source(), job.is_whole());
        who.jobs.push(job);
        if whole {
            (who.whole_scan, who.whole_pending) = (number, true);
        }
        let life = who.life;
        if framed {
            let deep = errand != Errand::Relist;
            let root = deep.then(|| self.identity(agent));
            let row = Row::ScanStarted { scan, source, path: top.to_tree(), at, root };
            self.send(agent, self.lane_of(errand), row);
        }
        let pace = self.pace(&mut chance, number);
        self.after(pace, Event::Step { agent, life, job: number });
    }

    fn pace(&self, chance: &mut Stream, number: u64) -> Time {
        if !self.plan.delays {
            return MS;
        }
        let slow = if number.is_multiple_of(3) { self.plan.scan_pace } else { 20 * MS };
        chance.between(0, slow.max(20 * MS))
    }

    /// The root as R11 tells it from others.
    fn identity(&mut self, agent: usize) -> RootIdentity {
        let host = &mut self.hosts[agent];
        let mut children = Vec::new();
        let then = host.names_as_of(ROOT, self.now);
        self.storage.names_at(ROOT, then, &mut children);
        let mut top: Vec<(i64, Vec<u8>, u64)> = Vec::new();
        for (name, ino) in children {
            if let Some(stat) = host.stat(&self.storage, ino, self.now) {
                top.push((stat.ctime.as_nanos(), name.bytes().to_vec(), stat.inode));
            }
        }
        top.sort();
        RootIdentity {
            fs_type: "sim".to_owned(),
            inode: self.storage.stat(ROOT).inode,
            born: None,
            top: top.into_iter().map(|(_, name, inode)| (name, inode)).collect(),
        }
    }

    /// One step of a walk: ends the directory being read, or begins the next one.
    pub(crate) fn step(&mut self, agent: usize, number: u64) {
        let Some(who) = self.agents[agent].as_mut() else { return };
        let Some(index) = who.jobs.iter().position(|job| job.number == number) else { return };
        let mut job = who.jobs.swap_remove(index);
        let mut chance =
            self.dice.stream(Tag::Step, (agent as u64) << 32 | number, self.now.unsigned_abs());
        let goes_on = match job.reading.take() {
            Some(reading) => {
                self.read(agent, &mut job, &reading, &mut chance);
                true
            }
            None => self.begin_next(agent, &mut job),
        };
        if !goes_on {
            return self.finish(agent, &job);
        }
        let pace = self.pace(&mut chance, number);
        let Some(who) = self.agents[agent].as_mut() else { return };
        who.jobs.push(job);
        let life = who.life;
        self.after(pace, Event::Step { agent, life, job: number });
    }

    /// DISCOVERY goes through the spool where nothing may overtake its directory, as agents do it.
    fn lane_of(&self, errand: Errand) -> Which {
        let spooled = self.plan.spools_discovery && errand == Errand::Scan(Source::Discovery);
        if spooled { Which::Realtime } else { Which::Scan }
    }

    fn finish(&mut self, agent: usize, job: &Job) {
        let Some(who) = self.agents[agent].as_mut() else { return };
        let at = who.clock.stamp(self.now);
        if job.is_whole() {
            self.audit_done = true;
        }
        if job.framed {
            let Job { number, directories, entries, .. } = *job;
            let scan = ScanId(number);
            let row = Row::ScanFinished { scan, complete: true, directories, entries, at };
            self.send(agent, self.lane_of(job.errand), row);
        }
    }

    /// Takes the next directory off the stack and watches it. `false`: there is none.
    fn begin_next(&mut self, agent: usize, job: &mut Job) -> bool {
        let Some(path) = job.stack.pop() else { return false };
        let now = self.now;
        let dir = self.hosts[agent].directory(&self.storage, &path, now);
        let Some(dir) = dir else {
            if job.errand == Errand::Relist {
                self.probe(agent, &path);
            }
            return true;
        };
        let Some(who) = self.agents[agent].as_mut() else { return false };
        who.watch(dir, &path);
        let started_at = who.clock.stamp(now);
        job.reading = Some(Reading { path, dir, since: now, started_at });
        true
    }

    /// The directory of this turn has been read.
    fn read(&mut self, agent: usize, job: &mut Job, reading: &Reading, chance: &mut Stream) {
        let Reading { path, dir, since, started_at } = reading;
        let Some(dir_stat) = self.hosts[agent].stat(&self.storage, *dir, *since) else { return };
        if job.errand != Errand::Watch && self.unreadable(chance) {
            let row = Row::Unreadable { dir: path.to_tree(), at: *started_at };
            return self.send(agent, self.lane_of(job.errand), row);
        }
        job.directories += 1;
        if self.is_silent(agent, job, path, &dir_stat) {
            self.descend_from_memory(agent, job, path);
            let (dir, at) = (path.to_tree(), *started_at);
            return self.send(agent, Which::Scan, Row::Unchanged { dir, dir_stat, at });
        }
        let contents = self.contents(agent, reading, chance);
        job.entries += contents.children.len() as u64;
        if job.errand != Errand::Relist {
            let below = contents.directories.iter().rev();
            job.stack.extend(below.map(|name| path.join(*name)));
        }
        if job.errand == Errand::Watch {
            return;
        }
        if contents.complete && job.source().is_leader_only() {
            self.remember(agent, path, &dir_stat, &contents);
        }
        self.send_listing(agent, job, reading, dir_stat, contents);
    }

    fn unreadable(&self, chance: &mut Stream) -> bool {
        self.now < self.unreadable_until && chance.percent(50)
    }

    /// Whether an audit may skip a directory: its version is the one listed last, and it is not
    /// its turn in the deep rotation.
    fn is_silent(&self, agent: usize, job: &Job, path: &Path, stat: &Stat) -> bool {
        let Some(who) = &self.agents[agent] else { return false };
        let turn = lists_in_full(path.to_tree().as_ref(), job.audit, self.plan.deep_one_in);
        job.errand == Errand::Scan(Source::Audit)
            && !turn
            && who
                .memory
                .get(path)
                .is_some_and(|known| known.version == (stat.inode, stat.ctime.as_nanos()))
    }

    fn descend_from_memory(&self, agent: usize, job: &mut Job, path: &Path) {
        let Some(who) = &self.agents[agent] else { return };
        if let Some(known) = who.memory.get(path) {
            let below = known.directories.iter().rev();
            job.stack.extend(below.map(|name| path.join(*name)));
        }
    }

    fn remember(&mut self, agent: usize, path: &Path, stat: &Stat, contents: &Contents) {
        let Some(who) = self.agents[agent].as_mut() else { return };
        let version = (stat.inode, stat.ctime.as_nanos());
        let directories = contents.directories.clone();
        who.memory.insert(path.clone(), Remembered { version, directories });
    }

    /// Names first, then each stat; names may be looked up again, and what has gone is left out.
    fn contents(&mut self, agent: usize, reading: &Reading, chance: &mut Stream) -> Contents {
        let (dir, now) = (reading.dir, self.now);
        let middle = chance.between(reading.since, now);
        let host = &mut self.hosts[agent];
        let then = host.names_as_of(dir, middle);
        let mut names = Vec::new();
        self.storage.names_at(dir, then, &mut names);
        let mut contents = Contents {
            children: Vec::with_capacity(names.len()),
            directories: Vec::new(),
            complete: true,
        };
        let again = chance.percent(30);
        for (name, ino) in names {
            let at = chance.between(middle, now);
            let ino = if again { host.lookup(&self.storage, dir, name, at) } else { Some(ino) };
            let Some(stat) = ino.and_then(|ino| host.stat(&self.storage, ino, at)) else {
                continue;
            };
            if now < self.unreadable_until && chance.percent(10) {
                contents.complete = false;
                continue;
            }
            if stat.kind == Kind::Directory {
                contents.directories.push(name);
            }
            contents.children.push((name, stat));
        }
        contents
    }

    /// Sends a listing, a large one in parts.
    fn send_listing(
        &mut self,
        agent: usize,
        job: &Job,
        reading: &Reading,
        dir_stat: Stat,
        contents: Contents,
    ) {
        let Some(who) = self.agents[agent].as_mut() else { return };
        let finished_at = who.clock.stamp(self.now);
        let dir = reading.path.to_tree();
        let rows = self.plan.part_rows;
        let parts = contents.children.len().div_ceil(rows).max(1);
        let mut children = contents.children.into_iter();
        for part in 0..parts {
            let row = ListingRow {
                dir: dir.clone(),
                dir_stat,
                scan: ScanId(job.number),
                source: job.source(),
                started_at: reading.started_at,
                finished_at,
                part: part as u32,
                last: part + 1 == parts,
                complete: contents.complete,
                children: children.by_ref().take(rows).collect(),
            };
            self.send(agent, self.lane_of(job.errand), Row::Listing(row));
        }
    }

    /// The leader looks at one name, on order or for want of a directory.
    pub(crate) fn probe(&mut self, agent: usize, path: &Path) {
        let now = self.now;
        let Some(who) = self.agents[agent].as_mut() else { return };
        let at = who.clock.stamp(now);
        let host = &mut self.hosts[agent];
        let (parent, found) = match path.split() {
            None => (None, host.stat(&self.storage, ROOT, now)),
            Some((above, name)) => {
                let dir = host.resolve(&self.storage, above, now);
                let dir = dir.filter(|dir| self.storage.is_dir(*dir));
                let parent = dir.and_then(|dir| host.stat(&self.storage, dir, now));
                let child = dir.filter(|_| parent.is_some());
                let child = child.and_then(|dir| host.lookup(&self.storage, dir, name, now));
                (parent, child.and_then(|ino| host.stat(&self.storage, ino, now)))
            }
        };
        let path = path.to_tree();
        self.send(agent, Which::Scan, Row::Probe { path, found, parent, at });
    }
}
