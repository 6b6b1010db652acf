//! Errands: what an agent is asked to do, from its command until what it saw is part of the view.
//!
//! Used by whoever waits for the outcome: refreshes, and steps of jobs. Must never: say that something
//! was done of which the evidence was not taken.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fusion_core::evidence::Source;
use fusion_core::id::CorrelationId;
use fusion_core::job;
use fusion_core::path::{PathRef, TreePath};
use fusion_core::session::Session;
use fusion_core::stat::Kind;
use fusion_core::time::Clock;
use fusion_proto::convert::session::command::{Action, Command};
use fusion_proto::convert::session::result::ResultValue;
use fusion_proto::status::Refusal;

use super::sessions::Sessions;
use super::views::Views;
use crate::ids::Ids;
use crate::task::view::{ErrandEnd, Operation, Operator, Outcome, Sent, ViewHandle};

/// Between two looks whether an agent has fallen silent.
const LOOK: Duration = Duration::from_secs(5);
/// When to ask again.
const RETRY: Duration = Duration::from_secs(5);

/// What an agent reports of what it did.
type Reported = BTreeMap<String, ResultValue>;
/// Learns how far an errand is: 0 to 100.
pub(crate) type OnProgress<'a> = &'a (dyn Fn(u8) + Send + Sync);

/// Sends agents on errands; a cheap handle.
#[derive(Clone)]
pub(crate) struct Errands {
    views: Views,
    sessions: Sessions,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
}

/// Where an errand is done, by whom, and for whom.
#[derive(Clone, Copy)]
pub(crate) struct Lookout<'a> {
    pub(crate) view: &'a ViewHandle,
    pub(crate) session: &'a Session,
    pub(crate) by: &'a Operator,
}

/// What a scan came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Figures {
    pub(crate) complete: bool,
    pub(crate) directories: u64,
    pub(crate) entries: u64,
    pub(crate) errors: u64,
}

/// Why an errand was not done.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum NotDone {
    /// It could not be given, or the view could not take what it told.
    Refused(Refusal),
    /// The agent could not do it.
    Failed(String),
    /// The agent was lost over it: another one may do it.
    Lost(&'static str),
}

impl From<Refusal> for NotDone {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl Errands {
    pub(crate) fn new(
        views: Views,
        sessions: Sessions,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn Ids>,
    ) -> Self {
        Self { views, sessions, clock, ids }
    }

    /// Has an agent look at a path, and at the directories above it that the view does not know.
    ///
    /// # Errors
    /// [`NotDone`].
    pub(crate) async fn look(
        &self,
        at: &Lookout<'_>,
        path: &TreePath,
        recursive: bool,
        on_progress: OnProgress<'_>,
    ) -> Result<Figures, NotDone> {
        let mut figures = Figures { complete: true, ..Figures::default() };
        if self.find_the_way(at, path.as_ref(), &mut figures).await? {
            figures.add(self.scan(at, path, recursive, on_progress).await?);
        }
        Ok(figures)
    }

