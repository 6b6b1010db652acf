//! What is written of sessions, and taken back when the server begins: a restart is not a mass
//! re-creation of sessions.

use std::collections::{BTreeMap, HashSet};

use fusion_core::id::{LeaderEpoch, Revision, SessionId, ViewName};
use fusion_core::session::{SavedSession, Session, SessionSettings, SessionState, ViewRules};
use fusion_core::time::{Monotonic, ServerTime};
use fusion_core::view::{AgentReport, Leadership};
use fusion_store::{Item, Space};

use super::record::{SessionRecord, Told};
use super::standing::Live;
use super::unseen;
use super::{Sessions, State};
use crate::stores::{LoadError, SavePoint, Stores, scan_all};
use crate::task::view::{Life, Note, ViewHandle};

/// Revisions after which it is written anew how far a session's agent has reported.
const REPORTED_STEP: u64 = 10_000;

impl Sessions {
    /// Leaves a session to be written.
    pub(super) fn save(
        &self,
        session: &Session,
        live: &Live,
        ended: Option<(SessionState, ServerTime)>,
    ) -> SavePoint {
        self.put(&SessionRecord {
            session: session.save(),
            client: live.client.clone(),
            root_uri: live.root_uri.clone(),
            told: self.told(&session.view),
            report: live.saved.report.clone(),
            reported: live.saved.reported,
            ended,
        })
    }

    fn put(&self, record: &SessionRecord) -> SavePoint {
        let SessionRecord { session, ended, .. } = record;
        let expires_at = ended.map(|(_, at)| at.plus(SessionSettings::default().remember_for));
        let key = session.id.uuid().as_bytes().to_vec();
        self.shared.saver.put(Space::Session, key, record.to_bytes(), expires_at)
    }

    /// What agents of a view are told that nothing may be told of.
    fn told(&self, view: &ViewName) -> Told {
        let config = self.shared.views.get(view).map(|view| view.config().clone());
        config.map(|it| Told { exclude: it.exclude, withheld: it.withheld }).unwrap_or_default()
    }

    /// Leaves what an agent says of itself to be written, if a view would judge otherwise by it:
    /// not every heartbeat. Nor is it written each time that it reported directories.
    pub(super) fn save_report(
        &self,
        session: &Session,
        live: &mut Live,
        report: &AgentReport,
        reported: Option<Revision>,
    ) {
        let lasting = AgentReport { delivered_through: None, ..report.clone() };
        let saved = live.saved.reported.unwrap_or_default();
        let is_far = reported.is_some_and(|reported| reported.0 > saved.0 + REPORTED_STEP);
        if live.saved.report != lasting || is_far {
            (live.saved.report, live.saved.reported) = (lasting, reported);
            // Nothing that is told rests on it, so nobody waits for it.
            self.save(session, live, None);
        }
    }

    /// Takes back the sessions of an earlier life of the server. Their timers begin anew, spread
    /// over one interval of heartbeats, and the views learn who is there. Those of views that have lost
    /// all (`is_blank`) are let go.
    pub(crate) fn restore(
        &self,
        stores: &Stores,
        loaded: &[ViewHandle],
        is_blank: bool,
    ) -> Result<(), LoadError> {
        let now = self.now();
        let items = scan_all(&*stores.state, Space::Session, now.server)?;
        let mut records = Vec::with_capacity(items.len());
        for item in &items {
            records.push(read(item)?);
        }
        if self.shared.views.deps().cluster.is_some() {
            // Those of other views are other servers'.
            let is_here = |view: &ViewName| loaded.iter().any(|it| it.name() == view);
            records.retain(|record| is_here(&record.session.view));
        }
        // By standing, so that the ended ones are forgotten in about the order in which they ended.
        records.sort_by_key(|record| record.session.standing);
        let mut state = self.lock();
        self.set_views(&mut state, loaded, &records);
        let num_live = records.iter().filter(|record| record.ended.is_none()).count().max(1);
        let mut num_restored: u32 = 0;
        let mut lives: BTreeMap<ViewName, Vec<Life>> = BTreeMap::new();
        for view in loaded {
            let of_view = records.iter().filter(|record| record.session.view == *view.name());
            let saved: Vec<_> = of_view.map(|record| self.saved_of(record, is_blank)).collect();
            unseen::restore(view, &*stores.log, &saved, now.server);
        }
        for record in records {
            lives.entry(record.session.view.clone()).or_default().push(life(&record.session));
            match record.ended {
                Some((how, at)) => {
                    state.table.restore_ended(record.session, how, at, now.monotonic);
                }
                None if is_blank || record.told != self.told(&record.session.view) => {
                    self.let_go(record, now.server);
                }
                None => {
                    let share = f64::from(num_restored) / num_live as f64;
                    let heard = now.monotonic.plus((record.session.timeout / 3).mul_f64(share));
                    num_restored += u32::from(restore_live(&mut state, record, heard));
                }
            }
        }
        for view in loaded {
            tell_view(&state, view, lives.remove(view.name()).unwrap_or_default());
        }
        drop(state);
        if num_restored > 0 {
            tracing::info!(sessions = num_restored, "sessions go on");
        }
        self.shared.earlier.notify_one();
        Ok(())
    }

