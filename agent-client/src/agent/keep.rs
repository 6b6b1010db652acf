//! Keeps the parts of the agent going: one that breaks off is begun anew, and the heartbeat says so.
//!
//! Owns when that happens: at once after a healthy while, else with back-off. Called by `agent` for
//! every part that runs on. Must never: swallow the end of a part that ends by itself. The watcher,
//! whose parts are threads, has its own keeper in `watching`; a scan that breaks off is begun anew by
//! `duties`; a part of the link ends its session and another is begun.

use std::any::Any;
use std::convert::Infallible;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;

use super::shared::Shared;
use crate::link::backoff::Backoff;

/// After so long without breaking off again a part counts as sound, and the heartbeat no longer tells
/// of it.
const SOUND_AFTER: Duration = Duration::from_secs(30);

/// Something that runs for as long as the agent, or to an end of its own.
pub(crate) trait Part: Send {
    /// For the log, the heartbeat and the metrics.
    const NAME: &'static str;
    /// What its end says.
    type End: Send;

    /// Works. Called again after it broke off, and then may find its own fields half done.
    fn run(&mut self) -> impl Future<Output = Self::End> + Send;

    /// Puts in order what breaking off may have left half done.
    fn broke_off(&mut self);
}

/// Runs a part to its own end.
pub(crate) async fn keep<P: Part>(shared: Arc<Shared>, mut part: P) -> P::End {
    let mut backoff = Backoff::default();
    let mut broken = false;
    loop {
        backoff.healthy(shared.clock.monotonic());
        let run = AssertUnwindSafe(part.run()).catch_unwind();
        let why = tokio::select! {
            ended = run => match ended {
                Ok(end) => return end,
                Err(panic) => text_of(&*panic).to_owned(),
            },
            never = sound::<P>(&shared, broken) => match never {},
        };
        broken = true;
        tracing::error!(part = P::NAME, "broke off and is begun anew: {why}");
        shared.metrics.restarts.with_label_values(&[P::NAME]).inc();
        shared.state.broken(P::NAME, Some(format!("broke off and was begun anew: {why}")));
        part.broke_off();
        let wait = backoff.failed(shared.clock.monotonic(), &*shared.ids);
        tokio::time::sleep(wait).await;
    }
}

/// Takes back what was told of a part that broke off, when it has held since.
async fn sound<P: Part>(shared: &Shared, broken: bool) -> Infallible {
    if broken {
        tokio::time::sleep(SOUND_AFTER).await;
        shared.state.broken(P::NAME, None);
    }
    std::future::pending().await
}

/// What a panic said.
fn text_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic that says nothing")
}
