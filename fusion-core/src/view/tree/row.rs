//! One entry without its name: 40 bytes.
//!
//! Owns the packing of stat and flags. Used by `page`, `edit` and `merge`. Must never: lose a bit of
//! a stat. Tested below.

use crate::stat::{Kind, Stat};
use crate::time::StorageTime;

use super::owners::{NLINK_BITS, Owner, Owners};

/// What is remembered of an entry beside its stat; a row has room for five.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Flags(u8);

impl Flags {
    /// No flag.
    pub const NONE: Self = Self(0);
    /// Maybe unfinished (R7); counted in the aggregates.
    pub const SUSPECT: Self = Self(1);
    /// Known by tier 3 alone (R8); counted in the aggregates.
    pub const BLIND: Self = Self(2);
    /// The rules' own table may know when this entry was confirmed: without this flag it need not
    /// be asked. Not counted.
    pub const CONFIRMED: Self = Self(4);
    /// Free for the rules; not counted.
    pub const MARK: Self = Self(8);

    /// As bits; they mean the same in every version.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// From bits; `None` if there are more than a row has room for.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        if bits < 32 { Some(Self(bits)) } else { None }
    }

    /// Whether all of `other` are set.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// These and `other`.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// These without `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// These with `other` set or not.
    #[must_use]
    pub const fn set(self, other: Self, on: bool) -> Self {
        if on { self.with(other) } else { self.without(other) }
    }
}

const NLINK_MASK: u32 = (1 << NLINK_BITS) - 1;
const KIND_SHIFT: u32 = NLINK_BITS;
const FLAG_SHIFT: u32 = NLINK_BITS + 3;

/// Stat and flags of an entry, packed. Public for the codec of images alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Row {
    /// Size in bytes.
    pub size: u64,
    /// Nanoseconds.
    pub mtime: i64,
    /// Nanoseconds.
    pub ctime: i64,
    /// Inode number.
    pub inode: u64,
    /// The number of mode, owner and group in the dictionary.
    pub owner: u32,
    /// From below: 24 bits nlink, 3 bits kind, 5 bits flags.
    pub bits: u32,
}

impl Row {
    #[inline]
    pub(super) fn pack(stat: &Stat, flags: Flags, owner: u32) -> Self {
        Self {
            size: stat.size,
            mtime: stat.mtime.as_nanos(),
            ctime: stat.ctime.as_nanos(),
            inode: stat.inode,
            owner,
            bits: (stat.nlink & NLINK_MASK)
                | (stat.kind as u32) << KIND_SHIFT
                | u32::from(flags.0) << FLAG_SHIFT,
        }
    }

    #[inline]
    pub(super) fn stat(&self, owners: &Owners) -> Stat {
        self.stat_of(owners.get(self.owner))
    }

    /// The stat, where the owner is already at hand.
    #[inline]
    pub(super) fn stat_of(&self, owner: Owner) -> Stat {
        Stat {
            kind: self.kind(),
            size: self.size,
            mtime: StorageTime::from_nanos(self.mtime),
            ctime: StorageTime::from_nanos(self.ctime),
            inode: self.inode,
            mode: owner.mode,
            uid: owner.uid,
            gid: owner.gid,
            nlink: (self.bits & NLINK_MASK) | owner.nlink_high << NLINK_BITS,
        }
    }

    /// Whether its kind is one that there is.
    #[inline]
    pub(super) fn is_sound(&self) -> bool {
        Kind::from_u8((self.bits >> KIND_SHIFT & 7) as u8).is_some()
    }

    #[inline]
    pub(super) fn owner(&self) -> u32 {
        self.owner
    }

    #[inline]
    pub(super) fn kind(&self) -> Kind {
        Kind::from_u8((self.bits >> KIND_SHIFT & 7) as u8).unwrap_or(Kind::Other)
    }

    #[inline]
    pub(super) fn flags(&self) -> Flags {
        Flags((self.bits >> FLAG_SHIFT) as u8)
    }

    pub(super) fn set_flags(&mut self, flags: Flags) {
        self.bits = self.bits & ((1 << FLAG_SHIFT) - 1) | u32::from(flags.0) << FLAG_SHIFT;
    }

    #[inline]
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    #[inline]
    pub(super) fn inode(&self) -> u64 {
        self.inode
    }

    #[inline]
    pub(super) fn mtime(&self) -> i64 {
        self.mtime
    }

    /// Loads both ends.
    pub(super) fn touch(&self) -> u64 {
        self.size ^ u64::from(self.bits)
    }

    /// Whether both say the same but for the flags.
    #[inline]
    pub(super) fn same_stat(&self, other: &Self) -> bool {
        let mut other = *other;
        other.set_flags(self.flags());
        *self == other
    }
}

#[cfg(test)]
mod tests {
    use super::super::owners::OwnerBook;
    use super::*;

    #[test]
    fn nothing_of_a_stat_is_lost() {
        let (owners, mut book) = (Owners::new(), OwnerBook::default());
        for (kind, nlink) in [(Kind::File, u32::MAX), (Kind::Other, 1 << 24), (Kind::Symlink, 0)] {
            let stat = Stat {
                kind,
                size: u64::MAX,
                mtime: StorageTime::from_nanos(i64::MIN),
                ctime: StorageTime::MAX,
                inode: u64::MAX - 1,
                mode: 0o7777,
                uid: u32::MAX,
                gid: 7,
                nlink,
            };
            let flags = Flags::SUSPECT.with(Flags::MARK);
            let number = book.number(&owners, Owner::of(&stat));
            let mut row = Row::pack(&stat, flags, number);
            assert_eq!((row.stat(&owners), row.flags()), (stat, flags));
            row.set_flags(Flags::BLIND);
            assert_eq!((row.stat(&owners), row.flags()), (stat, Flags::BLIND));
            assert!(row.same_stat(&Row::pack(&stat, flags, number)));
        }
        assert_eq!(size_of::<Row>(), 40);
    }
}
