//! Applying a batch: row by row through the view's door, with what was refused and what it was worth.

use std::time::Duration;

use fusion_core::change::Change;
use fusion_core::evidence::{Evidence, ScanId, Source, Witness};
use fusion_core::id::ViewName;
use fusion_core::time::ServerTime;
use fusion_core::view::{Reject, Verdict, View};
use fusion_proto::convert::evidence::{DecodedBatch, RejectedRow, Row};
use fusion_proto::status::Reason;
use fusion_store::Origin;
use prometheus::{Histogram, IntCounter, IntGauge};

use super::flush::FlushMetrics;
use super::lanes::LaneKey;
use super::whole::ScanFigures;
use super::{Push, PushOutcome};
use crate::ops::metrics::{Metrics, seconds};

const TIERS: [&str; 5] = ["realtime", "snapshot", "audit", "probe", "report"];
const OUTCOMES: [&str; 9] =
    ["applied", "unchanged", "stale", "ghost", "held", "kept", "relist", "full", "rejected"];
const REJECTED: usize = 8;
/// Rows whose tier cannot be told because they cannot be read count as reports.
const UNREAD: usize = 4;
const LANES: [&str; 2] = ["realtime", "scan"];
/// Rows that are read before the first of them is applied.
const READ_AHEAD: usize = 128;
const ENDS: [&str; 4] = ["applied", "repeated", "gap", "obsolete"];

/// Rows by tier and outcome.
type Tally = [[u64; OUTCOMES.len()]; TIERS.len()];

/// What came of a batch.
#[derive(Debug)]
pub(super) struct AppliedBatch {
    pub(super) rejected: Vec<RejectedRow>,
    pub(super) all_rejected: bool,
    /// What kind of evidence it began with.
    pub(super) origin: Origin,
    /// The scans that ended in it, and what was said of them.
    pub(super) finished: Vec<(ScanId, ScanFigures)>,
}

/// Applies batches, one after the other, reusing its buffers.
pub(super) struct Applier {
    /// What the last call changed.
    changes: Vec<Change>,
    metrics: ViewMetrics,
}

impl Applier {
    pub(super) fn new(metrics: ViewMetrics) -> Self {
        Self { changes: Vec::new(), metrics }
    }

    pub(super) fn metrics(&self) -> &ViewMetrics {
        &self.metrics
    }

    /// What the last batch, or the last passing of time, changed.
    pub(super) fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Applies what can be applied. A batch that is refused as a whole changes nothing.
    pub(super) fn apply(&mut self, view: &mut View, push: &Push, now: ServerTime) -> AppliedBatch {
        let before = view.revision();
        self.changes.clear();
        let mut done = AppliedBatch {
            rejected: Vec::new(),
            all_rejected: false,
            origin: Origin::Report,
            finished: Vec::new(),
        };
        let mut tally = Tally::default();
        let num_pieces = match push.batch.decode() {
            Err(whole) => {
                tally[UNREAD][REJECTED] += push.batch.rows() as u64;
                done.rejected.push(whole);
                0
            }
            Ok(batch) => self.apply_rows(view, push, &batch, now, &mut done, &mut tally),
        };
        self.metrics.count(&tally, view.revision().0 - before.0);
        done.all_rejected = !done.rejected.is_empty() && done.rejected.len() >= num_pieces;
        done
    }

    /// Takes one piece of evidence that is nobody's.
    pub(super) fn report(
        &mut self,
        view: &mut View,
        witness: &Witness,
        evidence: &Evidence<'_>,
        now: ServerTime,
    ) {
        self.changes.clear();
        view.apply(witness, evidence, now, &mut self.changes);
    }

