//! The table of live sessions and the election of each view's leader.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::time::Duration;

use crate::id::{AgentId, LeaderEpoch, SessionId, ViewName};
use crate::time::{Monotonic, ServerTime};

use super::ended::{EndedSessions, cause};
use super::{
    EndedSession, Join, JoinRefused, Obsolete, ObsoleteCause, Principal, Role, Session,
    SessionEffect, SessionNotFound, SessionSettings, SessionState, ViewRules,
};

/// The sessions of one view.
#[derive(Debug)]
pub(super) struct Members {
    pub(super) rules: ViewRules,
    pub(super) leader: Option<SessionId>,
    /// By standing, oldest first.
    pub(super) order: BTreeMap<u64, SessionId>,
    pub(super) by_agent: HashMap<AgentId, SessionId>,
}

/// All sessions of a server. Every call takes the time and first ends what has expired by then, so
/// that a timed-out session is never honoured because nobody had looked.
#[derive(Debug)]
pub struct SessionTable {
    settings: SessionSettings,
    pub(super) live: HashMap<SessionId, Session>,
    pub(super) views: BTreeMap<ViewName, Members>,
    pub(super) deadlines: BTreeSet<(Monotonic, SessionId)>,
    pub(super) ended: EndedSessions,
    pub(super) next_standing: u64,
}

impl SessionTable {
    /// An empty table.
    #[must_use]
    pub fn new(settings: SessionSettings) -> Self {
        Self {
            ended: EndedSessions::new(&settings),
            settings,
            live: HashMap::new(),
            views: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            next_standing: 1,
        }
    }

    /// Adds a view, or changes the rules of one. The epoch never goes back.
    pub fn set_view(&mut self, view: &ViewName, rules: ViewRules) {
        match self.views.get_mut(view) {
            Some(members) => {
                let last_epoch = members.rules.last_epoch.max(rules.last_epoch);
                members.rules = ViewRules { last_epoch, ..rules };
            }
            None => {
                let members = Members {
                    rules,
                    leader: None,
                    order: BTreeMap::new(),
                    by_agent: HashMap::new(),
                };
                self.views.insert(view.clone(), members);
            }
        }
    }

    /// Begins a session. The first of a view leads it; one with the same agent and spool as a live
    /// one supersedes that.
    ///
    /// # Errors
    /// [`JoinRefused`]; then no live session was disturbed.
    pub fn create(
        &mut self,
        join: Join,
        now: Monotonic,
        at: ServerTime,
        effects: &mut Vec<SessionEffect>,
    ) -> Result<Session, JoinRefused> {
        self.expire(now, at, effects);
        let superseded = self.may_join(&join, now)?;
        if let Some(old) = superseded {
            self.finish(old, SessionState::Superseded, now, at, effects);
        }
        let standing = self.next_standing;
        self.next_standing += 1;
        let id = join.id;
        let session = self.admit(join, standing, now, at);
        let Some(members) = self.views.get_mut(&session.view) else {
            return Err(JoinRefused::ViewNotFound(session.view));
        };
        members.order.insert(standing, id);
        members.by_agent.insert(session.agent.clone(), id);
        self.deadlines.insert((session.deadline(), id));
        let view = session.view.clone();
        self.live.insert(id, session.clone());
        self.elect(&view, now, effects);
        Ok(self.live.get(&id).cloned().unwrap_or(session))
    }

    /// Hears a session: a heartbeat. A follower of a view that nobody leads is promoted.
    ///
    /// # Errors
    /// The session is not honoured.
    pub fn beat(
        &mut self,
        id: SessionId,
        principal: &Principal,
        now: Monotonic,
        at: ServerTime,
        effects: &mut Vec<SessionEffect>,
    ) -> Result<Session, Obsolete> {
        self.check(id, principal, now, at, effects)?;
        let Some(session) = self.live.get_mut(&id) else {
            return Err(self.obsolete(id, principal));
        };
        self.deadlines.remove(&(session.deadline(), id));
        session.heard = now;
        session.heard_at = at;
        self.deadlines.insert((session.deadline(), id));
        let view = session.view.clone();
        self.elect(&view, now, effects);
        self.live.get(&id).cloned().ok_or_else(|| self.obsolete(id, principal))
    }

    /// Whether a session is honoured, for a call of it that means to go on. Does not keep it alive:
    /// only a heartbeat does.
    ///
    /// # Errors
    /// The session is not honoured.
    pub fn check(
        &mut self,
        id: SessionId,
        principal: &Principal,
        now: Monotonic,
        at: ServerTime,
        effects: &mut Vec<SessionEffect>,
    ) -> Result<&Session, Obsolete> {
        self.expire(now, at, effects);
        match self.live.get(&id) {
            Some(session) if session.principal == *principal => Ok(session),
            _ => Err(self.obsolete(id, principal)),
        }
    }

