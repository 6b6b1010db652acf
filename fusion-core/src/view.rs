//! A view: the picture of one tree, and what it believes of the evidence.
//!
//! Owns the tree, the verdict on every piece of evidence, the readiness, and the revision. Called
//! by the one task that owns the view ([`View`] is the writer) and, beside it, by any number of
//! readers ([`ViewReader`]). The door is narrow: [`View::apply`] takes evidence, the time and the
//! witness, and yields numbered changes; [`View::tick`] lets time pass; [`View::orders`] says what
//! the leader should look at; [`View::replay`] takes changes instead of evidence. Must never: wait,
//! read a clock, or trust an agent's. Tested by the text cases in `tests/cases`, by arbitrary
//! evidence, and by the simulator.
//!
//! Inside: `tree` holds entries, `ledger` all else that is remembered, `arbitrate` the rules, which
//! look at both and change them only by way of changes (`perform`).

mod agenda;
mod arbitrate;
pub mod audit;
mod blind;
pub mod checkpoint;
mod confirm;
mod doubt;
mod dump;
mod held;
pub mod invariants;
mod ledger;
mod lists;
mod losses;
mod path_map;
mod perform;
mod read;
mod restored;
mod root;
mod scans;
mod schedule;
mod settings;
mod shared;
mod state;
mod status;
mod suspects;
mod tombstones;
mod trash;
#[doc(hidden)]
pub mod tree;
mod unreadable;
mod verdict;
mod version;
mod watermark;

use std::collections::VecDeque;

use crate::change::{Change, TrashId};
use crate::evidence::{Evidence, Witness};
use crate::id::{AgentId, LeaderEpoch, Revision, SessionId};
use crate::path::{PathRef, TreePath};
use crate::time::ServerTime;

pub use agenda::Waiting;
pub use arbitrate::{Order, TrashError};
pub use blind::{BlindEntry, BlindPlace};
pub use held::HeldUpsert;
pub use lists::Suspect;
pub use losses::{Loss, LossCause};
pub use read::{EntryInfo, FindCursor, ListedEntry, Needle, ReadError, Scope, Totals, ViewReader};
pub use root::{RootAway, RootDoubt};
pub use scans::{PartsSoFar, RunningScan};
pub use settings::ViewSettings;
pub use status::{AgentReport, Coverage, ViewState, ViewStatus};
pub use tombstones::Tombstone;
pub use trash::TrashRecord;
pub use tree::{NameRange, Version};
pub use verdict::{EvidenceKind, Reject, Verdict, VerdictCounts};

use arbitrate::AuditAsk;
use scans::GivenScans;
use state::State;
use status::Standing;

/// Who leads a view, and under which number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leadership {
    /// The leading session.
    pub session: SessionId,
    /// Its epoch.
    pub epoch: LeaderEpoch,
}

/// How much a view remembers beside its entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ViewFigures {
    /// Tombstones.
    pub tombstones: usize,
    /// Records of the trash.
    pub trash: usize,
    /// Blind deletions among them.
    pub blind_deletions: usize,
    /// Directories that wait to be listed again.
    pub relists: usize,
    /// Names that wait to be looked at.
    pub probes: usize,
    /// Evidence that is held back.
    pub held: usize,
    /// Suspects.
    pub suspects: usize,
    /// Losses of events that no audit has ended.
    pub losses: usize,
    /// Directories of which names were left out because the view was full, until they are listed whole.
    pub short: usize,
    /// Scans that run.
    pub scans: usize,
    /// By how many nanoseconds the storage's clock is behind; 0 while uncalibrated.
    pub skew_nanos: i64,
}

/// The writer's side of a view; one per view.
#[derive(Debug)]
pub struct View {
    state: State,
    standing: Standing,
    leadership: Option<Leadership>,
    leader_changed: bool,
    given: GivenScans,
    counts: VerdictCounts,
    keep_changes: bool,
    audit_ask: AuditAsk,
    /// Which session is to look at its root again, and when (R11). Not durable: a later look disagrees
    /// as well.
    second_look: Option<(SessionId, ServerTime)>,
    /// Directories that became known while evidence waited for them.
    ripe: VecDeque<TreePath>,
    tables: checkpoint::Tables,
}

impl View {
    /// An empty view.
    #[must_use]
    pub fn new(settings: ViewSettings) -> Self {
        Self {
            state: State::new(settings),
            standing: Standing::default(),
            leadership: None,
            leader_changed: false,
            given: GivenScans::default(),
            counts: VerdictCounts::default(),
            keep_changes: true,
            audit_ask: AuditAsk::default(),
            second_look: None,
            ripe: VecDeque::new(),
            tables: checkpoint::Tables::default(),
        }
    }

    /// An empty view in the place of one that was lost: after `last`, the number of the last change
    /// that anybody can have seen of it. So no number is ever given twice.
    #[must_use]
    pub fn begun_anew(settings: ViewSettings, last: Revision) -> Self {
        let mut view = Self::new(settings);
        view.state.begin_after(last);
        view
    }

