//! A picture of the whole server: what `status` shows and `doctor` judges.

use fusion_core::time::ServerTime;
use fusion_proto::client::{CallError, Client};
use fusion_proto::convert::admin::{ListedServer, ServerInfo};
use fusion_proto::convert::session::SessionInfo;
use fusion_proto::views::ViewInfo;

/// All that a server says of itself.
#[derive(Debug, Clone)]
pub(crate) struct Picture {
    /// Its URL.
    pub(crate) url: String,
    pub(crate) server: ServerInfo,
    /// All servers, where it is one of several.
    pub(crate) servers: Vec<ListedServer>,
    /// By name, each with its live sessions.
    pub(crate) views: Vec<(ViewInfo, Vec<SessionInfo>)>,
    /// This machine's clock when the server's answer came.
    pub(crate) here: ServerTime,
}

impl Picture {
    /// Asks for it.
    ///
    /// # Errors
    /// The server refused or cannot be reached.
    pub(crate) async fn take(client: &mut Client) -> Result<Self, CallError> {
        let server = client.admin.server_info().await?;
        let here = ServerTime::from_nanos(
            i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX),
        );
        // One that is alone has no others to tell of.
        let servers = match server.member {
            Some(_) => client.admin.servers().await?,
            None => Vec::new(),
        };
        let mut views: Vec<(ViewInfo, Vec<SessionInfo>)> = Vec::new();
        for view in client.views.list_views().await? {
            views.push((view, Vec::new()));
        }
        for session in super::sessions::all(client, None).await? {
            let of = views.iter_mut().find(|(view, _)| view.name == session.view);
            if let Some((_, sessions)) = of {
                sessions.push(session);
            }
        }
        let url = client.views.url().to_owned();
        Ok(Self { url, server, servers, views, here })
    }
}
