//! What people and the server ask of a view: the trash (R12), the root (R11), a reset, given scans.

use uuid::Uuid;

use crate::change::{Cause, Change, ChangeKind, Loss, LossCause, Note, TrashId};
use crate::id::{AgentId, SessionId};
use crate::path::{PathRef, TreePath};
use crate::time::ServerTime;
use crate::view::View;
use crate::view::tree::BlockId;

use super::Act;

/// Why a record of the trash cannot be put back or dropped; nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TrashError {
    /// There is no such record.
    #[error("no such record in the trash")]
    NotFound,
    /// Something stands at its path.
    #[error("something stands at the path of the record")]
    Occupied,
    /// The view has no room for what is in the record.
    #[error("the view has no room for it")]
    Full,
    /// The directory that it was in is not known.
    #[error("the directory of the record is not known")]
    NoDirectory,
}

impl View {
    /// R12 *Restore*: "puts it back as SUSPECT and queues a probe of it, and every restored directory
    /// for relisting: if it is really there it stays, else it goes again."
    ///
    /// # Errors
    /// [`TrashError`].
    pub fn restore(
        &mut self,
        id: TrashId,
        now: ServerTime,
        changes: &mut Vec<Change>,
    ) -> Result<(), TrashError> {
        let record = self.state.ledger.trash.get(id).ok_or(TrashError::NotFound)?;
        let (path, stat, weight) = (record.path.clone(), record.stat, record.weight);
        if self.state.find(path.as_ref()).is_some() {
            return Err(TrashError::Occupied);
        }
        let parent = path.as_ref().split_last().map(|(parent, _)| parent);
        if parent.is_some_and(|parent| !self.state.is_dir(parent)) {
            return Err(TrashError::NoDirectory);
        }
        if weight.files + weight.directories + weight.others > self.room() {
            return Err(TrashError::Full);
        }
        let mut act = self.act(None, now, changes);
        let suspect_until = act.now.plus(self.state.settings.hot_threshold);
        let restored = ChangeKind::Restored { path: path.clone(), stat, trash: id, suspect_until };
        self.commit(&mut act, Cause::Operator, restored);
        let due = act.now;
        self.ask(&mut act, path.as_ref(), due);
        for dir in self.directories_within(path.as_ref()) {
            self.relist(&mut act, dir.as_ref(), due);
        }
        Ok(())
    }

    /// The directories at a path and below it, a directory before what is in it.
    fn directories_within(&mut self, path: PathRef<'_>) -> Vec<TreePath> {
        let mut todo: Vec<(TreePath, BlockId)> =
            self.state.tree.dir(path).map(|block| (path.to_owned(), block)).into_iter().collect();
        let mut found = Vec::new();
        while let Some((dir, block)) = todo.pop() {
            self.state.tree.children(block, None, usize::MAX, |name, child| {
                if let (Some(block), Ok(path)) = (child.block, dir.join(name)) {
                    todo.push((path, block));
                }
            });
            found.push(dir);
        }
        found
    }

    /// R12 *Purge*: drops the record. "The tombstone lives on by itself".
    ///
    /// # Errors
    /// [`TrashError::NotFound`].
    pub fn purge(
        &mut self,
        id: TrashId,
        now: ServerTime,
        changes: &mut Vec<Change>,
    ) -> Result<(), TrashError> {
        let mut act = self.act(None, now, changes);
        if self.purge_record(&mut act, Cause::Operator, id) {
            Ok(())
        } else {
            Err(TrashError::NotFound)
        }
    }

    /// Drops a record of the trash. Whether there was one.
    pub(super) fn purge_record(&mut self, act: &mut Act<'_>, cause: Cause, id: TrashId) -> bool {
        let Some(record) = self.state.ledger.trash.get(id) else { return false };
        let (path, stat) = (record.path.clone(), record.stat);
        self.commit(act, cause, ChangeKind::Purged { path, stat, trash: id });
        true
    }

    /// R11: an operator accepts the root that the agents find, whatever it is, until a whole scan of
    /// it has been completed.
    pub fn accept_root(&mut self, now: ServerTime, changes: &mut Vec<Change>) {
        let mut act = self.act(None, now, changes);
        if !self.state.ledger.root.doubts.is_empty() {
            self.note(&mut act, Cause::Operator, Note::RootDoubt(None));
        }
        if !self.state.ledger.root.accepted {
            self.note(&mut act, Cause::Operator, Note::RootAccepted(true));
        }
    }

    /// Forgets entries, tombstones, trash and lists (3-protocol, `ResetView`). Realtime evidence
    /// observed before is dropped from now on.
    pub fn reset(&mut self, now: ServerTime, changes: &mut Vec<Change>) {
        let mut act = self.act(None, now, changes);
        self.commit(&mut act, Cause::Operator, ChangeKind::Reset);
    }

    /// Notes that a call of an operator was done, together with what it did.
    pub fn operated(&mut self, call: Uuid, now: ServerTime, changes: &mut Vec<Change>) {
        let mut act = self.act(None, now, changes);
        self.note(&mut act, Cause::Operator, Note::Operated { call });
    }

    /// Whether a call of an operator was done, of the last few.
    #[must_use]
    pub fn has_operated(&self, call: Uuid) -> bool {
        self.state.ledger.operated.contains(&call)
    }

    /// Gives a session a scan that somebody asked for: its ON_DEMAND listings at and below the path
    /// are taken until the scan has finished. Not durable: after a restart it is given again. Whether
    /// there was room.
    pub fn assign_scan(&mut self, session: SessionId, path: TreePath) -> bool {
        self.given.give(session, path)
    }

    /// Takes a given scan back. Whether it was still given: then its end was not taken, and so what it
    /// told was not, or not to the end.
    pub fn withdraw_scan(&mut self, session: SessionId, path: PathRef<'_>) -> bool {
        self.given.done(session, path)
    }

    /// R10: says that events of an agent were lost: it came back as another process, or its sequences
    /// have a hole. It becomes durable with the next [`View::tick`], which is due at once.
    pub fn lose_events(&mut self, agent: &AgentId, cause: LossCause, now: ServerTime) {
        let now = now.max(self.state.time);
        let since = self.standing.since(agent);
        if cause == LossCause::NewInstance {
            // What the process before it said of its watches is not true of this one.
            self.standing.forget_report(agent);
        }
        let watches = self.standing.report(agent).is_some_and(|report| report.realtime_ready);
        let over_at = watches.then_some(now);
        self.standing.note_loss(Loss { agent: agent.clone(), cause, since, over_at });
    }
}
