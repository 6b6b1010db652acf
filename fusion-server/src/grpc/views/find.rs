//! `FindEntries`: searches one view after the other, as fast as the client takes what is found.

use fusion_core::id::ViewName;
use fusion_core::path::notation;
use fusion_core::view::Totals;
use fusion_proto::convert::stat::stat_to_pb;
use fusion_proto::convert::view::{FindEntries, ViewError, totals_to_pb};
use fusion_proto::pb;
use fusion_proto::status::Refusal;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::super::out::{Gone, Out};
use super::super::{Services, about};
use crate::service::find::{Found, Search, Wanted};
use crate::task::view::Operator;

/// Messages of a search that wait for the client.
const FOUND_QUEUE: usize = 4;

pub(super) type Stream = ReceiverStream<Result<pb::FindEntriesResponse, Status>>;

type Answer = Out<pb::FindEntriesResponse>;

impl Services {
    /// Begins a search; what is wrong with the only view is told at once.
    pub(super) async fn find(&self, asked: FindEntries, by: Operator) -> Result<Stream, Refusal> {
        about(Some(&asked.view), None);
        let wanted = Wanted::new(asked)?;
        let first = if wanted.request.more_views.is_empty() {
            Some(self.begin(&wanted, &wanted.request.view, &by).await?)
        } else {
            None
        };
        let (out, answer) = Out::new(FOUND_QUEUE);
        self.tasks.spawn("find", tell(self.clone(), wanted, first, by, out));
        Ok(ReceiverStream::new(answer))
    }

    /// Begins in one view; FRESH is demanded of each.
    async fn begin(
        &self,
        wanted: &Wanted,
        view: &ViewName,
        by: &Operator,
    ) -> Result<Search, Refusal> {
        let (class, path) = (wanted.request.class, &wanted.request.path);
        self.fresh(class, view, path, true, by.clone()).await?;
        Search::begin(&self.views, self.ids.clone(), wanted.clone(), view)
    }
}

/// Searches all views.
async fn tell(
    services: Services,
    wanted: Wanted,
    first: Option<Search>,
    by: Operator,
    out: Answer,
) {
    out.tell(&services, async |out| tell_all(&services, &wanted, first, &by, out).await).await;
}

async fn tell_all(
    services: &Services,
    wanted: &Wanted,
    mut first: Option<Search>,
    by: &Operator,
    out: &Answer,
) -> Result<(), Refusal> {
    let alone = wanted.request.more_views.is_empty();
    for view in wanted.views() {
        let search = match first.take() {
            Some(search) => Ok(search),
            None => services.begin(wanted, view, by).await,
        };
        let last = match tell_view(services, wanted, view, search, out).await {
            Ok(Ok(last)) => last,
            Ok(Err(Gone)) => return Ok(()),
            Err(refusal) if alone => return Err(refusal),
            Err(refusal) => pb::FindEntriesResponse {
                error: Some((&ViewError::from(&refusal)).into()),
                ..of(view)
            },
        };
        if let Err(Gone) = out.send(last).await {
            return Ok(());
        }
    }
    Ok(())
}

/// Tells what is found in one view; gives its last message.
async fn tell_view(
    services: &Services,
    wanted: &Wanted,
    view: &ViewName,
    search: Result<Search, Refusal>,
    out: &Answer,
) -> Result<Result<pb::FindEntriesResponse, Gone>, Refusal> {
    let mut search = search?;
    while let Some(chunks) = search.next().await? {
        for chunk in chunks {
            let message = message(view, chunk, wanted.request.with_totals);
            if let Err(gone) = out.send(message).await {
                return Ok(Err(gone));
            }
        }
    }
    let freshness = services.freshness(&search.worth())?;
    Ok(Ok(pb::FindEntriesResponse { freshness, ..of(view) }))
}

/// A message of a view with nothing in it.
fn of(view: &ViewName) -> pb::FindEntriesResponse {
    pb::FindEntriesResponse { view: view.to_string(), ..Default::default() }
}

fn message(view: &ViewName, chunk: Vec<Found>, with_totals: bool) -> pb::FindEntriesResponse {
    let below = |totals: &Totals| totals_to_pb(totals);
    let totals = if with_totals {
        chunk.iter().map(|found| below(&found.totals)).collect()
    } else {
        Vec::new()
    };
    pb::FindEntriesResponse {
        entries: chunk.into_iter().map(found_to_pb).collect(),
        totals,
        ..of(view)
    }
}

fn found_to_pb(found: Found) -> pb::Entry {
    let Found { path, stat, suspect, blind, totals: _ } = found;
    pb::Entry { path: text(path), stat: Some(stat_to_pb(&stat)), suspect, blind }
}

/// A path in the notation. Nearly all paths are printable as they are and need no copy.
pub(super) fn text(path: Vec<u8>) -> String {
    let plain = |byte: &u8| (b' '..0x7f).contains(byte) && *byte != b'\\';
    if path.iter().all(plain) {
        String::from_utf8(path).unwrap_or_default()
    } else {
        notation::to_text(&path)
    }
}
