//! What the server asks for: scans of a path, probes of names, to begin a part anew, and to stop.
//!
//! Each command is done once and reported until the server has the report; a repetition is reported
//! again, not done again. Probes are short and go at once; scans go one after the other, so that a
//! thousand relists do not become a thousand threads.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use fusion_core::evidence::Source;
use fusion_core::id::{CorrelationId, LeaderEpoch};
use fusion_core::path::TreePath;
use tokio::sync::{mpsc, oneshot, watch};

use super::keep::Part;
use super::scans::{self, ScanEnd, ScanOrder};
use super::shared::Shared;
use crate::link::{
    Action, AgentPart, BatchWriter, Command, CommandReport, CommandState, LinkView, Reports,
    ResultValue, Standing, TimeExchange,
};
use crate::role::{duty_of, goes_on, has};
use crate::scan::Cancel;

/// Does commands.
pub(crate) struct CommandsTask {
    pub(crate) shared: Arc<Shared>,
    pub(crate) exchange: Arc<TimeExchange>,
    pub(crate) view: watch::Receiver<LinkView>,
    pub(crate) arriving: mpsc::Receiver<Command>,
    pub(crate) reports: Arc<Reports>,
    pub(crate) waiting: VecDeque<Command>,
}

/// What a command came to.
type Outcome = Result<BTreeMap<String, ResultValue>, String>;

/// Set when the task is dropped.
struct CancelOnDrop(Cancel);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.set();
    }
}

impl Part for CommandsTask {
    const NAME: &'static str = "commands";
    type End = String;

    /// Works until it is dropped, or told to stop; then gives the reason.
    async fn run(&mut self) -> String {
        loop {
            let command = match self.waiting.pop_front() {
                Some(command) => command,
                None => match self.arriving.recv().await {
                    Some(command) => command,
                    None => std::future::pending().await,
                },
            };
            if let Some(why) = self.take(command).await {
                return why;
            }
        }
    }

    /// What was being done will not be reported any more: it failed.
    fn broke_off(&mut self) {
        self.reports.fail_running("the agent's part that does commands broke off");
        self.shared.state.news.notify_one();
    }
}

impl CommandsTask {
    /// Does a command that is short, and a scan while it takes in what else comes.
    async fn take(&mut self, command: Command) -> Option<String> {
        if self.reports.is_known(command.id) {
            return None;
        }
        tracing::info!(
            command = %command.id,
            correlation = command.correlation.as_ref().map(CorrelationId::as_str),
            "command: {:?}", command.action
        );
        self.report(&command, CommandState::Running, BTreeMap::new());
        match command.action.clone() {
            Action::Stop { why } => {
                self.finish(&command, Ok(BTreeMap::new()));
                Some(why)
            }
            Action::Probe { paths } => {
                let outcome = self.probe(&command, paths).await;
                self.finish(&command, outcome);
                None
            }
            Action::Restart { part } => {
                self.restart(&command, part);
                None
            }
            Action::Scan { path, source, recursive, .. } => {
                let outcome = self.scan(&command, path, source, recursive).await;
                match outcome {
                    Ok(outcome) => self.finish(&command, outcome),
                    Err(why) => return Some(why),
                }
                None
            }
        }
    }

    /// A scan; `Err` if a command to stop came while it ran.
    async fn scan(
        &mut self,
        command: &Command,
        path: TreePath,
        source: Source,
        recursive: bool,
    ) -> Result<Outcome, String> {
        let standing = match self.standing_for(source) {
            Ok(standing) => standing,
            Err(why) => return Ok(Err(why)),
        };
        let order = ScanOrder {
            path,
            source,
            recursive,
            epoch: epoch_for(source, &standing),
            correlation: command.correlation.clone(),
            causation: CorrelationId::new(&command.id.to_string()).ok(),
        };
        let cancel = CancelOnDrop(Cancel::new());
        let placer = self.shared.placer();
        let end = scans::start(&self.shared, order, &standing, &self.exchange, placer, &cancel.0);
        let end = self.while_listening(end, source, &standing, &cancel.0).await?;
        Ok(outcome_of(end).await)
    }

    /// Waits for a scan, and does meanwhile what need not wait for it. A scan that is a leader's stops
    /// when the leadership under which it was begun is over.
    async fn while_listening(
        &mut self,
        mut end: oneshot::Receiver<ScanEnd>,
        source: Source,
        begun: &Standing,
        cancel: &Cancel,
    ) -> Result<Option<ScanEnd>, String> {
        loop {
            let goes_on = self.view.borrow_and_update().standing.as_ref().is_some_and(|now| {
                let same_term = (now.session, now.epoch) == (begun.session, begun.epoch);
                goes_on(duty_of(source), now.role, same_term)
            });
            if !goes_on {
                cancel.set();
            }
            tokio::select! {
                end = &mut end => return Ok(end.ok()),
                // Without a link nothing changes any more; this task ends with it.
                Ok(()) = self.view.changed() => {}
                Some(command) = self.arriving.recv() => match &command.action {
                    Action::Scan { .. } => {
                        let queued = self.waiting.iter().any(|waiting| waiting.id == command.id);
                        if !queued && !self.reports.is_known(command.id) {
                            self.waiting.push_back(command);
                        }
                    }
                    Action::Probe { paths } if !self.reports.is_known(command.id) => {
                        let outcome = self.probe(&command, paths.clone()).await;
                        self.finish(&command, outcome);
                    }
                    Action::Restart { part } if !self.reports.is_known(command.id) => {
                        self.restart(&command, *part);
                    }
                    Action::Probe { .. } | Action::Restart { .. } => {}
                    Action::Stop { why } => return Err(why.clone()),
                },
            }
        }
    }

