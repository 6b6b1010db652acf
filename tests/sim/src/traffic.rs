//! What goes between agents and server: batches one way, orders the other, commits in between.
//!
//! The two lanes of an agent move on their own; only the order within one holds.

use std::rc::Rc;

use fusion_core::evidence::Source;
use fusion_core::view::Order;

use crate::dice::Tag;
use crate::lane::Which;
use crate::name::Path;
use crate::report::Property;
use crate::row::{Row, path_of};
use crate::scan::Errand;
use crate::storage::{MS, SEC, Time};
use crate::world::{Event, World};

/// So often in a row the view may ask to be woken up and then have nothing to do.
const IDLE_POLLS: u64 = 1_000;

impl World {
    // === Lanes ===

    /// An agent puts a row into a lane.
    pub(crate) fn send(&mut self, agent: usize, lane: Which, row: Row) {
        let Some(who) = self.agents[agent].as_mut() else { return };
        if lane == Which::Scan && !who.connected {
            return;
        }
        if self.trace.is_some() {
            let line = format!("agent {agent} {lane:?}: {row}");
            self.note(|| line);
        }
        let Some(who) = self.agents[agent].as_mut() else { return };
        who.lanes[lane as usize].open.push_back(row);
        self.kick(agent, lane);
    }

    /// Sees to it that a lane with something to send is served.
    pub(crate) fn kick(&mut self, agent: usize, lane: Which) {
        let lag = match lane {
            Which::Realtime => 500 * MS,
            Which::Scan => self.plan.scan_lag,
        };
        let (now, server_up) = (self.now, self.server.down_until);
        let mut chance = self.dice.stream(Tag::Deliver, agent as u64, now.unsigned_abs());
        let Some(who) = self.agents[agent].as_mut().filter(|who| who.connected) else { return };
        let state = &mut who.lanes[lane as usize];
        if state.scheduled || state.is_drained() {
            return;
        }
        let delay = match chance.below(10) {
            _ if !self.plan.delays => MS,
            0..5 => chance.between(0, 10 * MS),
            5..9 => chance.between(0, lag),
            _ => chance.between(0, 4 * lag),
        };
        let at = (now + delay).max(state.blocked_until).max(server_up);
        if at == Time::MAX {
            return;
        }
        state.scheduled = true;
        let life = state.life;
        self.at(at, Event::Deliver { agent, lane, life });
    }

    pub(crate) fn deliver(&mut self, agent: usize, lane: Which, life: u32) {
        let now = self.now;
        let (blocked, most) = (self.server.down_until, self.plan.batch_rows);
        let Some(who) = self.agents[agent].as_mut() else { return };
        let state = &mut who.lanes[lane as usize];
        if state.life != life {
            return;
        }
        state.scheduled = false;
        if state.blocked_until > now || blocked > now || !who.connected {
            return self.kick(agent, lane);
        }
        let mut chance = self.dice.stream(Tag::Batch, agent as u64, now.unsigned_abs());
        let witness = Rc::clone(&who.witness);
        let Some(batch) = state.next(&mut chance, most, &witness) else { return };
        let number = state.sent;
        let witness = if lane == Which::Scan { Rc::clone(&batch.witness) } else { witness };
        self.apply_batch(agent, lane, number, &batch, &witness);
        self.arm_poll();
        self.kick(agent, lane);
    }

    /// Everything applied so far becomes durable, and is acknowledged.
    pub(crate) fn commit(&mut self) {
        for (agent, lane, number, life) in self.server.commit() {
            let Some(who) = self.agents[agent].as_mut() else { continue };
            let state = &mut who.lanes[lane];
            if lane == Which::Realtime as usize || life == state.life {
                state.acknowledged = state.acknowledged.max(number);
            }
        }
    }

    // === The server's side ===

    /// Sees to it that the view is asked when it wants to be.
    pub(crate) fn arm_poll(&mut self) {
        let Some(wake) = self.server.view().next_wake_up() else { return };
        let patience = if self.server.leader.is_some() { 300 * MS } else { 20 * SEC };
        let at = wake.as_nanos().max(self.now + patience).max(self.server.down_until);
        if at < self.armed {
            self.armed = at;
            self.at(at, Event::Poll);
        }
    }

    pub(crate) fn poll(&mut self) {
        if self.now < self.armed {
            return;
        }
        self.armed = Time::MAX;
        if self.now < self.server.down_until {
            return self.arm_poll();
        }
        self.server.tick(self.clock());
        self.check_changes(None);
        let mut idle = self.server.fresh.is_empty();
        if let Some(leader) = self.server.leader {
            let orders = self.server.orders(self.clock(), 16);
            idle &= orders.is_empty();
            for order in orders {
                self.pass_on(leader, order);
            }
        }
        self.idle_polls = if idle { self.idle_polls + 1 } else { 0 };
        if self.idle_polls > IDLE_POLLS {
            return self.fail(Property::Liveness, "the view wakes up and has nothing to do".into());
        }
        self.arm_poll();
    }

    fn pass_on(&mut self, agent: usize, order: Order) {
        let mut chance = self.dice.stream(Tag::Order, agent as u64, self.now.unsigned_abs());
        self.note(|| format!("ordered: {order:?}"));
        let lost = self.plan.settings.crashes && !self.calm && chance.percent(5);
        let Some(life) = self.agents[agent].as_ref().map(|who| who.life) else { return };
        if !lost {
            let delay = if self.plan.delays { chance.between(0, SEC) } else { MS };
            self.after(delay, Event::Command { agent, life, order });
        }
    }

    pub(crate) fn obey(&mut self, agent: usize, order: &Order) {
        let connected = self.agents[agent].as_ref().is_some_and(|who| who.connected && who.leads());
        if !connected {
            return;
        }
        match order {
            Order::Relist(paths) => self.start_relist(agent, paths),
            Order::Probe(paths) => {
                for path in paths {
                    self.probe(agent, &path_of(path));
                }
            }
            #[allow(unreachable_patterns, reason = "audits may be ordered as well (R10)")]
            _ => self.begin_scan(),
        }
    }

    /// The leader scans: the first time a snapshot, later audits.
    pub(crate) fn audit(&mut self) {
        if self.now < self.plan.end {
            self.after(self.plan.audit_every, Event::Audit);
        }
        self.begin_scan();
    }

    /// Begins a scan by the leader, unless one is running.
    pub(crate) fn begin_scan(&mut self) {
        let Some(leader) = self.server.leader else { return };
        let Some(who) = &self.agents[leader] else { return };
        if !who.connected || who.whole_pending {
            return;
        }
        let source = if self.snapshot_done { Source::Audit } else { Source::Snapshot };
        self.start_job(leader, Errand::Scan(source), Path::root());
    }
}
