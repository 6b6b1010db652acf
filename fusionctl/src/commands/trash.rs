//! `trash`: what went and can be put back.

use fusion_core::change::TrashId;

use super::once::once;
use super::pages::pages;
use super::{Target, connect, named_view, the_view, warn_unless_ready};
use crate::cli::{TrashCommand, ViewArg};
use crate::exit::Failure;
use crate::output::Printer;
use crate::profile::Profile;

pub(super) async fn run(
    server: &Profile,
    command: TrashCommand,
    printer: &mut Printer,
) -> Result<(), Failure> {
    match command {
        TrashCommand::List { path, view } => {
            list(&mut Target::resolve(server, &path, &view).await?, printer).await
        }
        TrashCommand::Restore { ids, view } => each(server, &ids, &view, true, printer).await,
        TrashCommand::Purge { ids, view } => each(server, &ids, &view, false, printer).await,
    }
}

async fn list(target: &mut Target, printer: &mut Printer) -> Result<(), Failure> {
    let told = pages(async |token| {
        let page = target.client.trash(&target.view, &target.path, &token).await;
        let page = page.map_err(|error| target.explain(&error))?;
        if token.is_empty() {
            warn_unless_ready(&target.view, &page.freshness);
            printer.trash_head()?;
        }
        page.rows.iter().try_for_each(|row| printer.trash(row, None))?;
        Ok(page.next_page_token)
    });
    told.await.and_then(|()| printer.flush())
}

/// Restores or purges one record after the other; what was done before a refusal stays done, and is
/// told.
async fn each(
    server: &Profile,
    ids: &[u64],
    view: &ViewArg,
    restore: bool,
    printer: &mut Printer,
) -> Result<(), Failure> {
    let mut client = connect(server)?;
    let view = the_view(&mut client, server, named_view(view)?).await?;
    for id in ids.iter().map(|id| TrashId(*id)) {
        let done = once(async || {
            if restore { client.restore(&view, id).await } else { client.purge(&view, id).await }
        });
        let done = done.await;
        match done {
            Ok(record) => {
                printer.trash(&record, Some(if restore { "restored" } else { "purged" }))?;
            }
            Err(error) => {
                printer.flush()?;
                return Err(super::explain(&error, &server.server));
            }
        }
    }
    printer.flush()
}
