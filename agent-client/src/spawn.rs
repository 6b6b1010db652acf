//! The one place where tasks and threads begin: each has a name, an owner and an end.
//!
//! A [`Task`] is owned by whoever holds it and ends when that is dropped, so nothing runs on behind
//! an agent that is gone. Threads get their end from whoever starts them (a flag or a channel).

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::task::JoinHandle;
use tracing::Instrument as _;

/// A running task; dropping it ends the task at its next await.
#[derive(Debug)]
pub struct Task<T> {
    name: &'static str,
    handle: JoinHandle<T>,
}

/// A task did not come to its own end.
#[derive(Debug, thiserror::Error)]
#[error("task `{name}` broke off: {source}")]
pub struct TaskError {
    name: &'static str,
    source: tokio::task::JoinError,
}

/// Starts a task.
#[allow(clippy::disallowed_methods, reason = "this is the helper that the ban points to")]
pub fn spawn<T: Send + 'static>(
    name: &'static str,
    future: impl Future<Output = T> + Send + 'static,
) -> Task<T> {
    let span = tracing::debug_span!("task", name);
    Task { name, handle: tokio::spawn(future.instrument(span)) }
}

/// Starts a thread that nothing waits for; `body` sees to its own end.
///
/// # Errors
/// The system gives no more threads.
pub fn spawn_thread<T: Send + 'static>(
    name: &str,
    body: impl FnOnce() -> T + Send + 'static,
) -> io::Result<std::thread::JoinHandle<T>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(body)
}

impl<T> Future for Task<T> {
    type Output = Result<T, TaskError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let name = self.name;
        Pin::new(&mut self.handle)
            .poll(context)
            .map(|result| result.map_err(|source| TaskError { name, source }))
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.handle.abort();
    }
}
