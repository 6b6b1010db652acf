//! What happens in a view, of `ViewService`: watching, what changed, and waiting for quiet.

use std::time::Duration;

use fusion_core::id::Revision;
use fusion_proto::convert::view::live::{ListChanges, Quiet, WaitQuiet, WatchView};
use fusion_proto::pb;
use fusion_proto::status::Refusal;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status};

use super::super::{Services, about, draining};
use crate::service::changes;
use crate::service::wait::Wait;
use crate::service::watch::{Message, Watch};

/// Messages of a watch that wait for the client.
const QUEUE: usize = 2;
/// How long a message may wait for the client before the watcher counts as too slow.
const STALL: Duration = Duration::from_secs(30);

pub(super) type Stream<T> = ReceiverStream<Result<T, Status>>;
type Answer<T> = Result<Response<Stream<T>>, Status>;

pub(super) fn watch_view(
    services: &Services,
    request: pb::WatchViewRequest,
) -> Answer<pb::WatchViewResponse> {
    let asked = WatchView::try_from(request)?;
    about(Some(&asked.view), None);
    let watch = Watch::begin(&services.views, asked)?;
    let (out, answer) = Out::new();
    services.tasks.spawn("watch", tell_watcher(services.clone(), watch, out));
    Ok(Response::new(ReceiverStream::new(answer)))
}

pub(super) async fn list_changes(
    services: &Services,
    request: pb::ListChangesRequest,
) -> Result<Response<pb::ListChangesResponse>, Status> {
    let asked = ListChanges::try_from(request)?;
    about(Some(&asked.view), None);
    let page = changes::list(&services.views, asked).await?;
    Ok(Response::new(pb::ListChangesResponse {
        events: page.events.into_iter().map(Into::into).collect(),
        next_page_token: page.next_page_token,
        oldest_revision: page.oldest.0,
        freshness: services.freshness(&page.worth)?,
    }))
}

pub(super) fn wait_quiet(
    services: &Services,
    request: pb::WaitQuietRequest,
) -> Answer<pb::WaitQuietResponse> {
    let asked = WaitQuiet::try_from(request)?;
    about(Some(&asked.view), None);
    let wait = Wait::begin(&services.views, asked)?;
    let (out, answer) = Out::new();
    services.tasks.spawn("wait", tell_waiter(services.clone(), wait, out));
    Ok(Response::new(ReceiverStream::new(answer)))
}

/// Where a long answer goes; there is always room for how it ends.
struct Out<T> {
    out: mpsc::Sender<Result<T, Status>>,
    end: Option<mpsc::OwnedPermit<Result<T, Status>>>,
}

impl<T: Send + 'static> Out<T> {
    fn new() -> (Self, mpsc::Receiver<Result<T, Status>>) {
        let (out, answer) = mpsc::channel(QUEUE + 1);
        // An empty queue has room.
        let end = out.clone().try_reserve_owned().ok();
        (Self { out, end }, answer)
    }

    /// Ends the answer; what is on the way arrives first.
    fn end(self, refusal: Option<Refusal>) {
        if let (Some(refusal), Some(end)) = (refusal, self.end) {
            drop(end.send(Err(refusal.into())));
        }
    }

    /// Hands over a message; whether the client took one before it within [`STALL`].
    async fn send(&self, message: T) -> Sent {
        match tokio::time::timeout(STALL, self.out.send(Ok(message))).await {
            Ok(Ok(())) => Sent::Yes,
            Ok(Err(_)) => Sent::Gone,
            Err(_) => Sent::Stalled,
        }
    }
}

enum Sent {
    Yes,
    /// The client is gone.
    Gone,
    Stalled,
}

/// Tells a watcher what happens, until its client goes or is too slow, or the server goes down.
async fn tell_watcher(services: Services, watch: Watch, out: Out<pb::WatchViewResponse>) {
    let ended = until_over(&services, &out, tell_changes(&services, watch, &out)).await;
    out.end(ended);
}

/// Tells who waits why it is not quiet yet, and then that it is.
async fn tell_waiter(services: Services, wait: Wait, out: Out<pb::WaitQuietResponse>) {
    let ended = until_over(&services, &out, tell_progress(&services, wait, &out)).await;
    out.end(ended);
}

/// Tells, until all is told, the client is gone or the server goes down. How it ends.
async fn until_over<T: Send + 'static>(
    services: &Services,
    out: &Out<T>,
    telling: impl Future<Output = Option<Refusal>>,
) -> Option<Refusal> {
    tokio::select! {
        biased;
        () = services.draining.cancelled() => Some(draining()),
        () = out.out.closed() => None,
        refusal = telling => refusal,
    }
}

async fn tell_progress(
    services: &Services,
    mut wait: Wait,
    out: &Out<pb::WaitQuietResponse>,
) -> Option<Refusal> {
    loop {
        let quiet: Quiet = match wait.next().await {
            Ok(quiet) => quiet,
            Err(refusal) => return Some(refusal),
        };
        let message = match services.sendable((&quiet).try_into()) {
            Ok(message) => message,
            Err(refusal) => return Some(refusal),
        };
        if quiet.is_quiet() {
            // Waits for the client for as long as that stays.
            let _ = out.out.send(Ok(message)).await;
            return None;
        }
        // A client that is slow misses reports; the next ones say all that these did.
        let _ = out.out.try_send(Ok(message));
    }
}

async fn tell_changes(
    services: &Services,
    mut watch: Watch,
    out: &Out<pb::WatchViewResponse>,
) -> Option<Refusal> {
    let mut sent = watch.told_through();
    loop {
        let Message { events, revision } = match watch.next().await {
            Ok(message) => message,
            Err(refusal) => return Some(refusal),
        };
        let message = pb::WatchViewResponse {
            encoded: events,
            revision: revision.0,
            ..pb::WatchViewResponse::default()
        };
        match out.send(message).await {
            Sent::Yes => sent = revision,
            Sent::Gone => return None,
            Sent::Stalled => return Some(too_slow(services, &watch, sent)),
        }
    }
}

fn too_slow(services: &Services, watch: &Watch, resume_after: Revision) -> Refusal {
    services.metrics.watch_slow.with_label_values(&[watch.view().as_str()]).inc();
    Refusal::WatcherTooSlow { resume_after, retry_after: Duration::from_secs(1) }
}
