//! How many sessions there may be, and how often they may beat.

use std::time::Duration;

use fusion_core::id::SessionId;
use fusion_core::session::Principal;
use fusion_proto::convert::session::CreateSession;
use fusion_proto::status::Refusal;

use super::{Sessions, State};
use crate::access::quotas::used_up;
use crate::config::ViewConfig;

/// Heartbeats of a session in one interval that do not count against its principal.
const BEATS_PER_INTERVAL: u32 = 3;

impl Sessions {
    /// Whether there is room for one more session, in all and in its view. One that takes the place of an
    /// older one of its agent needs none.
    pub(super) fn has_room(
        &self,
        state: &State,
        view: &ViewConfig,
        request: &CreateSession,
        max: usize,
    ) -> Result<(), Refusal> {
        const FULL_RETRY: Duration = Duration::from_secs(10);
        let metrics = &self.shared.metrics;
        let of_view = state.table.num_of_view(&request.view);
        let full = match (state.live.len() >= max, of_view >= view.max_sessions) {
            (false, false) => return Ok(()),
            (true, _) => ("session.max", max),
            (false, true) => ("view.max_sessions", view.max_sessions),
        };
        let mut others = state.table.of_view(&request.view, 0);
        if others.any(|session| session.agent == request.agent) {
            return Ok(());
        }
        Err(used_up(metrics, full.0, full.1, FULL_RETRY))
    }

    /// Whether a heartbeat of this session is one of those that keep it alive: three for each interval.
    pub(crate) fn expects_beat(&self, id: SessionId, by: &Principal) -> bool {
        let now = self.now().monotonic;
        let mut state = self.lock();
        let State { table, live, .. } = &mut *state;
        let session = table.get(id).filter(|session| session.principal == *by);
        let Some((session, live)) = session.zip(live.get_mut(&id)) else { return false };
        live.counts_beat(now, session.heartbeat_interval()) <= BEATS_PER_INTERVAL
    }
}