    /// Row by row, in order; how many there were. The rows are read some at a time, so that the view
    /// can bring near what they will need.
    fn apply_rows(
        &mut self,
        view: &mut View,
        push: &Push,
        batch: &DecodedBatch<'_>,
        now: ServerTime,
        done: &mut AppliedBatch,
        tally: &mut Tally,
    ) -> usize {
        let (mut rows, mut num_pieces) = (batch.rows(), 0);
        let mut origin = None;
        let mut read: Vec<Result<Row<'_>, RejectedRow>> = Vec::with_capacity(READ_AHEAD);
        loop {
            read.extend(rows.by_ref().take(READ_AHEAD));
            if read.is_empty() {
                done.origin = origin.unwrap_or(Origin::Report);
                return num_pieces;
            }
            num_pieces += read.len();
            view.warm(read.iter().flatten().map(|row| &row.evidence));
            for row in read.drain(..) {
                let row = match row {
                    Ok(row) => row,
                    Err(bad) => {
                        tally[UNREAD][REJECTED] += 1;
                        done.rejected.push(bad);
                        continue;
                    }
                };
                origin.get_or_insert_with(|| origin_of(&row.evidence));
                if let Evidence::ScanFinished { scan, entries, errors, .. } = row.evidence {
                    done.finished.push((scan, ScanFigures { entries, errors }));
                }
                let verdict = view.apply(&push.witness, &row.evidence, now, &mut self.changes);
                let (tier, rows) = weigh(&row.evidence);
                tally[tier][outcome(verdict)] += rows;
                if let Verdict::Rejected(reject) = verdict {
                    done.rejected.push(refused(row.number, reject));
                }
            }
        }
    }

    /// Lets time pass.
    pub(super) fn tick(&mut self, view: &mut View, now: ServerTime) {
        let before = view.revision();
        self.changes.clear();
        view.tick(now, &mut self.changes);
        self.metrics.changes.inc_by(view.revision().0 - before.0);
    }
}

/// Whether a row was refused because its sender does not lead, and how.
pub(crate) fn leadership(row: &RejectedRow) -> Option<Reject> {
    match row.reason {
        Reason::NotLeader => Some(Reject::NotLeader),
        Reason::LeaderEpochStale => Some(Reject::LeaderEpochStale),
        _ => None,
    }
}

fn refused(number: u32, reject: Reject) -> RejectedRow {
    let (reason, message) = match reject {
        Reject::NotLeader => (Reason::NotLeader, "only the leader of the view may report this"),
        Reject::LeaderEpochStale => {
            (Reason::LeaderEpochStale, "the leadership under which this was seen is over")
        }
        Reject::NotAssigned => {
            (Reason::PermissionDenied, "this scan was not asked for, or of another session")
        }
        Reject::Malformed => (Reason::InvalidArgument, "it contradicts itself"),
        Reject::RootMismatch => {
            (Reason::RootMismatch, "the storage is another than the view's; an operator decides")
        }
        Reject::RootAway => (Reason::RootMismatch, "the root was away when this was seen"),
    };
    RejectedRow { row: Some(number), reason, message: message.to_owned() }
}

/// The tier of a piece of evidence, and how many rows it stands for.
fn weigh(evidence: &Evidence<'_>) -> (usize, u64) {
    match evidence {
        Evidence::Upsert { .. } | Evidence::Remove { .. } | Evidence::Rename { .. } => (0, 1),
        Evidence::Listing(listing) => {
            let tier = match listing.source {
                Source::Snapshot | Source::Discovery => 1,
                Source::Audit | Source::OnDemand => 2,
            };
            (tier, 1 + listing.children.len() as u64)
        }
        Evidence::Unchanged { .. } => (2, 1),
        Evidence::Probe { .. } => (3, 1),
        Evidence::ScanStarted { .. }
        | Evidence::ScanFinished { .. }
        | Evidence::Unreadable { .. }
        | Evidence::Root { .. }
        | Evidence::Overflow { .. } => (4, 1),
    }
}

