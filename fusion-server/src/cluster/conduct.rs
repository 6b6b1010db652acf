//! What a server does about what it knows: takes views, gives them up, and hears what their owners say.
//!
//! Looks at every view whenever something is known anew, some times in the lease. What takes time is done beside it, one
//! thing at a time for each view. Must never: open a view to calls before its sessions are there.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use fusion_core::id::ViewName;
use fusion_core::time::Clock as _;
use fusion_store::{
    Claim, Claimed, OwnerEpoch, ServerId, Stamp, Stamped, StoreError, ViewId, ViewRef,
};

use super::known::{Known, Known1};
use super::placement::place;
use super::said::{SaidAsOwner, SaidOfView};
use super::{Cluster, Said};
use crate::service::jobs::Jobs;
use crate::service::sessions::Sessions;
use crate::service::views::Views;
use crate::spawn::Tasks;
use crate::stores::Stores;
use crate::task::view::{NotOwned, OwnerSays, Role, ViewGone, ViewHandle};

/// Conducts the views of a server; a cheap handle.
#[derive(Clone)]
pub(crate) struct Conductor {
    pub(crate) cluster: Cluster,
    pub(crate) views: Views,
    pub(crate) sessions: Sessions,
    pub(crate) jobs: Jobs,
    pub(crate) stores: Stores,
    pub(crate) tasks: Tasks,
    /// Views of which something is being done.
    pub(crate) busy: Busy,
}

/// Names of views; locked to look up, insert or remove.
pub(crate) type Busy = Arc<Mutex<HashSet<ViewName>>>;

/// Something is being done for a view, as long as this lives.
pub(super) struct Doing {
    busy: Busy,
    view: ViewName,
}

impl Drop for Doing {
    fn drop(&mut self) {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.view);
    }
}

