//! The stores of a server: what survives it.
//!
//! The server knows ports only. Which adapters stand behind them is decided here, once.

mod change_log;
mod outside;
mod saver;
mod view_record;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fusion_core::time::ServerTime;
use fusion_proto::status::Refusal;
use fusion_store::embedded::{BlocksSettings, LogSettings, Store, StoreOptions};
use fusion_store::engines::nats::Nats;
use fusion_store::memory::{MemoryBlocks, MemoryLog, MemoryState};
use fusion_store::{
    Blocks, ChangeLog, Item, Ownership, Space, State, StoreError, Survives, ViewId,
};
use uuid::Uuid;

use crate::config::StateConfig;
use crate::task::view::BeginError;

pub(crate) use saver::{SavePoint, Saver};
pub(crate) use view_record::ViewRecord;

/// Values read from the store at a time.
const PAGE: usize = 1_000;
/// When to try again what could not be written.
const RETRY: Duration = Duration::from_secs(1);

/// What a server keeps its state in; a cheap handle.
#[derive(Clone)]
pub struct Stores {
    /// What happened in the views.
    pub log: Arc<dyn ChangeLog>,
    /// What the views are.
    pub blocks: Arc<dyn Blocks>,
    /// Sessions and all else.
    pub state: Arc<dyn State>,
    /// The engine that the logs are in, if they are in one.
    engine: Option<Arc<Nats>>,
    /// Held as long as anything uses what is in it.
    _directory: Option<Arc<Store>>,
}

impl Stores {
    /// Opens a data directory, which is made if it is not there. `new_server` is the id of the
    /// server if it is new; `server` the one that it must be, if that is known.
    ///
    /// # Errors
    /// Another server has it, it is none, it cannot be read or written.
    pub fn open(dir: &Path, new_server: Uuid, server: Option<Uuid>) -> Result<Self, StoreError> {
        // No state outside, so none that would need an id.
        Self::open_as(dir, new_server, server, &StateConfig::default(), Uuid::nil)
    }

    /// As [`Stores::open`], with the state where it is configured to be: here alone that is decided.
    /// A state outside that has no id gets one from `draw`.
    ///
    /// # Errors
    /// As for [`Stores::open`]; the engine is away, or its state or the directory's is another one.
    pub fn open_as(
        dir: &Path,
        new_server: Uuid,
        server: Option<Uuid>,
        state: &StateConfig,
        draw: impl FnOnce() -> Uuid,
    ) -> Result<Self, StoreError> {
        let new_server = server.unwrap_or(new_server);
        let options = StoreOptions { server, ..options(new_server, "a server") };
        let stores = Self::of(Arc::new(Store::open(dir, &options)?)).with_state(state, draw)?;
        let guarantee = stores.state.guarantee();
        match guarantee.survives {
            Survives::Power => tracing::info!(state = %guarantee, "the state is open"),
            _ => tracing::warn!(state = %guarantee, "the state is open"),
        }
        Ok(stores)
    }

    /// The same, with the state where it is configured to be; it must be the one that the directory
    /// goes by.
    pub(crate) fn with_state(
        self,
        state: &StateConfig,
        draw: impl FnOnce() -> Uuid,
    ) -> Result<Self, StoreError> {
        match &self._directory {
            Some(store) => Ok(Self { state: outside::state(store, state, draw)?, ..self }),
            None => Ok(self),
        }
    }

    /// Those of an open data directory.
    pub(crate) fn of(store: Arc<Store>) -> Self {
        Self {
            log: Arc::clone(store.log()) as _,
            blocks: Arc::clone(store.blocks()) as _,
            state: Arc::clone(store.state()) as _,
            engine: None,
            _directory: Some(store),
        }
    }

    /// Whether anything but this handle may still write to the data directory.
    pub(crate) fn is_shared(&self) -> bool {
        self._directory.as_ref().is_some_and(|store| Arc::strong_count(store) > 1)
    }

    /// The id of the server whose data this is; none if it is kept in memory.
    pub(crate) fn server(&self) -> Option<Uuid> {
        self._directory.as_ref().map(|store| store.server())
    }

