//! The state of a server, in its data directory or outside of it.
//!
//! A directory goes by one state for as long as it is: the id of a state outside is noted in it at the
//! first start, before anything is written there. So a server never begins anew in silence because its
//! engine was emptied, or because the configuration names another one.

use std::sync::Arc;

use fusion_store::embedded::Store;
use fusion_store::engines::Whose;
use fusion_store::engines::nats::Nats;
use fusion_store::engines::postgres::PostgresState;
use fusion_store::engines::redis::RedisState;
use fusion_store::{State, StoreError};
use uuid::Uuid;

use crate::config::{StateConfig, StateEngine};

/// Opens the state that is configured, if it is the one that the directory goes by.
pub(super) fn state(
    store: &Store,
    config: &StateConfig,
    draw: impl FnOnce() -> Uuid,
) -> Result<Arc<dyn State>, StoreError> {
    let (own, dir) = (store.state(), store.dir().display());
    let known = own.outside()?;
    let refused = |why: String| Err(StoreError::Refused { what: "the state", why });
    let whose = match (config.engine, known) {
        (StateEngine::Embedded, None) => return Ok(Arc::clone(own) as _),
        (StateEngine::Embedded, Some(id)) => {
            return refused(format!(
                "the data directory `{dir}` goes by the state {id} outside of it; name its engine and address again ([state] of the configuration)"
            ));
        }
        (_, None) if !own.is_empty()? => {
            return refused(format!(
                "the data directory `{dir}` has its state in itself, which would be forgotten; leave state.engine embedded, or begin with an empty directory"
            ));
        }
        _ => Whose { server: store.server(), state: known, new_state: draw() },
    };
    let settings = config.settings();
    let (state, id): (Arc<dyn State>, Uuid) = match config.engine {
        StateEngine::Redis => {
            let state = RedisState::open(&settings, whose)?;
            let id = state.id();
            (Arc::new(state), id)
        }
        StateEngine::Nats => {
            let Some(nats) = config.nats.clone() else {
                return refused("it is on NATS, and change_log names no server of it".to_owned());
            };
            // A connection of its own, so that a large checkpoint is in no session's way.
            let state = Nats::connect(nats)?.state(whose)?;
            let id = state.id();
            (Arc::new(state), id)
        }
        _ => {
            let state = PostgresState::open(&settings, whose)?;
            let id = state.id();
            (Arc::new(state), id)
        }
    };
    if known.is_none() {
        own.set_outside(id)?;
    }
    Ok(state)
}
