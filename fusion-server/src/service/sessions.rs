//! Sessions: created, kept, ended and expired; and what follows from it for views and streams.
//!
//! Owns the session table, the live sessions' streams, and the timer that expires them. Never waits
//! for a view: what a view must learn is left in its control queue, so heartbeats and new sessions
//! are answered whatever ingest does. One lock guards the table and the streams; it is held for one
//! table operation and its effects (microseconds; one pass over a view's sessions when its leader
//! changes; the start of a thread where a view failed), never across an await. Under it only the
//! views' map, control queues and command desks are locked.

mod effects;
mod list;
mod moved;
mod operate;
mod reconfigure;
mod record;
mod restart;
mod room;
mod root;
mod saved;
mod standing;
mod unseen;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fusion_core::evidence::RootState;
use fusion_core::id::{LeaderEpoch, SessionId, ViewName};
use fusion_core::session::{
    Join, JoinRefused, Obsolete, Principal, Role, Session, SessionEffect, SessionNotFound,
    SessionSettings, SessionState, SessionTable, ViewRules,
};
use fusion_core::time::{Clock, Monotonic, ServerTime};
use fusion_core::view::AgentReport;
use fusion_proto::convert::session::agent::AgentStatus;
use fusion_proto::convert::session::command::{Command, CommandReport};
use fusion_proto::convert::session::heartbeat::{Heartbeat, HeartbeatAnswer};
use fusion_proto::convert::session::{AgentSettings, CreateSession, CreatedSession, SessionInfo};
use fusion_proto::limits;
use fusion_proto::status::{ObsoleteCause, Refusal};
use tokio::sync::Notify;
use uuid::Uuid;

use super::views::Views;
use crate::config::{InForce, ViewConfig};
use crate::ids::Ids;
use crate::ops::metrics::Metrics;
use crate::stores::{SavePoint, Saver};
use crate::task::view::{Note, ViewHandle};

pub(crate) use saved::view_of;
pub(crate) use standing::{LaneName, Standing, StreamSeat};

use effects::Locked;
use standing::Live;

/// When a client that was told SERVER_DRAINING should connect again.
pub(crate) const DRAINING_RETRY: Duration = Duration::from_secs(1);

/// All sessions of a server; a cheap handle.
#[derive(Clone)]
pub(crate) struct Sessions {
    shared: Arc<Shared>,
}

struct Shared {
    config: InForce,
    views: Views,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    metrics: Metrics,
    /// Tells lists of sessions of this server from those of another.
    id: Uuid,
    saver: Saver,
    draining: AtomicBool,
    state: Mutex<State>,
    /// The next expiry may have come nearer.
    earlier: Notify,
}

struct State {
    table: SessionTable,
    live: HashMap<SessionId, Live>,
    effects: Vec<SessionEffect>,
    /// Of views that other servers own by now.
    moved: moved::Moved,
}

/// Now, by both clocks.
#[derive(Debug, Clone, Copy)]
struct Now {
    monotonic: Monotonic,
    server: ServerTime,
}

impl Sessions {
    pub(crate) fn new(
        config: InForce,
        views: Views,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn Ids>,
        metrics: Metrics,
        saver: Saver,
    ) -> Self {
        let bounds = &config.now().session;
        let settings = SessionSettings {
            timeout_min: bounds.timeout_min,
            timeout_max: bounds.timeout_max,
            ..SessionSettings::default()
        };
        let state = Mutex::new(State {
            table: SessionTable::new(settings),
            live: HashMap::new(),
            effects: Vec::new(),
            moved: moved::Moved::default(),
        });
        let (id, draining, earlier) = (ids.draw(), AtomicBool::new(false), Notify::new());
        let shared =
            Shared { config, views, clock, ids, metrics, id, saver, draining, state, earlier };
        Self { shared: Arc::new(shared) }
    }

    /// Begins a session; its view is made if need be and allowed. It is durable when this returns.
    pub(crate) async fn create(
        &self,
        request: CreateSession,
        principal: Principal,
    ) -> Result<CreatedSession, Refusal> {
        self.refuse_when_draining()?;
        let view = self.shared.views.get_or_create(&request.view).await?;
        self.shared.views.owned(&view)?;
        let (created, point) = self.join(&view, request, principal)?;
        self.shared.saver.written(point).await?;
        Ok(created)
    }

