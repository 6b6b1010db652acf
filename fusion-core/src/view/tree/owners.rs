//! The dictionary of modes and owners: few of them differ, so a row holds a number.
//!
//! Owns (mode, uid, gid, high bits of nlink) by number. The writer adds ([`OwnerBook`]), readers
//! look up ([`Owners`]) without a lock. Entries never go: a tree has as many as it ever had
//! combinations. Must never: give two numbers to one combination. Tested with the pages.

use std::collections::HashMap;
use std::sync::OnceLock;

use crate::stat::Stat;

use super::segments::Segments;

/// What the rows of one owner share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Owner {
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// The bits of nlink that do not fit a row (see `NLINK_BITS`); hardly ever not 0.
    pub nlink_high: u32,
}

/// Owners by number; grows only.
#[derive(Debug)]
pub(super) struct Owners {
    table: Segments<OnceLock<Owner>>,
}

impl Owners {
    /// With number 0 given to an owner of nothing, so that every number up to the last is known.
    pub(super) fn new() -> Self {
        let owners = Self { table: Segments::new() };
        owners.table.grow(0);
        if let Some(slot) = owners.table.get(0) {
            let _ = slot.set(Owner::default());
        }
        owners
    }

    /// The owner with this number.
    #[inline]
    pub(super) fn get(&self, number: u32) -> Owner {
        let owner = self.table.get(number).and_then(OnceLock::get).copied();
        debug_assert!(owner.is_some(), "a row names an owner that was never added");
        owner.unwrap_or_default()
    }

    pub(super) fn bytes(&self) -> usize {
        self.table.bytes()
    }
}

/// Numbers by owner; the writer's.
#[derive(Debug, Default)]
pub(super) struct OwnerBook {
    numbers: HashMap<Owner, u32>,
    last: Option<(Owner, u32)>,
}

impl OwnerBook {
    /// The number of an owner, a new one if it is new. Rows mostly repeat the owner before them.
    #[inline]
    pub(super) fn number(&mut self, owners: &Owners, owner: Owner) -> u32 {
        match self.last {
            Some((last, number)) if last == owner => number,
            _ => self.look_up(owners, owner),
        }
    }

    fn look_up(&mut self, owners: &Owners, owner: Owner) -> u32 {
        let next = u32::try_from(self.numbers.len() + 1).unwrap_or(u32::MAX);
        let number = *self.numbers.entry(owner).or_insert(next);
        if number == next {
            owners.table.grow(number);
            if let Some(slot) = owners.table.get(number) {
                let _ = slot.set(owner);
            }
        }
        self.last = Some((owner, number));
        number
    }

    /// The last number that was given.
    pub(super) fn count(&self) -> u32 {
        u32::try_from(self.numbers.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn bytes(&self) -> usize {
        self.numbers.capacity() * (size_of::<(Owner, u32)>() + 1)
    }
}

/// Bits of nlink that stand in a row itself.
pub(super) const NLINK_BITS: u32 = 24;

impl Owner {
    #[inline]
    pub(super) fn of(stat: &Stat) -> Self {
        Self { mode: stat.mode, uid: stat.uid, gid: stat.gid, nlink_high: stat.nlink >> NLINK_BITS }
    }
}
