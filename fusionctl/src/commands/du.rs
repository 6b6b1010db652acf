//! `du`: totals of what lies below a path; the server keeps them, so nothing is counted now.

use fusion_core::path::notation;

use crate::exit::Failure;
use crate::output::Printer;

use super::{Target, warn_unless_ready};

pub(super) async fn run(target: &mut Target, printer: &mut Printer) -> Result<(), Failure> {
    let answer = target.client.totals(&target.view, &target.path).await;
    let answer = answer.map_err(|error| target.explain(&error))?;
    warn_unless_ready(&target.view, &answer.freshness);
    let path = notation::to_text(target.path.as_bytes());
    printer.totals(&target.view, &path, &answer.totals, &answer.freshness)?;
    printer.flush()
}
