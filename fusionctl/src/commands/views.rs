//! `views`: what views the server has.

use fusion_proto::views::ViewsClient;

use crate::exit::Failure;
use crate::output::Printer;

pub(super) async fn run(client: &mut ViewsClient, printer: &mut Printer) -> Result<(), Failure> {
    let server = client.url().to_owned();
    let views = client.list_views().await.map_err(|error| super::explain(&error, &server))?;
    printer.views(&views)?;
    printer.flush()
}
