//! Files that are followed while the server runs.
//!
//! They are read whole every few seconds, off the async threads, and what they say is taken when it
//! has changed. What is wrong is told once and counted, and changes nothing. Must never: put what is
//! wrong in place of what was right.

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

/// Follows the files for as long as the server lives; `seen` is what was read last.
pub(crate) async fn follow<T: Followed>(what: T, metrics: Metrics, mut seen: T::Contents) {
    loop {
        tokio::time::sleep(LOOK).await;
        let (what, metrics) = (what.clone(), metrics.clone());
        // The files may be on a storage that hangs.
        let looked = tokio::task::spawn_blocking(move || look(&what, &metrics, seen)).await;
        match looked {
            Ok(looked) => seen = looked,
            Err(error) => {
                tracing::error!(what = T::WHAT, %error, "files are not followed any more");
                return;
            }
        }
    }
}

/// Looks once. What is read is kept whether it was taken or not: the same is not told twice.
fn look<T: Followed>(what: &T, metrics: &Metrics, seen: T::Contents) -> T::Contents {
    let contents = what.read();
    if contents == seen {
        return seen;
    }
    let outcome = match what.take(&contents) {
        Ok(()) => {
            tracing::info!(what = T::WHAT, "files have changed and are in force");
            "taken"
        }
        Err(faults) => {
            for fault in faults {
                tracing::error!(what = T::WHAT, "{fault}; what was in force before stays");
            }
            "refused"
        }
    };
    metrics.reloads.with_label_values(&[T::WHAT, outcome]).inc();
    contents
}