    fn join(
        &self,
        view: &ViewHandle,
        request: CreateSession,
        principal: Principal,
    ) -> Result<(CreatedSession, SavePoint), Refusal> {
        root::check(view, &request.root.identity)?;
        let (now, most) = (self.now(), self.shared.config.now().session.max);
        let mut state = self.lock();
        // Under the lock: sessions of a view that is lost are given up under it.
        self.shared.views.owned(view)?;
        self.has_room(&state, view.config(), &request, most)?;
        let State { table, live, effects, .. } = &mut *state;
        let rules = ViewRules {
            timeout: view.config().session_timeout,
            exclusive: view.config().exclusive,
            last_epoch: view.loaded_epoch(),
        };
        table.set_view(&request.view, rules);
        let join = Join {
            id: SessionId::new(self.shared.ids.draw()),
            view: request.view.clone(),
            principal,
            agent: request.agent.clone(),
            instance: request.instance,
            spool: request.spool,
            host: request.client.hostname.clone(),
            proposed_timeout: request.proposed_timeout,
        };
        let joined = table.create(join, now.monotonic, now.server, effects);
        if let Ok(session) = &joined {
            let epoch = table.leader(&session.view).map(|leader| leader.epoch).unwrap_or_default();
            let said = report(None, None);
            let mut begun = Live::new(session, epoch, request.client, request.root.uri, said);
            // It may have been begun anew since; that happens under the lock that is held here.
            let view = self.shared.views.get(&session.view).unwrap_or(view.clone());
            begun.saved.reported = unseen::begin(&view, session, now.server);
            begun.saved.point = self.save(session, &begun, None);
            live.insert(session.id, begun);
            view.tell(Note::Joined(session.id, saved::life(&session.save())));
        }
        self.carry_out(&mut state);
        let session = joined.map_err(refused_join)?;
        let point = state.live.get(&session.id).map(|live| live.saved.point).unwrap_or_default();
        let created = CreatedSession {
            session: session.id,
            info: list::live_info(&session, state.live.get(&session.id)),
            leader_epoch: current_epoch(&state, &session),
            heartbeat_interval: session.heartbeat_interval(),
            server_time: now.server,
            settings: agent_settings(view.config()),
        };
        drop(state);
        self.shared.earlier.notify_one();
        self.shared.metrics.sessions_created.with_label_values(&[session.view.as_str()]).inc();
        tracing::info!(
            view = %session.view, agent = %session.agent, session = %session.id,
            host = session.host, role = ?session.role, epoch = session.epoch.0, "session created"
        );
        Ok((created, point))
    }

    /// Keeps a session alive and takes what its agent says of itself. The role that it is told is
    /// durable.
    pub(crate) async fn beat(
        &self,
        request: Heartbeat,
        by: &Principal,
    ) -> Result<HeartbeatAnswer, Refusal> {
        let (answer, point) = self.hear(request, by)?;
        self.shared.saver.written(point).await?;
        Ok(answer)
    }

    fn hear(
        &self,
        request: Heartbeat,
        by: &Principal,
    ) -> Result<(HeartbeatAnswer, SavePoint), Refusal> {
        let now = self.now();
        let mut state = self.lock();
        let State { table, live, effects, .. } = &mut *state;
        let id = request.session;
        let beaten = table.beat(id, by, now.monotonic, now.server, effects);
        let (mut commands, mut reports_refused) = (Vec::new(), Vec::new());
        let mut audit_number = 0;
        if let (Ok(session), Some(live)) = (&beaten, live.get_mut(&id)) {
            live.status = request.status.or(live.status.take());
            if let Ok(view) = self.shared.views.get(&session.view) {
                unseen::hear(&view, id, live.status.as_ref());
                (commands, reports_refused) =
                    self.command(&view, session, &request.reports, now.monotonic);
                let reported = unseen::reported(&view, id);
                let report = report(live.status.as_ref(), request.delivered_through);
                self.save_report(session, live, &report, reported);
                view.tell(Note::Heard(session.agent.clone(), report));
                audit_number = view.audit_number();
            }
        }
        self.carry_out(&mut state);
        let point = state.live.get(&id).map(|live| live.saved.point).unwrap_or_default();
        let session = beaten.map_err(|obsolete| self.obsolete(&mut state, obsolete, now))?;
        let answer = HeartbeatAnswer {
            server_time: now.server,
            role: session.role,
            leader_epoch: current_epoch(&state, &session),
            commands,
            reports_refused,
            audit_number,
        };
        Ok((answer, point))
    }

