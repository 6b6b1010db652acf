//! Frames of scans: what READY, R9, R10 and held evidence rest on; and R10, R11 for what is not a
//! listing.

use crate::change::{AgendaKind, Cause, Loss, LossCause, NO_ROOM, Note, RunningScan, WholeScan};
use crate::evidence::{RootIdentity, ScanId, Source, Witness};
use crate::id::{AgentId, SessionId};
use crate::path::PathRef;
use crate::time::ServerTime;
use crate::view::View;
use crate::view::verdict::{Reject, Verdict};

use super::Act;

/// The frame of a scan, its time clamped.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame<'a> {
    pub(super) scan: ScanId,
    pub(super) source: Source,
    pub(super) path: PathRef<'a>,
    pub(super) started_at: ServerTime,
}

impl View {
    /// A scan begins. One that carries the root's identity goes down from its path; one without is
    /// a scan of one directory. An identity that agrees was read on a root that is there (R11): what
    /// would tell of its return may be under way in the other lane, or be lost.
    pub(super) fn scan_started(
        &mut self,
        act: &mut Act<'_>,
        by: &Witness,
        frame: &Frame<'_>,
        root: Option<&RootIdentity>,
    ) -> Verdict {
        let may = self.may_scan(by, frame).and_then(|()| {
            if root.is_some_and(|root| self.root_agrees(root, frame.started_at)) {
                self.root_is_there(act, cause_of(frame.source), &by.agent, frame.started_at);
            }
            self.must_be_there(by, frame.started_at)
        });
        if let Err(reject) = may {
            return Verdict::Rejected(reject);
        }
        if self.state.ledger.scans.get(by.session, frame.scan).is_some() {
            return Verdict::Unchanged;
        }
        let agrees = root.is_none_or(|root| self.look_at_root(act, by, root, frame.started_at));
        if let Some(surplus) = self.state.ledger.scans.surplus() {
            let (session, scan) = (surplus.session, surplus.scan);
            self.end_scan(act, session, scan, None);
        }
        let scan = RunningScan {
            session: by.session,
            agent: by.agent.clone(),
            scan: frame.scan,
            source: frame.source,
            path: frame.path.to_owned(),
            started_at: frame.started_at,
            deep: root.is_some(),
            doubtful: !agrees,
        };
        self.note(act, cause_of(frame.source), Note::ScanBegan(Box::new(scan)));
        if agrees { Verdict::Applied } else { Verdict::Rejected(Reject::RootMismatch) }
    }

    fn may_scan(&self, by: &Witness, frame: &Frame<'_>) -> Result<(), Reject> {
        match frame.source {
            Source::Snapshot | Source::Audit => self.must_lead(by),
            Source::OnDemand if !self.given.cover(by.session, frame.path) => {
                Err(Reject::NotAssigned)
            }
            Source::OnDemand | Source::Discovery => Ok(()),
        }
    }

    /// A scan ended. A whole one of the leader that is complete makes the view whole (§5), counts as
    /// an audit (R9) and ends the losses that were over long enough before it began (R10).
    pub(super) fn scan_finished(
        &mut self,
        act: &mut Act<'_>,
        by: &Witness,
        scan: ScanId,
        complete: bool,
        finished_at: ServerTime,
    ) -> Verdict {
        let Some(known) = self.state.ledger.scans.get(by.session, scan) else {
            return Verdict::Unchanged;
        };
        if known.source == Source::OnDemand {
            let path = known.path.clone();
            self.given.done(by.session, path.as_ref());
        }
        let Some(known) = self.state.ledger.scans.get(by.session, scan) else {
            return Verdict::Unchanged;
        };
        if known.source.is_leader_only()
            && let Err(reject) = self.must_lead(by)
        {
            self.end_scan(act, by.session, scan, None);
            return Verdict::Rejected(reject);
        }
        let whole = WholeScan { source: known.source, started_at: known.started_at, finished_at };
        let is_whole = complete && known.is_whole() && !known.doubtful;
        if is_whole {
            self.audit_ask = super::orders::AuditAsk::default();
        }
        self.end_scan(act, by.session, scan, is_whole.then_some(whole));
        Verdict::Applied
    }

