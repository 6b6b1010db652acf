//! The columns of a record, and the tags that say what a change takes from them.
//!
//! A change writes its tag, then its values into the columns of their kinds; reading takes them in
//! the same order. Numbers of columns and tags are part of the format: only add.

use super::pack::{Column, pack};
use super::row::RowReader;
use crate::error::Malformed;

macro_rules! columns {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The kinds of columns.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(usize)]
        pub(super) enum Col { $($(#[$doc])* $name,)* }

        /// How many.
        pub(super) const COLUMNS: usize = [$(Col::$name,)*].len();
    };
}

columns! {
    /// What kind of change: see [`Tag`].
    Tag,
    /// When, from the time of the record, zigzag.
    At,
    /// Why.
    Cause,
    /// Number of the witness, from 1; 0 is nobody.
    By,
    /// Length of a path.
    PathLength,
    Kind,
    Size,
    Mtime,
    /// From the mtime, zigzag.
    Ctime,
    Inode,
    Mode,
    Uid,
    Gid,
    Nlink,
    /// The stat before: kind, then all others from the one now, zigzag.
    BeforeKind,
    BeforeSize,
    BeforeMtime,
    BeforeCtime,
    BeforeInode,
    BeforeMode,
    BeforeUid,
    BeforeGid,
    BeforeNlink,
    /// Which facts there are, and yes and no of the change.
    Flags,
    SeenInode,
    SeenCtime,
    /// From the time of the change, zigzag.
    Confirmed,
    /// From the time of the change, zigzag.
    Suspect,
    /// From the ctime of the change, or 0, zigzag.
    Sample,
    /// Times of a tombstone, from the time of the change, zigzag.
    Deleted,
    Since,
    Trash,
    /// Of a listing: when it began, from the time of the change, zigzag.
    Started,
    Rows,
    RowFlagsCount,
    Befores,
    Unseen,
    Open,
    NameLength,
    RowFlags,
    /// Number of a row, from the one before.
    BeforeRow,
}

/// What kind of change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Tag {
    Created = 0,
    Modified = 1,
    Touched = 2,
    Removed = 3,
    Moved = 4,
    Listed = 5,
    Buried = 6,
    Restored = 7,
    Purged = 8,
    Noted = 9,
    Reset = 10,
}

impl Tag {
    pub(super) fn from_u64(number: u64) -> Option<Self> {
        const ALL: [Tag; 11] = [
            Tag::Created,
            Tag::Modified,
            Tag::Touched,
            Tag::Removed,
            Tag::Moved,
            Tag::Listed,
            Tag::Buried,
            Tag::Restored,
            Tag::Purged,
            Tag::Noted,
            Tag::Reset,
        ];
        usize::try_from(number).ok().and_then(|number| ALL.get(number).copied())
    }
}

/// Columns that are being written; kept from record to record for their memory.
#[derive(Debug)]
pub(super) struct ColumnsOut {
    columns: [Vec<u64>; COLUMNS],
    pub(super) paths: Vec<u8>,
    pub(super) names: Vec<u8>,
    pub(super) rare: Vec<u8>,
}

impl Default for ColumnsOut {
    fn default() -> Self {
        Self {
            columns: [const { Vec::new() }; COLUMNS],
            paths: Vec::new(),
            names: Vec::new(),
            rare: Vec::new(),
        }
    }
}

impl ColumnsOut {
    #[inline]
    pub(super) fn put(&mut self, column: Col, value: u64) {
        self.columns[column as usize].push(value);
    }

    pub(super) fn extend(&mut self, column: Col, values: impl Iterator<Item = u64>) {
        self.columns[column as usize].extend(values);
    }

    pub(super) fn clear(&mut self) {
        self.columns.iter_mut().for_each(Vec::clear);
        self.paths.clear();
        self.names.clear();
        self.rare.clear();
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let filled = self.columns.iter().enumerate().filter(|(_, column)| !column.is_empty());
        let bits = filled.clone().fold(0_u64, |bits, (number, _)| bits | 1 << number);
        out.extend_from_slice(&bits.to_le_bytes());
        filled.for_each(|(_, column)| pack(column, out));
        for bytes in [&self.paths, &self.names, &self.rare] {
            super::row::put_bytes(out, bytes);
        }
    }
}

/// Columns that are being read.
#[derive(Debug)]
pub(super) struct ColumnsIn<'a> {
    columns: [Column; COLUMNS],
    paths: RowReader<'a>,
    names: RowReader<'a>,
    pub(super) rare: RowReader<'a>,
}

impl<'a> ColumnsIn<'a> {
    pub(super) fn read(reader: &mut RowReader<'a>) -> Result<Self, Malformed> {
        let bits = u64::from_le_bytes(reader.array()?);
        if bits >> COLUMNS != 0 {
            return Err(Malformed::Broken("it has a column that is not known"));
        }
        let mut columns: [Column; COLUMNS] = std::array::from_fn(|_| Column::default());
        for (number, column) in columns.iter_mut().enumerate() {
            if bits & 1 << number != 0 {
                *column = Column::unpack(reader)?;
            }
        }
        let mut blob = || reader.lengthy().map(RowReader::new);
        let (paths, names, rare) = (blob()?, blob()?, blob()?);
        Ok(Self { columns, paths, names, rare })
    }

    #[inline]
    pub(super) fn next(&mut self, column: Col) -> Result<u64, Malformed> {
        self.columns[column as usize].next()
    }

    pub(super) fn u32(&mut self, column: Col) -> Result<u32, Malformed> {
        u32::try_from(self.next(column)?)
            .map_err(|_| Malformed::Broken("a value is out of its range"))
    }

    pub(super) fn take<T>(
        &mut self,
        column: Col,
        count: usize,
        turn: impl Fn(u64) -> Option<T>,
    ) -> Result<Vec<T>, Malformed> {
        self.columns[column as usize].take(count, turn)
    }

    pub(super) fn path(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.u32(Col::PathLength)? as usize;
        self.paths.bytes(length)
    }

    pub(super) fn names_left(&self) -> usize {
        self.names.left()
    }

    pub(super) fn names(&mut self, bytes: usize) -> Result<&'a [u8], Malformed> {
        self.names.bytes(bytes)
    }

    pub(super) fn name(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.u32(Col::NameLength)? as usize;
        self.names.bytes(length)
    }

    /// Nothing may be left over.
    pub(super) fn finish(&self) -> Result<(), Malformed> {
        let left = self.paths.left() + self.names.left() + self.rare.left();
        if left == 0 && self.columns.iter().all(Column::is_done) {
            Ok(())
        } else {
            Err(Malformed::Broken("more is stored than the changes take"))
        }
    }
}
