//! What the server asks for: scans of a path, probes of names, to begin a part anew, and to stop.
//!
//! Each command is done once and reported until the server has the report; a repetition is reported
//! again, not done again; one that the server has given up is not begun. Probes, single directories and subtrees each go one after the other, beside
//! each other: a thousand relists do not become a thousand threads, and a scan of hours, or a probe
//! that hangs with the storage, holds up nothing else, a command to stop least of all. A whole audit
//! is handed to `duties`. Must never: do for one session what was asked for in another.

mod made;
mod slot;

use std::sync::Arc;
use std::time::Duration;

use fusion_core::evidence::Source;
use fusion_core::id::{CorrelationId, LeaderEpoch};
use fusion_core::path::TreePath;
use rustix::io::Errno;
use tokio::sync::{mpsc, watch};

use super::desk::{Figures, Outcome, ReportDesk, outcome_of};
use super::keep::Part;
use super::scans::{self, ScanOrder};
use super::shared::Shared;
use crate::link::{
    Action, AgentPart, BatchWriter, Command, LinkView, ResultValue, Standing, TimeExchange,
};
use crate::role::{duty_of, has};
use crate::scan::{Cancel, LookError, RootCheck};
pub(crate) use slot::{Doing, Slots};

/// How often the progress of scans is brought up to date; heartbeats take it along.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);

/// Does commands.
pub(crate) struct CommandsTask {
    pub(crate) shared: Arc<Shared>,
    pub(crate) exchange: Arc<TimeExchange>,
    pub(crate) view: watch::Receiver<LinkView>,
    pub(crate) arriving: mpsc::Receiver<Command>,
    /// Where audits of the whole tree go: to whoever does that anyway.
    pub(crate) audits: mpsc::Sender<AuditOrder>,
    pub(crate) desk: ReportDesk,
    /// What is being done, and what waits; nobody else will report it.
    pub(crate) slots: Slots,
}

/// An audit of the whole tree that the server asked for; whoever does it reports it.
#[derive(Debug)]
pub(crate) struct AuditOrder {
    pub(crate) command: Command,
    /// Its number (R9).
    pub(crate) number: u64,
}

impl Part for CommandsTask {
    const NAME: &'static str = "commands";
    type End = String;

    /// Works until it is dropped, or told to stop; then gives the reason.
    async fn run(&mut self) -> String {
        loop {
            self.begin_what_waits();
            let standing = self.view.borrow_and_update().standing.clone();
            self.slots.stop_what_is_over(standing.as_ref());
            let counts = self.slots.count();
            tokio::select! {
                (command, outcome) = self.slots.ended() => self.desk.finish(&command, outcome),
                Some(command) = self.arriving.recv() => {
                    if let Some(why) = self.take(command) {
                        return why;
                    }
                }
                // Without a link nothing changes any more; this task ends with it.
                Ok(()) = self.view.changed() => {}
                () = tokio::time::sleep(PROGRESS_EVERY), if counts => {
                    self.slots.tell_progress(&self.desk);
                }
            }
        }
    }

    /// What was being done, or waited, will not be reported any more: it failed.
    fn broke_off(&mut self) {
        for command in self.slots.clear() {
            self.desk.finish(&command, Err("the agent's part that does commands broke off".into()));
        }
    }
}

impl CommandsTask {
    /// Does a command that is short, and queues any other; gives why to stop, if that was asked for.
    fn take(&mut self, command: Command) -> Option<String> {
        if self.desk.reports.is_known(command.id) {
            return None;
        }
        tracing::info!(
            command = %command.id,
            correlation = command.correlation.as_ref().map(CorrelationId::as_str),
            "command: {:?}", command.action
        );
        self.desk.accept(&command);
        match &command.action {
            Action::Stop { why } => {
                let why = why.clone();
                self.desk.finish(&command, Ok(Figures::new()));
                Some(why)
            }
            Action::Restart { part } => {
                self.restart(&command, *part);
                None
            }
            Action::Watch { .. } => {
                let why = "another one took its place";
                let before = self.slots.of(&command.action).take_all();
                before.for_each(|before| self.desk.finish(&before, Err(why.to_owned())));
                self.queue(command);
                None
            }
            Action::Probe { .. } | Action::Scan { .. } => {
                self.queue(command);
                None
            }
        }
    }

    /// Queues a probe or a scan; an audit of the whole tree goes to whoever does those, so that there
    /// is one at a time.
    fn queue(&mut self, command: Command) {
        let Some(number) = whole_audit(&command.action) else {
            match self.standing() {
                Ok(standing) => self.slots.of(&command.action).queue(command, standing.session),
                Err(why) => self.desk.finish(&command, Err(why)),
            }
            return;
        };
        if let Err(why) = self.standing_for(Source::Audit) {
            self.desk.finish(&command, Err(why));
        } else if let Err(full) = self.audits.try_send(AuditOrder { command, number }) {
            let order = full.into_inner();
            self.desk.finish(&order.command, Err("audits enough are asked for already".into()));
        }
    }

