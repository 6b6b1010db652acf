//! Reading the log of a view that another server owns, record by record, on a thread of its own.
//!
//! Waits for the engine in the place of the view's thread, and tries again where it fails; it ends when nobody takes its
//! records any more.

use std::sync::Arc;
use std::time::Duration;

use fusion_store::{ChangeLog, LogPoint, StoreError, StoredRecord, ViewRef};
use tokio::sync::mpsc;

/// Records that wait for the view's thread.
const WAITING: usize = 64;
/// Between two looks whether anybody still listens.
const LOOK: Duration = Duration::from_millis(200);
/// Between two tries.
const RETRY: Duration = Duration::from_millis(250);

/// A record, or why there will be no more: the view must be loaded anew.
pub(super) type Tailed = Result<StoredRecord, StoreError>;

/// Begins to read after a place.
///
/// # Errors
/// The operating system gives no thread.
pub(super) fn tail(
    log: Arc<dyn ChangeLog>,
    view: ViewRef,
    after: LogPoint,
) -> Result<mpsc::Receiver<Tailed>, StoreError> {
    let (out, tailed) = mpsc::channel(WAITING);
    let mut tail = Tail { log, view, after, out, is_told: false };
    let thread = std::thread::Builder::new().name(format!("tail {}", tail.view.name));
    let begun = thread.spawn(move || while tail.read() {});
    begun.map_err(StoreError::io("begin a thread for", std::path::Path::new("the log's tail")))?;
    Ok(tailed)
}

struct Tail {
    log: Arc<dyn ChangeLog>,
    view: ViewRef,
    after: LogPoint,
    out: mpsc::Sender<Tailed>,
    is_told: bool,
}

impl Tail {
    /// Reads until it fails; whether to begin again.
    fn read(&mut self) -> bool {
        let failed = match self.log.follow(self.view.id, self.after) {
            Err(error) => error,
            Ok(mut follow) => loop {
                match follow.next(LOOK) {
                    Ok(None) if self.out.is_closed() => return false,
                    Ok(None) => {}
                    Ok(Some(record)) => {
                        self.after = record.point;
                        if self.out.blocking_send(Ok(record)).is_err() {
                            return false;
                        }
                    }
                    Err(error) => break error,
                }
            },
        };
        if is_lost(&failed) {
            let _ = self.out.blocking_send(Err(failed));
            return false;
        }
        if !std::mem::replace(&mut self.is_told, true) {
            tracing::warn!(view = %self.view.name, error = %failed, "the log cannot be followed; it is tried again");
        }
        std::thread::sleep(RETRY);
        !self.out.is_closed()
    }
}

/// Whether reading on from here will never succeed.
fn is_lost(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::Trimmed { .. }
            | StoreError::Unknown { .. }
            | StoreError::Corrupt { .. }
            | StoreError::FutureFormat { .. }
    )
}
