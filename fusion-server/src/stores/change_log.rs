//! Where the logs and the checkpoints of views are kept: the data directory, or an engine.
//!
//! A data directory has the names and sessions of views, so it goes by one log: the first start
//! writes down which, and another one is refused. Must never: begin a view anew because its log is
//! looked for in the wrong place.

use std::path::Path;
use std::sync::Arc;

use fusion_store::StoreError;
use fusion_store::engines::nats::{Nats, NatsSync};

use super::Stores;
use crate::config::{ChangeLogConfig, ChangeLogEngine};

/// The file in the data directory that says where the logs are, if they are not in it.
const MARK: &str = "change-log";

impl Stores {
    /// The same, with the logs and the checkpoints where they are configured to be; in memory they stay there.
    ///
    /// # Errors
    /// The engine is away, or the data directory goes by another log.
    pub fn with_change_log(self, config: &ChangeLogConfig) -> Result<Self, StoreError> {
        let Some(directory) = self._directory.clone() else { return Ok(self) };
        let wanted = match config.engine {
            ChangeLogEngine::Embedded => None,
            ChangeLogEngine::Nats => Some(format!("nats {}\n", config.prefix)),
        };
        let marked = directory.noted(MARK)?;
        let has_views = marked.is_none() && wanted.is_some() && !self.log.views()?.is_empty();
        if has_views || (marked.is_some() && marked != wanted) {
            return Err(other(directory.dir(), marked.as_deref(), wanted.as_deref()));
        }
        let Some(wanted) = wanted else { return Ok(self) };
        let nats = Nats::connect(config.settings())?;
        if marked.is_none() {
            directory.note(MARK, &wanted)?;
        }
        match nats.sync() {
            NatsSync::Always => {
                tracing::info!("logs are on NATS JetStream, which syncs each write")
            }
            NatsSync::Interval => tracing::warn!(
                "logs are on NATS JetStream: what is acknowledged outlives the death of processes, \
                 not the loss of power (change_log.sync)"
            ),
        }
        let (log, blocks) = (Arc::new(nats.log()), Arc::new(nats.blocks()));
        Ok(Self { log, blocks, engine: Some(nats), ..self })
    }
}

fn other(dir: &Path, marked: Option<&str>, wanted: Option<&str>) -> StoreError {
    let told = |log: Option<&str>| log.map_or("embedded".to_owned(), |log| log.trim().to_owned());
    let (is, wanted) = (told(marked), told(wanted));
    let why = format!(
        "its views have their logs elsewhere ({is}, the configuration says {wanted}); change \
         change_log, or give the server another directory"
    );
    StoreError::NotAStore { path: dir.to_path_buf(), why }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_directory_goes_by_one_log() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Stores::open(dir.path(), Uuid::from_u128(1), None).unwrap();
        let embedded = ChangeLogConfig::default();
        let refused = |config: &ChangeLogConfig| {
            let refused = open().with_change_log(config).err();
            assert!(matches!(refused, Some(StoreError::NotAStore { .. })), "{refused:?}");
        };
        open().with_change_log(&embedded).unwrap();
        let engine = ChangeLogEngine::Nats;
        let servers = vec!["nats://127.0.0.1:1".to_owned()];
        let timeout = std::time::Duration::from_millis(200);
        let nats = ChangeLogConfig { engine, servers, timeout, ..ChangeLogConfig::default() };
        let away = open().with_change_log(&nats).err();
        assert!(matches!(away, Some(StoreError::Away { .. })), "{away:?}");
        open().with_change_log(&embedded).unwrap();

        fs::write(dir.path().join(MARK), "nats fusion\n").unwrap();
        refused(&embedded);
        refused(&ChangeLogConfig { prefix: "other".to_owned(), ..nats.clone() });
        fs::remove_file(dir.path().join(MARK)).unwrap();
        let name = fusion_core::id::ViewName::new("tree").unwrap();
        let view = fusion_store::ViewRef { id: fusion_store::ViewId(Uuid::from_u128(2)), name };
        open().log.open(&view).unwrap();
        refused(&nats);
    }
}
