//! The names of one directory: read, without what is excluded, and sorted by their bytes.

use std::ffi::CStr;

use fusion_core::path::TreePath;
use rustix::fd::OwnedFd;
use rustix::fs::{FileType, RawDir};
use rustix::io::Errno;

use super::{DirectoryReader, Rules};

/// One name: where it is in the buffer, and what the directory says of it.
#[derive(Clone, Copy)]
pub(super) struct Row {
    /// Eight bytes of it, behind what all names have in common: so most comparisons need no look
    /// into the buffer.
    pub(super) prefix: u64,
    pub(super) inode: u64,
    pub(super) start: usize,
    pub(super) length: u16,
    pub(super) kind: FileType,
}

impl DirectoryReader {
    /// All names, sorted by bytes, none twice.
    pub(super) fn read_names(
        &mut self,
        rules: &Rules<'_>,
        fd: &OwnedFd,
        path: &TreePath,
    ) -> Result<(), Errno> {
        let exclusion = rules.root.exclusion();
        let mut entries = RawDir::new(fd, self.raw.spare_capacity_mut());
        let mut result = Ok(());
        loop {
            if entries.is_buffer_empty() && !rules.pulse.beat() {
                return Err(Errno::CANCELED);
            }
            let Some(entry) = entries.next() else { break };
            let entry = match entry {
                _ if rules.cancel.is_set() => return Err(Errno::CANCELED),
                Ok(entry) => entry,
                Err(errno) => {
                    result = Err(errno);
                    break;
                }
            };
            let name = entry.file_name().to_bytes_with_nul();
            if matches!(name, b".\0" | b"..\0") {
                continue;
            }
            let (start, length) = (self.names.len(), name.len() - 1);
            if exclusion.takes_in(path.as_ref(), &name[..length]) {
                continue;
            }
            self.names.extend_from_slice(name);
            self.rows.push(Row {
                prefix: 0,
                inode: entry.ino(),
                start,
                length: u16::try_from(length).unwrap_or(u16::MAX),
                kind: entry.file_type(),
            });
        }
        self.sort();
        result
    }

    /// Sorts the rows by the bytes of their names.
    fn sort(&mut self) {
        let names = &self.names;
        let Some(first) = self.rows.first().map(|row| row.name(names)) else { return };
        let mut common = first.len();
        for row in &self.rows {
            common =
                first.iter().zip(row.name(names)).take(common).take_while(|(a, b)| a == b).count();
        }
        for row in &mut self.rows {
            row.prefix = prefix(&row.name(names)[common..]);
        }
        self.rows.sort_unstable_by(|a, b| {
            a.prefix.cmp(&b.prefix).then_with(|| a.name(names).cmp(b.name(names)))
        });
        // A directory that changes while it is read may give a name twice.
        self.rows.dedup_by(|a, b| a.prefix == b.prefix && a.name(names) == b.name(names));
    }
}

impl Row {
    pub(super) fn name<'n>(&self, names: &'n [u8]) -> &'n [u8] {
        &names[self.start..self.start + usize::from(self.length)]
    }

    pub(super) fn c_name<'n>(&self, names: &'n [u8]) -> &'n CStr {
        let with_nul = &names[self.start..=self.start + usize::from(self.length)];
        CStr::from_bytes_with_nul(with_nul).unwrap_or(c"")
    }
}

/// The first eight bytes of a name, so that comparing numbers compares bytes.
fn prefix(name: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    let length = name.len().min(8);
    bytes[..length].copy_from_slice(&name[..length]);
    u64::from_be_bytes(bytes)
}
