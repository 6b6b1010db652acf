//! The ledger as a checkpoint has it.
//!
//! Owns the vocabulary between the tables of the rules and the codec of the store. Large tables are
//! shared with the view, small lists copied. Must never: keep the view from changing.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Weak;

use uuid::Uuid;

use crate::id::{AgentId, Revision};
use crate::time::ServerTime;
use crate::view::agenda::Waiting;
use crate::view::confirm::Generation;
use crate::view::held::HeldUpsert;
use crate::view::losses::Loss;
use crate::view::path_map::Key;
use crate::view::root::{RootAway, RootDoubt};
use crate::view::scans::{PartsSoFar, RunningScan};
use crate::view::schedule::Waits;
use crate::view::shared::{Mark, Shared};
use crate::view::state::State;
use crate::view::tombstones::{Tombstone, TombstonesByDir};
use crate::view::trash::{TrashRecord, TrashRecords};
use crate::view::tree::{BlockId, Detached, TreeFrame};

/// The tables of a ledger. Each is stored under a name of its own, and only if it changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Table {
    /// Deletions by directory and name.
    Tombstones,
    /// Records of the trash.
    Trash,
    /// Directories to be listed again.
    Relists,
    /// Names to be looked at.
    Probes,
    /// Suspects and the ends of their quiet periods.
    Suspects,
    /// Directories that could not be read.
    Unreadable,
    /// Parts of listings that are under way.
    Parts,
    /// Evidence that is held back.
    Held,
    /// Samples of the storage's clock.
    Clock,
    /// Who confirmed what lately.
    Confirmed,
    /// Who confirmed what before that.
    ConfirmedBefore,
}

impl Table {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Tombstones,
        Self::Trash,
        Self::Relists,
        Self::Probes,
        Self::Suspects,
        Self::Unreadable,
        Self::Parts,
        Self::Held,
        Self::Clock,
        Self::Confirmed,
        Self::ConfirmedBefore,
    ];

    /// Its name; the same in every version.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tombstones => "tombstones",
            Self::Trash => "trash",
            Self::Relists => "relists",
            Self::Probes => "probes",
            Self::Suspects => "suspects",
            Self::Unreadable => "unreadable",
            Self::Parts => "parts",
            Self::Held => "held",
            Self::Clock => "clock",
            Self::Confirmed => "confirmed",
            Self::ConfirmedBefore => "confirmed-before",
        }
    }
}

/// What is small, or tells what the rest is: part of every checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    /// The last revision in the checkpoint.
    pub revision: Revision,
    /// The time of the last change; `ServerTime` of `i64::MIN` before the first.
    pub time: ServerTime,
    /// What of the tree stands in no block; with the number of the checkpoint.
    pub tree: TreeFrame,
    /// Blocks that were purged and are still to be freed.
    pub to_free: Vec<BlockId>,
    /// Agents in order of the numbers that confirmations name them by.
    pub agents: Vec<AgentId>,
    /// Scans that run, in the order in which they began.
    pub scans: Vec<RunningScan>,
    /// Losses of events that no audit has ended.
    pub losses: Vec<Loss>,
    /// When each agent's root was away.
    pub away: Vec<(AgentId, RootAway)>,
    /// The agents whose storage may be another.
    pub doubts: Vec<RootDoubt>,
    /// The last calls of operators that were done, the oldest first.
    pub operated: Vec<Uuid>,
    /// An operator accepts the root that comes next.
    pub accepted: bool,
    /// When the last whole snapshot ended.
    pub last_snapshot: Option<ServerTime>,
    /// When the last whole scan that was completed began.
    pub last_whole_began: Option<ServerTime>,
    /// When the last whole audit ended.
    pub last_audit: Option<ServerTime>,
    /// Whole audits that were completed.
    pub audits: u64,
    /// When the view was reset.
    pub reset_at: Option<ServerTime>,
    /// The number that the next held row gets.
    pub held_next: u64,
    /// When tombstones are swept next.
    pub sweep_at: Option<ServerTime>,
    /// When the generations of confirmations change next.
    pub turn_at: Option<ServerTime>,
    /// The least nanoseconds that the storage's clock was behind the look at a directory.
    pub least_behind: Option<i64>,
}

/// A confirmation: the last realtime evidence of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Confirmed {
    /// The block of its directory, as a number.
    pub dir: u64,
    /// The hash of its name.
    pub name: u64,
    /// When it was looked at.
    pub at: ServerTime,
    /// The number of the agent.
    pub agent: u16,
}

/// All of a view but its blocks, at one revision.
#[derive(Debug)]
pub struct LedgerImage {
    frame: Frame,
    changed: Vec<Table>,
    tombstones: Shared<TombstonesByDir>,
    trash: Shared<TrashRecords>,
    relists: Shared<Waits<Waiting>>,
    probes: Shared<Waits<Waiting>>,
    suspects: Shared<Waits<()>>,
    unreadable: Shared<BTreeMap<Key, i32>>,
    parts: Shared<BTreeMap<Key, PartsSoFar>>,
    held: Shared<BTreeMap<u64, HeldUpsert>>,
    clock: Shared<VecDeque<i64>>,
    confirmed: [Shared<Generation>; 2],
}

