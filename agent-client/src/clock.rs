//! The only reader of time in the agent.
//!
//! Owns: the trait through which everything here learns the time, and its two readings. Evidence is
//! stamped with [`AgentClock::monotonic`], which no administrator and no NTP step can move, and is
//! turned into server time by `link::TimeExchange`; the wall clock is only told to the server in
//! heartbeats and shown to people. Must never: be passed by. Tests give a clock of their own.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fusion_core::time::{AgentTime, Monotonic};

/// The time as this process can know it.
pub trait AgentClock: Send + Sync + 'static {
    /// The host's wall clock; may be hours off and may jump.
    fn wall(&self) -> AgentTime;
    /// Time since the host's boot, suspended time included: the same for all processes of one boot.
    fn monotonic(&self) -> Monotonic;
}

/// A clock, shared.
pub type SharedClock = Arc<dyn AgentClock>;

/// The clocks of the host.
#[derive(Debug, Clone, Copy, Default)]
pub struct HostClock;

impl AgentClock for HostClock {
    /// By the C library, so that a faked clock (libfaketime) is one to us as well.
    #[expect(clippy::disallowed_methods, reason = "this is the clock file")]
    fn wall(&self) -> AgentTime {
        let nanos = |span: Duration| i64::try_from(span.as_nanos()).unwrap_or(i64::MAX);
        AgentTime::from_nanos(match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => nanos(since),
            Err(before) => -nanos(before.duration()),
        })
    }

    fn monotonic(&self) -> Monotonic {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        Monotonic::from_nanos(
            time.tv_sec.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec),
        )
    }
}

/// A clock that follows the runtime's: paused and advanced with it. For tests.
#[derive(Debug, Clone)]
pub struct RuntimeClock {
    start: tokio::time::Instant,
    wall_at_start: AgentTime,
}

impl RuntimeClock {
    /// Starts now; its wall clock shows `wall_at_start`.
    #[must_use]
    pub fn starting_at(wall_at_start: AgentTime) -> Self {
        Self { start: tokio::time::Instant::now(), wall_at_start }
    }
}

impl AgentClock for RuntimeClock {
    fn wall(&self) -> AgentTime {
        self.wall_at_start.plus(self.start.elapsed())
    }

    fn monotonic(&self) -> Monotonic {
        // Not 0 at the start, so that nothing before it saturates.
        Monotonic::from_nanos(0).plus(Duration::from_secs(1_000) + self.start.elapsed())
    }
}
