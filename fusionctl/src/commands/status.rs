//! `status`: the server, its views and their agents at a glance; and what it logs.

use super::once::once;
use super::picture::Picture;
use super::{connect_all, explain};
use crate::exit::Failure;
use crate::output::Printer;
use crate::profile::Profile;

pub(super) async fn run(server: &Profile, printer: &mut Printer) -> Result<(), Failure> {
    let picture = Picture::take(&mut connect_all(server)?).await;
    let picture = picture.map_err(|error| explain(&error, &server.server))?;
    printer.picture(&picture)?;
    printer.flush()
}

/// `log-filter`: what the server logs, changed first where a filter is given.
pub(super) async fn log_filter(
    server: &Profile,
    filter: Option<&str>,
    printer: &mut Printer,
) -> Result<(), Failure> {
    let mut client = connect_all(server)?;
    let failed = |error| explain(&error, &server.server);
    let now = match filter {
        Some(filter) => {
            let set = once(async || client.admin.set_log_filter(filter).await).await;
            set.map_err(failed)?.0
        }
        None => client.admin.server_info().await.map_err(failed)?.log_filter,
    };
    printer.log_filter(&now)?;
    printer.flush()
}

/// `reload`: what changed of the server's configuration.
pub(super) async fn reload(server: &Profile, printer: &mut Printer) -> Result<(), Failure> {
    let mut client = connect_all(server)?;
    let changes = once(async || client.admin.reload_config().await).await;
    printer.changes_of_config(&changes.map_err(|error| explain(&error, &server.server))?)?;
    printer.flush()
}
