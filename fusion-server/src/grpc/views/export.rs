//! `ExportEntries`.

use fusion_proto::convert::view::ExportEntries;
use fusion_proto::pb;
use fusion_proto::status::Refusal;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::super::out::{Gone, Out};
use super::super::{Services, about};
use crate::service::export::{Export, Part};

/// Messages of an export that wait for the client.
const QUEUE: usize = 4;

pub(super) type Stream = ReceiverStream<Result<pb::ExportEntriesResponse, Status>>;

impl Services {
    pub(super) fn export(&self, asked: ExportEntries) -> Result<Stream, Refusal> {
        about(Some(&asked.view), None);
        let export = Export::begin(&self.views, self.ids.clone(), asked)?;
        let (out, answer) = Out::new(QUEUE);
        self.tasks.spawn("export", tell(self.clone(), export, out));
        Ok(ReceiverStream::new(answer))
    }
}

/// Exports as fast as the client takes it.
async fn tell(services: Services, mut export: Export, out: Out<pb::ExportEntriesResponse>) {
    out.tell(&services, async |out| tell_all(&services, &mut export, out).await).await;
}

async fn tell_all(
    services: &Services,
    export: &mut Export,
    out: &Out<pb::ExportEntriesResponse>,
) -> Result<(), Refusal> {
    while let Some(parts) = export.next().await? {
        for Part { rows, count, token } in parts {
            let message = pb::ExportEntriesResponse {
                rows: rows.into(),
                row_count: u32::try_from(count).unwrap_or(u32::MAX),
                resume_token: token,
                freshness: None,
            };
            if let Err(Gone) = out.send(message).await {
                return Ok(());
            }
        }
    }
    let freshness = services.freshness(&export.worth())?;
    let last = pb::ExportEntriesResponse { freshness, ..Default::default() };
    // Who is gone by now is not told.
    let _ = out.send(last).await;
    Ok(())
}