    pub(super) fn begin_what_waits(&mut self) {
        while let Some((command, session)) = self.slots.next() {
            // A server that is restarted gives the same again, under other ids: done as well, the old ones would
            // hold up the new ones ever longer.
            if !self.desk.reports.is_wanted(command.id) {
                self.shared.metrics.commands.with_label_values(&["lapsed"]).inc();
                continue;
            }
            let doing = self.standing().and_then(|standing| match &command.action {
                _ if standing.session != session => {
                    Err("its session ended before it was begun".to_owned())
                }
                Action::Probe { paths } => Ok(self.probe(&command, paths.clone(), &standing)),
                Action::Scan { path, source, recursive, .. } => {
                    self.scan(&command, path, *source, *recursive)
                }
                Action::Watch { paths } => Ok(self.watch(&command, paths.clone(), &standing)),
                Action::Stop { .. } | Action::Restart { .. } => Err("is not queued".to_owned()),
            });
            match doing {
                Ok(doing) => self.slots.of(&command.action).doing = Some(doing),
                Err(why) => self.desk.finish(&command, Err(why)),
            }
        }
    }

    /// Begins a scan.
    fn scan(
        &self,
        command: &Command,
        path: &TreePath,
        source: Source,
        recursive: bool,
    ) -> Result<Doing, String> {
        let standing = self.standing_for(source)?;
        if self.shared.root.excludes(path.as_ref()) {
            return Err("the view excludes this path".to_owned());
        }
        let epoch = epoch_for(source, &standing);
        let order = ScanOrder { recursive, ..order_of(command, path.clone(), source, epoch) };
        let cancel = Cancel::new();
        let placer = self.shared.placer();
        let scan = scans::start(&self.shared, order, &standing, &self.exchange, placer, &cancel);
        let end = scan.end;
        let outcome = Box::pin(async { outcome_of(end.await.ok()).await });
        Ok(Doing::new(command, &standing, source, cancel, outcome).counting(scan.counters))
    }

    /// Looks at names, off the async threads.
    fn probe(&self, command: &Command, paths: Vec<TreePath>, standing: &Standing) -> Doing {
        let epoch = epoch_for(Source::Audit, standing);
        let order = order_of(command, TreePath::root(), Source::OnDemand, epoch);
        let span = tracing::info_span!("probe", command = %command.id);
        let writer = BatchWriter::new(standing, Arc::clone(&self.exchange), &order, span);
        let (shared, cancel) = (Arc::clone(&self.shared), Cancel::new());
        let cancelled = cancel.clone();
        let looks =
            tokio::task::spawn_blocking(move || look_at(&shared, writer, &paths, &cancelled));
        let outcome = Box::pin(async { looks.await.map_err(|error| error.to_string())? });
        Doing::new(command, standing, Source::OnDemand, cancel, outcome)
    }

    /// Tells a part to begin anew. What was asked to be scanned is cut off with all other scans.
    fn restart(&mut self, command: &Command, part: AgentPart) {
        match part {
            AgentPart::Watch => self.shared.state.restart_watch.notify_one(),
            AgentPart::Scan => {
                self.slots.cut_off_scans();
                self.shared.state.restart_scan.notify_one();
            }
        }
        self.desk.finish(command, Ok(Figures::new()));
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

/// What is to be looked at for a command.
fn order_of(command: &Command, path: TreePath, source: Source, epoch: LeaderEpoch) -> ScanOrder {
    ScanOrder {
        path,
        source,
        recursive: false,
        epoch,
        remembered: None,
        correlation: command.correlation.clone(),
        causation: CorrelationId::new(&command.id.to_string()).ok(),
    }
}

/// Probes names. What cannot be looked at yields no evidence.
fn look_at(
    shared: &Shared,
    mut writer: BatchWriter,
    paths: &[TreePath],
    cancel: &Cancel,
) -> Outcome {
    let (mut looked, mut failed, mut is_there) = (0_u32, 0_u32, true);
    for path in paths {
        let look = match is_there {
            true => shared.root.look_in_time(path, shared.clock.monotonic()),
            false => Err(LookError { errno: Errno::TIMEDOUT }),
        };
        match look {
            Ok(look) => {
                let put = writer.probe(path.as_ref(), &look, cancel);
                put.map_err(|closed| closed.to_string())?;
                looked += 1;
            }
            Err(LookError { errno }) => {
                failed += 1;
                // A thousand names of a storage that hangs are not waited for one by one.
                is_there &=
                    errno != Errno::TIMEDOUT || shared.root.check_in_time() == RootCheck::Same;
            }
        }
        if cancel.is_set() {
            return Err("its session or leadership is over".to_owned());
        }
    }
    writer.flush(cancel).map_err(|closed| closed.to_string())?;
    Ok(Figures::from([
        ("looked".into(), ResultValue::Number(f64::from(looked))),
        ("failed".into(), ResultValue::Number(f64::from(failed))),
    ]))
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

/// The epoch that evidence of a source carries.
fn epoch_for(source: Source, standing: &Standing) -> LeaderEpoch {
    if source.is_leader_only() && has(standing.role, duty_of(source)) {
        standing.epoch
    } else {
        LeaderEpoch(0)
    }
}
