//! A simulator that tries to fool the arbitration (4-consistency §6).
//!
//! Owns a model of reality (storage, hosts with stale caches, agents, lanes, crashes), a naive
//! oracle, and the shrinking of what fails. It calls `fusion-core` through its public door only.
//! Called by its own tests and program, and by `fusion-tests soak sim`. Must never: read a clock,
//! or draw chance from anything but the seed. How it is meant and run: `docs/simulator.md`.

mod agent;
mod checkpoints;
mod dice;
mod faults;
mod host;
mod lane;
pub mod mutants;
mod name;
mod operate;
mod oracle;
mod plan;
mod report;
mod row;
mod run;
mod scan;
mod schedule;
mod server;
mod settings;
mod shrink;
mod storage;
mod traffic;
mod verdicts;
mod world;

use std::ops::Range;

pub use report::{FailedSchedule, Failure, Property, Report};
pub use settings::Settings;
pub use shrink::Shrunk;

/// Runs the schedules of these seeds, each under the setting whose turn it is.
#[must_use]
pub fn run(settings: &[Settings], seeds: Range<u64>) -> Report {
    let mut report = Report::default();
    if settings.is_empty() {
        return report;
    }
    for seed in seeds {
        let settings = setting_of(settings, seed);
        report.add(run_one(settings, seed).0);
    }
    report
}

/// The setting under which [`run`] runs a seed.
#[must_use]
pub fn setting_of(settings: &[Settings], seed: u64) -> Settings {
    settings[(seed % settings.len() as u64) as usize]
}

/// Runs one schedule and tells everything that happened, evidence in order with verdicts.
#[must_use]
pub fn replay(settings: Settings, seed: u64) -> (Report, String) {
    let plan = plan::plan(settings, seed);
    let outcome = run::run_schedule(&plan, true);
    let text = format!("{plan}\n{}\n", outcome.trace.join("\n"));
    (report_of(settings, seed, &outcome), text)
}

/// Cuts a failing schedule down to what still fails by the same property; `None` if it does not
/// fail.
#[must_use]
pub fn shrink(settings: Settings, seed: u64) -> Option<Shrunk> {
    shrink::shrink(plan::plan(settings, seed))
}

/// Scans a tree of many directories for the first time while every one of them is written to, and
/// says how much was ordered to be looked at again (property 8). `others`: other hosts
/// write as well, one of them without an agent.
#[must_use]
pub fn storm(directories: usize, others: bool, seed: u64) -> Report {
    let plan = plan::storm(directories, others, seed);
    let outcome = run::run_schedule(&plan, false);
    report_of(plan.settings, seed, &outcome)
}

fn run_one(settings: Settings, seed: u64) -> (Report, run::Outcome) {
    let plan = plan::plan(settings, seed);
    let outcome = run::run_schedule(&plan, false);
    (report_of(settings, seed, &outcome), outcome)
}

fn report_of(settings: Settings, seed: u64, outcome: &run::Outcome) -> Report {
    let failed = |failure: &Failure| FailedSchedule { seed, settings, failure: failure.clone() };
    Report {
        schedules: 1,
        evidence: outcome.evidence,
        operations: outcome.operations,
        converged_before: u64::from(outcome.converged_before),
        missed_names: outcome.missed_names,
        invented: outcome.invented,
        killed: outcome.killed,
        samples: outcome.samples,
        wrong_names: outcome.wrong_names,
        converged_after_one: u64::from(outcome.converged_after_one),
        ordered: outcome.ordered,
        most_ordered: outcome.ordered * 100 / outcome.operations.max(1),
        failures: outcome.failure.iter().map(failed).collect(),
    }
}
