//! The long answers of `ViewService`: watching, and waiting for quiet.

use std::time::Duration;

use fusion_core::id::Revision;
use fusion_proto::convert::view::live::WatchView;
use fusion_proto::pb;
use fusion_proto::status::Refusal;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status};

use super::super::{Services, about, draining};
use crate::service::watch::{Message, Watch};

/// Messages of a watch that wait for the client.
const QUEUE: usize = 2;
/// How long a message may wait for the client before the watcher counts as too slow.
const STALL: Duration = Duration::from_secs(30);

type Answer<T> = Result<Response<ReceiverStream<Result<T, Status>>>, Status>;

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
    let gone = out.out.clone();
    let refusal = tokio::select! {
        biased;
        () = services.draining.cancelled() => Some(draining()),
        () = gone.closed() => None,
        refusal = tell_changes(&services, watch, &out) => refusal,
    };
    if let (Some(refusal), Some(end)) = (refusal, out.end) {
        drop(end.send(Err(refusal.into())));
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
