//! Where ids and jitter come from: one injected source, so that tests can give their own.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

/// A source of ids and of chance.
pub trait Ids: Send + Sync + 'static {
    /// A UUID v4.
    fn uuid(&self) -> Uuid;

    /// A number from 0 to below 1.
    fn fraction(&self) -> f64 {
        // 53 of the random bits, at a place where a v4 has no fixed ones.
        let bits = (self.uuid().as_u128() & ((1 << 53) - 1)) as u64;
        bits as f64 / (1_u64 << 53) as f64
    }

    /// A time around `span`, at most `share` of it more or less.
    fn jitter(&self, span: Duration, share: f64) -> Duration {
        span.mul_f64((1.0 + share * (2.0 * self.fraction() - 1.0)).max(0.0))
    }
}

/// A source, shared.
pub type SharedIds = Arc<dyn Ids>;

/// The randomness of the system.
#[derive(Debug, Clone, Copy, Default)]
pub struct RandomIds;

impl Ids for RandomIds {
    fn uuid(&self) -> Uuid {
        Uuid::new_v4()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_within_its_share() {
        let ids = RandomIds;
        let span = Duration::from_secs(10);
        for _ in 0..1_000 {
            assert!((0.0..1.0).contains(&ids.fraction()));
            let jittered = ids.jitter(span, 0.1).as_secs_f64();
            assert!((9.0..=11.0).contains(&jittered), "{jittered}");
        }
    }
}
