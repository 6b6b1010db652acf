//! The servers as they are listed, and what is commanded of them: a view moved, a server drained.
//!
//! A part of the conductor. What is listed is what the servers said last. Must never: promise more than was written.

use std::sync::Arc;
use std::time::Duration;

use fusion_core::id::ViewName;
use fusion_proto::convert::admin::{ListedServer, ListedView};
use fusion_proto::status::Refusal;
use fusion_store::{Claim, Claimed, Roll, ServerId, Stamped, ViewId};
use uuid::Uuid;

use super::conduct::{Conductor, NotTaken, blocking};
use super::known::{Known, Known1};
use super::said::SaidOfView;
use crate::stores::unwritten;

/// When to try again where a claim changed in this moment.
const RETRY: Duration = Duration::from_millis(500);

impl Conductor {
    /// The servers that live, by id.
    pub(crate) fn servers(&self) -> Vec<ListedServer> {
        let known = Arc::clone(&self.cluster.known().borrow());
        known
            .members
            .values()
            .filter(|one| one.is_live)
            .map(|one| self.listed(&known, one))
            .collect()
    }

    fn listed(&self, known: &Known, one: &Known1) -> ListedServer {
        let id = one.member.id;
        let answers = id == self.cluster.id();
        let mut views: Vec<_> =
            one.said.views.iter().map(|said| listed_view(known, id, said)).collect();
        views.sort_by(|one, other| one.view.cmp(&other.view));
        ListedServer {
            server: id.0,
            address: one.member.address.clone(),
            version: one.member.version.clone(),
            memory_bytes: one.member.memory,
            draining: if answers { self.cluster.is_draining() } else { one.said.draining },
            answers,
            views,
        }
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
        if to.is_some_and(|to| {
            !known.takes(to) || (to == self.cluster.id() && self.cluster.is_draining())
        }) {
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

fn listed_view(known: &Known, server: ServerId, said: &SaidOfView) -> ListedView {
    let claim = known.claims.get(&said.view).map(|claim| &claim.it);
    let owner = claim.and_then(|claim| claim.owner).and_then(|owner| known.live(owner));
    let theirs = owner.and_then(|owner| owner.said.of(said.view)).map_or(0, |said| said.revision.0);
    let owned = claim.is_some_and(|claim| claim.owner == Some(server));
    ListedView {
        view: said.name.clone(),
        owned,
        epoch: claim.map_or(0, |claim| claim.epoch.0),
        revision: said.revision.0,
        lag: if owned { 0 } else { theirs.saturating_sub(said.revision.0) },
        next: claim.and_then(|claim| claim.next).map(|next| next.0),
    }
}
