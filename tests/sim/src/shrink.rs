//! Cutting a failing schedule down to what still fails.
//!
//! Operations go in ever smaller runs, then faults, hosts and whatever makes the rest harder to
//! read; a cut is kept if the schedule still fails by the same property. Chance is keyed
//! (`dice`), so what is left behaves mostly as before.

use crate::report::{Failure, Property};
use crate::run::run_schedule;
use crate::schedule::Schedule;

/// A failing schedule, cut down.
#[derive(Debug, Clone)]
pub struct Shrunk {
    /// How many operations are left.
    pub operations: usize,
    /// What does not hold.
    pub failure: Failure,
    /// The schedule and everything that happened.
    pub text: String,
}

/// Cuts a schedule down; `None` if it does not fail.
pub(crate) fn shrink(plan: Schedule) -> Option<Shrunk> {
    let property = run_schedule(&plan, true).failure?.property;
    let mut plan = plan;
    loop {
        let before = size(&plan);
        drop_operations(&mut plan, property);
        drop_faults(&mut plan, property);
        simplify(&mut plan, property);
        if size(&plan) == before {
            break;
        }
    }
    let outcome = run_schedule(&plan, true);
    let failure = outcome.failure?;
    let text = format!("{plan}\n{}\n", outcome.trace.join("\n"));
    Some(Shrunk { operations: plan.ops.len(), failure, text })
}

fn size(plan: &Schedule) -> (usize, usize, usize) {
    let agents = plan.hosts.iter().filter(|host| host.agent).count();
    (plan.ops.len(), plan.faults.len(), agents)
}

fn fails(plan: &Schedule, property: Property) -> bool {
    run_schedule(plan, true).failure.is_some_and(|failure| failure.property == property)
}

/// Takes the cut if it still fails.
fn attempt(plan: &mut Schedule, property: Property, cut: impl FnOnce(&mut Schedule)) -> bool {
    let mut smaller = plan.clone();
    cut(&mut smaller);
    let fails = fails(&smaller, property);
    if fails {
        *plan = smaller;
    }
    fails
}

fn drop_operations(plan: &mut Schedule, property: Property) {
    let mut run = plan.ops.len().max(1);
    while run > 0 {
        let mut at = 0;
        while at < plan.ops.len() {
            let end = (at + run).min(plan.ops.len());
            // The first operation makes the directory by which the root is known again (R11).
            let keeps = plan.ops[at..end].iter().any(|op| op.id == 0);
            if keeps || !attempt(plan, property, |plan| drop(plan.ops.drain(at..end))) {
                at = end;
            }
        }
        run /= 2;
    }
}

fn drop_faults(plan: &mut Schedule, property: Property) {
    let mut at = 0;
    while at < plan.faults.len() {
        if !attempt(plan, property, |plan| {
            plan.faults.remove(at);
        }) {
            at += 1;
        }
    }
}

fn simplify(plan: &mut Schedule, property: Property) {
    for host in 0..plan.hosts.len() {
        let agents = plan.hosts.iter().filter(|host| host.agent).count();
        if agents > 1 && !(plan.seen && host == 0) {
            attempt(plan, property, |plan| plan.hosts[host].agent = false);
        }
        attempt(plan, property, |plan| plan.hosts[host].lag = 0);
        attempt(plan, property, |plan| {
            (plan.hosts[host].wall, plan.hosts[host].error) = (0, 0);
        });
    }
    attempt(plan, property, |plan| plan.delays = false);
    attempt(plan, property, |plan| plan.duplicates = false);
    attempt(plan, property, |plan| plan.storage_offset = 0);
    attempt(plan, property, |plan| plan.part_rows = 100);
    attempt(plan, property, |plan| plan.deep_one_in = 1);
    attempt(plan, property, |plan| plan.scan_pace = 0);
    attempt(plan, property, |plan| plan.scan_lag = 1_000_000);
    attempt(plan, property, |plan| {
        plan.audit_every = plan.audit_every.max(plan.end - plan.start + 1);
    });
}
