//! `wait`: until a path is quiet. Exit status 0 means quiet, and nothing else does.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use fusion_core::path::notation;
use fusion_core::view::Coverage;
use fusion_proto::views::live::{NotQuiet, Quiet, WaitQuiet, may_go_on};
use indicatif::{HumanBytes, HumanCount, HumanDuration};

use super::Target;
use crate::cli::WaitArgs;
use crate::exit::{Failure, note};
use crate::output::Printer;

/// Between two reports on a terminal.
const REPORT: Duration = Duration::from_secs(1);

pub(super) async fn run(
    mut target: Target,
    args: WaitArgs,
    printer: &mut Printer,
) -> Result<(), Failure> {
    let marker = args.marker.as_deref().map(marker).transpose()?;
    let asked = WaitQuiet {
        view: target.view.clone(),
        path: target.path.clone(),
        quiet_for: args.quiet,
        min_files: args.min_files,
        min_bytes: args.min_bytes,
        marker,
        progress: REPORT,
    };
    let mut progress = Progress { is_shown: std::io::stderr().is_terminal(), last: None };
    let waited = wait(&mut target, &asked, &mut progress);
    let waited = match args.timeout {
        Some(limit) => tokio::time::timeout(limit, waited).await,
        None => Ok(waited.await),
    };
    progress.clear();
    let Ok(quiet) = waited else {
        let limit = HumanDuration(args.timeout.unwrap_or_default());
        let why = progress.last.as_ref().map_or("the server did not answer".to_owned(), why_not);
        return Err(Failure::refused(format!("not quiet within {limit}: {why}")));
    };
    let quiet = quiet?;
    if quiet.freshness.coverage != Coverage::RealtimeAndAudit {
        let coverage = quiet.freshness.coverage_text();
        note(&format!("coverage is {coverage}: what is not watched is known by audits alone"));
    }
    printer.quiet(&target.view, &notation::to_text(target.path.as_bytes()), &quiet)?;
    printer.flush()
}

fn marker(text: &str) -> Result<Vec<u8>, Failure> {
    notation::parse(text).map_err(|error| Failure::usage(format!("--marker {text}: {error}")))
}

/// Waits, over restarts of the server.
async fn wait(
    target: &mut Target,
    asked: &WaitQuiet,
    progress: &mut Progress,
) -> Result<Quiet, Failure> {
    let mut is_begun = false;
    loop {
        let error = match wait_once(target, asked, progress, &mut is_begun).await {
            Ok(Some(quiet)) => return Ok(quiet),
            Ok(None) => None,
            Err(error) => Some(error),
        };
        // Before the first answer nothing is tried again: nobody may be there at all.
        let pause = match &error {
            Some(error) if is_begun => may_go_on(error).ok_or_else(|| target.explain(error))?,
            Some(error) => return Err(target.explain(error)),
            None => Duration::from_secs(1),
        };
        tokio::time::sleep(pause).await;
    }
}

async fn wait_once(
    target: &mut Target,
    asked: &WaitQuiet,
    progress: &mut Progress,
    is_begun: &mut bool,
) -> Result<Option<Quiet>, fusion_proto::client::CallError> {
    let mut waiting = target.client.wait_quiet(asked).await?;
    while let Some(report) = waiting.next().await? {
        *is_begun = true;
        if report.is_quiet() {
            return Ok(Some(report));
        }
        progress.show(report);
    }
    Ok(None)
}

/// What is said meanwhile.
struct Progress {
    is_shown: bool,
    last: Option<Quiet>,
}

impl Progress {
    fn show(&mut self, report: Quiet) {
        if self.is_shown {
            // Nobody is there to be told that standard error is gone.
            let _ = write!(std::io::stderr(), "\r\x1b[2K{}", why_not(&report));
        }
        self.last = Some(report);
    }

    fn clear(&self) {
        if self.is_shown {
            let _ = write!(std::io::stderr(), "\r\x1b[2K");
        }
    }
}

/// Why a path is not quiet yet, for people.
fn why_not(report: &Quiet) -> String {
    let totals = report.totals.unwrap_or_default();
    let reasons = report.reasons.iter().map(|reason| match reason {
        NotQuiet::ViewNotReady => {
            let freshness = &report.freshness;
            format!("the view is {}: {}", freshness.state_text(), freshness.reasons.join("; "))
        }
        NotQuiet::PathNotFound => "nothing is there yet".to_owned(),
        NotQuiet::Suspects => {
            let some = report.suspects.join(", ");
            format!("{} maybe unfinished: {some}", HumanCount(totals.suspects))
        }
        NotQuiet::ChangedRecently => match report.freshness.quiet_for {
            Some(span) => format!("known to be quiet for {:.1} s", span.as_secs_f64()),
            None => "not all witnesses were heard yet".to_owned(),
        },
        NotQuiet::TooFewFiles => format!("{} files so far", HumanCount(totals.files)),
        NotQuiet::TooFewBytes => format!("{} so far", HumanBytes(totals.bytes)),
        NotQuiet::InDoubt => "something was told of that is being looked at again".to_owned(),
        NotQuiet::MarkerMissing => "the marker is not there".to_owned(),
    });
    reasons.collect::<Vec<_>>().join("; ")
}