    /// Which servers there are and who owns what, where the engine of the logs keeps it.
    ///
    /// # Errors
    /// The engine is away, or refuses.
    pub(crate) fn ownership(&self) -> Result<Option<Arc<dyn Ownership>>, StoreError> {
        let Some(nats) = &self.engine else { return Ok(None) };
        Ok(Some(Arc::new(nats.ownership()?)))
    }

    /// Bytes that the log and the blocks of a view take; 0 where that cannot be told now.
    pub(crate) fn bytes_of(&self, view: ViewId) -> (u64, u64) {
        let log = self.log.status(view).map_or(0, |status| status.bytes);
        (log, self.blocks.figures(view).map_or(0, |figures| figures.stored_bytes))
    }

    /// Stores that last as long as the process: for tests.
    #[must_use]
    pub fn memory() -> Self {
        Self::new(
            Arc::new(MemoryLog::default()),
            Arc::new(MemoryBlocks::default()),
            Arc::new(MemoryState::default()),
        )
    }

    /// Any adapters.
    #[must_use]
    pub fn new(log: Arc<dyn ChangeLog>, blocks: Arc<dyn Blocks>, state: Arc<dyn State>) -> Self {
        Self { log, blocks, state, engine: None, _directory: None }
    }
}

/// How a data directory is opened, and by whom.
pub(crate) fn options(new_server: Uuid, who: &str) -> StoreOptions {
    StoreOptions {
        new_server,
        server: None,
        owner: format!("{who}, process {} on host {}", std::process::id(), host()),
        log: LogSettings::default(),
        blocks: BlocksSettings::default(),
    }
}

fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Why a record of the store cannot be taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordError {
    /// A later version of the server wrote it.
    #[error("it is of version {found}, and this server reads up to {known}; run the newer server")]
    FromTheFuture {
        /// Its version.
        found: u32,
        /// The newest that is known here.
        known: u32,
    },
    /// It is not what was written.
    #[error("it cannot be read: {0}")]
    Malformed(#[from] serde_json::Error),
    /// It names what cannot be.
    #[error(transparent)]
    Id(#[from] fusion_core::id::IdError),
}

/// Why a server cannot go on where it was.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A record makes no sense.
    #[error("the {} record `{key}` in the store: {source}; restore it from a back-up", space.as_str())]
    Record {
        /// Of what kind.
        space: Space,
        /// Its key.
        key: String,
        /// What is wrong.
        source: RecordError,
    },
    /// A view does not begin.
    #[error(transparent)]
    View(#[from] BeginError),
}

impl LoadError {
    /// For `map_err`.
    pub(crate) fn record(space: Space, item: &Item) -> impl FnOnce(RecordError) -> Self {
        let key = String::from_utf8_lossy(&item.key).into_owned();
        move |source| Self::Record { space, key, source }
    }
}

/// All values of a space.
pub(crate) fn scan_all(
    state: &dyn State,
    space: Space,
    now: ServerTime,
) -> Result<Vec<Item>, StoreError> {
    let mut items: Vec<Item> = Vec::new();
    loop {
        let after = items.last().map(|item| item.key.clone());
        let page = state.scan(space, b"", after.as_deref(), PAGE, now)?;
        items.extend(page.items);
        if !page.more {
            return Ok(items);
        }
    }
}

/// What a caller is told whose call needs a write that cannot be made now.
pub(crate) fn unwritten(error: &StoreError) -> Refusal {
    tracing::error!(%error, "the store cannot be written");
    unwritten_yet()
}

/// The same, where it was waited for in vain.
pub(crate) fn unwritten_yet() -> Refusal {
    Refusal::StoreUnavailable { retry_after: RETRY }
}

/// The version of a JSON record, and whether it can be read.
pub(crate) fn check_version(bytes: &[u8], known: u32) -> Result<(), RecordError> {
    #[derive(serde::Deserialize)]
    struct Versioned {
        v: u32,
    }
    let Versioned { v: found } = serde_json::from_slice(bytes)?;
    if found > known { Err(RecordError::FromTheFuture { found, known }) } else { Ok(()) }
}
