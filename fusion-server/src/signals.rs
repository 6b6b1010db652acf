//! SIGTERM and SIGINT ask for a graceful end, SIGHUP for the configuration to be read anew.

use std::future::Future;

use tokio::signal::unix::{Signal, SignalKind, signal};

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

/// Tells of each time that the configuration is to be read anew. Listens from now on.
pub(crate) fn told_to_reload() -> std::io::Result<Signal> {
    signal(SignalKind::hangup())
}