    /// Lists the directories above a path that the view does not know, from above. Whether all are
    /// there by now.
    async fn find_the_way(
        &self,
        at: &Lookout<'_>,
        path: PathRef<'_>,
        figures: &mut Figures,
    ) -> Result<bool, NotDone> {
        let is_dir = |dir: &TreePath| {
            let info = at.view.reader().entry(dir.as_ref());
            info.is_some_and(|info| info.stat.kind == Kind::Directory)
        };
        let mut dir = TreePath::root();
        for name in path.split_last().into_iter().flat_map(|(above, _)| above.names()) {
            let Ok(next) = dir.join(name) else { return Ok(false) };
            dir = next;
            if !is_dir(&dir) {
                figures.add(self.scan(at, &dir, false, &|_| ()).await?);
                if !is_dir(&dir) {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// One scan, from its command to the last of its evidence.
    async fn scan(
        &self,
        at: &Lookout<'_>,
        path: &TreePath,
        recursive: bool,
        on_progress: OnProgress<'_>,
    ) -> Result<Figures, NotDone> {
        let assign = Operation::AssignScan(at.session.id, path.clone());
        self.views.operate(at.view, assign, at.by.clone()).await?;
        let (of, source) = (path.clone(), Source::OnDemand);
        let action = Action::Scan { path: of, source, recursive, audit_number: None };
        let end = self.send(at, action, on_progress).await;
        // Whatever became of it: what is not given cannot be told any more.
        let (id, agent) = (at.session.id, at.session.agent.clone());
        let withdraw = Operation::WithdrawScan(id, agent, path.clone());
        let withdrawn = self.views.operate(at.view, withdraw, at.by.clone()).await?;
        let result = end?;
        if withdrawn.outcome != (Outcome::Scan { taken: true }) {
            let why = "what it told was not taken: its root is away or in doubt";
            return Err(NotDone::Failed(why.to_owned()));
        }
        if start_of(&result) == "left_out" {
            return Err(NotDone::Failed("it leaves this directory out".to_owned()));
        }
        Ok(Figures::of(&result))
    }

    /// Anything else that a command can ask for. What it told is durable when this returns.
    ///
    /// # Errors
    /// [`NotDone`].
    pub(crate) async fn command(
        &self,
        at: &Lookout<'_>,
        action: Action,
        on_progress: OnProgress<'_>,
    ) -> Result<Figures, NotDone> {
        let result = self.send(at, action, on_progress).await?;
        self.views.operate(at.view, Operation::Settle, at.by.clone()).await?;
        Ok(Figures::of(&result))
    }

    async fn send(
        &self,
        at: &Lookout<'_>,
        action: Action,
        on_progress: OnProgress<'_>,
    ) -> Result<Reported, NotDone> {
        let session = at.session.id;
        let id = self.ids.draw();
        let own = || CorrelationId::new(&id.to_string()).ok();
        let command = Command {
            id,
            lease: self.ids.draw().to_string(),
            correlation: at.by.correlation.clone().or_else(own),
            traceparent: String::new(),
            action,
        };
        let desk = at.view.commands();
        let full = || Refusal::QueueFull { queue: "errands".to_owned(), retry_after: RETRY };
        let sent = desk.send(session, command, self.clock.monotonic());
        let Sent { mut progress, mut end } = sent.ok_or_else(full)?;
        // It may have ended before it could be told of the errand.
        if self.sessions.check_on(session).is_err() {
            desk.session_over(session);
        }
        let end = loop {
            tokio::select! {
                // The sender goes only with the desk, and that with its view.
                end = &mut end => break end.unwrap_or(ErrandEnd::SessionOver),
                Ok(()) = progress.changed() => on_progress(*progress.borrow_and_update()),
                () = tokio::time::sleep(LOOK) => desk.lapse_errands(self.clock.monotonic()),
            }
        };
        match end {
            ErrandEnd::Done(result) => Ok(result),
            ErrandEnd::Failed(why) => Err(NotDone::Failed(why)),
            ErrandEnd::Lapsed => Err(NotDone::Lost("it was not heard of for too long")),
            ErrandEnd::SessionOver => Err(NotDone::Lost("its session is over")),
        }
    }
}

impl Figures {
    fn of(result: &Reported) -> Self {
        let number = |name: &str| match result.get(name) {
            Some(ResultValue::Number(number)) if *number >= 0.0 => *number as u64,
            _ => 0,
        };
        // A probe says how many names it looked at, and how many it could not.
        let errors = number("errors") + number("failed");
        // What is no directory was looked at by its name: then there is nothing to list.
        let looked = start_of(result) == "no_directory" && errors == 0;
        Self {
            complete: looked || result.get("complete") == Some(&ResultValue::Bool(true)),
            directories: number("directories"),
            entries: number("entries") + number("looked"),
            errors,
        }
    }

    /// What a step came to of which this is known.
    pub(crate) fn outcome(self) -> job::Outcome {
        let Self { complete, directories, entries, errors } = self;
        if complete {
            return job::Outcome::Done { entries, errors };
        }
        let why = format!(
            "not all was looked at: it ended after {directories} directories, {errors} errors; \
             the agent's log tells why"
        );
        job::Outcome::Partial { entries, errors, why }
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.complete &= other.complete;
        self.directories += other.directories;
        self.entries += other.entries;
        self.errors += other.errors;
    }
}

/// What the agent found where it began; empty if it does not say.
fn start_of(result: &Reported) -> &str {
    match result.get("start") {
        Some(ResultValue::Text(start)) => start,
        _ => "",
    }
}
