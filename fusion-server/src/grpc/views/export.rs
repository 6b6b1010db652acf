//! `ExportEntries`.

use fusion_proto::convert::view::ExportEntries;
use fusion_proto::pb;
use fusion_proto::status::Refusal;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::super::{Services, about, draining};
use crate::service::export::{Export, Part};

/// Messages of an export that wait for the client.
const QUEUE: usize = 4;

pub(super) type Stream = ReceiverStream<Result<pb::ExportEntriesResponse, Status>>;

type Answer = mpsc::Sender<Result<pb::ExportEntriesResponse, Status>>;

impl Services {
    pub(super) fn export(&self, asked: ExportEntries) -> Result<Stream, Refusal> {
        about(Some(&asked.view), None);
        let export = Export::begin(&self.views, self.ids.clone(), asked)?;
        let (out, answer) = mpsc::channel(QUEUE);
        self.tasks.spawn("export", tell(self.clone(), export, out));
        Ok(ReceiverStream::new(answer))
    }
}

/// Exports as fast as the client takes it, until all is told, it is gone or the server goes down.
async fn tell(services: Services, mut export: Export, out: Answer) {
    let told = tokio::select! {
        told = tell_all(&services, &mut export, &out) => told,
        () = services.draining.cancelled() => Err(draining()),
        () = out.closed() => Ok(()),
    };
    if let Err(refusal) = told {
        // If there is no room for it the stream ends all the same, without its last message.
        let _ = out.try_send(Err(refusal.into()));
    }
}

async fn tell_all(services: &Services, export: &mut Export, out: &Answer) -> Result<(), Refusal> {
    while let Some(parts) = export.next().await? {
        for Part { rows, count, token } in parts {
            let message = pb::ExportEntriesResponse {
                rows: rows.into(),
                row_count: u32::try_from(count).unwrap_or(u32::MAX),
                resume_token: token,
                freshness: None,
            };
            if out.send(Ok(message)).await.is_err() {
                return Ok(());
            }
        }
    }
    let freshness = services.freshness(&export.worth())?;
    let last = pb::ExportEntriesResponse { freshness, ..Default::default() };
    // Who is gone by now is not told.
    let _ = out.send(Ok(last)).await;
    Ok(())
}
