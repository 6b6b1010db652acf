//! What people ask of a view: its lists, its trash, its root, scans of a path.
//!
//! A question reads and is answered at once; it must be short, for evidence waits meanwhile. An
//! operation goes through the journal like a batch, and is answered when it is durable. Neither is
//! taken before what the session service told, so an operation after a reset finds the view reset.

use fusion_core::change::{Change, TrashId};
use fusion_core::id::{AgentId, CorrelationId, Revision, SessionId};
use fusion_core::path::{PathRef, TreePath};
use fusion_core::stat::{Kind, Stat};
use fusion_core::time::ServerTime;
use fusion_core::view::{TrashError, TrashRecord, View};
use fusion_store::{Actor, Origin, RecordHead, StoreError};
use tokio::sync::oneshot;

use crate::service::idempotency::CallIdentity;

use super::thread::{Answer, ViewTask};
use super::{Request, ViewGone, ViewHandle};

/// Reads a view on its thread.
pub(super) struct Question(Box<dyn FnOnce(&View) + Send>);

impl std::fmt::Debug for Question {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Question(..)")
    }
}

impl Question {
    pub(super) fn put_to(self, view: &View) {
        (self.0)(view);
    }
}

/// What an operator, or the server on behalf of one, does to a view.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Operation {
    /// R12: puts a record of the trash back.
    Restore(TrashId),
    /// R12: drops one.
    Purge(TrashId),
    /// R11: accepts the root that comes next.
    AcceptRoot,
    /// Gives a session a scan, so that what it tells of it is taken.
    AssignScan(SessionId, TreePath),
    /// Takes it back from the session of an agent.
    WithdrawScan(SessionId, AgentId, TreePath),
    /// Nothing: it is answered when all before it is durable.
    Settle,
}

impl Operation {
    /// Whether it is written, so that its answer waits for the disk. What is given to a session lasts
    /// as long as the process.
    pub(crate) fn is_written(&self) -> bool {
        !matches!(self, Self::AssignScan(..) | Self::WithdrawScan(..))
    }
}

/// Who asks for an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Operator {
    /// The name under which it was let in.
    pub(crate) principal: String,
    /// The chain of cause and effect that it belongs to.
    pub(crate) correlation: Option<CorrelationId>,
    /// The call that asks, if it may be repeated.
    pub(crate) call: Option<CallIdentity>,
}

impl Operator {
    /// Whether what it asks for was done by an earlier try of the same call. That is durable with what
    /// was done, where the answer may have been cut off.
    pub(crate) fn has_done(&self, view: &View) -> bool {
        self.call.is_some_and(|call| call.is_resumed && view.has_operated(call.id))
    }

    /// Notes the call beside what it does.
    fn note(&self, view: &mut View, now: ServerTime, changes: &mut Vec<Change>) {
        if let Some(call) = self.call {
            view.operated(call.id, now, changes);
        }
    }
}

/// What came of an operation.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Operated {
    /// The view's revision after it.
    pub(crate) revision: Revision,
    pub(crate) outcome: Outcome,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outcome {
    Done,
    /// The record as it was.
    Record(Box<TrashRecord>),
    /// Whether what the scan told was taken to its end.
    Scan {
        taken: bool,
    },
}

/// Why an operation was not done; nothing was changed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum NotOperated {
    /// The store cannot be written.
    Trouble,
    /// There is no such record.
    NoRecord(TrashId),
    /// Something stands at its path.
    Taken(TreePath, Stat),
    /// The directory that it was in is not known, or is none any more.
    NoDirectory { dir: TreePath, known: Option<Kind> },
    /// The view is full.
    Full,
    /// Scans enough are given already.
    NoRoom,
}

/// An operation and who waits for it.
#[derive(Debug)]
pub(super) struct Operating {
    operation: Operation,
    by: Operator,
    answer: oneshot::Sender<Result<Operated, NotOperated>>,
}

impl Operating {
    /// Says that it is not done.
    pub(super) fn refuse(self, why: NotOperated) {
        let _ = self.answer.send(Err(why));
    }
}

impl ViewHandle {
    /// Asks the view's thread; the question must be short.
    ///
    /// # Errors
    /// [`ViewGone`].
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&View) -> T + Send + 'static,
    ) -> Result<T, ViewGone> {
        let (answer, answered) = oneshot::channel();
        let question = Question(Box::new(move |view| drop(answer.send(question(view)))));
        self.shared.asked.send(Request::Ask(question)).await?;
        answered.await.map_err(|_| ViewGone)
    }

    /// Has an operation done; what came of it is durable.
    ///
    /// # Errors
    /// [`ViewGone`]; inside, why it was not done.
    pub(crate) async fn operate(
        &self,
        operation: Operation,
        by: Operator,
    ) -> Result<Result<Operated, NotOperated>, ViewGone> {
        let (answer, answered) = oneshot::channel();
        let request = Request::Operate(Box::new(Operating { operation, by, answer }));
        self.shared.asked.send(request).await?;
        answered.await.map_err(|_| ViewGone)
    }
}

