//! Where it is written how commands go, and what their reports say.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::scans::ScanEnd;
use super::shared::Shared;
use crate::link::{Command, CommandReport, CommandState, Reports, ResultValue};
use crate::scan::{ScanCounters, ScanReport, Start};

/// What a report says beside its state.
pub(crate) type Figures = BTreeMap<String, ResultValue>;

/// What a command came to.
pub(crate) type Outcome = Result<Figures, String>;

/// Where it is written how commands go.
#[derive(Clone)]
pub(crate) struct ReportDesk {
    pub(crate) shared: Arc<Shared>,
    pub(crate) reports: Arc<Reports>,
}

impl ReportDesk {
    /// A command is being done, or waits for its turn: its lease goes on.
    pub(crate) fn accept(&self, command: &Command) {
        self.report(command, CommandState::Running, 0, Figures::new());
    }

    /// How far a scan is: in percent of the directories that it has found so far, and never back.
    pub(crate) fn progress(&self, command: &Command, percent: u8, counters: &ScanCounters) {
        let counts = counters.read();
        let figures = Figures::from([
            ("directories".into(), number(counts.directories)),
            ("entries".into(), number(counts.entries)),
            ("errors".into(), number(counts.errors)),
        ]);
        self.report(command, CommandState::Running, percent, figures);
    }

    /// A command is done, or cannot be.
    pub(crate) fn finish(&self, command: &Command, outcome: Outcome) {
        let (label, state, result) = match outcome {
            Ok(result) => ("done", CommandState::Done, result),
            Err(why) => {
                tracing::warn!(command = %command.id, "command failed: {why}");
                let result = Figures::from([("error".into(), ResultValue::Text(why))]);
                ("failed", CommandState::Failed, result)
            }
        };
        self.shared.metrics.commands.with_label_values(&[label]).inc();
        self.report(command, state, 100, result);
        self.shared.state.news.notify_one();
    }

    fn report(&self, command: &Command, state: CommandState, progress: u8, result: Figures) {
        let lease = command.lease.clone();
        self.reports.put(CommandReport { id: command.id, lease, state, progress, result });
    }
}

/// What a scan came to; it is done when all of it is delivered.
pub(super) async fn outcome_of(end: Option<ScanEnd>) -> Outcome {
    let (report, mut delivery) = match end {
        Some(ScanEnd::Done(report, delivery)) => (report, delivery),
        Some(ScanEnd::CutOff) => {
            return Err(
                "cut off: its session or leadership is over, or scanning is begun anew".into()
            );
        }
        Some(ScanEnd::NoStorage(check)) => return Err(format!("the root is not there: {check:?}")),
        None => return Err("the scan broke off".into()),
    };
    if !delivery.wait().await {
        return Err("the session ended before everything was delivered".into());
    }
    Ok(figures_of(&report))
}

/// What is reported of a scan.
pub(super) fn figures_of(report: &ScanReport) -> Figures {
    let start = match report.start {
        Start::Directory => "directory",
        Start::Unreadable => "unreadable",
        Start::LeftOut => "left_out",
        Start::NoDirectory => "no_directory",
    };
    Figures::from([
        ("start".into(), ResultValue::Text(start.into())),
        ("complete".into(), ResultValue::Bool(report.complete)),
        ("directories".into(), number(report.counts.directories)),
        ("silent".into(), number(report.counts.silent)),
        ("entries".into(), number(report.counts.entries)),
        ("errors".into(), number(report.counts.errors)),
    ])
}

fn number(number: u64) -> ResultValue {
    ResultValue::Number(number as f64)
}
