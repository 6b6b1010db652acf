//! A plan: what the steps of a job are, and in which order they can be done.
//!
//! A [`Plan`] that exists can be run: its ids are unique, every dependency is one of its steps, and no step
//! waits for itself. What cannot is refused with the step, or the cycle, by name.

use std::collections::HashMap;

use crate::id::{AgentId, ViewName};
use crate::path::TreePath;

/// Most steps of a plan.
pub const STEPS_MAX: usize = 1_000;
/// Longest id of a step in bytes.
pub const STEP_ID_MAX: usize = 64;
/// Most agents that a step names.
pub const STEP_AGENTS_MAX: usize = 64;

/// What a step does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StepKind {
    /// Scans a path for whoever asked.
    Scan,
    /// Scans the whole tree anew; on the leader.
    Snapshot,
    /// Audits the whole tree; on the leader.
    Audit,
    /// Looks at the suspects at and below a path.
    ProbeSuspects,
}

impl StepKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Scan, Self::Snapshot, Self::Audit, Self::ProbeSuspects];

    /// Its name, as people and programs read it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scan => "SCAN",
            Self::Snapshot => "SNAPSHOT",
            Self::Audit => "AUDIT",
            Self::ProbeSuspects => "PROBE_SUSPECTS",
        }
    }

    /// Whether only the leader of the view can do it, and always of the whole tree.
    #[must_use]
    pub const fn is_leaders(self) -> bool {
        matches!(self, Self::Snapshot | Self::Audit)
    }
}

/// One step of a plan, as it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepSpec {
    /// Its id, unique in the plan: 1 to [`STEP_ID_MAX`] of `A-Z a-z 0-9 . _ -`.
    pub id: String,
    /// What to do.
    pub kind: StepKind,
    /// In which view.
    pub view: ViewName,
    /// Where; the root for what is of the whole tree.
    pub path: TreePath,
    /// Whether a scan goes down.
    pub recursive: bool,
    /// Who may do it: the first of them that is there, and it waits while none is. Empty: the leader.
    pub agents: Vec<AgentId>,
    /// Steps that must be complete before.
    pub depends_on: Vec<String>,
}

/// Why steps are no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// There is none.
    #[error("a plan has at least one step")]
    Empty,
    /// There are too many.
    #[error("a plan has at most {STEPS_MAX} steps, this one {0}")]
    TooMany(usize),
    /// An id that cannot be one.
    #[error("step {0:?}: an id is 1 to {STEP_ID_MAX} of A-Z, a-z, 0-9, `.`, `_` and `-`")]
    BadId(String),
    /// Two steps of one id.
    #[error("step {0:?} is there twice")]
    Duplicate(String),
    /// A step waits for one that is not in the plan.
    #[error("step {step:?} depends on {on:?}, which is no step of this plan")]
    Unknown {
        /// The step.
        step: String,
        /// What it waits for.
        on: String,
    },
    /// Steps wait for each other; the first is named again at the end.
    #[error("the steps wait for each other: {}", .0.join(" -> "))]
    Cycle(Vec<String>),
    /// A step of the whole tree with a path.
    #[error("step {0:?}: a snapshot or an audit is of the whole tree; its path must be /")]
    PathOfWhole(String),
    /// A step that the leader does, for somebody else.
    #[error("step {0:?}: a snapshot or an audit is done by the leader; it can name no agents")]
    AgentsOfLeaders(String),
    /// A step that names too many agents.
    #[error("step {0:?} names more than {STEP_AGENTS_MAX} agents")]
    TooManyAgents(String),
}

/// Steps that can be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan(Vec<StepSpec>);

impl Plan {
    /// Checks steps.
    ///
    /// # Errors
    /// [`PlanError`], naming the first step that is wrong, or a cycle.
    pub fn new(steps: Vec<StepSpec>) -> Result<Self, PlanError> {
        if steps.is_empty() {
            return Err(PlanError::Empty);
        }
        if steps.len() > STEPS_MAX {
            return Err(PlanError::TooMany(steps.len()));
        }
        let mut places = HashMap::with_capacity(steps.len());
        for (place, step) in steps.iter().enumerate() {
            check_step(step)?;
            if places.insert(step.id.as_str(), place).is_some() {
                return Err(PlanError::Duplicate(step.id.clone()));
            }
        }
        let mut waits_for = Vec::with_capacity(steps.len());
        for step in &steps {
            let mut on = Vec::with_capacity(step.depends_on.len());
            for name in &step.depends_on {
                let place = places.get(name.as_str()).copied();
                on.push(place.ok_or_else(|| PlanError::Unknown {
                    step: step.id.clone(),
                    on: name.clone(),
                })?);
            }
            waits_for.push(on);
        }
        if let Some(cycle) = cycle(&waits_for) {
            return Err(PlanError::Cycle(cycle.iter().map(|&at| steps[at].id.clone()).collect()));
        }
        Ok(Self(steps))
    }

    /// The steps, as they were given.
    #[must_use]
    pub fn steps(&self) -> &[StepSpec] {
        &self.0
    }

    /// The steps, to be owned.
    #[must_use]
    pub fn into_steps(self) -> Vec<StepSpec> {
        self.0
    }
}

fn check_step(step: &StepSpec) -> Result<(), PlanError> {
    let id = &step.id;
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if id.is_empty() || id.len() > STEP_ID_MAX || !id.bytes().all(is_allowed) {
        return Err(PlanError::BadId(id.chars().take(STEP_ID_MAX).collect()));
    }
    if step.kind.is_leaders() && !step.path.as_ref().is_root() {
        return Err(PlanError::PathOfWhole(id.clone()));
    }
    if step.kind.is_leaders() && !step.agents.is_empty() {
        return Err(PlanError::AgentsOfLeaders(id.clone()));
    }
    if step.agents.len() > STEP_AGENTS_MAX {
        return Err(PlanError::TooManyAgents(id.clone()));
    }
    Ok(())
}

/// Where a look for cycles is with a step.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    Unseen,
    OnTheWay,
    Fine,
}

/// A cycle, its first step again at the end; `None` if there is none. Without recursion: a plan is as deep
/// as its caller likes.
fn cycle(waits_for: &[Vec<usize>]) -> Option<Vec<usize>> {
    let mut marks = vec![Mark::Unseen; waits_for.len()];
    for begin in 0..waits_for.len() {
        if marks[begin] != Mark::Unseen {
            continue;
        }
        marks[begin] = Mark::OnTheWay;
        // The way from `begin`, each with how many of its dependencies were looked at.
        let mut way = vec![(begin, 0)];
        while let Some((step, seen)) = way.last_mut() {
            let Some(&next) = waits_for[*step].get(*seen) else {
                marks[*step] = Mark::Fine;
                way.pop();
                continue;
            };
            *seen += 1;
            match marks[next] {
                Mark::Fine => {}
                Mark::Unseen => {
                    marks[next] = Mark::OnTheWay;
                    way.push((next, 0));
                }
                Mark::OnTheWay => {
                    let steps = way.iter().map(|(step, _)| *step);
                    let mut cycle: Vec<usize> = steps.skip_while(|&step| step != next).collect();
                    cycle.push(next);
                    return Some(cycle);
                }
            }
        }
    }
    None
}
