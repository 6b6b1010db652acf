//! `views`: what views the server has; resetting one, and accepting its root.

use serde_json::json;

use super::once::once;
use super::{connect_all, explain, view_name};
use crate::cli::ViewsCommand;
use crate::exit::Failure;
use crate::output::Printer;
use crate::profile::Profile;

pub(super) async fn run(
    server: &Profile,
    command: Option<ViewsCommand>,
    printer: &mut Printer,
) -> Result<(), Failure> {
    let mut client = connect_all(server)?;
    let failed = |error| explain(&error, &server.server);
    match command {
        None => printer.views(&client.views.list_views().await.map_err(failed)?)?,
        Some(ViewsCommand::Reset { name, yes: false }) => {
            return Err(Failure::usage(format!(
                "views reset: all that is known of view {name} will be forgotten, its sessions end, \
                 and its agents list the tree anew. Say --yes if that is meant"
            )));
        }
        Some(ViewsCommand::Reset { name, yes: true }) => {
            let view = view_name("view", &name)?;
            let reset = once(async || client.admin.reset_view(&view).await).await;
            let reset = reset.map_err(failed)?;
            if printer.is_json() {
                printer.document(&json!({
                    "view": view.as_str(),
                    "revision": reset.revision,
                    "leader_epoch": reset.leader_epoch,
                    "sessions_ended": reset.sessions_ended,
                }))?;
            } else {
                let ended = reset.sessions_ended;
                printer.text(&format!("view {view} is reset; {ended} sessions were ended"))?;
            }
        }
        Some(ViewsCommand::Move { name, server: to, wait }) => {
            return super::cluster::move_view(server, &name, to.as_deref(), wait, printer).await;
        }
        Some(ViewsCommand::AcceptRoot { name }) => {
            let view = view_name("view", &name)?;
            let revision = once(async || client.admin.accept_root(&view).await).await;
            let revision = revision.map_err(failed)?;
            if printer.is_json() {
                printer.document(&json!({ "view": view.as_str(), "revision": revision }))?;
            } else {
                printer.text(&format!(
                    "view {view} accepts the root that its agents find, until it was scanned once"
                ))?;
            }
        }
    }
    printer.flush()
}
