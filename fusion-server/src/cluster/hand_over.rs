//! How a server gives views away: to who is said to have them next, and all of them when it drains or ends.
//!
//! A part of the conductor. Nothing is lost by it, and nobody waits for a lease: no call is taken any more, what was
//! answered is written, nothing is appended any more, and then the claim says so. Must never: give a view to who does
//! not follow it closely, or give one away before the others know that this server would not take it back.

use std::sync::Arc;
use std::time::Duration;

use fusion_store::{Claim, ServerId, Stamped, ViewId};

use super::conduct::{Conductor, NotTaken, blocking};
use super::known::Known;
use crate::task::view::{Role, ViewHandle};

/// A view is handed over to who is at most so many revisions behind: what that one reads before it appends its epoch.
const CLOSE: u64 = 100_000;
/// Who came is given the views that are to be its own when it has lived for so many leases: one that comes and goes moves
/// nothing.
const STEADY: u32 = 5;
/// So many views move at a time because a server came: their agents connect anew.
const AT_ONCE: usize = 4;
/// Between two looks whether a server that ends has given all away.
const LOOK: Duration = Duration::from_millis(20);

impl Conductor {
    /// Gives a view that this server owns to who is to have it, once that one follows it closely.
    pub(super) fn hand_over(&self, known: &Known, view: &ViewHandle, claim: &Stamped<Claim>) {
        let Some(to) = self.next_of(known, view, &claim.it) else { return };
        let theirs = known.live(to).and_then(|to| to.said.of(ViewId(view.id())));
        let is_close = theirs.is_some_and(|theirs| view.durable().0 <= theirs.revision.0 + CLOSE);
        let Some(doing) = self.begin(view.name()).filter(|_| is_close) else { return };
        let (this, view, claim) = (self.clone(), view.clone(), claim.clone());
        self.tasks.spawn("hand-over", async move {
            let _doing = doing;
            if let Err(error) = this.give_away(&view, claim, to).await {
                tracing::warn!(view = %view.name(), %error, "the view was not handed over");
            }
        });
    }

    /// Who is to have a view in place of this server: who was said to, whoever can if this one drains, or who came since and
    /// is to have it by placement, unless it was said that it is to stay here.
    fn next_of(&self, known: &Known, view: &ViewHandle, claim: &Claim) -> Option<ServerId> {
        let is_other = |server: &ServerId| *server != self.cluster.id();
        let said = claim.next.filter(is_other).filter(|next| known.takes(*next));
        let drains = self.cluster.has_said_that_it_drains();
        let is_pinned = claim.next == Some(self.cluster.id());
        let steady = self.cluster.shared.membership.lease * STEADY;
        let may_move = |to: &ServerId| {
            drains || (!is_pinned && known.has_lived(*to, steady) && self.num_busy() < AT_ONCE)
        };
        let placed = || self.placed(known, ViewId(view.id())).filter(is_other).filter(may_move);
        said.or_else(placed)
    }

    /// In this order: no call is taken any more, what was answered is written, nothing is appended any more, and then
    /// the claim says so. What is under way is not acknowledged, and is sent again.
    async fn give_away(
        &self,
        view: &ViewHandle,
        claim: Stamped<Claim>,
        to: ServerId,
    ) -> Result<(), NotTaken> {
        tracing::info!(view = %view.name(), %to, "the view is handed over");
        view.set_role(Role::Follows);
        self.sessions.give_up(view.name());
        self.sessions.settled().await;
        self.give_up(view);
        view.ended().await;
        let given = Claim { owner: None, ..claim.it };
        self.write(given, Some(claim.stamp)).await?;
        let metrics = &self.cluster.shared.metrics;
        metrics.hand_overs.with_label_values(&[view.name().as_str()]).inc();
        Ok(())
    }

    /// Before this server ends: gives its views away, as long as others can have them and it takes no longer than
    /// `limit`. What is left by then others take when this server is struck off.
    pub(crate) async fn leave(&self, limit: Duration) {
        if let Err(error) = self.drain(true).await {
            tracing::warn!(%error, "the other servers do not know yet that this one ends");
        }
        let left = async {
            let mut known = self.cluster.known();
            loop {
                let now = Arc::clone(&known.borrow_and_update());
                if !self.can_give(&now) {
                    return;
                }
                self.look(&now);
                let _ = tokio::time::timeout(LOOK, known.changed()).await;
            }
        };
        if tokio::time::timeout(limit, left).await.is_err() {
            tracing::warn!(
                "not all views could be handed over; others take them when this server has ended"
            );
        }
    }

    /// Takes no view any more and gives away those that it has; or is a server as any other again.
    /// The others know when it returns; where they cannot be told now, with the next renewal.
    pub(super) async fn drain(&self, drains: bool) -> Result<(), NotTaken> {
        self.cluster.set_draining(drains);
        let (cluster, said) = (self.cluster.clone(), self.says());
        // At once, and not with the next renewal: nothing is given away before it is known.
        let put = blocking(move || cluster.put(&said)).await?;
        self.cluster.nudge();
        Ok(put?)
    }

    /// Whether a view is this server's, or is just being given away or taken, and somebody else could have it.
    fn can_give(&self, known: &Known) -> bool {
        let mine = self.cluster.id();
        let is_held =
            |view: &ViewHandle| matches!(view.role(), Role::Owns(..)) || self.is_busy(view.name());
        known.others(mine).any(|other| known.takes(other)) && self.views.all().iter().any(is_held)
    }
}
