//! Following a log that tells how far it is durable: for adapters that keep a [`Progress`].

use std::sync::Arc;
use std::time::Duration;

use crate::error::StoreError;
use crate::ports::{Follow, LogPoint, Progress, Records, StoredRecord};

/// Reads what is durable, waits for more, and reads on.
pub(crate) struct Following<R> {
    progress: Arc<Progress>,
    read: R,
    after: LogPoint,
    open: Option<Records>,
}

impl<R> Following<R>
where
    R: FnMut(LogPoint) -> Result<Records, StoreError> + Send,
{
    /// Begins after a place. `read` reads what is durable after one.
    ///
    /// # Errors
    /// That of the first reading.
    pub(crate) fn begin(
        progress: Arc<Progress>,
        after: LogPoint,
        mut read: R,
    ) -> Result<Self, StoreError> {
        let open = Some(read(after)?);
        Ok(Self { progress, read, after, open })
    }
}

impl<R> Follow for Following<R>
where
    R: FnMut(LogPoint) -> Result<Records, StoreError> + Send,
{
    fn next(&mut self, limit: Duration) -> Result<Option<StoredRecord>, StoreError> {
        loop {
            if let Some(record) = self.open.as_mut().and_then(Iterator::next) {
                let record = record?;
                self.after = record.point;
                return Ok(Some(record));
            }
            self.open = None;
            if !self.progress.wait_past(self.after, limit)? {
                return Ok(None);
            }
            self.open = Some((self.read)(self.after)?);
        }
    }
}
