//! `ViewService`.

mod live;

use fusion_core::id::ViewName;
use fusion_core::path::{PathRef, notation};
use fusion_core::view::EntryInfo;
use fusion_proto::convert::stat::{entry_to_pb, stat_to_pb};
use fusion_proto::convert::time::server_time_to_pb;
use fusion_proto::convert::view::{
    FindEntries, GetPath, ListEntries, Page, freshness_to_pb, totals_to_pb,
};
use fusion_proto::entries::EncodedEntries;
use fusion_proto::pb;
use fusion_proto::pb::view_service_server::ViewService;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{Services, about};
use crate::service::find::{Found, Search};
use crate::service::views::Worth;
use crate::task::view::ViewHandle;

/// Bytes that a page of entries has room for at first: some 250 entries.
const PAGE_ROOM: usize = 16 * 1024;
/// Messages of a search that wait for the client.
const FOUND_QUEUE: usize = 4;

pub(super) struct Handler(pub(super) Services);

impl Services {
    fn freshness(&self, worth: &Worth) -> Result<Option<pb::Freshness>, Status> {
        Ok(Some(self.sendable(freshness_to_pb(&worth.status, worth.quiet_for))?))
    }

    fn view(&self, view: &ViewHandle) -> Result<pb::View, Status> {
        let worth = Worth { status: self.views.status(view), quiet_for: None };
        let of = self.sessions.of_view(view.name());
        let totals = view.reader().totals(PathRef::ROOT).unwrap_or_default();
        Ok(pb::View {
            name: view.name().to_string(),
            totals: Some(totals_to_pb(&totals)),
            freshness: self.freshness(&worth)?,
            leader_agent_id: of.leader,
            leader_epoch: of.last_epoch.0,
            sessions: of.live,
            created_at: Some(server_time_to_pb(view.created_at())),
        })
    }
}

#[tonic::async_trait]
impl ViewService for Handler {
    async fn list_views(
        &self,
        request: Request<pb::ListViewsRequest>,
    ) -> Result<Response<pb::ListViewsResponse>, Status> {
        let (rows, next_page_token) = self.0.views.list(&Page::try_from(request.into_inner())?)?;
        let views = rows.iter().map(|view| self.0.view(view)).collect::<Result<_, _>>()?;
        Ok(Response::new(pb::ListViewsResponse { views, next_page_token }))
    }

    async fn get_view(
        &self,
        request: Request<pb::GetViewRequest>,
    ) -> Result<Response<pb::GetViewResponse>, Status> {
        let view = self.0.views.get(&ViewName::try_from(request.into_inner())?)?;
        Ok(Response::new(pb::GetViewResponse { view: Some(self.0.view(&view)?) }))
    }

    async fn get_entry(
        &self,
        request: Request<pb::GetEntryRequest>,
    ) -> Result<Response<pb::GetEntryResponse>, Status> {
        let asked = GetPath::try_from(request.into_inner())?;
        about(Some(&asked.view), None);
        let (entry, worth) = self.0.views.entry(&asked)?;
        let EntryInfo { stat, suspect, blind, totals } = entry;
        Ok(Response::new(pb::GetEntryResponse {
            entry: Some(entry_to_pb(asked.path.as_ref(), &stat, suspect, blind)),
            totals: totals.as_ref().map(totals_to_pb),
            freshness: self.0.freshness(&worth)?,
        }))
    }

    async fn list_entries(
        &self,
        request: Request<pb::ListEntriesRequest>,
    ) -> Result<Response<pb::ListEntriesResponse>, Status> {
        let asked = ListEntries::try_from(request.into_inner())?;
        about(Some(&asked.view), None);
        let mut stem = notation::to_text(asked.path.as_bytes());
        if !asked.path.as_ref().is_root() {
            stem.push('/');
        }
        let mut encoded = EncodedEntries::with_capacity(PAGE_ROOM);
        let (next_page_token, worth) = self.0.views.children(&asked, |name, entry| {
            let before = encoded.len();
            encoded.push(&stem, name, &entry.stat, entry.suspect, entry.blind);
            encoded.len() - before
        })?;
        let freshness = self.0.freshness(&worth)?;
        let entries = Vec::new();
        Ok(Response::new(pb::ListEntriesResponse { entries, encoded, next_page_token, freshness }))
    }

