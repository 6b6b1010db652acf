//! What goes wrong: crashes, cuts, resignations, overflows, jumping clocks, changes of leader.

use std::rc::Rc;

use fusion_core::change::TrashId;
use fusion_core::evidence::{Source, Witness};
use fusion_core::id::LeaderEpoch;
use fusion_core::time::ServerTime;
use fusion_core::view::AgentReport;

use crate::dice::Tag;
use crate::lane::Which;
use crate::name::Path;
use crate::report::Property;
use crate::row::Row;
use crate::scan::Errand;
use crate::schedule::FaultKind;
use crate::storage::{MS, SEC, Time};
use crate::world::{Event, World};

impl World {
    pub(crate) fn strike(&mut self, index: usize) {
        let kind = self.plan.faults[index].kind;
        self.note(|| format!("** {kind:?}"));
        match kind {
            FaultKind::AgentCrash(agent, lasts) => self.crash_agent(agent, lasts),
            FaultKind::Cut(agent, lasts) => self.cut(agent, lasts),
            FaultKind::Resign(agent, lasts) => self.resign(agent, lasts),
            FaultKind::ServerCrash(lasts) => self.crash_server(lasts),
            FaultKind::Overflow(agent, lasts) => self.overflow(agent, lasts),
            FaultKind::Late(agent) => self.block(agent, Time::MAX),
            FaultKind::UserScan(agent) => self.user_scan(agent),
            FaultKind::Restore(number) => self.operate_trash(number, true),
            FaultKind::Purge(number) => self.operate_trash(number, false),
            FaultKind::Unreadable(lasts) => self.unreadable_until = self.now + lasts,
            FaultKind::Jump(agent, by) => {
                if let Some(who) = self.agents[agent].as_mut() {
                    who.clock.jump(by);
                }
            }
        }
    }

    /// The realtime lane of an agent stands still until then.
    fn block(&mut self, agent: usize, until: Time) {
        if let Some(who) = self.agents[agent].as_mut() {
            who.lanes[Which::Realtime as usize].blocked_until = until;
        }
    }

    /// Somebody asks an agent for a scan of everything (ON_DEMAND).
    fn user_scan(&mut self, agent: usize) {
        let Some(who) = self.agents[agent].as_ref().filter(|who| who.connected) else { return };
        let session = who.witness.session;
        if self.now >= self.server.down_until {
            self.server.assign(session);
            self.start_job(agent, Errand::Scan(Source::OnDemand), Path::root());
        }
    }

    /// An operator puts a record of the trash back, or drops it.
    fn operate_trash(&mut self, number: usize, restore: bool) {
        let records: Vec<TrashId> =
            self.server.view().trash(None).map(|record| record.id).collect();
        if records.is_empty() || self.now < self.server.down_until {
            return;
        }
        self.server.operate_trash(records[number % records.len()], restore, self.clock());
        self.check_changes(None);
        self.check_state();
        self.arm_poll();
    }

    /// All realtime lanes move again: the late spools come.
    pub(crate) fn unblock(&mut self) {
        for agent in 0..self.agents.len() {
            if let Some(who) = self.agents[agent].as_mut() {
                who.lanes[Which::Realtime as usize].blocked_until = 0;
                self.kick(agent, Which::Realtime);
            }
        }
    }

    // === Agents ===

    /// An agent's process starts: it makes a session, and walks to place its watches.
    pub(crate) fn start(&mut self, agent: usize) {
        let Some(who) = self.agents[agent].as_mut().filter(|who| !who.up) else { return };
        who.up = true;
        let (again, id) = (who.life > 0, who.id.clone());
        if again {
            self.server.lose_events(&id, self.clock());
        }
        self.connect(agent);
    }

    /// An agent that was cut off makes a new session.
    pub(crate) fn reconnect(&mut self, agent: usize) {
        let cut = self.agents[agent].as_ref().is_some_and(|who| who.up && !who.connected);
        if cut {
            self.connect(agent);
        }
    }

    fn connect(&mut self, agent: usize) {
        if self.now < self.server.down_until {
            return self.at(self.server.down_until + MS, Event::Reconnect(agent));
        }
        let Some(session) = self.server.new_session() else { return };
        let now = self.now;
        let Some(who) = self.agents[agent].as_mut() else { return };
        let witness = Witness { agent: who.id.clone(), session, epoch: LeaderEpoch(0) };
        who.witness = Rc::new(witness);
        who.connected = true;
        who.whole_pending = false;
        who.joined = now;
        who.jobs.clear();
        who.lanes[Which::Scan as usize].clear();
        who.lanes[Which::Realtime as usize].scheduled = false;
        who.lanes[Which::Realtime as usize].life += 1;
        self.note(|| format!("agent {agent} has session {session}"));
        self.report(agent);
        if self.server.leader.is_none() {
            self.promote();
        } else {
            self.start_job(agent, Errand::Watch, Path::root());
        }
        self.kick(agent, Which::Realtime);
    }

