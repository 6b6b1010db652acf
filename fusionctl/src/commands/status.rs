//! `status`: the server, its views and their agents at a glance.

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
