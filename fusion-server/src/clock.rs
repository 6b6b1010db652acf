//! The only reader of time in this crate.
//!
//! Both clocks are read off tokio's, so that a test which pauses and advances the runtime moves
//! time-outs, stamps and sleeping tasks together. Server time is the wall clock at start plus what
//! has passed since: it never goes back, whatever is done to the host's clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fusion_core::time::{Clock, Monotonic, ServerTime};
use tokio::time::Instant;

/// The clock of a running server; must be read within a tokio runtime.
#[derive(Debug, Clone)]
pub struct RuntimeClock {
    wall: ServerTime,
    start: Instant,
}

impl RuntimeClock {
    /// Anchors server time to the wall clock now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the clock file")]
    pub fn new() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { wall: ServerTime::default().plus(since_epoch), start: Instant::now() }
    }

    fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }
}

impl Default for RuntimeClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for RuntimeClock {
    fn now(&self) -> ServerTime {
        self.wall.plus(self.elapsed())
    }

    fn monotonic(&self) -> Monotonic {
        Monotonic::default().plus(self.elapsed())
    }
}
