//! Sequences of a view's lanes: which batch is next, which is a repeat, which was left out; and which
//! life of each agent fills them.
//!
//! Owned by the view's thread, so that a sequence and what it carried are applied as one. REALTIME
//! counts per (agent, spool) for as long as the view lives, SCAN per session. Lives are not stored: the
//! session service tells of them when the server begins.

use std::collections::{HashMap, HashSet};

use fusion_core::id::{AgentId, InstanceId, SessionId, SpoolId};

/// What a sequence counts in.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum LaneKey {
    /// The spool of an agent.
    Realtime(AgentId, SpoolId),
    /// A session.
    Scan(SessionId),
}

impl LaneKey {
    /// The lane's name in metrics and logs.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Realtime(..) => "realtime",
            Self::Scan(_) => "scan",
        }
    }
}

/// Why a lane does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OpenRefused {
    /// The agent's spool is older than what the view has of it.
    RolledBack {
        /// The last sequence applied.
        applied: u64,
    },
    /// The agent no longer holds what the view needs next.
    Gap {
        /// The sequence to go on from.
        expected: u64,
    },
    /// The session is over.
    Over,
}

/// An open lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Opened {
    /// The last sequence applied.
    pub(crate) resume_after: u64,
    /// Batches that neither side has any more.
    pub(crate) lost: u64,
}

/// What becomes of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It is the next one.
    Next,
    /// It was applied before.
    Repeat,
    /// One before it is missing.
    Gap {
        /// The sequence to go on from.
        expected: u64,
    },
    /// The session is over.
    Over,
}

/// The last applied sequence of every lane.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lanes {
    realtime: HashMap<(AgentId, SpoolId), u64>,
    scan: HashMap<SessionId, u64>,
    lives: HashMap<AgentId, InstanceId>,
}

impl Lanes {
    /// What a new life of the view needs to know: realtime sequences go on, sessions are gone.
    pub(super) fn carried_over(&mut self) -> Self {
        Self {
            realtime: std::mem::take(&mut self.realtime),
            scan: HashMap::new(),
            lives: std::mem::take(&mut self.lives),
        }
    }

    /// Takes the lives that an earlier life of the view knew of.
    pub(super) fn take_lives(&mut self, of: &Self) {
        self.lives.clone_from(&of.lives);
    }

    /// This life of an agent begins a session. Whether it is another than the one before; of an agent
    /// that has filled a lane and is remembered by that alone, that is taken to be so.
    pub(super) fn begin_life(&mut self, agent: &AgentId, instance: InstanceId) -> bool {
        match self.lives.insert(agent.clone(), instance) {
            Some(before) => before != instance,
            None => self.realtime.keys().any(|(of, _)| of == agent),
        }
    }

    /// Takes the last applied sequence of a lane from elsewhere.
    pub(super) fn set(&mut self, lane: LaneKey, sequence: u64) {
        match lane {
            LaneKey::Scan(session) => drop(self.scan.insert(session, sequence)),
            LaneKey::Realtime(agent, spool) => {
                self.realtime.insert((agent, spool), sequence);
            }
        }
    }

    /// The last applied sequence of a lane; 0 if there is none.
    pub(super) fn last(&self, lane: &LaneKey) -> u64 {
        let last = match lane {
            LaneKey::Scan(session) => self.scan.get(session),
            LaneKey::Realtime(agent, spool) => self.realtime.get(&(agent.clone(), *spool)),
        };
        last.copied().unwrap_or_default()
    }