    /// Tells a part to begin anew.
    fn restart(&self, command: &Command, part: AgentPart) {
        match part {
            AgentPart::Watch => self.shared.state.restart_watch.notify_one(),
            AgentPart::Scan => self.shared.state.restart_scan.notify_one(),
        }
        self.finish(command, Ok(BTreeMap::new()));
    }

    /// Looks at names, off the async threads.
    async fn probe(&self, command: &Command, paths: Vec<TreePath>) -> Outcome {
        let standing = self.standing()?;
        let order = ScanOrder {
            path: TreePath::root(),
            source: Source::OnDemand,
            recursive: false,
            epoch: epoch_for(Source::Audit, &standing),
            correlation: command.correlation.clone(),
            causation: CorrelationId::new(&command.id.to_string()).ok(),
        };
        let span = tracing::info_span!("probe", command = %command.id);
        let mut writer = BatchWriter::new(&standing, Arc::clone(&self.exchange), &order, span);
        let shared = Arc::clone(&self.shared);
        let probed = tokio::task::spawn_blocking(move || {
            let (mut looked, mut failed) = (0_u32, 0_u32);
            let cancel = Cancel::new();
            for path in &paths {
                match shared.root.look(path.as_ref(), &*shared.clock) {
                    Ok(look) => {
                        let put = writer.probe(path.as_ref(), &look, &cancel);
                        put.map_err(|closed| closed.to_string())?;
                        looked += 1;
                    }
                    // What cannot be looked at yields no evidence.
                    Err(_) => failed += 1,
                }
            }
            writer.flush(&cancel).map_err(|closed| closed.to_string())?;
            Ok::<_, String>((looked, failed))
        });
        let (looked, failed) = probed.await.map_err(|error| error.to_string())??;
        Ok(BTreeMap::from([
            ("looked".into(), ResultValue::Number(f64::from(looked))),
            ("failed".into(), ResultValue::Number(f64::from(failed))),
        ]))
    }

    fn standing(&self) -> Result<Standing, String> {
        let standing = self.view.borrow().standing.clone();
        standing.ok_or_else(|| "there is no session".to_owned())
    }

    fn standing_for(&self, source: Source) -> Result<Standing, String> {
        let standing = self.standing()?;
        if has(standing.role, duty_of(source)) {
            Ok(standing)
        } else {
            Err(format!("a {} does not do this", crate::role::word(standing.role)))
        }
    }

    fn finish(&self, command: &Command, outcome: Outcome) {
        let (label, state, result) = match outcome {
            Ok(result) => ("done", CommandState::Done, result),
            Err(why) => {
                tracing::warn!(command = %command.id, "command failed: {why}");
                let result = BTreeMap::from([("error".into(), ResultValue::Text(why))]);
                ("failed", CommandState::Failed, result)
            }
        };
        self.shared.metrics.commands.with_label_values(&[label]).inc();
        self.report(command, state, result);
    }

    fn report(
        &self,
        command: &Command,
        state: CommandState,
        result: BTreeMap<String, ResultValue>,
    ) {
        let progress = if state == CommandState::Running { 0 } else { 100 };
        let lease = command.lease.clone();
        self.reports.put(CommandReport { id: command.id, lease, state, progress, result });
        if state != CommandState::Running {
            self.shared.state.news.notify_one();
        }
    }
}

/// What a scan came to; it is done when all of it is delivered.
async fn outcome_of(end: Option<ScanEnd>) -> Outcome {
    let (report, mut delivery) = match end {
        Some(ScanEnd::Done(report, delivery)) => (report, delivery),
        Some(ScanEnd::CutOff) => {
            return Err("the session or the leadership ended before the scan did".into());
        }
        Some(ScanEnd::NoStorage(check)) => return Err(format!("the root is not there: {check:?}")),
        None => return Err("the scan broke off".into()),
    };
    if !delivery.wait().await {
        return Err("the session ended before everything was delivered".into());
    }
    let number = |number: u64| ResultValue::Number(number as f64);
    Ok(BTreeMap::from([
        ("complete".into(), ResultValue::Bool(report.complete)),
        ("directories".into(), number(report.counts.directories)),
        ("entries".into(), number(report.counts.entries)),
        ("errors".into(), number(report.counts.errors)),
    ]))
}

/// The epoch that evidence of a source carries.
fn epoch_for(source: Source, standing: &Standing) -> LeaderEpoch {
    if source.is_leader_only() && has(standing.role, duty_of(source)) {
        standing.epoch
    } else {
        LeaderEpoch(0)
    }
}
