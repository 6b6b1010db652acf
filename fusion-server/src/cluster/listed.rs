//! The servers as they are listed, whose a view is, and what is commanded of them: a view moved, a server drained.
//!
//! A part of the conductor. What is listed is what the servers said last. Must never: promise more than was written.

use std::sync::Arc;
use std::time::Duration;

use fusion_core::id::ViewName;
use fusion_core::time::Clock as _;
use fusion_proto::convert::admin::{ListedServer, ListedView};
use fusion_proto::convert::view::{ViewOwner, ViewOwnership};
use fusion_proto::status::Refusal;
use fusion_store::{Claim, Claimed, Roll, ServerId, Stamped, ViewId};
use uuid::Uuid;

use super::conduct::{Conductor, NotTaken, blocking};
use super::known::{Known, Known1};
use super::said::SaidOfView;
use crate::stores::unwritten;
use crate::task::view::{Role, ViewHandle};

/// When to try again where a claim changed in this moment.
const RETRY: Duration = Duration::from_millis(500);

impl Conductor {
    /// The servers that are not struck off, by id.
    pub(crate) fn servers(&self) -> Vec<ListedServer> {
        let known = Arc::clone(&self.cluster.known().borrow());
        known.members.values().map(|one| self.listed(&known, one)).collect()
    }

    /// A server that lives by now: what is known is old where the engine cannot be read.
    pub(super) fn live<'a>(&self, known: &'a Known, server: ServerId) -> Option<&'a Known1> {
        let now = self.cluster.clock().monotonic();
        let lease = self.cluster.shared.membership.lease;
        known.members.get(&server).filter(|one| one.is_live_at(now, lease))
    }

    /// Whether a server gives its views away; of itself it knows it first.
    pub(super) fn drains(&self, one: &Known1) -> bool {
        match one.member.id == self.cluster.id() {
            true => self.cluster.is_draining(),
            false => one.said.draining,
        }
    }

    fn listed(&self, known: &Known, one: &Known1) -> ListedServer {
        let id = one.member.id;
        let answers = id == self.cluster.id();
        let mut views: Vec<_> =
            one.said.views.iter().map(|said| self.listed_view(known, id, said)).collect();
        views.sort_by(|one, other| one.view.cmp(&other.view));
        ListedServer {
            server: id.0,
            address: one.member.address.clone(),
            version: one.member.version.clone(),
            memory_bytes: one.member.memory,
            draining: self.drains(one),
            answers,
            views,
            silent: self.live(known, id).is_none(),
            silent_for: Some(self.cluster.clock().monotonic().since(one.changed_at)),
        }
    }

    fn listed_view(&self, known: &Known, server: ServerId, said: &SaidOfView) -> ListedView {
        let claim = known.claims.get(&said.view).map(|claim| &claim.it);
        let owner = claim.and_then(|claim| claim.owner).and_then(|owner| self.live(known, owner));
        let theirs = owner.and_then(|owner| owner.said.of(said.view));
        let owned = owner.is_some_and(|owner| owner.member.id == server);
        ListedView {
            view: said.name.clone(),
            owned,
            epoch: claim.map_or(0, |claim| claim.epoch.0),
            revision: said.revision.0,
            lag: theirs.map_or(0, |theirs| theirs.revision.0.saturating_sub(said.revision.0)),
            next: claim.and_then(|claim| claim.next).map(|next| next.0),
        }
    }

    /// Whose a view is, and how far this server is with it.
    pub(crate) fn ownership(&self, view: &ViewHandle) -> ViewOwnership {
        if let Role::Owns(epoch, term) = view.role()
            && self.cluster.lease().holds(term)
        {
            let (server, address) = (self.cluster.id().0, self.cluster.address().to_owned());
            let owner = Some(ViewOwner { server, address });
            return ViewOwnership { owner, epoch: epoch.0, owned: true, lag: Some(0) };
        }
        let (id, known) = (ViewId(view.id()), Arc::clone(&self.cluster.known().borrow()));
        let claim = known.claims.get(&id).map(|claim| &claim.it);
        let owner = claim.and_then(|claim| claim.owner).and_then(|owner| self.live(&known, owner));
        let epoch = claim.map_or(view.owner_epoch(), |claim| claim.epoch);
        let is_said = |said: &&SaidOfView| said.owned.as_ref().is_some_and(|it| it.epoch == epoch);
        let theirs = owner.and_then(|owner| owner.said.of(id)).filter(is_said);
        let owner = owner.map(|owner| ViewOwner {
            server: owner.member.id.0,
            address: owner.member.address.clone(),
        });
        let lag = theirs.map(|theirs| theirs.revision.0.saturating_sub(view.durable().0));
        ViewOwnership { owner, epoch: epoch.0, owned: false, lag }
    }

    /// Writes who is to own a view; whichever, if none is named. Gives who owns it now.
    ///
    /// # Errors
    /// VIEW_NOT_FOUND, INVALID_ARGUMENT, NOT_OWNER, STORE_UNAVAILABLE.
    pub(crate) async fn move_view(
        &self,
        name: &ViewName,
        to: Option<Uuid>,
    ) -> Result<Option<Uuid>, Refusal> {
        let view = ViewId(self.views.get(name)?.id());
        let to = to.map(ServerId);
        let known = Arc::clone(&self.cluster.known().borrow());
        let takes = |to| self.live(&known, to).is_some_and(|one| !self.drains(one));
        if to.is_some_and(|to| !takes(to)) {
            return Err(Refusal::invalid("server_id", "is no server that lives and takes views"));
        }
        let ownership = Arc::clone(&self.cluster.shared.membership.ownership);
        let wrote = blocking(move || {
            let Roll { claims, .. } = ownership.roll()?;
            let Some(Stamped { it, stamp }) =
                claims.into_iter().find(|claim| claim.it.view.id == view)
            else {
                return Ok(None);
            };
            let owner = it.owner;
            let claimed = ownership.claim(&Claim { next: to, ..it }, Some(stamp))?;
            Ok(matches!(claimed, Claimed::Done(_)).then_some(owner))
        });
        match wrote.await {
            Ok(Ok(Some(owner))) => {
                tracing::warn!(view = %name, to = ?to, "it was said who is to own the view");
                Ok(owner.map(|owner| owner.0))
            }
            Ok(Ok(None)) => {
                Err(Refusal::NotOwner { view: name.clone(), owner: None, retry_after: RETRY })
            }
            Ok(Err(error)) => Err(unwritten(&error)),
            Err(error) => Err(self.broken(&error)),
        }
    }

    /// This server drains from now on, or takes views again; whether it drained before.
    ///
    /// # Errors
    /// INVALID_ARGUMENT: it is not this one. STORE_UNAVAILABLE.
    pub(crate) async fn drain_server(&self, server: Uuid, lift: bool) -> Result<bool, Refusal> {
        if ServerId(server) != self.cluster.id() {
            return Err(Refusal::invalid("server_id", "is no server that lives"));
        }
        let was = self.cluster.is_draining();
        tracing::warn!(drains = !lift, "it was said whether this server drains");
        match self.drain(!lift).await {
            Ok(()) => Ok(was),
            Err(NotTaken::Store(error)) => Err(unwritten(&error)),
            Err(error) => Err(self.broken(&error)),
        }
    }

    fn broken(&self, error: &NotTaken) -> Refusal {
        tracing::error!(%error, "a command for several servers");
        crate::stores::unwritten_yet()
    }
}
