//! What the storage says of one entry.

use crate::time::StorageTime;

/// What stands at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// A regular file.
    File = 1,
    /// A directory.
    Directory = 2,
    /// A symbolic link; never followed.
    Symlink = 3,
    /// Anything else: FIFO, socket, device.
    Other = 4,
}

impl Kind {
    /// The kind with this number (the one that [`Kind`] has as `u8`).
    #[must_use]
    pub const fn from_u8(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::File),
            2 => Some(Self::Directory),
            3 => Some(Self::Symlink),
            4 => Some(Self::Other),
            _ => None,
        }
    }

    /// Its name, as programs and people read it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Directory => "directory",
            Self::Symlink => "symlink",
            Self::Other => "other",
        }
    }
}

/// The stat of an entry (4-consistency §1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stat {
    /// What it is.
    pub kind: Kind,
    /// Size in bytes, as stat says it.
    pub size: u64,
    /// Last change of the content, as the storage (or a forger) wrote it. Decides nothing.
    pub mtime: StorageTime,
    /// Last change of the inode; with inode and kind the entry's version.
    pub ctime: StorageTime,
    /// Inode number.
    pub inode: u64,
    /// Permission bits with set-id and sticky (the low 12 bits of `st_mode`).
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Number of hard links.
    pub nlink: u32,
}

impl Stat {
    /// Whether both are of one thing: the same inode, of the same kind.
    #[must_use]
    pub fn is_same_thing(&self, other: &Self) -> bool {
        self.inode == other.inode && self.kind == other.kind
    }
}
