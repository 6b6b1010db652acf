//! The ledger: all that the rules remember beside the tree.
//!
//! Owns the tables; each file beside this one owns one of them. Changed by `perform` only, so that a
//! replay of the changes gives the same. Must never: hold what the tree holds. Tested by comparing
//! dumps after every simulated schedule.

use crate::path::PathRef;
use crate::time::ServerTime;

use uuid::Uuid;

use super::agenda::Agenda;
use super::confirm::{AgentNumbers, Confirmations};
use super::held::Held;
use super::losses::Losses;
use super::root::RootStanding;
use super::scans::{Parts, Scans};
use super::suspects::Suspects;
use super::tombstones::Tombstones;
use super::trash::Trash;
use super::unreadable::Unreadable;
use super::watermark::Watermark;

/// Calls of operators that are remembered.
const OPERATED_MAX: usize = 64;

/// All tables.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) tombstones: Tombstones,
    pub(super) trash: Trash,
    pub(super) relists: Agenda,
    pub(super) probes: Agenda,
    pub(super) suspects: Suspects,
    pub(super) held: Held,
    pub(super) confirmations: Confirmations,
    pub(super) agents: AgentNumbers,
    pub(super) clock: Watermark,
    pub(super) scans: Scans,
    pub(super) parts: Parts,
    pub(super) losses: Losses,
    pub(super) root: RootStanding,
    /// Directories that could not be read when last tried, and why (R11); and those that are short.
    pub(super) unreadable: Unreadable,
    /// When the last whole snapshot ended.
    pub(super) last_snapshot: Option<ServerTime>,
    /// When the last whole scan that was completed began (R10).
    pub(super) last_whole_began: Option<ServerTime>,
    /// When the last whole audit ended.
    pub(super) last_audit: Option<ServerTime>,
    /// Whole audits that were completed: the number of the next one (R9).
    pub(super) audits: u64,
    /// Realtime evidence observed before this was of a tree that was reset.
    pub(super) reset_at: Option<ServerTime>,
    /// The last calls of operators that were done, the oldest first.
    pub(super) operated: Vec<Uuid>,
}

impl Ledger {
    /// A call of an operator was done. They are rare; one that is repeated after so many others is done
    /// anew.
    pub(super) fn operated(&mut self, call: Uuid) {
        if self.operated.len() >= OPERATED_MAX {
            self.operated.remove(0);
        }
        self.operated.push(call);
    }

    /// Forgets what was to be done at a path that went, and below it. Tombstones stay.
    pub(super) fn drop_within(&mut self, path: PathRef<'_>) {
        self.relists.drop_within(path);
        self.probes.drop_within(path);
        self.suspects.drop_within(path);
        self.parts.drop_within(path);
        self.unreadable.drop_within(path);
    }

    /// Moves what is to be done, and tombstones, with a subtree (R3).
    pub(super) fn move_within(&mut self, from: PathRef<'_>, to: PathRef<'_>) {
        // Whether something stands at `to` is still to be asked.
        let asked = self.probes.get(to);
        self.drop_within(to);
        self.relists.move_within(from, to);
        self.probes.move_within(from, to);
        if let Some(asked) = asked.filter(|_| self.probes.get(to).is_none()) {
            self.probes.set(to, asked);
        }
        self.suspects.move_within(from, to);
        self.parts.move_within(from, to);
        self.unreadable.move_within(from, to);
        self.tombstones.move_within(from, to);
    }

    /// R1 *Held back*: whether the way to a path may become known by itself: a scan that covers it is
    /// running, or no whole scan has ended yet. The first snapshot is bound to come, and its frame may
    /// lag behind the realtime lane like all else of it.
    pub(super) fn may_come(&self, path: PathRef<'_>) -> bool {
        let scanned = self.last_snapshot.or(self.last_audit).is_some();
        !scanned || self.scans.cover(path)
    }

    /// Whether a directory, or one above it, could not be read when last tried.
    pub(super) fn is_unreadable(&self, dir: PathRef<'_>) -> bool {
        let mut next = Some(dir).filter(|_| self.unreadable.len() > 0);
        while let Some(path) = next {
            if self.unreadable.get(path).is_some() {
                return true;
            }
            next = path.split_last().map(|(above, _)| above);
        }
        false
    }

    /// When time alone changes something.
    pub(super) fn next_change(&self) -> Option<ServerTime> {
        [
            self.suspects.first_end(),
            self.trash.first_expiry(),
            self.tombstones.next_sweep(),
            self.confirmations.next_turn(),
        ]
        .into_iter()
        .flatten()
        .min()
    }
}
