//! Several servers: which there are, with what views, and a view that is to move.

use std::time::Duration;

use fusion_core::id::ViewName;
use uuid::Uuid;

use crate::convert::time::{duration_from_pb, duration_to_pb};
use crate::convert::view::view_name;
use crate::convert::{ConvertError, InField as _, Unsendable};
use crate::pb;

/// A server, for as long as it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedServer {
    /// Its id, drawn when it started.
    pub server: Uuid,
    /// Where others reach it; empty if it is alone.
    pub address: String,
    /// Its version.
    pub version: String,
    /// Memory that it may use; 0 if it is alone.
    pub memory_bytes: u64,
    /// It gives its views away, and takes none.
    pub draining: bool,
    /// It is the one that answers.
    pub answers: bool,
    /// Its views, by name.
    pub views: Vec<ListedView>,
    /// It has said nothing for the lease: it is taken for dead, and owns nothing.
    pub silent: bool,
    /// How long ago it was seen to say something; absent if it is alone.
    pub silent_for: Option<Duration>,
}

/// A view on a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedView {
    /// Its name.
    pub view: ViewName,
    /// The server owns it; else it follows. A silent server owns nothing.
    pub owned: bool,
    /// The number of the view's ownership.
    pub epoch: u64,
    /// The revision that the server has.
    pub revision: u64,
    /// Revisions that it is behind its owner.
    pub lag: u64,
    /// The server that is to own it, if somebody said so.
    pub next: Option<Uuid>,
}

impl TryFrom<ListedServer> for pb::Server {
    type Error = Unsendable;

    fn try_from(listed: ListedServer) -> Result<Self, Unsendable> {
        let ListedServer { server, silent_for, .. } = listed;
        let silent_for = silent_for.map(|span| duration_to_pb("silent_for", span)).transpose()?;
        Ok(Self {
            server_id: server.to_string(),
            address: listed.address,
            version: listed.version,
            memory_bytes: listed.memory_bytes,
            draining: listed.draining,
            answers: listed.answers,
            views: listed.views.into_iter().map(Into::into).collect(),
            silent: listed.silent,
            silent_for,
        })
    }
}

impl From<ListedView> for pb::ServerView {
    fn from(listed: ListedView) -> Self {
        let ListedView { view, owned, epoch, revision, lag, next } = listed;
        let next_server_id = next.map(|id| id.to_string()).unwrap_or_default();
        Self { view: view.to_string(), owned, epoch, revision, lag, next_server_id }
    }
}

impl TryFrom<pb::Server> for ListedServer {
    type Error = ConvertError;

    fn try_from(server: pb::Server) -> Result<Self, ConvertError> {
        let silent_for = server.silent_for.as_ref().map(duration_from_pb).transpose();
        let views = server.views.into_iter().map(ListedView::try_from).collect::<Result<_, _>>()?;
        Ok(Self {
            server: server_uuid(&server.server_id)?,
            address: server.address,
            version: server.version,
            memory_bytes: server.memory_bytes,
            draining: server.draining,
            answers: server.answers,
            views,
            silent: server.silent,
            silent_for: silent_for.in_field("silent_for")?,
        })
    }
}

impl TryFrom<pb::ServerView> for ListedView {
    type Error = ConvertError;

    fn try_from(listed: pb::ServerView) -> Result<Self, ConvertError> {
        let pb::ServerView { view, owned, epoch, revision, lag, next_server_id } = listed;
        let next = Some(next_server_id).filter(|id| !id.is_empty());
        let next = next.map(|id| server_uuid(&id)).transpose()?;
        Ok(Self { view: view_name(&view)?, owned, epoch, revision, lag, next })
    }
}

/// A view, and the server that is to own it, if one is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MoveView {
    /// The view.
    pub view: ViewName,
    /// The server; whichever, if none is named.
    pub to: Option<Uuid>,
}

impl TryFrom<pb::MoveViewRequest> for MoveView {
    type Error = ConvertError;

    fn try_from(request: pb::MoveViewRequest) -> Result<Self, ConvertError> {
        let pb::MoveViewRequest { view, server_id } = request;
        let to = Some(server_id).filter(|id| !id.is_empty());
        let to = to.map(|id| server_uuid(&id)).transpose()?;
        Ok(Self { view: view_name(&view)?, to })
    }
}

/// The id of a server.
///
/// # Errors
/// It is no UUID.
pub fn server_uuid(text: &str) -> Result<Uuid, ConvertError> {
    Uuid::try_parse(text).map_err(|_| ConvertError::invalid("server_id", "a UUID is needed"))
}
