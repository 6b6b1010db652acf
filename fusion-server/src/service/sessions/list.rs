//! Showing sessions: one, a page of them, and their gauges.

use std::collections::HashMap;

use fusion_core::id::{SessionId, ViewName};
use fusion_core::session::{Role, Session, SessionState};
use fusion_proto::convert::session::agent::ScanProgress;
use fusion_proto::convert::session::{ListSessions, SessionInfo};
use fusion_proto::status::Refusal;

use super::standing::Live;
use super::{Sessions, State};
use crate::access::{Caller, Reach, Scope};
use crate::ops::metrics::{gauged, seconds};
use crate::service::paging::PageOf;
use crate::service::views::PageOfRows;

impl Sessions {
    /// What a session last said of its running scan.
    pub(crate) fn scan_of(&self, id: SessionId) -> Option<ScanProgress> {
        self.lock().live.get(&id)?.status.as_ref()?.scan
    }

    /// One session, live or remembered, if its caller may look at it.
    pub(crate) fn get(&self, id: SessionId, caller: &Caller) -> Result<SessionInfo, Refusal> {
        let now = self.now();
        let mut state = self.lock();
        let State { table, effects, .. } = &mut *state;
        table.expire(now.monotonic, now.server, effects);
        self.carry_out(&mut state);
        let live = state.table.get(id).filter(|session| caller.sees(session));
        if let Some(session) = live {
            return Ok(live_info(session, state.live.get(&id)));
        }
        match state.table.get_ended(id) {
            Some(ended) if caller.sees(&ended.session) => {
                Ok(SessionInfo { state: ended.state, ..live_info(&ended.session, None) })
            }
            _ => Err(Refusal::SessionNotFound { session: id }),
        }
    }

    /// A page of live sessions of the views of a scope, by view, then by standing.
    pub(crate) fn list(
        &self,
        request: &ListSessions,
        scope: &Scope<ViewName>,
    ) -> Result<PageOfRows<SessionInfo>, Refusal> {
        let of = request.view.as_ref().map(ViewName::as_str).unwrap_or_default();
        let pages = PageOf::new(self.shared.id, &[b"sessions", of.as_bytes()]);
        let after = pages.key(&request.page.token)?.map(|key| read_key(&key)).transpose()?;
        if let Some(view) = &request.view {
            self.shared.views.within(Reach { views: scope.clone(), below: None }).get(view)?;
        }
        let (mut rows, mut last) = (Vec::new(), after);
        loop {
            let room = (request.page.size - rows.len()).min(SLICE);
            let more = self.slice((request.view.as_ref(), scope), &mut last, room, &mut rows);
            if !more || rows.len() == request.page.size {
                let token = last.filter(|_| more).map(|last| pages.token(&key(&last)));
                return Ok((rows, token.unwrap_or_default()));
            }
        }
    }

    /// At most `room` sessions after `last`, which goes on with them; whether there are more.
    fn slice(
        &self,
        (view, scope): (Option<&ViewName>, &Scope<ViewName>),
        last: &mut Option<(ViewName, u64)>,
        room: usize,
        rows: &mut Vec<SessionInfo>,
    ) -> bool {
        let now = self.now();
        let mut state = self.lock();
        let State { table, effects, .. } = &mut *state;
        table.expire(now.monotonic, now.server, effects);
        self.carry_out(&mut state);
        let from = last.clone();
        let mut sessions = walk(&state, (view, scope), from.as_ref());
        for session in sessions.by_ref().take(room) {
            *last = Some((session.view.clone(), session.standing()));
            rows.push(live_info(session, state.live.get(&session.id)));
        }
        sessions.next().is_some()
    }

    /// Sets the gauges of live sessions.
    pub(crate) fn measure(&self) {
        let metrics = &self.shared.metrics;
        let state = self.lock();
        let now = self.shared.clock.now();
        let mut counts: HashMap<(&str, &str), u64> = HashMap::new();
        let is_there = |view: &&ViewName| self.shared.views.get(view).is_ok();
        for view in state.table.views().filter(is_there) {
            let mut oldest = None;
            for label in ["leader", "follower"] {
                counts.insert((view.as_str(), label), 0);
            }
            for session in state.table.of_view(view, 0) {
                *counts.entry((view.as_str(), role_label(session.role))).or_default() += 1;
                oldest = oldest.min(Some(session.heard_at)).or(Some(session.heard_at));
            }
            let age = oldest.map(|heard| now.since(heard)).unwrap_or_default();
            metrics.heartbeat_age.with_label_values(&[view.as_str()]).set(seconds(age));
        }
        for ((view, role), count) in counts {
            metrics.sessions.with_label_values(&[view, role]).set(gauged(count));
        }
    }

    /// The leader of a view and how many sessions it has.
    pub(crate) fn of_view(&self, view: &ViewName) -> ViewSessions {
        let state = self.lock();
        let leader = state.table.leader(view);
        ViewSessions {
            leader: leader.map(|session| session.agent.to_string()).unwrap_or_default(),
            last_epoch: state.table.last_epoch(view),
            live: u32::try_from(state.table.num_of_view(view)).unwrap_or(u32::MAX),
        }
    }
}

/// Sessions that are looked at under one hold of the lock: a long list does not hold up heartbeats.
const SLICE: usize = 256;

/// The sessions of a view in short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ViewSessions {
    /// The leading agent; empty if none leads.
    pub(crate) leader: String,
    pub(crate) last_epoch: fusion_core::id::LeaderEpoch,
    pub(crate) live: u32,
}

/// Live sessions by view and standing, those after a key.
fn walk<'a>(
    state: &'a State,
    (only, scope): (Option<&'a ViewName>, &'a Scope<ViewName>),
    after: Option<&'a (ViewName, u64)>,
) -> impl Iterator<Item = &'a Session> {
    state
        .table
        .views()
        .filter(move |view| only.is_none_or(|only| only == *view) && scope.has(view))
        .filter(move |view| after.is_none_or(|(of, _)| *view >= of))
        .flat_map(move |view| {
            let after = after.filter(|(of, _)| of == view).map_or(0, |(_, standing)| *standing);
            state.table.of_view(view, after)
        })
}

fn key((view, standing): &(ViewName, u64)) -> Vec<u8> {
    [&standing.to_be_bytes()[..], view.as_str().as_bytes()].concat()
}

fn read_key(key: &[u8]) -> Result<(ViewName, u64), Refusal> {
    let refused = || Refusal::invalid("page_token", "is not a token of this list");
    let (standing, view) = key.split_first_chunk::<8>().ok_or_else(refused)?;
    let view = std::str::from_utf8(view).map_err(|_| refused())?;
    Ok((ViewName::new(view).map_err(|_| refused())?, u64::from_be_bytes(*standing)))
}

/// What is told of a session; a live one unless the caller says otherwise.
pub(super) fn live_info(session: &Session, live: Option<&Live>) -> SessionInfo {
    SessionInfo {
        session: Some(session.id),
        view: session.view.clone(),
        agent: session.agent.clone(),
        client: live.map(|live| live.client.clone()).unwrap_or_default(),
        state: SessionState::Active,
        role: session.role,
        epoch: session.epoch,
        created_at: session.created_at,
        last_heartbeat: session.heard_at,
        timeout: session.timeout,
        root_uri: live.map(|live| live.root_uri.clone()).unwrap_or_default(),
        status: live.and_then(|live| live.status.clone()),
    }
}

fn role_label(role: Role) -> &'static str {
    match role {
        Role::Leader => "leader",
        Role::Follower => "follower",
    }
}
