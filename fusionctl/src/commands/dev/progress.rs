//! The bar that `dev` draws while the first scan runs; on standard error, and only on a terminal.

use agent_client::progress::{Progress, ScanPhase};
use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use tokio::sync::watch;

/// How the agent is doing: the latest value.
pub(super) type AgentProgress = watch::Receiver<Progress>;

/// One line that moves.
pub(super) struct Bar {
    bar: ProgressBar,
}

impl Bar {
    pub(super) fn new() -> Self {
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
            bar.set_style(style);
        }
        Self { bar }
    }

    pub(super) fn show(&self, progress: &Progress) {
        self.bar.set_message(line(progress));
        self.bar.tick();
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

fn line(progress: &Progress) -> String {
    let Some(scan) = &progress.scan else {
        return match &progress.trouble {
            Some(trouble) => trouble.clone(),
            None => "joining".to_owned(),
        };
    };
    let phase = match scan.phase {
        ScanPhase::Reading => "scanning",
        ScanPhase::Delivering => "delivering",
        ScanPhase::Delivered => "done",
        ScanPhase::CutOff => "starting again",
    };
    format!(
        "{phase}: {} entries in {} directories, {} entries/s, {} errors",
        HumanCount(scan.entries),
        HumanCount(scan.directories),
        HumanCount(scan.entries_per_second() as u64),
        HumanCount(scan.errors),
    )
}
