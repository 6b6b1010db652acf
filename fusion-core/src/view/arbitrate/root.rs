//! R11: storage that is not there, or another.

use crate::change::{Cause, Note, RootAway, RootDoubt};
use crate::evidence::{Listing, RootIdentity, RootState, Witness};
use crate::id::AgentId;
use crate::path::PathRef;
use crate::time::ServerTime;
use crate::view::View;
use crate::view::root;
use crate::view::tree::BlockId;
use crate::view::verdict::{Reject, Verdict};

use super::Act;

/// Most entries that are asked when each of them came.
const CAME_MAX: usize = 1_000;

impl View {
    /// R11: "If the view has top-level entries and none of them agrees, an empty root included, the
    /// evidence is not taken". For CreateSession; a scan asks it by its frame. `at` is when the root was
    /// looked at: one that was empty before anything is known to have been there is no other.
    #[must_use]
    pub fn root_agrees(&mut self, identity: &RootIdentity, at: ServerTime) -> bool {
        let settings = &self.state.settings;
        if settings.accept_root || self.state.ledger.root.accepted {
            return true;
        }
        // Before the first whole scan the top level is what events happened to tell of: an entry
        // made a moment ago need not be among those that the identity names.
        let ledger = &self.state.ledger;
        if ledger.last_snapshot.or(ledger.last_audit).is_none() {
            return true;
        }
        let Some(root) = self.state.tree.dir(PathRef::ROOT) else { return true };
        let tree = &self.state.tree;
        let is_empty = tree.children(root, None, 0, |_, _| {}) != Some(true);
        let agrees = root::agrees(identity, is_empty, |name| {
            tree.child(root, name).map(|child| child.stat.inode)
        });
        agrees || (identity.top.is_empty() && self.came_after(root, at))
    }

    /// Whether realtime evidence saw each entry of a directory later than that. Of a large one that is
    /// not asked: what is large was not empty a moment ago.
    fn came_after(&self, dir: BlockId, at: ServerTime) -> bool {
        let mut all = true;
        let more = self.state.tree.children(dir, None, CAME_MAX, |name, child| {
            let confirmed = self.state.confirmation(dir, name, child);
            all &= confirmed.is_some_and(|confirmed| confirmed.at > at);
        });
        all && more == Some(false)
    }

    /// R11: a look at the root's identity. "if a second look after `cache_horizon` says the same, an
    /// operator decides". Whether it agrees. Each agent has a mount of its own: that another's agrees
    /// says nothing of this one, and one that looked before it saw another tree ends no doubt.
    pub(super) fn look_at_root(
        &mut self,
        act: &mut Act<'_>,
        by: &Witness,
        identity: &RootIdentity,
        at: ServerTime,
    ) -> bool {
        let agent = &by.agent;
        let agrees = self.root_agrees(identity, at);
        let horizon = self.state.settings.cache_horizon;
        let known = self.state.ledger.root.doubts.get(agent);
        let note = match (agrees, known) {
            (true, Some(known)) if at >= known.since => {
                Some(Note::RootAgreed { agent: agent.clone() })
            }
            (true, _) => None,
            (false, None) => {
                let doubt = RootDoubt { agent: agent.clone(), since: at, confirmed: false };
                Some(Note::RootDoubt(Some(doubt)))
            }
            (false, Some(known)) => {
                let confirmed = known.confirmed || at >= known.since.plus(horizon);
                let doubt = RootDoubt { confirmed, ..known.clone() };
                (confirmed != known.confirmed).then_some(Note::RootDoubt(Some(doubt)))
            }
        };
        note.into_iter().for_each(|note| self.note(act, Cause::Realtime, note));
        if self.must_lead(by).is_ok() {
            let doubt = self.state.ledger.root.doubts.get(agent).filter(|doubt| !doubt.confirmed);
            self.second_look = doubt.map(|doubt| (by.session, doubt.since.plus(horizon)));
        }
        agrees
    }

    /// R11: whether a listing of the root shows another tree. It is a look at the root as well: a relist
    /// carries no identity, and what stood there when a scan began may be gone when it reads. One in
    /// parts is of a root that is not suddenly empty, and one of an earlier version than the known one
    /// says nothing of now.
    pub(super) fn shows_another_root(
        &mut self,
        act: &mut Act<'_>,
        by: &Witness,
        listing: &Listing<'_>,
        at: ServerTime,
    ) -> bool {
        let is_whole = listing.part == 0 && listing.last && listing.complete;
        if !listing.dir.is_root() || !is_whole {
            return false;
        }
        let known = self.state.find(listing.dir).map(|root| root.child.stat.ctime);
        if known.is_some_and(|known| known > listing.dir_stat.ctime) {
            return false;
        }
        let rows = listing.children.iter();
        let identity = RootIdentity {
            fs_type: String::new(),
            inode: listing.dir_stat.inode,
            born: None,
            top: rows.map(|(name, stat)| (name.to_vec(), stat.inode)).collect(),
        };
        !self.look_at_root(act, by, &identity, at)
    }

    /// When the leader is to look at its root again, by an audit: what a look disagreed with may have
    /// been about to be told, and what came after that look was not taken.
    pub(super) fn second_look(&self) -> Option<ServerTime> {
        let leader = self.leadership?.session;
        let (session, at) = self.second_look?;
        (session == leader).then_some(at)
    }

    /// R11: an agent looked at its root, and it was there: what it looked at before and after is told
    /// apart by that time.
    pub(super) fn root_is_there(
        &mut self,
        act: &mut Act<'_>,
        cause: Cause,
        agent: &AgentId,
        at: ServerTime,
    ) {
        let known = self.state.ledger.root.away.get(agent).copied();
        if let Some(known) = known.filter(|known| known.until.is_none() && at >= known.since) {
            let (agent, away) = (agent.clone(), Some(RootAway { until: Some(at), ..known }));
            self.note(act, cause, Note::RootAway { agent, away });
        }
    }

    /// R11: an agent says how it finds its root. What it looks at from then on, until it says that
    /// the root is back, is no evidence; "nothing is removed".
    pub(super) fn root_state(
        &mut self,
        act: &mut Act<'_>,
        by: &Witness,
        state: RootState,
        identity: Option<&RootIdentity>,
        at: ServerTime,
    ) -> Verdict {
        self.standing.speaks(&by.agent);
        let before = self.state.revision;
        let agrees = identity.is_none_or(|identity| self.look_at_root(act, by, identity, at));
        let known = self.state.ledger.root.away.get(&by.agent).copied();
        let here = state == RootState::Available && agrees;
        let away = match known {
            None if here => None,
            None => Some(RootAway { since: at, until: None }),
            Some(known) if here && known.until.is_none() && at >= known.since => {
                Some(RootAway { until: Some(at), ..known })
            }
            Some(known) if !here && known.until.is_some_and(|until| at >= until) => {
                Some(RootAway { since: at, until: None })
            }
            Some(known) => Some(known),
        };
        if away != known {
            let agent = by.agent.clone();
            self.note(act, Cause::Realtime, Note::RootAway { agent, away });
        }
        match agrees {
            false => Verdict::Rejected(Reject::RootMismatch),
            true if self.state.revision == before => Verdict::Unchanged,
            true => Verdict::Applied,
        }
    }
}
