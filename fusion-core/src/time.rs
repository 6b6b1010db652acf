//! The three clocks (4-consistency §2), as types without common arithmetic.
//!
//! [`ServerTime`] stamps what the server knows, [`StorageTime`] is what the storage wrote into an
//! inode, [`AgentTime`] is an agent's wall clock and is turned into server time before it is used.
//! [`Monotonic`] counts since an arbitrary start and drives time-outs. Comparing or subtracting
//! two different clocks does not compile; the watermark alone relates storage to server time.

use std::time::Duration;

macro_rules! clock_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
        pub struct $name(i64);

        impl $name {
            /// The latest time that can be told.
            pub const MAX: Self = Self(i64::MAX);

            /// From nanoseconds since the epoch of this clock.
            #[must_use]
            pub const fn from_nanos(nanos: i64) -> Self {
                Self(nanos)
            }

            /// Nanoseconds since the epoch of this clock.
            #[must_use]
            pub const fn as_nanos(self) -> i64 {
                self.0
            }

            /// This much later; saturates at the end of time.
            #[must_use]
            pub const fn plus(self, span: Duration) -> Self {
                Self(self.0.saturating_add(nanos(span)))
            }

            /// This much earlier; saturates at the start of time.
            #[must_use]
            pub const fn minus(self, span: Duration) -> Self {
                Self(self.0.saturating_sub(nanos(span)))
            }

            /// How long after `earlier`; zero if it is not after it.
            #[must_use]
            pub const fn since(self, earlier: Self) -> Duration {
                let nanos = self.0.saturating_sub(earlier.0);
                if nanos <= 0 { Duration::ZERO } else { Duration::from_nanos(nanos.unsigned_abs()) }
            }
        }
    };
}

clock_type! {
    /// Server time: nanoseconds since the Unix epoch as the server reckons; never goes back.
    ServerTime
}
clock_type! {
    /// Storage time: mtime or ctime in nanoseconds since the Unix epoch, as the storage wrote it.
    StorageTime
}
clock_type! {
    /// An agent's wall clock, nanoseconds since the Unix epoch; never used uncorrected.
    AgentTime
}
clock_type! {
    /// Monotonic time of one process, nanoseconds since an arbitrary start.
    Monotonic
}

/// The one source of time of a process; injected, so that tests drive it.
pub trait Clock: Send + Sync + 'static {
    /// Wall-clock time.
    fn now(&self) -> ServerTime;
    /// Monotonic time, for time-outs.
    fn monotonic(&self) -> Monotonic;
}

const fn nanos(span: Duration) -> i64 {
    let nanos = span.as_nanos();
    if nanos > i64::MAX as u128 { i64::MAX } else { nanos as i64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates() {
        let late = ServerTime::MAX;
        assert_eq!(late.plus(Duration::from_secs(1)), late);
        assert_eq!(ServerTime::from_nanos(5).since(ServerTime::from_nanos(7)), Duration::ZERO);
        assert_eq!(StorageTime::from_nanos(i64::MIN).minus(Duration::MAX).as_nanos(), i64::MIN);
        assert_eq!(AgentTime::from_nanos(7).since(AgentTime::from_nanos(5)).as_nanos(), 2);
    }
}
