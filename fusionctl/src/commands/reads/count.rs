//! `top`, `who` and `breakdown`: what the files below a path are made of, counted now.

use fusion_core::path::notation;
use fusion_proto::views::{Breakdown, Freshness};
use indicatif::ProgressBar;

use super::{Target, owner, warn_unless_ready};
use crate::cli::reads::{Counted, Top};
use crate::exit::Failure;
use crate::output::{Part, Printer};

pub(super) async fn top(
    target: &mut Target,
    asked: &Top,
    printer: &mut Printer,
) -> Result<(), Failure> {
    let parts = [
        (asked.files, Part::LargestFiles),
        (asked.directories, Part::LargestDirectories),
        (asked.newest, Part::NewestDirectories),
    ];
    let all = parts.iter().all(|(wanted, _)| !wanted);
    let parts = parts.iter().filter(|(wanted, _)| all || *wanted).map(|(_, part)| *part);
    let parts: Vec<Part> = parts.collect();
    show(target, asked.rows, &parts, printer).await
}

pub(super) async fn who(
    target: &mut Target,
    asked: &Counted,
    printer: &mut Printer,
) -> Result<(), Failure> {
    show(target, asked.rows, &[Part::Owners], printer).await
}

pub(super) async fn breakdown(
    target: &mut Target,
    asked: &Counted,
    printer: &mut Printer,
) -> Result<(), Failure> {
    let parts = [Part::Ages, Part::Sizes, Part::Extensions, Part::Owners];
    show(target, asked.rows, &parts, printer).await
}

async fn show(
    target: &mut Target,
    rows: u64,
    parts: &[Part],
    printer: &mut Printer,
) -> Result<(), Failure> {
    let (whole, freshness) = count(target, usize::try_from(rows).unwrap_or(usize::MAX)).await?;
    warn_unless_ready(&target.view, &freshness);
    let path = notation::to_text(target.path.as_bytes());
    let names = owner::users();
    printer.breakdown(&target.view, &path, &whole, &freshness, parts, &names)?;
    printer.flush()
}

/// Counts; on a terminal with a bar, which stays away from standard output.
async fn count(target: &mut Target, top: usize) -> Result<(Breakdown, Freshness), Failure> {
    let counting = target.client.breakdown(&target.view, &target.path, top).await;
    let mut counting = counting.map_err(|error| target.explain(&error))?;
    let bar = ProgressBar::no_length();
    while let Some(part) = counting.next().await.map_err(|error| target.explain(&error))? {
        if let Some(whole) = part.whole {
            bar.finish_and_clear();
            return Ok(whole);
        }
        bar.set_length(part.expected.max(part.looked_at));
        bar.set_position(part.looked_at);
    }
    Err(Failure::refused("the server broke off: not all was counted"))
}
