//! SIGTERM and SIGINT: both ask for a graceful end.

use std::future::Future;

use tokio::signal::unix::{SignalKind, signal};

/// Ready when the process is told to end. Listens from now on.
pub(crate) fn told_to_end() -> std::io::Result<impl Future<Output = ()> + Send> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