    async fn get_stats(
        &self,
        request: Request<pb::GetStatsRequest>,
    ) -> Result<Response<pb::GetStatsResponse>, Status> {
        let asked = GetPath::try_from(request.into_inner())?;
        about(Some(&asked.view), None);
        let (totals, worth) = self.0.views.totals(&asked)?;
        let (totals, freshness) = (Some(totals_to_pb(&totals)), self.0.freshness(&worth)?);
        Ok(Response::new(pb::GetStatsResponse { totals, freshness }))
    }

    type FindEntriesStream = ReceiverStream<Result<pb::FindEntriesResponse, Status>>;

    async fn find_entries(
        &self,
        request: Request<pb::FindEntriesRequest>,
    ) -> Result<Response<Self::FindEntriesStream>, Status> {
        let asked = FindEntries::try_from(request.into_inner())?;
        about(Some(&asked.view), None);
        let search = Search::begin(&self.0.views, self.0.ids.clone(), asked)?;
        let (out, answer) = mpsc::channel(FOUND_QUEUE);
        self.0.tasks.spawn("find", tell(self.0.clone(), search, out));
        Ok(Response::new(ReceiverStream::new(answer)))
    }

    type WatchViewStream = ReceiverStream<Result<pb::WatchViewResponse, Status>>;

    async fn watch_view(
        &self,
        request: Request<pb::WatchViewRequest>,
    ) -> Result<Response<Self::WatchViewStream>, Status> {
        live::watch_view(&self.0, request.into_inner())
    }

    async fn list_changes(
        &self,
        request: Request<pb::ListChangesRequest>,
    ) -> Result<Response<pb::ListChangesResponse>, Status> {
        live::list_changes(&self.0, request.into_inner()).await
    }

    type WaitQuietStream = ReceiverStream<Result<pb::WaitQuietResponse, Status>>;

    async fn wait_quiet(
        &self,
        request: Request<pb::WaitQuietRequest>,
    ) -> Result<Response<Self::WaitQuietStream>, Status> {
        live::wait_quiet(&self.0, request.into_inner())
    }
}

type Answer = mpsc::Sender<Result<pb::FindEntriesResponse, Status>>;

/// Searches as fast as the client takes it; ends when the client is gone or the server goes down.
async fn tell(services: Services, mut search: Search, out: Answer) {
    let told = tokio::select! {
        told = tell_all(&services, &mut search, &out) => told,
        () = services.draining.cancelled() => Err(super::draining().into()),
    };
    if let Err(status) = told {
        // There may be no room for it, and then the client does not listen either.
        let _ = out.try_send(Err(status));
    }
}

async fn tell_all(services: &Services, search: &mut Search, out: &Answer) -> Result<(), Status> {
    while let Some(chunks) = search.next().await? {
        for chunk in chunks {
            let entries = chunk.into_iter().map(found_to_pb).collect();
            let message = pb::FindEntriesResponse { entries, freshness: None };
            if out.send(Ok(message)).await.is_err() {
                return Ok(());
            }
        }
        if out.is_closed() {
            return Ok(());
        }
    }
    let freshness = services.freshness(&search.worth())?;
    let _ = out.send(Ok(pb::FindEntriesResponse { entries: Vec::new(), freshness })).await;
    Ok(())
}

fn found_to_pb(found: Found) -> pb::Entry {
    let Found { path, stat, suspect, blind } = found;
    pb::Entry { path: text(path), stat: Some(stat_to_pb(&stat)), suspect, blind }
}

/// A path in the notation. Nearly all paths are printable as they are and need no copy.
fn text(path: Vec<u8>) -> String {
    let plain = |byte: &u8| (b' '..0x7f).contains(byte) && *byte != b'\\';
    if path.iter().all(plain) {
        String::from_utf8(path).unwrap_or_default()
    } else {
        notation::to_text(&path)
    }
}
