//! A schedule at work: reality, hosts, agents and the server, driven by one queue of events.
//!
//! Owns the true time. Single-threaded and deterministic: the same schedule gives the same
//! sequence of events, whatever the machine. Checks of the properties are in `verdicts`.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use fusion_core::id::AgentId;
use fusion_core::path::TreePath;
use fusion_core::time::ServerTime;
use fusion_core::view::{Order, ViewSettings};

use crate::agent::{Agent, AgentClock};
use crate::dice::{Dice, Tag};
use crate::host::Host;
use crate::lane::Which;
use crate::operate::{Happening, perform};
use crate::oracle::{Replay, wrong_names};
use crate::report::Failure;
use crate::row::seconds;
use crate::schedule::Schedule;
use crate::server::Server;
use crate::storage::{BEGIN, MS, SEC, Storage, Time};
use crate::verdicts::HORIZON;

/// Time between two samples of how wrong the view is.
const SAMPLE_EVERY: Time = 20 * SEC;

/// What happens next.
#[derive(Debug)]
pub(crate) enum Event {
    /// An operation of the schedule.
    Op(usize),
    /// A fault of the schedule.
    Fault(usize),
    /// An agent has handled a kernel event of this moment.
    Kernel { agent: usize, life: u32, happening: Happening, since: Time },
    /// The next batch of a lane arrives.
    Deliver { agent: usize, lane: Which, life: u32 },
    /// A walk goes on.
    Step { agent: usize, life: u32, job: u64 },
    /// The server asks the view what it wants.
    Poll,
    /// An order reaches the leader.
    Command { agent: usize, life: u32, order: Order },
    /// The server commits.
    Commit,
    /// It is time for an audit.
    Audit,
    /// The view is held against the storage, for the figures.
    Sample,
    /// An agent starts, or starts again.
    Start(usize),
    /// An agent that was cut off is back.
    Reconnect(usize),
    /// The kernel queue of an agent works again.
    OverflowEnds(usize),
}

#[derive(Debug)]
struct Due {
    at: Time,
    order: u64,
    event: Event,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl Eq for Due {}
impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// A schedule at work.
pub(crate) struct World {
    pub(crate) plan: Schedule,
    pub(crate) dice: Dice,
    pub(crate) now: Time,
    pub(crate) storage: Storage,
    pub(crate) hosts: Vec<Host>,
    pub(crate) agents: Vec<Option<Agent>>,
    pub(crate) server: Server,
    pub(crate) replay: Replay,
    queue: BinaryHeap<Reverse<Due>>,
    /// How many events were put on the queue.
    pub(crate) order: u64,
    /// When the view is asked next what it wants.
    pub(crate) armed: Time,
    pub(crate) snapshot_done: bool,
    /// A whole scan has been walked to its end.
    pub(crate) audit_done: bool,
    pub(crate) unreadable_until: Time,
    /// The view has converged and no operation is left: nothing may change any more.
    pub(crate) calm: bool,
    pub(crate) trace: Option<Vec<String>>,
    pub(crate) failure: Option<Failure>,
    pub(crate) done_ops: u64,
    /// Entries that came where nothing of the kind stood any more, and confirmed entries that went
    /// while they stood there.
    pub(crate) invented: u64,
    pub(crate) killed: u64,
    pub(crate) idle_polls: u64,
    pub(crate) samples: u64,
    pub(crate) missed_names: u64,
    pub(crate) wrong_names: u64,
    /// What was seen gone: its inode number, and when that was looked at.
    pub(crate) gone: BTreeMap<TreePath, (u64, Time)>,
    /// When realtime evidence last saw what stands at a path.
    pub(crate) confirmed: BTreeMap<TreePath, Time>,
    /// Late evidence met a name that had changed twice in one tick: it may be asked for again.
    pub(crate) tied: bool,
}

impl World {
    pub(crate) fn new(plan: Schedule, trace: bool) -> Self {
        let dice = Dice::new(plan.seed ^ 0x5eed);
        let settings = ViewSettings {
            deep_audit_one_in: plan.deep_one_in,
            held_max: plan.held_max,
            ..ViewSettings::default()
        };
        let mut server = Server::new(settings, dice);
        let hosts = plan.hosts.iter().enumerate();
        let hosts = hosts.map(|(number, host)| Host::new(number, host.lag, dice)).collect();
        let agents = plan.hosts.iter().enumerate().map(|(number, host)| {
            let id = AgentId::new(&format!("agent-{number}")).ok()?;
            let session = server.new_session()?;
            let clock = AgentClock::new(host.wall, host.error);
            host.agent.then(|| Agent::new(id, session, clock))
        });
        let agents = agents.collect();
        Self {
            dice,
            now: BEGIN,
            storage: Storage::new(plan.settings.tick(), plan.storage_offset, plan.rename_touches),
            hosts,
            agents,
            server,
            replay: Replay::default(),
            queue: BinaryHeap::with_capacity(256),
            order: 0,
            armed: Time::MAX,
            snapshot_done: false,
            audit_done: false,
            gone: BTreeMap::new(),
            confirmed: BTreeMap::new(),
            tied: false,
            unreadable_until: 0,
            calm: false,
            trace: trace.then(Vec::new),
            failure: None,
            done_ops: 0,
            invented: 0,
            killed: 0,
            idle_polls: 0,
            samples: 0,
            missed_names: 0,
            wrong_names: 0,
            plan,
        }
    }

