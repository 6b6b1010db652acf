//! `stat`: one entry, and what lies below it if it is a directory.

use crate::exit::Failure;
use crate::output::Printer;

use super::{Target, warn_unless_ready};

pub(super) async fn run(target: &mut Target, printer: &mut Printer) -> Result<(), Failure> {
    let answer = target.client.entry(&target.view, &target.path).await;
    let answer = answer.map_err(|error| target.explain(&error))?;
    warn_unless_ready(&target.view, &answer.freshness);
    printer.stat(&target.view, &answer)?;
    printer.flush()
}
