//! What happens in a view, of `ViewService`: watching, what changed, and waiting for quiet.

use std::time::Duration;

use fusion_core::id::Revision;
use fusion_proto::convert::view::live::{ListChanges, Quiet, WaitQuiet, WatchView};
use fusion_proto::pb;
use fusion_proto::status::Refusal;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status};

use super::super::out::{Gone, Out};
use super::super::{Services, about};
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
    let (out, answer) = Out::new(QUEUE);
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
    let (out, answer) = Out::new(QUEUE);
    services.tasks.spawn("wait", tell_waiter(services.clone(), wait, out));
    Ok(Response::new(ReceiverStream::new(answer)))
}

/// Tells a watcher what happens, until it is too slow.
async fn tell_watcher(services: Services, watch: Watch, out: Out<pb::WatchViewResponse>) {
    out.tell(&services, async |out| tell_changes(&services, watch, out).await).await;
}

/// Tells who waits why it is not quiet yet, and then that it is.
async fn tell_waiter(services: Services, wait: Wait, out: Out<pb::WaitQuietResponse>) {
    out.tell(&services, async |out| tell_progress(&services, wait, out).await).await;
}

async fn tell_progress(
    services: &Services,
    mut wait: Wait,
    out: &Out<pb::WaitQuietResponse>,
) -> Result<(), Refusal> {
    loop {
        let quiet: Quiet = wait.next().await?;
        let message = services.sendable((&quiet).try_into())?;
        if quiet.is_quiet() {
            // Waits for the client for as long as that stays.
            let _ = out.send(message).await;
            return Ok(());
        }
        // The next report says all that one which is missed did.
        out.offer(message);
    }
}

async fn tell_changes(
    services: &Services,
    mut watch: Watch,
    out: &Out<pb::WatchViewResponse>,
) -> Result<(), Refusal> {
    let mut sent = watch.told_through();
    loop {
        let Message { events, revision } = watch.next().await?;
        let message = pb::WatchViewResponse {
            encoded: events,
            revision: revision.0,
            ..pb::WatchViewResponse::default()
        };
        match tokio::time::timeout(STALL, out.send(message)).await {
            Ok(Ok(())) => sent = revision,
            Ok(Err(Gone)) => return Ok(()),
            Err(_) => return Err(too_slow(services, &watch, sent)),
        }
    }
}

fn too_slow(services: &Services, watch: &Watch, resume_after: Revision) -> Refusal {
    services.metrics.watch_slow.with_label_values(&[watch.view().as_str()]).inc();
    Refusal::WatcherTooSlow { resume_after, retry_after: Duration::from_secs(1) }
}