/// What a record says of the batch that begins with this.
fn origin_of(evidence: &Evidence<'_>) -> Origin {
    match evidence {
        Evidence::Upsert { .. } | Evidence::Remove { .. } | Evidence::Rename { .. } => {
            Origin::Realtime
        }
        Evidence::Listing(listing) => match listing.source {
            Source::Snapshot => Origin::Snapshot,
            Source::Discovery => Origin::Discovery,
            Source::Audit => Origin::Audit,
            Source::OnDemand => Origin::OnDemand,
        },
        Evidence::Unchanged { .. } => Origin::Audit,
        Evidence::Probe { .. } => Origin::Probe,
        Evidence::ScanStarted { .. }
        | Evidence::ScanFinished { .. }
        | Evidence::Unreadable { .. }
        | Evidence::Root { .. }
        | Evidence::Overflow { .. } => Origin::Report,
    }
}

fn outcome(verdict: Verdict) -> usize {
    match verdict {
        Verdict::Applied => 0,
        Verdict::Unchanged => 1,
        Verdict::Stale => 2,
        Verdict::Ghost => 3,
        Verdict::Held => 4,
        Verdict::Kept => 5,
        Verdict::Relist => 6,
        Verdict::Full => 7,
        Verdict::Rejected(_) => REJECTED,
    }
}

/// The metrics of one view, looked up once.
pub(super) struct ViewMetrics {
    rows: [[IntCounter; OUTCOMES.len()]; TIERS.len()],
    batches: [[IntCounter; ENDS.len()]; LANES.len()],
    durations: [Histogram; LANES.len()],
    changes: IntCounter,
    pub(super) lost_batches: IntCounter,
    pub(super) store_failing: IntGauge,
    pub(super) unseen: IntGauge,
    pub(super) commit_duration: Histogram,
    flush: FlushMetrics,
}

impl ViewMetrics {
    pub(super) fn new(metrics: &Metrics, view: &ViewName) -> Self {
        let view = view.as_str();
        let row = |tier, outcome| metrics.evidence_rows.with_label_values(&[view, tier, outcome]);
        let batch = |lane, end| metrics.batches.with_label_values(&[view, lane, end]);
        Self {
            rows: TIERS.map(|tier| OUTCOMES.map(|outcome| row(tier, outcome))),
            batches: LANES.map(|lane| ENDS.map(|end| batch(lane, end))),
            durations: LANES.map(|lane| metrics.apply_duration.with_label_values(&[view, lane])),
            changes: metrics.changes.with_label_values(&[view]),
            lost_batches: metrics.lost_batches.with_label_values(&[view]),
            store_failing: metrics.store_failing.with_label_values(&[view]),
            unseen: metrics.unseen.with_label_values(&[view]),
            commit_duration: metrics.commit_duration.with_label_values(&[view]),
            flush: FlushMetrics {
                duration: metrics.checkpoint_duration.with_label_values(&[view]),
                bytes: metrics.checkpoint_bytes.with_label_values(&[view]),
                failures: metrics.checkpoint_failures.with_label_values(&[view]),
            },
        }
    }

    pub(super) fn flush(&self) -> FlushMetrics {
        self.flush.clone()
    }

    /// Counts changes that no evidence made.
    pub(super) fn changed(&self, changes: &[Change]) {
        self.changes.inc_by(changes.iter().map(Change::width).sum());
    }

    pub(super) fn applied(&self, lane: &LaneKey, took: Duration) {
        self.durations[index(lane)].observe(seconds(took));
    }

    pub(super) fn outcome(&self, lane: &LaneKey, outcome: &PushOutcome) {
        let end = match outcome {
            PushOutcome::Applied { .. } => 0,
            PushOutcome::Repeated { .. } => 1,
            PushOutcome::Gap { .. } => 2,
            PushOutcome::Over => 3,
        };
        self.batches[index(lane)][end].inc();
    }

    fn count(&self, tally: &Tally, num_changes: u64) {
        for (counters, counts) in self.rows.iter().zip(tally) {
            for (counter, count) in counters.iter().zip(counts) {
                if *count > 0 {
                    counter.inc_by(*count);
                }
            }
        }
        self.changes.inc_by(num_changes);
    }
}

fn index(lane: &LaneKey) -> usize {
    match lane {
        LaneKey::Realtime(..) => 0,
        LaneKey::Scan(_) => 1,
    }
}