impl LedgerImage {
    /// The image of a ledger; `stored` are the marks of what the last checkpoint has.
    pub(in crate::view) fn take(state: &State, number: u32, stored: &[Mark]) -> Self {
        let ledger = &state.ledger;
        let mut image = Self {
            frame: frame(state, number),
            changed: Vec::new(),
            tombstones: ledger.tombstones.shared().clone(),
            trash: ledger.trash.shared().clone(),
            relists: ledger.relists.shared().clone(),
            probes: ledger.probes.shared().clone(),
            suspects: ledger.suspects.shared().clone(),
            unreadable: ledger.unreadable.shared().clone(),
            parts: ledger.parts.shared().clone(),
            held: ledger.held.shared().clone(),
            clock: ledger.clock.shared().clone(),
            confirmed: ledger.confirmations.shared().map(Clone::clone),
        };
        let now = image.marks();
        let same = |(now, old): (&Mark, &Mark)| Weak::ptr_eq(now, old);
        let changed = Table::ALL.iter().zip(now.iter().zip(stored));
        image.changed = changed.filter(|(_, pair)| !same(*pair)).map(|(table, _)| *table).collect();
        image
    }

    /// Marks of all tables, in order of [`Table::ALL`].
    pub(in crate::view) fn marks(&self) -> [Mark; Table::ALL.len()] {
        Table::ALL.map(|table| match table {
            Table::Tombstones => self.tombstones.mark(),
            Table::Trash => self.trash.mark(),
            Table::Relists => self.relists.mark(),
            Table::Probes => self.probes.mark(),
            Table::Suspects => self.suspects.mark(),
            Table::Unreadable => self.unreadable.mark(),
            Table::Parts => self.parts.mark(),
            Table::Held => self.held.mark(),
            Table::Clock => self.clock.mark(),
            Table::Confirmed => self.confirmed[0].mark(),
            Table::ConfirmedBefore => self.confirmed[1].mark(),
        })
    }

    /// What is small.
    #[must_use]
    pub const fn frame(&self) -> &Frame {
        &self.frame
    }

    /// Tables that the last checkpoint does not have as they are.
    #[must_use]
    pub fn changed(&self) -> &[Table] {
        &self.changed
    }

    /// Tombstones with directory and name, in order of both.
    pub fn tombstones(&self) -> impl Iterator<Item = (&[u8], &[u8], &Tombstone)> {
        self.tombstones
            .iter()
            .flat_map(|(dir, names)| names.iter().map(move |(name, tomb)| (&**dir, &**name, tomb)))
    }

    /// Records of the trash with what stood there, the oldest first.
    pub fn trash(&self) -> impl Iterator<Item = (&TrashRecord, &Detached)> {
        self.trash.values().map(|(record, subtree)| (record, subtree))
    }

    /// Directories to be listed again, by path.
    pub fn relists(&self) -> impl Iterator<Item = (&[u8], Waiting)> {
        self.relists.iter().map(|(path, (_, waiting))| (&**path, *waiting))
    }

    /// Names to be looked at, by path.
    pub fn probes(&self) -> impl Iterator<Item = (&[u8], Waiting)> {
        self.probes.iter().map(|(path, (_, waiting))| (&**path, *waiting))
    }

    /// Suspects and the ends of their quiet periods, by path.
    pub fn suspects(&self) -> impl Iterator<Item = (&[u8], ServerTime)> {
        self.suspects.iter().map(|(path, (end, ()))| (&**path, *end))
    }

    /// Directories that could not be read, and the error numbers, by path.
    pub fn unreadable(&self) -> impl Iterator<Item = (&[u8], i32)> {
        self.unreadable.iter().map(|(path, errno)| (&**path, *errno))
    }

    /// Parts of listings that are under way, by directory.
    pub fn parts(&self) -> impl Iterator<Item = (&[u8], &PartsSoFar)> {
        self.parts.iter().map(|(dir, parts)| (&**dir, parts))
    }

    /// Held evidence by number.
    pub fn held(&self) -> impl Iterator<Item = (u64, &HeldUpsert)> {
        self.held.iter().map(|(number, row)| (*number, row))
    }

    /// Samples of the storage's clock, the oldest first: whole seconds that it is behind.
    pub fn clock(&self) -> impl Iterator<Item = i64> + '_ {
        self.clock.iter().copied()
    }

    /// Confirmations of the younger or the older generation, by directory.
    #[must_use]
    pub fn confirmed(&self, young: bool) -> Vec<Confirmed> {
        let generation = &self.confirmed[usize::from(!young)];
        let rows = generation.iter().map(|(key, known)| Confirmed {
            dir: key.0,
            name: key.1,
            at: known.at,
            agent: known.agent,
        });
        let mut rows: Vec<Confirmed> = rows.collect();
        rows.sort_unstable();
        rows
    }
}

fn frame(state: &State, number: u32) -> Frame {
    let ledger = &state.ledger;
    Frame {
        revision: state.revision,
        time: state.time,
        tree: state.tree.frame(number),
        to_free: state.to_free.blocks().to_vec(),
        agents: ledger.agents.iter().cloned().collect(),
        scans: ledger.scans.iter().cloned().collect(),
        losses: ledger.losses.iter().cloned().collect(),
        away: ledger.root.away.iter().map(|(agent, away)| (agent.clone(), *away)).collect(),
        doubts: ledger.root.doubts.values().cloned().collect(),
        operated: ledger.operated.clone(),
        accepted: ledger.root.accepted,
        last_snapshot: ledger.last_snapshot,
        last_whole_began: ledger.last_whole_began,
        last_audit: ledger.last_audit,
        audits: ledger.audits,
        reset_at: ledger.reset_at,
        held_next: ledger.held.next_number(),
        sweep_at: ledger.tombstones.next_sweep(),
        turn_at: ledger.confirmations.next_turn(),
        least_behind: ledger.clock.least(),
    }
}