    /// Ends a session at its agent's wish.
    ///
    /// # Errors
    /// There is no such live session of this principal; never the obsolete answer, since who is
    /// leaving must not be told to come back.
    pub fn end(
        &mut self,
        id: SessionId,
        principal: &Principal,
        now: Monotonic,
        at: ServerTime,
        effects: &mut Vec<SessionEffect>,
    ) -> Result<(), SessionNotFound> {
        match self.check(id, principal, now, at, effects) {
            Err(_) => Err(SessionNotFound(id)),
            Ok(_) => {
                self.finish(id, SessionState::Ended, now, at, effects);
                Ok(())
            }
        }
    }

    /// Ends a session at an administrator's wish.
    ///
    /// # Errors
    /// There is no such live session.
    pub fn evict(
        &mut self,
        id: SessionId,
        now: Monotonic,
        at: ServerTime,
        effects: &mut Vec<SessionEffect>,
    ) -> Result<(), SessionNotFound> {
        self.expire(now, at, effects);
        if !self.live.contains_key(&id) {
            return Err(SessionNotFound(id));
        }
        self.finish(id, SessionState::Evicted, now, at, effects);
        Ok(())
    }

    /// Ends all sessions of a view that is reset or removed; its next epoch is at least two more
    /// than the last one used, so that what was under way is fenced.
    pub fn reset_view(
        &mut self,
        view: &ViewName,
        now: Monotonic,
        at: ServerTime,
        effects: &mut Vec<SessionEffect>,
    ) {
        self.expire(now, at, effects);
        let Some(members) = self.views.get_mut(view) else { return };
        members.rules.last_epoch.0 += 1;
        let ids: Vec<SessionId> = members.order.values().copied().collect();
        // Nobody may be promoted on the way: all of them go.
        for &id in &ids {
            self.remove(id, SessionState::Reset, now, at, effects);
        }
        if !ids.is_empty() {
            effects.push(SessionEffect::Leaderless { view: view.clone() });
        }
    }

    /// Ends what has not been heard for longer than its timeout.
    pub fn expire(&mut self, now: Monotonic, at: ServerTime, effects: &mut Vec<SessionEffect>) {
        let mut views = BTreeSet::new();
        while let Some(&(deadline, id)) = self.deadlines.first() {
            if now <= deadline {
                break;
            }
            self.deadlines.pop_first();
            if let Some(session) = self.live.get(&id) {
                views.insert(session.view.clone());
            }
            self.remove(id, SessionState::Expired, now, at, effects);
        }
        for view in views {
            self.settle(&view, now, effects);
        }
        self.ended.forget(now);
    }

    /// When [`SessionTable::expire`] next has something to do: just after this.
    #[must_use]
    pub fn next_expiry(&self) -> Option<Monotonic> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// How long a client that is told of an obsolete session may be asked to wait at most, so that
    /// many do not come back in the same moment: zero unless more than 10 sessions became obsolete
    /// in the last second, then n / 200 s. The caller draws uniformly from it. A session that this
    /// table never had counts from when it is first told of: after a restart without data all do.
    pub fn recovery_spread(&mut self, told: &Obsolete, now: Monotonic) -> Duration {
        if told.view.is_none() {
            self.ended.told_stranger(told.session, now);
        }
        match self.ended.num_recent(now) {
            0..=10 => Duration::ZERO,
            many => Duration::from_millis(many as u64 * 5),
        }
    }

    /// A live session.
    #[must_use]
    pub fn get(&self, id: SessionId) -> Option<&Session> {
        self.live.get(&id)
    }

    /// A session that is over and still remembered.
    #[must_use]
    pub fn get_ended(&self, id: SessionId) -> Option<&EndedSession> {
        self.ended.get(id)
    }

    /// The leader of a view and its epoch.
    #[must_use]
    pub fn leader(&self, view: &ViewName) -> Option<&Session> {
        self.live.get(&self.views.get(view)?.leader?)
    }

    /// The largest epoch that a view has had.
    #[must_use]
    pub fn last_epoch(&self, view: &ViewName) -> LeaderEpoch {
        self.views.get(view).map(|members| members.rules.last_epoch).unwrap_or_default()
    }

    /// The live sessions of a view by standing, those after `after`.
    pub fn of_view(&self, view: &ViewName, after: u64) -> impl Iterator<Item = &Session> {
        self.views
            .get(view)
            .into_iter()
            .flat_map(move |members| {
                members.order.range((Bound::Excluded(after), Bound::Unbounded))
            })
            .filter_map(|(_, id)| self.live.get(id))
    }

    /// Number of live sessions of a view.
    #[must_use]
    pub fn num_of_view(&self, view: &ViewName) -> usize {
        self.views.get(view).map_or(0, |members| members.order.len())
    }