    /// Takes a session's reports; what it is to do, and whose reports are refused.
    fn command(
        &self,
        view: &ViewHandle,
        session: &Session,
        reports: &[CommandReport],
        now: Monotonic,
    ) -> (Vec<Command>, Vec<Uuid>) {
        let leads = session.role == Role::Leader;
        let draw = || self.shared.ids.draw();
        view.commands().beat(session.id, leads, reports, now, draw)
    }

    /// Whether a session is honoured still, for what goes on for it within the server.
    pub(crate) fn check_on(&self, id: SessionId) -> Result<Session, Refusal> {
        let state = self.lock();
        let live = state.table.get(id).map(|session| session.principal.clone());
        let owner = live.or_else(|| Some(state.table.get_ended(id)?.session.principal.clone()));
        drop(state);
        self.check(id, &owner.unwrap_or_else(Principal::anonymous))
    }

    /// Whether a session of a principal is honoured, for a call that means to go on.
    pub(crate) fn check(&self, id: SessionId, by: &Principal) -> Result<Session, Refusal> {
        let now = self.now();
        let mut state = self.lock();
        let State { table, effects, .. } = &mut *state;
        let checked = table.check(id, by, now.monotonic, now.server, effects).cloned();
        self.carry_out(&mut state);
        checked.map_err(|obsolete| self.obsolete(&mut state, obsolete, now))
    }

    /// Takes the seat of a session's stream in a lane; the stream that had it is told.
    pub(crate) fn take_seat(
        &self,
        id: SessionId,
        lane: LaneName,
        by: &Principal,
    ) -> Result<(Session, StreamSeat), Refusal> {
        let session = self.check(id, by)?;
        let mut state = self.lock();
        match state.live.get_mut(&id) {
            Some(live) => Ok((session, live.take_seat(lane))),
            None => {
                let now = self.now();
                let cause = ObsoleteCause::Unknown;
                let obsolete = Obsolete { session: id, view: Some(session.view), cause };
                Err(self.obsolete(&mut state, obsolete, now))
            }
        }
    }

    /// The epoch of a view's leadership now; 0 if nobody leads.
    pub(crate) fn leader_epoch(&self, view: &ViewName) -> LeaderEpoch {
        let state = self.lock();
        state.table.leader(view).map(|leader| leader.epoch).unwrap_or_default()
    }

    /// Ends a session at its agent's wish. That it ended is durable when this returns: a server that
    /// begins anew would wait for the agent, and count its events as lost.
    pub(crate) async fn end(
        &self,
        id: SessionId,
        allow_missing: bool,
        by: &Principal,
    ) -> Result<(), Refusal> {
        self.end_now(id, allow_missing, by)?;
        self.shared.saver.written(self.shared.saver.point()).await
    }

    fn end_now(&self, id: SessionId, allow_missing: bool, by: &Principal) -> Result<(), Refusal> {
        let now = self.now();
        let mut state = self.lock();
        let State { table, effects, .. } = &mut *state;
        let ended = table.end(id, by, now.monotonic, now.server, effects);
        self.carry_out(&mut state);
        match ended {
            Ok(()) => Ok(()),
            Err(SessionNotFound(session)) if state.moved.has(session) => {
                Err(self.not_owner(&state.moved, session))
            }
            Err(SessionNotFound(_)) if allow_missing => Ok(()),
            Err(SessionNotFound(session)) => Err(Refusal::SessionNotFound { session }),
        }
    }

    /// Ends a session at an administrator's wish; what it was, or `None` if it is missing and may be.
    /// It is durable when this returns.
    pub(crate) async fn evict(
        &self,
        id: SessionId,
        allow_missing: bool,
    ) -> Result<Option<SessionInfo>, Refusal> {
        let evicted = self.evict_now(id, allow_missing)?;
        self.shared.saver.written(self.shared.saver.point()).await?;
        Ok(evicted)
    }

    fn evict_now(
        &self,
        id: SessionId,
        allow_missing: bool,
    ) -> Result<Option<SessionInfo>, Refusal> {
        let now = self.now();
        let mut state = self.lock();
        let State { table, effects, .. } = &mut *state;
        // Looked at before: what its agent said of itself goes with it.
        table.expire(now.monotonic, now.server, effects);
        self.carry_out(&mut state);
        let live = state.table.get(id).map(|live| list::live_info(live, state.live.get(&id)));
        let State { table, effects, .. } = &mut *state;
        let evicted = table.evict(id, now.monotonic, now.server, effects);
        self.carry_out(&mut state);
        match (evicted, live) {
            (Ok(()), Some(live)) => Ok(Some(SessionInfo { state: SessionState::Evicted, ..live })),
            _ if allow_missing => Ok(None),
            _ => Err(Refusal::SessionNotFound { session: id }),
        }
    }

