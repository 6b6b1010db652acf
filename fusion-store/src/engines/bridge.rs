//! The way from a port, whose calls wait, to a client that is asynchronous.
//!
//! An adapter owns one bridge: a small runtime on one thread of its own, so that an engine which
//! hangs takes no thread of the server's runtime, and a server whose runtime is busy starves no
//! engine. Called by adapters alone, from any thread, also from a worker of another runtime. Must
//! never: wait without a limit, run work on the thread of the caller, or panic because of work that
//! did. Work must not call [`Bridge::run`] of its own bridge: its one thread would wait for itself.

#![cfg_attr(
    not(any(feature = "postgres", feature = "redis")),
    allow(dead_code, reason = "adapters use it, and none is built")
)]

use std::future::Future;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::task::AbortHandle;

use crate::error::StoreError;

/// A runtime on a thread of its own, until it is dropped: then all its work ends.
#[derive(Debug)]
pub(crate) struct Bridge {
    /// Told in errors: the engine and its address, without a secret.
    engine: String,
    /// Taken when it is dropped.
    runtime: Option<Runtime>,
}

impl Bridge {
    /// Starts the thread, called `thread` (at most 15 bytes are shown by the system). `engine` is
    /// what errors call the other side, such as `PostgreSQL at db:5432`: it must hold no secret.
    ///
    /// # Errors
    /// `Away` if the system gives no thread.
    pub(crate) fn new(thread: &str, engine: impl Into<String>) -> Result<Self, StoreError> {
        let engine = engine.into();
        let mut builder = Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).thread_name(thread).enable_all().build();
        let runtime = runtime.map_err(|error| StoreError::Away {
            what: "start a thread for",
            engine: engine.clone(),
            why: error.to_string(),
        })?;
        Ok(Self { engine, runtime: Some(runtime) })
    }

    /// What errors call the other side.
    pub(crate) fn engine(&self) -> &str {
        &self.engine
    }

    /// Runs work on the bridge's thread and waits for what comes of it, at most for `limit`; then
    /// the work is dropped where it stands. `what` is a verb that the engine follows: `read from`, `write to`.
    ///
    /// # Errors
    /// What the work ends with; `Away` after the limit, or if the work panicked. Then nobody knows
    /// how much of it the engine has done.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        what: &'static str,
        limit: Duration,
        work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (sender, receiver) = sync_channel(1);
        let task = self.spawn(async move {
            // Nobody waits any more: the work was too late, and that has been said.
            let _ = sender.send(work.await);
        })?;
        let why = match receiver.recv_timeout(limit) {
            Ok(outcome) => return outcome,
            Err(RecvTimeoutError::Timeout) => format!("it has not answered within {limit:?}"),
            Err(RecvTimeoutError::Disconnected) => "the call broke off".to_owned(),
        };
        task.abort();
        Err(StoreError::Away { what, engine: self.engine.clone(), why })
    }

    /// Begins work that nobody waits for; it ends by itself, by the handle, or with the bridge.
    ///
    /// # Errors
    /// `Closed` while the bridge is being dropped.
    pub(crate) fn spawn(
        &self,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> Result<AbortHandle, StoreError> {
        let runtime = self.runtime.as_ref().ok_or(StoreError::Closed)?;
        Ok(runtime.spawn(work).abort_handle())
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // A runtime that is dropped waits, which a worker of another runtime must not.
            runtime.shutdown_background();
        }
    }
}

/// An error with its causes, as one line.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let told = cause.to_string();
        if !line.contains(&told) {
            line = format!("{line}: {told}");
        }
        source = cause.source();
    }
    line.replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn bridge() -> Bridge {
        Bridge::new("bridge-test", "an engine").unwrap()
    }

    #[test]
    fn it_hands_over_what_comes_of_the_work() {
        let bridge = bridge();
        assert_eq!(bridge.run("read", LONG, async { Ok(7) }).unwrap(), 7);
        let closed = bridge.run::<()>("read", LONG, async { Err(StoreError::Closed) });
        assert!(matches!(closed, Err(StoreError::Closed)));
        assert_eq!(bridge.engine(), "an engine");
        assert_eq!(causes(&std::io::Error::other("it is\nmaintained")), "it is maintained");
    }

    #[test]
    fn work_beyond_its_limit_is_dropped_and_the_next_one_runs() {
        let bridge = bridge();
        let (held, watched) = std::sync::mpsc::channel::<()>();
        let late = bridge.run::<()>("write to", Duration::from_millis(20), async move {
            let _held = held;
            std::future::pending().await
        });
        let told = late.unwrap_err().to_string();
        assert!(
            told.starts_with("cannot write to an engine: it has not answered within 20ms"),
            "{told}"
        );
        assert!(watched.recv().is_err(), "it is dropped");
        bridge.run("read", LONG, async { Ok(()) }).unwrap();
    }

    #[test]
    fn work_that_panics_is_an_error() {
        let bridge = bridge();
        let broken = bridge.run::<()>("read", LONG, async { panic!("of a client") });
        assert!(broken.unwrap_err().is_of_the_engine());
        bridge.run("read", LONG, async { Ok(()) }).unwrap();
    }

    #[test]
    fn a_worker_of_another_runtime_may_call_and_drop_it() {
        let runtime = Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let bridge = bridge();
            assert_eq!(bridge.run("read", LONG, async { Ok(1) }).unwrap(), 1);
            drop(bridge);
        });
    }

    #[test]
    fn its_work_ends_with_it() {
        let bridge = bridge();
        let (held, watched) = std::sync::mpsc::channel::<()>();
        let work = async move {
            let _held = held;
            std::future::pending().await
        };
        bridge.spawn(work).unwrap();
        drop(bridge);
        assert!(watched.recv().is_err());
    }
}
