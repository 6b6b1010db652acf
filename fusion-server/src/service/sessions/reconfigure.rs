//! Views as they are configured by now: those that are no more, those that are other, those that are new.
//!
//! Called by one reload at a time. What is as it is configured is not touched, so that a reload which changes
//! nothing drops nobody; and what an earlier reload could not do is done by the next.

use fusion_proto::status::Refusal;

use super::{Sessions, State};
use crate::task::view::ViewHandle;

/// How often a view is told to begin anew that was begun meanwhile as it was configured before.
const ROUNDS: usize = 3;

impl Sessions {
    /// Has the views be as they are configured. The sessions of those that are not configured any more end with
    /// VIEW_RESET, and their data stays; those that are configured otherwise are begun anew from the store,
    /// and their sessions end the same way, because agents learn their settings with a new one.
    ///
    /// # Errors
    /// A new view cannot be made: STORE_UNAVAILABLE, or a bug.
    pub(crate) async fn reconfigure(&self) -> Result<(), Refusal> {
        for _ in 0..ROUNDS {
            let leaving = self.dismiss();
            if leaving.is_empty() {
                break;
            }
            for view in leaving {
                view.ended().await;
            }
        }
        let views = self.shared.views.clone();
        views.make_configured().await
    }

    /// Tells those to end that are not as they are configured.
    fn dismiss(&self) -> Vec<ViewHandle> {
        let views = &self.shared.views;
        let config = views.deps().config.now();
        let mut leaving = Vec::new();
        for view in views.all() {
            match config.view(view.name()) {
                Some(configured) if configured == view.config() => continue,
                Some(_) => tracing::warn!(view = %view.name(), "configured otherwise; begun anew"),
                None => self.remove(&view),
            }
            view.leave();
            leaving.push(view);
        }
        leaving
    }

    /// Ends the sessions of a view, which is none of this server any more.
    fn remove(&self, view: &ViewHandle) {
        let (name, now) = (view.name(), self.now());
        let mut state = self.lock();
        let State { table, effects, .. } = &mut *state;
        table.reset_view(name, now.monotonic, now.server, effects);
        self.carry_out(&mut state);
        self.shared.views.remove(name);
        drop(state);
        tracing::warn!(view = %name, "not configured any more; its data is kept");
    }
}
