//! The time exchange: what the server's clock showed when the agent looked (4-consistency §2).
//!
//! Owns the offset from the agent's monotonic clock to server time: that of the sample with the
//! smallest round trip among the last 16. The wall clock has no part in it, so one that is hours off
//! or jumps changes nothing. Written by whoever calls the server, read by whoever sends evidence.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use fusion_core::time::{Monotonic, ServerTime};

const SAMPLES: usize = 16;

#[derive(Debug, Clone, Copy)]
struct Sample {
    round_trip: Duration,
    /// Server time less monotonic time, nanoseconds, at the middle of the round trip.
    offset: i64,
}

/// The samples of one server.
///
/// A lock, and not a task: it is held for the handling of 16 numbers, never across an await.
#[derive(Debug, Default)]
pub struct TimeExchange {
    samples: Mutex<VecDeque<Sample>>,
}

impl TimeExchange {
    /// Forgets all: another session, maybe another server.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// Takes an answer: asked at `sent`, answered at `received`, in which the server's clock showed
    /// `server`.
    pub fn add(&self, sent: Monotonic, received: Monotonic, server: ServerTime) {
        let round_trip = received.since(sent);
        let middle = sent.plus(round_trip / 2);
        let offset = server.as_nanos().saturating_sub(middle.as_nanos());
        let mut samples = self.lock();
        if samples.len() == SAMPLES {
            samples.pop_front();
        }
        samples.push_back(Sample { round_trip, offset });
    }

    /// What the server's clock showed then; `None` before the first answer.
    #[must_use]
    pub fn server_time(&self, at: Monotonic) -> Option<ServerTime> {
        let samples = self.lock();
        // Of equally good ones the latest, so that a slow drift is followed.
        let best = samples.iter().rev().min_by_key(|sample| sample.round_trip)?;
        Some(ServerTime::from_nanos(at.as_nanos().saturating_add(best.offset)))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Sample>> {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes the stamps of one lane monotone: a better sample may move the offset back by a little.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Monotone {
    last: ServerTime,
}

impl Monotone {
    /// The stamp, or the one before if that is later.
    pub(crate) fn stamp(&mut self, time: ServerTime) -> ServerTime {
        self.last = self.last.max(time);
        self.last
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOOT: i64 = 5_000_000_000;

    proptest! {
        /// Whatever the delays on the way there and back, the error is at most half of the smallest
        /// round trip among the last 16.
        #[test]
        fn the_error_is_bounded_by_the_best_round_trip(
            offset in -4_000_000_000_000_000_i64..4_000_000_000_000_000,
            delays in prop::collection::vec((0..2_000_000_000_i64, 0..2_000_000_000_i64), 1..60),
        ) {
            let exchange = TimeExchange::default();
            let mut now = BOOT;
            for &(there, back) in &delays {
                let sent = Monotonic::from_nanos(now);
                let server = ServerTime::from_nanos(now + there + offset);
                now += there + back;
                exchange.add(sent, Monotonic::from_nanos(now), server);
                now += 1_000;
            }
            let recent = &delays[delays.len().saturating_sub(SAMPLES)..];
            let best = recent.iter().map(|(there, back)| there + back).min().unwrap();
            let told = exchange.server_time(Monotonic::from_nanos(now)).unwrap();
            let error = (told.as_nanos() - (now + offset)).abs();
            prop_assert!(error <= best / 2 + 1, "error {error}, best round trip {best}");
        }

        #[test]
        fn stamps_of_a_lane_never_go_back(times in prop::collection::vec(any::<i64>(), 1..50)) {
            let mut lane = Monotone::default();
            let stamps: Vec<_> =
                times.iter().map(|&time| lane.stamp(ServerTime::from_nanos(time))).collect();
            prop_assert!(stamps.is_sorted());
        }
    }

    #[test]
    fn nothing_is_told_before_the_first_answer() {
        let exchange = TimeExchange::default();
        assert_eq!(exchange.server_time(Monotonic::from_nanos(1)), None);
        exchange.add(Monotonic::from_nanos(1), Monotonic::from_nanos(3), ServerTime::from_nanos(9));
        assert_eq!(exchange.server_time(Monotonic::from_nanos(2)), Some(ServerTime::from_nanos(9)));
        exchange.clear();
        assert_eq!(exchange.server_time(Monotonic::from_nanos(1)), None);
    }
}
