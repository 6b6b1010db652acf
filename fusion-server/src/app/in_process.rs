//! A server without listeners, for tests and fuzzing: its calls are made in process.

use super::{Server, ServerError, tasks};
pub use crate::grpc::Edge;

impl Server {
    /// Begins all but the listeners. What was begun goes on until the runtime ends.
    ///
    /// # Errors
    /// [`ServerError::Serve`]: a service that cannot be put together.
    pub async fn edge(self) -> Result<Edge, ServerError> {
        let Self { services, guards, health, failures, scans, .. } = self;
        tasks::begin(&services, &health, failures, scans, None);
        health.set_serving().await;
        Edge::new(&services, guards, &health).map_err(ServerError::Serve)
    }
}
