//! Where identifiers come from; injected, so that a test can foresee them.

use uuid::Uuid;

/// A source of fresh UUIDs v4.
pub trait Ids: Send + Sync + 'static {
    /// A UUID v4 that was never given before.
    fn draw(&self) -> Uuid;
}

/// Draws from the operating system's source of randomness.
#[derive(Debug, Clone, Copy, Default)]
pub struct RandomIds;

impl Ids for RandomIds {
    fn draw(&self) -> Uuid {
        Uuid::new_v4()
    }
}