    /// Ends a scan, and tries what was held back because it was running (R1).
    pub(super) fn end_scan(
        &mut self,
        act: &mut Act<'_>,
        session: SessionId,
        scan: ScanId,
        whole: Option<WholeScan>,
    ) {
        let Some(known) = self.state.ledger.scans.get(session, scan).cloned() else { return };
        let note = Note::ScanEnded { session, scan, whole };
        self.note(act, cause_of(known.source), note);
        self.release_within(act, known.path.as_ref());
    }

    /// Ends the scans that cannot end any more: those of an agent that is gone, and leader-only ones
    /// of sessions that do not lead.
    pub(super) fn end_lost_scans(&mut self, act: &mut Act<'_>, gone: &[AgentId]) {
        let leader = self.leadership.map(|leader| leader.session);
        let lost: Vec<(SessionId, ScanId)> = self
            .state
            .ledger
            .scans
            .iter()
            .filter(|scan| {
                let deposed = scan.source.is_leader_only() && Some(scan.session) != leader;
                deposed || gone.contains(&scan.agent)
            })
            .map(|scan| (scan.session, scan.scan))
            .collect();
        for (session, scan) in lost {
            self.given.drop_session(session);
            self.end_scan(act, session, scan, None);
        }
    }

    /// R10: events were lost, and the agent watches again.
    pub(super) fn overflow(
        &mut self,
        act: &mut Act<'_>,
        by: &Witness,
        since: ServerTime,
        over_at: ServerTime,
    ) -> Verdict {
        let (agent, cause) = (by.agent.clone(), LossCause::Overflow);
        let loss = Loss { agent, cause, since, over_at: Some(over_at) };
        if self.lost(act, &loss) { Verdict::Applied } else { Verdict::Unchanged }
    }

    /// R10: notes a loss. Whether it is news. A loss that a completed audit has covered already, as
    /// when its batch is delivered twice, is none.
    pub(super) fn lost(&mut self, act: &mut Act<'_>, loss: &Loss) -> bool {
        let horizon = self.state.settings.cache_horizon;
        let ended = self
            .state
            .ledger
            .last_whole_began
            .is_some_and(|began| loss.over_at.is_some_and(|over| over.plus(horizon) <= began));
        let Some(loss) = self.state.ledger.losses.joined(loss).filter(|_| !ended) else {
            return false;
        };
        self.note(act, Cause::Realtime, Note::Lost(loss));
        true
    }

    /// R11: a directory that cannot be read keeps its known children. It has answered a relist, and
    /// is not settled, so the next audit that skips it is not trusted.
    pub(super) fn unreadable(
        &mut self,
        act: &mut Act<'_>,
        by: &Witness,
        dir: PathRef<'_>,
        errno: i32,
    ) -> Verdict {
        if errno == NO_ROOM {
            return Verdict::Rejected(Reject::Malformed);
        }
        if !self.state.is_dir(dir) {
            return Verdict::Stale;
        }
        if self.must_lead(by).is_ok() {
            let waits = self.state.ledger.relists.get(dir).is_some();
            if waits {
                let note = Note::Done { agenda: AgendaKind::Relist, path: dir.to_owned() };
                self.note(act, Cause::Audit, note);
            }
        }
        if self.state.ledger.unreadable.get(dir) == Some(errno) {
            return Verdict::Unchanged;
        }
        let note = Note::Unreadable { dir: dir.to_owned(), errno: Some(errno) };
        self.note(act, Cause::Audit, note);
        Verdict::Applied
    }

    /// From when on an audit should begin that ends the losses which are over (R10) or is the second
    /// look at a root that was another (R11); `None` if neither waits, the whole tree is being read, or
    /// has never been (the first snapshot comes by itself).
    #[must_use]
    pub fn audit_wanted(&self) -> Option<ServerTime> {
        let ledger = &self.state.ledger;
        ledger.last_snapshot.or(ledger.last_audit)?;
        let losses = ledger.losses.audit_from(self.state.settings.cache_horizon);
        let from = losses.into_iter().chain(self.second_look()).min()?;
        (!ledger.scans.read_whole()).then_some(from)
    }
}

fn cause_of(source: Source) -> Cause {
    match source {
        Source::Snapshot | Source::Discovery => Cause::Baseline,
        Source::Audit | Source::OnDemand => Cause::Audit,
    }
}
