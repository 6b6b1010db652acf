//! What operators ask of the sessions of a view: one that can scan, and the end of all by a reset.

use std::time::Duration;

use fusion_core::id::{AgentId, ViewName};
use fusion_core::session::Session;
use fusion_proto::convert::admin::ViewReset;
use fusion_proto::status::Refusal;
use fusion_store::Space;

use super::{Sessions, State};
use crate::stores::{SavePoint, ViewRecord};
use crate::task::view::{Note, Operation, Operator, ViewHandle};

/// When to ask again for what needs a leader.
const RETRY: Duration = Duration::from_secs(5);

impl Sessions {
    /// The session that is to scan a view: of this agent, or the leader's.
    pub(crate) fn to_scan(
        &self,
        view: &ViewHandle,
        agent: Option<&AgentId>,
    ) -> Result<Session, Refusal> {
        let now = self.now();
        let mut state = self.lock();
        let State { table, effects, .. } = &mut *state;
        table.expire(now.monotonic, now.server, effects);
        self.carry_out(&mut state);
        let name = view.name();
        match agent {
            Some(agent) => {
                let mut sessions = state.table.of_view(name, 0);
                let found = sessions.find(|session| session.agent == *agent).cloned();
                found.ok_or_else(|| Refusal::AgentNotFound {
                    view: name.clone(),
                    agent: agent.clone(),
                })
            }
            None => state.table.leader(name).cloned().ok_or_else(|| leaderless(view, now.server)),
        }
    }

    /// Has a view forget all: its sessions end, and agents that come back list anew. Its revision, its
    /// epochs and the applied sequences of its agents go on. Durable when this returns.
    pub(crate) async fn reset_view(
        &self,
        name: &ViewName,
        by: Operator,
    ) -> Result<ViewReset, Refusal> {
        let view = self.shared.views.get(name)?;
        // Nothing is begun that could not be made durable now.
        let settled = self.shared.views.operate(&view, Operation::Settle, by.clone()).await?;
        let asked = by.clone();
        let is_done = view.ask(move |view| asked.has_done(view)).await;
        if is_done.map_err(|gone| self.shared.views.gone(view.name(), &gone))? {
            let leader_epoch = self.lock().table.last_epoch(name).0;
            return Ok(ViewReset { revision: settled.revision.0, leader_epoch, sessions_ended: 0 });
        }
        let (point, leader_epoch, sessions_ended) = self.begin_reset(&view, &by);
        tracing::warn!(view = %name, sessions_ended, "view reset");
        self.shared.saver.written(point).await?;
        let settled = self.shared.views.operate(&view, Operation::Settle, by).await?;
        Ok(ViewReset { revision: settled.revision.0, leader_epoch, sessions_ended })
    }

    /// Ends the sessions of a view and has it forget all; what is to be durable, the last epoch before
    /// that, and how many sessions ended.
    fn begin_reset(&self, view: &ViewHandle, by: &Operator) -> (SavePoint, u64, u32) {
        let (name, now) = (view.name(), self.now());
        let mut state = self.lock();
        let sessions_ended = u32::try_from(state.table.num_of_view(name)).unwrap_or(u32::MAX);
        let leader_epoch = state.table.last_epoch(name).0;
        let State { table, effects, .. } = &mut *state;
        table.reset_view(name, now.monotonic, now.server, effects);
        self.carry_out(&mut state);
        // After the sessions' end and before any new one: the view learns of them in this order.
        view.tell(Note::Reset(by.clone()));
        let epoch = state.table.last_epoch(name);
        let record = ViewRecord { id: view.id(), created_at: view.created_at(), epoch };
        let key = name.as_str().as_bytes().to_vec();
        // Written after the sessions, so that it is durable when they are.
        let point = self.shared.saver.put(Space::View, key, record.to_bytes(), None);
        (point, leader_epoch, sessions_ended)
    }

    /// Live sessions of the server.
    pub(crate) fn count(&self) -> usize {
        self.lock().table.num_live()
    }
}

fn leaderless(view: &ViewHandle, now: fusion_core::time::ServerTime) -> Refusal {
    let status = view.status(now);
    let nobody = "no agent leads this view, so nobody can scan it".to_owned();
    let others = status.reasons.into_iter().filter(|reason| !reason.starts_with("no agent leads"));
    Refusal::ViewNotReady {
        view: view.name().clone(),
        state: status.state,
        reasons: std::iter::once(nobody).chain(others).collect(),
        retry_after: RETRY,
    }
}