    /// The views of the table by name.
    pub fn views(&self) -> impl Iterator<Item = &ViewName> {
        self.views.keys()
    }

    /// Number of live sessions.
    #[must_use]
    pub fn num_live(&self) -> usize {
        self.live.len()
    }

    /// Whether a request for a session may be granted; the session that it supersedes, if any.
    fn may_join(&self, join: &Join, now: Monotonic) -> Result<Option<SessionId>, JoinRefused> {
        let Some(members) = self.views.get(&join.view) else {
            return Err(JoinRefused::ViewNotFound(join.view.clone()));
        };
        let same_agent = members.by_agent.get(&join.agent).and_then(|id| self.live.get(id));
        if let Some(old) = same_agent {
            if old.spool != join.spool || old.principal != join.principal {
                return Err(JoinRefused::AgentIdConflict {
                    agent: join.agent.clone(),
                    host: old.host.clone(),
                    since: old.created_at,
                    retry_after: old.deadline().since(now),
                });
            }
            return Ok(Some(old.id));
        }
        let holder = members.order.values().next().and_then(|id| self.live.get(id));
        match holder {
            Some(holder) if members.rules.exclusive => Err(JoinRefused::ViewOccupied {
                view: join.view.clone(),
                agent: holder.agent.clone(),
                host: holder.host.clone(),
            }),
            _ => Ok(None),
        }
    }

    fn admit(&self, join: Join, standing: u64, now: Monotonic, at: ServerTime) -> Session {
        let wished = self.views.get(&join.view).map(|members| members.rules.timeout);
        let timeout = wished
            .unwrap_or_default()
            .max(join.proposed_timeout.unwrap_or_default())
            .clamp(self.settings.timeout_min, self.settings.timeout_max);
        Session {
            id: join.id,
            view: join.view,
            principal: join.principal,
            agent: join.agent,
            instance: join.instance,
            spool: join.spool,
            host: join.host,
            role: Role::Follower,
            epoch: LeaderEpoch::default(),
            timeout,
            created_at: at,
            heard_at: at,
            heard: now,
            standing,
        }
    }

    /// Ends a live session and lets its view go on.
    fn finish(
        &mut self,
        id: SessionId,
        state: SessionState,
        now: Monotonic,
        at: ServerTime,
        effects: &mut Vec<SessionEffect>,
    ) {
        let Some(view) = self.live.get(&id).map(|session| session.view.clone()) else { return };
        self.remove(id, state, now, at, effects);
        self.settle(&view, now, effects);
    }

    /// Takes a live session out of the table; its view may be left without a leader.
    fn remove(
        &mut self,
        id: SessionId,
        state: SessionState,
        now: Monotonic,
        at: ServerTime,
        effects: &mut Vec<SessionEffect>,
    ) {
        let Some(session) = self.live.remove(&id) else { return };
        self.deadlines.remove(&(session.deadline(), id));
        if let Some(members) = self.views.get_mut(&session.view) {
            members.order.remove(&session.standing);
            members.by_agent.remove(&session.agent);
            if members.leader == Some(id) {
                members.leader = None;
            }
        }
        effects.push(SessionEffect::Over { session: session.clone(), state });
        self.ended.remember(session, state, now, at);
    }

    /// After sessions went: elects, and says so if nobody can lead.
    fn settle(&mut self, view: &ViewName, now: Monotonic, effects: &mut Vec<SessionEffect>) {
        self.elect(view, now, effects);
        if self.views.get(view).is_some_and(|members| members.leader.is_none()) {
            effects.push(SessionEffect::Leaderless { view: view.clone() });
        }
    }

    /// Promotes the longest-standing session that has beaten within its last two intervals, if
    /// nobody leads.
    fn elect(&mut self, view: &ViewName, now: Monotonic, effects: &mut Vec<SessionEffect>) {
        let Some(members) = self.views.get_mut(view) else { return };
        if members.leader.is_some() {
            return;
        }
        let lively = |id: &&SessionId| self.live.get(id).is_some_and(|one| one.is_lively(now));
        let Some(&id) = members.order.values().find(lively) else { return };
        members.rules.last_epoch.0 += 1;
        let epoch = members.rules.last_epoch;
        members.leader = Some(id);
        if let Some(session) = self.live.get_mut(&id) {
            session.role = Role::Leader;
            session.epoch = epoch;
        }
        effects.push(SessionEffect::Leads { view: view.clone(), session: id, epoch });
    }

    fn obsolete(&self, id: SessionId, principal: &Principal) -> Obsolete {
        match self.ended.get(id) {
            Some(ended) if ended.session.principal == *principal => Obsolete {
                session: id,
                view: Some(ended.session.view.clone()),
                cause: cause(ended.state),
            },
            _ => Obsolete { session: id, view: None, cause: ObsoleteCause::Unknown },
        }
    }
}
