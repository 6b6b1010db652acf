//! Whose a view is, and what is said where it is not this server's, or has no task.

use fusion_core::id::ViewName;
use fusion_proto::status::Refusal;
use fusion_store::ViewId;

use super::Views;
use crate::service::internal;
use crate::service::sessions::DRAINING_RETRY;
use crate::task::view::{Role, ViewGone, ViewHandle};

/// When to ask again for a view that is being taken over.
const TAKEN_OVER_RETRY: std::time::Duration = std::time::Duration::from_millis(500);
impl Views {
    /// Whether this server may act for a view.
    ///
    /// # Errors
    /// NOT_OWNER.
    pub(crate) fn owned(&self, view: &ViewHandle) -> Result<(), Refusal> {
        match (view.role(), &self.shared.deps.cluster) {
            (Role::Owns(_, term), Some(cluster)) if cluster.lease().holds(term) => Ok(()),
            (_, Some(_)) => Err(self.not_owner(view.name())),
            (_, None) => Ok(()),
        }
    }

    /// The view is another server's.
    pub(crate) fn not_owner(&self, name: &ViewName) -> Refusal {
        let view = self.get(name).ok();
        let owner = view.zip(self.shared.deps.cluster.as_ref()).and_then(|(view, cluster)| {
            let owner = cluster.owner(ViewId(view.id()))?;
            (owner.server != cluster.id()).then_some(owner.address)
        });
        Refusal::NotOwner { view: name.clone(), owner, retry_after: TAKEN_OVER_RETRY }
    }

    /// The view has no task any more, and is about to be begun anew; or it is another server's, or the server goes down.
    pub(in crate::service) fn gone(&self, view: &ViewName, gone: &ViewGone) -> Refusal {
        if self.shared.deps.end.is_cancelled() {
            return Refusal::ServerDraining { retry_after: DRAINING_RETRY };
        }
        if self.shared.deps.cluster.is_some() {
            return self.not_owner(view);
        }
        internal(&*self.shared.deps.ids, gone)
    }
}
