//! Sessions that are over: remembered for a while, so that the server can say why.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use crate::id::SessionId;
use crate::time::{Monotonic, ServerTime};

use super::{EndedSession, ObsoleteCause, Session, SessionSettings, SessionState};

/// Sessions that the server never knew, counted within a second at most: who makes ids up cannot
/// make the server's memory or anybody's wait grow without bound.
const STRANGERS_MOST: usize = 10_000;

/// Ended sessions, bounded in number and age.
#[derive(Debug)]
pub(super) struct EndedSessions {
    remember_for: Duration,
    remember_most: usize,
    by_id: HashMap<SessionId, EndedSession>,
    /// Oldest first.
    order: VecDeque<(Monotonic, SessionId)>,
    /// Which sessions became obsolete within the last second, and when.
    recent: VecDeque<(Monotonic, SessionId)>,
    /// Those of them that the server never knew.
    strangers: HashSet<SessionId>,
}

impl EndedSessions {
    pub(super) fn new(settings: &SessionSettings) -> Self {
        Self {
            remember_for: settings.remember_for,
            remember_most: settings.remember_most,
            by_id: HashMap::new(),
            order: VecDeque::new(),
            recent: VecDeque::new(),
            strangers: HashSet::new(),
        }
    }

    pub(super) fn get(&self, id: SessionId) -> Option<&EndedSession> {
        self.by_id.get(&id)
    }

    pub(super) fn remember(
        &mut self,
        session: Session,
        state: SessionState,
        now: Monotonic,
        ended_at: ServerTime,
    ) {
        if state != SessionState::Ended {
            self.recent.push_back((now, session.id));
        }
        self.remember_old(session, state, now, ended_at);
    }

    /// The same for a session that did not end just now.
    pub(super) fn remember_old(
        &mut self,
        session: Session,
        state: SessionState,
        now: Monotonic,
        ended_at: ServerTime,
    ) {
        self.order.push_back((now, session.id));
        self.by_id.insert(session.id, EndedSession { session, state, ended_at });
        self.forget(now);
    }

    /// Forgets what is too old or too much.
    pub(super) fn forget(&mut self, now: Monotonic) {
        while let Some(&(at, id)) = self.order.front() {
            if self.order.len() <= self.remember_most && now.since(at) < self.remember_for {
                break;
            }
            self.order.pop_front();
            self.by_id.remove(&id);
        }
        while let Some(&(at, id)) = self.recent.front() {
            if now.since(at) <= Duration::from_secs(1) {
                break;
            }
            self.recent.pop_front();
            self.strangers.remove(&id);
        }
    }

    /// A session was told of that this server never knew: it became obsolete when the server lost its
    /// memory, of which this is the first that is heard. Told of again, it is not counted again.
    pub(super) fn told_stranger(&mut self, id: SessionId, now: Monotonic) {
        self.forget(now);
        if self.strangers.len() < STRANGERS_MOST && self.strangers.insert(id) {
            self.recent.push_back((now, id));
        }
    }

    /// How many sessions became obsolete within the last second.
    pub(super) fn num_recent(&mut self, now: Monotonic) -> usize {
        self.forget(now);
        self.recent.len()
    }
}

/// What a caller is told of a session in this state. An agent that ended its session and goes on
/// all the same is told what it is told of a session that never was.
pub(super) fn cause(state: SessionState) -> ObsoleteCause {
    match state {
        SessionState::Active | SessionState::Ended => ObsoleteCause::Unknown,
        SessionState::Expired => ObsoleteCause::Expired,
        SessionState::Superseded => ObsoleteCause::Superseded,
        SessionState::Evicted => ObsoleteCause::Evicted,
        SessionState::Reset => ObsoleteCause::ViewReset,
    }
}
