//! What the files of a view hold together: which file has the last value of each block.
//!
//! In memory 16 bytes a block, some more for the table. Must never: count what is not committed.

use std::collections::{BTreeMap, HashMap};

use super::file::{Entry, IndexIn};
use crate::error::Malformed;
use crate::ports::{BlockId, BlocksFigures, LogPoint, ViewRef};

/// In which file a value is, and how long it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Home {
    file: u32,
    bytes: u32,
}

/// A file as far as its room is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileRoom {
    pub(crate) number: u64,
    /// Bytes of the file.
    pub(crate) stored: u64,
    /// Values in it that are the last of their blocks, and their bytes.
    pub(crate) values: u64,
    pub(crate) live: u64,
}

/// All that is committed.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    blocks: HashMap<BlockId, Home>,
    named: BTreeMap<Box<str>, Home>,
    /// Oldest first, numbered without a hole.
    pub(crate) files: Vec<FileRoom>,
    /// The view, and the place in its log.
    pub(crate) contains: Option<(ViewRef, LogPoint)>,
}

impl Contents {
    /// Takes a file into account that comes after all others.
    pub(crate) fn follow(
        &mut self,
        number: u64,
        stored: u64,
        index: &[u8],
    ) -> Result<(), Malformed> {
        self.files.push(FileRoom { number, stored, values: 0, live: 0 });
        let file = number as u32;
        let mut lines = IndexIn::new(index);
        while let Some(entry) = lines.next()? {
            let (home, old) = match entry {
                Entry::Put(id, span) => {
                    let home = Home { file, bytes: span.bytes };
                    (Some(home), self.blocks.insert(id, home))
                }
                Entry::PutNamed(name, span) => {
                    let home = Home { file, bytes: span.bytes };
                    (Some(home), self.named.insert(name.into(), home))
                }
                Entry::Delete(id) => (None, self.blocks.remove(&id)),
                Entry::Clear => {
                    self.blocks.clear();
                    self.named.clear();
                    self.files.iter_mut().for_each(|file| (file.values, file.live) = (0, 0));
                    continue;
                }
            };
            if let Some(old) = old
                && let Some(room) = self.room(old)
            {
                (room.values, room.live) = (room.values - 1, room.live - u64::from(old.bytes));
            }
            if let Some(home) = home
                && let Some(room) = self.room(home)
            {
                (room.values, room.live) = (room.values + 1, room.live + u64::from(home.bytes));
            }
        }
        Ok(())
    }

    fn room(&mut self, home: Home) -> Option<&mut FileRoom> {
        let first = self.files.first()?.number as u32;
        self.files.get_mut(home.file.wrapping_sub(first) as usize)
    }

    /// Whether a line of a file's index put the last value of its block.
    pub(crate) fn is_live(&self, number: u64, entry: &Entry<'_>) -> bool {
        let home = match entry {
            Entry::Put(id, _) => self.blocks.get(id),
            Entry::PutNamed(name, _) => self.named.get(*name),
            Entry::Delete(_) | Entry::Clear => None,
        };
        home.is_some_and(|home| home.file == number as u32)
    }

    /// The number of the next file.
    pub(crate) fn next(&self) -> u64 {
        self.files.last().map_or(1, |last| last.number + 1)
    }

    pub(crate) fn figures(&self) -> BlocksFigures {
        BlocksFigures {
            values: (self.blocks.len() + self.named.len()) as u64,
            live_bytes: self.files.iter().map(|file| file.live).sum(),
            stored_bytes: self.files.iter().map(|file| file.stored).sum(),
        }
    }
}
