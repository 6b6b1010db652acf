//! One schedule from begin to end: live, settling, converged, late spools, converged again.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::agent::Agent;
use crate::dice::Tag;
use crate::lane::Lane;
use crate::oracle::{compare, wrong_names};
use crate::report::{Failure, Property};
use crate::row::seconds;
use crate::schedule::{FaultKind, Schedule};
use crate::storage::{HOUR, SEC, Time};
use crate::verdicts::HORIZON;
use crate::world::World;

/// How long relists may take after the last audit: longer than their longest back-off.
const SETTLE: Time = 45 * HORIZON;

/// What came of one schedule.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outcome {
    pub(crate) failure: Option<Failure>,
    pub(crate) converged_before: bool,
    pub(crate) converged_after_one: bool,
    pub(crate) missed_names: u64,
    pub(crate) invented: u64,
    pub(crate) killed: u64,
    pub(crate) samples: u64,
    pub(crate) wrong_names: u64,
    pub(crate) evidence: u64,
    pub(crate) operations: u64,
    pub(crate) ordered: u64,
    pub(crate) trace: Vec<String>,
}

/// Runs a schedule; a panic of the rules is a failure like others.
pub(crate) fn run_schedule(plan: &Schedule, trace: bool) -> Outcome {
    let whole = || {
        let mut world = World::new(plan.clone(), trace);
        let (converged_before, converged_after_one) = world.run_all();
        Outcome {
            failure: world.failure.take(),
            converged_before,
            converged_after_one,
            missed_names: world.missed_names,
            invented: world.invented,
            killed: world.killed,
            samples: world.samples,
            wrong_names: world.wrong_names,
            evidence: world.server.applied,
            operations: world.done_ops,
            ordered: world.server.ordered,
            trace: world.trace.take().unwrap_or_default(),
        }
    };
    catch_unwind(AssertUnwindSafe(whole)).unwrap_or_else(|cause| {
        let what = cause
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| cause.downcast_ref::<&str>().map(|&text| text.to_owned()))
            .unwrap_or_default();
        let failure = Failure { property: Property::Panic, at: String::new(), what };
        Outcome { failure: Some(failure), ..Outcome::default() }
    })
}

impl World {
    /// All phases; whether the view equalled the storage before the first audit after the last
    /// operation, and after it.
    fn run_all(&mut self) -> (bool, bool) {
        self.load();
        self.run_until(self.plan.end);
        self.heal();
        self.run_until(self.plan.end + 21 * SEC + 2 * HORIZON);
        let before = compare(self.server.reader(), &self.storage).is_ok();
        if self.plan.seen && wrong_names(self.server.reader(), &self.storage) > 0 {
            let why = compare(self.server.reader(), &self.storage).err().unwrap_or_default();
            self.fail(Property::NoAuditNeeded, why);
        }
        let after_one = self.audits_all(Property::Convergence);
        if self.failure.is_none() && self.is_late() {
            self.deliver_late();
        }
        self.check_end();
        (before, after_one)
    }

    fn is_late(&self) -> bool {
        self.plan.faults.iter().any(|fault| matches!(fault.kind, FaultKind::Late(_)))
    }

    /// Everybody is back, and nothing more goes wrong.
    fn heal(&mut self) {
        self.note(|| "---- operations are over".to_owned());
        self.unreadable_until = 0;
        self.run_until(self.plan.end.max(self.server.down_until));
        for agent in 0..self.agents.len() {
            self.start(agent);
            self.reconnect(agent);
        }
    }

    /// Runs K audits and lets the relists be answered; then the view has to be the storage.
    fn audits_all(&mut self, property: Property) -> bool {
        let mut after_one = false;
        let mut chance = self.dice.stream(Tag::Check, property as u64, 0);
        for _ in 0..3 {
            if !self.snapshot_done {
                self.whole_scan();
            }
        }
        for audit in 0..self.plan.deep_one_in {
            self.whole_scan();
            if audit == 0 {
                self.run_until(self.now + 2 * HORIZON + 5 * SEC);
                after_one = compare(self.server.reader(), &self.storage).is_ok();
                self.missed_names += u64::from(!self.names_after_one());
            } else {
                self.run_until(self.now + chance.between(0, 90 * SEC));
            }
            for agent in 0..self.agents.len() {
                self.report(agent);
            }
        }
        self.run_until(self.now + SETTLE);
        self.check_converged(property);
        after_one
    }