    /// Expires sessions for as long as the server lives: sleeps until the table's next expiry.
    pub(crate) async fn run_timer(self) {
        loop {
            let now = self.now();
            let next = {
                let mut state = self.lock();
                let State { table, effects, .. } = &mut *state;
                table.expire(now.monotonic, now.server, effects);
                self.carry_out(&mut state);
                state.table.next_expiry()
            };
            // A session expires just after its deadline, and the runtime's timer counts milliseconds.
            let wait = next.map(|at| at.since(now.monotonic) + Duration::from_millis(1));
            tokio::select! {
                () = tokio::time::sleep(wait.unwrap_or_default()), if wait.is_some() => {}
                () = self.shared.earlier.notified() => {}
            }
        }
    }

    /// From now on no session is begun.
    pub(crate) fn drain(&self) {
        self.shared.draining.store(true, Ordering::Release);
    }

    fn refuse_when_draining(&self) -> Result<(), Refusal> {
        if self.shared.draining.load(Ordering::Acquire) {
            return Err(Refusal::ServerDraining { retry_after: DRAINING_RETRY });
        }
        Ok(())
    }

    fn now(&self) -> Now {
        let clock = &self.shared.clock;
        Now { monotonic: clock.monotonic(), server: clock.now() }
    }

    fn lock(&self) -> Locked<'_> {
        let state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut locked = Locked::new(state);
        self.give_up_lapsed(&mut locked);
        locked
    }

    /// The answer to a session that is not honoured. Many at once are told to come back spread.
    fn obsolete(&self, state: &mut State, obsolete: Obsolete, now: Now) -> Refusal {
        if state.moved.has(obsolete.session) {
            return self.not_owner(&state.moved, obsolete.session);
        }
        let spread = state.table.recovery_spread(&obsolete, now.monotonic);
        let drawn = self.shared.ids.draw().as_u128() as u32;
        let retry_after = spread.mul_f64(f64::from(drawn) / f64::from(u32::MAX));
        let Obsolete { session, view, cause } = obsolete;
        self.shared.metrics.obsolete_answers.with_label_values(&[cause_label(cause)]).inc();
        Refusal::SessionObsolete { session: Some(session), view, cause, retry_after }
    }
}

fn cause_label(cause: ObsoleteCause) -> &'static str {
    match cause {
        ObsoleteCause::Expired => "expired",
        ObsoleteCause::Superseded => "superseded",
        ObsoleteCause::Evicted => "evicted",
        ObsoleteCause::ViewReset => "view_reset",
        ObsoleteCause::Unknown => "unknown",
    }
}

/// The epoch of the leadership now; 0 if nobody leads.
fn current_epoch(state: &State, session: &Session) -> LeaderEpoch {
    state.table.leader(&session.view).map(|leader| leader.epoch).unwrap_or_default()
}

/// What a view is told of its agent. Who has said nothing yet watches nothing.
fn report(status: Option<&AgentStatus>, delivered_through: Option<ServerTime>) -> AgentReport {
    AgentReport {
        delivered_through,
        realtime_ready: status.is_some_and(|status| status.realtime_ready),
        unwatched_directories: status.map_or(0, |status| status.unwatched_directories),
        root: status.map_or(RootState::Available, |status| status.root_state),
    }
}

/// What an agent needs to know of its view.
fn agent_settings(config: &ViewConfig) -> AgentSettings {
    AgentSettings {
        cache_horizon: config.settings.cache_horizon,
        hot_threshold: config.settings.hot_threshold,
        audit_interval: config.audit_interval,
        deep_audit_one_in: config.settings.deep_audit_one_in,
        batch_rows: limits::BATCH_ROWS,
        batch_bytes: limits::BATCH_BYTES,
        exclude: config.exclude.clone(),
        withheld: config.withheld,
    }
}

fn refused_join(refused: JoinRefused) -> Refusal {
    match refused {
        JoinRefused::ViewNotFound(view) => Refusal::ViewNotFound { view },
        JoinRefused::AgentIdConflict { agent: _, host, since, retry_after } => {
            Refusal::AgentIdConflict { host, since, retry_after }
        }
        JoinRefused::ViewOccupied { view: _, agent, host } => {
            Refusal::ViewOccupied { holder: agent, host }
        }
    }
}