    /// All lanes with their last applied sequences.
    pub(super) fn iter(&self) -> impl Iterator<Item = (LaneKey, u64)> + '_ {
        let realtime = self.realtime.iter().map(|((agent, spool), sequence)| {
            (LaneKey::Realtime(agent.clone(), *spool), *sequence)
        });
        let scan = self.scan.iter().map(|(session, sequence)| (LaneKey::Scan(*session), *sequence));
        realtime.chain(scan)
    }

    /// The live sessions of a server that has begun: scans of any others are over.
    pub(super) fn keep(&mut self, sessions: &HashSet<SessionId>) {
        self.scan.retain(|session, _| sessions.contains(session));
        sessions.iter().for_each(|session| {
            self.scan.entry(*session).or_default();
        });
    }

    pub(super) fn join(&mut self, session: SessionId) {
        self.scan.insert(session, 0);
    }

    pub(super) fn leave(&mut self, session: SessionId) {
        self.scan.remove(&session);
    }

    /// The rules for a side that has lost its memory (3-protocol, Events).
    pub(super) fn open(
        &mut self,
        key: &LaneKey,
        first_held: u64,
        next: u64,
    ) -> Result<Opened, OpenRefused> {
        let Some(applied) = self.applied(key) else { return Err(OpenRefused::Over) };
        let (applied, before_held) = (*applied, first_held.saturating_sub(1));
        if applied > next.saturating_sub(1) {
            return Err(OpenRefused::RolledBack { applied });
        }
        if applied >= before_held {
            return Ok(Opened { resume_after: applied, lost: 0 });
        }
        match key {
            // The server's memory of a session's scans lasts as long as the session.
            LaneKey::Scan(_) => Err(OpenRefused::Gap { expected: applied + 1 }),
            LaneKey::Realtime(agent, spool) => {
                self.realtime.insert((agent.clone(), *spool), before_held);
                Ok(Opened { resume_after: before_held, lost: before_held - applied })
            }
        }
    }

    pub(super) fn admit(&mut self, key: &LaneKey, sequence: u64) -> Admission {
        let Some(applied) = self.applied(key) else { return Admission::Over };
        if sequence <= *applied {
            Admission::Repeat
        } else if sequence == *applied + 1 {
            *applied = sequence;
            Admission::Next
        } else {
            Admission::Gap { expected: *applied + 1 }
        }
    }

    fn applied(&mut self, key: &LaneKey) -> Option<&mut u64> {
        match key {
            LaneKey::Scan(session) => self.scan.get_mut(session),
            LaneKey::Realtime(agent, spool) => {
                Some(self.realtime.entry((agent.clone(), *spool)).or_default())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn spool() -> LaneKey {
        let id = |number| Uuid::from_u128(number);
        LaneKey::Realtime(AgentId::new("a").unwrap(), SpoolId::new(id(1)))
    }

    fn scan() -> LaneKey {
        LaneKey::Scan(SessionId::new(Uuid::from_u128(2)))
    }

    #[test]
    fn in_order_repeat_gap() {
        let mut lanes = Lanes::default();
        assert_eq!(lanes.admit(&spool(), 1), Admission::Next);
        assert_eq!(lanes.admit(&spool(), 2), Admission::Next);
        assert_eq!(lanes.admit(&spool(), 1), Admission::Repeat);
        assert_eq!(lanes.admit(&spool(), 4), Admission::Gap { expected: 3 });
        assert_eq!(lanes.admit(&spool(), 3), Admission::Next);
    }

    #[test]
    fn the_four_losses_of_memory() {
        // (applied before, first_held, next) → answer
        let opened = |resume_after, lost| Ok(Opened { resume_after, lost });
        let cases = [
            (0, 1, 1, opened(0, 0)),                                // both new
            (5, 4, 9, opened(5, 0)),                                // both remember
            (5, 6, 6, opened(5, 0)),                                // all acknowledged
            (0, 57, 60, opened(56, 56)),                            // the server's data is lost
            (30, 57, 60, opened(56, 26)), // the server was restored from a back-up
            (5, 1, 4, Err(OpenRefused::RolledBack { applied: 5 })), // the spool was
            (5, 1, 1, Err(OpenRefused::RolledBack { applied: 5 })), // the spool was emptied
        ];
        for (applied, first_held, next, expected) in cases {
            let mut lanes = Lanes::default();
            for sequence in 1..=applied {
                lanes.admit(&spool(), sequence);
            }
            assert_eq!(lanes.open(&spool(), first_held, next), expected, "{applied} {first_held}");
            if let Ok(opened) = expected {
                assert_eq!(lanes.admit(&spool(), opened.resume_after + 1), Admission::Next);
            }
        }
    }

    #[test]
    fn another_life_of_an_agent_is_told_from_the_same_and_from_the_first() {
        let (mut lanes, agent) = (Lanes::default(), AgentId::new("a").unwrap());
        let instance = |number| InstanceId::new(Uuid::from_u128(number));
        assert!(!lanes.begin_life(&agent, instance(1)), "the first");
        assert_eq!(lanes.admit(&spool(), 1), Admission::Next);
        assert!(!lanes.begin_life(&agent, instance(1)), "the same");
        assert!(lanes.begin_life(&agent, instance(2)), "another");
        let carried = lanes.carried_over();
        let mut next = Lanes::default();
        next.take_lives(&carried);
        assert!(!next.begin_life(&agent, instance(2)), "the view began anew, the agent did not");
        let mut forgetful = Lanes::default();
        forgetful.set(spool(), 1);
        assert!(forgetful.begin_life(&agent, instance(2)), "nobody knows which it was");
        assert!(!forgetful.begin_life(&AgentId::new("b").unwrap(), instance(2)), "the first");
    }

    #[test]
    fn scans_count_per_live_session() {
        let (mut lanes, session) = (Lanes::default(), SessionId::new(Uuid::from_u128(2)));
        assert_eq!(lanes.admit(&scan(), 1), Admission::Over);
        lanes.join(session);
        assert_eq!(lanes.open(&scan(), 3, 3), Err(OpenRefused::Gap { expected: 1 }));
        assert_eq!(lanes.admit(&scan(), 1), Admission::Next);
        lanes.leave(session);
        assert_eq!(lanes.open(&scan(), 1, 2), Err(OpenRefused::Over));
    }
}
