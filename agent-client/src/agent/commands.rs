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
use crate::scan::{Cancel, ScanReport};

/// Does commands.
pub(crate) struct CommandsTask {
    pub(crate) shared: Arc<Shared>,
    pub(crate) exchange: Arc<TimeExchange>,
    pub(crate) view: watch::Receiver<LinkView>,
    pub(crate) arriving: mpsc::Receiver<Command>,
    /// Where audits of the whole tree go: to whoever does that anyway.
    pub(crate) audits: mpsc::Sender<AuditOrder>,
    pub(crate) desk: ReportDesk,
    /// What is being done; nobody else will report it.
    pub(crate) doing: Option<Command>,
    pub(crate) waiting: VecDeque<Command>,
}

/// An audit of the whole tree that the server asked for; whoever does it reports it.
#[derive(Debug)]
pub(crate) struct AuditOrder {
    pub(crate) command: Command,
    /// Its number (R9).
    pub(crate) number: u64,
}

/// What a command came to.
pub(crate) type Outcome = Result<BTreeMap<String, ResultValue>, String>;

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
        if let Some(command) = self.doing.take() {
            self.desk.finish(&command, Err("the agent's part that does commands broke off".into()));
        }
    }
}

impl CommandsTask {
    /// Does a command that is short, and a scan while it takes in what else comes.
    async fn take(&mut self, command: Command) -> Option<String> {
        if self.desk.reports.is_known(command.id) {
            return None;
        }
        tracing::info!(
            command = %command.id,
            correlation = command.correlation.as_ref().map(CorrelationId::as_str),
            "command: {:?}", command.action
        );
        self.desk.report(&command, CommandState::Running, BTreeMap::new());
        let command = self.hand_on(command)?;
        self.doing = Some(command.clone());
        let stop = self.carry_out(command).await;
        self.doing = None;
        stop
    }

    async fn carry_out(&mut self, command: Command) -> Option<String> {
        match command.action.clone() {
            Action::Stop { why } => {
                self.desk.finish(&command, Ok(BTreeMap::new()));
                Some(why)
            }
            Action::Probe { paths } => {
                let outcome = self.probe(&command, paths).await;
                self.desk.finish(&command, outcome);
                None
            }
            Action::Restart { part } => {
                self.restart(&command, part);
                None
            }
            Action::Scan { path, source, recursive, .. } => {
                let outcome = self.scan(&command, path, source, recursive).await;
                match outcome {
                    Ok(outcome) => self.desk.finish(&command, outcome),
                    Err(why) => return Some(why),
                }
                None
            }
        }
    }

    /// Queues a scan, or hands it on.
    fn listen_to(&mut self, command: Command) {
        if whole_audit(&command.action).is_some() {
            self.desk.report(&command, CommandState::Running, BTreeMap::new());
        }
        let scan = self.hand_on(command);
        self.waiting.extend(scan);
    }

    /// Gives an audit of the whole tree to whoever does those, so that there is one at a time; gives
    /// back what is another command.
    fn hand_on(&self, command: Command) -> Option<Command> {
        let Some(number) = whole_audit(&command.action) else { return Some(command) };
        if let Err(why) = self.standing_for(Source::Audit) {
            self.desk.finish(&command, Err(why));
        } else if let Err(full) = self.audits.try_send(AuditOrder { command, number }) {
            let order = full.into_inner();
            self.desk.finish(&order.command, Err("audits enough are asked for already".into()));
        }
        None
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
            remembered: None,
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
                    Action::Stop { why } => return Err(why.clone()),
                    _ if self.desk.reports.is_known(command.id) => {}
                    Action::Scan { .. } => {
                        let queued = self.waiting.iter().any(|waiting| waiting.id == command.id);
                        if !queued {
                            self.listen_to(command);
                        }
                    }
                    Action::Probe { paths } => {
                        let outcome = self.probe(&command, paths.clone()).await;
                        self.desk.finish(&command, outcome);
                    }
                    Action::Restart { part } => self.restart(&command, *part),
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
        self.desk.finish(command, Ok(BTreeMap::new()));
    }

    /// Looks at names, off the async threads.
    async fn probe(&self, command: &Command, paths: Vec<TreePath>) -> Outcome {
        let standing = self.standing()?;
        let order = ScanOrder {
            path: TreePath::root(),
            source: Source::OnDemand,
            recursive: false,
            epoch: epoch_for(Source::Audit, &standing),
            remembered: None,
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
}

/// Where it is written how commands go.
#[derive(Clone)]
pub(crate) struct ReportDesk {
    pub(crate) shared: Arc<Shared>,
    pub(crate) reports: Arc<Reports>,
}

impl ReportDesk {
    /// A command is done, or cannot be.
    pub(crate) fn finish(&self, command: &Command, outcome: Outcome) {
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

    pub(crate) fn report(
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

/// The number of an audit of the whole tree, if this is one.
fn whole_audit(action: &Action) -> Option<u64> {
    match action {
        Action::Scan { path, source: Source::Audit, recursive: true, audit_number }
            if path.as_ref().is_root() =>
        {
            Some(audit_number.unwrap_or(0))
        }
        _ => None,
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
    Ok(figures_of(&report))
}

/// What is reported of a scan.
pub(crate) fn figures_of(report: &ScanReport) -> BTreeMap<String, ResultValue> {
    let number = |number: u64| ResultValue::Number(number as f64);
    BTreeMap::from([
        ("complete".into(), ResultValue::Bool(report.complete)),
        ("directories".into(), number(report.counts.directories)),
        ("silent".into(), number(report.counts.silent)),
        ("entries".into(), number(report.counts.entries)),
        ("errors".into(), number(report.counts.errors)),
    ])
}

/// The epoch that evidence of a source carries.
fn epoch_for(source: Source, standing: &Standing) -> LeaderEpoch {
    if source.is_leader_only() && has(standing.role, duty_of(source)) {
        standing.epoch
    } else {
        LeaderEpoch(0)
    }
}