    /// A heartbeat.
    pub(crate) fn report(&mut self, agent: usize) {
        let now = self.clock();
        let Some(who) = &self.agents[agent] else { return };
        let drained = who.lanes[0].is_drained();
        let report = AgentReport {
            delivered_through: drained.then(|| ServerTime::from_nanos(now.as_nanos() - SEC)),
            realtime_ready: !who.watches.is_empty(),
            unwatched_directories: 0,
            root: fusion_core::evidence::RootState::Available,
        };
        let id = who.id.clone();
        self.server.hear(&id, report, now);
    }

    /// The longest-standing connected agent leads from now on, and scans.
    fn promote(&mut self) {
        let connected =
            |agent: &usize| self.agents[*agent].as_ref().is_some_and(|who| who.connected);
        let joined = |agent: &usize| self.agents[*agent].as_ref().map(|who| who.joined);
        let next = (0..self.agents.len()).filter(connected).min_by_key(joined);
        let session = next.and_then(|agent| self.agents[agent].as_ref());
        let session = session.map(|who| who.witness.session);
        let epoch = self.server.lead(session);
        self.server.leader = next;
        self.commit();
        let Some(leader) = next else { return };
        let Some(who) = self.agents[leader].as_mut() else { return };
        who.witness = Rc::new(Witness { epoch, ..Witness::clone(&who.witness) });
        who.memory.clear();
        self.note(|| format!("agent {leader} leads, epoch {}", epoch.0));
        self.begin_scan();
        self.arm_poll();
    }

    /// A session is over: the server knows, and another agent may have to lead.
    fn end_session(&mut self, agent: usize, ended: bool) {
        let now = self.clock();
        let Some(who) = self.agents[agent].as_mut().filter(|who| who.connected) else { return };
        who.connected = false;
        who.jobs.clear();
        let id = who.id.clone();
        self.server.lose(&id, ended, now);
        if self.server.leader == Some(agent) {
            self.promote();
        }
        self.straggle(agent);
        if let Some(who) = self.agents[agent].as_mut() {
            who.lanes[Which::Scan as usize].clear();
        }
        self.commit();
    }

    /// A batch of the session that has just ended was already in the server's mailbox.
    fn straggle(&mut self, agent: usize) {
        let now = self.now;
        let mut chance = self.dice.stream(Tag::Batch, agent as u64 + 50, now.unsigned_abs());
        let Some(who) = self.agents[agent].as_mut() else { return };
        let witness = Rc::clone(&who.witness);
        if !chance.percent(50) || now < self.server.down_until {
            return;
        }
        if let Some(batch) = who.lanes[Which::Scan as usize].next(&mut chance, 6, &witness) {
            self.note(|| format!("a batch of agent {agent} arrives after its session"));
            self.apply_batch(agent, Which::Scan, 0, &batch, &witness);
        }
    }

    fn crash_agent(&mut self, agent: usize, lasts: Time) {
        self.end_session(agent, false);
        let Some(who) = self.agents[agent].as_mut().filter(|who| who.up) else { return };
        who.up = false;
        who.life += 1;
        who.watches.clear();
        who.due.clear();
        who.memory.clear();
        who.jobs.clear();
        who.overflow_until = 0;
        self.after(lasts, Event::Start(agent));
    }

    fn cut(&mut self, agent: usize, lasts: Time) {
        self.end_session(agent, false);
        self.after(lasts, Event::Reconnect(agent));
    }

    fn resign(&mut self, agent: usize, lasts: Time) {
        self.end_session(agent, true);
        self.after(lasts, Event::Reconnect(agent));
    }

    fn overflow(&mut self, agent: usize, lasts: Time) {
        let until = self.now + lasts;
        if let Some(who) = self.agents[agent].as_mut().filter(|who| who.up) {
            who.overflow_until = until;
            self.at(until, Event::OverflowEnds(agent));
        }
    }

    pub(crate) fn end_overflow(&mut self, agent: usize) {
        let now = self.now;
        let lasted = self.plan.faults.iter().find_map(|fault| match fault.kind {
            FaultKind::Overflow(of, lasts) if of == agent && fault.at + lasts == now => Some(lasts),
            _ => None,
        });
        let Some(who) = self.agents[agent].as_mut().filter(|who| who.up) else { return };
        let at = who.clock.stamp(now);
        let since = ServerTime::from_nanos(at.as_nanos() - lasted.unwrap_or(SEC) - SEC);
        self.send(agent, Which::Realtime, Row::Overflow { since, at });
    }

    // === The server ===

    fn crash_server(&mut self, lasts: Time) {
        self.server.down_until = self.now + lasts;
        match self.server.crash() {
            Err(why) => self.fail(Property::Recovery, why),
            Ok(()) => self.reload_changes(),
        }
        for agent in 0..self.agents.len() {
            if let Some(who) = self.agents[agent].as_mut() {
                for lane in &mut who.lanes {
                    lane.rewind();
                }
                self.kick(agent, Which::Realtime);
                self.kick(agent, Which::Scan);
            }
        }
        self.arm_poll();
    }
}
