//! What came of it: failures with their seeds, and the figures.

use std::fmt;

use crate::settings::Settings;

/// How many failures of one property are shown.
const SHOWN: usize = 8;

/// What must hold (4-consistency §6), one name per check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Property {
    /// 1: the view equals the storage after the horizon, K audits and an empty relist queue.
    Convergence,
    /// Where one watched host on local storage does everything, all names are right without an audit.
    NoAuditNeeded,
    /// 1: the relist queue becomes empty.
    RelistQueue,
    /// 2: no entry comes back by older evidence.
    NoGhost,
    /// 3: no entry dies by older evidence.
    NoFalseDeath,
    /// 4: the same evidence gives the same view.
    Determinism,
    /// 4: a batch delivered twice changes nothing.
    Duplicates,
    /// 5: aggregates equal a recount.
    Aggregates,
    /// 6: what was durable gives the same view again.
    Recovery,
    /// 7: late evidence leaves a converged view equal to the storage at once.
    LateSpool,
    /// 7: after late evidence and the usual time the view equals the storage.
    LateConvergence,
    /// 8: relists per change are bounded.
    Liveness,
    /// Replaying the changes alone gives the view.
    Changes,
    /// R7: nothing stays suspect for ever.
    Suspects,
    /// R4: leader-only evidence is taken from the leader alone.
    Authority,
    /// The view's own invariants, which the text cases check as well.
    Invariants,
    /// The rules panicked.
    Panic,
}

/// A property that did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Which.
    pub property: Property,
    /// When, in seconds since the begin of the schedule.
    pub at: String,
    /// What was seen.
    pub what: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at {} s: {}", self.property, self.at, self.what)
    }
}

/// A schedule that failed: enough to replay it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedSchedule {
    /// Its seed.
    pub seed: u64,
    /// Its setting.
    pub settings: Settings,
    /// What did not hold.
    pub failure: Failure,
}

/// The figures of many schedules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Schedules run.
    pub schedules: u64,
    /// Pieces of evidence applied.
    pub evidence: u64,
    /// Primitive operations done on the storage.
    pub operations: u64,
    /// Schedules whose view equalled the storage two horizons after the last operation, before any
    /// audit looked.
    pub converged_before: u64,
    /// Schedules whose view equalled the storage after the first audit.
    pub converged_after_one: u64,
    /// Directories ordered to be listed and names ordered to be probed.
    pub ordered: u64,
    /// The most that one schedule ordered, in hundredths per operation.
    pub most_ordered: u64,
    /// How often a name was wrong after one audit and its relists (late spools: after those again).
    pub missed_names: u64,
    /// Entries that came, while things happened, where nothing of the kind stood any more.
    pub invented: u64,
    /// Entries confirmed by realtime evidence that went while they stood there (within the horizon).
    pub killed: u64,
    /// How often a view was held against the storage while things happened.
    pub samples: u64,
    /// How many names were wrong then, in sum.
    pub wrong_names: u64,
    /// Schedules that failed, in the order of seeds.
    pub failures: Vec<FailedSchedule>,
}

impl Report {
    /// Adds the figures of another report.
    pub fn add(&mut self, other: Self) {
        self.schedules += other.schedules;
        self.evidence += other.evidence;
        self.operations += other.operations;
        self.converged_before += other.converged_before;
        self.missed_names += other.missed_names;
        self.invented += other.invented;
        self.killed += other.killed;
        self.samples += other.samples;
        self.wrong_names += other.wrong_names;
        self.converged_after_one += other.converged_after_one;
        self.ordered += other.ordered;
        self.most_ordered = self.most_ordered.max(other.most_ordered);
        self.failures.extend(other.failures);
    }

    /// How many schedules failed by each property.
    #[must_use]
    pub fn by_property(&self) -> Vec<(Property, usize)> {
        let mut counts = std::collections::BTreeMap::new();
        for failed in &self.failures {
            *counts.entry(failed.failure.property).or_insert(0) += 1;
        }
        counts.into_iter().collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |part: u64, whole: u64| part as f64 / whole.max(1) as f64;
        writeln!(
            f,
            "{} schedules, {} operations, {} pieces of evidence applied",
            self.schedules, self.operations, self.evidence
        )?;
        writeln!(
            f,
            "converged before an audit: {:.2} %, after one: {:.2} %; names wrong after one: {} times",
            100.0 * of(self.converged_before, self.schedules),
            100.0 * of(self.converged_after_one, self.schedules),
            self.missed_names
        )?;
        writeln!(
            f,
            "while things happen: {:.4} wrong names at a moment; {} came too late, {} went too soon",
            of(self.wrong_names, self.samples),
            self.invented,
            self.killed
        )?;
        writeln!(
            f,
            "relists and probes per operation: {:.2}, at most {:.2}",
            of(self.ordered, self.operations),
            self.most_ordered as f64 / 100.0
        )?;
        writeln!(f, "failed: {}", self.failures.len())?;
        for (property, count) in self.by_property() {
            writeln!(f, "  {property:?}: {count}")?;
            let failed = self.failures.iter().filter(|failed| failed.failure.property == property);
            for failed in failed.take(SHOWN) {
                let name = failed.settings.name();
                writeln!(f, "    --seed {} --setting {name}: {}", failed.seed, failed.failure)?;
            }
        }
        Ok(())
    }
}