    /// What a view's desk has to know of a session.
    fn saved_of<'a>(&self, record: &'a SessionRecord, is_blank: bool) -> unseen::Saved<'a> {
        let is_other = || record.told != self.told(&record.session.view);
        let let_go = record.ended.is_none() && (is_blank || is_other());
        let ended = record.ended.map(|(how, _)| how == SessionState::Ended);
        let over = ended.or(let_go.then_some(false));
        unseen::Saved { session: &record.session, reported: record.reported, over }
    }

    /// Does not take a session back whose view wants other things not to be told by now, or has lost what
    /// it was told: its agent has to hear that, which it does with a new session. For this life the session was never known, so
    /// that many who come back for this reason are spread.
    fn let_go(&self, record: SessionRecord, now: ServerTime) {
        let (session, view) = (record.session.id, &record.session.view);
        tracing::info!(%session, %view, "not taken back: its agent begins anew");
        self.put(&SessionRecord { ended: Some((SessionState::Evicted, now)), ..record });
    }

    /// Adds the loaded views to the table, each with the highest epoch that anybody knows of.
    fn set_views(&self, state: &mut State, loaded: &[ViewHandle], records: &[SessionRecord]) {
        let mut epochs: BTreeMap<_, LeaderEpoch> = BTreeMap::new();
        for record in records {
            let epoch = epochs.entry(&record.session.view).or_default();
            *epoch = (*epoch).max(record.session.epoch);
        }
        for view in loaded {
            let known = epochs.get(view.name()).copied().unwrap_or_default();
            let rules = ViewRules {
                timeout: view.config().session_timeout,
                exclusive: view.config().exclusive,
                last_epoch: known.max(view.loaded_epoch()),
            };
            state.table.set_view(view.name(), rules);
        }
    }
}

/// The view of a stored session.
pub(crate) fn view_of(item: &Item) -> Result<ViewName, LoadError> {
    read(item).map(|record| record.session.view)
}

fn read(item: &Item) -> Result<SessionRecord, LoadError> {
    SessionRecord::from_bytes(&item.value).map_err(LoadError::record(Space::Session, item))
}

/// Takes a live session back, if its view is there.
fn restore_live(state: &mut State, record: SessionRecord, heard: Monotonic) -> bool {
    let (id, view) = (record.session.id, record.session.view.clone());
    if !state.table.restore(record.session, heard) {
        tracing::warn!(session = %id, %view, "a stored session is not taken back");
        return false;
    }
    let State { table, live, .. } = state;
    let epoch = table.leader(&view).map(|leader| leader.epoch).unwrap_or_default();
    if let Some(session) = table.get(id) {
        let mut restored = Live::new(session, epoch, record.client, record.root_uri, record.report);
        restored.saved.reported = record.reported;
        live.insert(id, restored);
    }
    true
}

/// Which process of which agent made a session.
pub(super) fn life(session: &SavedSession) -> Life {
    let (agent, instance) = (session.agent.clone(), session.instance);
    Life { agent, instance, since: session.created_at }
}

/// Tells a view who is there and was, and what they last said of themselves.
fn tell_view(state: &State, view: &ViewHandle, lives: Vec<Life>) {
    let sessions: HashSet<SessionId> =
        state.table.of_view(view.name(), 0).map(|session| session.id).collect();
    view.tell(Note::Kept { sessions, lives });
    for session in state.table.of_view(view.name(), 0) {
        if let Some(live) = state.live.get(&session.id) {
            view.tell(Note::Heard(session.agent.clone(), live.saved.report.clone()));
        }
    }
    let leader = state.table.leader(view.name());
    let leads = leader.map(|leader| Leadership { session: leader.id, epoch: leader.epoch });
    view.tell(Note::Leads(leads));
}
