//! The table of views after a change of the configuration: what goes out of it and what comes in.

use std::sync::{Arc, PoisonError};

use fusion_core::id::ViewName;
use fusion_proto::status::Refusal;
use fusion_store::Space;

use super::Views;
use crate::service::internal;
use crate::stores::{ViewRecord, scan_all, unwritten};

impl Views {
    /// Takes a view out of the table; its data stays.
    pub(in crate::service) fn remove(&self, name: &ViewName) {
        let shared = &*self.shared;
        let mut table = shared.table.write().unwrap_or_else(PoisonError::into_inner);
        table.remove(name);
        shared.count.send_replace(table.len());
    }

    /// Makes the views that are configured and not there, and loads those that the store has and the
    /// configuration allows.
    ///
    /// # Errors
    /// STORE_UNAVAILABLE; too many; one that does not load.
    pub(crate) async fn make_configured(&self) -> Result<(), Refusal> {
        let one = Arc::clone(&self.shared.making).lock_owned().await;
        let views = self.clone();
        let made = tokio::task::spawn_blocking(move || {
            let _one = one;
            views.wanted()?.iter().try_for_each(|name| views.make(name).map(drop))
        });
        made.await.unwrap_or_else(|panic| Err(internal(&*self.shared.deps.ids, &panic)))
    }

    /// Names of views that the server should have.
    fn wanted(&self) -> Result<Vec<ViewName>, Refusal> {
        let deps = &self.shared.deps;
        let config = deps.config.now();
        let mut wanted: Vec<ViewName> = config.views.keys().cloned().collect();
        let known = scan_all(&*deps.stores.state, Space::View, deps.clock.now());
        for item in known.map_err(|error| unwritten(&error))? {
            let (named, _) =
                ViewRecord::read(&item).map_err(|error| internal(&*deps.ids, &error))?;
            if config.view(&named.name).is_some() {
                wanted.push(named.name);
            }
        }
        Ok(wanted)
    }
}