impl ViewTask {
    pub(super) fn operate(&mut self, operating: Operating) -> Result<Option<Answer>, StoreError> {
        let Operating { operation, by, answer } = operating;
        let takes_back = matches!(operation, Operation::WithdrawScan(..));
        if self.trouble.is_some() && !takes_back {
            // At once: other answers wait for the disk.
            let _ = answer.send(Err(NotOperated::Trouble));
            return Ok(None);
        }
        let is_written = operation.is_written();
        let (now, mut changes) = (self.clock.now(), Vec::new());
        let outcome = self.perform(operation, &by, now, &mut changes);
        if !changes.is_empty() {
            let head = RecordHead {
                actor: Some(Actor::Principal(by.principal.into())),
                correlation: by.correlation,
                ..RecordHead::new(now, Origin::Operator)
            };
            self.applier.metrics().changed(&changes);
            self.journal.append(&head, &changes)?;
            self.commands.take(&changes, self.heard_through);
        }
        let revision = self.view.revision();
        let operated = outcome.map(|outcome| Operated { revision, outcome });
        if !is_written {
            let _ = answer.send(operated);
            return Ok(None);
        }
        Ok(Some(Answer::Operated(operated, answer)))
    }

    fn perform(
        &mut self,
        operation: Operation,
        by: &Operator,
        now: ServerTime,
        changes: &mut Vec<Change>,
    ) -> Result<Outcome, NotOperated> {
        let view = &mut self.view;
        match operation {
            Operation::Restore(id) => {
                let record = view.trash_record(id).cloned().ok_or(NotOperated::NoRecord(id))?;
                view.restore(id, now, changes)
                    .map_err(|error| not_restored(view, &record, error))?;
                Ok(Outcome::Record(Box::new(record)))
            }
            Operation::Purge(id) => {
                let record = view.trash_record(id).cloned().ok_or(NotOperated::NoRecord(id))?;
                view.purge(id, now, changes).map_err(|_| NotOperated::NoRecord(id))?;
                Ok(Outcome::Record(Box::new(record)))
            }
            Operation::AcceptRoot => {
                if !by.has_done(view) {
                    view.accept_root(now, changes);
                    by.note(view, now, changes);
                }
                Ok(Outcome::Done)
            }
            Operation::AssignScan(session, path) => {
                let given = view.assign_scan(session, path);
                if given { Ok(Outcome::Done) } else { Err(NotOperated::NoRoom) }
            }
            Operation::WithdrawScan(session, agent, path) => {
                let unfinished = view.withdraw_scan(session, path.as_ref());
                Ok(Outcome::Scan { taken: !unfinished && view.root_doubt(&agent).is_none() })
            }
            Operation::Settle => Ok(Outcome::Done),
        }
    }

    /// Forgets what the view knows; the session service tells it, after it ended all sessions.
    pub(super) fn reset(&mut self, by: &Operator, now: ServerTime) -> Result<(), StoreError> {
        let mut changes = Vec::new();
        self.view.reset(now, &mut changes);
        by.note(&mut self.view, now, &mut changes);
        let head = RecordHead {
            actor: Some(Actor::Principal(by.principal.as_str().into())),
            correlation: by.correlation.clone(),
            ..RecordHead::new(now, Origin::Operator)
        };
        self.applier.metrics().changed(&changes);
        self.whole.reset();
        self.journal.append(&head, &changes)
    }
}

fn not_restored(view: &View, record: &TrashRecord, error: TrashError) -> NotOperated {
    let path = record.path.as_ref();
    match error {
        TrashError::NotFound => NotOperated::NoRecord(record.id),
        TrashError::Full => NotOperated::Full,
        TrashError::Occupied => match view.reader().entry(path) {
            Some(entry) => NotOperated::Taken(record.path.clone(), entry.stat),
            None => NotOperated::NoRecord(record.id),
        },
        TrashError::NoDirectory => {
            let dir = path.split_last().map_or(PathRef::ROOT, |(dir, _)| dir);
            let known = view.reader().entry(dir).map(|entry| entry.stat.kind);
            NotOperated::NoDirectory { dir: dir.to_owned(), known }
        }
    }
}
