//! Schedules: which faults come over the fleet, in which order and for how long; drawn from a seed. Pure.

use std::fmt;
use std::time::Duration;

use super::engines::StateOn;
use super::fleet::SERVERS;
use super::lan::Way;
use crate::faults::churn::Dice;

/// One fault, with what of it is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// kill -9 of the owner.
    KillOwner,
    /// kill -9 of one that follows.
    KillFollower,
    /// kill -9 of the owner and another one.
    KillTwo,
    /// The owner is stopped past its lease, and goes on.
    Zombie,
    /// The owner and the engines do not hear each other, or one does not hear the other.
    CutEngines(Way),
    /// The owner and the agents, in the same way.
    CutAgents(Way),
    /// Servers are ended by SIGTERM and started, one after the other.
    Rolling,
    /// The clock of a server is an hour ahead.
    Clock,
    /// kill -9 of a node of NATS that does not lead the view's log.
    KillNats,
    /// kill -9 of the one that does.
    KillNatsLeader,
    /// The disks of so many nodes are full.
    DiskFull(usize),
    /// The state's engine loses its power.
    StateRestarted,
    /// PostgreSQL's standby is promoted.
    StateFailedOver,
    /// Each message to and from the state takes its time.
    StateSlow,
    /// Redis is emptied, and put back.
    StateFlushed,
    /// kill -9 of the agent that leads.
    KillLeader,
}

/// A fault and when it is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// What.
    pub fault: Fault,
    /// How long all is well before.
    pub before: Duration,
    /// How long it lasts.
    pub hold: Duration,
    /// It begins while the one before it lasts still.
    pub within: bool,
}

/// What comes over a fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// The seed that it was drawn from.
    pub seed: u64,
    /// What keeps the state.
    pub state: StateOn,
    /// The server whose clock can be set.
    pub clocked: Option<usize>,
    /// The faults.
    pub steps: Vec<Step>,
    /// Readers of class TRUSTED and FRESH ask meanwhile: agents are sent to look for them all the time.
    pub reads: bool,
}

/// Another server owns what the one had that is away for so long.
const PAST_THE_LEASE: Duration = Duration::from_secs(5);
const WAYS: [Way; 3] = [Way::In, Way::Out, Way::Both];
const STATES: [StateOn; 3] = [StateOn::Postgres, StateOn::Redis, StateOn::Nats];

impl Schedule {
    /// The schedule of a seed; on this state, or a drawn one.
    #[must_use]
    pub fn draw(seed: u64, state: Option<StateOn>) -> Self {
        let mut dice = Dice::new(seed);
        let drawn = STATES[dice.below(STATES.len() as u64) as usize];
        let state = state.unwrap_or(drawn);
        let mut steps: Vec<Step> = Vec::new();
        for _ in 0..3 + dice.below(3) {
            let last = steps.last().filter(|last| !last.within && last.fault.may_overlap());
            let beside = last.map(|last| last.fault.part()).filter(|_| dice.below(4) == 0);
            let mut fits = all(state, &mut dice);
            fits.retain(|fault| {
                let done = steps.iter().any(|step| step.fault.is_like(*fault));
                let overlaps =
                    beside.is_none_or(|part| part != fault.part() && fault.may_overlap());
                !(done && fault.is_once()) && overlaps
            });
            let fault = fits[dice.below(fits.len() as u64) as usize];
            let within = beside.is_some();
            steps.push(fault.step(within, &mut dice));
        }
        Self { reads: true, ..Self::of(seed, state, steps, &mut dice) }
    }

    /// What is short enough for a test and a picture: each way in which another server comes to own the tree, once.
    #[must_use]
    pub fn short(seed: u64, state: StateOn) -> Self {
        let faults = [Fault::KillOwner, Fault::Zombie, Fault::Rolling];
        let mut schedule = Self::of_faults(seed, state, &faults);
        for step in &mut schedule.steps {
            step.hold = step.hold.max(PAST_THE_LEASE);
        }
        schedule
    }

    /// A schedule of these faults, one after the other.
    #[must_use]
    pub fn of_faults(seed: u64, state: StateOn, faults: &[Fault]) -> Self {
        let mut dice = Dice::new(seed);
        let steps = faults.iter().map(|fault| fault.step(false, &mut dice)).collect();
        Self::of(seed, state, steps, &mut dice)
    }

