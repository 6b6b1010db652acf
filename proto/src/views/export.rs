//! Exports: rows of text in a stream that can be gone on with.

use tonic::codec::Streaming;

use super::ViewsClient;
use crate::client::CallError;
use crate::convert::view::{ExportEntries, Freshness, freshness_from_pb};
use crate::pb;

/// Some rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportPart {
    /// Whole rows, to be put one after the other.
    pub rows: bytes::Bytes,
    /// How many they are.
    pub row_count: u32,
    /// To go on after them; empty in the last part.
    pub resume_token: String,
    /// What the answer is worth; only the last part says it.
    pub freshness: Option<Freshness>,
}

/// An export that is under way; dropping it ends it.
#[derive(Debug)]
pub struct Exporting {
    stream: Streaming<pb::ExportEntriesResponse>,
}

impl Exporting {
    /// The next part; `None` after the last.
    ///
    /// # Errors
    /// The export broke off; it can be gone on with after the last part that came.
    pub async fn next(&mut self) -> Result<Option<ExportPart>, CallError> {
        let Some(part) = self.stream.message().await? else { return Ok(None) };
        let pb::ExportEntriesResponse { rows, row_count, resume_token, freshness } = part;
        let freshness = freshness.map(freshness_from_pb).transpose()?;
        Ok(Some(ExportPart { rows, row_count, resume_token, freshness }))
    }
}

impl ViewsClient {
    /// Entries as rows of text.
    ///
    /// # Errors
    /// No such view or path, a token of another request, or no server.
    pub async fn export(&mut self, asked: &ExportEntries) -> Result<Exporting, CallError> {
        let request = pb::ExportEntriesRequest::from(asked);
        Ok(Exporting { stream: self.inner.export_entries(request).await?.into_inner() })
    }
}
