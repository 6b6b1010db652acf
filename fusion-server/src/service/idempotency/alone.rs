//! One at a time under a key; the others wait in line.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Mutex as Line, OwnedMutexGuard};

/// The keys under which somebody is at work or waits. Bounded by the calls that are under way.
#[derive(Default)]
pub(super) struct Working {
    lines: Mutex<HashMap<Vec<u8>, Arc<Line<()>>>>,
}

/// Nobody else is at work under the key while this lives.
pub(super) struct Alone {
    working: Arc<Working>,
    key: Vec<u8>,
    turn: Option<OwnedMutexGuard<()>>,
}

impl Working {
    pub(super) async fn alone(self: &Arc<Self>, key: &[u8]) -> Alone {
        let line = {
            let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(lines.entry(key.to_vec()).or_default())
        };
        // Made before it is waited for: a caller that leaves the line takes its trace with it.
        let mut alone = Alone { working: Arc::clone(self), key: key.to_vec(), turn: None };
        alone.turn = Some(line.lock_owned().await);
        alone
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        let mut lines = self.working.lines.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.turn.take());
        // Whoever waits holds the line too, and nobody can come while the table is locked.
        if lines.get(&self.key).is_some_and(|line| Arc::strong_count(line) == 1) {
            lines.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    #[tokio::test]
    async fn one_at_a_time_and_nothing_stays() {
        let working = Arc::new(Working::default());
        let first = working.alone(b"a").await;
        let other = working.alone(b"b").await;
        assert!(working.alone(b"a").now_or_never().is_none(), "it is taken");
        let mut waiting = Box::pin(working.alone(b"a"));
        assert!(waiting.as_mut().now_or_never().is_none());
        drop((first, other));
        let second = waiting.await;
        assert_eq!(working.lines.lock().unwrap().len(), 1);
        drop(second);
        assert!(working.lines.lock().unwrap().is_empty());
    }
}
