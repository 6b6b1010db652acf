//! What follows from a table operation, in the order in which the table says it.

use std::ops::{Deref, DerefMut};
use std::sync::MutexGuard;

use fusion_core::id::{AgentId, LeaderEpoch, SessionId, ViewName};
use fusion_core::session::{Session, SessionEffect, SessionState};
use fusion_core::view::Leadership;
use fusion_proto::status::ObsoleteCause;
use fusion_store::Space;

use super::{Sessions, State};
use crate::stores::ViewRecord;
use crate::task::view::Note;

impl Sessions {
    /// Carries out the effects that the table left, under the lock that it was changed under, so
    /// that views and streams learn of changes in their order.
    pub(super) fn carry_out(&self, state: &mut Locked<'_>) {
        for effect in std::mem::take(&mut state.effects) {
            match effect {
                SessionEffect::Over { session, state: how } => self.over(state, &session, how),
                SessionEffect::Leads { view, session, epoch } => {
                    self.leads(state, &view, session, epoch);
                }
                SessionEffect::Leaderless { view } => self.leaderless(state, &view),
            }
        }
    }

    fn over(&self, state: &mut Locked<'_>, session: &Session, how: SessionState) {
        if let Some(live) = state.live.remove(&session.id) {
            live.end(stream_cause(how));
            self.save(session, &live, Some((how, self.shared.clock.now())));
        }
        if let Ok(view) = self.shared.views.get(&session.view) {
            let ended = how == SessionState::Ended;
            view.commands().session_over(session.id);
            view.commands().left(session.id, ended);
            view.tell(Note::Over { session: session.id, agent: session.agent.clone(), ended });
        }
        let labels = [session.view.as_str(), state_label(how)];
        self.shared.metrics.sessions_ended.with_label_values(&labels).inc();
        state.said.0.push(Said::Over {
            view: session.view.clone(),
            agent: session.agent.clone(),
            session: session.id,
            state: how,
        });
    }

    fn leads(
        &self,
        locked: &mut Locked<'_>,
        view: &ViewName,
        leader: SessionId,
        epoch: LeaderEpoch,
    ) {
        let state = &mut **locked;
        if let (Some(session), Some(live)) = (state.table.get(leader), state.live.get_mut(&leader))
        {
            live.saved.point = self.save(session, live, None);
        }
        if let Ok(handle) = self.shared.views.get(view) {
            let record = ViewRecord { id: handle.id(), created_at: handle.created_at(), epoch };
            let key = view.as_str().as_bytes().to_vec();
            self.shared.saver.put(Space::View, key, record.to_bytes(), None);
            handle.tell(Note::Leads(Some(Leadership { session: leader, epoch })));
        }
        self.notice(state, view, epoch);
        self.shared.metrics.leader_changes.with_label_values(&[view.as_str()]).inc();
        locked.said.0.push(Said::Leads { view: view.clone(), session: leader, epoch });
    }

    fn leaderless(&self, state: &State, view: &ViewName) {
        if let Ok(handle) = self.shared.views.get(view) {
            handle.tell(Note::Leads(None));
        }
        self.notice(state, view, LeaderEpoch::default());
    }

    /// Tells the streams of a view's sessions their role and the epoch, once these are durable: an
    /// epoch that somebody heard of is never given again.
    fn notice(&self, state: &State, view: &ViewName, epoch: LeaderEpoch) {
        for session in state.table.of_view(view, 0) {
            if let Some(live) = state.live.get(&session.id) {
                self.shared.saver.then(live.set_role(session.role, epoch));
            }
        }
    }
}

/// A line of the log, written when the lock is released: a thousand sessions that end at once, or a
/// log that is slow, must not hold up heartbeats.
enum Said {
    Over { view: ViewName, agent: AgentId, session: SessionId, state: SessionState },
    Leads { view: ViewName, session: SessionId, epoch: LeaderEpoch },
}

impl Said {
    fn say(&self) {
        match self {
            Self::Over { view, agent, session, state } => {
                tracing::info!(%view, %agent, %session, ?state, "session over");
            }
            Self::Leads { view, session, epoch } => {
                tracing::info!(%view, %session, epoch = epoch.0, "leadership begun");
            }
        }
    }
}

/// The state under its lock; what there is to say of it is said when it is released.
pub(super) struct Locked<'a> {
    // In this order: fields are dropped in it.
    state: MutexGuard<'a, State>,
    said: Lines,
}

/// Lines that are written when this is dropped.
#[derive(Default)]
struct Lines(Vec<Said>);

impl Drop for Lines {
    fn drop(&mut self) {
        self.0.iter().for_each(Said::say);
    }
}

impl<'a> Locked<'a> {
    pub(super) fn new(state: MutexGuard<'a, State>) -> Self {
        Self { state, said: Lines::default() }
    }
}

impl Deref for Locked<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        &self.state
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut State {
        &mut self.state
    }
}

/// What a stream of a session that ended so is told.
fn stream_cause(how: SessionState) -> ObsoleteCause {
    match how {
        SessionState::Expired => ObsoleteCause::Expired,
        SessionState::Superseded => ObsoleteCause::Superseded,
        SessionState::Evicted => ObsoleteCause::Evicted,
        SessionState::Reset => ObsoleteCause::ViewReset,
        SessionState::Ended | SessionState::Active => ObsoleteCause::Unknown,
    }
}

fn state_label(state: SessionState) -> &'static str {
    match state {
        SessionState::Active => "active",
        SessionState::Ended => "ended",
        SessionState::Expired => "expired",
        SessionState::Superseded => "superseded",
        SessionState::Evicted => "evicted",
        SessionState::Reset => "reset",
    }
}
