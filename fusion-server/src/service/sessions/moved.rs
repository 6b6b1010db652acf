//! Sessions of views that move from server to server: given up without a word in the store, and taken back from it.
//!
//! Who has a session of a view that this server has lost is told whose it is now (NOT_OWNER), never that the session is
//! obsolete: it lives on there. Must never: write anything of a session after its view was lost.

use std::collections::HashMap;

use fusion_core::id::{SessionId, ViewName};
use fusion_proto::status::Refusal;

use super::effects::Locked;
use super::{Sessions, State};
use crate::cluster::Term;
use crate::stores::{LoadError, Stores};
use crate::task::view::ViewHandle;

/// What is remembered of sessions that were given up.
#[derive(Debug, Default)]
pub(super) struct Moved {
    /// Each with its view, until that is this server's again.
    sessions: HashMap<SessionId, ViewName>,
    /// The term of the lease in which the sessions of the table were taken; absent if there are none.
    term: Option<Term>,
}

impl Moved {
    pub(super) fn has(&self, session: SessionId) -> bool {
        self.sessions.contains_key(&session)
    }
}

impl Sessions {
    /// Takes over the sessions of a view that is this server's now, as at a restart. Reads from the store.
    /// Of a view that is blank none is taken: what its agents have delivered was lost with its log and its blocks,
    /// and only a new session tells it again.
    ///
    /// # Errors
    /// The store cannot be read, or what is in it makes no sense.
    pub(crate) fn take_over(
        &self,
        stores: &Stores,
        view: &ViewHandle,
        term: Term,
        is_blank: bool,
    ) -> Result<(), LoadError> {
        {
            let mut state = self.lock();
            state.moved.term = Some(term);
            state.moved.sessions.retain(|_, of| of != view.name());
        }
        self.restore(stores, std::slice::from_ref(view), is_blank)
    }

    /// Gives up the sessions of a view that is another server's.
    pub(crate) fn give_up(&self, view: &ViewName) {
        let mut state = self.lock();
        self.give_up_view(&mut state, view);
    }

    /// Waits until all that was said of sessions is written, as far as it can be.
    pub(crate) async fn settled(&self) {
        let _ = self.shared.saver.written(self.shared.saver.point()).await;
    }

    /// The lease of this server has lapsed: all that it owned is others'.
    pub(super) fn give_up_lapsed(&self, locked: &mut Locked<'_>) {
        let Some(term) = locked.moved.term else { return };
        let cluster = self.shared.views.deps().cluster.as_ref();
        if cluster.is_none_or(|cluster| cluster.lease().holds(term)) {
            return;
        }
        locked.moved.term = None;
        let views: Vec<ViewName> = locked.table.views().cloned().collect();
        views.iter().for_each(|view| self.give_up_view(locked, view));
    }

    pub(super) fn give_up_view(&self, state: &mut State, view: &ViewName) {
        let given_up = state.table.give_up(view);
        let handle = self.shared.views.get(view).ok();
        for session in &given_up {
            // Its streams end with it.
            state.live.remove(session);
            if let Some(handle) = &handle {
                handle.commands().session_over(*session);
            }
        }
        if !given_up.is_empty() {
            tracing::warn!(%view, sessions = given_up.len(), "sessions given up: the view is another server's");
        }
        state.moved.sessions.extend(given_up.into_iter().map(|session| (session, view.clone())));
    }

    /// What who has a session of a lost view is told.
    pub(super) fn not_owner(&self, moved: &Moved, session: SessionId) -> Refusal {
        match moved.sessions.get(&session) {
            Some(view) => self.shared.views.not_owner(view),
            None => Refusal::SessionNotFound { session },
        }
    }

    /// The view of a session, if this server knows it.
    pub(crate) fn view_of(&self, session: SessionId) -> Option<ViewName> {
        let state = self.lock();
        let live = state.table.get(session).map(|live| live.view.clone());
        live.or_else(|| state.moved.sessions.get(&session).cloned())
    }
}
