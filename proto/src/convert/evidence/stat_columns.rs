//! Stats as columns, borrowed from a message.

use fusion_core::evidence::Children;
use fusion_core::stat::{Kind, Stat};
use fusion_core::time::StorageTime;

use crate::convert::ConvertError;
use crate::convert::stat::MODE_BITS;
use crate::pb;

/// Stats as borrowed columns of equal length.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct StatSlices<'a> {
    kinds: &'a [u8],
    sizes: &'a [u64],
    mtimes: &'a [i64],
    ctimes: &'a [i64],
    inodes: &'a [u64],
    modes: &'a [u32],
    uids: &'a [u32],
    gids: &'a [u32],
    nlinks: &'a [u32],
}

impl<'a> StatSlices<'a> {
    /// Borrows columns, which must each have so many values.
    pub(super) fn new(
        columns: Option<&'a pb::StatColumns>,
        rows: usize,
    ) -> Result<Self, ConvertError> {
        let Some(columns) = columns else {
            // Absent and empty are one on the wire.
            return agrees("kinds", 0, rows).map(|()| Self::default());
        };
        let pb::StatColumns {
            kinds,
            sizes,
            mtimes_time_ns,
            ctimes_time_ns,
            inodes,
            modes,
            uids,
            gids,
            nlinks,
        } = columns;
        agrees("kinds", kinds.len(), rows)?;
        agrees("sizes", sizes.len(), rows)?;
        agrees("mtimes_time_ns", mtimes_time_ns.len(), rows)?;
        agrees("ctimes_time_ns", ctimes_time_ns.len(), rows)?;
        agrees("inodes", inodes.len(), rows)?;
        agrees("modes", modes.len(), rows)?;
        agrees("uids", uids.len(), rows)?;
        agrees("gids", gids.len(), rows)?;
        agrees("nlinks", nlinks.len(), rows)?;
        Ok(Self {
            kinds,
            sizes,
            mtimes: mtimes_time_ns,
            ctimes: ctimes_time_ns,
            inodes,
            modes,
            uids,
            gids,
            nlinks,
        })
    }

    /// Whether every kind and mode is in order.
    pub(super) fn is_sound(&self) -> bool {
        // Folds, not `all`: without a way out in the middle they are compiled to wide instructions.
        let bad_kinds = self.kinds.iter().fold(false, |bad, &kind| bad | !is_kind(kind));
        let modes = self.modes.iter().fold(0, |bits, &mode| bits | mode);
        !bad_kinds && modes & !MODE_BITS == 0
    }

    /// The stat of a row.
    pub(super) fn stat(&self, row: usize) -> Result<Stat, ConvertError> {
        let kind = self.kinds[row];
        let Some(kind) = Kind::from_u8(kind) else {
            return Err(ConvertError::unknown("kinds", kind.into()));
        };
        if self.modes[row] & !MODE_BITS != 0 {
            let why = "only the low 12 bits of st_mode may be set";
            return Err(ConvertError::invalid("modes", why));
        }
        Ok(Stat {
            kind,
            size: self.sizes[row],
            mtime: StorageTime::from_nanos(self.mtimes[row]),
            ctime: StorageTime::from_nanos(self.ctimes[row]),
            inode: self.inodes[row],
            mode: self.modes[row],
            uid: self.uids[row],
            gid: self.gids[row],
            nlink: self.nlinks[row],
        })
    }

    /// The rows from `at` on, as many as there are lengths of names.
    pub(super) fn children(
        &self,
        at: usize,
        names: &'a [u8],
        name_lengths: &'a [u32],
    ) -> Children<'a> {
        let end = at + name_lengths.len();
        Children {
            names,
            name_lengths,
            kinds: &self.kinds[at..end],
            sizes: &self.sizes[at..end],
            mtimes: &self.mtimes[at..end],
            ctimes: &self.ctimes[at..end],
            inodes: &self.inodes[at..end],
            modes: &self.modes[at..end],
            uids: &self.uids[at..end],
            gids: &self.gids[at..end],
            nlinks: &self.nlinks[at..end],
        }
    }
}

const fn is_kind(kind: u8) -> bool {
    kind >= Kind::File as u8 && kind <= Kind::Other as u8
}

/// A column must have a value for every row.
pub(super) fn agrees(column: &'static str, values: usize, rows: usize) -> Result<(), ConvertError> {
    if values == rows {
        Ok(())
    } else {
        Err(ConvertError::invalid(column, format!("has {values} values where {rows} belong")))
    }
}
