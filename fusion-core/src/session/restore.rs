//! Sessions of an earlier life of the server: a restart is not a mass re-creation of sessions.
//!
//! What is kept of a session is all but its timer, which counts from anew.

use std::time::Duration;

use crate::id::{AgentId, InstanceId, LeaderEpoch, SessionId, SpoolId, ViewName};
use crate::time::{Monotonic, ServerTime};

use super::{Principal, Role, Session, SessionState, SessionTable};

/// A session as it is kept for the next life of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedSession {
    /// Its id.
    pub id: SessionId,
    /// Its view.
    pub view: ViewName,
    /// Who made it.
    pub principal: Principal,
    /// Its agent.
    pub agent: AgentId,
    /// The life of the agent that made it.
    pub instance: InstanceId,
    /// The agent's spool.
    pub spool: SpoolId,
    /// The agent's host.
    pub host: String,
    /// The number of its leadership; 0 if it does not lead.
    pub epoch: LeaderEpoch,
    /// Its timeout.
    pub timeout: Duration,
    /// When it began.
    pub created_at: ServerTime,
    /// Its place in the order of standing.
    pub standing: u64,
}

impl Session {
    /// What is to be kept of it.
    #[must_use]
    pub fn save(&self) -> SavedSession {
        SavedSession {
            id: self.id,
            view: self.view.clone(),
            principal: self.principal.clone(),
            agent: self.agent.clone(),
            instance: self.instance,
            spool: self.spool,
            host: self.host.clone(),
            epoch: self.epoch,
            timeout: self.timeout,
            created_at: self.created_at,
            standing: self.standing,
        }
    }
}

impl SavedSession {
    fn live(self, heard: Monotonic) -> Session {
        let leads = self.epoch != LeaderEpoch::default();
        Session {
            id: self.id,
            view: self.view,
            principal: self.principal,
            agent: self.agent,
            instance: self.instance,
            spool: self.spool,
            host: self.host,
            role: if leads { Role::Leader } else { Role::Follower },
            epoch: self.epoch,
            timeout: self.timeout,
            created_at: self.created_at,
            heard_at: self.created_at,
            heard,
            standing: self.standing,
        }
    }
}

impl SessionTable {
    /// Takes a session back. Its timeout counts from `heard`, which may lie ahead, so that the
    /// sessions of a server that was away for long do not all expire in one moment. `false` if it
    /// contradicts the table: its view was not added, its id, its agent or the leadership that it
    /// had is another's, or its epoch is above the view's last one.
    pub fn restore(&mut self, saved: SavedSession, heard: Monotonic) -> bool {
        let session = saved.live(heard);
        let leads = session.role == Role::Leader;
        let Some(members) = self.views.get_mut(&session.view) else { return false };
        let is_taken = self.live.contains_key(&session.id)
            || members.by_agent.contains_key(&session.agent)
            || members.order.contains_key(&session.standing);
        let is_wrong =
            leads && (members.leader.is_some() || session.epoch > members.rules.last_epoch);
        if is_taken || is_wrong {
            return false;
        }
        members.order.insert(session.standing, session.id);
        members.by_agent.insert(session.agent.clone(), session.id);
        if leads {
            members.leader = Some(session.id);
        }
        self.next_standing = self.next_standing.max(session.standing.saturating_add(1));
        self.deadlines.insert((session.deadline(), session.id));
        self.live.insert(session.id, session);
        true
    }

    /// Takes the live sessions of a view out: they go on with another server. Nothing follows from it here.
    pub fn give_up(&mut self, view: &ViewName) -> Vec<SessionId> {
        let Some(members) = self.views.remove(view) else { return Vec::new() };
        let sessions: Vec<SessionId> = members.order.into_values().collect();
        for id in &sessions {
            if let Some(session) = self.live.remove(id) {
                self.deadlines.remove(&(session.deadline(), *id));
            }
        }
        sessions
    }

    /// Remembers a session that was over already, so that its agent is told the true cause.
    pub fn restore_ended(
        &mut self,
        saved: SavedSession,
        state: SessionState,
        ended_at: ServerTime,
        now: Monotonic,
    ) {
        self.next_standing = self.next_standing.max(saved.standing.saturating_add(1));
        self.ended.remember_old(saved.live(now), state, now, ended_at);
    }
}