    /// A handle for readers; cheap to clone, usable beside the writer.
    #[must_use]
    pub fn reader(&self) -> ViewReader {
        ViewReader::new(self.state.tree.share())
    }

    /// The number of the last change.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.state.revision
    }

    /// The time of the last change: of what may be durable nothing is later.
    #[must_use]
    pub fn time(&self) -> ServerTime {
        self.state.time
    }

    /// The settings in force.
    #[must_use]
    pub fn settings(&self) -> &ViewSettings {
        &self.state.settings
    }

    /// Changes the settings; what waits already keeps its times.
    pub fn set_settings(&mut self, settings: ViewSettings) {
        self.state.settings = settings;
    }

    /// Whether changes are handed out at all; they are numbered all the same. For benches, and while
    /// there is neither a log nor a watcher.
    pub fn keep_changes(&mut self, keep: bool) {
        self.keep_changes = keep;
    }

    /// Says who leads from now on. A new leader is asked at once for all that is wanted, whatever the
    /// one before was asked for.
    pub fn set_leadership(&mut self, leadership: Option<Leadership>) {
        let session = |leader: Option<Leadership>| leader.map(|leader| leader.session);
        self.leader_changed |= session(self.leadership) != session(leadership);
        if leadership.is_some() && self.leadership != leadership {
            self.state.ledger.relists.ask_anew();
            self.state.ledger.probes.ask_anew();
            self.audit_ask = AuditAsk::default();
        }
        self.leadership = leadership;
    }

    /// Takes what an agent says of itself in a heartbeat.
    ///
    /// R10: events that were lost are known again from when the agent watches again; while it is back
    /// and does not, the loss goes on.
    pub fn hear(&mut self, agent: &AgentId, report: &AgentReport, now: ServerTime) {
        let now = now.max(self.state.time);
        let before = self.standing.report(agent).map(|known| known.realtime_ready);
        if before != Some(report.realtime_ready) {
            let over_at = report.realtime_ready.then_some(now);
            self.see_losses(agent, over_at, |loss| loss.cause != LossCause::Overflow);
        }
        self.standing.hear(agent, report);
    }

    /// Says that an agent's session is over; `ended` if by EndSession, else it was lost (R10). It
    /// becomes durable with the next [`View::tick`], which is due at once.
    ///
    /// R10: "if the agent does not return, after its session ended": what was lost before is over now,
    /// however the session ended, for nobody is left to say that the agent watches again.
    pub fn lose(&mut self, agent: &AgentId, ended: bool, now: ServerTime) {
        let now = now.max(self.state.time);
        self.see_losses(agent, Some(now), |loss| loss.over_at.is_none());
        self.standing.lose(agent, ended, now);
    }

    /// Notes losses of an agent, durable or not yet, as over at another time.
    fn see_losses(
        &mut self,
        agent: &AgentId,
        over_at: Option<ServerTime>,
        which: impl Fn(&Loss) -> bool,
    ) {
        let open = self.state.ledger.losses.iter().chain(self.standing.pending());
        let open = open.filter(|loss| loss.agent == *agent && which(loss));
        let seen: Vec<Loss> = open.map(|loss| Loss { over_at, ..loss.clone() }).collect();
        seen.into_iter().for_each(|loss| self.standing.note_loss(loss));
    }

    /// Decides what a piece of evidence is worth and applies it. Changes are numbered and added to
    /// `changes`. A listing gets one verdict: `Applied` if any of its rows was.
    pub fn apply(
        &mut self,
        witness: &Witness,
        evidence: &Evidence<'_>,
        now: ServerTime,
        changes: &mut Vec<Change>,
    ) -> Verdict {
        let mut act = self.act(Some(witness), now, changes);
        self.take_pending(&mut act);
        let verdict = self.judge(&mut act, witness, evidence);
        self.release_ripe(&mut act);
        self.counts.count(EvidenceKind::of(evidence), verdict);
        debug_assert_eq!(self.check_cheap(), Ok(()));
        verdict
    }

    /// Brings near what these pieces of evidence will need, so that waits for memory overlap: call
    /// it with the next 64 to 256 of a batch, then [`View::apply`] each. Changes nothing; realtime
    /// evidence at random paths of a large view is applied about twice as fast.
    pub fn warm<'e, 'a: 'e>(&self, evidence: impl Iterator<Item = &'e Evidence<'a>>) {
        self.state.warm(evidence.filter_map(|evidence| match *evidence {
            Evidence::Upsert { path, .. }
            | Evidence::Remove { path, .. }
            | Evidence::Probe { path, .. }
            | Evidence::Rename { from: path, .. } => Some(path),
            _ => None,
        }));
    }

    /// Takes a change of another's making: of a log, or of the view that owns the log. Replaying all
    /// changes of a view gives the same view.
    pub fn replay(&mut self, change: &Change) {
        self.state.perform(change);
        debug_assert_eq!(self.check_cheap(), Ok(()));
    }

    /// How often each verdict was given.
    #[must_use]
    pub fn counts(&self) -> &VerdictCounts {
        &self.counts
    }

    /// Scans that began and did not end.
    pub fn running_scans(&self) -> impl Iterator<Item = &RunningScan> {
        self.state.ledger.scans.iter()
    }

    /// How much is remembered beside the entries.
    #[must_use]
    pub fn figures(&self) -> ViewFigures {
        let ledger = &self.state.ledger;
        ViewFigures {
            tombstones: ledger.tombstones.len(),
            trash: ledger.trash.len(),
            blind_deletions: ledger.trash.blind_len(),
            relists: ledger.relists.len(),
            probes: ledger.probes.len(),
            held: ledger.held.len(),
            suspects: ledger.suspects.len(),
            losses: ledger.losses.iter().count(),
            short: ledger.unreadable.num_short(),
            scans: ledger.scans.iter().count(),
            skew_nanos: ledger.clock.skew_nanos(),
        }
    }

    /// R9: the number of the next audit; it goes on across leaders. It counts audits that were
    /// completed *and applied*: a leader that begins the next one before that gets the same number.
    #[must_use]
    pub fn audit_number(&self) -> u64 {
        self.state.ledger.audits
    }

    /// Records of the trash after one, the oldest first (R12).
    pub fn trash(&self, after: Option<TrashId>) -> impl Iterator<Item = &TrashRecord> {
        self.state.ledger.trash.after(after)
    }

    /// Blind deletions after a path, by path bytes (R8).
    pub fn blind_deletions<'a>(
        &'a self,
        after: Option<&[u8]>,
    ) -> impl Iterator<Item = &'a TrashRecord> + use<'a> {
        self.state.ledger.trash.blind_after(after)
    }

    /// Suspects with the ends of their quiet periods, by path bytes (R7).
    pub fn suspects(&self) -> impl Iterator<Item = (&[u8], ServerTime)> {
        self.state.ledger.suspects.iter()
    }

    /// The tombstone on a path.
    #[must_use]
    pub fn tombstone(&self, path: PathRef<'_>) -> Option<Tombstone> {
        self.state.ledger.tombstones.get(path).copied()
    }

    /// Directories that wait to be listed again, by path bytes.
    pub fn relists(&self) -> impl Iterator<Item = (&[u8], Waiting)> {
        self.state.ledger.relists.iter()
    }

    /// Names that wait to be looked at, by path bytes.
    pub fn probes(&self) -> impl Iterator<Item = (&[u8], Waiting)> {
        self.state.ledger.probes.iter()
    }

    /// Directories that could not be read when last tried, with the error number (R11), or
    /// [`crate::change::NO_ROOM`] where names were left out because the view was full.
    pub fn unreadable_directories(&self) -> impl Iterator<Item = (&[u8], i32)> {
        self.state.ledger.unreadable.iter()
    }

    /// Losses of events that no audit has ended (R10).
    pub fn losses(&self) -> impl Iterator<Item = &Loss> {
        self.state.ledger.losses.iter()
    }

    /// That the storage of an agent may be another than the view's (R11).
    #[must_use]
    pub fn root_doubt(&self, agent: &AgentId) -> Option<&RootDoubt> {
        self.state.ledger.root.doubts.get(agent)
    }

    /// How far the view can be believed now (§5).
    #[must_use]
    pub fn status(&self, now: ServerTime) -> ViewStatus {
        let ledger = &self.state.ledger;
        let now = now.max(self.state.time);
        let mut reasons = Vec::new();
        if self.leadership.is_none() {
            reasons.push("no agent leads this view".to_owned());
        }
        reasons.extend(self.shortage());
        reasons.extend(self.standing.troubles(ledger, &self.state.settings, now));
        let known = ledger.last_snapshot.or(ledger.last_audit);
        let state = match (known, ledger.scans.read_whole()) {
            (None, false) => ViewState::Empty,
            (None, true) => ViewState::Snapshotting,
            (Some(_), _) if reasons.is_empty() => ViewState::Ready,
            (Some(_), _) => ViewState::Degraded,
        };
        match state {
            ViewState::Empty => reasons.push("nothing has been scanned yet".to_owned()),
            ViewState::Snapshotting => reasons.push("the first scan is running".to_owned()),
            ViewState::Ready | ViewState::Degraded => {}
        }
        ViewStatus {
            state,
            reasons,
            revision: self.state.revision,
            watermark: ledger.clock.at(now),
            calibrated: ledger.clock.is_calibrated(),
            last_snapshot: ledger.last_snapshot,
            last_audit: ledger.last_audit,
            coverage: self.standing.coverage(),
            horizon: self.standing.horizon(ledger).filter(|_| !self.is_short()),
        }
    }
}