    /// Server time now.
    pub(crate) const fn clock(&self) -> ServerTime {
        ServerTime::from_nanos(self.now)
    }

    /// Adds a line to the trace, if there is one.
    pub(crate) fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>10}  {}", seconds(self.now), line()));
        }
    }

    // === The queue ===

    pub(crate) fn at(&mut self, at: Time, event: Event) {
        self.order += 1;
        self.queue.push(Reverse(Due { at: at.max(self.now), order: self.order, event }));
    }

    pub(crate) fn after(&mut self, span: Time, event: Event) {
        self.at(self.now + span, event);
    }

    /// Lets everything happen that is due until then, and time pass until then.
    pub(crate) fn run_until(&mut self, then: Time) {
        while self.failure.is_none() {
            match self.queue.peek() {
                Some(Reverse(due)) if due.at <= then => self.step_once(),
                _ => break,
            }
        }
        self.now = self.now.max(then);
    }

    /// Lets one thing happen. `false`: nothing is left.
    pub(crate) fn step_once(&mut self) {
        let Some(Reverse(due)) = self.queue.pop() else { return };
        self.now = due.at;
        match due.event {
            Event::Op(index) => self.operate(index),
            Event::Fault(index) => self.strike(index),
            Event::Kernel { agent, life, happening, since } => {
                if self.lives(agent, life) {
                    self.handle(agent, happening, since);
                }
            }
            Event::Deliver { agent, lane, life } => self.deliver(agent, lane, life),
            Event::Step { agent, life, job } => {
                if self.lives(agent, life) {
                    self.step(agent, job);
                }
            }
            Event::Poll => self.poll(),
            Event::Command { agent, life, order } => {
                if self.lives(agent, life) {
                    self.obey(agent, &order);
                }
            }
            Event::Commit => self.commit(),
            Event::Audit => self.audit(),
            Event::Sample => self.sample(),
            Event::Start(agent) => self.start(agent),
            Event::Reconnect(agent) => self.reconnect(agent),
            Event::OverflowEnds(agent) => self.end_overflow(agent),
        }
    }

    fn lives(&self, agent: usize, life: u32) -> bool {
        self.agents[agent].as_ref().is_some_and(|who| who.up && who.life == life)
    }

    /// Puts the whole schedule on the queue.
    pub(crate) fn load(&mut self) {
        for index in 0..self.plan.ops.len() {
            self.at(self.plan.ops[index].at, Event::Op(index));
        }
        for index in 0..self.plan.faults.len() {
            self.at(self.plan.faults[index].at, Event::Fault(index));
        }
        for agent in 0..self.agents.len() {
            if self.agents[agent].is_some() {
                let mut chance = self.dice.stream(Tag::Order, agent as u64, 77);
                self.at(self.plan.start + chance.between(0, 2 * SEC), Event::Start(agent));
            }
        }
        self.at(self.plan.start + self.plan.audit_every, Event::Audit);
        if self.plan.check_percent > 0 {
            self.at(self.plan.start + SAMPLE_EVERY, Event::Sample);
        }
    }

    /// How wrong the view is while things happen and until the first audit after them.
    fn sample(&mut self) {
        self.samples += 1;
        self.wrong_names += wrong_names(self.server.reader(), &self.storage);
        if self.now < self.plan.end + 2 * HORIZON {
            self.after(SAMPLE_EVERY, Event::Sample);
        }
    }

    // === Operations and the kernel ===

    fn operate(&mut self, index: usize) {
        let op = &self.plan.ops[index];
        let (now, host) = (self.now, op.host);
        let caches = &mut self.hosts[host];
        let settling = now < self.plan.start;
        let done = perform(&mut self.storage, op, now, &mut |storage, names| {
            if settling {
                let mut walk = names.iter();
                return walk.try_fold(crate::storage::ROOT, |dir, name| storage.child(dir, *name));
            }
            caches.resolve(storage, names, now)
        });
        let Ok(effect) = done else {
            return self.note(|| format!("(operation {index} was not possible)"));
        };
        self.done_ops += 1;
        for ino in &effect.touched {
            self.hosts[host].own(*ino, now);
        }
        if self.trace.is_some() {
            let text = self.plan.ops[index].to_string();
            self.note(|| format!("== {}", text.trim_start()));
        }
        for happening in effect.happenings {
            self.tell(host, happening, index);
        }
    }

    /// The kernel of a host tells its agent, if the agent watches there.
    fn tell(&mut self, host: usize, happening: Happening, index: usize) {
        let Some(who) = self.agents[host].as_ref().filter(|who| who.up) else { return };
        if self.now < who.overflow_until {
            return self.note(|| format!("the kernel of host {host} drops {happening:?}"));
        }
        let watched = |dir| who.watched(dir).is_some();
        let happening = match happening {
            Happening::Appeared(dir, ..)
            | Happening::Modified(dir, _)
            | Happening::Closed(dir, _)
            | Happening::Attributes(dir, _)
            | Happening::Gone(dir, _)
                if !watched(dir) =>
            {
                return;
            }
            Happening::RootAttributes if !watched(crate::storage::ROOT) => return,
            Happening::Moved { from, to, what } => match (watched(from.0), watched(to.0)) {
                (true, true) => happening,
                (true, false) => Happening::Gone(from.0, from.1),
                (false, true) => Happening::Appeared(to.0, to.1, what),
                (false, false) => return,
            },
            other => other,
        };
        self.queue_kernel(host, happening, self.plan.ops[index].id);
    }

    fn queue_kernel(&mut self, agent: usize, happening: Happening, id: u64) {
        let mut chance = self.dice.stream(Tag::Kernel, agent as u64, id);
        let delay = match chance.below(3) {
            _ if !self.plan.delays => MS,
            0 => chance.between(0, 2 * MS),
            1 => chance.between(0, 50 * MS),
            _ => chance.between(0, 500 * MS),
        };
        let now = self.now;
        let Some(who) = self.agents[agent].as_mut() else { return };
        let at = (now + delay).max(who.busy_until + 1);
        who.busy_until = at;
        let life = who.life;
        self.at(at, Event::Kernel { agent, life, happening, since: now });
    }
}
