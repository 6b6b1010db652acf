//! `sessions`: who is connected, and the end of a session.

use fusion_core::id::{SessionId, ViewName};
use fusion_proto::client::{CallError, Client};
use fusion_proto::convert::session::{EvictSession, ListSessions, SessionInfo};
use fusion_proto::convert::view::Page;

use super::once::once;
use super::pages::pages;
use super::{connect_all, explain, view_name};
use crate::cli::SessionsCommand;
use crate::exit::Failure;
use crate::output::Printer;
use crate::profile::Profile;

pub(super) async fn run(
    server: &Profile,
    command: Option<SessionsCommand>,
    view: Option<&str>,
    printer: &mut Printer,
) -> Result<(), Failure> {
    let mut client = connect_all(server)?;
    let failed = |error: CallError| explain(&error, &server.server);
    match command {
        None => {
            let view = view.map(|name| view_name("--view", name)).transpose()?;
            let sessions = all(&mut client, view).await.map_err(failed)?;
            printer.sessions_head()?;
            sessions.iter().try_for_each(|session| printer.session(session))?;
        }
        Some(SessionsCommand::Evict { id }) => {
            let session = SessionId::parse(&id)
                .map_err(|error| Failure::usage(format!("session `{id}`: {error}")))?;
            let asked = EvictSession { session, allow_missing: false };
            let evicted = once(async || client.admin.evict(&asked).await).await.map_err(failed)?;
            evicted.iter().try_for_each(|session| printer.session(session))?;
        }
    }
    printer.flush()
}

/// All live sessions, of a view or of all.
pub(super) async fn all(
    client: &mut Client,
    view: Option<ViewName>,
) -> Result<Vec<SessionInfo>, CallError> {
    let mut asked = ListSessions { view, page: Page::default() };
    let mut sessions = Vec::new();
    let listed = pages(async |token| {
        asked.page.token = token;
        let (page, next) = client.sessions.list(&asked).await?;
        sessions.extend(page);
        Ok(next)
    });
    listed.await.map(|()| sessions)
}