    /// Whether all names are right after one audit and its relists: whatever changes a name changes its
    /// directory, and R6 and "settled" see to it that no changed directory is skipped. Only what was
    /// rewritten in place may wait for its deep turn (R9). A figure and no failure, because two
    /// changes in one tick may hide a name from a view that could not calibrate its clock.
    fn names_after_one(&mut self) -> bool {
        self.run_until(self.now + SETTLE);
        wrong_names(self.server.reader(), &self.storage) == 0
    }

    /// One scan of everything, until its end has been applied and nothing is on its way.
    fn whole_scan(&mut self) {
        self.wait(Self::is_idle);
        self.audit_done = false;
        self.begin_scan();
        self.wait(|world| world.audit_done && world.is_idle());
        self.note(|| "---- a whole scan has ended".to_owned());
    }

    /// Lets things happen until it is so, for an hour at most.
    fn wait(&mut self, until: impl Fn(&Self) -> bool) {
        let limit = self.now + HOUR;
        while self.failure.is_none() && self.now < limit && !until(self) {
            self.run_until(self.now + SEC);
        }
    }

    /// Whether no walk is under way and all lanes that move are drained.
    fn is_idle(&self) -> bool {
        let drained = |lane: &Lane| lane.is_drained() || lane.blocked_until == Time::MAX;
        let idle = |who: &Agent| who.jobs.is_empty() && who.lanes.iter().all(drained);
        self.agents.iter().flatten().all(idle)
    }

    fn check_converged(&mut self, property: Property) {
        if self.failure.is_some() {
            return;
        }
        if let Err(why) = compare(self.server.reader(), &self.storage) {
            return self.fail(property, why);
        }
        self.check_state();
        let orders = self.server.orders(self.clock(), usize::MAX);
        if !orders.is_empty() {
            self.fail(Property::RelistQueue, format!("still ordered at the end: {orders:?}"));
        }
    }

    /// What was held back for hours comes now that the view has converged without it.
    fn deliver_late(&mut self) {
        self.run_until(self.now + self.plan.late_by);
        self.check_converged(Property::Convergence);
        self.note(|| "---- late spools are delivered".to_owned());
        self.calm = true;
        self.unblock();
        self.wait(|world| {
            let lanes = world.agents.iter().flatten().map(|who| &who.lanes);
            lanes.flatten().all(Lane::is_drained)
        });
        if self.failure.is_none()
            && !self.tied
            && let Err(why) = compare(self.server.reader(), &self.storage)
        {
            self.fail(Property::LateSpool, why);
        }
        self.calm = false;
        self.run_until(self.now + HORIZON + 2 * SEC);
        self.audits_all(Property::LateConvergence);
    }

    /// What holds at the end of every schedule.
    fn check_end(&mut self) {
        if self.failure.is_some() {
            return;
        }
        let mut chance = self.dice.stream(Tag::Check, 99, 0);
        if self.trace.is_some() || chance.percent(10) {
            if let Err(why) = self.server.check_determinism() {
                self.fail(Property::Determinism, why);
            }
            if let Err(why) = self.server.check_replay() {
                self.fail(Property::Recovery, why);
            }
        }
        let bound = 100 + 20 * self.done_ops;
        if self.server.ordered > bound {
            let what = format!("{} orders for {} operations", self.server.ordered, self.done_ops);
            self.fail(Property::Liveness, what);
        }
        self.check_suspects();
    }

    /// Nothing is suspect long after the last change, unless the storage's clock is ahead and the
    /// view could not calibrate.
    fn check_suspects(&mut self) {
        let status = self.server.view().status(self.clock());
        let totals = self.server.reader().totals(fusion_core::path::PathRef::ROOT);
        let suspects = totals.map_or(0, |totals| totals.suspects);
        if suspects > 0 && (status.calibrated || self.plan.storage_offset <= 0) {
            let what = format!("{suspects} suspects at {}", seconds(self.now));
            self.fail(Property::Suspects, what);
        }
    }
}
