//! The arbitration: what each piece of evidence is worth (4-consistency §4).
//!
//! One file per kind of evidence, one small function per rule; the doc of a function names its rule.
//! A rule looks and decides, and states what changes as [`ChangeKind`]s through `View::commit`, which
//! alone changes tree and ledger: so a replay of the changes gives the same view. Must never: change
//! anything past `commit`, use any clock but the `now` it is given, or iterate in hash order. Tested
//! by `tests/cases/*.txt`, `tests/arbitrary.rs` and the simulator.

mod authority;
mod children;
mod directory;
mod lay;
mod listing;
mod operator;
mod orders;
mod parts;
mod probe;
mod queues;
mod realtime;
mod release;
mod remove;
mod rename;
mod room;
mod root;
mod scan;
mod sound;
mod tick;

use crate::change::{Cause, Change, ChangeKind, Listed, Note};
use crate::evidence::{Evidence, Witness};
use crate::id::Revision;
use crate::stat::{Kind, Stat};
use crate::time::ServerTime;

use super::View;
use super::verdict::{Reject, Verdict};
use super::watermark::Watermark;

use realtime::Upsert;
use rename::Rename;

pub use operator::TrashError;
pub(in crate::view) use orders::AuditAsk;
pub use orders::Order;

/// What goes along with one piece of evidence: whose it is, when it came, where changes go.
pub(super) struct Act<'a> {
    pub(super) by: Option<Witness>,
    pub(super) now: ServerTime,
    pub(super) changes: &'a mut Vec<Change>,
}

impl View {
    /// Makes a change: numbers it, performs it, and hands it out.
    pub(super) fn commit(&mut self, act: &mut Act<'_>, cause: Cause, kind: ChangeKind) {
        let revision = Revision(self.state.revision.0 + 1);
        let change = Change { revision, at: act.now, cause, by: act.by.clone(), kind };
        self.state.perform(&change);
        if self.keep_changes {
            act.changes.push(change);
        }
    }

    /// The same for a listing whose rows are laid over the tree already.
    pub(super) fn commit_laid(&mut self, act: &mut Act<'_>, cause: Cause, listed: Listed) {
        let revision = Revision(self.state.revision.0 + 1);
        let kind = ChangeKind::Listed(Box::new(listed));
        let change = Change { revision, at: act.now, cause, by: act.by.clone(), kind };
        self.state.perform_rest(&change);
        if self.keep_changes {
            act.changes.push(change);
        }
    }

    /// Makes a note.
    pub(super) fn note(&mut self, act: &mut Act<'_>, cause: Cause, note: Note) {
        self.commit(act, cause, ChangeKind::Noted(note));
    }

    /// Sends evidence to its rule.
    pub(super) fn judge(
        &mut self,
        act: &mut Act<'_>,
        witness: &Witness,
        evidence: &Evidence<'_>,
    ) -> Verdict {
        match evidence {
            Evidence::Upsert { .. } | Evidence::Remove { .. } | Evidence::Rename { .. } => {
                self.judge_realtime(act, witness, evidence)
            }
            Evidence::Listing(listing) => self.listing(act, witness, listing),
            Evidence::Unchanged { dir, dir_stat, observed_at } => {
                let at = self.clamp(*observed_at, act.now);
                self.unchanged(act, witness, *dir, dir_stat, at)
            }
            Evidence::Probe { path, found, parent, observed_at } => {
                let at = self.clamp(*observed_at, act.now);
                let probe = probe::Probe { path: *path, found: *found, parent: *parent, at };
                self.probe(act, witness, &probe)
            }
            _ => self.judge_frame(act, witness, evidence),
        }
    }

    /// Tier 1: it was delivered (R10), and it is not of a tree that was reset since.
    fn judge_realtime(
        &mut self,
        act: &mut Act<'_>,
        by: &Witness,
        evidence: &Evidence<'_>,
    ) -> Verdict {
        let (Evidence::Upsert { observed_at, .. }
        | Evidence::Remove { observed_at, .. }
        | Evidence::Rename { observed_at, .. }) = evidence
        else {
            return Verdict::Rejected(Reject::Malformed);
        };
        let at = self.clamp(*observed_at, act.now);
        self.standing.delivered(&by.agent, at);
        if self.state.ledger.reset_at.is_some_and(|reset| at < reset) {
            return Verdict::Stale;
        }
        match *evidence {
            Evidence::Upsert { path, stat, parent, atomic, .. } => {
                let fresh = Watermark::is_fresh(at, act.now);
                let (moved_in, held) = (false, false);
                let up = Upsert { path, stat, parent, atomic, at, fresh, moved_in, held };
                self.upsert(act, by, &up)
            }
            Evidence::Rename { from, to, stat, from_parent, to_parent, .. } => {
                let rename = Rename { from, to, stat, from_parent, to_parent, at };
                self.rename(act, by, &rename)
            }
            Evidence::Remove { path, parent, .. } => self.remove(act, by, path, parent, at),
            _ => Verdict::Rejected(Reject::Malformed),
        }
    }

    /// Evidence about scans, roots and agents: it tells nothing of an entry.
    fn judge_frame(
        &mut self,
        act: &mut Act<'_>,
        witness: &Witness,
        evidence: &Evidence<'_>,
    ) -> Verdict {
        match evidence {
            Evidence::ScanStarted { scan, source, path, started_at, root } => {
                let started_at = self.clamp(*started_at, act.now);
                let frame = scan::Frame { scan: *scan, source: *source, path: *path, started_at };
                self.scan_started(act, witness, &frame, root.as_ref())
            }
            Evidence::ScanFinished { scan, complete, finished_at, .. } => {
                let finished_at = self.clamp(*finished_at, act.now);
                self.scan_finished(act, witness, *scan, *complete, finished_at)
            }
            Evidence::Unreadable { dir, errno, .. } => self.unreadable(act, witness, *dir, *errno),
            Evidence::Root { state, identity, observed_at } => {
                let at = self.clamp(*observed_at, act.now);
                self.root_state(act, witness, *state, identity.as_ref(), at)
            }
            Evidence::Overflow { since, observed_at } => {
                let over_at = self.clamp(*observed_at, act.now);
                self.overflow(act, witness, (*since).min(over_at), over_at)
            }
            _ => Verdict::Rejected(Reject::Malformed),
        }
    }

    /// §2: a time of looking is at most the time of arrival, whatever an agent's clock says.
    fn clamp(&mut self, observed_at: ServerTime, now: ServerTime) -> ServerTime {
        if observed_at > now {
            self.counts.clamped += 1;
        }
        observed_at.min(now)
    }
}

/// The stat of a directory: a parent must be one.
pub(super) fn is_directory(stat: &Stat) -> bool {
    stat.kind == Kind::Directory
}
