//! Files that are followed while the server runs.
//!
//! They are read whole every few seconds, off the async threads, and what they say is taken when it
//! has changed. What is wrong is told once and counted, and changes nothing. Must never: put what is
//! wrong in place of what was right.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::ops::metrics::Metrics;

/// Between two looks at the files.
const LOOK: Duration = Duration::from_secs(5);

/// What is made of files and made anew when they change; a cheap handle.
pub(crate) trait Followed: Clone + Send + 'static {
    /// What the files say.
    type Contents: PartialEq + Send + 'static;
    /// What it is called in metrics and in the log.
    const WHAT: &'static str;

    /// Reads the files. Blocks.
    fn read(&self) -> Self::Contents;

    /// Puts what they say in force.
    ///
    /// # Errors
    /// All that is wrong with them; nothing has changed then.
    fn take(&self, contents: &Self::Contents) -> Result<(), Vec<String>>;
}

/// What a look at the files found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Look {
    /// What was seen at the last look.
    Same,
    /// Something else, and it is in force.
    Taken,
    /// Something that is wrong; what was in force stays.
    Refused(Vec<String>),
}

/// Files that can be looked at, whatever they are for.
pub(crate) trait Files: Send + Sync {
    /// What they are called.
    fn what(&self) -> &'static str;

    /// Looks once. Blocks.
    fn look(&self) -> Look;
}

/// Looks at files, every few seconds and when told to; a cheap handle.
pub(crate) struct Follower<T: Followed> {
    what: T,
    metrics: Metrics,
    /// What was read last. Locked for one look; nothing is locked under it.
    seen: Arc<Mutex<T::Contents>>,
}

impl<T: Followed> Clone for Follower<T> {
    fn clone(&self) -> Self {
        Self {
            what: self.what.clone(),
            metrics: self.metrics.clone(),
            seen: Arc::clone(&self.seen),
        }
    }
}

impl<T: Followed> Follower<T> {
    /// `seen` is what was read, and is in force.
    pub(crate) fn new(what: T, metrics: Metrics, seen: T::Contents) -> Self {
        Self { what, metrics, seen: Arc::new(Mutex::new(seen)) }
    }

    /// Follows the files for as long as the server lives.
    pub(crate) async fn follow(self)
    where
        T: Sync,
    {
        loop {
            tokio::time::sleep(LOOK).await;
            let files = self.clone();
            // The files may be on a storage that hangs.
            let looked = tokio::task::spawn_blocking(move || files.look()).await;
            if let Err(error) = looked {
                tracing::error!(what = T::WHAT, %error, "files are not followed any more");
                return;
            }
        }
    }
}

impl<T: Followed + Sync> Files for Follower<T> {
    fn what(&self) -> &'static str {
        T::WHAT
    }

    /// What is read is kept whether it was taken or not: the same is not told twice.
    fn look(&self) -> Look {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let contents = self.what.read();
        if contents == *seen {
            return Look::Same;
        }
        let (look, outcome) = match self.what.take(&contents) {
            Ok(()) => {
                tracing::info!(what = T::WHAT, "files have changed and are in force");
                (Look::Taken, "taken")
            }
            Err(faults) => {
                for fault in &faults {
                    tracing::error!(what = T::WHAT, "{fault}; what was in force before stays");
                }
                (Look::Refused(faults), "refused")
            }
        };
        self.metrics.reloads.with_label_values(&[T::WHAT, outcome]).inc();
        *seen = contents;
        look
    }
}
