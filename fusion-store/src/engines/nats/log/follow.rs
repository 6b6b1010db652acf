//! Following the log of a view: reading on whenever the engine has stored more.
//!
//! The engine tells of new messages by their heads alone (an ordered consumer without payloads);
//! what they hold is read as ever. A hint that is lost delays nothing for long: it is looked now and
//! then what there is.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::watch;

use super::reader::LogReader;
use super::view::Shared;
use crate::engines::nats::Nats;
use crate::engines::nats::stream::hints;
use crate::error::StoreError;
use crate::ports::{Follow, StoredRecord};

/// How long nothing is heard before it is looked.
const LOOK: Duration = Duration::from_secs(2);

/// Follows the log of a view.
#[derive(Debug)]
pub(super) struct Following {
    nats: Arc<Nats>,
    log: Arc<Shared>,
    reader: LogReader,
    /// The number of the last message that was told of.
    told: watch::Receiver<u64>,
}

impl Following {
    /// Goes on after what a reader reads.
    pub(super) fn begin(
        nats: Arc<Nats>,
        log: Arc<Shared>,
        reader: LogReader,
    ) -> Result<Self, StoreError> {
        let (tell, told) = watch::channel(reader.through());
        nats.bridge.spawn(hints(log.stream.clone(), log.subject.clone(), tell))?;
        Ok(Self { nats, log, reader, told })
    }

    /// Waits until there are messages that were not read; whether there are.
    fn wait(&mut self, limit: Duration) -> Result<bool, StoreError> {
        let (log, mut told, last) =
            (Arc::clone(&self.log), self.told.clone(), self.reader.through());
        let longest = limit + self.nats.settings.timeout * 2;
        let found = self.nats.bridge.run("read from", longest, async move {
            let heard = told.wait_for(|told| *told > last).map(|told| told.map(|told| *told));
            // Both kinds of error mean that nothing was heard.
            if let Ok(Ok(told)) = tokio::time::timeout(limit, heard).await {
                return Ok(told);
            }
            log.stream.extent().await?.map(|extent| extent.last).ok_or(gone(&log))
        })?;
        self.reader.go_on(found);
        Ok(found > last)
    }
}

fn gone(log: &Shared) -> StoreError {
    StoreError::NoView { view: log.view.id }
}

impl Follow for Following {
    fn next(&mut self, mut limit: Duration) -> Result<Option<StoredRecord>, StoreError> {
        loop {
            if let Some(record) = self.reader.next() {
                return record.map(Some);
            }
            let step = limit.min(LOOK);
            // What came may be no whole record.
            if !self.wait(step)? {
                limit -= step;
                if limit.is_zero() {
                    return Ok(None);
                }
            }
        }
    }
}