/// Why a view was not taken over. It is looked at again.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotTaken {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("its claim was written by another server")]
    Conflict,
    #[error("the lease has lapsed")]
    Lapsed,
    #[error(transparent)]
    Gone(#[from] ViewGone),
    #[error(transparent)]
    NotOwned(#[from] NotOwned),
    #[error("{0}")]
    Panicked(String),
}

impl Conductor {
    /// What this server says of its views.
    pub(crate) fn says(&self) -> Said {
        let at = self.cluster.clock().now();
        let views = self.views.all().into_iter().map(|view| {
            let status = view.status(at);
            let owned = match view.role() {
                Role::Owns(epoch, _) => Some(SaidAsOwner {
                    epoch,
                    state: status.state,
                    reasons: status.reasons,
                    coverage: status.coverage,
                    horizon: status.horizon,
                }),
                Role::Follows | Role::Alone => None,
            };
            // What is said rests on all that the view has taken, durable or not.
            let revision = if owned.is_some() { view.turned_to() } else { status.revision };
            let (view, name) = (ViewId(view.id()), view.name().clone());
            SaidOfView { view, name, revision, owned }
        });
        Said { at, draining: self.cluster.is_draining(), views: views.collect() }
    }

    /// Goes on for as long as the server lives.
    pub(crate) async fn run(self) {
        let mut known = self.cluster.known();
        loop {
            tokio::select! {
                changed = known.changed() => if changed.is_err() { return },
                () = self.cluster.shared.nudge.notified() => {}
                // A lease that lapses tells nobody.
                () = tokio::time::sleep(self.cluster.period()) => {}
            }
            let now = Arc::clone(&known.borrow_and_update());
            self.look(&now);
        }
    }

    pub(super) fn look(&self, known: &Known) {
        let views = self.views.all();
        let is_new = |id: &ViewId| views.iter().all(|view| ViewId(view.id()) != *id);
        if known.claims.keys().any(is_new) {
            self.make_views();
        }
        let mut followed = HashSet::new();
        for view in views {
            // In this order: what is not being done any more is seen in the role.
            if self.is_busy(view.name()) {
                continue;
            }
            self.look_at(known, &view);
            if view.role() == Role::Follows {
                followed.insert(view.name().clone());
            }
        }
        self.jobs.give_up(&followed);
    }

    pub(super) fn is_busy(&self, view: &ViewName) -> bool {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner).contains(view)
    }

    /// Of how many views something is being done.
    pub(super) fn num_busy(&self) -> usize {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Another server has made a view.
    fn make_views(&self) {
        let Ok(name) = ViewName::new("views") else { return };
        let Some(doing) = self.begin(&name) else { return };
        let views = self.views.clone();
        self.tasks.spawn("views of other servers", async move {
            let _doing = doing;
            if let Err(refusal) = views.make_configured().await {
                tracing::warn!(%refusal, "views of other servers cannot be followed yet");
            }
        });
    }

    fn look_at(&self, known: &Known, view: &ViewHandle) {
        let claim = known.claims.get(&ViewId(view.id()));
        match view.role() {
            Role::Alone => {}
            Role::Owns(epoch, term) => {
                let is_mine = claim.is_some_and(|claim| {
                    claim.it.owner == Some(self.cluster.id()) && claim.it.epoch == epoch
                });
                // What is known may be of before it was claimed.
                let is_old = claim.is_none_or(|claim| claim.it.epoch < epoch);
                if !self.cluster.lease().holds(term) || !(is_mine || is_old) {
                    self.give_up(view);
                } else if let Some(claim) = claim.filter(|_| is_mine) {
                    self.hand_over(known, view, claim);
                }
            }
            Role::Follows => {
                view.owner_says(self.hear(known, view, claim));
                if self.is_to_take(known, view, claim) {
                    self.take(view.clone(), claim.cloned());
                }
            }
        }
    }

    pub(super) fn give_up(&self, view: &ViewHandle) {
        tracing::warn!(view = %view.name(), "no longer owner");
        view.give_up();
        self.sessions.give_up(view.name());
    }

    /// What the owner of a view says of it.
    fn hear(
        &self,
        known: &Known,
        view: &ViewHandle,
        claim: Option<&Stamped<Claim>>,
    ) -> Option<OwnerSays> {
        let Claim { owner, epoch, .. } = &claim?.it;
        let owner = known.heard((*owner)?)?;
        let said = owner.said.of(ViewId(view.id()))?;
        let SaidAsOwner { epoch, state, reasons, coverage, horizon } =
            said.owned.clone().filter(|owned| owned.epoch == *epoch)?;
        Some(OwnerSays {
            epoch,
            revision: said.revision,
            state,
            reasons,
            coverage,
            horizon,
            at: owner.said.at,
            heard_at: owner.changed_at,
            until: owner.changed_at.plus(self.cluster.lease().good_for()),
        })
    }

    /// Whether this server is the one that has to take a view.
    fn is_to_take(&self, known: &Known, view: &ViewHandle, claim: Option<&Stamped<Claim>>) -> bool {
        if self.cluster.lease().term().is_none() || view.is_over() {
            return false;
        }
        let (mine, owner) = (self.cluster.id(), claim.and_then(|claim| claim.it.owner));
        match owner {
            // Claimed, and not owned: what came between is over.
            Some(owner) if owner == mine => return true,
            Some(owner) if known.live(owner).is_some() => return false,
            _ => {}
        }
        let next = claim.and_then(|claim| claim.it.next);
        if let Some(next) = next.filter(|next| known.takes(*next)) {
            return next == mine;
        }
        self.placed(known, ViewId(view.id())) == Some(mine)
    }

    /// Which of the live servers has a view: one that drains only if all do, one that does not follow it only if none
    /// does that could have it, and one that came within the lease only if all did, for it believes of whoever died
    /// meanwhile that they live.
    pub(super) fn placed(&self, known: &Known, view: ViewId) -> Option<ServerId> {
        let follows = |one: &&Known1| one.said.of(view).is_some();
        let of = |one: &Known1| (one.member.id, one.member.memory);
        let lease = self.cluster.shared.membership.lease;
        let knows = |one: &&Known1| known.has_lived(one.member.id, lease);
        let live = || known.members.values().filter(|one| one.is_live);
        let take = || live().filter(|one| !self.drains(one));
        place(view, take().filter(follows).filter(knows).map(of))
            .or_else(|| place(view, take().filter(follows).map(of)))
            .or_else(|| place(view, take().map(of)))
            .or_else(|| place(view, live().filter(follows).map(of)))
            .or_else(|| place(view, live().map(of)))
    }

    fn take(&self, view: ViewHandle, claim: Option<Stamped<Claim>>) {
        let Some(doing) = self.begin(view.name()) else { return };
        let this = self.clone();
        self.tasks.spawn("take-over", async move {
            let _doing = doing;
            if let Err(error) = this.take_over(&view, claim).await {
                tracing::warn!(view = %view.name(), %error, "the view was not taken over");
            }
        });
    }

    async fn take_over(
        &self,
        view: &ViewHandle,
        claim: Option<Stamped<Claim>>,
    ) -> Result<(), NotTaken> {
        let term = self.cluster.lease().term().ok_or(NotTaken::Lapsed)?;
        let before = claim.as_ref().map(|claim| claim.it.epoch).unwrap_or_default();
        let epoch = OwnerEpoch(before.max(view.owner_epoch()).0 + 1);
        // Where somebody said that it is to be here, it stays here.
        let mine = Some(self.cluster.id());
        let next =
            claim.as_ref().and_then(|claim| claim.it.next).filter(|next| mine == Some(*next));
        // Nobody has ever owned what the log says, nor is anything in it.
        let is_blank = view.owner_epoch() == OwnerEpoch::default() && view.durable().0 == 0;
        self.claim(view, epoch, next, claim.map(|claim| claim.stamp)).await?;
        view.own(epoch, term).await??;
        tracing::info!(view = %view.name(), epoch = epoch.0, "the view is this server's");
        let (this, of) = (self.clone(), view.clone());
        let taken = blocking(move || {
            this.sessions.take_over(&this.stores, &of, term, is_blank)?;
            this.jobs.take_over(of.name())
        });
        let taken = taken.await?;
        if let Err(error) = taken {
            // Begun anew as a follower, and taken again.
            tracing::error!(view = %view.name(), %error, "its sessions or jobs cannot be taken over");
            self.give_up(view);
            return Ok(());
        }
        // Given up meanwhile, it must not look owned.
        if !view.is_leaving() {
            view.set_role(Role::Owns(epoch, term));
            let metrics = &self.cluster.shared.metrics;
            metrics.take_overs.with_label_values(&[view.name().as_str()]).inc();
        }
        Ok(())
    }

    async fn claim(
        &self,
        view: &ViewHandle,
        epoch: OwnerEpoch,
        next: Option<ServerId>,
        expect: Option<Stamp>,
    ) -> Result<(), NotTaken> {
        let of = ViewRef { id: ViewId(view.id()), name: view.name().clone() };
        let claim = Claim { view: of, owner: Some(self.cluster.id()), epoch, next };
        self.write(claim, expect).await
    }

    pub(super) async fn write(&self, claim: Claim, expect: Option<Stamp>) -> Result<(), NotTaken> {
        let ownership = Arc::clone(&self.cluster.shared.membership.ownership);
        match blocking(move || ownership.claim(&claim, expect)).await?? {
            Claimed::Done(_) => Ok(()),
            Claimed::Conflict(_) => Err(NotTaken::Conflict),
        }
    }

    /// Begins to do something for a view; nothing if something is being done.
    pub(super) fn begin(&self, view: &ViewName) -> Option<Doing> {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = busy.insert(view.clone());
        is_first.then(|| Doing { busy: Arc::clone(&self.busy), view: view.clone() })
    }
}

pub(super) async fn blocking<T: Send + 'static>(
    act: impl FnOnce() -> T + Send + 'static,
) -> Result<T, NotTaken> {
    let acted = tokio::task::spawn_blocking(act).await;
    acted.map_err(|panic| NotTaken::Panicked(panic.to_string()))
}
