//! `refresh`: an agent looks at a path now.

use std::io::IsTerminal as _;
use std::time::Duration;

use fusion_core::id::AgentId;
use fusion_core::path::notation;
use fusion_proto::views::RefreshPath;
use indicatif::ProgressBar;

use super::Target;
use crate::exit::Failure;
use crate::output::Printer;

/// What takes longer is shown to be under way.
const SHOWN_AFTER: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(100);

pub(super) async fn run(
    target: &mut Target,
    recursive: bool,
    agent: Option<&str>,
    printer: &mut Printer,
) -> Result<(), Failure> {
    let agent = agent.map(AgentId::new).transpose();
    let agent = agent.map_err(|error| Failure::usage(format!("--agent: {error}")))?;
    let (view, path) = (target.view.clone(), target.path.clone());
    let asked = RefreshPath { view, path, recursive, agent };
    let refreshed = {
        let scan = target.client.refresh(&asked);
        tokio::pin!(scan);
        tokio::select! {
            done = &mut scan => done,
            () = tokio::time::sleep(SHOWN_AFTER) => {
                let bar = shown(&notation::to_text(asked.path.as_bytes()));
                let done = scan.await;
                bar.finish_and_clear();
                done
            }
        }
    };
    let refreshed = refreshed.map_err(|error| target.explain(&error))?;
    printer.refreshed(&asked, &refreshed, target.chain.as_ref())?;
    printer.flush()?;
    if refreshed.complete {
        Ok(())
    } else {
        Err(Failure::refused(format!(
            "not all could be read ({} errors): what was known of the rest stays",
            refreshed.errors
        )))
    }
}

fn shown(path: &str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner().with_message(format!("{path} is being scanned"));
    bar.enable_steady_tick(TICK);
    bar
}
