//! Who confirmed what: the last realtime evidence of an entry (4-consistency §3).
//!
//! Owns `confirmed_at` and by which agent, for `confirm_keep` to twice that: two generations, of
//! which the older is dropped whole, so that forgetting costs nothing per entry. The key is the
//! directory's number in the tree and a hash of the name, so a moved subtree keeps what is known
//! of what is in it. Must never: be iterated for an answer. Tested below and by the cases.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::time::Duration;

use crate::id::AgentId;
use crate::time::ServerTime;

use super::shared::Shared;

/// The last realtime evidence of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Confirmation {
    /// When it was looked at.
    pub(super) at: ServerTime,
    /// The number of the agent.
    pub(super) agent: u16,
}

/// The key of an entry: its directory and its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct EntryKey(pub(super) u64, pub(super) u64);

impl EntryKey {
    /// The key of a name in a directory that the tree knows by this number.
    pub(super) fn new(dir: u64, name: &[u8]) -> Self {
        Self(dir, mix(name))
    }
}

/// A hash of a name that is quicker than [`fnv`]: it is made three times for every realtime upsert.
fn mix(name: &[u8]) -> u64 {
    const MIX: u64 = 0x9E37_79B9_7F4A_7C15;
    let step = |hash: u64, word: u64| (hash ^ word).wrapping_mul(MIX).rotate_left(29);
    let (words, rest) = name.as_chunks::<8>();
    let hash =
        words.iter().fold(name.len() as u64, |hash, &word| step(hash, u64::from_le_bytes(word)));
    let rest = rest.iter().fold(0, |word, &byte| word << 8 | u64::from(byte));
    step(step(hash, rest), 1)
}

/// FNV-1a, 64 bits: the same on every machine and in every version.
pub(super) fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3)
    })
}

/// Numbers of agents: short, and given in order of first appearance.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct AgentNumbers {
    agents: Vec<AgentId>,
    /// The same by agent: asked for with each realtime row, of thousands of agents.
    numbers: BTreeMap<AgentId, u16>,
}

impl AgentNumbers {
    /// The number of an agent that may not have one yet: then the one that it would get.
    pub(super) fn peek(&self, agent: &AgentId) -> u16 {
        let next = || u16::try_from(self.agents.len()).unwrap_or(u16::MAX);
        self.numbers.get(agent).copied().unwrap_or_else(next)
    }

    /// The number of an agent. Beyond 65,535 agents all share the last one.
    pub(super) fn number(&mut self, agent: &AgentId) -> u16 {
        let number = self.peek(agent);
        if usize::from(number) == self.agents.len() && number < u16::MAX {
            self.agents.push(agent.clone());
            self.numbers.insert(agent.clone(), number);
        }
        number
    }

    /// All agents, in order of their numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = &AgentId> {
        self.agents.iter()
    }

    /// The agent with a number.
    pub(super) fn agent(&self, number: u16) -> Option<&AgentId> {
        self.agents.get(usize::from(number))
    }
}

/// Keys are hashes already: they are only mixed. Names are an agent's to choose, but a table is
/// never larger than what was confirmed in `confirm_keep`, and a collision costs time only.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = (self.0 ^ fnv(bytes)).rotate_left(5);
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}

pub(super) type Generation = HashMap<EntryKey, Confirmation, BuildHasherDefault<KeyHasher>>;

/// The table.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Confirmations {
    young: Shared<Generation>,
    old: Shared<Generation>,
    /// When the generations change next; absent while nothing is known.
    turn_at: Option<ServerTime>,
}

impl Confirmations {
    pub(super) fn get(&self, key: EntryKey) -> Option<Confirmation> {
        self.young.get(&key).or_else(|| self.old.get(&key)).copied()
    }

    /// Loads what a look at a key will need; nothing comes of it.
    pub(super) fn touch(&self, key: EntryKey) {
        std::hint::black_box(self.young.contains_key(&key));
    }

    /// Remembers; `confirmed_at` never goes back.
    pub(super) fn put(
        &mut self,
        key: EntryKey,
        new: Confirmation,
        now: ServerTime,
        keep: Duration,
    ) {
        if let Some(known) = self.young.edit().get_mut(&key) {
            if known.at <= new.at {
                *known = new;
            }
            return;
        }
        if self.old.get(&key).is_none_or(|known| known.at <= new.at) {
            self.young.edit().insert(key, new);
            self.turn_at.get_or_insert(now.plus(keep));
        }
    }

    /// The younger and the older generation, to be held while they change.
    pub(super) fn shared(&self) -> [&Shared<Generation>; 2] {
        [&self.young, &self.old]
    }

    /// Puts in what an image has.
    pub(super) fn load(&mut self, key: EntryKey, confirmation: Confirmation, young: bool) {
        let generation = if young { &mut self.young } else { &mut self.old };
        generation.edit().insert(key, confirmation);
    }

    /// Sets when [`Confirmations::turn`] is due, as an image has it.
    pub(super) fn set_turn(&mut self, turn_at: Option<ServerTime>) {
        self.turn_at = turn_at;
    }

    /// Forgets an entry that went.
    pub(super) fn forget(&mut self, key: EntryKey) {
        for generation in [&mut self.young, &mut self.old] {
            if generation.contains_key(&key) {
                generation.edit().remove(&key);
            }
        }
    }

    /// When [`Confirmations::turn`] is due.
    pub(super) fn next_turn(&self) -> Option<ServerTime> {
        self.turn_at
    }

    /// Drops the older generation.
    pub(super) fn turn(&mut self, now: ServerTime, keep: Duration) {
        self.old = self.young.take();
        self.turn_at = (!self.old.is_empty()).then(|| now.plus(keep));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_are_numbered_as_they_come_and_the_last_number_is_of_all_others() {
        let agent = |number: u32| AgentId::new(&format!("a{number}")).unwrap();
        let mut numbers = AgentNumbers::default();
        for number in 0..u32::from(u16::MAX) + 2 {
            let expected = u16::try_from(number).unwrap_or(u16::MAX);
            assert_eq!(numbers.peek(&agent(number)), expected);
            assert_eq!(numbers.number(&agent(number)), expected);
        }
        assert_eq!(numbers.number(&agent(7)), 7);
        assert_eq!(numbers.agent(7), Some(&agent(7)));
        assert_eq!(numbers.agent(u16::MAX), None);
        assert_eq!(numbers.iter().count(), usize::from(u16::MAX));
    }
}