    fn of(seed: u64, state: StateOn, steps: Vec<Step>, dice: &mut Dice) -> Self {
        let has_clock = steps.iter().any(|step| step.fault == Fault::Clock);
        let clocked = has_clock.then(|| dice.below(SERVERS as u64) as usize);
        Self { seed, state, clocked, steps, reads: false }
    }

    /// Whether the disks of NATS are to be small.
    #[must_use]
    pub fn fills_disks(&self) -> bool {
        self.steps.iter().any(|step| matches!(step.fault, Fault::DiskFull(_)))
    }
}

/// Every fault that there is on a state, each once.
fn all(state: StateOn, dice: &mut Dice) -> Vec<Fault> {
    let mut way = || WAYS[dice.below(3) as usize];
    let mut faults = vec![
        Fault::KillOwner,
        Fault::KillFollower,
        Fault::KillTwo,
        Fault::Zombie,
        Fault::CutEngines(way()),
        Fault::CutAgents(way()),
        Fault::Rolling,
        Fault::Clock,
        Fault::KillNats,
        Fault::KillNatsLeader,
        Fault::KillLeader,
    ];
    faults.push(Fault::DiskFull(1 + dice.below(3) as usize));
    faults.extend_from_slice(match state {
        StateOn::Postgres => &[Fault::StateRestarted, Fault::StateFailedOver, Fault::StateSlow][..],
        StateOn::Redis => &[Fault::StateRestarted, Fault::StateSlow, Fault::StateFlushed],
        StateOn::Nats => &[],
    });
    faults
}

/// What a fault is done to. Two at once are done to two of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Servers,
    Nats,
    State,
    Agents,
}

impl Fault {
    fn part(self) -> Part {
        match self {
            Self::KillOwner
            | Self::KillFollower
            | Self::KillTwo
            | Self::Zombie
            | Self::CutEngines(_)
            | Self::CutAgents(_)
            | Self::Rolling
            | Self::Clock => Part::Servers,
            Self::KillNats | Self::KillNatsLeader | Self::DiskFull(_) => Part::Nats,
            Self::StateRestarted | Self::StateFailedOver | Self::StateSlow | Self::StateFlushed => {
                Part::State
            }
            Self::KillLeader => Part::Agents,
        }
    }

    /// What is over at once, or leaves nothing that answers, is done alone.
    fn may_overlap(self) -> bool {
        !matches!(self, Self::Rolling | Self::DiskFull(_) | Self::KillLeader | Self::StateFlushed)
    }

    /// What is done once in a schedule.
    fn is_once(self) -> bool {
        matches!(self, Self::DiskFull(_) | Self::StateFailedOver | Self::StateFlushed | Self::Clock)
    }

    fn is_like(self, other: Self) -> bool {
        std::mem::discriminant(&self) == std::mem::discriminant(&other)
    }

    fn step(self, within: bool, dice: &mut Dice) -> Step {
        let hold = match self {
            Self::Zombie | Self::CutEngines(_) => PAST_THE_LEASE + dice.millis(2_000),
            _ => Duration::from_millis(500) + dice.millis(4_500),
        };
        Step { fault: self, before: Duration::from_millis(300) + dice.millis(1_500), hold, within }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {}, state on {:?}:", self.seed, self.state)?;
        for step in &self.steps {
            let sign = if step.within { " +" } else { "" };
            write!(f, "{sign} {:?} for {:.1?};", step.fault, step.hold)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_one_schedule_and_all_faults_are_drawn() {
        let mut seen = Vec::new();
        for seed in 0..300 {
            let schedule = Schedule::draw(seed, None);
            assert_eq!(schedule, Schedule::draw(seed, None));
            assert!(schedule.steps.len() >= 2, "{schedule}");
            assert!(!schedule.steps[0].within, "{schedule}");
            for step in &schedule.steps {
                if !seen.iter().any(|fault: &Fault| fault.is_like(step.fault)) {
                    seen.push(step.fault);
                }
            }
        }
        assert_eq!(seen.len(), 16, "{seen:?}");
    }
}
